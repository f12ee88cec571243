"""A black box behind one door: fresh arrays in, arrays out, whatever it raises made one kind of refusal."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from refnorm.formats import FORMATS, cast
from refnorm.oracle.ask.interface import formats_of
from refnorm.oracle.ask.target import TargetError

EPS = 2.0**-10  # of every probe that is not about eps: small enough for all, and a power of two


class Refused(Exception):
    """The box raised; the text says what."""


class Misshapen(Refused):
    """The box took what it was given, and returned something of another shape."""


class Box:
    """An implementation behind one door: fresh arrays in, arrays out, Refused if it raises."""

    def __init__(self, implementation: Any) -> None:
        self.implementation = implementation
        offered = formats_of(implementation)
        offered = ("float64", "float32", "float16") if offered is None else offered
        self.dtypes = [d for d in ("float64", "float32", "float16", "bfloat16") if d in offered]
        if not self.dtypes:
            raise TargetError(f"its dtypes name none of {', '.join(FORMATS)}: nothing to measure")
        self.dtype = self.dtypes[0]
        self.refusals: dict[str, str] = {}
        taken: dict[str, set[int]] = {"train": set(), "infer": set()}  # ranks, whatever comes back
        takes = {
            name: tuple(r for r in (2, 3, 4, 5) if self._takes(name, r, taken[name])) for name in ("train", "infer")
        }
        self.trains, self.infers = bool(takes["train"]), bool(takes["infer"])
        self.keeps = self.trains and "running mean" not in getattr(implementation, "without", ())
        self.accepted = taken["train"] or taken["infer"]  # what infers alone by broadcasting is not taken
        self.ranks = takes["train"] or takes["infer"]
        self.rank = next((rank for rank in (4, 2, 3, 5) if rank in self.ranks), 2)

    def _takes(self, function: str, rank: int, taken: set[int]) -> bool:
        if not hasattr(self.implementation, function):
            return False
        shape = (3, 2, 4, 5, 6)[:rank]  # no two alike: what broadcasts along another axis does not fit
        x = np.arange(float(np.prod(shape))).reshape(shape)
        try:
            self.train(x) if function == "train" else self.infer(x)
        except Refused as refused:
            self.refusals.setdefault(function, str(refused))
            if isinstance(refused, Misshapen):
                taken.add(rank)
            return False
        taken.add(rank)
        return True

    def batch(self, *values: float, channels: int = 1) -> Any:
        """Return an x that holds these values in each channel, in a rank that the box takes."""
        return np.tile(np.array(values).reshape(-1, 1), channels).reshape(-1, channels, *[1] * (self.rank - 2))

    def call(self, function: str, x: Any, *scalars: float | None, dtype: str, parameters: str, **given: Any) -> Any:
        """Call a function of the implementation with copies of everything."""
        channels = np.shape(x)[1] if np.ndim(x) > 1 else 0
        usual = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "var": 1.0} | given
        arrays = [
            None if v is None else cast(np.broadcast_to(np.asarray(v, float), (channels,)).copy(), parameters)
            for v in usual.values()
        ]
        if function == "begin":
            arrays = []
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = getattr(self.implementation, function)(cast(np.array(x, float), dtype), *arrays, *scalars)
                found = [np.asarray(r) for r in ((result,) if function == "infer" else result[:3])]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever foreign code raises, sys.exit included
            raise Refused(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}") from error
        if function != "infer" and len(found) < 3:
            raise Misshapen(f"{function} returned {len(found)} values")
        without = getattr(self.implementation, "without", ())
        for name, array, shape in zip(
            ("y", "running mean", "running variance"), found, (np.shape(x), *[(channels,)] * 2), strict=False
        ):
            if array.shape != shape and name not in without:
                raise Misshapen(f"{name} has shape {array.shape}, expected {shape}")
            if np.iscomplexobj(array):
                raise Misshapen(f"{name} is {array.dtype}, which is no real number")
        return found[0] if function == "infer" else found

    def train(
        self, x: Any, momentum: float = 0.25, eps: float = EPS, dtype: str = "", parameters: str = "", **given: Any
    ) -> Any:
        """Return y, running mean and running variance as float64, or in their own formats where one was asked for."""
        results = self.call(
            "train", x, momentum, eps, dtype=dtype or self.dtype, parameters=parameters or dtype or self.dtype, **given
        )
        return results if dtype else [_wide(r) for r in results]

    def infer(self, x: Any, eps: float = EPS, dtype: str = "", parameters: str = "", **given: Any) -> Any:
        """Return y as float64, or in its own format where one was asked for."""
        formats = {"dtype": dtype or self.dtype, "parameters": parameters or dtype or self.dtype}
        y = self.call("infer", x, eps, **formats, **given)
        return y if dtype else _wide(y)

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> Any:
        """Return y and statistics after one training step of a new layer; None leaves a setting to the framework."""
        return [r.astype(float) for r in self.call("begin", x, momentum, eps, dtype=self.dtype, parameters=self.dtype)]


def _wide(array: Any) -> Any:
    try:
        return array.astype(float)
    except (TypeError, ValueError) as error:
        raise Misshapen(f"an array of {array.dtype}, which is no number") from error
