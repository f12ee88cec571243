"""An array as batch normalization sees it: its library, the axes that keep statistics, what counts, what fits."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import numpy as np

from refnorm.formats import COMPLEX, FORMATS, Array, dtype_name, round_once

Axes = int | Sequence[int]

# Undefined operations follow IEEE 754 (0/0 is NaN, overflow is inf) without NumPy's warnings, as in other libraries.
ieee = np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore")


@dataclass(frozen=True, eq=False)
class Layout:
    """An array seen as batch normalization sees it: some axes keep statistics, all others are averaged over.

    Attributes
    ----------
    xp : the array library of ``x`` as an array API namespace.
    kept, reduced : axes that keep their own statistics, and the others, ascending.
    shape, dtype : of ``x``; results are rounded to this dtype, once.
    wide : the dtype to compute in: float64 (complex128), or the widest that the library has.
    mask : boolean, of ``shape``; False where a value does not count. ``None`` when all count.
    count : values per channel: an int, or with a mask an array of the kept shape.
    """

    xp: Any
    kept: tuple[int, ...]
    reduced: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: Any
    wide: Any
    mask: Array | None
    count: int | Array

    @classmethod
    def of(cls, x: Array, axis: Axes, where: Array | None = None) -> Layout:
        """Examine ``x`` and raise if it has no batch-normalization layout."""
        xp = namespace(x, "x")
        kept = kept_axes(axis, x.shape)
        reduced = tuple(a for a in range(x.ndim) if a not in kept)
        count = math.prod(x.shape[a] for a in reduced)
        layout = cls(xp, kept, reduced, tuple(x.shape), x.dtype, _widest(xp, _format(x, "x")), None, count)
        return layout if where is None else layout._masked(where)

    def _masked(self, where: Array) -> Layout:
        """Return the layout with a mask, and with counts that differ between channels."""
        xp = self.xp
        if namespace(where, "where") is not xp or where.dtype != xp.bool:
            raise TypeError(f"where must be a boolean array of the library of x, got {_describe(where)}")
        try:
            mask = xp.broadcast_to(where, self.shape)
        except (ValueError, RuntimeError, TypeError):  # each library raises its own
            shape = tuple(where.shape)
            raise ValueError(f"where of shape {shape} does not broadcast to x of shape {self.shape}") from None
        count = xp.sum(xp.astype(mask, _widest(xp, "float64")), axis=self.reduced)  # of ones: exact in any order
        return replace(self, mask=mask, count=count)

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """Shape of statistics and parameters."""
        return tuple(self.shape[a] for a in self.kept)

    def require_values(self) -> None:
        """Raise if a channel has no value to take statistics of (with a mask: if known without a transfer)."""
        if self.mask is None and self.count == 0:
            raise ValueError(
                f"x of shape {self.shape} has no values to average over axes {self.reduced}; "
                "an empty batch has no statistics: skip it, or use batch_norm_inference"
            )
        if self.mask is not None and array_api_compat.is_numpy_array(self.mask) and not np.all(self.count):
            empty = np.argwhere(np.asarray(self.count) == 0)[0].tolist()
            raise ValueError(
                f"where leaves no value in channel {tuple(empty)} of x with shape {self.shape}; "
                "every channel needs at least one True"
            )

    def check(self, array: Array, name: str) -> None:
        """Raise if an array is not of the shape and library of x."""
        self._check(array, name, self.shape, "the shape of x")

    def parameter(self, array: Array | None, name: str, default: float | None = None) -> Array | float:
        """Take one value per channel into the wide dtype; where there is a default, None stands for it, for all."""
        if array is None and default is not None:
            return default
        meaning = f"one value per channel, axis {self.kept} of x with shape {self.shape}"
        self._check(array, name, self.kept_shape, meaning)
        return self.wide_of(array)

    def _check(self, array: Array, name: str, shape: tuple[int, ...], meaning: str) -> None:
        if namespace(array, name) is not self.xp:
            raise TypeError(f"{name} is {_describe(array)}, but x is of {self.xp.__name__}; convert one to the other")
        if tuple(array.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(array.shape)}, expected {shape}: {meaning}")
        if _format(array, name) in COMPLEX and dtype_name(self.dtype) not in COMPLEX:
            raise TypeError(f"{name} is complex but x is {dtype_name(self.dtype)}; make x complex as well")

    def along(self, values: Array | float) -> Array | float:
        """Shape one value per channel so that it broadcasts against x."""
        if isinstance(values, float):
            return values
        return self.xp.reshape(values, tuple(n if a in self.kept else 1 for a, n in enumerate(self.shape)))

    def wide_of(self, array: Array) -> Array:
        """Return an array in the wide dtype."""
        return self.xp.astype(array, self.wide, copy=False)

    def widen(self, array: Array, name: str) -> Array:
        """Take an array of the shape of x into the wide dtype; masked values become 0."""
        self.check(array, name)
        return self.select(self.wide_of(array))

    def select(self, values: Array) -> Array:
        """Put 0 wherever the mask says that a value does not count."""
        return values if self.mask is None else self.xp.where(self.mask, values, self.xp.zeros_like(values))

    def narrow(self, values: Array) -> Array:
        """Round from the wide dtype to the dtype of x, once; 0 where masked."""
        result = round_once(self.xp, self.select(values), self.dtype)
        return result if self.shape else self.xp.asarray(result, dtype=self.dtype)  # NumPy's scalars know no byte order


def namespace(array: Array, name: str) -> Any:
    """Array API namespace of ``array``; TypeError with the argument's name if it is no array."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; pass {name}.data, and where=~mask for the values that count")
    try:
        return array_api_compat.array_namespace(array)
    except TypeError:
        raise TypeError(
            f"{name} must be an array (NumPy, CuPy, torch, JAX, dask, ...), got {type(array).__name__}; "
            "numpy.asarray makes one"
        ) from None


def kept_axes(axis: Axes, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Normalise ``axis`` to ascending non-negative axes of an array of this shape."""
    ndim = len(shape)
    try:
        axes = [operator.index(a) for a in axis] if isinstance(axis, Sequence) else [operator.index(axis)]
    except TypeError:
        raise TypeError(f"axis must be an int or a sequence of ints, got {axis!r}") from None
    for a in axes:
        if not -ndim <= a < ndim:
            usable = f"{-ndim}..{ndim - 1}" if ndim else "()"
            raise ValueError(f"axis={a} is out of range for x of shape {tuple(shape)}; use {usable}")
    kept = tuple(sorted(a % ndim for a in axes))
    if len(set(kept)) < len(kept):
        raise ValueError(f"axis={axis!r} names an axis of x with shape {tuple(shape)} twice")
    return kept


def non_negative(value: float, name: str) -> float:
    """Return ``value`` as a float; it must be finite and not below 0."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # of an integer, or a fraction, that no float holds
        raise ValueError(f"{name} must be finite and at least 0, got a number beyond float64") from None
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}={value!r} must be finite and at least 0")
    return number


def at_least_one(count: int | Array) -> int | Array:
    """Return counts to divide by: 1 in place of 0, where there is nothing to divide."""
    if isinstance(count, int):
        return max(count, 1)
    return count + namespace(count, "count").astype(count == 0, count.dtype)


def _describe(array: Array) -> str:
    return f"{type(array).__module__.partition('.')[0]} {dtype_name(array.dtype)} of shape {tuple(array.shape)}"


def _format(array: Array, name: str) -> str:
    kind = dtype_name(array.dtype)
    if kind not in FORMATS and kind not in COMPLEX:
        raise TypeError(
            f"{name} is {kind}, expected a floating-point array ({', '.join([*FORMATS, *COMPLEX])}); "
            "convert it first, to float32 say"
        )
    return kind


def _widest(xp: Any, kind: str) -> Any:
    names = ("complex128", "complex64") if kind in COMPLEX else ("float64", "float32")
    group = "complex floating" if kind in COMPLEX else "real floating"
    available = xp.__array_namespace_info__().dtypes(kind=group)
    return next(available[name] for name in names if name in available)
