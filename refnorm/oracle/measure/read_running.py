"""Read off the new running statistics how old values and the batch's enter them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.oracle.measure.counts import DIVISORS
from refnorm.oracle.measure.fit import Rows, summed
from refnorm.oracle.measure.formula import Formula, Table, Term, channels, of
from refnorm.oracle.measure.read_forward import Seen, noise_in
from refnorm.oracle.measure.region import STANDARD
from refnorm.oracle.measure.terms import (
    EPS,
    MEAN,
    ONE,
    REGIONS,
    RUNNING_MEAN,
    RUNNING_VAR,
    VAR,
    WEIGHTS,
    constant,
    counted,
    mean,
    second_moment,
    shard_means,
    shard_variances,
    variance,
    weighed,
)
from refnorm.oracle.worlds import Values, World, after_batch, after_batches

RARE = ("(1 - a)^2 a", "(1 - a) a^2", "sqrt(1 - a)", "sqrt(a)", "(1 + a)")
USUAL = tuple(w for w in WEIGHTS if w not in RARE)
FEW = ("(1 - a)", "a", "1", "(1 - a)^2", "(1 - (1 - a)^2)")  # of what stands in the place of the batch's statistic
UNBIASED = variance(STANDARD, "(m - 1)")
OF_ROW = {  # by what a row says of momentum: the weights of old value and new one
    "new": ("(1 - a)", "a"),
    "old": ("a", "(1 - a)"),
    "sums": ("a/(1 + a)", "1/(1 + a)"),
}
THEIRS = ("a", "1", "(1 - a)", "(1 - a) a", "(1 - a)^2 a", "(1 - a) a^2")  # what else enters may weigh this
ROOTS = {1: "", 0.5: "sqrt of it"}  # the power of the stored value that is a sum of terms


@dataclass(frozen=True, eq=False)
class Running:
    """The update of a running mean or variance, as it was measured: new^power is a sum of terms.

    The other statistic, where a formula reads it, moves as the convention says.
    """

    which: str
    formula: Formula
    power: float = 1

    def value(self, w: World) -> Values:
        """Return what is stored after all batches of a case."""

        def move(step: World) -> tuple[Values, Values]:
            own = np.broadcast_to(self.formula.value(step) ** np.longdouble(1 / self.power), channels(w))
            return (own, after_batch(step)[1]) if self.which == "mean" else (after_batch(step)[0], own)

        return after_batches(w, w.case.batches, move)[self.which != "mean"].ravel()

    def words(self) -> str:
        """Return the formula in words."""
        return f"{self.formula}" if self.power == 1 else f"({self.formula})^2"


def defined_update(row: Convention, which: str) -> Formula:
    """Return the update of a convention."""
    old, new = OF_ROW[row.momentum]
    batch = MEAN if which == "mean" else UNBIASED if row.correction else VAR
    stored = RUNNING_MEAN if which == "mean" else RUNNING_VAR
    return of(*weighed(stored, [old]), *weighed(batch, [new]))


def read_update(which: str, seen: Sequence[Seen]) -> Iterator[Running]:
    """Yield what a running statistic may be after one batch, the simplest first.

    Parameters
    ----------
    which : "mean" or "variance".
    seen : the definition's world of each case of one batch, with what came back.
    """
    plain = [(w, np.asarray(new, float)) for w, new in seen if len(w.case.batches) == 1 and np.all(np.isfinite(new))]
    if len(plain) < 3:
        return
    row = plain[0][0].convention
    one = all(len(set(row.weights(w.case.momentum))) == 1 for w, _ in plain)  # at 1/2 nothing tells a from 1 - a
    for power in ROOTS if which == "variance" else (1,):
        families = _terms(which, power, row.momentum, one)
        flat = [t for family in families for t in family]
        table = Table([w for w, _ in plain], [channels(w) for w, _ in plain])
        with np.errstate(all="ignore"):
            rows = [[*map(table, family)] for family in families]
            target = np.concatenate([new for _, new in plain]) ** power
            size = np.concatenate([_size(w, new, which) for w, new in plain]) ** power
            noise = size * max(noise_in(w.case.parameters) for w, _ in plain)
        found = summed(target, noise, rows)
        if found:
            yield Running(which, Formula(tuple((c, flat[i]) for i, c in found.terms)), power)
            return


def _size(w: World, new: Rows, which: str) -> Rows:
    """Return how large the terms are that a new statistic is the sum of."""
    old, batch = w.running_mean, MEAN.value(w)
    parts = (old, batch) if which == "mean" else (w.running_var, VAR.value(w), (np.abs(old) + np.abs(batch)) ** 2)
    return np.abs(new) + sum(np.abs(np.asarray(p, float)).ravel() for p in parts)


@cache
def _terms(which: str, power: float, sense: str, one: bool) -> tuple[list[Term], ...]:
    """Return old values, the batch's, and what else may enter; ``one`` if both weights of this sense are alike."""
    old, new = OF_ROW[sense]
    old_names = [w for w in USUAL if not one or w != new]
    new_names = [w for w in USUAL if not one or w != old]
    few = [w for w in new_names if w in FEW or w == new]
    if which == "mean":
        batch = [mean(STANDARD, d) for d in DIVISORS]
        batch += [mean(r) for r in REGIONS if set("NSL") < set(r.axes)]
        batch += [shard_means(1), shard_means(2), shard_means(4), VAR]
        entering = [t for b in batch for t in weighed(b, new_names if b is batch[0] else few)]
        return (
            [t for s in (RUNNING_MEAN, RUNNING_VAR) for t in weighed(s, (*old_names, "(1 + a)"))],
            entering,
            [ONE, EPS],
        )
    stored = [RUNNING_VAR, RUNNING_MEAN, constant("running mean^2", lambda w: w.running_mean**2)]
    batch = [variance(STANDARD, d) for d in DIVISORS] + [second_moment(), second_moment(STANDARD, "(m - 1)")]
    batch += [variance(r) for r in REGIONS if set("NSL") < set(r.axes)]
    batch += [shard_variances(split, equal) for split in (1, 2, 4) for equal in (False, True)]
    batch += [_by_shard(2), _by_shard(1)]
    if power == 0.5:
        stored = [constant("running std", lambda w: np.sqrt(w.running_var))]
        std = constant("std", lambda w: np.sqrt(VAR.value(w)))
        batch = [counted(k, std) for k in ("1", "m/(m - 1)")]
        batch.append(constant("sqrt(unbiased var)", lambda w: np.sqrt(UNBIASED.value(w))))
    else:
        std_eps = constant("(std + eps)^2", lambda w: (np.sqrt(VAR.value(w)) + w.eps) ** 2)
        batch += [
            constant("std", lambda w: np.sqrt(VAR.value(w))),
            constant("sqrt(unbiased var)", lambda w: np.sqrt(UNBIASED.value(w))),
            constant("1/sqrt(var + eps)", lambda w: 1 / np.sqrt(VAR.value(w) + w.eps)),
            constant("sqrt(var + eps)", lambda w: np.sqrt(VAR.value(w) + w.eps)),
            constant("var^2", lambda w: VAR.value(w) ** 2),
            constant("(sqrt(unbiased var) + eps)^2", lambda w: (np.sqrt(UNBIASED.value(w)) + w.eps) ** 2),
            std_eps,
            counted("m/(m - 1)", std_eps),
        ]
    distance = constant("(mean - running mean)^2", lambda w: (MEAN.value(w) - w.running_mean) ** 2)
    corrected = counted("m/(m - 1)", distance)
    unbiased_eps = counted("m/(m - 1)", EPS)
    squared = constant("mean^2", lambda w: MEAN.value(w) ** 2)
    further = [EPS, unbiased_eps, ONE, distance, corrected, squared, MEAN]
    first = (VAR.words, f"unbiased {VAR.words}", "std")
    return (
        [t for s in stored for t in weighed(s, (*old_names, "(1 + a)"))],
        [t for b in batch for t in weighed(b, new_names if b.words in first else few)],
        [t for f in further for t in weighed(f, tuple(dict.fromkeys((*THEIRS, new))))],
    )


def _by_shard(times: int) -> Term:
    """Return the variance corrected with the count of the first of two shards, or with twice that."""

    def value(w: World) -> Values:
        n = len(w.x)
        m = np.longdouble(min(times, n) * -(-n // 2) * (w.m // n))
        return VAR.value(w) * m / (m - 1)

    return Term("var corrected by a shard's count", value)
