"""The verdict on one path of a target, from everything that was observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from refnorm.conventions.row import Convention
from refnorm.oracle.bounds import TIERS, WORST, Tier
from refnorm.oracle.diagnose import diagnose, nearest
from refnorm.oracle.finding import Finding
from refnorm.oracle.judge import Observation
from refnorm.oracle.quantities import BEHAVIOURS, FURTHER, QUANTITIES, RETURNS
from refnorm.oracle.report import ROWS, Cell, Path


def path_verdict(
    name: str, functions: Sequence[str], observations: list[Observation], row: Convention, cases: int
) -> Path:
    """Return the verdict on one path of a target, which offers these functions, from everything that was observed."""
    findings = tuple(replace(f, path=name) for f in diagnose(observations, row))
    seen = {o.quantity for o in observations if o.trouble is None}
    unjudged = {}
    further = (("frozen gradients", "frozen"), ("jvp", "jvp"), ("double backward", "double_backward"))
    for quantity, function in (*((q, f) for f, quantities in RETURNS.items() for q in quantities), *further):
        if quantity not in seen and quantity in ROWS and not seen & set(ROWS[quantity]):
            unjudged[quantity] = "no result" if function in functions else "not offered"
    near = nearest(observations, row) if any(f.kind == "convention" for f in findings) else None
    return Path(name, tuple(_cells(observations, findings)), findings, unjudged, cases, near, _remarks(observations))


def _remarks(observations: list[Observation]) -> tuple[str, ...]:
    """Say where the formula is right and the algorithm loses more than pairwise sums would: which, and how it grows."""
    failed = {o.quantity for o in observations if not o.passed}
    fragile = [o for o in observations if o.tiers and o.quantity not in failed]
    lines: dict[Tier, dict[str, list[str]]] = {}
    for quantity, kind in dict.fromkeys((o.quantity, o.case.kind) for o in fragile):
        alike = [o for o in fragile if (o.quantity, o.case.kind) == (quantity, kind)]
        tier = next(t for t in TIERS if t is WORST or all(t.name in o.tiers for o in alike))
        lines.setdefault(tier, {}).setdefault(quantity, []).append(kind)
    return tuple(
        f"fragile: right formula, computed as by {tier.name}: the error grows {tier.growth} ("
        + "; ".join(f"{quantity}: {' '.join(kinds)}" for quantity, kinds in where.items())
        + ")"
        for tier, where in lines.items()
    )


def _cells(observations: list[Observation], findings: Sequence[Finding]) -> list[Cell]:
    """Return a cell for each quantity and format that was judged."""
    cells = []
    for quantity in (*QUANTITIES, *FURTHER, *BEHAVIOURS):
        for dtype in dict.fromkeys(o.case.kind for o in observations):
            judged = [o for o in observations if o.quantity == quantity and o.case.kind == dtype]
            if not judged:
                continue
            bad = {o.case.id for o in judged if not o.passed}
            kinds = {f.kind for f in findings if quantity in f.quantities and bad & set(f.cases)}
            state = next((k.upper() for k in ("wrong", "convention", "numerics") if k in kinds), "")
            state = state or ("fragile" if any(o.passed and o.tiers for o in judged) else "ok")
            cells.append(Cell(quantity, dtype, state, max(o.ratio for o in judged), len(judged)))
    return cells
