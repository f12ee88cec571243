"""The matrix as a table: one row per framework and path, in Markdown and as a page of HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from refnorm.oracle.measure.measurement import LOST, OTHER, Key, Measurement

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
    """Return the cells of one path of a framework."""
    measured: dict[Key, list[Measurement]] = {}
    for m in map(Measurement.from_dict, data["measurements"]):
        measured.setdefault(m.key, []).append(m)

    def values(*keys: Key) -> list[Any]:
        return [m.note if m.value == LOST else m.value for key in keys for m in measured.get(key, ())]

    def of(*keys: Key) -> str:
        return " / ".join(dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v) for v in values(*keys)))

    def short(key: Key) -> list[str]:
        return [m.short for m in measured.get(key, ())]

    if Key.TRAINING in measured:
        momentum = f"training {of(Key.TRAINING)}"
    else:
        words = {"new": "new batch", "old": "old value", "sums": "running sums"}
        momentum = words.get(of(Key.MOMENTUM), OTHER)
        momentum += "".join(f"; by default the new batch weighs {default}" for default in short(Key.FIRST_WEIGHT))
    k, counts = of(Key.CORRECTION), values(Key.COUNTS)
    variance = {"0": "biased", "1": "unbiased"}.get(k, k)
    variance += f", by rank: {' / '.join(counts)}" if len(counts) > 1 else ""
    start = f"{of(Key.INITIAL_MEAN)}, {of(Key.INITIAL_VARIANCE)}"
    start = start if Key.INITIAL_MEAN in measured else of(Key.INITIAL_STATISTICS)
    eps = of(Key.TRAINING_DIVISOR, Key.INFERENCE_DIVISOR)
    eps += f"; {of(Key.DEFAULT_EPS)}" if Key.DEFAULT_EPS in measured else ""
    numbers = data["numerics"]
    y = numbers.get("y") if any(numbers.get("y") or []) else numbers.get("inference")
    digits = ", ".join("none" if y[i] is None else f"{y[i]:.2g}" for i in (0, 4, 7)) if y else numbers.get("lost", "")
    differs = numbers.get("layouts", [])
    layout = f"{'differs: ' + ', '.join(differs) if differs else 'same'}; {numbers.get('threads', '')}"
    where = "".join(m.note for m in measured.get(Key.FOLDING, ()))
    verdict = f"{data['row']}: agrees" if not data["differs"] else f"{data['row']}: {'; '.join(data['differs'])}"
    return (
        name, momentum, variance, start, eps, of(Key.ONE_VALUE), of(Key.EMPTY_BATCH),
        _half(measured.get(Key.HALF_SUMS, ())), " / ".join(sorted(set(short(Key.VARIANCE)))), where, digits, layout,
        verdict, in_few_words(data.get("check")),
    )  # fmt: skip


def _half(sums: Sequence[Measurement]) -> str:
    """Say for each format of the statistics whether sums of half precision overflow anywhere."""
    worst = {m.short: "survives" for m in sums} | {m.short: m.value for m in sums if m.value == "overflows"}
    return " / ".join(f"{kind}: {worst[kind]}" for kind in sorted(worst))


def in_few_words(check: dict[str, Any] | None) -> str:
    """Return a verdict in a few words: conforms, or how many findings of each kind.

    Examples
    --------
    >>> in_few_words({"conforms": False, "lost": [], "findings": [{"kind": "wrong"}, {"kind": "numerics"}]})
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


def findings_by_path(results: dict[str, dict[str, Any]]) -> list[tuple[str, list[str]]]:
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


def changed(history: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the last change of each framework, newest first: a heading and a line per measurement.

    Examples
    --------
    >>> entry = {"framework": "torch", "date": "2026-12-01", "refnorm": ["0.1", "0.1"], "version": ["2.13", "2.14"]}
    >>> changed([{**entry, "changes": ["eps: 1e-05 -> 0.001"]}])
    [('2026-12-01, torch, 2.13 to 2.14, refnorm 0.1', ['eps: 1e-05 -> 0.001'])]
    """
    last = sorted({e["framework"]: e for e in history}.values(), key=lambda e: str(e["date"]), reverse=True)
    return [
        (
            ", ".join(filter(None, (e["date"], e["framework"], _to(e["version"]), f"refnorm {_to(e['refnorm'])}"))),
            e["changes"],
        )
        for e in last
    ]


def _to(pair: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys(filter(None, pair)))


HEAD = """\
What each framework does, measured: every cell is an outcome of the command beside it, none is from memory.

Weights of momentum are those it gives to the new batch, the old value, or running sums. Digits: worst error of y of
training (of inference, where there is no training), float32, in units of the last place of the largest value, at
mean/std = 0, 1e3 and 1e6. Layout: memory layouts whose y differs in a bit; threads: whether y of a large batch is the
same on one core as on all. The last column counts what `refnorm check` finds in float64, float32 and float16, by the
row of the path; the findings themselves stand below. Remade by `refnorm matrix`.
"""


PAST = "The last change of each framework; history.jsonl beside this page has all of them."


def markdown_page(results: dict[str, dict[str, Any]], history: Sequence[dict[str, Any]] = ()) -> str:
    """Return the table in Markdown, and what earlier runs found otherwise."""
    lines = ["# Conventions, measured", "", HEAD, f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows(results)]
    lines += ["", "| framework | versions | date | command |", "| --- | --- | --- | --- |"]
    for name, result in results.items():
        version = result.get("versions", {}).get("target", "")
        lines.append(f"| {name} | {version} | {result['date']} | `{result.get('command', '')}` |")
    lines += ["", "## What `refnorm check` finds"]
    for path, findings in findings_by_path(results):
        lines += ["", f"{path}:", "", *(f"- {line}" for line in findings)]
    lines += ["", "## What has changed", "", PAST] if history else []
    for title, differences in changed(history):
        lines += ["", f"{title}:", "", *(f"- {line}" for line in differences)]
    return "\n".join(lines) + "\n"


def html_page(results: dict[str, dict[str, Any]], history: Sequence[dict[str, Any]] = ()) -> str:
    """Return the table as one HTML page without scripts, and what earlier runs found otherwise."""
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
    lists, past = (
        "".join(
            f"<h3>{html.escape(title)}</h3>\n<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>\n"
            for title, lines in sections
        )
        for sections in (findings_by_path(results), changed(history))
    )
    past = f"<h2>What has changed</h2>\n<p>{html.escape(PAST)}</p>\n{past}" if past else ""
    runs = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(r.get('versions', {}).get('target', ''))}</td>"
        f"<td>{html.escape(r['date'])}</td><td><code>{html.escape(r.get('command', ''))}</code></td></tr>\n"
        for name, r in results.items()
    )
    intro = re.sub("`(.+?)`", r"<code>\1</code>", html.escape(HEAD))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Conventions, measured</title><style>{style}'
        f"</style>\n<h1>Conventions, measured</h1>\n<p>{intro}</p>\n<table><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{body}</tbody></table>\n<h2>What refnorm check finds</h2>\n{lists}{past}"
        f"<h2>Versions and commands</h2>\n<table><tbody>{runs}</tbody></table></html>\n"
    )
