"""A formula as it was measured: a sum of terms, each with its words, its value, and what flows back through it to x."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from refnorm.oracle.measure.fit import Rows
from refnorm.oracle.worlds import Values, World

Value = Callable[[World], Values]
Back = Callable[[World, Values], Values]


@dataclass(frozen=True, eq=False)
class Term:
    """What a formula may be made of.

    Attributes
    ----------
    words : as it is written.
    value : in a world, to be broadcast to x.
    back : what reaches x of gradients that arrive at the term from each value of x; none where it is no function of x.
    """

    words: str
    value: Value
    back: Back | None = None


@dataclass(frozen=True, eq=False)
class Formula:
    """A sum of terms, each times a constant; ``if_given``: it is 1 where gamma is absent."""

    parts: tuple[tuple[float, Term], ...] = ()
    if_given: bool = False

    def __str__(self) -> str:
        text = ""
        for c, term in self.parts:
            sign = " - " if c < 0 else " + "
            size = abs(c)
            words = term.words if size == 1 else f"{size:.7g}" if term.words == "1" else f"{size:.7g} {term.words}"
            text += (sign if text else sign.strip("+ ")) + words
        return text or "0"

    def value(self, w: World) -> Values:
        """Return the sum in a world."""
        if self.if_given and w.case.gamma is None:
            return np.ones_like(w.gamma)
        return sum((np.longdouble(c) * term.value(w) for c, term in self.parts), np.longdouble(0))

    def slope(self, w: World, parameter: str) -> Values:
        """Return the derivative with respect to gamma or beta, of a formula of these."""
        slopes = {"gamma": GAMMA_SLOPES, "beta": BETA_SLOPES}[parameter]
        known = [(c, slopes[t.words]) for c, t in self.parts if t.words in slopes]
        return sum((c * slope(w) for c, slope in known), np.zeros_like(w.gamma))

    def back(self, w: World, upstream: Values) -> Values:
        """Return what reaches x of gradients that arrive at the formula."""
        parts = [c * term.back(w, upstream) for c, term in self.parts if term.back is not None]
        return sum(parts, np.zeros_like(w.x))


GAMMA_SLOPES: dict[str, Value] = {
    "gamma": lambda w: np.ones_like(w.gamma),
    "|gamma|": lambda w: np.sign(w.gamma),
    "(|gamma| + eps)": lambda w: np.sign(w.gamma),
    "gamma^2": lambda w: 2 * w.gamma,
    "(1 + gamma)": lambda w: np.ones_like(w.gamma),
    "max(gamma, 0)": lambda w: (w.gamma > 0) * np.ones_like(w.gamma),
    "gamma beta": lambda w: w.beta,
}
BETA_SLOPES: dict[str, Value] = {
    "beta": lambda w: np.ones_like(w.beta),
    "|beta|": lambda w: np.sign(w.beta),
    "beta^2": lambda w: 2 * w.beta,
    "gamma beta": lambda w: w.gamma,
}


def stacked(value: Value, worlds: Sequence[World], shapes: Sequence[tuple[int, ...]]) -> Rows:
    """Return a value in every world, each broadcast to a shape, as one row; not finite if one of them cannot be.

    Worlds of the highest rank come first where most values are of no use.
    """
    parts = []
    for w, shape in zip(worlds, shapes, strict=True):
        try:
            own = np.asarray(value(w))
            parts.append((own if own.shape == shape else np.broadcast_to(own, shape)).ravel())
        except ValueError:
            return np.full(sum(math.prod(s) for s in shapes), np.nan)
    return np.concatenate(parts).astype(np.float64)


def channels(w: World) -> tuple[int, ...]:
    """Return the shape of one value a channel, to be broadcast to x."""
    return (1, int(w.x.shape[1]), *[1] * (w.x.ndim - 2))


def of(*terms: Term) -> Formula:
    """Return the sum of terms."""
    return Formula(tuple((1.0, term) for term in terms))


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
        if self == STANDARD:
            return ""
        known = {"NCSL": " over all", "CSL": " of each sample", "SL": " of each sample and channel"}
        over = known.get(self.axes, f" over {' '.join(self.axes) or 'nothing'}") if self.axes != "NSL" else ""
        return over + (f" of each of {2 if self.split < 4 else 4} shards" if self.split else "")

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
        m = int(np.prod([values.shape[a] for a in axes]))
        if not self.split:
            return np.longdouble(m)
        ones = [
            np.full((len(p),) + (1,) * (values.ndim - 1), len(p) * m / len(values)) for p in shards(values, self.split)
        ]
        return np.concatenate(ones).astype(np.longdouble)


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
