"""A coarser format whose rounding errors explain what failed: something on the way is rounded to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.formats import rounded, unit_roundoff
from refnorm.golden.truth import truth
from refnorm.oracle.judge import Observation, bound_of
from refnorm.oracle.matching import smooth
from refnorm.oracle.tiers import IN_ONE_FORMAT

NARROWER = 0.02  # of its bound: a format whose rounding explains errors shows at least so much of it somewhere
MOST = 0.5  # of the results: what computes in a narrower format, or gives NaN, does so more often than not
ROUNDED = 0.05  # of the errors: rounding leaves at least so many in either direction
FUNCTION = 100  # errors, before their direction is believed


def coarser(failed: Sequence[Observation], comparable: Sequence[Observation], row: Convention) -> str:
    """Name the format whose rounding errors explain all failures, if most of what is in the formats that fail does."""
    kinds = {o.case.kind for o in failed}
    for kind in ("float32", "float16", "bfloat16"):
        finer = [o for o in comparable if o.case.kind in kinds and unit_roundoff(o.case.kind) < unit_roundoff(kind)]
        if not set(failed) <= set(finer) or len(failed) < MOST * len(finer):
            continue
        largest = max((_ratio_in(kind, o, row) for o in failed if smooth(o)), default=0.0)
        cut = all(np.array_equal(rounded(o.actual, kind), o.actual, equal_nan=True) for o in failed)
        wider = any(o.case.kind in ("float64", "float32") for o in failed)  # float16 that errs is no bfloat16 for that
        if NARROWER < largest <= 1 and (cut or (wider and not _one_way(failed, row))):
            return kind
    return ""


def _one_way(failed: Sequence[Observation], row: Convention) -> bool:
    """Whether nearly all errors go towards 0, or nearly all away from it: that is a function, and no rounding."""
    inwards = total = 0
    for o in failed:
        exact = truth(o.case, row, o.quantity)
        with np.errstate(all="ignore"):
            error, value = exact.error_of(o.actual).ravel(), exact.hi.ravel()
            told = np.isfinite(error) & (error != 0) & (np.abs(value) > 0)
            inwards += int(np.sum(np.sign(error[told]) != np.sign(value[told])))
        total += int(told.sum())
    return total >= FUNCTION and not ROUNDED <= inwards / total <= 1 - ROUNDED


def _ratio_in(kind: str, o: Observation, row: Convention) -> float:
    """Return the largest error of an observation in bounds of another format."""
    with np.errstate(all="ignore"):
        bound = bound_of(replace(o.case, kind=kind, parameters=kind), row, o.quantity, IN_ONE_FORMAT)
        error = np.abs(truth(o.case, row, o.quantity).error_of(o.actual))
        return float(np.max(np.where(np.isinf(bound), 0, error / bound), initial=0))
