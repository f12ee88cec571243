"""A convention: what a framework means by momentum, which variance it stores, what it does where the paper is mute."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from refnorm.formats import Array
from refnorm.reference.running import update_running
from refnorm.reference.statistics import Statistics

# What a training step may do with one value per channel, and with an empty batch.
POLICIES: Mapping[str, str] = MappingProxyType(
    {
        "raises": "an error is raised",
        "biased": "y = beta; the running variance moves towards the biased variance, 0",
        "statistics left": "y is defined, the running statistics stay as they were",
        "variance left": "y = beta; the running mean moves, the running variance stays",
        "non-finite": "running statistics become NaN or inf, silently",
        "other": "y or the running statistics take values that no formula gives",
    }
)


@dataclass(frozen=True)
class Convention:
    """One row of the table.

    Attributes
    ----------
    name, title, source : what the row is called, whose it is, and where that is written.
    momentum : whose weight the argument ``momentum`` is: ``"new"`` batch, ``"old"`` running value, or ``"sums"``:
        running sums are multiplied by it and divided by a count that is kept the same way (Caffe).
    correction : 1 if the running variance is the unbiased one, m/(m - 1); 0 if the biased one.
    one_value, empty : accepted policies (see `POLICIES`) for one value per channel and for an empty batch, in training.
    attributes : format in which eps and momentum travel; the exact value uses the rounded ones.
    momentum_as : how momentum travels if not as ``attributes`` says: ``"float32"``, or ``"float32 complement"`` where
        1 - momentum is what is rounded.
    ranks : ranks of x that are accepted.
    zero_eps : False if eps = 0 may be refused in training.
    normalises : what a training batch is normalised by: ``"batch"``, its own statistics; or ``"moved"``, the running
        ones after they have moved, which is another operation.
    note : what else a user must know.
    """

    name: str
    title: str
    source: str
    momentum: str
    correction: int
    one_value: tuple[str, ...]
    empty: tuple[str, ...]
    attributes: str = "float64"
    momentum_as: str = ""
    ranks: tuple[int, ...] = (2, 3, 4, 5)
    zero_eps: bool = True
    normalises: str = "batch"
    note: str = ""

    def travelled(self, value: float) -> float:
        """Return eps as the framework receives it, and momentum where it travels alike."""
        return _received(value, self.attributes)

    def received(self, momentum: float) -> float:
        """Return momentum as the framework receives it."""
        return _received(momentum, self.momentum_as or self.attributes)

    def weights(self, momentum: float) -> tuple[Fraction, Fraction]:
        """Return the weights of the old running value and of the batch's statistic, exactly.

        Examples
        --------
        >>> from refnorm.conventions import CONVENTIONS
        >>> CONVENTIONS["torch"].weights(0.25), CONVENTIONS["keras"].weights(0.25)
        ((Fraction(3, 4), Fraction(1, 4)), (Fraction(1, 4), Fraction(3, 4)))
        """
        a = Fraction(self.received(momentum))
        if self.momentum == "new":
            return 1 - a, a
        if self.momentum == "old":
            return a, 1 - a
        return a / (1 + a), 1 / (1 + a)

    def update(
        self, running_mean: Array, running_var: Array, statistics: Statistics, momentum: float
    ) -> tuple[Array, Array]:
        """Move running statistics as this convention does, whatever it means by momentum.

        Parameters and results are those of `refnorm.update_running`; one value per channel leaves no unbiased variance,
        and the biased one, 0, is taken (Caffe) unless the row asks for an error.

        Examples
        --------
        >>> import numpy as np
        >>> from refnorm.conventions import CONVENTIONS
        >>> batch = Statistics.of(np.array([[1.0], [3.0]]))           # mean 2, biased variance 1, unbiased 2
        >>> zero, one = np.array([0.0]), np.array([1.0])
        >>> CONVENTIONS["torch"].update(zero, one, batch, momentum=0.25)
        (array([0.5]), array([1.25]))
        >>> CONVENTIONS["keras"].update(zero, one, batch, momentum=0.25)
        (array([1.5]), array([1.]))
        """
        _, weight = self.weights(momentum)
        single = isinstance(statistics.count, int) and statistics.count == 1 and "biased" in self.one_value
        correction = 0 if single else self.correction
        return update_running(running_mean, running_var, statistics, momentum=float(weight), correction=correction)

    def factor(self, count: int) -> Fraction:
        """Return what multiplies the biased variance before it is stored; 1 for a single value."""
        return Fraction(count, count - self.correction) if count > self.correction else Fraction(1)


def _received(value: float, kind: str) -> float:
    if kind == "float32 complement":
        return 1 - _received(1 - value, "float32")
    return value if kind == "float64" else float(struct.unpack("f", struct.pack("f", value))[0])
