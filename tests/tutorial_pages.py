"""What a page of `tutorials` must be: `complaints` says what is wrong with one, `execute` runs it as a notebook."""

import ast
import importlib.util
import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parent.parent / "tutorials"
HEADER = re.compile(r"---\n(?:.*\n)*?jupytext:\n(?:.*\n)*?---\n")
CELL = re.compile(r"^```\{code-cell\}.*\n((?::.*\n)*)((?:.*\n)*?)```$", re.MULTILINE)
FENCE = re.compile(r"^(`{3,}|~{3,}).*\n(?:.*\n)*?\1$", re.MULTILINE)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]*)\)")
PHRASES = ("What you'll do", "What you'll learn", "What you'll need")
LAST = ["On your own", "Further reading"]
LINES = 250
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
INDEX = re.findall(r"^(\w[\w/.-]*)$", PAGES["index.md"], re.MULTILINE)
REQUIRED = frozenset(filter(None, os.environ.get("REFNORM_TOOLS", "").split(",")))
EXTRA = ("furo", "ipykernel", "jupytext", "myst_nb", "nbclient", "numpydoc", "skimage", "sklearn", "sphinx", "ziamath")
GOOD = """---
jupytext:
  text_representation:
    format_name: myst
---

# A page

**What you'll do:** little.

**What you'll learn:** less.

**What you'll need:** nothing.

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


def is_notebook(text):
    return HEADER.match(text) is not None


def sections(text):
    """Return (heading, body) of every part under a heading of level 2; headings in code are none."""
    blank = FENCE.sub(lambda fence: re.sub(r"^#", " ", fence[0], flags=re.MULTILINE), text)
    starts = [match.start() for match in re.finditer(r"^## ", blank, re.MULTILINE)]
    parts = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [(part.split("\n", 1)[0][3:].strip(), part) for part in parts]


def cells(text):
    return [match[2] for match in CELL.finditer(text)]


def asserts(code):
    """Whether a cell has an assert, or a call of something named assert_..., that fails when a claim is wrong."""
    nodes = list(ast.walk(ast.parse(re.sub(r"^%.*", "", code, flags=re.MULTILINE))))
    called = [ast.unparse(node.func).rsplit(".", 1)[-1] for node in nodes if isinstance(node, ast.Call)]
    return any(isinstance(node, ast.Assert) for node in nodes) or any(name.startswith("assert") for name in called)


def checks(code):
    """Return (number, stub) of the exercises of a cell: a call check(number, stub), or the function it names."""
    tree = ast.parse(re.sub(r"^%.*", "", code, flags=re.MULTILINE))
    stubs = {node.name: ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
    calls = [node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    asked = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "check"]
    answers = [(call.args[0].value, ast.unparse(call.args[1])) for call in asked]
    return [(number, stubs.get(answer, answer)) for number, answer in answers]


def anchors(text):
    """Return the anchors of the headings of a page, as code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken_links(text, folder=FOLDER):
    """Return what is wrong with links and images; a page that only `index.md` lists is left to the book."""
    found = []
    for image, words, target in LINK.findall(re.sub(r"`[^`\n]*`", "code", FENCE.sub("", text))):
        if image and len(words.split()) < 3:
            found.append(f"image {target}: its alternative text {words!r} says nothing")
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        page = (folder / path).resolve()
        if path and not page.exists():
            if path.removesuffix(".md") not in INDEX:
                found.append(f"link to {target}: there is no {path}")
        elif anchor and anchor not in anchors(page.read_text(encoding="utf-8") if path else text):
            found.append(f"link to {target}: there is no heading #{anchor}")
    return found


def complaints(text, folder=FOLDER):
    """Return what is wrong with the form of a tutorial."""
    found = []
    if text.count("\n") >= LINES:
        found.append(f"{text.count(chr(10))} lines, must be below {LINES}")
    if re.search(r"^```\{?(cell-)?output|^:?\s*execution_count", text, re.MULTILINE) or "image/png" in text:
        found.append("outputs are kept in it")
    found += [f"{words!r} is missing" for words in PHRASES if not re.search(rf"^(\*\*|## ){words}", text, re.MULTILINE)]
    parts = sections(text)
    if [heading for heading, _ in parts][-2:] != LAST:
        found.append(f"the last sections must be {' and '.join(LAST)}")
    for heading, body in parts:
        code = [cell for cell in cells(body) if asserts(cell) or not checks(cell)]  # exercises are left open
        if code and heading not in PHRASES and not asserts(code[-1]):
            found.append(f"section {heading!r} does not end in an assertion")
    if sum(map(len, (cells(body) for _, body in parts))) == 0:
        found.append("there is no code")
    return found + broken_links(text, folder)


class Answers(NamedTuple):
    """The form of a page of answers."""

    questions: int
    sentences: range
    sourced: bool  # each answer has a link to where it was asked or is documented


ANSWERS = {
    "answers.md": Answers(15, range(1, 6), sourced=False),
    "answers-from-practice.md": Answers(8, range(2, 7), sourced=True),
}


def faults_of_answers(text, form):
    """Return what is wrong with the form of a page of answers."""
    answers = sections(text)
    found = [f"{len(answers)} questions, not {form.questions}"] if len(answers) != form.questions else []
    for heading, body in answers:
        prose = re.sub(r"`[^`]*`", "code", FENCE.sub("", body)).split("\n", 1)[1].strip()
        answer, _, lab = prose.rpartition("\n")
        sentences = len(re.findall(r"[.!?](?=\s)", answer))
        if not heading.endswith("?"):
            found.append(f"{heading!r} is no question")
        if sentences not in form.sentences:
            found.append(f"{heading}: {sentences} sentences")
        if form.sourced and not any(target.startswith("https://") for _, _, target in LINK.findall(answer)):
            found.append(f"{heading}: no source")
        if "\n>>> " not in body:
            found.append(f"{heading}: no example")
        links = LINK.findall(lab)
        if not (lab.startswith("Lab: ") and len(links) == 1 and links[0][2].removesuffix(".md") in INDEX):
            found.append(f"{heading}: no lab")
    return found


def need_extra():
    """Skip, or fail if it was asked for, where the extra is not installed."""
    lacking = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    reason = f"the extra `tutorials` is not installed, {', '.join(lacking)} are missing (pip install -e '.[tutorials]')"
    if lacking and "tutorials" in REQUIRED:
        pytest.fail(f"REFNORM_TOOLS=tutorials, but {reason}", pytrace=False)
    if lacking:
        warnings.warn(f"NOT TESTED: {reason}", stacklevel=1)
        pytest.skip(reason)


class PageError(AssertionError):
    """A cell of a page failed."""


def execute(text, name="page", seconds=240):
    """Execute a page as a notebook in the folder of tutorials; PageError names the cell that fails."""
    import jupytext
    import nbclient

    notebook = jupytext.reads(text, fmt="md:myst")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    client = nbclient.NotebookClient(notebook, timeout=seconds, resources={"metadata": {"path": str(FOLDER)}})
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        at = next(k for k, cell in enumerate(code) if any(o.output_type == "error" for o in cell.outputs))
        where = f"{name}, code cell {at + 1} of {len(code)}"
        raise PageError(f"{where}: {error.ename}: {error.evalue}\n\n{error}") from None
    except nbclient.exceptions.CellTimeoutError as error:
        raise PageError(f"{name}: {error}") from None
    return notebook
