"""A target: what can be judged, by name, file or object, and how it is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from refnorm.oracle.ask.cs231n import paths_of
from refnorm.oracle.ask.interface import offered


class TargetError(Exception):
    """A target that cannot be judged; the text says why and what to do."""


@dataclass(frozen=True)
class Target:
    """A loaded target: its name, the row it is judged by unless another is named, its version, its paths.

    ``declared`` says that the row is its own word, as a framework's adapter gives it, and no mere default.
    ``array`` is the array library that it is given arrays of, with its version. ``code`` is how other code gets at it:
    an import, if it takes one, and an expression; empty if it cannot.
    """

    name: str
    convention: str
    version: str
    paths: dict[str, Any]
    code: tuple[str, str] = ("", "")
    declared: bool = False
    array: str = f"numpy {np.__version__}"


def as_target(implementation: Any, name: str = "") -> Target:
    """Take an object, module or class for a target; TargetError if it offers nothing to judge."""
    if isinstance(implementation, type):
        implementation = _imported(implementation.__name__, implementation, "made without arguments")
    name = name or getattr(implementation, "__name__", type(implementation).__name__)
    if hasattr(implementation, "batchnorm_forward") and not offered(implementation):
        return Target(name, "cs231n", "", paths_of(implementation), _code(implementation))
    if not {"train", "infer"} & set(offered(implementation)):
        raise TargetError(
            f"{name} offers neither train nor infer, so there is nothing to judge; it must have functions "
            "train(x, gamma, beta, running_mean, running_var, momentum, eps) -> y, running_mean, running_var, cache "
            "and infer(x, gamma, beta, running_mean, running_var, eps) -> y, or CS231n's batchnorm_forward"
        )
    return Target(
        name, "torch", str(getattr(implementation, "__version__", "")), {"": implementation}, _code(implementation)
    )


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
    """Import the module or object that ``path/to/file.py`` or ``package.module:object`` names; TargetError if not."""
    if target.endswith(".py") or "/" in target:
        return _import_file(Path(target))
    module, colon, attribute = target.partition(":")
    if not colon:
        names = ", ".join(adapters())
        raise TargetError(f"{target!r} is no target; name a framework ({names}), a file.py, or package.module:object")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    value = _imported(target, lambda: importlib.import_module(module))
    for name in attribute.split("."):
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
    """Run a Python file as a module of its own."""
    if not path.is_file():
        raise TargetError(f"there is no file {path}; give the path of a Python file, or package.module:object")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.append(str(path.resolve().parent))  # last: a random.py there is not the one that a library imports
    sys.modules.setdefault(path.stem, module)
    loader = spec.loader
    _imported(str(path), lambda: loader.exec_module(module))
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
        where = ""
        if not isinstance(error, SyntaxError | ModuleNotFoundError) and (trace := error.__traceback__) is not None:
            while trace.tb_next is not None:
                trace = trace.tb_next
            where = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        raise TargetError(f"{target} could not be {done}: {type(error).__name__}: {text}{where}") from error
