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
ENTRY = re.compile(r"\w+(, \w+)* : ")
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
    return made + [marked(line, module) for line in joined(lines[head:])]


def joined(lines: list[str]) -> list[str]:
    """Return sections with entries, ``name : words``, on one line where the next begins within their sentence.

    Examples
    --------
    >>> joined(["x : array, of any", "    rank.", "y : array", "    Rounded once."])
    ['x : array, of any rank.', 'y : array', '    Rounded once.']
    """
    made: list[str] = []
    for line in lines:
        entry = bool(made) and ENTRY.match(made[-1]) is not None
        if entry and line.startswith("    ") and not line.strip()[0].isupper():
            made[-1] += " " + line.strip()
        else:
            made.append(line)
    return made


def marked(line: str, module: ModuleType) -> str:
    r"""Return a line of prose with its names linked and its stars, bars and underscores escaped.

    Examples
    --------
    >>> import refnorm
    >>> marked("`Statistics` of *all* |x| ** 2, `eps`", refnorm)
    ':py:obj:`Statistics <refnorm.Statistics>` of *all* \\|x\\| \\*\\* 2, ``eps``'
    """

    def replacement(match: re.Match[str]) -> str:
        quoted, character = match.groups()
        if quoted is None:
            return "\\" + character
        return linked(quoted[1:-1], module) if re.match("`[^`]", quoted) else quoted

    return QUOTED.sub(replacement, line)


def linked(name: str, module: ModuleType) -> str:
    """Return a reference to where a public object is documented, or the text as code; warn of a name that is wrong."""
    import refnorm

    if not re.fullmatch(r"[\w.]+(\(\))?", name):
        return f"``{name}``"
    parts = name.removesuffix("()").split(".")
    found: Any = module
    at = 0
    if parts[0] == "refnorm":  # from the longest name of a module on; a function may hide a module of its name
        at = max(k for k in range(1, len(parts) + 1) if ".".join(parts[:k]) in sys.modules)
        found = sys.modules[".".join(parts[:at])]
    found = reduce(lambda owner, part: getattr(owner, part, None), parts[at:], found)
    if found is None and parts[0] == "refnorm":
        from sphinx.util.logging import getLogger

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
