"""A target: what can be judged, by name, file or object, and how it is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from refnorm.oracle.ask.cs231n import is_cs231n, paths_of
from refnorm.oracle.ask.doors.own import own_functions
from refnorm.oracle.ask.interface import offered
from refnorm.oracle.ask.troubled import where_of


class TargetError(Exception):
    """A target that cannot be judged; the text says why and what to do."""


@dataclass(frozen=True)
class Target:
    """A loaded target: its name, the row it is judged by unless another is named, its version, its paths.

    ``declared`` says that the row is its own word, as a framework's adapter gives it, and no mere default.
    ``array`` is the array library that it is given arrays of, with its version. ``code`` is how other code gets at it:
    an import, if it takes one, and an expression; empty if it cannot. ``notes`` is what else was found in it.
    """

    name: str
    convention: str
    version: str
    paths: dict[str, Any]
    code: tuple[str, str] = ("", "")
    declared: bool = False
    array: str = f"numpy {np.__version__}"
    notes: tuple[str, ...] = ()


def as_target(implementation: Any, name: str = "") -> Target:
    """Take whatever someone wrote for a target: a module, function, class or instance.

    Raises
    ------
    TargetError
        If nothing in it can be read as a batch normalization; the text says what was found, and how to declare it.
    """
    name = name or getattr(implementation, "__name__", type(implementation).__name__)
    if is_cs231n(implementation) and not offered(implementation):
        others = _others(implementation)
        return Target(name, "cs231n", "", paths_of(implementation), _code(implementation), notes=others)
    made = implementation
    if isinstance(implementation, type) and own_functions(implementation) is not None:
        made = _imported(implementation.__name__, implementation, "made without arguments")
    own = own_functions(made)
    if own is not None:
        version = str(getattr(implementation, "__version__", ""))
        return Target(name, "torch", version, {"": own}, _code(made))
    from refnorm.oracle.ask.doors.found import NotFound, read_all

    try:
        paths, notes = _imported(name, lambda: read_all(implementation), "read")
    except TargetError as error:
        if isinstance(error.__cause__, NotFound):
            raise TargetError(f"{name} {error.__cause__}") from error.__cause__
        raise
    if len(paths) == 1:
        paths = {"": next(iter(paths.values()))}
    return Target(
        name, "torch", str(getattr(implementation, "__version__", "")), paths, _code(implementation), notes=notes
    )


def _others(module: Any) -> tuple[str, ...]:
    """Name the functions of other normalizations in a file: they are not judged."""
    from refnorm.oracle.ask.doors.names import other_norms

    others = other_norms(vars(module) if hasattr(module, "__dict__") else {})
    return (f"not judged, being no batch normalization: {', '.join(others)}",) if others else ()


def _code(implementation: Any) -> tuple[str, str]:
    """Return an import and an expression that give this object elsewhere; empty ones if it has state, or is local."""
    if isinstance(implementation, ModuleType):
        name = implementation.__name__
        return ("", "") if name == "__main__" else (f"import {name}", name)
    kind, stateful = type(implementation), bool(getattr(implementation, "__dict__", None))
    if kind.__module__ in ("__main__", "builtins", "types") or "<" in kind.__qualname__ or stateful:
        return "", ""
    return f"from {kind.__module__} import {kind.__qualname__.partition('.')[0]}", f"{kind.__qualname__}()"


def adapters() -> dict[str, str]:
    """Return the frameworks that there is an adapter for, and its module: found by name, as every other target is."""
    known: dict[str, str] = importlib.import_module("refnorm.frameworks").ADAPTERS
    return known


def load_target(target: str, array: str = "numpy") -> Target:
    """Load a target: a framework's name, ``path/to/file.py``, or ``package.module:object``. Loading a file runs it.

    ``array`` is the array library for the target ``refnorm``: every other target gets NumPy arrays.

    Raises
    ------
    TargetError
        With one line that says what is wrong and what to do.
    """
    if target in adapters():
        try:
            adapter = importlib.import_module(adapters()[target])
        except ImportError as error:
            raise TargetError(f"{target} is not installed ({error}); pip install {target}") from error
        paths = adapter.paths() if array == "numpy" else _on(adapter, array)
        return Target(target, adapter.CONVENTION, adapter.version(), paths, ("", repr(target)), declared=True)
    return replace(as_target(imported(target), target), code=("", repr(target)))


def imported(target: str) -> Any:
    """Import what ``file.py``, ``file.py:name`` or ``package.module[:name]`` names; TargetError if it cannot be."""
    module, colon, attribute = target.partition(":")
    if module.endswith(".py") or "/" in module:
        value = _import_file(Path(module))
    else:
        if not colon and "." not in module:
            names = ", ".join(adapters())
            raise TargetError(
                f"{target!r} is no target; name a framework ({names}), a file.py, or package.module:object"
            )
        if os.getcwd() not in sys.path and "" not in sys.path:
            sys.path.append(os.getcwd())
        value = _imported(target, lambda: importlib.import_module(module))
    for name in attribute.split(".") if colon else ():
        if not hasattr(value, name):
            raise TargetError(f"{module} has no attribute {name!r}; {target} cannot be judged")
        value = getattr(value, name)
    return value


class Own:
    """A module with a forward and a backward of its own, whatever it computes, and the inputs to try them on."""

    def __init__(self, module: Any, seed: int) -> None:
        self.forward, self.backward = module.forward, module.backward
        given = module.inputs
        self.inputs = tuple(given(np.random.default_rng(seed)) if callable(given) else given)
        self.names = tuple(getattr(module, "names", [f"input {k}" for k in range(len(self.inputs))]))


def load_gradient_target(target: str, seed: int) -> Target:
    """Load a target: as `load_target`, or a module with forward, backward and inputs (of a generator with a seed)."""
    if target not in adapters():
        found = imported(target)
        if all(hasattr(found, name) for name in ("forward", "backward", "inputs")):
            own = _imported(target, lambda: Own(found, seed), "given inputs")
            return Target(target, "torch", "", {"": own})
        return as_target(found, target)
    return load_target(target)


def _on(adapter: Any, array: str) -> dict[str, Any]:
    if not hasattr(adapter, "paths_on"):
        raise TargetError(f"--array {array} is for the target refnorm; {adapter.NAME} gets NumPy arrays")
    try:
        paths: dict[str, Any] = adapter.paths_on(array)
    except (ImportError, KeyError) as error:
        raise TargetError(f"array library {array} is not at hand: {error}; install it, or use --array numpy") from error
    return paths


def _import_file(path: Path) -> Any:
    """Run a Python file as a module of its own; one inside packages with these around it."""
    if not path.is_file():
        raise TargetError(f"there is no file {path}; give the path of a Python file, or package.module:object")
    package = path.resolve().parent
    around: list[Path] = []
    while (package / "__init__.py").is_file():
        around.insert(0, package)
        package = package.parent
    sys.path.append(str(package))  # last: a random.py there is not the one that a library imports
    name = ""
    for folder in around:
        name = f"{name}.{folder.name}".lstrip(".")
        if name not in sys.modules:
            _run(name, folder / "__init__.py", str(path), [str(folder)])
    return _run(f"{name}.{path.stem}".lstrip("."), path, str(path))


class AsItStands(SourceFileLoader):
    """Compiles what stands in a file: a file of bytecode may be of an earlier one, as long and of the same second."""

    def path_stats(self, path: Any) -> NoReturn:
        """Say that nothing is known by which bytecode could be kept, or taken from what was kept."""
        raise OSError(f"bytecode of {path} is not kept")


def _run(name: str, path: Path, target: str, inside: list[str] | None = None) -> Any:
    """Run a file as the module of this name."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file; its name must end in .py")
    if isinstance(spec.loader, SourceFileLoader):
        spec.loader = AsItStands(name, str(path))
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.modules.setdefault(name, module)
    _imported(target, lambda: loader.exec_module(module))
    return module


def _imported(target: str, action: Any, done: str = "imported") -> Any:
    """Run foreign code at its import; whatever it raises becomes a TargetError that says where."""
    try:
        with np.errstate():  # what it sets holds for its own code
            return action()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever foreign code raises at import, sys.exit included
        text = " ".join(str(error).split())[:200]
        where = "" if isinstance(error, SyntaxError | ModuleNotFoundError) else where_of(error)
        raise TargetError(f"{target} could not be {done}: {type(error).__name__}: {text}{where}") from error
