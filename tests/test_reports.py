"""The reports are the findings: their scripts and outcomes are those of the page, and exact values are computed again.

That the scripts print what the page says is `test_findings.py`. Not verified: that a suggestion is a good one, that an
address is still the project's, and that nobody has reported it meanwhile.
"""

import contextlib
import io
import re
import sys

import pytest
from test_findings import FINDINGS, SECTIONS, TABLES
from tutorial_pages import FOLDER

sys.path.insert(0, str(FOLDER))
import reports

sys.path.pop(0)
DATA = reports.data()
PAGES = reports.pages()
INHERITED = {
    ("JAX, TensorFlow, MindSpore: subnormal numbers are flushed to 0", name) for name in ("tf-slim", "tensorlayer")
}
HEADINGS = ["Expected", "From the definition, exactly", "Suggestion"]
STATUS = re.compile(r"not reported|reported https://\S+(?:, answered: .+)?")


def printed(script):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(script, "exact", "exec"), {"__name__": "__main__"})
    return out.getvalue()


def test_the_files_are_those_that_the_command_writes(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reports.py", "--check"])
    assert reports.main() == 0, "python tutorials/reports.py writes them anew"


def test_a_report_that_was_edited_by_hand_is_seen(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reports.py", "--check"])
    name = next(iter(PAGES))
    monkeypatch.setattr(reports, "pages", lambda: {**PAGES, name: PAGES[name] + " "})
    assert reports.main() == 1
    monkeypatch.setattr(reports, "pages", lambda: {n: t for n, t in PAGES.items() if n != name})
    assert reports.main() == 1


def test_every_finding_and_every_script_of_the_page_is_in_a_report():
    assert {finding["title"] for finding in DATA["finding"]} == set(SECTIONS) - set(TABLES)
    for title, environment, script, got in FINDINGS:
        holding = [text for text in PAGES.values() if f"```python\n{script}```" in text and f"```\n{got}\n```" in text]
        assert holding or (title, environment) in INHERITED, (title, environment)


@pytest.mark.parametrize("finding", DATA["finding"], ids=lambda finding: finding["title"])
def test_exact_values_are_computed_again_from_the_definition(finding):
    assert ("says" in finding) != ("exact" in finding)
    if "exact" in finding:
        assert "refnorm" not in finding["exact"]
        assert printed(finding["exact"]) == finding["prints"]


def test_another_definition_gives_other_exact_values():
    finding = next(f for f in DATA["finding"] if f["title"].startswith("Keras 3 on PyTorch"))
    assert finding["exact"].count("pvariance") == 2
    assert printed(finding["exact"].replace("pvariance", "variance")) != finding["prints"]


@pytest.mark.parametrize("path", [path for path in PAGES if path != "reports.md"])
def test_a_report_is_whole(path):
    headings = re.findall(r"^## (.+)$", PAGES[path], re.MULTILINE)
    assert headings[-3:] == HEADINGS
    assert headings[0].startswith("To reproduce")
    assert "../" not in PAGES[path]  # nothing that leads nowhere in a tracker


def test_the_column_says_what_has_become_of_each():
    entries = [entry for finding in DATA["finding"] for entry in finding["report"]]
    assert len(entries) == len(PAGES) - 1
    assert all(STATUS.fullmatch(entry["status"]) for entry in entries)
    assert {entry["project"] for entry in entries} == set(DATA["projects"])
    rows = re.findall(r"^\| \[.+\]\(.+\) \| \[.+\]\((.+)\) \| (.+) \|$", PAGES["reports.md"], re.MULTILINE)
    assert dict(rows) == {f"reports/{e['project']}/{e['file']}.md": e["status"] for e in entries}
