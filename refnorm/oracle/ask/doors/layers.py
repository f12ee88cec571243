"""A layer: made by its constructor, its parameters and statistics put in, called, and read again."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.binding import Parameter, gradients_in, parameters_of
from refnorm.oracle.ask.doors.leaves import Way, found_at, of_shape, size_of
from refnorm.oracle.ask.doors.libraries import Library
from refnorm.oracle.ask.doors.modes import ALWAYS, Mode
from refnorm.oracle.ask.doors.names import is_size, role_of
from refnorm.oracle.ask.doors.slots import Slot, own_slots

FORWARD = ("forward", "__call__", "forward_pass", "call", "fprop", "apply", "forward_propagation", "propagate", "fwd")
BACKWARD = ("backward", "backward_pass", "bprop", "back", "backprop", "backward_propagation", "bwd", "grad")
INFER = ("infer", "inference", "predict", "forward_inference", "forward_test", "forward_eval", "evaluate", "test")
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


class Recorder:
    """An optimizer that changes nothing, and remembers what it was last given, with the parameter that it was for."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, Any]] = []

    def update(self, parameter: Any, gradient: Any, *_: Any, **__: Any) -> Any:
        """Return the parameter as it is."""
        self.given = [*self.given[-3:], (parameter, gradient)]
        return parameter

    __call__ = step = update


def recorded_gradient(layer: Any, parameter: Any) -> Any:
    """Return the gradient that a layer's optimizers were given for a parameter; None if they were given none."""
    recorders = [v for v in vars(layer).values() if isinstance(v, Recorder)]
    given = [pair for recorder in recorders for pair in recorder.given if pair[0] is parameter]
    return given[-1][1] if given else None


@dataclass(frozen=True)
class LayerDoor:
    """A class or an instance, and how it is made and called."""

    make: Any
    library: Library
    constructor: tuple[Parameter, ...] = ()
    call: str = ""
    parameters: tuple[Parameter, ...] = ()
    mode: Mode = ALWAYS
    setup: str = ""
    new: Way | None = None
    slots: dict[str, Slot] = field(default_factory=dict)
    back: str = ""
    gradients: dict[str, Slot] = field(default_factory=dict)
    recorded: bool = False
    named: tuple[tuple[str, str], ...] = ()

    @property
    def roles(self) -> set[str]:
        """What can be put into it."""
        inside = {p.role for p in self.constructor if p.role in ("gamma", "beta", "mean", "var")}
        return set(self.slots) | inside | {name for name in ("momentum", "eps") if self.setting(name)}

    def setting(self, role: str) -> str:
        """Return how eps or momentum is set: "constructor", the name of an attribute, or "" if it cannot be."""
        if any(p.role == role for p in self.constructor):
            return "constructor"
        layer = self.make if not isinstance(self.make, type) else None
        names = [
            n for n, v in getattr(layer, "__dict__", {}).items() if role_of(n) == role and isinstance(v, float | int)
        ]
        return names[0] if names else ""

    def made(self, given: dict[str, Any], shape: tuple[int, ...]) -> Any:
        """Make a layer for x of this shape."""
        channels = shape[1] if len(shape) > 1 else 1
        if not makes(self.make):
            layer = copy.deepcopy(self.make)
            for name, value in list(getattr(layer, "__dict__", {}).items()):
                if isinstance(value, int) and not isinstance(value, bool) and is_size(name):
                    setattr(layer, name, channels)
            for slot in own_slots(layer).values():
                slot.set(layer, self.library.own(np.ones(channels)))
        else:
            said: dict[str, Any] = {}
            affine = given.get("gamma") is not None or given.get("beta") is not None
            for p in self.constructor:
                if p.role in ("gamma", "beta", "mean", "var", "momentum", "eps"):
                    if given.get(p.role) is not None or p.needed:
                        said[p.name] = given.get(p.role)
                elif p.role == "rank":
                    said[p.name] = len(shape)
                elif p.role == "affine" and not affine and "gamma" in self.slots:
                    said[p.name] = False
                elif p.role == "optimizer" and p.needed:
                    said[p.name] = Recorder()
                elif p.role == "size":
                    said[p.name] = (channels,) if "shape" in p.name else channels
                elif p.name == "rngs":
                    from flax import nnx

                    said[p.name] = nnx.Rngs(0)
            layer = self.make(**said)
        for role in ("eps", "momentum"):
            name = self.setting(role)
            if name and name != "constructor" and given.get(role) is not None:
                setattr(layer, name, given[role])
        if self.setup:
            self._set_up(layer, shape)
        if hasattr(layer, "to") and hasattr(layer, "state_dict") and given.get("x") is not None:
            layer.to(given["x"].dtype)
        return layer

    def _set_up(self, layer: Any, shape: tuple[int, ...]) -> None:
        """Call what initialises a layer that is not ready when it is made."""
        if hasattr(layer, "set_input_shape"):
            layer.set_input_shape(shape[1:])
        elif hasattr(layer, "input_shape"):
            layer.input_shape = shape[1:]
        method = getattr(layer, self.setup)
        said: dict[str, Any] = {}
        for p in parameters_of(method, first=""):
            if p.role == "optimizer":
                said[p.name] = Recorder()
            elif p.needed:
                said[p.name] = shape if "shape" in p.name and self.setup == "build" else shape[1]
        method(**said)

    def forward(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any, Any]:
        """Make a layer, put everything in, call it; return y, its statistics afterwards, and the layer."""
        given = {"x": x, "gamma": gamma, "beta": beta, "mean": mean, "var": var, "momentum": momentum, "eps": eps}
        shape = size_of(x) or ()
        layer = self.made(given, shape)
        self.fill(layer, given, training)
        result = self.called(layer, x, training)
        for role in ("gamma", "beta"):
            if role in self.slots and given[role] is None and self.slots[role].get(layer) is not None:
                raise TypeError(f"{role} cannot be None: the layer makes its own")
        after = layer if self.new is None else found_at(result, self.new)
        moved = [self.slots[role].get(after) if role in self.slots else None for role in ("mean", "var")]
        return of_shape(result, shape), *map(row, moved), (layer, shape)

    def fill(self, layer: Any, given: dict[str, Any], training: bool) -> None:
        """Put parameters and statistics into a layer; one that makes them when it is called is called first."""
        if any(size_of(slot.get(layer)) is None for role, slot in self.slots.items() if given[role] is not None):
            self.called(layer, given["x"], True)
        for role, slot in self.slots.items():
            slot.set(layer, given[role])

    def called(self, layer: Any, x: Any, training: bool) -> Any:
        """Call a layer, and tell it whether it trains."""
        said: dict[str, Any] = {}
        if self.mode.where == "argument":
            said[self.mode.name] = self.mode.value(training)
        elif self.mode.where == "switch":
            setattr(layer, self.mode.name, self.mode.value(training))
        elif self.mode.where == "method":
            layer.train() if training else layer.eval()
        name = self.mode.inference if self.mode.where == "name" and not training else self.call
        with self.mode.gradients(training):
            return getattr(layer, name)(x, **said)

    def backward(self, dy: Any, cache: Any) -> tuple[Any, Any, Any]:
        """Call the backward of a copy of the layer: one that learns moves its parameters."""
        layer, shape = copy.deepcopy(cache)
        return self.gradients_of(layer, dy, shape)

    def gradients_of(self, layer: Any, dy: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """Call a layer's backward; gradients of the parameters come back, or are kept by the layer."""
        result = getattr(layer, self.back)(dy)
        dx, dgamma, dbeta = gradients_in(result, shape)
        if self.recorded:
            own = (self.slots[role].get(layer) if role in self.slots else None for role in ("gamma", "beta"))
            return dx, *(row(recorded_gradient(layer, parameter)) for parameter in own)
        if self.gradients:
            dgamma, dbeta = (self.gradients[r].get(layer) if r in self.gradients else None for r in ("gamma", "beta"))
        return dx, row(dgamma), row(dbeta)


def makes(thing: Any) -> bool:
    """Whether a thing makes layers, as a class does, and a function that is none of its own; else it is a layer."""
    return isinstance(thing, type) or (inspect.isfunction(thing) and not vars(thing))


def row(value: Any) -> Any:
    """Return one value per channel as a row, whatever shape a layer keeps them in."""
    shape = size_of(value)
    if shape is None or len(shape) == 1:
        return value
    return np.reshape(value, -1) if isinstance(value, list) else value.reshape(-1)
