"""The golden set read by programs in C99 and JavaScript: they confirm the set, and fail on a damaged one.

Neither knows anything of refnorm. A machine without a C compiler, or without node, skips theirs and says so. Not
verified: SHA-256 in C, which the program does not compute.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from refnorm.golden.generate import DATA

FOLDER = Path(__file__).parent / "consumers"


@pytest.fixture(scope="module", params=["c", "javascript"])
def program(request, tmp_path_factory):
    if request.param == "javascript":
        node = shutil.which("node")
        return [node, FOLDER / "consumer.mjs"] if node else pytest.skip("no node on this machine")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc) on this machine")
    target = tmp_path_factory.mktemp("consumer") / "consumer"
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run([compiler, *flags, str(FOLDER / "consumer.c"), "-lm", "-o", str(target)], check=True)
    return [target]


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(DATA, tmp_path / "data")
    return tmp_path / "data"


def run(program, directory):
    return subprocess.run([*program, directory], capture_output=True, text=True, timeout=60, check=False)


def change(directory, name, edit):
    document = json.loads((directory / name).read_text())
    edit(document)
    (directory / name).write_text(json.dumps(document))


def test_it_confirms_the_whole_set(program):
    done = run(program, DATA)
    total = json.loads((DATA / "MANIFEST.json").read_text())["total_cases"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{total} cases" in done.stdout


def test_an_empty_list_of_cases_fails(program, copy):
    change(copy, "bn.training.float32.json", lambda d: d["cases"].clear())
    assert run(program, copy).returncode != 0


def test_a_case_that_is_missing_fails(program, copy):
    change(copy, "bn.frozen.float64.json", lambda d: d["cases"].pop())
    assert run(program, copy).returncode != 0


def test_a_missing_file_fails(program, copy):
    (copy / "bn.running.float16.json").unlink()
    assert run(program, copy).returncode != 0


def test_an_empty_folder_fails(program, tmp_path):
    assert run(program, tmp_path).returncode != 0


def test_a_truncated_file_fails(program, copy):
    text = (copy / "bn.backward.float64.json").read_text()
    (copy / "bn.backward.float64.json").write_text(text[: len(text) // 2])
    assert run(program, copy).returncode != 0


@pytest.mark.parametrize("operation", ["training", "backward", "running", "inference", "frozen"])
@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_a_changed_number_fails(program, copy, operation, kind):
    def edit(document):
        expected = document["cases"][2]["expected"]
        data = expected[sorted(expected)[0]]["data"]
        data[0] = data[0] * 1.125 + 0.125

    change(copy, f"bn.{operation}.{kind}.json", edit)
    assert run(program, copy).returncode != 0
