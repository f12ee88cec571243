"""Factors of counts: what a sum is divided by, in one world or in a row of equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.worlds import Values


class Counts(NamedTuple):
    """Counts of x, and eps: numbers in one world; rows, a value for each equation, in many."""

    samples: Values
    channels: Values
    m: Values
    eps: Values


# What a sum over m values may be divided by, the usual divisors first: what is read off is tried in this order.
SIZES: dict[str, Callable[[Counts, Values], Values]] = {
    "m": lambda of, m: m,
    "(m - 1)": lambda of, m: np.fmax(m - 1, 1),
    "N": lambda of, m: of.samples,
    "1": lambda of, m: m / m,
    "HW": lambda of, m: of.m / of.samples,
    "C": lambda of, m: of.channels,
    "(m + 1)": lambda of, m: m + 1,
    "(m - 2)": lambda of, m: np.fmax(m - 2, 1),
    "(N - 1)": lambda of, m: np.fmax(of.samples - 1, 1),
    "(m - 1.5)": lambda of, m: np.fmax(m - 1.5, 0.5),
    "(m - 3)": lambda of, m: np.fmax(m - 3, 1),
    "(NCHW - 1)": lambda of, m: m * of.channels - 1,
    "(C m)": lambda of, m: of.channels * m,
    "m^2": lambda of, m: m * m,
    "((m - 1)^2/m)": lambda of, m: np.fmax(m - 1, 1) ** 2 / m,
    "(m^2/(m - 1))": lambda of, m: m * m / np.fmax(m - 1, 1),
    "(m^2/(m + 1))": lambda of, m: m * m / (m + 1),
    "(m - 1 + eps/C)": lambda of, m: m - 1 + of.eps / of.channels,
    "(m (N - 1)/N)": lambda of, m: m * np.fmax(of.samples - 1, 1) / of.samples,
    "(m (NCHW - 1)/NCHW)": lambda of, m: m * (1 - 1 / (of.m * of.channels)),
}
DIVISORS = tuple(SIZES)
FACTORS = ("1", "1/m", "m", "m/(m - 1)", "(m - 1)/m", "m/N", "N/m", "1/N", "N", "1/C", "C", "m/(m + 1)", "m/(m - 2)")


@dataclass(frozen=True)
class Ratio:
    """One of SIZES over another, where m counts the values of a region.

    Examples
    --------
    >>> float(Ratio("(m - 1)", "m").of(Counts(np.longdouble(8), 3, np.longdouble(8), 0.1), np.longdouble(8)))
    0.875
    """

    above: str
    below: str
    region: Region = STANDARD

    @np.errstate(all="ignore")
    def of(self, counts: Counts, m: Values) -> Values:
        """Return the ratio."""
        return SIZES[self.above](counts, m) / SIZES[self.below](counts, m)


def ratio(words: str) -> Ratio:
    """Return one of FACTORS."""
    above, _, below = words.partition("/")
    return Ratio(above, below or "1")
