"""The oracle's questions to a target in a process of its own: check, gradcheck, identify, numerics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from refnorm.oracle.ask.process import Loss, Progress, Stopped, apart
from refnorm.oracle.report import Report


def check_apart(
    target: str,
    convention: str | None,
    *,
    dtypes: Sequence[str],
    array: str = "numpy",
    timeout: float = 60.0,
    progress: Progress = lambda *_: None,
) -> Report:
    """Judge a target in a child process.

    Parameters
    ----------
    target, convention, dtypes, progress : as in `refnorm.check`.
    array : array library for the target ``refnorm``.
    timeout : seconds that the import, or one case, may take.

    Raises
    ------
    TargetError
        If it cannot be loaded, dies, hangs or exits; the text says in which case.
    """
    order = {"target": target, "convention": convention, "dtypes": list(dtypes), "array": array}
    result, said = apart({"do": "check", **order}, timeout, progress)
    report = Report.from_dict(result)
    if said:
        note = f"the target printed {len(said)} line{'s' if len(said) > 1 else ''}; the first: {said[0][:120]}"
        report = replace(report, notes=(*report.notes, note))
    return report


def gradcheck_apart(
    target: str, *, seed: int = 0, timeout: float = 60.0, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Check a target's gradients in a child process; arguments and errors as those of `check_apart`.

    Returns
    -------
    dict
        "gradients", what `refnorm.oracle.check_gradients.GradientReport.to_dict` gives, and its "text".
    """
    answer, _ = apart({"do": "gradients", "target": target, "seed": seed}, timeout, progress)
    result: dict[str, Any] = answer
    return result


def measured(
    order: Mapping[str, Any],
    timeout: float,
    progress: Progress = lambda *_: None,
    **process: Any,
) -> tuple[Any, list[str]]:
    """Measure a target in a process of its own, again without each probe that it hangs or dies in.

    Parameters
    ----------
    order : ``do`` ("identify" or "numerics"), ``target``, and what else the worker takes.
    timeout : seconds that the import, or one probe, may take.
    process : as in `refnorm.oracle.ask.process.apart`.

    Returns
    -------
    result, lines that the target printed

    Raises
    ------
    TargetError
        If it cannot be loaded.
    """
    lost: dict[str, Loss] = {}
    while True:
        try:
            return apart({**order, "lost": lost}, timeout, progress, **process)
        except Stopped as stopped:
            if stopped.case in ("", *lost) or stopped.case.startswith("formats"):
                raise
            lost[stopped.case] = stopped.loss
