"""``pytest --fresh``: what has passed in a folder is left out there, and nothing else is."""

import shutil
import subprocess
import sys
from pathlib import Path

FILE = """
import os
import pytest

@pytest.mark.parametrize("n", range(4))
def test_each(n):
    if n == 1 and "THERE" not in os.environ:
        pytest.skip("a package that is not there")
    assert n != 2 or "MENDED" in os.environ
"""


def test_what_was_skipped_or_failed_is_run_again_and_what_passed_is_not(tmp_path):
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "test_each.py").write_text(FILE)

    def said(**variables):
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:xdist",
            "--fresh",
            "-c",
            "/dev/null",
            "--rootdir",
            ".",
        ]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)
        return done.stdout.splitlines()[-1].partition(" in ")[0]

    assert said() == "1 failed, 2 passed, 1 skipped"
    assert said(THERE="1") == "1 failed, 1 passed, 2 deselected"
    assert said(MENDED="1") == "1 passed, 3 deselected"
    assert said() == "4 deselected"
