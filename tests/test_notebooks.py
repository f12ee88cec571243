"""The pages as notebooks: what runs in a page runs in its notebook, with nothing but the files that come with it.

jupytext is needed, of the extra `learn` or `tutorials`. Executing what the book offers takes minutes:
`pip install -e '.[test,learn]'; pytest -n 0 -m slow tests/test_notebooks.py`. What has been executed is what stands in
the archive of all lessons, unpacked elsewhere.

Not verified: how JupyterLab looks.
"""

import importlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile

import pytest
from tutorial_pages import FOLDER, PAGES, cells, is_notebook

pytest.importorskip("jupytext", reason="jupytext is not installed (pip install -e '.[learn]')")
sys.path.insert(0, str(FOLDER))
notebooks = importlib.import_module("notebooks")

ALL = notebooks.notebooks()
CONVERT = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]


def code(name):
    return [c["source"] for c in json.loads(ALL[name][0])["cells"] if c["cell_type"] == "code"]


def test_the_pages_that_run_are_notebooks_and_no_others():
    assert set(ALL) == {
        name.removesuffix(".md") for name, text in PAGES.items() if is_notebook(text) or "\n>>> " in text
    }


@pytest.mark.parametrize("name", [name for name in ALL if is_notebook(PAGES[f"{name}.md"])])
def test_a_lesson_has_its_cells_and_no_outputs(name):
    found = json.loads(ALL[name][0])
    assert ["".join(source) for source in code(name)] == [cell.rstrip("\n") for cell in cells(PAGES[f"{name}.md"])]
    assert all(c["outputs"] == [] for c in found["cells"] if c["cell_type"] == "code")
    assert found["metadata"]["kernelspec"]["name"] == "python3"


def test_examples_become_cells_without_what_was_expected():
    sources = ["".join(source) for source in code("answers")]
    assert sources[1] == (
        "weight = 0.01\nmath.floor(math.log(0.01) / math.log(1 - weight)), round((1 - weight) / weight)"
    )
    assert not any(">>>" in source or "(458, 99)" in source for source in sources)


def test_a_notebook_links_to_notebooks_and_to_pages_where_there_is_none():
    text = ALL["normalise-by-hand"][0]
    for link in ("](two-variances.ipynb)", "](solutions.ipynb#normalise", "](glossary.md)"):
        assert link in text


def test_the_same_bytes_come_again_and_the_archive_has_what_pages_need(tmp_path):
    for folder in ("once", "again"):
        notebooks.write_book(tmp_path / folder)
    for name, file in notebooks.downloads(ALL).items():
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), name
    with zipfile.ZipFile(tmp_path / "once" / "small-batches.zip") as packed:
        inside = {name.removeprefix("refnorm-lessons/") for name in packed.namelist()}
    with zipfile.ZipFile(tmp_path / "once" / "backward-twice.zip") as packed:
        assert "refnorm-lessons/tutorials/my_homework.py" in packed.namelist()  # to which the page links
    pictures = {"figures/small_batch.json", "figures/small_batch.svg"}
    assert inside >= {"tutorials/small-batches.ipynb", "tutorials/network.py"} | pictures


def unpacked(folder):
    notebooks.write_book(folder)
    with zipfile.ZipFile(folder / notebooks.ALL) as packed:
        packed.extractall(folder)
    return folder / "refnorm-lessons" / "tutorials"


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_a_notebook_executes_away_from_the_repository(name, tmp_path):
    lessons = unpacked(tmp_path)
    done = subprocess.run([*CONVERT, f"{name}.ipynb"], cwd=lessons, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_a_notebook_with_an_altered_claim_does_not_execute(tmp_path):
    lesson = unpacked(tmp_path) / "why-normalise.ipynb"
    lesson.write_text(lesson.read_text().replace("(np.pi / (np.pi - 1))", "(np.pi / (np.pi - 2))"))
    done = subprocess.run([*CONVERT, lesson.name], cwd=lesson.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode != 0
    assert "AssertionError" in done.stderr


@pytest.mark.slow
def test_jupyterlab_starts_and_has_the_lessons(tmp_path):
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed (pip install -e '.[learn]')")
    lessons = unpacked(tmp_path)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ServerApp.token=", "--ServerApp.password=", f"--port={port}"]
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options, str(lessons)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/api/contents", timeout=5) as answer:
                    there = {entry["name"] for entry in json.load(answer)["content"]}
                break
            except OSError:
                assert server.poll() is None, "JupyterLab has ended"
                time.sleep(1)
        with urllib.request.urlopen(f"http://localhost:{port}/api/contents/why-normalise.ipynb", timeout=30) as answer:
            opened = json.load(answer)
    finally:
        server.terminate()
        server.wait(30)
    assert there >= {f"{name}.ipynb" for name in ALL}
    assert (opened["type"], opened["content"]["nbformat"]) == ("notebook", 4)
