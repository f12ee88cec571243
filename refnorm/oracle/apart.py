"""The oracle's questions to a target in a process of its own: check, gradcheck, identify, numerics.

The worker loads the target and calls it; the cases, what is expected, and every judgement are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from refnorm.oracle.ask.process import Interrupted, Line, Loss, Progress, Stopped
from refnorm.oracle.ask.remote import Caller
from refnorm.oracle.ask.target import Target

if TYPE_CHECKING:
    from refnorm.oracle.report import Report

Measure = Callable[[Target, Progress, Mapping[str, Loss]], Any]


@contextmanager
def loaded_apart(
    target: str,
    timeout: float,
    progress: Progress,
    order: Mapping[str, Any],
    meanwhile: Callable[[], object] = lambda: None,
    **process: Any,
) -> Iterator[tuple[Target, Progress, Line]]:
    """Load a target in a process of its own; yield it, what tells the line of each case, and the line.

    ``meanwhile`` is called while that process starts.

    Raises
    ------
    TargetError
        If it cannot be loaded.
    Stopped
        If it dies, hangs or exits; the text says in which case.
    """
    with Line(target, timeout, **process) as line:

        def step(number: int, of: int, case: str) -> None:
            line.at(case)
            progress(number, of, case)

        meanwhile()
        try:
            yield Caller(line).load({"target": target, "array": "numpy", "device": "", **order}), step, line
        except Interrupted as interrupted:
            raise interrupted.stopped from None


def check_apart(
    target: str,
    convention: str | None,
    *,
    dtypes: Sequence[str] | None = None,
    require: Sequence[str] = (),
    array: str = "numpy",
    device: str = "",
    timeout: float = 60.0,
    progress: Progress = lambda *_: None,
    accumulate: str | None = None,
    tier: str | None = None,
    thorough: bool = False,
    seed: int = 0,
) -> Report:
    """Judge a target that runs in a process of its own.

    Parameters
    ----------
    target, convention, dtypes, require, progress, accumulate, tier, thorough, seed : as in `refnorm.check`.
    array : array library for the target ``refnorm``.
    device : torch's default device, for what the target builds and is given; the CPU, if empty.
    timeout : seconds that the import, or one case, may take.

    Raises
    ------
    TargetError
        If it cannot be loaded, dies, hangs or exits; the text says in which case.
    """
    with loaded_apart(target, timeout, progress, {"array": array, "device": device}, _ready) as (loaded, step, line):
        from refnorm.oracle.trial import depth_of, trial

        report = trial(
            loaded,
            convention,
            dtypes=dtypes,
            require=require,
            progress=step,
            meanwhile=line.meanwhile,
            depth=depth_of(accumulate, tier, thorough, seed),
        )
        line.close()
        said = line.said
    if said:
        note = f"the target printed {len(said)} line{'s' if len(said) > 1 else ''}; the first: {said[0][:120]}"
        report = replace(report, notes=(*report.notes, note))
    return report


def _ready() -> None:
    """Import the judge, and build the cases."""
    from refnorm.golden.inputs import cases
    from refnorm.oracle.plan import DTYPES
    from refnorm.oracle.trial import trial  # noqa: F401 - and with it all that judges

    for kind in DTYPES:
        tuple(cases(dtype=kind))


def gradcheck_apart(
    target: str,
    *,
    seed: int = 0,
    convention: str | None = None,
    device: str = "",
    timeout: float = 60.0,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Check the gradients of a target in a process of its own; arguments and errors as those of `check_apart`.

    Returns
    -------
    dict
        "gradients", what `refnorm.oracle.check_gradients.GradientReport.to_dict` gives, and its "text".
    """
    from refnorm.oracle.check_gradients import check_gradients

    with loaded_apart(target, timeout, progress, {"seed": seed, "device": device}) as (loaded, step, _):
        found = check_gradients(loaded, seed=seed, convention=convention, progress=step)
    return {"gradients": found.to_dict(), "text": str(found)}


def identify_apart(
    target: str, timeout: float, progress: Progress = lambda *_: None, **process: Any
) -> tuple[dict[str, Any], list[str]]:
    """Measure the convention of a target as `measured` does; return `refnorm.oracle.identify.summary`, and lines."""
    from refnorm.oracle.identify import identify, summary

    return measured(lambda t, step, lost: summary(t, identify(t, step, lost)), target, timeout, progress, **process)


def numerics_apart(
    target: str,
    timeout: float,
    progress: Progress = lambda *_: None,
    how: Mapping[str, Any] = MappingProxyType({}),
    **process: Any,
) -> dict[str, dict[str, Any]]:
    """Measure the digits of a target as `measured` does; ``how`` is passed to `refnorm.oracle.measure.numerics`."""
    from refnorm.oracle.measure.numerics import numerics

    found: dict[str, dict[str, Any]] = measured(
        lambda t, step, lost: numerics(t, step, lost, **how), target, timeout, progress, **process
    )[0]
    return found


def measured(
    measure: Measure,
    target: str,
    timeout: float,
    progress: Progress = lambda *_: None,
    cores: int | None = None,
    device: str = "",
    **process: Any,
) -> tuple[Any, list[str]]:
    """Measure a target in a process of its own, again without each probe that it hangs or dies in.

    Parameters
    ----------
    measure : called with the target, a progress callback, and what happened in the probes that are left out.
    timeout : seconds that the import, or one probe, may take.
    cores : that the process may use; all, if None.
    device : torch's default device there; the CPU, if empty.
    process : as in `refnorm.oracle.ask.process.Line`.

    Returns
    -------
    result, lines that the target printed

    Raises
    ------
    TargetError
        If it cannot be loaded.
    """
    lost: dict[str, Loss] = {}
    order = {"device": device, **({} if cores is None else {"cores": cores})}
    while True:
        try:
            with loaded_apart(target, timeout, progress, order, **process) as (loaded, step, line):
                found = measure(loaded, step, lost)
                line.close()
                return found, line.said
        except Stopped as stopped:
            if stopped.case in ("", *lost) or stopped.case.startswith("formats"):
                raise
            lost[stopped.case] = stopped.loss
