"""Read off forward mode and double backward the constant of each term, and in what a term is not its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from refnorm.oracle.measure.fit import Rows, exactly, solved
from refnorm.oracle.measure.formula import Table
from refnorm.oracle.measure.products import COUNTS, far
from refnorm.oracle.measure.read_forward import Seen, noise_in
from refnorm.oracle.measure.second_terms import DEFINED, FRONTS, Combination, Summand, variations
from refnorm.oracle.quantities import elementwise
from refnorm.oracle.worlds import World

SCREENED = 240  # equations by which most variations are refuted
EQUATIONS = 2000
MODERATE = 1e9  # of std, or of its inverse
LEFT = 64  # times its noise: what a screening may leave of an equation


def read_second(quantity: str, seen: Sequence[Seen]) -> Iterator[Combination]:
    """Yield what a quantity of second order may be: the terms of its definition, each times a constant of its own.

    If no constants do, each term stands beside one that has another gamma, count or power of std, that takes its means
    over other values, or has another std (`variations`).

    Parameters
    ----------
    seen : the world of each case, with what was returned.
    """
    plain = [(w, np.asarray(v, float)) for w, v in seen if np.size(v) and np.all(np.isfinite(v)) and _moderate(w)]
    own = list(DEFINED[quantity.removeprefix("frozen ")])
    if not plain:
        return
    with np.errstate(all="ignore"):
        columns = _Columns(quantity, plain)
        target = columns.picked(np.concatenate([v.ravel() for _, v in plain]))
        first = [columns(t) for t in own]
        u = max(noise_in(w.case.kind) for w, _ in plain)
        noise = np.maximum(columns.sizes([*first, target]) * u, 1e-300)
        wanted = target / noise
        rows = np.stack(first) / noise
        found = _fitted(rows, wanted)
        if found is not None:
            yield _named(quantity, own, own, found, "")
            return
        best = None
        for words, change in variations():
            others = [change(t) for t in own]
            both = np.concatenate([rows, np.stack([columns(t) for t in others]) / noise])
            both[len(own) :] *= np.any(both[len(own) :] != rows, axis=1)[:, None]  # what is the same is there once
            found = _fitted(both, wanted)
            if found is not None and (best is None or len(found) < len(best[0])):
                best = found, others, words
        if best is not None:
            yield _named(quantity, own, best[1], best[0], best[2])


def _moderate(w: World) -> bool:
    """Whether no power of std leaves a format on the way."""
    return bool(np.all((w.inv > 1 / MODERATE) & (w.inv < MODERATE)))


class _Columns:
    """What terms are in every equation; of many equations some, evenly chosen."""

    def __init__(self, quantity: str, seen: Sequence[Seen]) -> None:
        whole = elementwise(quantity)
        worlds = [w for w, _ in seen]
        self._table = Table(worlds, [w.x.shape if whole else w.mean.shape for w in worlds])
        self._seen = seen
        count = sum(v.size for _, v in seen)
        self._chosen = np.unique(np.linspace(0, count - 1, min(count, EQUATIONS)).astype(int))
        self._known: dict[object, Rows] = {}

    def picked(self, row: Rows) -> Rows:
        """Return the chosen equations of a row."""
        return row[self._chosen]

    def _of(self, key: object, value: object) -> Rows:
        if key not in self._known:
            self._known[key] = self.picked(self._table(value))  # type: ignore[arg-type]
        return self._known[key]

    def __call__(self, t: Summand) -> Rows:
        """Return a term in the chosen equations."""
        front, count = self._of(t.front, FRONTS[t.front]), self._of(("count", t.count), COUNTS[t.count])
        inverse = self._of(("inverse", t.std), t.inverse)
        return front * count * inverse**t.power * self._of((t.words, t.region, t.std), t.follows)

    def sizes(self, rows: Sequence[Rows]) -> Rows:
        """Return how large rows are at most in the world of each equation, with what a far mean costs."""
        total = np.sum(np.abs(rows), axis=0)
        starts = np.cumsum([0, *(v.size for _, v in self._seen)])
        for a, b in pairwise(starts):
            here = (self._chosen >= a) & (self._chosen < b)
            total[here] = total[here].max(initial=0)
        return total * self.picked(self._table(far)) ** 2


def _fitted(rows: Rows, wanted: Rows) -> dict[int, float] | None:
    """Return the constants of the rows that are needed, by their number; None if they do not meet every equation."""
    used = np.flatnonzero(np.all(np.isfinite(rows), axis=1) & np.any(rows, axis=1))
    few = np.linspace(0, len(wanted) - 1, SCREENED).astype(int)
    if _left(rows[used][:, few], wanted[few]) > LEFT:
        return None
    while len(spare := _without_one(rows, used, wanted)) < len(used):
        used = spare
    for found in exactly(used, rows, wanted):
        return dict(found.terms)
    return None


def _left(rows: Rows, wanted: Rows) -> float:
    """Return the most that the best constants leave of an equation."""
    return float(np.abs(solved(rows.T, wanted) @ rows - wanted).max())


def _without_one(rows: Rows, used: Rows, wanted: Rows) -> Rows:
    """Return the rows without one that is not needed, if there is such a one."""
    for k in range(len(used)):
        rest = np.delete(used, k)
        if _left(rows[rest], wanted) <= 1:
            return rest
    return used


def _named(
    quantity: str, own: Sequence[Summand], others: Sequence[Summand], found: dict[int, float], changed: str
) -> Combination:
    parts, key = [], []
    for k, (t, other) in enumerate(zip(own, others, strict=True)):
        words = []
        for number, term, mark in ((k, t, ""), (k + len(own), other, "*")):
            if found.get(number):
                parts.append((found[number], term))
                words.append(f"{found[number]:.7g}{mark}")
        key.append("+".join(words) or "0")
    return Combination(quantity, tuple(parts), tuple(key), changed)
