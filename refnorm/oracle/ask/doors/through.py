"""An implementation as the judge calls it, through a door: channels on axis 1, arrays of NumPy's, what is offered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

WORDS = ("reading", "convention")  # what an implementation says of itself, beside its functions
LISTS = ("without", "passes", "lacks", "ranks", "second_order", "spared")
FORWARD = ("train", "infer", "frozen")
ALONG_X = {  # of which arguments and results the axes are those of x
    "train": ((0,), (0,)),
    "infer": ((0,), None),
    "frozen": ((0,), (0,)),
    "backward": ((0,), (0,)),
    "jvp": ((0,), None),
    "double_backward": ((0, 3), (0, 1)),
    "used_twice": ((0, 7, 8), (0, 1, 2, 3)),
}


class Through:
    """What someone wrote, as functions that `refnorm.oracle.ask.interface` lists.

    Attributes
    ----------
    reading : how it was read, in words.
    convention : the row of its ecosystem; absent if it has none.
    without : quantities that it does not give, whatever it is asked.
    at : the axis that the channels are on in the code, by rank of x, where it is not 1.
    passes : which of "eps" and "momentum" can be passed to it.
    second_order : formats in which jvp and double backward, which a library derives, are asked for: the widest.
    sparing : whether each new shape costs time, so that few are asked.
    spared : formats beside ``dtypes`` that are tried only where they are asked for: each costs time.
    dtypes, mixed : as in `refnorm.oracle.ask.interface`.
    """

    def __init__(
        self,
        engine: Any,
        offers: Sequence[str],
        reading: str,
        at: Mapping[int, int] | None = None,
        without: Sequence[str] = (),
        passes: Sequence[str] = ("eps", "momentum"),
        lacks: Sequence[str] = (),
        convention: str = "",
        half: bool = False,
    ) -> None:
        self.reading, self.without, self.passes, self.lacks = reading, tuple(without), tuple(passes), tuple(lacks)
        self.sparing, self.spared = bool(getattr(engine, "sparing", False)), tuple(getattr(engine, "spared", ()))
        self.at, self.half, self.dtypes = dict(at or {}), half, tuple(engine.dtypes)
        self.second_order = self.dtypes[:1]
        if convention:
            self.convention = convention
        for name in offers:
            setattr(self, name, partial(self._called, getattr(engine, name), *ALONG_X[name]))

    def _called(self, function: Any, arguments: tuple[int, ...], results: tuple[int, ...] | None, *given: Any) -> Any:
        """Call with the channels where the code has them, and bring them back."""
        if self.at.get(2) == 0 and function.__name__ in FORWARD and np.ndim(given[0]) != 2:
            raise TypeError(f"x is (features, samples), and this has {np.ndim(given[0])} axes")
        axis = self.at.get(np.ndim(given[0]), 1)
        if axis == 1:
            return function(*given)
        result = function(*(np.moveaxis(a, 1, axis) if k in arguments else a for k, a in enumerate(given)))
        if results is None:
            return _back(result, axis)
        return tuple(_back(r, axis) if k in results else r for k, r in enumerate(result))


def _back(array: Any, axis: int) -> Any:
    return np.moveaxis(array, axis, 1) if isinstance(array, np.ndarray) and array.ndim > 1 else array
