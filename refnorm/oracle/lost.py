"""Digits that are lost: in half precision, in one pass, among subnormal numbers, or with those of y."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.formats import smallest, unit_roundoff
from refnorm.oracle.finding import Cause
from refnorm.oracle.judge import Observation
from refnorm.oracle.matching import explained
from refnorm.oracle.measure.explain import FORWARD, Explanation
from refnorm.oracle.quantities import FURTHER
from refnorm.oracle.tiers import NARROW

RUNNING = {"running mean", "running variance"}
IN_HALF = Cause(
    "numerics",
    "half-overflow",
    "sums or squares stay in half precision: they must be kept in float32 or wider",
    "At values of a few hundred, or some thousand values per channel, they overflow or stop growing: "
    "statistics become inf, y 0, gradients of gamma and beta too small.",
)
IN_ONE_PASS = Cause(
    "numerics",
    "one-pass-variance",
    "digits are lost when the mean is large: the variance is E[x^2] - E[x]^2 in one pass, or something like it",
    "The error grows with (mean/std)^2: at mean/std = 1e4 float32 has no digit left in the variance.",
)
IN_ONE_PASS_ABOUT_A_VALUE = Cause(
    "numerics",
    "shifted-one-pass-variance",
    "digits are lost where a value lies far from the mean: the variance is E[(x - k)^2] - E[x - k]^2 in one "
    "pass, k being such a value, or something like it",
    "The error grows with ((k - mean)/std)^2: k should be near the mean, as the running mean may be.",
)


def lost_with_y(quantity: str, causes: Mapping[Cause, Sequence[Observation]]) -> dict[str, Cause]:
    """Return why digits of y are lost, by case: gradients that a library derives from it have none to show there."""
    y = "frozen y" if quantity.startswith("frozen") else "y, training"
    found = [(c, o) for c, own in causes.items() if c.kind == "numerics" for o in own if o.quantity == y]
    return {o.case.id: c for c, o in found} if quantity not in (*FORWARD, *RUNNING) else {}


def narrow_sums(failed: Sequence[Observation]) -> Cause:
    """Return the cause of failures that sums in the format of x explain."""
    kind = " and ".join(dict.fromkeys(o.case.kind for o in failed))
    title = f"right if sums are taken in {kind} itself; they must be kept in float32 or wider"
    effect = "Digits are lost with every value that is added; if in the sum itself, sums of thousands stop growing."
    return Cause("numerics", f"accumulates-in-{kind.replace(' ', '-')}", title, effect)


def overflow(
    quantity: str,
    failed: Sequence[Observation],
    comparable: Sequence[Observation],
    row: Convention,
    found: Sequence[Explanation],
) -> tuple[Explanation | None, list[Observation]]:
    """Return what failed because half precision was left on the way, and the formula that explains the rest."""
    large = [o for o in failed if _may_overflow(o)]
    rest = [o for o in failed if o not in large]
    if not large:
        return None, []
    elsewhere = {o.case.situation.name for o in rest}  # what fails in wider formats too is no overflow
    within = [o for o in comparable if o not in large]
    explanation = explained(quantity, rest, within, row, found) if rest else None

    kinds = {o.case.kind for o in rest if NARROW.name not in o.tiers}  # what fails so has another cause: so may these

    def lost(o: Observation) -> bool:
        finite = rest and bool(np.all(np.isfinite(o.actual)))
        wide = o.elsewhere or o.case.situation.name in elsewhere
        return not wide and o.case.kind not in kinds and not finite

    return explanation, [o for o in large if explanation or lost(o)]


def _may_overflow(o: Observation) -> bool:
    """Whether a case leaves half precision on the way: squares of large values, a large count, products of sums."""
    products = o.quantity in FURTHER and not np.isfinite(o.got)
    large = o.case.situation.name in ("half-overflow", "large-count")
    return o.case.kind in ("float16", "bfloat16") and (products or large)


def is_flushed(o: Observation) -> bool:
    """Whether what failed are subnormal numbers that came back as 0: those of x, or the result itself."""
    if o.trouble is not None:
        return False
    among = o.case.situation.name == "subnormal-values" and bool(np.any(o.actual == 0))
    return among or is_lost(o)


def is_lost(o: Observation) -> bool:
    """Whether a result is 0 that should be a subnormal number."""
    normal = smallest(o.case.kind) / unit_roundoff(o.case.kind) / 2
    return o.trouble is None and o.got == 0 and 0 < abs(o.expected) < normal
