"""Which values enter a channel's statistics where not each does once: by sample, row, place, size, or channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from refnorm.oracle.measure.formula import Term, channels
from refnorm.oracle.measure.region import STANDARD
from refnorm.oracle.measure.terms import MEAN, NEIGHBOURS, once
from refnorm.oracle.worlds import Values, World

Rule = Callable[[Any, int], Any]

BLOCKS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
MOST = (16, 32, 64, 128, 256, 512, 768, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


@dataclass(frozen=True)
class Selection:
    """How often each value is counted in the statistics of a channel.

    Attributes
    ----------
    words : which values count; no two parts have the same, by which what was computed of them is kept.
    along : what is chosen: "samples"; places of the "last axis", or of each of the "spatial axes" (of rank above 2);
        "places" of a channel, in the order of memory; values by their "size"; "channels"; or an axis, 0 or -1, taken
        for that of channels where it is as long.
    rule : how often each counts, of places and how many there are; of x, along sizes; along channels which channel's
        values count, or which channels' do, as rows of a matrix.
    or_all : whether all count where the rule leaves none.
    zeros : how many zeros count beside, for x and how many of a channel's values count; none, if None.
    """

    words: str
    along: str | int
    rule: Rule
    or_all: bool = True
    zeros: Rule | None = None

    def weights(self, w: World) -> Values:
        """Return how often each value of its own channel is counted, to be broadcast to x."""
        return once(w, ("counted", self.words), lambda: self._weights(w.x))

    def _weights(self, x: Values) -> Values:
        if self.along == "size":
            counted = np.asarray(self.rule(x, x.size), np.longdouble)
            some = counted.any(axis=tuple(a for a in range(x.ndim) if a != 1), keepdims=True)
            return np.where(some | (not self.or_all), counted, 1)
        if self.along == "spatial axes":
            own = map(self.rule, np.indices(x.shape[2:]), x.shape[2:])
            return np.broadcast_to(math.prod(own, start=np.longdouble(1)), (x.shape[0], 1, *x.shape[2:]))
        kept = {
            "samples": (x.shape[0],) + (1,) * (x.ndim - 1),
            "last axis": (1,) * (x.ndim - 1) + (x.shape[-1] if x.ndim > 2 else 1,),
            "places": (x.shape[0], 1, *x.shape[2:]),
        }.get(str(self.along))
        if kept is None:  # the rule is one of channels, or of none
            return np.ones((x.shape[0], 1, *x.shape[2:]), np.longdouble)
        n = int(np.prod(kept))
        counted = np.asarray(self.rule(np.arange(n), n), np.longdouble)
        counted = np.broadcast_to(counted if counted.any() or not self.or_all else np.longdouble(1), n).reshape(kept)
        return np.broadcast_to(counted, (x.shape[0], 1, *x.shape[2:]))

    def mixing(self, w: World) -> Values | None:
        """Return which channels' values count for which, as a matrix; None if each channel's are its own."""
        if self.along != "channels":
            return None
        n = w.x.shape[1]
        chosen = np.asarray(self.rule(np.arange(n), n))
        return np.eye(n, dtype=np.longdouble)[chosen] if chosen.ndim == 1 else chosen.astype(np.longdouble)

    def _swapped(self, w: World) -> bool:
        """Say whether another axis is taken for that of channels."""
        return isinstance(self.along, int) and w.x.shape[self.along] == w.x.shape[1] and w.x.ndim > -2 * self.along

    def all_count_once(self, w: World) -> bool:
        """Say whether nothing is left out, and nothing else counts."""
        if self._swapped(w) or np.any(self._zeros(w)):
            return False
        mixing = self.mixing(w)
        return bool(np.all(self.weights(w) == 1)) and (mixing is None or np.array_equal(mixing, np.eye(len(mixing))))

    def _zeros(self, w: World) -> Values:
        if self.zeros is None:
            return np.longdouble(0)
        return np.longdouble(self.zeros(w.x, self.total(w, np.ones_like(w.x))))

    def total(self, w: World, values: Values) -> Values:
        """Return the sum of what counts, one for each channel."""
        if self._swapped(w):
            assert isinstance(self.along, int)
            return np.swapaxes(np.broadcast_to(values, w.x.shape), 1, self.along).sum(w.axes, keepdims=True)
        sums, mixing = (self.weights(w) * values).sum(w.axes, keepdims=True), self.mixing(w)
        return sums if mixing is None else (mixing @ sums.ravel()).reshape(sums.shape)

    def reached(self, w: World, upstream: Values) -> Values:
        """Return what reaches each value of x of what arrives at the channels' sums."""
        if self._swapped(w):
            assert isinstance(self.along, int)
            return np.broadcast_to(np.swapaxes(upstream, 1, self.along), w.x.shape)
        mixing = self.mixing(w)
        arriving = upstream if mixing is None else (mixing.T @ upstream.ravel()).reshape(upstream.shape)
        return self.weights(w) * arriving

    def count(self, w: World) -> Values:
        """Return how many values count, zeros included, for each channel."""
        return once(w, ("count", self), lambda: self.total(w, np.ones_like(w.x)) + self._zeros(w))

    def average(self, w: World, values: Values) -> Values:
        """Return the mean of what counts."""
        return self.total(w, values) / self.count(w)

    def squares(self, w: World, about: Values) -> Values:
        """Return the sum of squared deviations of what counts from a value of each channel."""
        if self._swapped(w):
            assert isinstance(self.along, int)
            return self.total(w, (w.x - np.swapaxes(about, 1, self.along)) ** 2)
        mixing = self.mixing(w)
        if mixing is None:
            return self.total(w, (w.x - about) ** 2) + self._zeros(w) * about**2
        mean = STANDARD.average(w.x)
        own, mean, about = (v.ravel() for v in (STANDARD.average((w.x - mean) ** 2), mean, about))
        spread = (mixing * (own + (mean - about[:, None]) ** 2)).sum(axis=1)
        return w.m * spread.reshape(channels(w))


ALL = Selection("all values", "places", lambda i, n: 1)


@cache
def parts() -> tuple[Selection, ...]:
    """Return the parts that are tried; those that may leave nothing both ways."""
    found = []
    for part in _parts():
        found.append(part)
        if part.along in ("samples", "places", "last axis", "size") and "twice" not in part.words:
            found.append(replace(part, words=f"{part.words} (none if there are too few)", or_all=False))
    return tuple(found)


def _parts() -> Iterator[Selection]:
    for along, one in (("samples", "sample"), ("places", "value")):
        yield Selection(f"all but the last {one}", along, lambda i, n: i < n - 1)
        yield Selection(f"all but the first {one}", along, lambda i, n: i > 0)
        yield Selection(f"all {one}s, the last one twice", along, lambda i, n: 1 + (i == n - 1))
        yield Selection(f"all {one}s, the first one twice", along, lambda i, n: 1 + (i == 0))
        yield Selection(f"the first half of the {one}s", along, lambda i, n: i < (n + 1) // 2)
        yield Selection(f"the first half of the {one}s, rounded down", along, lambda i, n: i < n // 2)
        yield Selection(f"the second half of the {one}s", along, lambda i, n: i >= n // 2)
        yield Selection(f"the second half of the {one}s, rounded down", along, lambda i, n: i >= (n + 1) // 2)
        yield Selection(f"every second of the {one}s", along, lambda i, n: i % 2 == 0)
        yield Selection(f"the first {one}", along, lambda i, n: i == 0)
        yield Selection(f"the last {one}", along, lambda i, n: i == n - 1)
    yield Selection("all but the last place of each row", "last axis", lambda i, n: i < n - 1)
    yield Selection("the first place of each row", "last axis", lambda i, n: i == 0)
    yield Selection("the last place of each row", "last axis", lambda i, n: i == n - 1)
    yield Selection("every second place of each row", "last axis", lambda i, n: i % 2 == 0)
    yield Selection("every second place of each spatial axis", "spatial axes", lambda i, n: i % 2 == 0)
    yield Selection("the places that are on no edge", "spatial axes", lambda i, n: (i > 0) & (i < n - 1) | (n < 3))
    frame: Rule = lambda x, _: x.shape[0] * (math.prod(n + 2 for n in x.shape[2:]) - math.prod(x.shape[2:]))  # noqa: E731
    yield Selection("all values and a frame of zeros", "places", lambda i, n: 1, zeros=frame)
    yield Selection("the values that are not 0", "size", lambda x, n: x != 0)
    yield Selection("the values above 0", "size", lambda x, n: x > 0)
    yield Selection("the values above 0, with 0 for the others", "size", lambda x, n: x > 0, False, _others)
    yield Selection("the middle value, or the two in the middle", "size", _by_rank(lambda i, n: abs(2 * i - n + 1) < 2))
    yield Selection("the lower of the middle values", "size", _by_rank(lambda i, n: i == (n - 1) // 2))
    yield Selection("the smallest and the largest value", "size", _by_rank(lambda i, n: (i == 0) | (i == n - 1)))
    for words, share in (("the smallest and the largest value", 0), ("a tenth at either end of their order", 0.1)):
        yield Selection(f"all but {words}", "size", _by_rank(_inner(share)))
    for split, what in ((1, "2 shards"), (2, "2 shards, of which the second may be larger"), (4, "4 shards")):
        yield Selection(f"{what} that weigh alike, whatever their counts", "samples", _alike(split))
    for size in BLOCKS:
        yield Selection(f"whole blocks of {size} places of each row", "last axis", _blocks(size))
        yield Selection(f"whole blocks of {size} values", "places", _blocks(size))
    for size in MOST:
        yield Selection(f"the first {size} samples", "samples", _first(size))
        yield Selection(f"the first {size} values", "places", _first(size))
    yield from OF_CHANNELS
    yield Selection("sample c for channel c, where N = C", 0, ALL.rule)
    yield Selection("place c of each row for channel c, where rows are as long as there are channels", -1, ALL.rule)
    for size in (2, 3, 4, 8, 16, 32):
        yield Selection(f"groups of {size} channels", "channels", _groups(size))


def _blocks(size: int) -> Rule:
    return lambda i, n: i < n // size * size


def _first(size: int) -> Rule:
    return lambda i, n: i < size


def _others(x: Values, counted: Values) -> Any:
    return x.size // x.shape[1] - counted


def _by_rank(rule: Rule) -> Rule:
    """Return which values of a channel count by their rank in it, 0 for the smallest."""

    def counted(x: Any, n: int) -> Any:
        rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
        ranks = np.moveaxis(rows.argsort(0).argsort(0).reshape(*np.moveaxis(x, 1, -1).shape), -1, 1)
        return rule(ranks, len(rows))

    return counted


def _inner(share: float) -> Rule:
    """Return all ranks but a share at either end, one where it is 0."""
    return lambda i, n: ((cut := int(share * n) if share else 1) <= i) & (i < n - cut)


def _modulo(size: int) -> Rule:
    return lambda c, n: c % size


OF_CHANNELS = (
    Selection("the first channel", "channels", lambda c, n: 0 * c),
    *(Selection(words, "channels", rule) for words, rule in NEIGHBOURS.items()),
    *(Selection(f"channel c mod {size}", "channels", _modulo(size)) for size in BLOCKS),
)


def _groups(size: int) -> Rule:
    """Return which channels go together; all by themselves where groups do not come out even."""
    return lambda c, n: (c[:, None] // size == c // size) if n % size == 0 else c


def _alike(split: int) -> Rule:
    """Return weights of samples by which each shard counts as one sample."""

    def rule(i: Any, n: int) -> Any:
        cuts = {1: [(n + 1) // 2], 2: [n // 2], 4: [n // 4, n // 2, 3 * n // 4]}[split]
        own = np.searchsorted(cuts, i, side="right")
        return 1 / np.bincount(own)[own].astype(np.longdouble)

    return rule


@cache
def part_mean(part: Selection, of_all: bool) -> Term:
    """Return the sum of what counts, divided by how many count, or by m."""

    def divisor(w: World) -> Values:
        return np.longdouble(w.m) if of_all else part.count(w)

    def value(w: World) -> Values:
        return once(w, ("part mean", part.words, of_all), lambda: part.total(w, w.x) / divisor(w))

    def back(w: World, upstream: Values) -> Values:
        return part.reached(w, STANDARD.average(upstream) * w.m / divisor(w))

    return Term(f"sum x of {part.words} / m" if of_all else f"mean of {part.words}", value, back)


DIVIDED: dict[str, Callable[[World, Selection], Values]] = {
    "": lambda w, part: part.count(w),
    " / m": lambda w, part: np.longdouble(w.m),
    " / (their number - 1)": lambda w, part: np.fmax(part.count(w) - 1, 1),
    " / (m - 1)": lambda w, part: np.longdouble(max(w.m - 1, 1)),
}


def part_variance(part: Selection, about: Term, divided: str = "") -> Term:
    """Return the sum of squared deviations of what counts, divided by how many count, or by another number."""

    def value(w: World) -> Values:
        key = ("part variance", part.words, about.words, divided)
        return once(w, key, lambda: part.squares(w, about.value(w)) / DIVIDED[divided](w, part))

    def back(w: World, upstream: Values) -> Values:
        centre, arriving = about.value(w), STANDARD.average(upstream) * w.m / DIVIDED[divided](w, part)
        own = 2 * (w.x * part.reached(w, arriving) - part.reached(w, arriving * centre))
        left = -2 * arriving * (part.total(w, w.x) - centre * part.count(w)) / w.m
        assert about.back is not None
        return own + about.back(w, np.broadcast_to(left, w.x.shape))

    over = f" of {part.words}" + (" about the mean of all" if about is MEAN else "")
    over += f" about the {about.words}" if part is ALL else ""
    return Term(f"sum (x - mean)^2{over}{divided}" if divided else f"var{over}", value, back)
