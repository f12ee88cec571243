"""A report for people and for dashboards: as text, Markdown, JUnit XML, or a badge."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from refnorm.oracle.finding import Finding
from refnorm.oracle.report import ROWS, Path, Report

WIDTH = 110
RESOLUTION = "relative error that shows in every quantity"
KINDS = ("wrong", "convention", "numerics")
COLOURS = {"conforms": "brightgreen", "wrong": "red", "convention": "orange", "numerics": "orange"}


def text(report: Report) -> str:
    """Write a report for a person."""
    head = [f"refnorm {report.versions['refnorm']}", f"golden {report.versions['golden']}"]
    head += [
        " ".join(filter(None, (report.target, f"({report.versions['target']})" if report.versions["target"] else "")))
    ]
    head += [array] if not (array := report.versions["array"]).startswith(("numpy", "files")) else []
    head += [
        f"judged as {report.convention}",
        f"{report.cases} cases, {len(report.dtypes)} dtype{'s' if len(report.dtypes) > 1 else ''}, "
        f"{report.seconds:.1f} s",
    ]
    lines = [" · ".join(head)]
    for path in report.paths:
        lines += [*_preface(path), "", *_table(path, report)]
        for remark in path.remarks:
            lines += _wrapped(remark, initial_indent="  ", subsequent_indent="    ")
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


def _preface(path: Path) -> list[str]:
    """Return how a path was read, which row it follows, and what it does not offer."""
    name = f"{path.name}: " if path.name else ""
    lines = [name + path.reading] if path.reading else []
    lines += [f"{'' if lines else name}{path.followed}"] if path.followed else []
    indents = {"initial_indent": "  ", "subsequent_indent": "    "}
    wrapped = [part for line in (*lines, *path.gaps) for part in _wrapped(line, **indents)]
    return ["", *wrapped] if wrapped else []


def _formats(path: Path, report: Report) -> tuple[str, ...]:
    """Return the formats of a path: those in which other paths alone were judged are left out."""
    own = {cell.dtype for cell in path.cells}
    other = {cell.dtype for each in report.paths for cell in each.cells} - own
    return tuple(dtype for dtype in report.dtypes if dtype not in other or not own)


def _table(path: Path, report: Report) -> list[str]:
    """Return the table of a path: a row for each result, a column for each format."""
    width, dtypes = 16, _formats(path, report)
    title = path.name if path.name else "quantity"
    lines = [f"  {title:<22}" + "".join(f"{d:<{width}}" for d in dtypes).rstrip()]
    for row, quantities in ROWS.items():
        cells = []
        for dtype in dtypes:
            own = [c for c in path.cells if c.dtype == dtype and c.quantity in quantities]
            states = {c.state for c in own}
            state = next(
                (
                    s
                    for s in ("WRONG", "CONVENTION", "NUMERICS", "unclaimed", "not resolved", "fragile", "ok")
                    if s in states
                ),
                "not judged",
            )
            worst = max((c.worst for c in own), default=0.0)
            cells.append(
                f"{state} {worst:{'5.2f' if state == 'ok' else '.2f'}}"
                if state in ("ok", "fragile")
                else "loses digits"
                if state == "unclaimed"
                else state
            )
        if all(c == "not judged" for c in cells):
            lines.append(f"  {row:<22}{path.not_judged.get(row, 'not judged')}")
        else:
            lines.append((f"  {row:<22}" + "".join(f"{c:<{width}}" for c in cells)).rstrip())
    right = [c for c in path.cells if c.state in ("ok", "fragile", "not resolved") and c.resolution < math.inf]
    told = [[c.resolution for c in right if c.dtype == dtype] for dtype in dtypes]
    if any(told):
        least = [f"{max(found):.0e}" if found else "-" for found in told]
        lines.append(f"  {'resolution':<22}" + "".join(f"{text:<{width}}" for text in least) + RESOLUTION)
    legend = "number: worst error / bound"
    lines[1] = f"{lines[1]:<{24 + width * len(dtypes)}}{legend}"
    return lines


def _described(finding: Finding, number: int, report: Report, path: Path) -> list[str]:
    """Return a finding as lines: title, where it was seen, the clearest number, effect, how to see it again."""
    count = f" · {len(finding.cases)} case{'s' if len(finding.cases) > 1 else ''}" if finding.cases else ""
    label = finding.kind + count
    lines = textwrap.wrap(f"{number}  {finding.title}", WIDTH, subsequent_indent="   ")
    fits = len(lines[-1]) + len(label) + 2 <= WIDTH
    lines = [*lines[:-1], f"{lines[-1]:<{WIDTH - len(label)}}{label}"] if fits else [*lines, f"{label:>{WIDTH}}"]
    if not finding.case:  # nothing was asked
        return [*lines, f"   cause: {finding.cause}", f"   Effect: {finding.effect}"]
    if finding.measured:
        lines += _formula("measured", finding.measured) + _formula("expected", finding.formula)
    lines.append(f"   seen in {' · '.join(finding.quantities)}; cause: {finding.cause}")
    if finding.explains:
        lines.append(f"   {finding.explains}")
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


def _formula(label: str, words: str) -> list[str]:
    return textwrap.wrap(f"{label}   {words}", WIDTH, initial_indent="   ", subsequent_indent=" " * 14)


def _verdict(path: Path, report: Report) -> str:
    name, row = f"{path.name}: " if path.name else "", path.convention or report.convention
    if not path.judged:
        return f"{name}not judged: {'no result came' if path.cells else 'no case applies'}"
    if path.conforms:
        missing = f"; not judged: {', '.join(path.not_judged)}" if path.not_judged else ""
        return f"{name}conforms to {row}{missing}"
    hint = f" Nearest row: {path.nearest}." if path.nearest else ""
    return f"{name}deviates from {row} ({_counted(path.findings)}).{hint}"


def _counted(findings: Sequence[Finding]) -> str:
    """Say how many findings of each kind there are."""
    kinds = [finding.kind for finding in findings]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)


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
        dtypes = _formats(path, report)
        lines += ["| quantity | " + " | ".join(dtypes) + " |", "|---|" + "---|" * len(dtypes)]
        for row in _table(path, report)[1:]:
            name, rest = row[2:24].strip(), row[24 : 24 + 16 * len(dtypes)]
            cells = [rest[16 * k : 16 * k + 16].strip() or rest.strip() for k in range(len(dtypes))]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += ["", *(f"- {line}" for line in (path.reading, path.followed, *path.gaps) if line), ""]
        for number, finding in enumerate(path.findings, start=1):
            body = _described(finding, number, report, path)
            lines += [f"{number}. **{finding.title}** ({finding.kind}, {len(finding.cases)} cases)"]
            lines += [f"   {line.strip()}  " for line in body[1:-1]]
            again = report.snippet(finding.case, finding.quantity, path.name)
            lines += [*([f"   `{again}`"] if finding.case else []), ""]
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


def badge(report: Report | None) -> str:
    """Write the JSON that shields.io makes a badge of; None is a target that could not be judged.

    What is not offered is no part of "conforms": the message says how many of the report's rows were judged.

    Source: https://shields.io/badges/endpoint-badge.

    Examples
    --------
    >>> badge(None)
    '{"schemaVersion": 1, "label": "batch norm", "message": "not judged", "color": "lightgrey"}'
    """
    message, colour = "not judged", "lightgrey"
    if report is not None and report.findings:
        message = f"deviates from {report.convention}: {_counted(report.findings)}"
        colour = next(COLOURS[kind] for kind in KINDS if kind in {f.kind for f in report.findings})
    elif report is not None and report.conforms:
        judged = min(len(ROWS) - len(path.not_judged) for path in report.paths)
        part = "" if judged == len(ROWS) else f" in {judged} of {len(ROWS)} results"
        message, colour = f"conforms to {report.convention}{part}", COLOURS["conforms"]
    return json.dumps({"schemaVersion": 1, "label": "batch norm", "message": message, "color": colour})


def _wrapped(line: str, **indents: Any) -> list[str]:
    return textwrap.wrap(line, WIDTH, break_on_hyphens=False, **indents)
