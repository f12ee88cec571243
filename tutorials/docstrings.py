"""Docstrings are written to be read beside the code; this makes of them what Sphinx can set."""

from __future__ import annotations

import inspect
import re
import sys
from functools import reduce
from types import ModuleType
from typing import Any

FORMULA = re.compile(r"\w+(, \w+)* = ")
SECTION = re.compile(r"-{3,}$")
QUOTED = re.compile(r"(``[^`]+``|`[^`]+`|(?<!\w)\*\w[^*]*\w\*(?!\w)|^\s*(?:>>>|\.\.\. ).*)|([*|]|_(?=\W|$))")


def prepared(lines: list[str], module: ModuleType) -> list[str]:
    """Return a docstring with indented blocks and formulas as they stand, names linked, and no other markup.

    Parameters
    ----------
    lines : the docstring, its indentation removed.
    module : where names in single backticks are looked up; what is no name is shown as code.
    """
    head = next((k - 1 for k, line in enumerate(lines) if SECTION.match(line)), len(lines))
    made: list[str] = []
    for paragraph in "\n".join(lines[:head]).split("\n\n"):
        if paragraph.startswith(" ") or FORMULA.match(paragraph):
            indent = "" if paragraph.startswith(" ") else "    "
            made += ["::", "", *(indent + line for line in paragraph.split("\n")), ""]
        else:
            made += [*(marked(line, module) for line in paragraph.split("\n")), ""]
    return made + [marked(line, module) for line in lines[head:]]


def marked(line: str, module: ModuleType) -> str:
    """Return a line of prose with its names linked and its stars, bars and underscores escaped."""

    def replacement(match: re.Match[str]) -> str:
        quoted, character = match.groups()
        if quoted is None:
            return "\\" + character
        return linked(quoted[1:-1], module) if re.match("`[^`]", quoted) else quoted

    return QUOTED.sub(replacement, line)


def linked(name: str, module: ModuleType) -> str:
    """Return a reference to where a public object is documented, or the text as code; warn of a name that is wrong."""
    from sphinx.util.logging import getLogger

    import refnorm

    if not re.fullmatch(r"[\w.]+(\(\))?", name):
        return f"``{name}``"
    parts = name.removesuffix("()").split(".")
    known = max((k for k in range(1, len(parts) + 1) if ".".join(parts[:k]) in sys.modules), default=0)
    start = sys.modules[".".join(parts[:known])] if parts[0] == "refnorm" else module
    found: Any = reduce(lambda o, n: getattr(o, n, None), parts[known if parts[0] == "refnorm" else 0 :], start)
    if found is None and parts[0] == "refnorm":
        getLogger(__name__).warning("%s: there is no %s", module.__name__, name)
    if not (inspect.isfunction(found) or inspect.isclass(found)) or not found.__module__.startswith("refnorm"):
        return f"``{name}``"
    exported = found.__qualname__.split(".")[0] in refnorm.__all__
    return f":py:obj:`{name} <{'refnorm' if exported else found.__module__}.{found.__qualname__}>`"


def process(app: Any, what: str, name: str, target: Any, options: Any, lines: list[str]) -> None:
    """Prepare a docstring that autodoc has read."""
    module = target if inspect.ismodule(target) else inspect.getmodule(target)
    if module is not None and lines:
        lines[:] = prepared(lines, module)


def skip(app: Any, what: str, name: str, target: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples: Sphinx has no more to say than their number."""
    return True if (getattr(target, "__doc__", None) or "").startswith("Alias for field number") else None
