"""The pages as Jupyter notebooks: `python tutorials/notebooks.py` writes them here; the book offers them for download.

A page that has cells, or examples with `>>>`, is a notebook. What a page needs besides itself, figures, their data and
modules of this folder, comes with it in an archive, laid out as in this repository.
"""

from __future__ import annotations

import ast
import doctest
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
EXAMPLES = re.compile(r"^```python\n(>>> (?:.*\n)*?)```$", re.MULTILINE)
CELLS = re.compile(r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([\w-]+)\.md")
ALL = "lessons.zip"


def as_cells(page: str) -> str:
    r"""Return a page with a cell for each example that shows a result; what was expected is left out.

    Examples
    --------
    >>> print(as_cells("```python\n>>> a = 1\n>>> a + 1\n2\n>>> a\n1\n```"))
    ```{code-cell} ipython3
    a = 1
    a + 1
    ```
    <BLANKLINE>
    ```{code-cell} ipython3
    a
    ```
    """

    def cells(block: re.Match[str]) -> str:
        found = [""]
        for example in doctest.DocTestParser().get_examples(block[1]):
            found[-1] += example.source
            found += [""] if example.want else []
        return "\n\n".join(f"```{{code-cell}} ipython3\n{cell}```" for cell in found if cell)

    return EXAMPLES.sub(cells, page)


def runs(name: str) -> bool:
    """Whether there is a page of this name of which something runs, so that there is a notebook of it."""
    file = FOLDER / f"{name}.md"
    return file.is_file() and "{code-cell}" in as_cells(file.read_text(encoding="utf-8"))


def notebook(page: str) -> Any:
    """Return a page as a notebook without outputs, linked to other notebooks; None if nothing in it runs."""
    import jupytext

    text = LINK.sub(lambda link: f"]({link[1]}.ipynb" if runs(link[1]) else link[0], as_cells(page))
    found = jupytext.reads(text if text.startswith("---\n") else HEADER + text, fmt="md:myst")
    return found if any(cell.cell_type == "code" for cell in found.cells) else None


def needs(page: str) -> list[Path]:
    """Return the files of this repository that a page reads, shows, imports or links to as modules of this folder."""
    found = {ROOT / match.rstrip("./") for match in re.findall(r"\.\./(figures/[\w./-]+)", page)}
    found |= {FOLDER / name for name in re.findall(r"\]\((\w+\.py)\)", page)}
    files = {file for path in found for file in (path.glob("*.json") if path.is_dir() else [path]) if file.is_file()}
    return sorted(files | modules(page)[0])


def modules(page: str) -> tuple[set[Path], set[str]]:
    """Return what the cells of a page import, directly or not: files of this folder, and names from elsewhere."""
    sources, files, others = CELLS.findall(as_cells(page)), set[Path](), set[str]()
    while sources:
        nodes = list(ast.walk(ast.parse(sources.pop())))
        tried = {node for attempt in nodes if isinstance(attempt, ast.Try) for node in attempt.body}  # may be absent
        for node in nodes:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) and node not in tried else []
            for name in [*names, *([node.module or ""] if isinstance(node, ast.ImportFrom) else [])]:
                file = FOLDER / name.replace(".", "/")
                here = [
                    f
                    for f in (file.with_suffix(".py"), file / "__init__.py", file.parent / "__init__.py")
                    if f.is_file()
                ]
                others |= set() if here else {name}
                sources += [f.read_text(encoding="utf-8") for f in here if f not in files]
                files |= set(here)
    return files, others


def is_live(page: str) -> bool:
    """Whether a page has cells, not examples alone, and the browser has all that they import."""
    return "{code-cell}" in page and not lacking(page)


def lacking(page: str) -> set[str]:
    """Return what the cells of a page import that the browser has not; of scikit-learn it has the digits."""
    there, names = sys.stdlib_module_names | {"numpy", "refnorm"}, modules(page)[1] - {"sklearn.datasets"}
    return {name for name in names if name.partition(".")[0] not in there or name.startswith("refnorm.cli")}


def notebooks() -> dict[str, tuple[str, list[Path]]]:
    """Return for each page that can be one its notebook, as JSON, and the files that it needs."""
    import jupytext

    found = {}
    for path in sorted(FOLDER.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if page_notebook := notebook(page):
            for number, cell in enumerate(page_notebook.cells):
                cell["id"] = f"{path.stem}-{number}"[-64:]  # the same on every build
            found[path.stem] = jupytext.writes(page_notebook, fmt="ipynb"), needs(page)
    return found


def downloads(found: dict[str, tuple[str, list[Path]]]) -> dict[str, str]:
    """Return the file of the book's folder `notebooks` that each page offers."""
    return {name: f"{name}.zip" if files else f"{name}.ipynb" for name, (_, files) in found.items()}


def write_book(folder: Path) -> None:
    """Write what the pages of a book offer, and one archive of them all."""
    found = notebooks()
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in downloads(found).items():
        if file.endswith(".zip"):
            archive(folder / file, {name: found[name]})
        else:
            (folder / file).write_text(found[name][0], encoding="utf-8")
    archive(folder / ALL, found)


def archive(file: Path, found: dict[str, tuple[str, list[Path]]]) -> None:
    """Write notebooks and what they need as a zip file, the same bytes each time."""
    contents = {f"tutorials/{name}.ipynb": text.encode() for name, (text, _) in found.items()}
    contents |= {f.relative_to(ROOT).as_posix(): f.read_bytes() for _, files in found.values() for f in files}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(contents):
            packed.writestr(zipfile.ZipInfo(f"refnorm-lessons/{name}"), contents[name], zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    for stem, (text, _) in notebooks().items():
        (FOLDER / f"{stem}.ipynb").write_text(text, encoding="utf-8")
        print(f"tutorials/{stem}.ipynb")
