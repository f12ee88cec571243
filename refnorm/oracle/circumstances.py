"""Circumstances under which alone something may be wrong: what a case is, whatever its numbers are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from refnorm.golden.inputs import Case
from refnorm.golden.sized import NAME as SIZED

EXCEPTIONS = 1 / 6  # of all that is right: a circumstance that holds for more of it tells little about what is wrong
ENOUGH = 3  # situations that must fail before a circumstance of sizes, or two at once, is believed


class Circumstance(NamedTuple):
    """A stable name for machines, words for people, and whether it holds for a case."""

    name: str
    words: str
    holds: Callable[[Case], bool]


CIRCUMSTANCES: tuple[Circumstance, ...] = (
    Circumstance(
        "only-strided",
        "only where arrays are not contiguous or share memory",
        lambda c: c.situation.layout != "ordinary",
    ),
    Circumstance("only-shared-memory", "only where arrays share memory", lambda c: c.situation.layout == "shared"),
    Circumstance("only-broadcast", "only for broadcast arrays (stride 0)", lambda c: c.situation.layout == "broadcast"),
    Circumstance("only-without-affine", "only without gamma and beta", lambda c: c.gamma is None and c.beta is None),
    Circumstance("only-without-gamma", "only without gamma", lambda c: c.gamma is None),
    Circumstance("only-without-beta", "only without beta", lambda c: c.beta is None),
    Circumstance("only-mixed-precision", "only where parameters are wider than x", lambda c: c.parameters != c.kind),
    Circumstance("only-half", "only in half precision", lambda c: c.kind in ("float16", "bfloat16")),
    Circumstance(
        "only-float64",
        "only in float64: intermediate results are kept in a narrower format",
        lambda c: c.kind == "float64",
    ),
    Circumstance("only-narrow", "only in formats narrower than float64", lambda c: c.kind != "float64"),
    Circumstance("only-one-sample", "only for a batch of one sample", lambda c: c.x.shape[0] == 1),
    Circumstance(
        "only-constant-channel", "only in a constant channel", lambda c: c.situation.content in ("constant", SIZED)
    ),
    Circumstance(
        "only-dead-channel",
        "only where a running variance is 0",
        lambda c: c.operation == "inference" and not np.all(c.running_var),
    ),
    Circumstance("only-gamma-zero", "only where gamma is 0", lambda c: c.gamma is not None and not np.all(c.gamma)),
    Circumstance(
        "only-gamma-small",
        "only where gamma is 0 or nearly: x_hat may be recovered from y",
        lambda c: c.situation.gamma in ("zero", "all-zero", "tiny"),
    ),
    Circumstance(
        "only-initial-statistics",
        "only from running statistics of exactly (0, 1)",
        lambda c: not np.any(c.running_mean) and bool(np.all(c.running_var == 1)),
    ),
    Circumstance("only-many-samples", "only for many samples", lambda c: c.x.shape[0] > 64),
    Circumstance("only-rank-2", "only for x of rank 2", lambda c: c.x.ndim == 2),
    Circumstance("only-rank-3", "only for x of rank 3", lambda c: c.x.ndim == 3),
    Circumstance("only-rank-4", "only for x of rank 4", lambda c: c.x.ndim == 4),
    Circumstance("only-rank-5", "only for x of rank 5", lambda c: c.x.ndim == 5),
    Circumstance("only-spatial", "only for x with spatial axes", lambda c: c.x.ndim > 2),
    Circumstance("only-large-count", "only for large counts", lambda c: c.count > 512),
    Circumstance(
        "only-last-axis-like-channels",
        "only where the last axis is as long as there are channels: the layout is guessed",
        lambda c: c.x.ndim > 2 and c.x.shape[-1] == c.x.shape[1],
    ),
    Circumstance("only-zero-eps", "only for eps = 0", lambda c: c.eps == 0),
    Circumstance("only-several-steps", "only over several steps", lambda c: len(c.batches) > 1),
)

SIZES: tuple[Circumstance, ...] = (  # they hold by accident more easily: believed without an exception alone
    Circumstance("only-as-many-samples-as-channels", "only where N = C", lambda c: c.x.shape[0] == c.x.shape[1]),
    Circumstance(
        "only-last-axis-of-fours",
        "only where the last axis is a multiple of 4",
        lambda c: c.x.ndim > 2 and c.x.shape[-1] % 4 == 0,
    ),
    Circumstance(
        "only-count-power-of-two", "only where the count is a power of two", lambda c: c.count & (c.count - 1) == 0
    ),
    Circumstance("only-even-count", "only for even counts", lambda c: c.count % 2 == 0),
    Circumstance("only-odd-count", "only for odd counts", lambda c: c.count % 2 == 1),
    Circumstance("only-few-values", "only for counts below 5", lambda c: c.count < 5),
    Circumstance("only-many-channels", "only for more than 32 channels", lambda c: c.x.shape[1] > 32),
    Circumstance("only-float32", "only in float32", lambda c: c.kind == "float32"),
    Circumstance(
        "only-negative-gamma", "only where a gamma is negative", lambda c: c.gamma is not None and c.gamma.min() < 0
    ),
)


COUNTED = "only for {least:g} WHAT or more ({most:g} are right)"
MEASURES: dict[str, tuple[str, Callable[[Case], float]]] = {  # what a case may have too much of, or of its inverse
    "only-large-count": (COUNTED.replace("WHAT", "values per channel"), lambda c: c.count),
    "only-many-samples": (COUNTED.replace("WHAT", "samples"), lambda c: c.x.shape[0]),
    "only-many-channels": (COUNTED.replace("WHAT", "channels"), lambda c: c.x.shape[1]),
    "only-large-values": (
        "only where the largest |x| is {least:g} or more ({most:g} is right)",
        lambda c: float(np.max(np.abs(c.x), initial=0)),
    ),
    "only-small-eps": (
        "only for eps below {inverse:g} ({inverse:g} is right)",
        lambda c: 1 / c.eps if c.eps else np.inf,
    ),
}
SEEN, LEVELS = 8, 3  # cases that are right with less, and of how many sizes: so many make a limit
FEW = 1 / 4  # of the failures: cases that are right although they have more


def limits_seen(failed: Sequence[Case], passed: Sequence[Case]) -> list[tuple[Circumstance, int]]:
    """Return how many values, samples or channels are needed to fail, how large an x, or how small an eps.

    Only cases of the formats that fail are compared. With each comes the number of its exceptions.

    Examples
    --------
    >>> from refnorm.golden.inputs import case
    >>> *small, large = (case(f"bn.training.float32.sized.{shape}") for shape in ("65x5", "67x5", "1025x5", "65537x4"))
    >>> limits_seen([large], small * 3)[0][0].words
    'only for 65537 values per channel or more (1025 are right)'
    """
    kinds, found = {case.kind for case in failed}, []
    passed = [case for case in passed if case.kind in kinds]
    for name, (words, measure) in MEASURES.items():
        least, seen = min(map(measure, failed)), sorted(map(measure, passed))
        below = [value for value in seen if value < least]
        exceptions = len(seen) - len(below)
        if len(below) >= SEEN and len(set(below)) >= LEVELS and exceptions <= FEW * len(failed):
            words = words.format(least=least, most=below[-1], inverse=1 / below[-1] if below[-1] else np.inf)
            holds = lambda c, of=measure, least=least: of(c) >= least  # noqa: E731
            found.append((Circumstance(name, words, holds), exceptions))
    return sorted(found, key=lambda pair: pair[1])


MET_BEFORE = (
    ("only-shape-met-before", "only from the second batch of a shape on: something of the first is kept"),
    ("only-shape-and-format-met-before", "only from the second batch of a shape and format on: something is kept"),
)


def met_before(asked: Sequence[Case]) -> tuple[Circumstance, ...]:
    """Return the circumstances that a shape, or a shape in a format, was there before, of cases in order.

    Examples
    --------
    >>> from refnorm.golden.inputs import case
    >>> first, other = case("bn.training.float64.rank-2.1"), case("bn.training.float32.rank-2.1")
    >>> [[c.holds(one) for one in (first, other)] for c in met_before([first, other])]
    [[False, True], [False, False]]
    """
    found = []
    keys: tuple[Callable[[Case], Any], ...] = (lambda c: c.x.shape, lambda c: (c.x.shape, c.kind))
    for (name, words), key in zip(MET_BEFORE, keys, strict=True):
        first = {key(c): c.id for c in reversed(asked)}  # another case, or else an earlier batch of the case itself
        holds = lambda c, key=key, first=first: first.get(key(c), c.id) != c.id or len(c.batches) > 1  # noqa: E731
        found.append(Circumstance(name, words, holds))
    return tuple(found)


def in_formats(failed: Sequence[Case]) -> Circumstance:
    """Return the circumstance that x is in one of the formats that fail.

    Examples
    --------
    >>> from refnorm.golden.inputs import case
    >>> in_formats([case("bn.training.float16.rank-2.1"), case("bn.training.float16.rank-3.1")]).words
    'only in float16'
    """
    kinds = dict.fromkeys(case.kind for case in failed)
    return Circumstance("only-formats", f"only in {' and '.join(kinds)}", lambda case: case.kind in kinds)


def circumstances(
    failed: Sequence[Case], passed: Sequence[Case], also: Sequence[Circumstance] = ()
) -> list[tuple[Circumstance, int]]:
    """Return circumstances in which every failure is, with how many exceptions each has; the fewest first.

    ``also`` are further ones, that are not of the cases alone: what was asked before may have been forgotten, so that
    a few of the failures may be outside.

    One of sizes, or two at once ("only for x of rank 3, only without gamma"), must have no exception, and explain
    failures in several situations.

    Examples
    --------
    >>> from refnorm.golden.inputs import case
    >>> rank_2, rank_3 = case("bn.training.float64.rank-2.1"), case("bn.training.float64.rank-3.1")
    >>> [c.name for c, exceptions in circumstances([rank_3], [rank_2] * 9)]
    ['only-rank-3', 'only-spatial']
    """
    if limits := limits_seen(failed, passed):
        return limits
    told = [c for c in CIRCUMSTANCES if all(map(c.holds, failed))]
    held = {c.name: [c.holds(case) for case in passed] for c in (*told, *SIZES)}
    counted = [(c, sum(held[c.name])) for c in told]
    single = [(c, n) for c, n in counted if n < EXCEPTIONS * len(passed)]
    if passed and len({case.situation.name for case in failed}) >= ENOUGH and not any(n == 0 for _, n in single):
        sizes = [c for c in SIZES if all(map(c.holds, failed))]
        single += [(c, 0) for c in sizes if not any(held[c.name])]
        for a, b in itertools.combinations([*told, *sizes], 2):
            both = [x and y for x, y in zip(held[a.name], held[b.name], strict=True)]
            if not any(both) and not any(n == 0 for _, n in single):
                single.append((_both(a, b), 0))
    for c in also:
        within, outside = sum(map(c.holds, passed)), sum(not c.holds(case) for case in failed)
        if len(passed) >= SEEN and within < EXCEPTIONS * len(passed) and outside < EXCEPTIONS * len(failed):
            single.append((c, within + outside))
    return sorted(single, key=lambda pair: pair[1])


def _both(a: Circumstance, b: Circumstance) -> Circumstance:
    return Circumstance(f"{a.name}+{b.name}", f"{a.words}, {b.words}", lambda case: a.holds(case) and b.holds(case))


def how_often(quantity: str, ratios: Sequence[float], passed: int) -> str:
    """Say in how many cases a quantity is wrong, whose errors are ``ratios`` of their bounds.

    Examples
    --------
    >>> how_often("dx", [2.0, 4.5], 8)
    'dx is wrong in 2 of 10 cases: up to 4.5 times its bound'
    """
    worst = max(ratios)
    share = "in every case" if not passed else f"in {len(ratios)} of {len(ratios) + passed} cases"
    size = f"up to {worst:.3g} times its bound" if np.isfinite(worst) else "not finite where it should be"
    return f"{quantity} is wrong {share}: {size}"
