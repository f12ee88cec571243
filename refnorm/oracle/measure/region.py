"""Which values share a statistic: axes that are averaged over, and shards of the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from refnorm.oracle.worlds import Values


@dataclass(frozen=True)
class Region:
    """Which values share statistics: the axes averaged over, and shards of the batch.

    Attributes
    ----------
    axes : letters of those averaged over: N samples, C channels, L the last axis, S those between (of rank above 2).
    split : how the batch is cut into shards: 0 not at all, 1 in halves, the larger one first, 2 in halves, the larger
        one last, 4 in quarters.
    """

    axes: str = "NSL"
    split: int = 0

    @property
    def words(self) -> str:
        """How it is written behind a statistic."""
        known = {"NCSL": " over all", "CSL": " of each sample", "SL": " of each sample and channel"}
        over = known.get(self.axes, f" over {' '.join(self.axes) or 'nothing'}") if self.axes != "NSL" else ""
        return over + (f" of each of {2 if self.split < 4 else 4} shards" if self.split else "")

    @property
    def per_channel(self) -> bool:
        """Whether each channel has statistics of its own."""
        return "C" not in self.axes

    def numbers(self, ndim: int) -> tuple[int, ...]:
        """Return the axes of x of a rank; all but the last axis leave the channels out where those are last."""
        return _numbers(self.axes, ndim)

    def average(self, values: Values) -> Values:
        """Return means that broadcast to the values."""
        axes = self.numbers(values.ndim)
        if not self.split:
            return values.mean(axes, keepdims=True) if axes else values
        parts = [np.repeat(p.mean(axes, keepdims=True), len(p), 0) for p in shards(values, self.split)]
        return np.concatenate(parts)

    def count(self, values: Values) -> Values:
        """Return how many values share a mean."""
        axes = self.numbers(values.ndim)

        def shared(part: Values) -> Values:
            return np.longdouble(math.prod(part.shape[a] for a in axes))

        if not self.split:
            return shared(values)
        one = (1,) * (values.ndim - 1)
        return np.concatenate([np.full((len(p), *one), shared(p)) for p in shards(values, self.split)])


@lru_cache(None)
def _numbers(axes: str, ndim: int) -> tuple[int, ...]:
    letters = "NC" + "S" * (ndim - 3) + ("L" if ndim > 2 else "")
    if ndim == 2 and axes.endswith("CS"):
        return (0,) if "N" in axes else ()
    return tuple(a for a, letter in enumerate(letters) if letter in axes)


STANDARD = Region()


def shards(values: Values, split: int) -> list[Values]:
    """Return the shards of a batch; fewer where samples are."""
    n = len(values)
    cuts = {1: [(n + 1) // 2], 2: [n // 2], 4: [n // 4, n // 2, 3 * n // 4]}[split]
    return [part for part in np.split(values, cuts) if part.size]
