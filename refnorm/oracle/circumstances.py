"""Circumstances under which alone something may be wrong: what a case is, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from refnorm.golden.inputs import Case


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
    Circumstance("only-constant-channel", "only in a constant channel", lambda c: c.situation.content == "constant"),
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
