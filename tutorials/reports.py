"""Reports to paste into a project's tracker: `python tutorials/reports.py` writes `reports.md` and `reports/`.

Made from findings.md, which has scripts and what they printed, and reports.toml, which has the exact values, one
suggestion for each report, and what has become of it. `--check` writes nothing and fails if anything would change.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SECTION = re.compile(r"^## (.+?)$(.+?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(
    r"^- environment: `.+?`$\n\n```python\n(.+?)^```$.*?^got:\n\n```\n(.+?)\n^```$", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"(.+?)\n\n```\n(.+?)^```\n\nexpected: (.+?); got: (.+?)\n*\Z", re.MULTILINE | re.DOTALL)
HEAD = """\
# Reports, ready to be sent

Each finding of [that page](findings.md), one file for each project that it is about, to be pasted into the project's
tracker: versions, a script that needs nothing of refnorm, the exact value from the definition with the lines that print
it, what was got, and one suggestion. Look first whether it has been reported meanwhile and whether the newest version
still does it. Then write into `reports.toml` where it was reported and what was answered, and run `python
tutorials/reports.py`, which makes this page and the files.
"""


def data() -> dict[str, Any]:
    """Return what `reports.toml` says."""
    return tomllib.loads((FOLDER / "reports.toml").read_text(encoding="utf-8"))


def sections() -> dict[str, str]:
    """Return the findings' texts by title."""
    return dict(SECTION.findall((FOLDER / "findings.md").read_text(encoding="utf-8")))


def field(text: str, name: str) -> str:
    """Return what a finding says after `- versions:` or `- severity:`, on one line."""
    found = re.search(rf"^- {name}: (.+?)(?=^- |^\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def report(finding: dict[str, Any], entry: dict[str, Any], text: str) -> str:
    """Return the file of one report."""
    title, severity = entry.get("title", finding["title"]), field(text, "severity")
    if run := SCRIPT.findall(text):
        prose = text.partition("\n- versions:")[0].strip()
        chosen = [run[k - 1] for k in entry.get("scripts", range(1, len(run) + 1))]
        expected = re.search(r"^expected(?:, here and below)?: (.+?)\n\n", text, re.MULTILINE | re.DOTALL)[1]  # type: ignore[index]
        shown = [(f"```python\n{script}```", f"```\n{got}\n```") for script, got in chosen]
    else:
        prose, script, expected, got = NOT_RUN.fullmatch(text.strip()).groups()  # type: ignore[union-attr]
        shown = [(f"```python\n{script}```", got)]
    lines = [f"# {title}", "", entry.get("text", prose), ""]
    lines += [f"- versions: {field(text, 'versions')}", f"- severity: {severity}", ""] if run else []
    for number, (script, got) in enumerate(shown, start=1):
        of = f" ({number} of {len(shown)})" if len(shown) > 1 else ""
        lines += [f"## To reproduce{of}", "", script, "", f"## Got{of}", "", got, ""]
    lines += ["## Expected", "", " ".join(expected.split()), "", "## From the definition, exactly", ""]
    if "says" in finding:
        lines += [finding["says"], ""]
    else:
        lines += [f"```python\n{finding['exact'].strip()}\n```", "", f"```\n{finding['prints'].strip()}\n```", ""]
    return "\n".join([*lines, "## Suggestion", "", entry["suggestion"], ""])


def pages() -> dict[str, str]:
    """Return every file by its path in this folder."""
    said, texts, files, rows = data(), sections(), {}, []
    for finding in said["finding"]:
        text = texts[finding["title"]]
        for entry in finding["report"]:
            path = f"reports/{entry['project']}/{entry['file']}.md"
            assert path not in files, f"two reports are {path}"
            files[path] = report(finding, entry, text)
            rows.append((entry["project"], entry.get("title", finding["title"]), path, entry["status"]))
    lines = [HEAD, "| project | report | reported / answered |", "| --- | --- | --- |"]
    for project, title, path, status in sorted(rows, key=lambda row: row[0]):
        lines.append(f"| [{project}]({said['projects'][project]}) | [{title}]({path}) | {status} |")
    lines += ["", "```{toctree}", ":hidden:", ":glob:", "", "reports/*/*", "```", ""]
    return {"reports.md": "\n".join(lines), **files}


def main() -> int:
    """Write, or check."""
    files = pages()
    there = {p.relative_to(FOLDER).as_posix() for p in [FOLDER / "reports.md", *FOLDER.glob("reports/*/*.md")]}
    if sys.argv[1:] == ["--check"]:
        return int(there != set(files) or any((FOLDER / n).read_text(encoding="utf-8") != t for n, t in files.items()))
    shutil.rmtree(FOLDER / "reports", ignore_errors=True)
    for name, text in files.items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(files) - 1} reports of {len(data()['finding'])} findings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
