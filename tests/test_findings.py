"""The page of findings: each script runs alone and prints what the page says it printed.

The scripts need one framework each, so they run in the environments that `refnorm matrix --environments DIR` made:
`REFNORM_ENVIRONMENTS=DIR pytest -m slow tests/test_findings.py`. Without them only their form is checked.
"""

import ast
import os
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from refnorm.matrix import read
from refnorm.matrix.environments import REQUIREMENTS
from refnorm.matrix.environments import environment as made

PAGE = (Path(__file__).parent.parent / "tutorials" / "findings.md").read_text(encoding="utf-8")
RESULTS = Path(__file__).parent.parent / "figures" / "matrix"
SECTIONS = dict(re.findall(r"^## (.+?)$(.+?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
TABLES = ("Refused, or in another format", "Which line of the matrix is which finding")
NOT_RUN = (
    "MLX: an empty batch may hang",
    "Keras 3 on OpenVINO: an empty batch of images damages the heap",
    "PyTorch on CUDA: a bias without a weight has no gradient",
    "PyTorch on CUDA: gradients of half precision are rounded to it at every step of their sums",
)
NO_SCRIPT = (*NOT_RUN, *TABLES)
SCRIPT = re.compile(
    r"^- environment: `(.+?)`$.*?^```python\n(.+?)^```$.*?^got:\n\n```\n(.+?)\n^```$", re.MULTILINE | re.DOTALL
)
FINDINGS = [(title, *script) for title, text in SECTIONS.items() for script in SCRIPT.findall(text)]
ROWS = re.findall(r"^\| (.+?) \| (`.+`) \| (.+) \|$", SECTIONS[TABLES[-1]], re.MULTILINE)


def test_every_finding_has_a_script_that_needs_one_framework():
    assert len(FINDINGS) >= 8
    assert {title for title, *_ in FINDINGS} == set(SECTIONS) - set(NO_SCRIPT)
    for title, environment, script, got in FINDINGS:
        assert (REQUIREMENTS / f"{environment}.txt").exists(), title
        assert "refnorm" not in script, title
        assert got.strip(), title
        ast.parse(script)
    for title, text in SECTIONS.items():
        assert title in NO_SCRIPT or re.search("^- severity: (high|medium|low)", text, re.MULTILINE), title
        assert text.count("- environment: ") == text.count("```python") == len(SCRIPT.findall(text)), title


def test_the_table_leads_from_every_line_of_the_matrix_to_a_finding_and_has_no_other():
    lines = {
        (name, line)
        for name, result in read(RESULTS).items()
        for path in result.get("paths", {}).values()
        for line in (*(f["title"] for f in path["check"].get("findings", ())), *path["check"].get("lost", ()))
    }
    rows = [(name, line) for names, cell, _ in ROWS for name in names.split(", ") for line in cell[1:-1].split("`, `")]
    assert lines == {(name, line) for name, line in lines if any(_leads(row, name, line) for row in rows)}
    assert rows == [row for row in rows if any(_leads(row, *line) for line in lines)]
    assert {title for *_, title in ROWS} <= set(SECTIONS) - {TABLES[-1]}


def _leads(row, name, line):
    return row[0] == name and fnmatchcase(line, row[1].replace("[", "[[]"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("title", "environment", "script", "got"), FINDINGS, ids=[f"{title}, {where}" for title, where, *_ in FINDINGS]
)
def test_the_script_prints_what_the_page_says(title, environment, script, got, tmp_path):
    if "REFNORM_ENVIRONMENTS" not in os.environ:
        pytest.skip("set REFNORM_ENVIRONMENTS to the directory that `refnorm matrix --environments` filled")
    python = made(environment, Path(os.environ["REFNORM_ENVIRONMENTS"]))
    (tmp_path / "finding.py").write_text(script)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-W", "ignore", "finding.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == got.strip(), done.stderr[-500:]
