"""The book executes every tutorial as a notebook, in its folder, and is whole; so it is built here once, in minutes.

A warning, a cell that fails or a page that takes more than a minute fails the build. The extra `tutorials` is needed;
the command stands at the head of `test_tutorials.py`.

Not verified: links to other sites.
"""

import re
import shutil
import subprocess
import sys
import warnings

import pytest
from book_pages import Page, complaints, misfits
from tutorial_pages import FENCE, FOLDER, GOOD, INDEX, PAGES, REQUIRED, need_extra

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")

BARE = GOOD.replace("[a page](findings.md), ![what it shows in words](../figures/kills.svg)", "$x^2$")
MISTAKES = [  # name of the page, what is replaced, by what, what the build says
    ("assertion", "total = 1 + 1", "assert False, 'the root of 2 is 1'", "CellExecutionError"),
    ("slow", "total = 1 + 1", "import time; time.sleep(8.5)\ntotal = 2", "more than 8"),
    ("noisy", "total = 1 + 1", "import warnings; warnings.warn('look out')\ntotal = 2", "stderr"),
    ("formula", "$x^2$", r"$\nonsense$", "formula not understood"),
    ("link", "(#a-section)", "(nowhere.md)", "nowhere.md"),
    ("alone", "# A page", "# A page", "isn't included in any toctree"),
]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('<a href="there.html">', "link to there.html: there is no such file"),
        ('<a href="#there">', "link to #there: there is no such place"),
        ('<a href="index.html#there">', "link to index.html#there: there is no such place"),
        ('<img src="a.png">', "image a.png: no alternative text"),
        ('<script src="https://example.org/a.js"></script>', "needs a network"),
        ("<p>for $m = 2$ it is", "not set as a formula"),
        (r"<p>where \frac12 is", "not set as a formula"),
        ("<p>see [two](two.md)", "Markdown left"),
    ],
)
def test_a_book_with_a_flaw_is_refused(content, complaint, tmp_path):
    good = '<h1 id="here">Book</h1><a href="#here">1</a> <code>$m$ [a](b.md)</code> <img src="a.png" alt="a, b">'
    (tmp_path / "a.png").touch()
    (tmp_path / "index.html").write_text(f"{good}<a href='https://example.org'>2</a>")
    assert complaints(tmp_path) == []
    (tmp_path / "index.html").write_text(good + content)
    (found,) = complaints(tmp_path)
    assert complaint in found


PATIENCE = "-D", "page_seconds=240", "-D", "nb_execution_timeout=240"  # a reader's book has 60


def need_chromium():
    """Return Chromium; skip, or fail if it was asked for, where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None and "chromium" in REQUIRED:
        pytest.fail(f"REFNORM_TOOLS={','.join(sorted(REQUIRED))}, but there is no Chromium", pytrace=False)
    if path is None:
        reason = "NOT TESTED: there is no Chromium, so nothing has looked at the book"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    return path


def build(folder, target, *options):
    """Build a book by the documented command, on a machine that others may share: with more time."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-j", "2", "-c", FOLDER, *PATIENCE, *options]
    return subprocess.run([*command, folder, target], capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_a_book_with_a_mistake_is_not_built(tmp_path):
    need_extra()
    for name, old, new, _ in MISTAKES:
        (tmp_path / f"{name}.md").write_text(BARE.replace(old, new), encoding="utf-8")
    (tmp_path / "good.md").write_text(BARE, encoding="utf-8")
    listed = "\n".join(["good", *(name for name, *_ in MISTAKES if name != "alone")])
    (tmp_path / "index.md").write_text(f"# Book\n\n```{{toctree}}\n{listed}\n```\n", encoding="utf-8")
    done = build(tmp_path, tmp_path / "book", "-D", "page_seconds=8")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "WARNING: " in line or "ERROR: " in line]
    for name, _, _, words in MISTAKES:
        assert any(f"{name}.md" in line and words in line for line in said), (name, done.stderr)
    assert not any("good.md" in line for line in said), said
    assert "the root of 2 is 1" in done.stderr


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    need_extra()
    target = tmp_path_factory.mktemp("book")
    done = build(FOLDER, target)
    said = [line for line in done.stderr.splitlines() if line and not re.search("IPKernelApp|Executing notebook", line)]
    assert done.returncode == 0, "\n".join(said)
    return target


@pytest.mark.slow
def test_the_book_executes_without_a_warning_and_is_whole(book):
    assert complaints(book) == []


@pytest.mark.slow
def test_every_page_and_every_formula_is_in_the_book(book):
    for name in INDEX:
        prose = re.sub(r"`[^`]*`", "", FENCE.sub("", PAGES.get(f"{name}.md", "")))
        page = Page((book / f"{name}.html").read_text(encoding="utf-8"))
        assert page.formulas >= prose.replace("$$", "$").count("$") // 2, name


@pytest.mark.slow
def test_every_page_that_runs_is_offered_as_a_notebook_and_no_other(book):
    for name in INDEX:
        page, runs = PAGES.get(f"{name}.md", ""), f"notebooks/{name}"
        links = Page((book / f"{name}.html").read_text(encoding="utf-8")).links if page else []
        offered = [link for link in links if link.startswith(runs)]
        assert len(offered) == ("{code-cell}" in page or "\n>>> " in page), name
        assert all((book / link).is_file() for link in offered)


@pytest.mark.slow
def test_the_book_fits_a_desktop_and_a_phone(book):
    assert misfits(book, need_chromium()) == []


@pytest.mark.slow
def test_what_does_not_fit_is_seen(tmp_path):
    chromium = need_chromium()
    wide = "<div style='width: 600px'>wide</div>"
    bodies = {
        "good": f"<article><div style='overflow-x: auto'>{wide}</div></article>",
        "scrolls": f"<article>{wide}</article>",
        "cut": f"<article style='overflow: hidden'>{wide}</article>",
        "image": "<img src='there.png'>",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.html").write_text(f"<!doctype html>{body}")
    assert misfits(tmp_path, chromium) == [
        "cut.html, 390 pixels: cut off: DIV wide",
        *["image.html: there.png is not shown"] * 2,
        "scrolls.html, 390 pixels: scrolls sideways",
        "scrolls.html, 390 pixels: cut off: DIV wide",
    ]
