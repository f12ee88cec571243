"""Another row of the conventions under which everything that was seen conforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.conventions.rows import ROWS
from refnorm.golden.truth import NotHeld, truth
from refnorm.oracle.judge import Observation, bound_of


def nearest(observations: Sequence[Observation], declared: Convention) -> str | None:
    """Name the row under which the running statistics and policies that were seen conform; None if there is none."""
    policies = [o for o in observations if o.policy and o.case.undefined]
    moving = [o for o in observations if o.quantity in ("running mean", "running variance") and o.actual is not None]
    for row in sorted(ROWS.values(), key=lambda row: row.name == "paper"):  # a framework says more
        if row.name == declared.name or not moving:
            continue
        accepted = {"one value per channel": row.one_value, "empty batch": row.empty}
        if all(o.policy in accepted[o.quantity] for o in policies) and all(_conforms(o, row) for o in moving):
            return row.name
    return None


def _conforms(o: Observation, row: Convention) -> bool:
    try:
        exact = truth(o.case, row, o.quantity)
    except NotHeld:
        return True  # nothing contradicts
    with np.errstate(all="ignore"):
        error = np.abs(exact.error_of(o.actual))
        return bool(np.all((error <= bound_of(o.case, row, o.quantity)) | ~np.isfinite(exact.hi)))
