"""A trial from target to report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from refnorm import conventions
from refnorm.conventions import Convention
from refnorm.golden.cases import case as case_of
from refnorm.oracle.bounds import TIERS, WORST, Tier
from refnorm.oracle.diagnose import diagnose, nearest
from refnorm.oracle.implementation import Target, as_target, load, offered
from refnorm.oracle.judge import BEHAVIOURS, FUNCTIONS, FURTHER, QUANTITIES, Observation, expected_of, kind_of
from refnorm.oracle.observe import judged, observe, selected
from refnorm.oracle.report import ROWS, Cell, Path, Report

DTYPES = ("float64", "float32", "float16")
GOLDEN = "2026.11"


def check(
    implementation: Any,
    convention: str | None = None,
    *,
    dtypes: Sequence[str] = DTYPES,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Put an implementation on trial.

    Parameters
    ----------
    implementation : an object or module with functions as in `refnorm.oracle.implementation`, or a target's name.
    convention : the row of `refnorm.conventions` to judge by; by default a framework's own, "cs231n" for a module
        written to its signatures, "torch" for everything else.
    dtypes : formats of x to try.
    progress : called with the number of the case, their count and the case's id.

    Returns
    -------
    Report
        ``report.conforms``, ``report.findings``, ``str(report)``, ``report.to_dict()``.

    Raises
    ------
    ValueError
        If the convention or a dtype is unknown.
    refnorm.oracle.implementation.TargetError
        If there is nothing to judge.

    Examples
    --------
    >>> check("refnorm", dtypes=["float32"]).conforms
    True
    """
    target = load(implementation) if isinstance(implementation, str) else as_target(implementation)
    return trial(target, convention, dtypes=dtypes, progress=progress)


def trial(
    target: Target,
    convention: str | None,
    *,
    dtypes: Sequence[str] = DTYPES,
    progress: Callable[[int, int, str], None] | None = None,
    lost: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """Judge a loaded target; see `check`.

    ``lost`` says what happened in a case, by its id, that the target hung or died in before: it is left out, and so are
    those of the same situation in other formats and ranks.
    """
    row = conventions.convention(convention or target.convention)
    rows = {name: _row(target, path, convention) for name, path in target.paths.items()}
    unknown = [d for d in dtypes if d not in ("float64", "float32", "float16", "bfloat16")]
    if unknown:
        raise ValueError(f"unknown dtype {unknown[0]!r}; use float64, float32, float16 or bfloat16")
    import refnorm

    start = time.perf_counter()
    fatal = {_situation(id) for id in lost}
    chosen = {
        name: [c for c in selected(implementation, rows[name], tuple(dtypes)) if _situation(c.id) not in fatal]
        for name, implementation in target.paths.items()
    }
    total, done = sum(map(len, chosen.values())), 0
    paths = []

    def step(id: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, total), total, id)

    for name, implementation in target.paths.items():
        observations = list(observe(implementation, rows[name], chosen[name], step))
        path = verdict(name, implementation, observations, rows[name], len(chosen[name]))
        if rows[name] != row:
            path = replace(path, convention=rows[name].name)
        paths.append(path)
    versions = {
        "refnorm": refnorm.__version__,
        "golden": GOLDEN,
        "target": target.version,
        "array": f"numpy {np.__version__}",
    }
    seconds = round(time.perf_counter() - start, 3)
    notes = tuple(f"{how} in case {id}: cases like it were left out" for id, how in lost.items())
    return Report(target.name, row.name, tuple(paths), versions, tuple(dtypes), seconds, notes, _again(target, row))


def _row(target: Target, path: object, convention: str | None) -> Convention:
    """Return the row to judge a path by: the one asked for, else its own where the target declares rows."""
    own = getattr(path, "convention", target.convention) if target.declared else target.convention
    return conventions.convention(convention or own)


def _situation(id: str) -> tuple[str, str]:
    """Return operation and situation of a case, format and number aside."""
    _, operation, _, situation, *_ = id.split(".")
    return operation, situation


def _again(target: Target, row: Convention) -> str:
    """Return the call that shows one finding again, to paste into a shell where the target can be named there."""
    imported, expression = target.code
    judged_as = f", convention={row.name!r}" if row.name != target.convention else ""
    call = f"refnorm.reproduce({expression or 'implementation'}, ...{judged_as})"
    statements = "; ".join(filter(None, (imported, "import refnorm", call)))
    return f'python -c "{statements}"' if expression else call


def verdict(name: str, implementation: Any, observations: list[Observation], row: Convention, cases: int) -> Path:
    """Return the verdict on one path of a target from everything that was observed."""
    findings = tuple(replace(f, path=name) for f in diagnose(observations, row))
    functions = offered(implementation)
    seen = {o.quantity for o in observations if not o.trouble}
    unjudged = {}
    further = (("frozen gradients", "frozen"), ("jvp", "jvp"), ("double backward", "double_backward"))
    for quantity, function in (*((q, f) for f in FUNCTIONS for q in FUNCTIONS[f][:3]), *further):
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
        those = [o for o in fragile if (o.quantity, o.case.kind) == (quantity, kind)]
        tier = next(t for t in TIERS if t is WORST or all(t.name in o.tiers for o in those))
        lines.setdefault(tier, {}).setdefault(quantity, []).append(kind)
    return tuple(
        f"fragile: right formula, computed as by {tier.name}: the error grows {tier.growth} ("
        + "; ".join(f"{quantity}: {' '.join(kinds)}" for quantity, kinds in where.items())
        + ")"
        for tier, where in lines.items()
    )


def _cells(observations: list[Observation], findings: Sequence[Any]) -> list[Cell]:
    cells = []
    for quantity in (*QUANTITIES, *FURTHER, *BEHAVIOURS):
        for dtype in dict.fromkeys(o.case.kind for o in observations):
            own = [o for o in observations if o.quantity == quantity and o.case.kind == dtype]
            if not own:
                continue
            bad = {o.case.id for o in own if not o.passed}
            kinds = {f.kind for f in findings if quantity in f.quantities and bad & set(f.cases)}
            state = next((k.upper() for k in ("wrong", "convention", "numerics") if k in kinds), "")
            state = state or ("fragile" if any(o.passed and o.tiers for o in own) else "ok")
            cells.append(Cell(quantity, dtype, state, max(o.ratio for o in own), len(own)))
    return cells


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
    target = load(implementation) if isinstance(implementation, str) else as_target(implementation)
    candidate = target.paths[path] if path in target.paths else next(iter(target.paths.values()))
    chosen, row = case_of(case), _row(target, candidate, convention)
    if quantity == "repeatability":
        observations = list(observe(candidate, row, [chosen]))
    else:
        observations = judged(candidate, row, chosen)
    print(f"{case}, {quantity}, judged as {row.name}")
    for o in observations:
        if o.quantity != quantity:
            continue
        if o.trouble or o.policy:
            print((o.trouble and f"found    {o.trouble}") or f"outcome  {o.policy}")
            continue
        exact = expected_of(chosen, row, quantity)
        print(f"expected {exact.rounded(kind_of(chosen, quantity))}\ngot      {o.actual}")
        print(f"error / bound at most {o.ratio:.3g}")
