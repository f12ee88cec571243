"""A verdict: what was judged, what was found, what was not judged; as text, JSON, Markdown or JUnit XML."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.etree import ElementTree

from refnorm.oracle.finding import Finding

SCHEMA = 1
WIDTH = 110
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
    """One quantity in one format: ``state`` ok, fragile, WRONG, CONVENTION or "not judged"; the worst error / bound."""

    quantity: str
    dtype: str
    state: str
    worst: float
    cases: int


@dataclass(frozen=True)
class Path:
    """The verdict on one path of a target.

    ``remarks`` are what is right but worth knowing, ``convention`` the row of this path where it has one of its own.
    """

    name: str
    cells: tuple[Cell, ...]
    findings: tuple[Finding, ...]
    not_judged: dict[str, str]
    cases: int
    nearest: str | None = None
    remarks: tuple[str, ...] = ()
    convention: str = ""

    @property
    def judged(self) -> bool:
        """Whether anything was judged at all."""
        return bool(self.cells)

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
                finding["reproduce"] = self.snippet(finding["case"], finding["quantity"], path.name)
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
                findings.append(Finding(**fields))
            cells = tuple(
                Cell(**{k: _number(v) if k == "worst" else v for k, v in cell.items()}) for cell in path["cells"]
            )
            paths.append(
                Path(
                    path["name"],
                    cells,
                    tuple(findings),
                    dict(path["not_judged"]),
                    path["cases"],
                    path["nearest"],
                    tuple(path["remarks"]),
                    path["convention"],
                )
            )
        return cls(
            data["target"],
            data["convention"],
            tuple(paths),
            data["versions"],
            tuple(data["dtypes"]),
            data["seconds"],
            tuple(data["notes"]),
            data["again"],
        )

    def snippet(self, case: str, quantity: str, path: str) -> str:
        """Return a line to paste that shows one finding again; ``implementation`` is the object that was checked."""
        which = f"{case!r}, {quantity!r}" + (f", path={path!r}" if path else "")
        before, _, after = self.again.rpartition("...")
        return f"{before}{which}{after}"

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        """Say in one line what pytest shows of a failed assertion."""
        verdict = "conforms to" if self.conforms else "deviates from"
        found = "".join(f"; {finding.title}" for finding in self.findings)
        return f"<Report: {self.target} {verdict} {self.convention}{found}>"


def text(report: Report) -> str:
    """Write a report for a person."""
    head = [f"refnorm {report.versions['refnorm']}", f"golden {report.versions['golden']}"]
    head += [
        " ".join(filter(None, (report.target, f"({report.versions['target']})" if report.versions["target"] else "")))
    ]
    head += [
        f"judged as {report.convention}",
        f"{report.cases} cases, {len(report.dtypes)} dtype{'s' if len(report.dtypes) > 1 else ''}, "
        f"{report.seconds:.1f} s",
    ]
    lines = [" · ".join(head)]
    for path in report.paths:
        lines += ["", *_table(path, report)]
        for remark in path.remarks:
            lines += textwrap.wrap(remark, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        for number, finding in enumerate(path.findings, start=1):
            lines += ["", *_described(finding, number, report, path)]
        lines += ["", _verdict(path, report)]
    if len(report.paths) > 1:
        lines += [
            "",
            f"{report.target}: " + ", ".join(f"{path.name} {_in_a_word(path)}".strip() for path in report.paths),
        ]
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)


def _table(path: Path, report: Report) -> list[str]:
    """Return the table of a path: a row for each result, a column for each format."""
    width = 16
    title = path.name if path.name else "quantity"
    lines = [f"  {title:<22}" + "".join(f"{d:<{width}}" for d in report.dtypes).rstrip()]
    for row, quantities in ROWS.items():
        cells = []
        for dtype in report.dtypes:
            own = [c for c in path.cells if c.dtype == dtype and c.quantity in quantities]
            states = {c.state for c in own}
            state = next((s for s in ("WRONG", "CONVENTION", "NUMERICS", "fragile", "ok") if s in states), "not judged")
            worst = max((c.worst for c in own), default=0.0)
            cells.append(
                f"ok {worst:5.2f}" if state == "ok" else f"fragile {worst:.2f}" if state == "fragile" else state
            )
        if all(c == "not judged" for c in cells):
            lines.append(f"  {row:<22}{path.not_judged.get(row, 'not judged')}")
        else:
            lines.append((f"  {row:<22}" + "".join(f"{c:<{width}}" for c in cells)).rstrip())
    legend = "number: worst error / bound"
    lines[1] = f"{lines[1]:<{24 + width * len(report.dtypes)}}{legend}"
    return lines


def _described(finding: Finding, number: int, report: Report, path: Path) -> list[str]:
    """Return a finding as lines: title, where it was seen, the clearest number, effect, how to see it again."""
    label = f"{finding.kind} · {len(finding.cases)} case{'s' if len(finding.cases) > 1 else ''}"
    lines = textwrap.wrap(f"{number}  {finding.title}", WIDTH, subsequent_indent="   ")
    fits = len(lines[-1]) + len(label) + 2 <= WIDTH
    lines = [*lines[:-1], f"{lines[-1]:<{WIDTH - len(label)}}{label}"] if fits else [*lines, f"{label:>{WIDTH}}"]
    lines.append(f"   seen in {' · '.join(finding.quantities)}; cause: {finding.cause}")
    if finding.expected is not None and finding.got is not None:
        at = f"{finding.quantity}{list(finding.index)}" if finding.index else finding.quantity
        error = (
            f"error {finding.error:.3g}, bound {finding.bound:.3g}"
            if finding.bound != math.inf
            else "only finiteness is asked for"
        )
        lines.append(f"   case {finding.case}, {at}: expected {finding.expected!r}, got {finding.got!r} ({error})")
    else:
        lines.append(f"   case {finding.case}")
    if finding.effect:
        lines += textwrap.wrap(f"Effect: {finding.effect}", WIDTH, initial_indent="   ", subsequent_indent="   ")
    lines.append(f"   reproduce:  {report.snippet(finding.case, finding.quantity, path.name)}")
    return lines


def _verdict(path: Path, report: Report) -> str:
    name, row = f"{path.name}: " if path.name else "", path.convention or report.convention
    if not path.judged:
        return f"{name}not judged: no case applies"
    if path.conforms:
        missing = f"; not judged: {', '.join(path.not_judged)}" if path.not_judged else ""
        return f"{name}conforms to {row}{missing}"
    counts = [f"{sum(f.kind == kind for f in path.findings)} {kind}" for kind in ("wrong", "convention", "numerics")]
    hint = f" Nearest row: {path.nearest}." if path.nearest else ""
    return f"{name}deviates from {row} ({', '.join(c for c in counts if not c.startswith('0'))}).{hint}"


def _in_a_word(path: Path) -> str:
    return "conforms" if path.conforms else "deviates" if path.judged else "not judged"


def markdown(report: Report) -> str:
    """Write a report for an issue or a CI summary."""
    lines = [
        f"## refnorm: {report.target} {'conforms to' if report.conforms else 'deviates from'} `{report.convention}`",
        "",
    ]
    lines += [", ".join(f"{k} {v}" for k, v in report.versions.items() if v) + f"; {report.cases} cases", ""]
    for path in report.paths:
        if path.name:
            lines += [f"### {path.name}", ""]
        lines += ["| quantity | " + " | ".join(report.dtypes) + " |", "|---|" + "---|" * len(report.dtypes)]
        for row in _table(path, report)[1:]:
            name, rest = row[2:24].strip(), row[24 : 24 + 16 * len(report.dtypes)]
            cells = [rest[16 * k : 16 * k + 16].strip() or rest.strip() for k in range(len(report.dtypes))]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
        for number, finding in enumerate(path.findings, start=1):
            body = _described(finding, number, report, path)
            lines += [f"{number}. **{finding.title}** ({finding.kind}, {len(finding.cases)} cases)"]
            lines += [f"   {line.strip()}  " for line in body[1:-1]]
            lines += [f"   `{report.snippet(finding.case, finding.quantity, path.name)}`", ""]
        lines += [_verdict(path, report), ""]
    return "\n".join(lines)


def junit(report: Report) -> str:
    """Write a report for a CI dashboard: one test per path, quantity and format."""
    suite = ElementTree.Element("testsuite", name=f"refnorm check {report.target}", time=f"{report.seconds:.3f}")
    tests = failures = skipped = 0
    for path in report.paths:
        for cell in path.cells:
            tests += 1
            name = f"{cell.quantity} ({cell.dtype})"
            test = ElementTree.SubElement(
                suite, "testcase", classname=".".join(filter(None, (report.target, path.name))), name=name
            )
            if cell.state in ("WRONG", "CONVENTION", "NUMERICS"):
                failures += 1
                own = [f for f in path.findings if cell.quantity in f.quantities]
                failure = ElementTree.SubElement(test, "failure", message="; ".join(f.title for f in own) or cell.state)
                failure.text = "\n".join(line for k, f in enumerate(own, 1) for line in _described(f, k, report, path))
        for missing, reason in path.not_judged.items():
            tests, skipped = tests + 1, skipped + 1
            test = ElementTree.SubElement(suite, "testcase", classname=report.target, name=missing)
            ElementTree.SubElement(test, "skipped", message=reason)
    suite.attrib |= {"tests": str(tests), "failures": str(failures), "skipped": str(skipped), "errors": "0"}
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode")


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
