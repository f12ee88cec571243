"""A large case that repeats few pairs of x and dy: each pair once, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from refnorm.formats import Floats

if TYPE_CHECKING:
    from refnorm.golden.inputs import Case


@dataclass(frozen=True, eq=False)
class Repeats:
    """The different pairs of x and dy in each channel of a large case, and where in the large one each stands.

    Attributes
    ----------
    case : its x is (1, channels, pairs), with ``times``.
    index : of x's shape in the large case; flat indices of x in ``case``.
    """

    case: Case
    index: Any

    @cached_property
    def _grouped(self) -> tuple[Any, Any, Any]:
        """Places in the order of their pairs, where each pair begins, and which pairs there are."""
        flat = self.index.reshape(-1)
        order = np.argsort(flat, kind="stable")
        present, starts = np.unique(flat[order], return_index=True)
        return order, starts, present

    def extremes(self, values: Floats) -> Floats:
        """Return the smallest and the largest value that stands where each pair does, NaN if one is NaN.

        What stands nowhere is NaN in both; the result has shape (2, channels, pairs) with the first axis before.
        """
        order, starts, present = self._grouped
        sorted_values = values.reshape(-1)[order]
        found = np.full((2, self.case.x.size), np.nan)
        for row, extreme in zip(found, (np.minimum, np.maximum), strict=True):
            row[present] = extreme.reduceat(sorted_values, starts)
        return found.reshape(2, *self.case.x.shape)

    def missing(self) -> Floats:
        """Say which entries of the table stand nowhere."""
        gone = np.ones(self.case.x.size, bool)
        gone[self._grouped[2]] = False
        return gone.reshape(self.case.x.shape)

    def place(self, extreme: tuple[Any, ...], value: float, values: Floats) -> tuple[Any, ...]:
        """Return the first index in the large case at which an entry of `extremes` stands with its value."""
        order, starts, present = self._grouped
        k = int(np.searchsorted(present, np.ravel_multi_index(extreme[1:], self.case.x.shape)))
        members = order[starts[k] : starts[k + 1] if k + 1 < len(starts) else None]
        there = values.reshape(-1)[members]
        first = members[np.flatnonzero((there == value) | (np.isnan(there) & np.isnan(value)))[0]]
        return np.unravel_index(int(first), self.index.shape)

    def spread(self, values: Floats) -> Floats:
        """Return what is known of each pair for each value of the large case; what is known of channels stays."""
        return values.reshape(-1)[self.index] if values.shape == self.case.x.shape else values
