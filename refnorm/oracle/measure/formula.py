"""A formula as it was measured: a sum of terms, each with its words, its value, and what flows back through it to x."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refnorm.oracle.measure.counts import Counts, Ratio
from refnorm.oracle.measure.fit import Rows
from refnorm.oracle.measure.region import STANDARD, Region
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
    base, by : where it is another term times what is no function of x.
    """

    words: str
    value: Value
    back: Back | None = None
    base: Term | None = None
    by: Ratio | Value | None = None


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
        """Return the sum in a world: one value a channel, or more."""
        if self.if_given and w.case.gamma is None:
            return np.ones_like(w.gamma)
        return sum((np.longdouble(c) * term.value(w) for c, term in self.parts), np.zeros_like(w.gamma))

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
    "max(gamma, 0)": lambda w: np.maximum(np.sign(w.gamma), 0),
    "gamma beta": lambda w: w.beta,
    "gamma mean": lambda w: STANDARD.average(w.x),
    "gamma running mean": lambda w: w.running_mean,
}
BETA_SLOPES: dict[str, Value] = {
    "beta": lambda w: np.ones_like(w.beta),
    "|beta|": lambda w: np.sign(w.beta),
    "beta^2": lambda w: 2 * w.beta,
    "gamma beta": lambda w: w.gamma,
}


class Table:
    """The values of terms in every world, each broadcast to a shape, as one row; a term is worked out once.

    Worlds of the highest rank come first where most values are of no use.
    """

    def __init__(self, worlds: Sequence[World], shapes: Sequence[tuple[int, ...]]) -> None:
        self._worlds, self._shapes = worlds, shapes
        self._known: dict[object, Rows] = {}

    def __call__(self, term: Term | Formula | Value) -> Rows:
        """Return the row of a term or a function of worlds; not finite if it cannot be broadcast."""
        if term not in self._known:
            self._known[term] = self._row(term)
        return self._known[term]

    def _row(self, term: Term | Formula | Value) -> Rows:
        if isinstance(term, Formula):
            return sum((c * self(part) for c, part in term.parts), np.zeros(sum(map(math.prod, self._shapes))))
        if not isinstance(term, Term):
            return self._stacked(term)
        if term.base is None or term.by is None:
            return self._stacked(term.value)
        return self(term.base) * (self._ratio(term.by) if isinstance(term.by, Ratio) else self(term.by))

    def _ratio(self, ratio: Ratio) -> Rows:
        if ratio not in self._known:
            counts = Counts(*(self(COUNTED[name]) for name in Counts._fields))
            region: Region = ratio.region
            if region not in self._known:
                self._known[region] = self._stacked(lambda w: region.count(w.x))
            self._known[ratio] = ratio.of(counts, self._known[region])
        return self._known[ratio]

    def _stacked(self, value: Value) -> Rows:
        row = np.empty(sum(map(math.prod, self._shapes)))
        start = 0
        for w, shape in zip(self._worlds, self._shapes, strict=True):
            end = start + math.prod(shape)
            try:
                own = np.asarray(value(w))
                if own.ndim > len(shape):  # which an assignment would let pass, where the first axes are 1
                    raise ValueError
                row[start:end].reshape(shape)[...] = own
            except ValueError:
                return np.full(len(row), np.nan)
            start = end
        return row


COUNTED: dict[str, Value] = {
    "samples": lambda w: np.longdouble(w.x.shape[0]),
    "channels": lambda w: np.longdouble(w.x.shape[1]),
    "m": lambda w: np.longdouble(w.m),
    "eps": lambda w: np.longdouble(w.eps),
}


def counts(w: World) -> Counts:
    """Return the counts of one world."""
    return Counts(*(COUNTED[name](w) for name in Counts._fields))


def times(words: str, by: Ratio | Value, base: Term) -> Term:
    """Return a term times a ratio of counts, or what else is no function of x."""
    back = base.back

    def own(w: World) -> Values:
        return by.of(counts(w), by.region.count(w.x)) if isinstance(by, Ratio) else by(w)

    def through(w: World, upstream: Values) -> Values:
        assert back is not None
        return back(w, upstream) * own(w)

    return Term(words, lambda w: base.value(w) * own(w), None if back is None else through, base, by)


def channels(w: World) -> tuple[int, ...]:
    """Return the shape of one value a channel, to be broadcast to x."""
    return (1, int(w.x.shape[1]), *[1] * (w.x.ndim - 2))


def of(*terms: Term) -> Formula:
    """Return the sum of terms."""
    return Formula(tuple((1.0, term) for term in terms))
