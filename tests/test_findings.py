"""The page of findings: each script runs alone and prints what the page says it printed.

The scripts need one framework each, so they run in the environments that `refnorm matrix --environments DIR` made:
`REFNORM_ENVIRONMENTS=DIR pytest -m slow tests/test_findings.py`. Without them only their form is checked.
"""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from refnorm.matrix import REQUIREMENTS, _environment

PAGE = Path(__file__).parent.parent / "tutorials" / "findings.md"
FINDINGS = re.findall(
    r"^## (.+?)$.*?^- environment: `(.+?)`$.*?^```python\n(.+?)^```$.*?^got:\n\n```\n(.+?)\n^```$",
    PAGE.read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


def test_every_finding_has_a_script_that_needs_one_framework():
    assert len(FINDINGS) >= 8
    for title, environment, script, got in FINDINGS:
        assert (REQUIREMENTS / f"{environment}.txt").exists(), title
        assert "refnorm" not in script, title
        assert got.strip(), title
        ast.parse(script)


@pytest.mark.slow
@pytest.mark.parametrize(("title", "environment", "script", "got"), FINDINGS, ids=[f[0] for f in FINDINGS])
def test_the_script_prints_what_the_page_says(title, environment, script, got, tmp_path):
    if "REFNORM_ENVIRONMENTS" not in os.environ:
        pytest.skip("set REFNORM_ENVIRONMENTS to the directory that `refnorm matrix --environments` filled")
    python = _environment(environment, Path(os.environ["REFNORM_ENVIRONMENTS"]))
    (tmp_path / "finding.py").write_text(script)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-W", "ignore", "finding.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == got.strip(), done.stderr[-500:]
