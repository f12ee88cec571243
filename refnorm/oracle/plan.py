"""What a path of a target is asked: its envelope, the row it is judged by, and the cases as it takes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from refnorm.conventions.row import Convention
from refnorm.golden.inputs import Case, in_shape
from refnorm.golden.settings import product_ids, setting_ids
from refnorm.golden.sized import NAME as SIZED
from refnorm.golden.sized import drawn_shapes, sized_ids, thorough_shapes
from refnorm.golden.truth import can_compute
from refnorm.oracle.ask.envelope import UNCLAIMED, Envelope, envelope_of, fitted
from refnorm.oracle.ask.interface import formats_of, operations_of
from refnorm.oracle.ask.target import Target
from refnorm.oracle.followed import Followed, followed
from refnorm.oracle.observe import cases_in, selected
from refnorm.oracle.tiers import WORST, Tier

DTYPES = ("float64", "float32", "float16")
USUAL_SHAPES = {2: (4, 3), 3: (4, 3, 2)}
COMPILED = (".65537x4", ".1x4x363x367")  # sizes for what is compiled for each shape anew
MOST_ELEMENTS = 2**18  # of a thorough trial in other formats than float32, the one that most kernels are written for
LARGE, FEWER = 20_000, (2, 2, 64, 64)  # elements beyond which a case takes long to judge, and a shape with fewer
ABOUT_SHAPE = {
    "two-values", "three-values", "square", "one-sample", "one-channel", "many-channels", "odd-split", "one-value",
    "empty-batch", "outlier", "large-count",
}  # fmt: skip


@dataclass(frozen=True)
class Depth:
    """How much a trial asks.

    Attributes
    ----------
    limit : the class of algorithms that conform.
    thorough : whether sizes are tried that take long, and products that overflow in one order alone.
    seed : of shapes that no one has chosen, part of a thorough trial.
    """

    limit: Tier = WORST
    thorough: bool = False
    seed: int = 0

    def ids(self, kind: str) -> list[str]:
        """Return the ids of the cases of a format that the set does not hold."""
        ids = [*setting_ids(kind), *sized_ids(kind)]
        if self.thorough:
            ids += product_ids(kind)
            most = math.inf if kind == "float32" else MOST_ELEMENTS
            ids += sized_ids(kind, [s for s in (*thorough_shapes(), *drawn_shapes(self.seed)) if math.prod(s) <= most])
        return list(dict.fromkeys(ids))


USUAL = Depth()


@dataclass(frozen=True)
class Plan:
    """How one path of a target is judged.

    Attributes
    ----------
    name, implementation : of the path.
    following : the row, and how it was found.
    envelope : what it takes; None for what declares that itself, a framework's adapter.
    cases : those that apply, as it takes them.
    dtypes : that were asked for.
    unclaimed : formats in which lost digits are a remark, and no finding.
    required : kinds of gaps that are findings, of `refnorm.oracle.ask.envelope.REQUIRABLE`.
    unstored : ids of cases of `refnorm.golden.settings` and `sized`, each built when its turn comes.
    limit : the class of algorithms that conform.
    """

    name: str
    implementation: Any
    following: Followed
    envelope: Envelope | None
    cases: tuple[Case, ...]
    dtypes: tuple[str, ...]
    unclaimed: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    unstored: tuple[str, ...] = ()
    limit: Tier = WORST

    @property
    def row(self) -> Convention:
        """The row that it is judged by."""
        return self.following.row

    def as_taken(self, case: Case) -> Case | None:
        """Return a case as this path takes it; None if it lies outside."""
        if self.envelope is None:
            return case
        if case.table is not None:
            return fitted.__wrapped__(case, self.envelope, self.row.momentum == "old")
        if case.x.size > LARGE and case.kind in self.unclaimed:
            return None
        spared = in_few_shapes(case) if getattr(self.implementation, "sparing", False) else case
        own = None if spared is None else fitted(spared, self.envelope, self.row.momentum == "old")
        if own is None or own.held or own.x.size <= LARGE:
            return own
        # its truth must be computed: what shows in it in inference, or beyond so many values, shows in small ones
        fewer = None if case.operation == "inference" else in_shape(case, FEWER)
        return None if fewer is None else fitted(fewer, self.envelope, self.row.momentum == "old")


def planned(
    target: Target,
    name: str,
    asked: str | None = None,
    dtypes: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
    required: Sequence[str] = (),
    depth: Depth = USUAL,
) -> Plan:
    """Find out how one path of a target is to be judged; where nothing is declared, by trying it.

    Parameters
    ----------
    asked : the row to judge by; None for its own, or the one that it is measured to follow.
    dtypes : formats of x; None for the usual ones, of which half precision is claimed only by who says so.
    progress : called with what is tried.
    required : kinds of gaps that are findings, as in `Plan`.
    depth : how much is asked for.
    """
    implementation = target.paths[name]
    claims = getattr(implementation, "half", formats_of(implementation) is not None)
    wider = ["bfloat16"] if claims and "bfloat16" in (formats_of(implementation) or ()) else []
    kinds = tuple((*DTYPES, *wider) if dtypes is None else dtypes)
    if target.declared:
        following = followed(implementation, target, asked, Envelope())
        chosen = selected(implementation, following.row, kinds)
        plan = Plan(name, implementation, following, None, tuple(chosen), kinds, required=tuple(required))
        return _deepened(plan, depth)
    progress(f"the trial of what {name or target.name} takes")
    envelope = envelope_of(implementation, kinds if dtypes is not None or "formats" in required else ())
    progress(f"the trial of the convention of {name or target.name}")
    following = followed(implementation, target, asked, envelope)
    unclaimed = () if dtypes is not None or claims else UNCLAIMED
    plan = Plan(name, implementation, following, envelope, (), kinds, unclaimed, tuple(required))
    return _deepened(replace(plan, cases=tuple(_cases(plan))), depth)


def _deepened(plan: Plan, depth: Depth) -> Plan:
    """Return a plan with the cases of sizes, of formats that are claimed, in ranks that are taken."""
    implementation, accepted = plan.implementation, formats_of(plan.implementation)
    kinds = [k for k in plan.dtypes if k not in plan.unclaimed and (accepted is None or k in accepted)]
    if plan.envelope is not None:
        kinds = [k for k in kinds if k in plan.envelope.formats]
    operations = operations_of(implementation)
    ids = [id for kind in kinds for id in depth.ids(kind) if id.split(".")[1] in operations]
    mixed = getattr(implementation, "mixed", True) if plan.envelope is None else plan.envelope.mixed
    if not mixed:
        ids = [id for id in ids if SIZED in id or "16." not in id]  # their parameters are wider
    if plan.envelope is None:
        ids = [id for id in ids if (1 + id.rpartition(".")[2].count("x") if SIZED in id else 2) in plan.row.ranks]
    if getattr(implementation, "sparing", False):  # each shape is compiled anew
        ids = [id for id in ids if id.endswith(COMPILED)]
    return replace(plan, unstored=tuple(ids) if can_compute() else (), limit=depth.limit)


@lru_cache(maxsize=1024)
def in_few_shapes(case: Case) -> Case | None:
    """Return a case in a shape that many have, for what is compiled for each shape anew.

    What is about a shape or a count keeps its own, and is asked in float64 alone; None for the rest of these.
    """
    situation = case.situation
    about = situation.name in ABOUT_SHAPE or case.x.ndim > 3 or not case.x.size or situation.layout != "ordinary"
    if about:
        return case if case.kind == "float64" or situation.name == "large-count" else None
    shape = USUAL_SHAPES[case.x.ndim]
    return case if case.x.shape == shape else in_shape(case, shape)


def _cases(plan: Plan) -> list[Case]:
    """Return the cases that apply to what says nothing of itself."""
    assert plan.envelope is not None
    kinds = [kind for kind in plan.dtypes if kind in plan.envelope.formats]
    asked = cases_in(kinds, plan.envelope.mixed, operations_of(plan.implementation))
    return [own for case in asked if (own := plan.as_taken(case)) is not None]
