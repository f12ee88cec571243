"""Pages of the book that are made from code: `python tutorials/pages.py` writes the table of conventions.

The matrix and the reference are written by `conf.py` when the book is built.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent
TABLE = FOLDER / "conventions.md"
COLUMNS = (
    "name",
    "whose",
    "momentum weighs",
    "running variance",
    "one value per channel",
    "empty batch",
    "eps and momentum",
    "ranks of x",
)
PICTURE = """

![What frameworks do and how many digits they lose, a row for each](../../figures/matrix.svg)

*What to see: on the left two colours in a column are two conventions, and orange red is a trap; on the right, how fast
digits go as mean/std grows from 0 to a million. What is yellow at 1e4 takes the variance in one pass.*
"""
WEIGHS = {"new": "the new batch", "old": "the old value", "sums": "running sums"}


def table() -> str:
    """Return the page of conventions, made from the rows that the oracle judges by."""
    from refnorm.conventions import POLICIES, ROWS

    lines = [
        "# Conventions",
        "",
        "What each framework means, as `refnorm check` judges it. `refnorm conventions A B` says what changes when",
        "weights move from one to another, and `refnorm.convert` does it. What frameworks were measured to do is",
        "[the matrix](../figures/matrix/matrix.md). Made by `python tutorials/pages.py` from",
        "`refnorm.conventions.ROWS`.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for row in ROWS.values():
        cells = (
            f"[`{row.name}`](#{row.name})",
            row.title,
            WEIGHS[row.momentum],
            "unbiased" if row.correction else "biased",
            " or ".join(row.one_value),
            " or ".join(row.empty),
            row.attributes + ("" if row.zero_eps else "; eps = 0 may be refused"),
            ", ".join(map(str, row.ranks)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Under *one value per channel* and *empty batch*:", ""]
    lines += [f"- {name}: {meaning}" for name, meaning in POLICIES.items()]
    for row in ROWS.values():
        lines += ["", f"## {row.name}", "", row.title + ". " + row.note, "", f"Source: {row.source}."]
    return "\n".join(lines) + "\n"


def modules() -> list[ModuleType]:
    """Return every module that a user may import; what needs a framework (adapters, `in_torch`, ...) stays out."""
    import refnorm

    names = [m.name for m in pkgutil.walk_packages(refnorm.__path__, "refnorm.")]
    public = [
        n for n in names if not any(part.startswith(("_", "in_")) for part in n.split(".")) and ".frameworks" not in n
    ]
    return [importlib.import_module(name) for name in public]


def members(module: ModuleType) -> list[str]:
    """Return the public functions and classes that are written in a module."""
    found = vars(module).items()
    return [
        name
        for name, value in found
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def reference() -> dict[str, str]:
    """Return the pages of the reference: what `refnorm` exports, and every module."""
    import refnorm

    exported = {getattr(refnorm, name): name for name in refnorm.__all__}
    lines = ["# refnorm", "", *directive("automodule", "refnorm")]
    for name in refnorm.__all__:
        kind = "autoclass" if inspect.isclass(getattr(refnorm, name)) else "autofunction"
        lines += [f"## {name}", "", *directive(kind, f"refnorm.{name}", members=kind == "autoclass")]
    listed = ["```{toctree}", ":hidden:", "", *(module.__name__ for module in modules()), "```"]
    pages = {"refnorm": [*lines, *listed]}
    for module in modules():
        lines = [f"# {module.__name__}", "", *directive("automodule", module.__name__)]
        for name in members(module):
            value = getattr(module, name)
            if value in exported:
                lines += [f"- {{py:obj}}`refnorm.{exported[value]}`", ""]
                continue
            kind = "autoclass" if inspect.isclass(value) else "autofunction"
            lines += directive(kind, f"{module.__name__}.{name}", members=kind == "autoclass")
        pages[module.__name__] = lines
    return {name: "\n".join(lines) + "\n" for name, lines in pages.items()}


def directive(kind: str, target: str, members: bool = False) -> list[str]:
    """Return a directive of autodoc inside a MyST page."""
    options = [":members:"] * members
    return ["```{eval-rst}", f".. {kind}:: {target}", *(f"   {option}" for option in options), "```", ""]


def write(folder: Path) -> None:
    """Write what the book is made of besides the pages of this folder; unchanged files stay as they are."""
    matrix = (FOLDER.parent / "figures" / "matrix" / "matrix.md").read_text(encoding="utf-8").replace("\n", PICTURE, 1)
    texts = {"matrix": matrix, **{f"reference/{name}": text for name, text in reference().items()}}
    for name, text in texts.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(TABLE.read_text(encoding="utf-8") != table())
    TABLE.write_text(table(), encoding="utf-8")
