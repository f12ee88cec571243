"""The matrix survives what it measures: targets that cannot be installed, crash, or hang keep their row.

Real frameworks are not installed here: `refnorm matrix` does that, and its results are committed as data. Verified of
those: they are whole, the table is made from them, and every declared framework has a row.
"""

import json
import re
import sys
from pathlib import Path

import pytest

import refnorm.matrix
from refnorm.cli import main
from refnorm.conventions import ROWS
from refnorm.frameworks import ADAPTERS
from refnorm.matrix import ENTRIES, GROUPS, Entry, changes, environments, history, read, update, write
from refnorm.matrix import frameworks as measuring
from refnorm.matrix.page import html_page, markdown_page
from refnorm.matrix.sentence import sentence
from refnorm.matrix.table import COLUMNS, NOT_RUN, grouped, in_few_words, rows

RESULTS = Path(__file__).parent.parent / "figures" / "matrix"


@pytest.fixture(scope="module")
def measured_refnorm(tmp_path_factory):
    return measuring._measure(Entry("refnorm", "onnx"), sys.executable)


@pytest.mark.parametrize("by", ["nothing", *(pytest.param(by, marks=pytest.mark.slow) for by in ("pip", "uv"))])
def test_a_framework_that_cannot_be_installed_keeps_its_row(tmp_path, monkeypatch, by):
    (tmp_path / "none.txt").write_text("refnorm-no-such-package==0.0.0\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    if by != "uv":
        monkeypatch.setattr(environments.shutil, "which", lambda _: None)
    if by == "nothing":  # there is no interpreter that makes an environment
        monkeypatch.setattr(environments, "interpreter", lambda _: "false")
    results = measuring.matrix([Entry("torch", "none")], tmp_path / "environments")
    assert results["torch"]["error"].startswith("could not be installed:")
    assert "could not be installed" in markdown_page(results)
    assert "could not be installed" in html_page(results)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\nos.abort()", "SIGABRT"),
        pytest.param("import time\ntime.sleep(60)", "gave no answer", marks=pytest.mark.slow),
        ("exit(3)", "SystemExit"),
    ],
)
def test_a_framework_that_crashes_or_hangs_keeps_its_row(tmp_path, monkeypatch, source, said):
    file = tmp_path / "framework.py"
    file.write_text(source)
    monkeypatch.setattr(measuring, "IMPORTS", 15.0)
    result = measuring._measure(Entry(str(file), "onnx"), sys.executable)
    assert said in result["error"]
    assert rows({"framework": result})[0][0] == "framework"


def test_stray_output_and_a_vanished_interpreter_cost_one_row(tmp_path, monkeypatch):
    stray = "import os\nfor fd in range(3, 40):\n    try: os.write(fd, b'Hello')\n    except OSError: pass\n"
    (tmp_path / "stray.py").write_text(stray)
    (tmp_path / "none.txt").write_text("")
    entries = [Entry(str(tmp_path / "stray.py"), "none"), Entry("refnorm", "gone")]
    pythons = {"none": sys.executable, "gone": str(tmp_path / "no-python")}
    monkeypatch.setattr(measuring, "environment", lambda name, _: pythons[name])
    results = measuring.matrix(entries, tmp_path)
    stray, gone = results.values()
    assert "wrote what is no answer on the line to its judge" in stray["error"]
    assert "cannot be run: No such file or directory" in gone["error"]


FRAGILE = """\
import os
import time
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    if not x.size:
        {fault}
    mean, var = x.mean(axis=0), x.var(axis=0)
    if bn_param["mode"] == "test":
        mean, var = bn_param["running_mean"], bn_param["running_var"]
    else:
        a = bn_param["momentum"]
        bn_param["running_mean"] = a * bn_param["running_mean"] + (1 - a) * mean
        bn_param["running_var"] = a * bn_param["running_var"] + (1 - a) * var
    return gamma * (x - mean) / np.sqrt(var + bn_param["eps"]) + beta, None
"""


@pytest.mark.rest  # see conftest.py
@pytest.mark.parametrize(
    ("fault", "said"),
    [("os.abort()", "SIGABRT"), pytest.param("time.sleep(60)", "no answer in 5 s", marks=pytest.mark.slow)],
)
def test_a_framework_that_dies_or_hangs_in_one_case_is_judged_by_the_others(tmp_path, monkeypatch, fault, said):
    file = tmp_path / "fragile.py"
    file.write_text(FRAGILE.format(fault=fault))
    monkeypatch.setattr(measuring, "CASE", 5.0)
    verdict = measuring._verdicts(str(file), {"python": sys.executable, "folder": str(tmp_path)})[""]
    assert not verdict["conforms"]
    (lost,) = verdict["lost"]  # once for all formats and ranks
    assert said in lost
    assert "empty-batch" in lost
    assert verdict["cases"] > 50
    assert said in in_few_words(verdict)


def test_what_is_done_is_kept_before_the_next_is(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(measuring, "environment", lambda name, _: name)
    monkeypatch.setattr(measuring, "_measure", lambda entry, python: {"error": f"{entry.name} in {python}"})
    both = [Entry("torch", "torch"), Entry("keras", "jax", "jax")]
    measuring.matrix(both, tmp_path, keep=lambda results: seen.append(list(results)))
    assert seen == [["torch"], ["torch", "keras-jax"]]


def test_a_path_that_check_cannot_judge_says_why():
    assert in_few_words({"error": "it was killed"}) == "it was killed"
    assert in_few_words(None) == ""
    assert in_few_words({"conforms": True, "cases": 7, "findings": [], "lost": []}) == "conforms, 7 cases"


@pytest.mark.slow
def test_two_runs_agree_and_a_change_is_named(measured_refnorm, tmp_path):
    again = measuring._measure(Entry("refnorm", "onnx"), sys.executable)
    assert changes({"refnorm": measured_refnorm}, {"refnorm": again}) == []
    other = json.loads(json.dumps(again))
    other["paths"][""]["measurements"][1]["value"] = 0.125
    (line,) = changes({"refnorm": measured_refnorm}, {"refnorm": other})
    assert line.startswith("refnorm: weight of the new batch")
    assert "0.125" in line


def test_written_results_are_read_back_and_nothing_is_left_aside(tmp_path):
    recorded = json.loads((RESULTS / "refnorm.json").read_text())
    write({"refnorm": recorded}, tmp_path)
    assert read(tmp_path) == {"refnorm": recorded}
    assert sorted(f.name for f in tmp_path.iterdir()) == ["matrix.html", "matrix.md", "refnorm.json"]


def test_a_run_that_changes_results_is_in_the_history_and_on_the_pages(tmp_path):
    first = json.loads((RESULTS / "onnx.json").read_text())
    write({"onnx": first}, tmp_path)
    write({"onnx": {**first, "date": "2030-01-01"}}, tmp_path)  # the same on another day
    assert history(tmp_path) == []
    assert "has changed" not in (tmp_path / "matrix.md").read_text()
    second = json.loads(json.dumps(first)) | {"date": "2030-02-01"}
    second["versions"]["target"] = "9.9"
    second["paths"]["opset 9"]["measurements"][0]["value"] = "<b>"
    write({"onnx": second}, tmp_path)
    write({"onnx": second, "refnorm": json.loads((RESULTS / "refnorm.json").read_text())}, tmp_path)  # as a run goes on
    (entry,) = history(tmp_path)
    assert (entry["framework"], entry["date"]) == ("onnx", "2030-02-01")
    assert entry["version"] == [first["versions"]["target"], "9.9"]
    assert len(entry["changes"]) == 2
    page = (tmp_path / "matrix.md").read_text()
    assert f"2030-02-01, onnx, {first['versions']['target']} to 9.9, refnorm {first['refnorm']}:" in page
    assert "-> <b>" in page.partition("## What has changed")[2]
    assert "-&gt; &lt;b&gt;" in (tmp_path / "matrix.html").read_text().partition("What has changed")[2]
    write({"onnx": first}, tmp_path)
    assert [e["date"] for e in history(tmp_path)] == ["2030-02-01", first["date"]]
    page = (tmp_path / "matrix.md").read_text().partition("## What has changed")[2]
    assert page.count(", onnx, ") == 1  # the last of each framework; the file has all
    assert f"{first['date']}, onnx, 9.9 to {first['versions']['target']}," in page
    assert read(tmp_path)["onnx"] == first
    assert set(read(tmp_path)) == {"onnx", "refnorm"}  # the history is no framework


INDEX = {"numpy": "2.4.7", "scipy": "1.17.1", "new-need": "1.0", "cuda-bits": "13"}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Requirements of two frameworks that share an environment, and an index that has a newer NumPy."""
    (tmp_path / "shared.txt").write_text("numpy==2.4.6\nscipy==1.17.1\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)

    def answer(command):
        wanted = [word for word in command if word.partition("==")[0] in INDEX]
        needs = {"cuda-bits"} if any("==" in word for word in wanted) else {"new-need", "cuda-bits"}
        names = dict.fromkeys([word.partition("==")[0] for word in wanted] + sorted(needs))
        given = dict(word.split("==") for word in wanted if "==" in word)
        items = [{"metadata": {"name": n, "version": given.get(n, INDEX[n] + "+cpu")}} for n in names]
        return json.dumps({"install": items})

    monkeypatch.setattr(update, "_output", answer)
    return tmp_path / "shared.txt"


def test_the_newest_versions_are_pinned_what_was_left_out_stays_out_and_new_needs_come_in(index):
    ((path, text),) = update.repin("shared").items()
    assert path == index
    assert text == "new-need==1.0\nnumpy==2.4.7\nscipy==1.17.1\n"
    assert update.moved(path, text) == ["numpy 2.4.6 -> 2.4.7", "new-need absent -> 1.0"]
    index.write_text(text)
    assert update.repin("shared") == {}


def test_versions_that_the_index_cannot_give_say_why(monkeypatch):
    with pytest.raises(OSError, match="could not be asked: no such thing"):
        update._output([sys.executable, "-c", "import sys; sys.exit('no such thing')"])


def updated(monkeypatch, index, directory, result, *options):
    """Run `refnorm matrix --update torch`, where measuring gives a result for all that share the environment."""
    shared = (Entry("torch", "shared"), Entry("onnx", "shared"), Entry("flax", "other"))
    monkeypatch.setattr(refnorm.matrix, "ENTRIES", shared)
    monkeypatch.setattr(refnorm.matrix, "matrix", lambda entries, *_: {e.name: result for e in entries})
    return main(["matrix", "--update", "torch", "--output", str(directory), *options])


def test_an_update_measures_all_that_share_the_environment_and_says_what_changed(index, tmp_path, monkeypatch, capsys):
    before = {"target": "torch", "date": "2030-01-01", "declared": "torch", "versions": {"target": "1"}, "paths": {}}
    write({"torch": before, "onnx": before}, tmp_path / "matrix")
    after = {**before, "versions": {"target": "2"}, "seconds": 7}
    assert updated(monkeypatch, index, tmp_path / "matrix", after) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["shared.txt: numpy 2.4.6 -> 2.4.7", "shared.txt: new-need absent -> 1.0"]
    assert said[2:] == [
        "torch: version of target: 1 -> 2",
        "onnx: version of target: 1 -> 2",
        "seconds: torch 7, onnx 7; together 14",
    ]
    assert "numpy==2.4.7" in index.read_text()
    assert [entry["framework"] for entry in history(tmp_path / "matrix")] == ["torch", "onnx"]
    assert updated(monkeypatch, index, tmp_path / "matrix", after) == 0
    assert "those that are pinned" in capsys.readouterr().out


@pytest.mark.parametrize("error", ["could not be installed: no wheel", "gave no answer for 180 s"])
def test_newer_versions_that_cannot_be_measured_are_not_kept(index, tmp_path, monkeypatch, capsys, error):
    pins = index.read_text()
    fails = {"target": "torch", "date": "2030-01-01", "error": error}
    assert updated(monkeypatch, index, tmp_path / "matrix", fails) == 2
    assert error in capsys.readouterr().err
    assert index.read_text() == pins
    assert not (tmp_path / "matrix").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nonsense"], "there is no framework 'nonsense'; use some of torch"),
        ([], "--update needs the names of frameworks"),
        (["torch", "--check"], "and no --check"),
    ],
)
def test_an_update_of_nothing_known_says_what_to_do(options, said, capsys):
    assert main(["matrix", "--update", *options]) == 2
    assert said in capsys.readouterr().err


def test_the_page_escapes_what_a_framework_says():
    results = {"torch": {"target": "torch", "date": "2026-01-01", "error": "<script>alert(1)</script>"}}
    assert "<script>alert" not in html_page(results)


def test_an_interpreter_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "none.txt").write_text("")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(environments.subprocess, "run", lambda *_, **__: (tmp_path / root).mkdir(exist_ok=True))
    monkeypatch.chdir(tmp_path)
    root = "none-e3b0c442"  # of no requirements, the SHA-256 of nothing
    assert environments.environment("none", Path(".")) == str(tmp_path / root / "bin" / "python")


def test_a_missing_requirements_file_is_named(tmp_path):
    with pytest.raises(OSError, match=r"absent\.txt"):
        environments.environment("absent", tmp_path)


def test_every_adapter_is_in_the_matrix_and_has_pinned_requirements():
    assert {entry.target for entry in ENTRIES} == set(ADAPTERS)
    for entry in ENTRIES:
        lines = (environments.REQUIREMENTS / f"{entry.requirements}.txt").read_text().split()
        assert lines, entry
        assert all("==" in line for line in lines), entry


def pins_of(file):
    lines = [line for line in file.read_text().splitlines() if not line.startswith(" ")]
    return {re.sub("[-_.]+", "-", line.removesuffix(" \\")).lower() for line in lines}


def test_files_with_hashes_pin_the_same_and_have_a_digest_for_each():
    """Made by `uv pip compile --generate-hashes --no-deps --no-header --no-annotate --only-binary :all: NAME.txt`."""
    hashed = sorted(environments.REQUIREMENTS.glob("*-hashes.txt"))
    assert hashed
    for file in hashed:
        assert pins_of(file) == pins_of(file.with_name(file.name.replace("-hashes", ""))), file
        for block in re.split(r"\n(?! )", file.read_text().strip()):
            assert re.fullmatch(r"[\w.-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+", block), block


@pytest.mark.parametrize("uv", [None, "uv"])
def test_what_has_hashes_is_installed_by_them_alone(tmp_path, monkeypatch, uv):
    steps = []

    def run(step, **_):
        steps.append(step)
        if "venv" in step:
            Path(step[-1]).mkdir(parents=True)

    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(environments.shutil, "which", lambda _: uv)
    monkeypatch.setattr(environments.subprocess, "run", run)
    (tmp_path / "one.txt").write_text("one==1.0\nsetuptools==1.0\n")
    plain = environments.environment("one", tmp_path / "environments")
    assert ([step[-1] for step in steps[1:]], len(steps)) == (["setuptools==1.0", str(tmp_path / "one.txt")], 3)
    steps.clear()
    (tmp_path / "one-hashes.txt").write_text("one==1.0 \\\n    --hash=sha256:0\n")
    assert environments.environment("one", tmp_path / "environments") != plain
    _, install = steps
    assert install[-5:] == ["--require-hashes", "--only-binary", ":all:", "-r", str(tmp_path / "one-hashes.txt")]


def test_the_committed_results_are_whole():
    results = read(RESULTS)
    assert set(results) == {entry.name for entry in ENTRIES}
    for name, result in results.items():
        if "error" in result:
            continue
        assert result["declared"] in ROWS, name
        assert result["versions"]["target"], name
        command, *where = result["command"].split(" --device ")
        assert command.endswith(f"refnorm identify {result['target']}"), name
        assert "-".join([result["target"], *where]) == name or not where, name
        for path in result["paths"].values():
            assert path["measurements"], name
            assert path["numerics"], name
            check = set(path["check"])
            assert check == {"error"} or check >= {"conforms", "cases", "findings", "lost"}, name
    ordered = {entry.name: results[entry.name] for entry in ENTRIES}
    assert (RESULTS / "matrix.md").read_text() == markdown_page(ordered, history(RESULTS))
    assert (RESULTS / "matrix.html").read_text() == html_page(ordered, history(RESULTS))
    assert sum(len(result.get("paths", {})) for result in results.values()) >= 30
    assert set(NOT_RUN) <= set(GROUPS)
    assert not {name for kept in NOT_RUN.values() for name, _ in kept} & set(results)


def test_every_row_stands_in_one_group_and_says_in_a_sentence_what_to_know():
    results = read(RESULTS)
    table = [(group, row) for group, rows in grouped(results) for row in rows]
    names = [row[0].partition(",")[0] for _, row in table]
    assert {name for name, result in results.items() if result.get("paths") or "error" in result} <= set(names)
    assert {group for group, _ in table} == set(GROUPS)
    assert all(len(row) == len(COLUMNS) for _, row in table)
    assert all(row[1][0].isupper() and row[1].endswith(".") and "\n" not in row[1] for _, row in table)
    page = html_page(results)
    assert page.count("<tbody class=rows") == len(GROUPS)
    assert all(f"## {group[:1].upper()}{group[1:]}\n" in markdown_page(results) for group in GROUPS)
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page)  # nothing is asked of a network


def test_what_is_not_run_keeps_a_row_with_the_reason():
    (name, why), *_ = NOT_RUN["training frameworks"]
    assert why in markdown_page(read(RESULTS))
    ((_, kept),) = grouped({"torch": {"target": "torch", "error": "it was killed", "date": "2030-01-01"}})
    assert [row[:2] for row in kept] == [("torch", "Not measured: it was killed."), (name, why)]


def test_the_sentence_tells_the_worst_first_and_nothing_that_was_not_measured():
    numbers = {"ratios": [0, 1e3, 1e6], "y": [0.6, 9.0, 9.0], "inference": [0.6, 9.0, 9.0]}
    right = {"conforms": True, "cases": 7, "findings": [], "lost": []}
    data = {"measurements": [], "differs": [], "numerics": numbers, "check": right}
    assert sentence(data) == "Conforms in all 7 cases that it takes."
    found = [{"kind": "numerics", "title": "subnormal numbers are flushed to 0", "cases": 9}]
    found.append({"kind": "wrong", "title": "double_backward raised RuntimeError: no", "cases": 2})
    wrong = {**right, "conforms": False, "findings": found}
    said = sentence({**data, "check": wrong})
    assert said == "Double backward raises RuntimeError (2 of 7 cases), and 1 more, listed below."
    half = {"key": "half-sums", "name": "", "value": "overflows", "note": ""}
    one = {"key": "one-value", "name": "", "value": "non-finite", "note": ""}
    lost = ["was killed by SIGABRT in case bn.training.float64.empty-batch.1: cases like it were left out"]
    data |= {"measurements": [half, one], "check": {**wrong, "lost": lost}}
    data["numerics"] = {**numbers, "y": [0.6, None, None]}
    killed, digits, stored = sentence(data).split("; ")
    assert killed == "It is killed by SIGABRT on an empty batch"
    assert digits == "no digit of y in training is right in float32 from mean/std = 1e3 on"
    assert stored.startswith("one value per channel stores")


def test_paths_that_contradict_their_row_are_those_on_the_page_of_findings():
    differ = {
        f"{name} {path}".strip()
        for name, result in read(RESULTS).items()
        for path, data in result.get("paths", {}).items()
        if any("no answer" not in note for note in contradictions(data))
    }
    # the row of onnx is the specification; an empty batch moves the statistics in TensorFlow.js
    assert differ == {"onnx opset 7", "onnx opset 9", "tfjs cpu", "tfjs wasm"}


def test_only_mlx_may_hang_and_only_on_an_empty_batch():
    """It is on the page of findings: it hangs in some runs."""
    hung = {
        (name, measurement["name"])
        for name, result in read(RESULTS).items()
        for data in result.get("paths", {}).values()
        for measurement in data["measurements"]
        if "no answer" in measurement["note"]
    }
    assert hung <= {("mlx", "empty batch")}


def contradictions(data):
    """Return the notes of the measurements that a path's contradictions are about."""
    notes = {m["name"]: m["note"] for m in data["measurements"]}
    return [notes.get(line.partition(":")[0], line) for line in data["differs"]]
