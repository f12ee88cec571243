"""A verdict: what was judged, what was found, what was not judged; as plain data, there and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from refnorm.oracle.finding import Finding

SCHEMA = 1
ROWS = {
    "y, training": ("y, training",),
    "running mean": ("running mean",),
    "running variance": ("running variance",),
    "y, inference": ("y, inference",),
    "dx": ("dx",),
    "dgamma": ("dgamma",),
    "dbeta": ("dbeta",),
    "frozen gradients": ("frozen y", "frozen dx", "frozen dgamma", "frozen dbeta"),
    "jvp": ("jvp", "frozen jvp"),
    "double backward": tuple(f"{p}double backward {q}" for p in ("", "frozen ") for q in ("ddy", "dx", "dgamma")),
}


@dataclass(frozen=True)
class Cell:
    """One quantity in one format: ``state`` ok, fragile, not resolved, unclaimed, WRONG, ...; the worst error / bound.

    ``resolution`` is the smallest relative error of an element that would have been found; inf where nothing tells.
    """

    quantity: str
    dtype: str
    state: str
    worst: float
    cases: int
    resolution: float = math.inf


@dataclass(frozen=True)
class Path:
    """The verdict on one path of a target.

    ``remarks`` are what is right but worth knowing, ``convention`` its row where it has one.
    ``reading`` says how it was called, ``followed`` how its row was found, ``gaps`` what it lacks, line by line,
    and ``envelope`` the same for machines; all are empty for what declares itself.
    """

    name: str
    cells: tuple[Cell, ...]
    findings: tuple[Finding, ...]
    not_judged: dict[str, str]
    cases: int
    nearest: str | None = None
    remarks: tuple[str, ...] = ()
    convention: str = ""
    reading: str = ""
    followed: str = ""
    gaps: tuple[str, ...] = ()
    envelope: dict[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether a result came, or something was found; behaviour alone, such as errors raised, is no verdict."""
        results = {quantity for row in ROWS.values() for quantity in row}
        return bool(self.findings) or any(cell.quantity in results for cell in self.cells)

    @property
    def conforms(self) -> bool:
        """Whether something was judged, and nothing was found that a convention does not allow."""
        return self.judged and not self.findings


@dataclass(frozen=True, repr=False)
class Report:
    """The verdict on a target.

    Attributes
    ----------
    target, convention : what was judged, by which row.
    paths : one verdict per path; most targets have one.
    versions : of refnorm, the golden set, the target and the array library.
    seconds : how long it took.
    notes : what else a reader should know.
    again : the call that shows one finding again, with ``...`` for which; see `snippet`.
    """

    target: str
    convention: str
    paths: tuple[Path, ...]
    versions: dict[str, str]
    dtypes: tuple[str, ...]
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    again: str = "refnorm.reproduce(implementation, ...)"

    @property
    def judged(self) -> bool:
        """Whether something of every path was judged."""
        return bool(self.paths) and all(path.judged for path in self.paths)

    @property
    def conforms(self) -> bool:
        """Whether every path conforms; what was not judged does not."""
        return bool(self.paths) and all(path.conforms for path in self.paths)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, path by path."""
        return tuple(finding for path in self.paths for finding in path.findings)

    @property
    def cases(self) -> int:
        """Cases that ran, over all paths."""
        return sum(path.cases for path in self.paths)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data; the schema is versioned under "schema"."""
        data = asdict(self)
        for path, plain in zip(self.paths, data["paths"], strict=True):
            plain["conforms"] = path.conforms
            for finding in plain["findings"]:
                again = self.snippet(finding["case"], finding["quantity"], path.name)
                finding["reproduce"] = again if finding["case"] else ""
        findings = [finding for path in data["paths"] for finding in path["findings"]]
        head = {"schema": SCHEMA, "conforms": self.conforms, "cases": self.cases}
        body = {k: v for k, v in data.items() if k != "paths"} | {"findings": findings, "paths": data["paths"]}
        result: dict[str, Any] = plain_data(head | body)
        return result

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """Read what `to_dict` wrote."""
        paths = []
        for path in data["paths"]:
            findings = []
            for finding in path["findings"]:
                fields = {k: _number(v) for k, v in finding.items() if k != "reproduce"}
                fields |= {k: tuple(fields[k]) for k in ("quantities", "cases", "index")}
                fields["coefficients"] = {k: float(_number(v)) for k, v in finding.get("coefficients", {}).items()}
                findings.append(Finding(**fields))
            cells = tuple(
                Cell(**{k: _number(v) if k in ("worst", "resolution") else v for k, v in cell.items()})
                for cell in path["cells"]
            )
            own: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in path.items() if k != "conforms"
            }
            own |= {"cells": cells, "findings": tuple(findings)}
            paths.append(Path(**own))
        own = {k: data[k] for k in ("target", "convention", "versions", "seconds", "again")}
        return cls(**own, paths=tuple(paths), dtypes=tuple(data["dtypes"]), notes=tuple(data["notes"]))

    def snippet(self, case: str, quantity: str, path: str) -> str:
        """Return a line to paste that shows one finding again; ``implementation`` is the object that was checked."""
        which = f"{case!r}, {quantity!r}" + (f", path={path!r}" if path else "")
        before, _, after = self.again.rpartition("...")
        return f"{before}{which}{after}"

    def __str__(self) -> str:
        from refnorm.oracle.shown import text

        return text(self)

    def __repr__(self) -> str:
        """Say in one line what pytest shows of a failed assertion."""
        verdict = "conforms to" if self.conforms else "deviates from"
        found = "".join(f"; {finding.title}" for finding in self.findings)
        return f"<Report: {self.target} {verdict} {self.convention}{found}>"


def plain_data(value: Any) -> Any:
    """Return JSON's own types; NaN and infinities as strings, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {k: plain_data(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_data(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _number(value: Any) -> Any:
    return float(value) if value in ("nan", "inf", "-inf") else value
