"""The matrix survives what it measures: targets that cannot be installed, crash, or hang keep their row.

Real frameworks are not installed here: `refnorm matrix` does that, and its results are committed as data. Verified of
those: they are whole, the table is made from them, and every declared framework has a row.
"""

import json
import sys
from pathlib import Path

import pytest

from refnorm import matrix
from refnorm.conventions import ROWS
from refnorm.frameworks import ADAPTERS
from refnorm.matrix import ENTRIES, Entry, changes, markdown, page, read, rows, write

RESULTS = Path(__file__).parent.parent / "figures" / "matrix"


@pytest.fixture(scope="module")
def measured_refnorm(tmp_path_factory):
    return matrix._measure(Entry("refnorm", "onnx"), sys.executable)


def test_a_framework_that_cannot_be_installed_keeps_its_row(tmp_path, monkeypatch):
    (tmp_path / "none.txt").write_text("refnorm-no-such-package==0.0.0\n")
    monkeypatch.setattr(matrix, "REQUIREMENTS", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    results = matrix.matrix([Entry("torch", "none")], tmp_path / "environments")
    assert results["torch"]["error"].startswith("could not be installed:")
    assert "could not be installed" in markdown(results)
    assert "could not be installed" in page(results)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\nos.abort()", "SIGABRT"),
        ("import time\ntime.sleep(60)", "gave no answer"),
        ("exit(3)", "SystemExit"),
    ],
)
def test_a_framework_that_crashes_or_hangs_keeps_its_row(tmp_path, monkeypatch, source, said):
    file = tmp_path / "framework.py"
    file.write_text(source)
    monkeypatch.setattr(matrix, "IMPORTS", 15.0)
    result = matrix._measure(Entry(str(file), "onnx"), sys.executable)
    assert said in result["error"]
    assert rows({"framework": result})[0][0] == "framework"


def test_two_runs_agree_and_a_change_is_named(measured_refnorm, tmp_path):
    again = matrix._measure(Entry("refnorm", "onnx"), sys.executable)
    assert changes({"refnorm": measured_refnorm}, {"refnorm": again}) == []
    other = json.loads(json.dumps(again))
    other["paths"][""]["measurements"][1]["value"] = 0.125
    (line,) = changes({"refnorm": measured_refnorm}, {"refnorm": other})
    assert line.startswith("refnorm: weight of the new batch")
    assert "0.125" in line


def test_written_results_are_read_back_and_nothing_is_left_aside(measured_refnorm, tmp_path):
    write({"refnorm": measured_refnorm}, tmp_path)
    assert read(tmp_path) == json.loads(json.dumps({"refnorm": measured_refnorm}))
    assert sorted(f.name for f in tmp_path.iterdir()) == ["matrix.html", "matrix.md", "refnorm.json"]


def test_the_page_escapes_what_a_framework_says():
    results = {"torch": {"target": "torch", "date": "2026-01-01", "error": "<script>alert(1)</script>"}}
    assert "<script>" not in page(results)


def test_a_missing_requirements_file_is_named(tmp_path):
    with pytest.raises(OSError, match=r"absent\.txt"):
        matrix._environment("absent", tmp_path)


def test_every_adapter_is_in_the_matrix_and_has_pinned_requirements():
    assert {entry.target for entry in ENTRIES} == set(ADAPTERS)
    for entry in ENTRIES:
        lines = (matrix.REQUIREMENTS / f"{entry.requirements}.txt").read_text().split()
        assert lines, entry
        assert all("==" in line for line in lines), entry


def test_the_committed_results_are_whole():
    results = read(RESULTS)
    assert set(results) == {entry.name for entry in ENTRIES}
    for name, result in results.items():
        if "error" in result:
            continue
        assert result["declared"] in ROWS, name
        assert result["versions"]["target"], name
        assert result["command"].endswith(f"refnorm identify {result['target']}"), name
        assert all(path["measurements"] and path["numerics"] for path in result["paths"].values()), name
    ordered = {entry.name: results[entry.name] for entry in ENTRIES}
    assert (RESULTS / "matrix.md").read_text() == markdown(ordered)
    assert (RESULTS / "matrix.html").read_text() == page(ordered)
    assert sum(len(result.get("paths", {})) for result in results.values()) >= 30
