"""The matrix as a table: one row per framework and path, in Markdown and as a page of HTML."""

from __future__ import annotations

import html
import re
from typing import Any

COLUMNS = (
    "framework",
    "momentum",
    "running variance",
    "starts from",
    "eps",
    "one value",
    "empty batch",
    "half, by format of statistics",
    "variance",
    "inference",
    "y, mean/std 0, 1e3, 1e6",
    "layout, threads",
    "row",
    "refnorm check",
)
MODELLED = (
    ("segnet", "no binary exists; modelled from its published sources: refnorm conventions segnet"),
)  # systems that cannot be run


def rows(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the table's cells: one row per path, or one that says why there is none."""
    table = []
    for name, result in results.items():
        if "error" in result:
            table.append((name, result["error"], *[""] * (len(COLUMNS) - 2)))
            continue
        for path, data in result["paths"].items():
            table.append(_row(f"{name}, {path}" if path else name, result, data))
    return table + [(*row, *[""] * (len(COLUMNS) - len(row))) for row in MODELLED]


def _row(name: str, result: dict[str, Any], data: dict[str, Any]) -> tuple[str, ...]:
    values: dict[str, list[Any]] = {}
    notes: dict[str, str] = {}
    for m in data["measurements"]:
        values.setdefault(m["name"], []).append(m["note"] if m["value"] == "lost" else m["value"])
        notes.setdefault(m["name"], m["note"])

    def of(key: str, otherwise: str = "") -> str:
        return (
            " / ".join(dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v) for v in values.get(key, [])))
            or otherwise
        )

    if "training" in values:
        momentum = f"training {of('training')}"
    else:
        words = {"new": "new batch", "old": "old value", "sums": "running sums"}
        default = notes.get("first weight of the new batch", "").split(" by")[0]
        momentum = f"{words.get(of('momentum'), 'other')}" + (
            f"; by default the new batch weighs {default}" if default else ""
        )
    k = of("running variance, k in m/(m - k)")
    counts = values.get("m counts", [])
    variance = {"0": "biased", "1": "unbiased"}.get(k, k) + (
        "" if len(counts) < 2 else ", by rank: " + " / ".join(counts)
    )
    start = f"{of('initial mean')}, {of('initial variance')}" if "initial mean" in values else of("initial statistics")
    places = dict.fromkeys([*values.get("divisor in training", []), *values.get("divisor in inference", [])])
    eps = " / ".join(places) + (f"; {of('eps, by default')}" if "eps, by default" in values else "")
    pure = {key: value for key, value in values.items() if key.startswith("float16, statistics")}
    half = {
        f"{kind}: {'overflows' if ['overflows'] in own else 'survives'}"
        for kind in ("float16", "float32")
        if (own := [v for key, v in pure.items() if f"statistics {kind}," in key])
    }
    passes = {notes[key].split(",")[0] for key in values if ", variance at mean/std" in key}
    numbers = data["numerics"]
    y = numbers.get("y") if any(numbers.get("y") or []) else numbers.get("inference")
    digits = ", ".join("none" if y[i] is None else f"{y[i]:.2g}" for i in (0, 4, 7)) if y else numbers.get("lost", "")
    differs = numbers.get("layouts", [])
    layout = f"{'differs: ' + ', '.join(differs) if differs else 'same'}; {numbers.get('threads', '')}"
    where = notes.get("inference at x = mean, y - beta", "")
    verdict = f"{data['row']}: agrees" if not data["differs"] else f"{data['row']}: {'; '.join(data['differs'])}"
    return (
        name, momentum, variance, start, eps, of("one value per channel"), of("empty batch"), " / ".join(sorted(half)),
        " / ".join(sorted(passes)), where, digits, layout, verdict,
        judged(data.get("check")),
    )  # fmt: skip


def judged(check: dict[str, Any] | None) -> str:
    """Return a verdict in a few words: conforms, or how many findings of each kind.

    Examples
    --------
    >>> judged({"conforms": False, "lost": [], "findings": [{"kind": "wrong"}, {"kind": "numerics"}]})
    'deviates: 1 wrong, 1 numerics'
    """
    if not check:
        return ""
    if "error" in check:
        return str(check["error"])
    if check["conforms"]:
        return f"conforms, {check['cases']} cases"
    kinds = [f["kind"] for f in check["findings"]]
    counts = [f"{kinds.count(kind)} {kind}" for kind in ("wrong", "convention", "numerics") if kind in kinds]
    return f"deviates: {', '.join([*counts, *check['lost']])}"


def found(results: dict[str, dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return, for each path that deviates, what `refnorm check` found: a line per finding."""
    lists = []
    for name, result in results.items():
        for path, data in result.get("paths", {}).items():
            check = data.get("check") or {}
            lines = [f"{f['kind']}, {f['cases']} cases: {f['title']}" for f in check.get("findings", ())]
            lines += [*check.get("lost", ()), *([check["error"]] if "error" in check else [])]
            if lines:
                lists.append((f"{name}, {path}" if path else name, lines))
    return lists


HEAD = """\
What each framework does, measured: every cell is an outcome of the command beside it, none is from memory.

Weights of momentum are those it gives to the new batch, the old value, or running sums. Digits: worst error of y of
training (of inference, where there is no training), float32, in units of the last place of the largest value, at
mean/std = 0, 1e3 and 1e6. Layout: memory layouts whose y differs in a bit; threads: whether y of a large batch is the
same on one core as on all. The last column counts what `refnorm check` finds in float64, float32 and float16, by the
row of the path; the findings themselves stand below. Remade by `refnorm matrix`.
"""


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["# Conventions, measured", "", HEAD, f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows(results)]
    lines += ["", "| framework | versions | date | command |", "| --- | --- | --- | --- |"]
    for name, result in results.items():
        version = result.get("versions", {}).get("target", "")
        lines.append(f"| {name} | {version} | {result['date']} | `{result.get('command', '')}` |")
    lines += ["", "## What `refnorm check` finds"]
    for path, findings in found(results):
        lines += ["", f"{path}:", "", *(f"- {line}" for line in findings)]
    return "\n".join(lines) + "\n"


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the table as one HTML page without scripts."""
    style = (
        "body{font:14px system-ui,sans-serif;margin:1.5rem}table{border-collapse:collapse}"
        "th,td{border:1px solid #bbb;padding:.25rem .5rem;vertical-align:top;text-align:left;max-width:22rem}"
        "thead th{position:sticky;top:0;background:#eee}tbody th{position:sticky;left:0;background:#fafafa}"
    )
    head = "".join(f"<th scope=col>{html.escape(c)}</th>" for c in COLUMNS)
    body = "".join(
        f"<tr><th scope=row>{html.escape(row[0])}</th>{''.join(f'<td>{html.escape(c)}</td>' for c in row[1:])}</tr>\n"
        for row in rows(results)
    )
    lists = "".join(
        f"<h3>{html.escape(path)}</h3>\n<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>\n"
        for path, lines in found(results)
    )
    runs = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(r.get('versions', {}).get('target', ''))}</td>"
        f"<td>{html.escape(r['date'])}</td><td><code>{html.escape(r.get('command', ''))}</code></td></tr>\n"
        for name, r in results.items()
    )
    intro = re.sub("`(.+?)`", r"<code>\1</code>", html.escape(HEAD))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Conventions, measured</title><style>{style}'
        f"</style>\n<h1>Conventions, measured</h1>\n<p>{intro}</p>\n<table><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{body}</tbody></table>\n<h2>What refnorm check finds</h2>\n{lists}"
        f"<h2>Versions and commands</h2>\n<table><tbody>{runs}</tbody></table></html>\n"
    )
