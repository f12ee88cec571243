"""The verdict on one path of a target, from everything that was observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refnorm.conventions.row import POLICIES, Convention
from refnorm.conventions.rows import ROWS as CONVENTIONS_BY_NAME
from refnorm.golden.inputs import case as case_of
from refnorm.oracle.alternative import nearest
from refnorm.oracle.ask.answers import Kind, ask
from refnorm.oracle.diagnose import diagnose
from refnorm.oracle.finding import Cause, Finding, finding
from refnorm.oracle.judge import DECLINED, RESOLVED, Observation, judged_numbers
from refnorm.oracle.lost import is_flushed
from refnorm.oracle.measure.known import eps_fixed_at
from refnorm.oracle.measure.known_updates import WEIGHTS
from refnorm.oracle.plan import Plan
from refnorm.oracle.quantities import BEHAVIOURS, FURTHER, QUANTITIES, RETURNS
from refnorm.oracle.report import ROWS, Cell, Path
from refnorm.oracle.tiers import TIERS, WORST, Tier

FIRST = tuple(q for q in QUANTITIES if "running" not in q)  # what is differentiated to second order
IGNORED = 12  # cases that show what a setting does that is ignored


def planned_verdict(plan: Plan, functions: Sequence[str], observations: list[Observation], cases: int) -> Path:
    """Return the verdict on one path of a target that was judged by a plan: what lies outside of it is no finding."""
    came = {row for row in ROWS if {o.quantity for o in observations} & set(ROWS[row])}
    if hasattr(plan.implementation, "second_order"):
        observations = _of_its_own(observations)
    if plan.following.lenient:  # what is wrong for many values is no policy for one
        failed = {o.quantity for o in observations if not o.passed}
        follows = bool(failed & set(RETURNS["train"]))
        observations = [o for o in observations if not (follows and o.policy == "other")]
    refused = _refusals(observations) if plan.following.lenient else []
    observations = [o for o in observations if o not in refused]
    lenient = plan.following.lenient or getattr(plan.implementation, "sparing", False)  # a compiler flushes subnormals
    path = path_verdict(plan.name, functions, observations, plan.row, cases, plan.unclaimed, lenient)
    absent = set(getattr(plan.implementation, "without", ()))
    absent |= {q for o in observations if o.quantity == DECLINED for q in RETURNS.get(o.policy.split()[0], ())}
    asked = getattr(plan.implementation, "second_order", ())
    if asked and not any(o.case.kind in asked for o in observations):
        unasked = {q: f"{asked[0]} alone" for q in ("jvp", "double backward") if path.not_judged.get(q) == "no result"}
        path = replace(path, not_judged=path.not_judged | unasked)
    reasons = dict.fromkeys(came, "not judged") | dict.fromkeys(absent, "not offered")  # left out; not there at all
    path = replace(path, not_judged={q: reasons.get(q, why) for q, why in path.not_judged.items()})
    ignored = [replace(f, path=plan.name) for f in ignored_settings(plan)]
    policies = [] if path.findings else _policies(plan, observations)  # what is wrong is said first
    refusals = dict.fromkeys(f"NaN and inf are refused: {o.trouble.text}" for o in refused if o.trouble)
    remarks = [*_declined(observations), *refusals, *policies, *path.remarks]
    following, envelope = plan.following, plan.envelope
    return replace(
        path,
        findings=(*ignored, *path.findings, *required(plan, functions)),
        remarks=tuple(remarks),
        reading=getattr(plan.implementation, "reading", ""),
        followed=following.words,
        gaps=() if envelope is None else tuple(line for _, line in envelope.gaps()),
        envelope={} if envelope is None else envelope.to_dict(),
    )


def _refusals(observations: Sequence[Observation]) -> list[Observation]:
    """Return those where NaN or inf alone is met by an exception: nothing wrong came out."""
    raised = [o for o in observations if o.trouble is not None and o.trouble.kind is Kind.RAISED]
    elsewhere = {o.trouble.text for o in raised if o.trouble and o.quantity != "NaN and inf"}
    return [o for o in raised if o.trouble and o.trouble.text not in elsewhere]


def required(plan: Plan, functions: Sequence[str]) -> list[Finding]:
    """Return a finding for each thing that was required and is not offered."""
    gaps = [] if plan.envelope is None else plan.envelope.gaps()
    if "backward" not in functions:
        gaps.append(("gradients", "gradients: not offered; there is no backward"))
    effect = "It was required; without that, what is not offered is no finding."
    lines = [line for kind, line in gaps if kind in plan.required]
    return [Finding("wrong", "not-offered", line, effect, (), (), "", "", path=plan.name) for line in lines]


def _of_its_own(observations: Sequence[Observation]) -> list[Observation]:
    """Leave out second derivatives that a library cannot derive, or derives from what is wrong: no new fault."""
    wrong = any(not o.passed for o in observations if o.quantity in FIRST)

    def follows(o: Observation) -> bool:
        second = o.quantity in FURTHER or (o.trouble is not None and o.trouble.about in FURTHER)
        raised = o.trouble is not None and o.trouble.kind is Kind.RAISED
        beyond = o.trouble is None and np.isinf(o.bound)  # where even the derivatives of the root leave the format
        return bool(second and not o.passed and (wrong or raised or beyond))

    return [o for o in observations if not follows(o)]


def path_verdict(
    name: str,
    functions: Sequence[str],
    observations: list[Observation],
    row: Convention,
    cases: int,
    unclaimed: Sequence[str] = (),
    flushes: bool = False,
) -> Path:
    """Return the verdict on one path of a target, which offers these functions, from everything that was observed.

    ``unclaimed`` are formats that nobody promised: what is found in these alone is a remark. ``flushes`` says that
    subnormal numbers may be flushed to 0, as compilers and modes of the hardware do: that is a remark, too.
    """
    flushed = [o for o in observations if flushes and not o.passed and is_flushed(o)]
    claimed = [o for o in observations if o.case.kind not in unclaimed and o not in flushed]
    findings = tuple(replace(f, path=name) for f in diagnose(claimed, row))
    found = {q for f in findings for q in f.quantities}
    aside = [o for o in observations if not (o.passed or o in claimed) and o.quantity not in (*found, *BEHAVIOURS)]
    seen = {o.quantity for o in observations if o.trouble is None}
    unjudged = {}
    further = (("frozen gradients", "frozen"), ("jvp", "jvp"), ("double backward", "double_backward"))
    for quantity, function in (*((q, f) for f, quantities in RETURNS.items() for q in quantities), *further):
        if quantity not in seen and quantity in ROWS and not seen & set(ROWS[quantity]):
            offered = function in functions and (function != "backward" or "train" in functions)  # of inference alone
            unjudged[quantity] = "no result" if offered else "not offered"
    near = nearest(observations, row) if any(f.kind == "convention" for f in findings) else None
    remarks = (*_remarks([o for o in observations if o not in set(aside)]), *_set_aside(aside))
    return Path(name, tuple(_cells(observations, findings, unclaimed)), findings, unjudged, cases, near, remarks)


def _set_aside(aside: Sequence[Observation]) -> list[str]:
    """Say what fails in formats that nobody promised, a line for each format."""
    lines = []
    if flushed := ", ".join(dict.fromkeys(o.quantity for o in aside if is_flushed(o))):
        lines.append(f"subnormal numbers are flushed to 0: {flushed}")
    aside = [o for o in aside if not is_flushed(o)]
    for kind in dict.fromkeys(o.case.kind for o in aside):
        quantities = ", ".join(dict.fromkeys(o.quantity for o in aside if o.case.kind == kind))
        what = f"in {kind}, which was not asked for, digits are lost or the range is left"
        lines.append(f"{what}: {quantities}; --dtypes {kind} says how")
    return lines


def _declined(observations: Sequence[Observation]) -> list[str]:
    """Say which functions raise NotImplementedError, and for which ranks of x: they are not offered there."""
    texts: dict[str, set[int]] = {}
    for o in observations:
        if o.quantity == DECLINED:
            what, _, text = o.policy.partition(" raised NotImplementedError: ")
            texts.setdefault(f"{what}, which is not implemented: {text}", set()).add(o.case.x.ndim)
    return [f"not offered for x of ranks {', '.join(map(str, sorted(ranks)))}: {text}" for text, ranks in texts.items()]


def _policies(plan: Plan, observations: Sequence[Observation]) -> list[str]:
    """Say what is done with one value per channel, or none, where the row says otherwise and does not bind."""
    if not plan.following.lenient or plan.row.name not in CONVENTIONS_BY_NAME:
        return []
    row, lines = CONVENTIONS_BY_NAME[plan.row.name], []
    for quantity, accepted in (("one value per channel", row.one_value), ("empty batch", row.empty)):
        outcomes = dict.fromkeys(o.policy for o in observations if o.quantity == quantity and o.trouble is None)
        other = [POLICIES[outcome] for outcome in outcomes if outcome and outcome not in accepted]
        if other:
            allowed = " or ".join(POLICIES[p] for p in accepted)
            lines.append(f"{quantity}: {'; '.join(other)}; in {row.name} {allowed}")
    return lines


def ignored_settings(plan: Plan) -> list[Finding]:
    """Return a finding for eps, and for momentum, if it is accepted and another value is used whatever is passed."""
    envelope, found = plan.envelope, []
    for name in ("eps", "momentum"):
        value = None if envelope is None else getattr(envelope, name)
        if envelope is None or value is None or name not in envelope.passes:
            continue
        as_passed = [(own, replace(own, situation=replace(own.situation, **{name: getattr(c, name)}), held=False))
                     for own in plan.cases if own.kind in ("float64", "float32") and not own.undefined and own.finite
                     for c in [case_of(own.id)] if getattr(c, name) != getattr(own, name)]  # fmt: skip
        failed = []
        for own, case in as_passed[:IGNORED]:
            answer = ask(plan.implementation, own)
            failed += [o for o in judged_numbers(case, plan.row, answer) if not o.passed and o.trouble is None]
        if not failed:
            continue
        if name == "eps":
            measured = f"std = sqrt(var) + {value:g}" if envelope.outside else f"std^2 = var + {value:g}"
            formula, numbers = "std^2 = var + eps", {"std^2: 1": value}
            how = f"sqrt(var) + {value:g}" if envelope.outside else f"sqrt(var + {value:g})"
            title = f"eps is ignored: y divides by {how}, whatever eps is passed"
        else:
            weights = f"the new batch weighs {value:g} and the old value {round(1 - value, 6):g}"
            title = f"momentum is ignored: {weights}, whatever is passed"
            measured = f"running mean = {1 - value:.7g} running mean + {value:.7g} mean"
            formula, numbers = "the weights are those of the momentum that is passed", {"mean": value}
        effect = f"A caller who sets {name} is not heard; all else is judged with {value:g}."
        known = {entry.name for entry in WEIGHTS.values()} & {f"momentum-fixed-{value:g}"}
        cause = eps_fixed_at(f"{value:g}").name if name == "eps" else next(iter(known), "momentum-ignored")
        found.append(finding(Cause("wrong", cause, title, effect, measured, formula, numbers), failed))
    return found


def _remarks(observations: Sequence[Observation]) -> tuple[str, ...]:
    """Say where the formula is right and the algorithm loses more than pairwise sums would: which, and how it grows."""
    failed = {o.quantity for o in observations if not o.passed}
    fragile = [o for o in observations if o.tiers and o.passed and o.quantity not in failed]
    lines: dict[Tier, dict[str, list[str]]] = {}
    for quantity, kind in dict.fromkeys((o.quantity, o.case.kind) for o in fragile):
        alike = [o for o in fragile if (o.quantity, o.case.kind) == (quantity, kind)]
        tier = next(t for t in TIERS if t is WORST or all(t.name in o.tiers for o in alike))
        lines.setdefault(tier, {}).setdefault(quantity, []).append(kind)
    noted = dict.fromkeys(o.policy for o in observations if o.quantity == "repeatability" and o.policy)
    noted = {} if "repeatability" in failed else noted
    return (
        *noted,
        *(
            f"fragile: right formula, computed as by {tier.name}: the error grows {tier.growth} ("
            + "; ".join(f"{quantity}: {' '.join(kinds)}" for quantity, kinds in where.items())
            + ")"
            for tier, where in lines.items()
        ),
    )


def _cells(observations: list[Observation], findings: Sequence[Finding], unclaimed: Sequence[str]) -> list[Cell]:
    """Return a cell for each quantity and format that was judged."""
    cells = []
    for quantity in (*QUANTITIES, *FURTHER, *BEHAVIOURS):
        for dtype in dict.fromkeys(o.case.kind for o in observations):
            judged = [o for o in observations if o.quantity == quantity and o.case.kind == dtype]
            if not judged:
                continue
            bad = {o.case.id for o in judged if not o.passed}
            own = [f for f in findings if quantity in f.quantities]
            kinds = {f.kind for f in own if bad & set(f.cases) or (bad and dtype in unclaimed)}
            state = next((k.upper() for k in ("wrong", "convention", "numerics") if k in kinds), "")
            resolution = min((o.resolution for o in judged if o.passed), default=np.inf)
            blind = resolution > RESOLVED and any(o.expected != 0 for o in judged)
            fragile = any(o.passed and o.tiers for o in judged)
            state = state or ("unclaimed" if bad else "not resolved" if blind else "fragile" if fragile else "ok")
            cells.append(Cell(quantity, dtype, state, max(o.ratio for o in judged), len(judged), float(resolution)))
    return cells
