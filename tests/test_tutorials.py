"""The tutorials keep their form; the book that executes them is whole; and no claim can be altered without a failure.

The form is looked at in the ordinary suite. What executes takes minutes and needs the extra `tutorials`:
`pip install -e '.[test,tutorials]'; pytest -n 0 -m slow tests/test_tutorials.py`. Without the extra those tests warn
and are skipped; with REFNORM_TOOLS=tutorials they fail. The book is built once, and that executes every page as a
notebook, in its folder: a warning, a cell that fails or a page that takes more than a minute fails the build.

Not verified: links that leave the book; prose that no cell computes.
"""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tutorials"))

import pages
from altered_claims import ALTERED
from book_pages import Page
from book_pages import complaints as complaints_of_book
from tutorial_pages import FENCE, FOLDER, INDEX, PageError, broken_links, complaints, execute, is_notebook

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")

PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
NOTEBOOKS = [name for name, text in PAGES.items() if is_notebook(text)]
EXTRA = ("furo", "ipykernel", "jupytext", "myst_nb", "nbclient", "numpydoc", "skimage", "sklearn", "sphinx", "ziamath")
GOOD = """---
jupytext:
  text_representation:
    format_name: myst
---

# A page

**What you'll do**, **What you'll learn**, **What you'll need**: nothing.

```{code-cell} ipython3
total = 1 + 1
```

## A section

[An anchor](#a-section), [a page](findings.md), ![what it shows in words](../figures/kills.svg).

```{code-cell} ipython3
:tags: [hide-input]
# no heading
assert total == 2, f"it is {total}"
```

## On your own

## Further reading
"""


BARE = GOOD.replace("[a page](findings.md), ![what it shows in words](../figures/kills.svg)", "$x^2$")
MISTAKES = [  # name of the page, what is replaced, by what, what the build says
    ("assertion", "total = 1 + 1", "assert False, 'the root of 2 is 1'", "CellExecutionError"),
    ("slow", "total = 1 + 1", "import time; time.sleep(3.5)\ntotal = 2", "more than 3"),
    ("noisy", "total = 1 + 1", "import warnings; warnings.warn('look out')\ntotal = 2", "stderr"),
    ("formula", "$x^2$", r"$\nonsense$", "formula not understood"),
    ("link", "(#a-section)", "(nowhere.md)", "nowhere.md"),
    ("alone", "# A page", "# A page", "isn't included in any toctree"),
]


@pytest.fixture(scope="session")
def extra():
    """Skip, or fail if it was asked for, where the extra is not installed."""
    lacking = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    reason = f"the extra `tutorials` is not installed, {', '.join(lacking)} are missing (pip install -e '.[tutorials]')"
    if lacking and "tutorials" in os.environ.get("REFNORM_TOOLS", "").split(","):
        pytest.fail(f"REFNORM_TOOLS=tutorials, but {reason}", pytrace=False)
    if lacking:
        warnings.warn(f"NOT TESTED: {reason}", stacklevel=1)
        pytest.skip(reason)


def run(text, name):
    """Execute a notebook; run the doctests of any other page."""
    if is_notebook(text):
        execute(text, name)
        return
    failures = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(doctest.DocTestParser().get_doctest(text, {}, name, name, 0), out=failures.append)
    if failures:
        raise PageError(f"{name}: {''.join(failures)}")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_tutorial_has_its_form(name):
    assert complaints(PAGES[name]) == []


@pytest.mark.parametrize("name", PAGES)
def test_links_and_images_of_a_page_lead_somewhere(name):
    assert broken_links(PAGES[name]) == []


def test_every_page_is_in_the_index():
    assert set(PAGES) - {"index.md"} <= {f"{name}.md" for name in INDEX}


def test_the_page_of_conventions_is_what_the_table_says():
    assert PAGES["conventions.md"] == pages.table(), "python tutorials/pages.py writes it anew"


def test_a_page_of_good_form_is_accepted():
    assert is_notebook(GOOD)
    assert complaints(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("What you'll learn", "What you learn", '"What you\'ll learn" is missing'),
        ("## On your own\n", "", "last sections"),
        ("## Further reading", "## Reading", "last sections"),
        ("assert total == 2", "print(total)\nFalse", "section 'A section' does not end in an assertion"),
        ('assert total == 2, f"it is {total}"', "assert total\nprint(total)", "does not end in an assertion"),
        ("# A page\n", "# A page\n" + "\n" * 250, "must be below 250"),
        ("# A page\n", "# A page\n\n```{output}\n2\n```\n", "outputs are kept"),
        ("(findings.md)", "(found.md)", "there is no found.md"),
        ("(findings.md)", "(findings.md#nowhere)", "no heading #nowhere"),
        ("(#a-section)", "(#the-section)", "no heading #the-section"),
        ("(#a-section)", "(#no-heading)", "no heading #no-heading"),
        ("kills.svg", "skills.svg", "skills.svg"),
        ("what it shows in words", "", "says nothing"),
    ],
)
def test_a_page_of_bad_form_is_refused(old, new, complaint):
    assert GOOD.count(old) == 1
    assert any(complaint in found for found in complaints(GOOD.replace(old, new)))


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
    assert complaints_of_book(tmp_path) == []
    (tmp_path / "index.html").write_text(good + content)
    (found,) = complaints_of_book(tmp_path)
    assert complaint in found


@pytest.mark.parametrize(("page", "old", "new"), ALTERED)
def test_what_is_altered_is_in_the_page_once(page, old, new):
    assert PAGES[page].count(old) == 1, old
    assert new != old


@pytest.mark.slow
@pytest.mark.parametrize(("page", "old", "new"), ALTERED)
def test_an_altered_claim_fails(page, old, new, extra):
    with pytest.raises(PageError, match=r"AssertionError|Expected:"):
        run(PAGES[page].replace(old, new), page)


@pytest.mark.slow
def test_the_cell_that_fails_is_named(extra):
    execute(GOOD)
    with pytest.raises(PageError, match=r"^page, code cell 2 of 2: AssertionError: it is 3\n"):
        execute(GOOD.replace("1 + 1", "1 + 2"))
    with pytest.raises(PageError, match=r"^page, code cell 1 of 2: NameError"):
        execute(GOOD.replace("1 + 1", "one + 1"))
    with pytest.raises(PageError, match="timed out"):
        execute(GOOD.replace("total = 1 + 1", "import time; time.sleep(60)"), seconds=2)


def build(folder, target, *options):
    """Build a book by the documented command."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-j", "2", "-c", FOLDER, *options]
    return subprocess.run([*command, folder, target], capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_a_book_with_a_mistake_is_not_built(extra, tmp_path):
    for name, old, new, _ in MISTAKES:
        (tmp_path / f"{name}.md").write_text(BARE.replace(old, new), encoding="utf-8")
    (tmp_path / "good.md").write_text(BARE, encoding="utf-8")
    listed = "\n".join(["good", *(name for name, *_ in MISTAKES if name != "alone")])
    (tmp_path / "index.md").write_text(f"# Book\n\n```{{toctree}}\n{listed}\n```\n", encoding="utf-8")
    done = build(tmp_path, tmp_path / "book", "-D", "page_seconds=3")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "WARNING: " in line or "ERROR: " in line]
    for name, _, _, words in MISTAKES:
        assert any(f"{name}.md" in line and words in line for line in said), (name, done.stderr)
    assert not any("good.md" in line for line in said), said
    assert "the root of 2 is 1" in done.stderr


@pytest.mark.slow
def test_the_book_executes_without_a_warning_and_is_whole(extra, tmp_path):
    done = build(FOLDER, tmp_path / "book")
    assert done.returncode == 0, done.stderr[-8000:]
    assert complaints_of_book(tmp_path / "book") == []
    for name in INDEX:
        page = Page((tmp_path / "book" / f"{name}.html").read_text(encoding="utf-8"))
        prose = re.sub(r"`[^`]*`", "", FENCE.sub("", PAGES.get(f"{name}.md", "")))
        written = prose.replace("$$", "$").count("$") // 2
        assert page.formulas >= written, f"{name}: {written} formulas are written, {page.formulas} are in the book"
