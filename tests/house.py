"""Read the sources: what each module imports, and what it defines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "refnorm"

parsed = cache(ast.parse)  # most sources are asked about often


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package, by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, inside: bool = True) -> set[str]:
    """Return the modules of refnorm that a source file imports; ``inside`` says whether inside functions, too."""
    return set(_imported(path, path.read_text(encoding="utf-8"), inside))


@cache
def _imported(path: Path, source: str, inside: bool) -> frozenset[str]:
    known = modules()
    names: set[str] = set()
    for node in ast.walk(parsed(source)) if inside else _outside(parsed(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what is imported"
            of = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= of & set(known) | ({node.module} if of - set(known) else set())
    return frozenset(name for name in names if name.partition(".")[0] == "refnorm")


def _outside(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what is executed when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr) and not _for_types_only(node):
            yield from _outside(node)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def wing(module: str) -> str:
    """Return the wing that a module stands in: reference, oracle, ...; its own name if it stands alone."""
    return module.split(".")[1] if "." in module else module


def imported_wings(path: Path) -> set[str]:
    """Return the wings that a source file imports from, anywhere in it."""
    return {wing(name) for name in imports(path)}


def definitions(path: Path) -> set[str]:
    """Return the public classes and functions that a module defines at top level."""
    body = parsed(path.read_text(encoding="utf-8")).body
    return {n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")}
