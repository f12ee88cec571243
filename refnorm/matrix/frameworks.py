"""Every framework in an environment of its own, measured: its convention, its digits, and the oracle's verdict."""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import refnorm
from refnorm.matrix.environments import Entry, environment
from refnorm.oracle.apart import identify_apart, measured, numerics_apart
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.trial import trial

IMPORTS = 180.0  # seconds that an import or a probe may take
CASE = 60.0  # seconds that a case of the check may take


def matrix(
    entries: Iterable[Entry],
    environments: Path,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    jobs: int = 2,
    keep: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """Measure frameworks, each in its own environment, which is made if it is not there.

    Parameters
    ----------
    entries : what to measure; what computes on a device is measured as it is installed here.
    environments : directory for the virtual environments.
    progress : called with the number of a framework, their count and its name, when it is done.
    jobs : how many to measure at once.
    keep : called with the results so far whenever a framework is done.

    Returns
    -------
    dict
        By name: target, versions, date, command, seconds that it took and, for each path, what `refnorm identify` and
        `refnorm check` measured, and the accuracy; or ``error``, for a framework that could not be installed or
        loaded, or that hangs or dies.
    """
    entries = sorted(entries, key=lambda entry: -entry.seconds)  # the longest first: none to wait for at the end
    results: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(jobs) as pool:  # first come, first served: whoever waits for an environment finds it begun
        names = dict.fromkeys(e.requirements for e in entries if not e.device)
        pythons = {name: pool.submit(environment, name, environments) for name in names}

        def measure(entry: Entry) -> dict[str, Any]:
            return _measure(entry, sys.executable if entry.device else pythons[entry.requirements].result())

        measuring = [pool.submit(measure, entry) for entry in entries]
        for number, (entry, future) in enumerate(zip(entries, measuring, strict=True), start=1):
            results[entry.name] = future.result()
            keep(results)
            progress(number, len(entries), entry.name)
    return results


def _measure(entry: Entry, python: str | TargetError) -> dict[str, Any]:
    """Return what was measured of one framework."""
    start = time.monotonic()
    base = {"target": entry.target, "refnorm": refnorm.__version__, "date": datetime.date.today().isoformat()}
    if isinstance(python, TargetError):
        return base | {"error": str(python)}
    with tempfile.TemporaryDirectory() as folder:  # not where the caller stands: a folder there may shadow a module
        own = str(Path(refnorm.__file__).parent.parent)
        here = os.environ.get("PYTHONPATH", "") if entry.device else ""  # as it is installed here
        variables = {"PYTHONPATH": os.pathsep.join(filter(None, (own, here))), "TMPDIR": folder, "MPLBACKEND": "Agg"}
        variables |= {"KERAS_BACKEND": entry.backend} if entry.backend else {}
        process: dict[str, Any] = {"python": python, "variables": variables, "folder": folder, "device": entry.device}
        patience = max(IMPORTS, entry.seconds)
        try:
            found, _ = identify_apart(entry.target, patience, **process)
            digits = numerics_apart(entry.target, patience, **process)
            single = numerics_apart(entry.target, patience, cores=1, **process)
        except TargetError as error:
            return base | {"error": str(error)}
        verdicts = _verdicts(entry.target, process, entry.seconds)
    prefix = f"KERAS_BACKEND={entry.backend} " if entry.backend else ""
    suffix = f" --device {entry.device}" if entry.device else ""
    paths = {}
    for path in found["paths"]:
        name = path.pop("path")
        number = digits[name]
        if "digest" in number:
            threads = number.pop("digest") == single[name].get("digest")
            number["threads"] = "same" if threads else "differ"
        paths[name] = {**path, "numerics": number, "check": verdicts.get(name, verdicts.get("*"))}
    return base | {
        "versions": found["versions"],
        "declared": found["declared"],
        "command": f"{prefix}refnorm identify {entry.target}{suffix}",
        "seconds": round(time.monotonic() - start),
        "paths": paths,
    }


def _verdicts(target: str, process: dict[str, Any], seconds: float = 0.0) -> dict[str, dict[str, Any]]:
    """Return by path what `refnorm check` finds: row, cases, findings, and what it hung or died in; "*" if nothing."""
    try:
        patience = max(CASE, seconds)
        report, _ = measured(
            lambda t, step, lost: trial(t, None, progress=step, lost=lost), target, patience, **process
        )
    except TargetError as error:
        return {"*": {"error": str(error)}}
    verdicts = {}
    for path in report.paths:
        findings = [
            {"kind": f.kind, "title": " ".join(f.title.split())[:160], "cases": len(f.cases)} for f in path.findings
        ]
        conforms = path.conforms and not report.notes
        verdicts[path.name] = {
            "conforms": conforms, "cases": path.cases, "findings": findings, "lost": list(report.notes),
        }  # fmt: skip
    return verdicts
