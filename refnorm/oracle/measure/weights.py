"""How running statistics move: the weights of old and new, which variance is stored, and what a count is of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from refnorm.oracle.ask.box import Box, Refused
from refnorm.oracle.measure.measurement import Key, Measurement, by_rank

DIGITS = 5e-7  # weights are told apart to six digits
SENSES: dict[str, Callable[[float], tuple[float, float]]] = {
    "new": lambda a: (1 - a, a),
    "old": lambda a: (a, 1 - a),
    "sums": lambda a: (a / (1 + a), 1 / (1 + a)),
}
MEANING = {"new": "weight of the new batch", "old": "weight of the old value", "sums": "factor on running sums"}

SAMPLES = "samples"  # what m counts, where it does not count all values of a channel

Probe = Iterator[Measurement]


def running_statistics(box: Box) -> Probe:
    """Weights from batches of mean 2 and biased variance 1; then the variance that is stored, at several counts."""
    if not box.keeps:
        return
    x = box.batch(*[1.0, 3.0] * 4)
    weights = {}
    for momentum in (0.25, 0.75, 0.9):
        _, mean, var = box.train(x, momentum, var=0.0)
        _, mean_from_one, var_from_one = box.train(x, momentum, mean=1.0)
        weights[momentum] = ((mean_from_one - mean).item(), mean.item() / 2)
        old_in_var = (var_from_one - var).item()
    sense = sense_of([(a, *both) for a, both in weights.items()])
    shown = ", ".join(f"{new:.6g} at {momentum:g}" for momentum, (_, new) in weights.items())
    yield Measurement(Key.NEW_WEIGHT, "weight of the new batch", weights[0.25][1], shown)
    yield Measurement(Key.OLD_WEIGHT, "weight of the old value", weights[0.25][0], "at momentum 0.25")
    yield Measurement(Key.MOMENTUM, "momentum", sense, MEANING.get(sense, "no known rule"))
    if abs(old_in_var - weights[0.9][0]) > DIGITS:
        note = "at momentum 0.9, not that of the old mean"
        yield Measurement(Key.OLD_VARIANCE_WEIGHT, "weight of the old variance", old_in_var, note)
    ks, shown = [], ""
    for m in (2, 3, 5, 8):
        values = np.arange(float(m))
        _, _, var = box.train(box.batch(*values), 0.25, var=0.0)
        _, _, from_one = box.train(box.batch(*values), 0.25)
        weight = 1 - (from_one - var).item()
        factor = var.item() / weight / float(np.var(values)) if weight else float("nan")
        ks.append(m * (1 - 1 / factor) if factor else float("nan"))
        shown += f"{', ' if shown else ''}{factor:.6g} at m = {m}"
    k = round(float(np.mean(ks)), 4) + 0.0 if np.ptp(ks) < 1e-4 else "other"
    yield Measurement(Key.CORRECTION, "running variance, k in m/(m - k)", k, f"times the biased one {shown}")
    counts = []
    for rank in box.ranks if k not in ("other", 0.0) else ():
        x = np.arange(24.0).reshape((2, 2, *[1] * (rank - 3), 6) if rank > 2 else (12, 2))
        _, _, var = box.train(x, 0.25, var=0.0)
        factors = var / weights[0.25][1] / np.var(x, axis=(0, *range(2, rank)))
        known = ((12, "all values"), (2, SAMPLES), (np.inf, "nothing: it is biased"))
        near = (word for n, word in known if np.all(np.abs(factors * (1 - float(k) / n) - 1) < 1e-4))  # it is n/(n - k)
        between = dict.fromkeys(f"{factor:.6g}" for factor in (factors.min(), factors.max()))
        counts.append((rank, next(near, f"other, {' to '.join(between)}")))
    yield from by_rank(Key.COUNTS, "m counts", counts)


def sense_of(fits: Sequence[tuple[float, float, float]], digits: float = DIGITS) -> str:
    """Return the sense in which momentum gives the weights of old and new values; "other" if none does.

    Examples
    --------
    >>> sense_of([(0.25, 0.75, 0.25), (0.9, 0.1, 0.9)])
    'new'
    """
    for sense, weights in SENSES.items():
        if all(np.allclose((old, new), weights(a), rtol=0, atol=digits) for a, old, new in fits):
            return sense
    return "other"


class Update(NamedTuple):
    """What momentum weighs, k of m/(m - k), -1 if it is no whole number, and whether m counts samples alone."""

    sense: str
    correction: int
    samples: bool


def update_of(box: Box) -> Update:
    """Return how running statistics move, in short."""
    try:
        with np.errstate(all="ignore"):
            found = list(running_statistics(box))
    except (Refused, ArithmeticError, ValueError, IndexError):
        return Update("other", -1, False)
    values = {m.key: m.value for m in found}
    k = values.get(Key.CORRECTION)
    near = round(k) if isinstance(k, float) and abs(k - round(k)) < 1e-3 else -1
    samples = any(m.value == SAMPLES for m in found)
    return Update(str(values.get(Key.MOMENTUM, "other")), near, samples)


def sense_and_correction(box: Box) -> tuple[str, int]:
    """Return what momentum weighs, and k of m/(m - k), -1 if it is no whole number."""
    return update_of(box)[:2]
