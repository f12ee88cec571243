"""Functions that remember: in globals of their module, or in what they close over; as layers that are made anew."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.binding import CHANNELS, Parameter, parameters_of, which
from refnorm.oracle.ask.doors.names import is_running, role_of

INSIDE = ("gamma", "beta", "eps", "momentum")  # what such a function takes, and a layer keeps
TOLD = ("training", "inference", "mode")
BACK = ("backward", "bwd", "backprop", "grad", "update")


def memory_of(function: Callable[..., Any]) -> list[str]:
    """Return the globals in which a function keeps running statistics: what it names, and no function or module is.

    Examples
    --------
    >>> memory_of(memory_of)
    []
    """
    code, scope = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    names = [n for n in getattr(code, "co_names", ()) if isinstance(scope.get(n, 0), dict | list | np.ndarray | None)]
    return [n for n in names if n in scope and (is_running(n) or role_of(n) in ("mean", "var", "state"))]


class Remembering:
    """A function whose running statistics are globals of its module, as a layer that keeps them."""

    function: Callable[..., Any]
    names: tuple[str, ...]

    def __init__(self) -> None:
        scope = getattr(self.function, "__globals__", {})
        self.memory = {name: scope[name] for name in self.names}
        for p in parameters_of(self.function):
            if p.role in INSIDE:
                start = {"gamma": np.ones(CHANNELS), "beta": np.zeros(CHANNELS), "eps": 1e-5, "momentum": 0.1}
                setattr(self, p.role, start[p.role])

    def call(self, x: Any, said: dict[str, Any]) -> Any:
        """Call the function with what the layer keeps, in the globals too, and keep what is there afterwards."""
        scope = getattr(self.function, "__globals__", {})
        outside = {name: scope[name] for name in self.names}
        scope.update(self.memory)
        try:
            return self.function(**self.arguments(x), **said)
        finally:
            self.memory = {name: scope[name] for name in self.names}
            scope.update(outside)

    def arguments(self, x: Any) -> dict[str, Any]:
        """Return what the function is called with, but for whether it trains."""
        given = {**{role: getattr(self, role, None) for role in INSIDE}, "x": x}
        known = {p.name: given[p.role] for p in parameters_of(self.function) if p.role in given}
        return known | {p.name: which(p.name) for p in parameters_of(self.function) if p.role == "which" and p.needed}


def remembering(function: Callable[..., Any], parameters: tuple[Parameter, ...], names: list[str]) -> Any:
    """Return a function and the globals that it remembers in as a layer, called with x and with what says it trains."""

    def forward(self: Remembering, x: Any, **said: Any) -> Any:
        return self.call(x, said)

    told = [inspect.Parameter(p.name, inspect.Parameter.KEYWORD_ONLY) for p in parameters if p.role in TOLD]
    own = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "x")]
    forward.__signature__ = inspect.Signature([*own, *told])  # type: ignore[attr-defined]
    inside = {"function": staticmethod(function), "names": tuple(names), "forward": forward}
    name = getattr(function, "__name__", "function")
    return types.new_class(
        name, (Remembering,), {}, lambda scope: scope.update(inside, __module__=function.__module__)
    )()


class Closures:
    """The functions that another has made, as one layer: the first goes forward, one goes back."""

    def __init__(self, parts: dict[str, Any]) -> None:
        names = list(parts)
        self.forward = parts[names[0]]
        back = next((n for n in names[1:] if any(word in n.lower() for word in BACK)), "")
        if back:
            self.backward = parts[back]

    def __call__(self, x: Any, **said: Any) -> Any:
        """Go forward."""
        return self.forward(x, **said)


def as_layer(made: Any) -> Any:
    """Return what a function has made as a layer, where it is several functions; else as it is."""
    if isinstance(made, dict):
        parts = {str(n): v for n, v in made.items() if inspect.isfunction(v)}
    elif isinstance(made, tuple | list):
        parts = {v.__name__: v for v in made if inspect.isfunction(v)}
    else:
        parts = {}
    return Closures(parts) if parts else made
