"""The results of a matrix as files, what differs between two of them, and the history of what did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from refnorm.matrix.environments import ENTRIES
from refnorm.matrix.page import html_page, markdown_page

HISTORY = "history.jsonl"  # a line for each framework whose results a run has changed, the newest last


def write(results: dict[str, dict[str, Any]], directory: Path) -> None:
    """Write one JSON file per framework, the table in Markdown, and the page in HTML; each aside, then renamed.

    What changed since the results that the directory holds is added to its history, and shown on the pages.
    """
    directory.mkdir(parents=True, exist_ok=True)
    before = read(directory)
    everything = {**before, **results}
    ordered = {e.name: everything[e.name] for e in ENTRIES if e.name in everything}
    past = [*history(directory), *news(before, results)]
    files = {HISTORY: "".join(json.dumps(entry) + "\n" for entry in past)} if past else {}
    files |= {f"{name}.json": json.dumps(result, indent=1) + "\n" for name, result in results.items()}
    files |= {"matrix.md": markdown_page(ordered, past), "matrix.html": html_page(ordered, past)}
    for name, content in files.items():
        aside = directory / f"{name}.part"
        aside.write_text(content, encoding="utf-8")
        aside.replace(directory / name)


def read(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the results that a directory holds."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(directory.glob("*.json"))}


def history(directory: Path) -> list[dict[str, Any]]:
    """Return what earlier runs changed, oldest first: framework, date, versions before and after, changes."""
    path = directory / HISTORY
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def news(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an entry of the history for each framework that was measured before, and is not as it was.

    Examples
    --------
    >>> old = {"torch": {"date": "2026-01-01", "refnorm": "0.1", "error": "it was killed"}}
    >>> news(old, old)
    []
    >>> (entry,) = news(old, {"torch": {"date": "2026-02-01", "refnorm": "0.2", "declared": "torch"}})
    >>> entry["date"], entry["refnorm"], entry["changes"]
    ('2026-02-01', ['0.1', '0.2'], ['error: it was killed -> absent', 'declared: absent -> torch'])
    """
    return [
        {
            "framework": name,
            "date": result["date"],
            "refnorm": [before[name].get("refnorm", ""), result.get("refnorm", "")],
            "version": [r.get("versions", {}).get("target", "") for r in (before[name], result)],
            "changes": [line.removeprefix(f"{name}: ") for line in lines],
        }
        for name, result in after.items()
        if name in before and (lines := changes({name: before[name]}, {name: result}))
    ]


def changes(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """Say what differs between two sets of results, dates aside: a line per framework, path and measurement."""
    lines = []
    for name in new:
        a, b = (_flat(results.get(name, {})) for results in (old, new))
        lines += [
            f"{name}: {key}: {a.get(key, 'absent')} -> {b.get(key, 'absent')}"
            for key in dict.fromkeys([*a, *b])
            if a.get(key) != b.get(key)
        ]
    return lines


def time_spent(results: dict[str, dict[str, Any]]) -> str:
    """Say how long each took to be measured, the longest first, and all together.

    Examples
    --------
    >>> time_spent({"torch": {"seconds": 40}, "flax": {"seconds": 55}, "onnx": {"error": "it was killed"}})
    'seconds: flax 55, torch 40; together 95'
    """
    spent = {name: result["seconds"] for name, result in results.items() if "seconds" in result}
    ordered = sorted(spent, key=lambda name: spent[name], reverse=True)
    return f"seconds: {', '.join(f'{name} {spent[name]}' for name in ordered)}; together {sum(spent.values())}"


def _flat(result: dict[str, Any]) -> dict[str, str]:
    """Return everything that was measured of a framework as text by name, to be compared."""
    found: dict[str, str] = {key: str(result[key]) for key in ("error", "declared") if key in result}
    found |= {f"version of {k}": v for k, v in result.get("versions", {}).items()}
    for path, data in result.get("paths", {}).items():
        for number, m in enumerate(data["measurements"]):
            found[f"{path} {m['name']} ({number})".strip()] = f"{m['value']} {m['note']}".strip()
        found |= {f"{path} {k}".strip(): str(data.get(k)) for k in ("row", "nearest", "differs")}
        found |= {f"{path} numerics, {k}".strip(): str(v) for k, v in data["numerics"].items()}
        found |= {f"{path} check, {k}".strip(): str(v) for k, v in data.get("check", {}).items() if k != "findings"}
        for f in data.get("check", {}).get("findings", ()):
            found[f"{path} check, {f['kind']}: {f['title']}".strip()] = f"{f['cases']} cases"
    return found
