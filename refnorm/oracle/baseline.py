"""Known, accepted findings: a report kept from an earlier run, so that only what is new fails."""

from __future__ import annotations

import json
from pathlib import Path

from refnorm.oracle.finding import Finding
from refnorm.oracle.report import Report

Key = tuple[str, str, tuple[str, ...]]  # path, cause, quantities


def keys_of(report: Report) -> set[Key]:
    """Return the findings of a report, each as path, cause and quantities."""
    return set(map(key, report.findings))


def known(baseline: Path) -> set[Key]:
    """Return the findings of a JSON report; ValueError, with what to do, if the file is none."""
    try:
        findings = json.loads(baseline.read_text(encoding="utf-8"))["findings"]
        return {(f["path"], f["cause"], tuple(f["quantities"])) for f in findings}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{baseline} is no report; make one with: refnorm check TARGET --format json --output {baseline}"
        ) from error


def against_baseline(now: set[Key], before: set[Key]) -> list[str]:
    """Say how many findings are known, new and gone, and name those that are new or gone.

    Examples
    --------
    >>> against_baseline({("", "raises", ("dx",))}, set())
    ['0 known, 1 new, 0 gone', 'new: raises (dx)']
    """
    lines = [f"{len(now & before)} known, {len(now - before)} new, {len(before - now)} gone"]
    for label, keys in (("new", now - before), ("gone", before - now)):
        for path, cause, quantities in sorted(keys):
            lines.append(f"{label}: {' '.join(filter(None, (path, cause)))} ({', '.join(quantities)})")
    return lines


def key(finding: Finding) -> Key:
    """Return what a finding is known by from one run to the next."""
    return finding.path, finding.cause, finding.quantities
