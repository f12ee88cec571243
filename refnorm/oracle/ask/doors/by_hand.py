"""What has its backward written out: arrays go in, arrays come out, and nothing is differentiated by a library."""

from __future__ import annotations

from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.again import used_twice
from refnorm.oracle.ask.doors.leaves import size_of
from refnorm.oracle.ask.doors.libraries import Library, NoNumbers, to_numpy


class ByHand:
    """A batch normalization that is called as it is; ``door`` knows how, ``library`` whose arrays it takes."""

    def __init__(self, door: Any, library: Library) -> None:
        self.door, self.library, self.dtypes, self.sparing = door, library, library.formats, library.sparing

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, Any]:
        """Call in training mode."""
        own = self._own(x, gamma, beta, *_copies(running_mean, running_var))
        y, mean, var, cache = self.door.forward(*own, momentum, eps, True)
        return returned(y), returned(mean), returned(var), cache

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        own = self._own(x, gamma, beta, *_copies(running_mean, running_var))
        return returned(self.door.forward(*own, 0.5, eps, False)[0])

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Call the backward that belongs to the forward."""
        return tuple(map(returned, self.door.backward(*self._own(dy), cache)))

    def used_twice(self, *given: Any) -> tuple[Any, ...]:
        """Use one layer twice; see `refnorm.oracle.ask.doors.again`."""
        x, gamma, beta, mean, var, momentum, eps, other, dy = given
        x, gamma, beta, mean, var = self._own(x, gamma, beta, *_copies(mean, var))

        def gradients(layer: Any, x: Any, _: Any, dy: Any) -> tuple[Any, Any, Any]:
            found: tuple[Any, Any, Any] = self.door.gradients_of(layer, dy, size_of(x))
            return found

        back = gradients if self.door.back else None
        arrays, further = (x, gamma, beta, mean, var), self._own(other, dy)
        return used_twice(self.door, back, self.library.own, *arrays, momentum, eps, *further)

    def _own(self, *arrays: Any) -> list[Any]:
        return [None if a is None else self.library.own(a) for a in arrays]


def _copies(*arrays: Any) -> list[Any]:
    """Copy running statistics, which may be written to: that is how many a layer keeps them."""
    return [None if a is None else np.array(a) for a in arrays]


def returned(value: Any) -> Any:
    """Return what came back as an array; what is no numbers as it is, for the judge to say so."""
    try:
        return to_numpy(value)
    except NoNumbers:
        return value
