"""Which methods of a layer go forward, go back, infer and set up: by usual names, else by what they take."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from refnorm.oracle.ask.doors.names import UPSTREAM, in_small, role_of

FORWARD = (
    "forward",
    "__call__",
    "forward_pass",
    "call",
    "fprop",
    "apply",
    "forward_propagation",
    "propagate",
    "fwd",
    "fit_transform",
    "vorwaerts",
    "avant",
    "adelante",
    "前向",
)
BACKWARD = (
    "backward",
    "backward_pass",
    "bprop",
    "back",
    "backprop",
    "backward_propagation",
    "bwd",
    "grad",
    "rueckwaerts",
    "arriere",
    "atras",
    "反向",
)
INFER = (
    "infer",
    "inference",
    "predict",
    "forward_inference",
    "forward_test",
    "forward_eval",
    "evaluate",
    "test",
    "transform",
)
OUTPUTS = ("output", "outputs", "out", "y", "result", "activation", "activations", "a")
SETUP = (
    "initialize",
    "init",
    "build",
    "setup",
    "init_params",
    "_init_params",
    "reset_parameters",
    "initialize_parameters",
)
MOVES = r"back|bprop|retro|grad|update|step|learn|fit|load|set_|save|train|test|eval|predict|plot"


def forwards_of(kind: type) -> list[str]:
    """Return the methods of a class that go forward; where none has a usual name, those that take an x.

    Examples
    --------
    >>> class Layer:
    ...     def propager(self, x): return x
    ...     def retropropager(self, grad): return grad
    >>> forwards_of(Layer), backwards_of(Layer)
    (['propager'], ['retropropager'])
    """
    usual = [name for name in FORWARD if _defines(kind, name)]
    return usual or [
        name for name, first in _methods(kind) if role_of(first) == "x" and not re.search(MOVES, in_small(name))
    ]


def backwards_of(kind: type) -> list[str]:
    """Return the methods of a class that go back; where none has a usual name, those that take a gradient."""
    usual = [name for name in BACKWARD if callable(getattr(kind, name, None))]
    return usual or [name for name, first in _methods(kind) if re.search(UPSTREAM, first)]


def _defines(kind: type, name: str) -> bool:
    method = getattr(kind, name, None)
    if not callable(method):
        return False
    return name != "__call__" or any("__call__" in vars(k) for k in kind.__mro__[:-1])


def _methods(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the public methods of a class, and of those that its module defines, with their first parameter each."""
    for own in (k for k in kind.__mro__ if k.__module__ == kind.__module__):
        for name, method in vars(own).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                taken = list(inspect.signature(method).parameters)[1:2]
                yield from ((name, first) for first in taken)
