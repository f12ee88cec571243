"""A trial from target to report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from refnorm.conventions.row import Convention
from refnorm.conventions.rows import convention as row_called
from refnorm.formats import FORMATS
from refnorm.golden.contents import SET
from refnorm.golden.inputs import Case
from refnorm.golden.inputs import case as case_of
from refnorm.golden.truth import can_compute, truth
from refnorm.oracle.ask.envelope import REQUIRABLE
from refnorm.oracle.ask.interface import formats_of, offered
from refnorm.oracle.ask.process import Loss
from refnorm.oracle.ask.target import Target, TargetError, as_target, load_target
from refnorm.oracle.judge import Observation
from refnorm.oracle.observe import observe, observed, worked_out
from refnorm.oracle.plan import USUAL, Depth, Plan, planned
from refnorm.oracle.quantities import kind_of
from refnorm.oracle.report import Report
from refnorm.oracle.tiers import BY_NAME, WORST
from refnorm.oracle.verdict import planned_verdict


def check(
    implementation: Any,
    convention: str | None = None,
    *,
    dtypes: Sequence[str] | None = None,
    require: Sequence[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
    accumulate: str | None = None,
    tier: str | None = None,
    thorough: bool = False,
    seed: int = 0,
) -> Report:
    """Put an implementation on trial.

    Parameters
    ----------
    implementation : what someone wrote: a module, function, class or instance, read as `refnorm.oracle.ask.doors` says;
        or a target's name.
    convention : the row of `refnorm.conventions` to judge by; by default a framework's own, that of its ecosystem for a
        layer (torch for a torch.nn.Module, "cs231n" for its signatures), else the one that it is measured to follow.
    dtypes : formats of x to try; by default float64, float32 and float16, of which the last is judged as a promise only
        where the implementation makes it, by an attribute ``dtypes``.
    require : what must be offered, of "ranks", "formats", "affine", "statistics", "eps", "momentum" (both as they are
        passed) and "gradients"; without it, what is not offered is no finding.
    progress : called with the number of the case, their count and the case's id.
    accumulate : the format in which sums must be taken, if it is wider than that of x; by default float32.
    tier : the class of algorithms that conform, of "wide", "pairwise", "rows", "welford", "folded" and "one-pass" (see
        `refnorm.oracle.bounds`), each with those before it; by default all but the last.
    thorough : try every size at which kernels break, and shapes that no one has chosen, drawn by ``seed``.

    Returns
    -------
    Report
        ``report.conforms``, ``report.findings``, ``str(report)``, ``report.to_dict()``.

    Raises
    ------
    ValueError
        If the convention, a dtype or what is required is unknown.
    refnorm.oracle.ask.target.TargetError
        If there is nothing to judge.

    Examples
    --------
    >>> check("refnorm", dtypes=["float64"]).conforms
    True
    """
    target = load_target(implementation) if isinstance(implementation, str) else as_target(implementation)
    depth = depth_of(accumulate, tier, thorough, seed)
    return trial(target, convention, dtypes=dtypes, require=require, progress=progress, depth=depth)


def depth_of(accumulate: str | None, tier: str | None, thorough: bool, seed: int) -> Depth:
    """Return how much a trial asks, from what `check` is given."""
    if tier is not None and tier not in BY_NAME:
        raise ValueError(f"unknown tier {tier!r}; use one of {', '.join(BY_NAME)}")
    if accumulate is not None and accumulate not in FORMATS:
        raise ValueError(f"sums cannot be asked for in {accumulate!r}; use one of {', '.join(FORMATS)}")
    limit = WORST if tier is None else BY_NAME[tier]
    return Depth(limit if accumulate is None else replace(limit, accumulate=accumulate), thorough, seed)


def trial(
    target: Target,
    convention: str | None,
    *,
    dtypes: Sequence[str] | None = None,
    require: Sequence[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
    lost: Mapping[str, Loss] = MappingProxyType({}),
    meanwhile: Callable[[Iterator[object]], None] = lambda _: None,
    depth: Depth = USUAL,
) -> Report:
    """Judge a loaded target; see `check`.

    ``meanwhile`` is given the judge's own work, which may be done while answers are waited for.
    ``lost`` says what happened in a case, by its id, that the target hung or died in before: it is left out, and so are
    those of the same situation in other formats and ranks.
    """
    if convention is not None:
        row_called(convention)
    unknown = [d for d in dtypes or () if d not in FORMATS]
    if unknown:
        raise ValueError(f"unknown dtype {unknown[0]!r}; use one of {', '.join(FORMATS)}")
    odd = [what for what in require if what not in REQUIRABLE]
    if odd:
        raise ValueError(f"{odd[0]!r} cannot be required; use {', '.join(REQUIRABLE)}")
    import refnorm

    start = time.perf_counter()
    fatal = {_situation(id) for id in lost}
    total = done = 0

    def step(id: str) -> None:
        nonlocal done
        done += bool(total)
        if progress is not None:
            progress(min(done, total), total, id)

    plans = [planned(target, name, convention, dtypes, step, require, depth) for name in target.paths]
    plans = [
        replace(
            p,
            cases=tuple(c for c in p.cases if _situation(c.id) not in fatal),
            unstored=tuple(id for id in p.unstored if _situation(id) not in fatal),
        )
        for p in plans
    ]
    total = sum(len(p.cases) + len(p.unstored) for p in plans)
    if not total:
        raise TargetError(f"{target.name} could not be judged: {_why_nothing(target, plans)}")
    paths, unheld = [], list[str]()
    judged_as = convention or (target.convention if target.declared else plans[0].row.name)
    for plan in plans:
        meanwhile(worked_out(plan.implementation, plan.row, list(plan.cases)))
        observations = list(observe(plan.implementation, plan.row, list(plan.cases), step, plan.limit))
        for id in plan.unstored:
            step(id)
            large = plan.as_taken(case_of(id))
            observations += observed(plan.implementation, plan.row, large, plan.limit) if large is not None else []
        seen = {o.case.id for o in observations}
        missing = [] if can_compute() else [c.id for c in plan.cases if c.id not in seen]
        unheld += missing
        asked = len(plan.cases) + len(plan.unstored) - len(missing)
        path = planned_verdict(plan, offered(plan.implementation), observations, asked)
        if plan.row.name != judged_as:
            path = replace(path, convention=plan.row.name)
        paths.append(path)
    versions = {"refnorm": refnorm.__version__, "golden": SET, "target": target.version, "array": target.array}
    seconds = round(time.perf_counter() - start, 3)
    notes = [*target.notes]
    notes += [f"{loss.how} in case {id}: cases like it were left out" for id, loss in lost.items()]
    if depth.thorough:
        notes.append(f"thorough: sizes at which kernels break, and shapes drawn by --seed {depth.seed}")
    if unheld:
        notes.append(
            f"{len(unheld)} of {total} cases were not judged, and of large arrays a sample was: the frozen set does "
            "not hold the rest, and there is no python-flint to compute it"
        )
    return Report(
        target.name,
        judged_as,
        tuple(paths),
        versions,
        _judged_in(plans),
        seconds,
        tuple(notes),
        _call(target, convention),
    )


def _why_nothing(target: Target, plans: Sequence[Plan]) -> str:
    """Say why no case applies: formats, or ranks."""
    said = [formats_of(plan.implementation) if plan.envelope is None else plan.envelope.formats for plan in plans]
    taken = {kind for formats in said for kind in (FORMATS if formats is None else formats)}
    dtypes = plans[0].dtypes if plans else ()
    if not taken & set(dtypes):
        kinds = " or ".join(kind for kind in FORMATS if kind in taken) or "no format that there is"
        return f"it takes {kinds}, and was asked for {' or '.join(dtypes) or 'none'}"
    return f"no case has a rank that {', '.join(sorted({plan.row.name for plan in plans}))} accepts"


def _judged_in(plans: Sequence[Plan]) -> tuple[str, ...]:
    """Return the formats that some path was asked for and takes."""
    taken = {case.kind for plan in plans for case in plan.cases}
    kinds = dict.fromkeys(kind for plan in plans for kind in plan.dtypes)
    return tuple(kind for kind in kinds if kind in taken or plans[0].envelope is None)


def _situation(id: str) -> tuple[str, str]:
    """Return operation and situation of a case, format and number aside."""
    _, operation, _, situation, *_ = id.split(".")
    return operation, situation


def _call(target: Target, asked: str | None) -> str:
    """Return the call that shows one finding again, to paste into a shell where the target can be named there."""
    imported, expression = target.code
    judged_as = (
        f", convention={asked!r}" if asked is not None and (asked != target.convention or not target.declared) else ""
    )
    call = f"refnorm.reproduce({expression or 'implementation'}, ...{judged_as})"
    statements = "; ".join(filter(None, (imported, "import refnorm", call)))
    return f'python -c "{statements}"' if expression else call


def reproduce(implementation: Any, case: str, quantity: str, *, convention: str | None = None, path: str = "") -> None:
    """Run one case on an implementation and print expected, got, error and bound of one quantity.

    Parameters
    ----------
    implementation : as in `check`.
    case, quantity, path : as a finding names them.

    Examples
    --------
    >>> reproduce("refnorm", "bn.training.float64.two-values.1", "running variance")
    bn.training.float64.two-values.1, running variance, judged as torch
    expected [0.08390431 3.36702199 1.54164298]
    got      [0.08390431 3.36702199 1.54164298]
    error / bound at most 0
    """
    target = load_target(implementation) if isinstance(implementation, str) else as_target(implementation)
    plan = planned(target, path if path in target.paths else next(iter(target.paths)), convention)
    chosen = plan.as_taken(case_of(case)) or case_of(case)
    if quantity == "repeatability":
        observations = list(observe(plan.implementation, plan.row, [chosen]))
    else:
        observations = observed(plan.implementation, plan.row, chosen)
    show_observations(chosen, quantity, plan.row, observations)


def show_observations(case: Case, quantity: str, row: Convention, observations: Sequence[Observation]) -> None:
    """Print what was observed of one quantity of a case: expected, got, error and bound, or why there is none."""
    print(f"{case.id}, {quantity}, judged as {row.name}")
    for o in observations:
        if o.quantity != quantity:
            continue
        if o.trouble or o.policy:
            print(f"found    {o.trouble.text}" if o.trouble else f"outcome  {o.policy}")
            continue
        print(f"expected {truth(case, row, quantity).rounded(kind_of(case, quantity))}\ngot      {o.actual}")
        print(f"error / bound at most {o.ratio:.3g}")
