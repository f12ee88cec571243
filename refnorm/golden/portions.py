"""Batches of which only a portion counts, or lies at hand: masked cases and cases by shards, and their exact results.

A mask says which values count: the others enter no statistic, y and dx are 0 there, and dy is ignored. Shards are the
samples of a batch that several workers have, one after the other: each takes the statistics of its own, merged they are
those of the batch, and the sums dgamma and dbeta are added up over the workers.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from refnorm.formats import Floats
from refnorm.golden.situations import Situation

if TYPE_CHECKING:
    from refnorm.exact import Exact
    from refnorm.golden.inputs import Case

LARGE = 64.0  # times what stood there
LENGTHS, SAMPLES, COUNTS = (4, 2, 1), 2, (8, 5, 2)
APART = 8.0  # from a shard's mean to the next one's, in scales of its channel


def mask_of(situation: Situation) -> npt.NDArray[np.bool_] | None:
    """Return which values count, in the shape of x.

    "lengths": the first 4, 2 and 1 values of three sequences; "samples": all but the last two samples; "channels": of
    the k-th value of channel c, from 0 on, those where (3 k + c) mod 8 is below 8, 5 and 2.

    Examples
    --------
    >>> mask_of(Situation("", "", (3, 2, 4), mask="lengths"))[:, 0].sum(1)
    array([4, 2, 1])
    """
    samples, channels, *rest = situation.shape
    position = np.arange(int(np.prod(rest, dtype=int))).reshape(1, 1, *rest)
    if situation.mask == "lengths":
        kept = position < np.array(LENGTHS).reshape(-1, 1, 1)
    elif situation.mask == "samples":
        kept = np.arange(samples).reshape(-1, 1, *(1 for _ in rest)) < samples - SAMPLES
    elif situation.mask == "channels":
        k, c = np.arange(samples).reshape(-1, 1, 1) * position.size + position, np.arange(channels).reshape(1, -1, 1)
        kept = (3 * k + c) % 8 < np.array(COUNTS).reshape(1, -1, 1)
    else:
        return None
    return np.broadcast_to(kept, situation.shape).copy()


def padded(values: Floats, where: npt.NDArray[np.bool_], situation: Situation, *, upstream: bool = False) -> Floats:
    """Return x or dy with what stands where the mask is False; dy is as large there as elsewhere, but for NaN."""
    if situation.padding == "nan":
        other = np.where(np.arange(values.size).reshape(values.shape) % 2, np.nan, np.inf)
    elif upstream:
        other = values
    else:
        other = values * LARGE if situation.padding == "large" else np.zeros_like(values)
    return np.where(where, values, other)


def drift(situation: Situation) -> Floats:
    """Return what each sample is moved by, in scales of its channel, so that each shard has a mean of its own."""
    which = np.repeat(np.arange(len(situation.shards)), situation.shards)
    return (APART * which).reshape(-1, *(1 for _ in situation.shape[1:]))


def masked_results(case: Case) -> dict[str, Exact]:
    """Compute every result of a masked case, by the names of `refnorm.golden.contents`. Needs python-flint."""
    from refnorm import exact

    forward = exact.training(case.x, case.gamma, case.beta, eps=case.eps, where=case.where)
    gradients = exact.training_gradients(case.dy, case.x, case.gamma, eps=case.eps, where=case.where)
    found = {"y": forward.y, "mean": forward.mean, "var": forward.var, **gradients._asdict()}
    found |= {"var_correction_1": _corrected(forward.var, forward.count), "count": _rationals(forward.count)}
    return {f"masked {name}": value for name, value in found.items()}


def sharded_results(case: Case) -> dict[str, Exact]:
    """Compute every result of a case by shards. Those of a shard have shape (shards, channels); see `at_hand`.

    What a shard adds to dgamma is the dgamma of a dy that is 0 in all others: the statistics are those of the batch.
    """
    from refnorm import exact

    x, shards = case.x, [slice(*ends) for ends in pairwise(accumulate(case.situation.shards, initial=0))]
    forward = exact.training(x, case.gamma, case.beta, eps=case.eps)
    found = {"y": forward.y, "mean": forward.mean, "var": forward.var}
    found |= exact.training_gradients(case.dy, x, case.gamma, eps=case.eps)._asdict()
    found |= {"var_correction_1": _corrected(forward.var, forward.count)}
    own = [exact.statistics(x[shard]) if shard.stop > shard.start else None for shard in shards]
    sums = []
    for shard in shards:
        dy = np.zeros_like(x)
        dy[shard] = case.dy[shard]
        sums.append(exact.training_gradients(dy, x, eps=case.eps))
    channels = x.shape[1]
    for name in ("mean", "var"):
        found[f"shard_{name}"] = _stacked([getattr(moments, name, None) for moments in own], channels)
    for name in ("dgamma", "dbeta"):
        found[f"shard_{name}"] = _stacked([getattr(of, name) for of in sums], channels)
    return {f"sharded {name}": value for name, value in found.items()}


def at_hand(case: Case, name: str) -> list[int] | None:
    """Return the flat indices at which a result of shards is defined: an empty one has neither mean nor variance."""
    if name not in ("shard_mean", "shard_var") or all(case.situation.shards):
        return None
    channels = case.x.shape[1]
    return [s * channels + c for s, samples in enumerate(case.situation.shards) if samples for c in range(channels)]


def _corrected(var: Exact, counts: list[int]) -> Exact:
    """Return m / (m - 1) times the variance of each channel."""
    from refnorm import exact

    factors = [exact.rational(Fraction(m, m - 1)) for m in counts]
    zero, one = exact.rational(0), exact.rational(1)
    return exact.Exact.of(var.shape, [exact.Number(f * var.number(c).p, zero, one) for c, f in enumerate(factors)])


def _rationals(values: list[int]) -> Exact:
    from refnorm import exact

    zero, one = exact.rational(0), exact.rational(1)
    return exact.Exact.of((len(values),), [exact.Number(exact.rational(value), zero, one) for value in values])


def _stacked(rows: list[Exact | None], channels: int) -> Exact:
    """Stack a number per channel of each shard; 0 stands for what an empty one has not."""
    from refnorm import exact

    nothing = exact.Number(exact.rational(0), exact.rational(0), exact.rational(1))
    numbers = [nothing if row is None else row.number(c) for row in rows for c in range(channels)]
    return exact.Exact.of((len(rows), channels), numbers)
