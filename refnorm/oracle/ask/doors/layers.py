"""A layer: made by its constructor, its parameters and statistics put in, called, and read again."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.at_once import by_name
from refnorm.oracle.ask.doors.binding import Parameter, gradients_in, parameters_of, which
from refnorm.oracle.ask.doors.leaves import Way, found_at, of_shape, size_of
from refnorm.oracle.ask.doors.libraries import Library, kept_in, to_numpy
from refnorm.oracle.ask.doors.methods import OUTPUTS
from refnorm.oracle.ask.doors.modes import ALWAYS, Mode
from refnorm.oracle.ask.doors.names import gradient_of, in_small, is_size, role_of
from refnorm.oracle.ask.doors.remembering import as_layer
from refnorm.oracle.ask.doors.slots import Slot, own_slots


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
    """A class or an instance, and how it is made and called; ``returned``: where statistics that go in come back."""

    make: Any
    library: Library
    constructor: tuple[Parameter, ...] = ()
    call: str = ""
    parameters: tuple[Parameter, ...] = ()
    mode: Mode = ALWAYS
    setup: str = ""
    new: Way | None = None
    slots: dict[str, Slot] = field(default_factory=dict)
    returned: Mapping[str, Way] = field(default_factory=dict)
    back: str = ""
    gradients: dict[str, Slot] = field(default_factory=dict)
    recorded: bool = False
    named: tuple[tuple[str, str], ...] = ()
    rate: str = ""
    placed: tuple[str, ...] = ()
    counts: str = ""
    at: Mapping[int, int] = field(default_factory=dict)

    @property
    def roles(self) -> set[str]:
        """What can be put into it."""
        inside = {p.role for p in self.constructor if p.role in ("gamma", "beta", "mean", "var")}
        inside |= set(self.returned) | {name for name in ("momentum", "eps") if self.setting(name)}
        return set(self.slots) | inside

    def setting(self, role: str) -> str:
        """Return how eps or momentum is set: "constructor", the name of an attribute, or "" if it cannot be."""
        if any(p.role == role for p in self.constructor):
            return "constructor"
        layer = self.make if not isinstance(self.make, type) else None
        names = [
            n for n, v in getattr(layer, "__dict__", {}).items() if role_of(n) == role and isinstance(v, float | int)
        ]
        return names[0] if names else ""

    def channels(self, shape: tuple[int, ...]) -> int:
        """Return how many channels x of this shape has."""
        return shape[self.at.get(len(shape), 1)] if len(shape) > 1 else 1

    def made(self, given: dict[str, Any], shape: tuple[int, ...]) -> Any:
        """Make a layer for x of this shape."""
        channels = self.channels(shape)
        if not makes(self.make):
            layer = copy.deepcopy(self.make)
            for name, value in list(getattr(layer, "__dict__", {}).items()):
                if isinstance(value, int) and not isinstance(value, bool) and is_size(name):
                    setattr(layer, name, channels)
            for slot in own_slots(layer).values():
                slot.set(layer, self.library.own(np.ones(channels)))
        else:
            said: dict[str, Any] = {}
            for p in self.constructor:
                if p.role in ("gamma", "beta", "mean", "var", "momentum", "eps"):
                    if given.get(p.role) is not None or p.needed:
                        said[p.name] = given.get(p.role)
                elif p.role == "rank":
                    said[p.name] = len(shape)
                elif (
                    p.role == "affine" and "gamma" in self.slots and all(given.get(r) is None for r in flagged(p.name))
                ):
                    said[p.name] = False
                elif p.role == "optimizer" and p.needed:
                    said[p.name] = Recorder()
                elif p.role == "size":
                    said[p.name] = (channels,) if "shape" in p.name else channels
                elif p.name == "rngs":
                    from flax import nnx

                    said[p.name] = nnx.Rngs(0)
            layer = self._instance(said, shape)
        for role in ("eps", "momentum"):
            name = self.setting(role)
            if name and name != "constructor" and given.get(role) is not None:
                setattr(layer, name, given[role])
        if self.setup:
            self._set_up(layer, shape)
        if hasattr(layer, "to") and hasattr(layer, "state_dict") and given.get("x") is not None:
            layer.to(given["x"].dtype)
        return layer

    def _instance(self, said: dict[str, Any], shape: tuple[int, ...]) -> Any:
        """Call the constructor; sizes, as in ``layer_sizes``, may be a list of them; what comes in may be a shape."""
        try:
            return as_layer(by_name(self.make)(**said))
        except (TypeError, AttributeError):
            sizes = {p.name for p in self.constructor if p.role == "size" and p.name.endswith("s")}
            whole = {p.name for p in self.constructor if p.role == "size" and not is_size(p.name)}
            if not sizes | whole:
                raise
            said = {n: [v] if n in sizes else shape if n in whole else v for n, v in said.items()}
            return by_name(self.make)(**said)

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
                said[p.name] = shape if "shape" in p.name and self.setup == "build" else self.channels(shape)
        method(**said)

    def forward(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any, Any]:
        """Make a layer, put everything in, call it; return y, its statistics afterwards, and the layer."""
        given = {"x": x, "gamma": gamma, "beta": beta, "mean": mean, "var": var, "momentum": momentum, "eps": eps}
        shape = size_of(x) or ()
        begun = {n: copy.deepcopy(given[n]) for n in ("x", "mean", "var") if isinstance(given[n], np.ndarray | list)}

        def again() -> tuple[Any, Any]:
            return self._used(given | copy.deepcopy(begun), shape, training)

        layer, result = self._used(given, shape, training)
        if (gamma is None) != (beta is None) and {"gamma", "beta"} <= set(self.slots) and not self.apart():
            raise TypeError("gamma and beta are there together, or not at all")
        for role in ("gamma", "beta"):
            if role in self.slots and given[role] is None and self.slots[role].get(layer) is not None:
                raise TypeError(f"{role} cannot be None: the layer makes its own")
        after = layer if self.new is None else found_at(result, self.new)
        moved = [self.slots[role].get(after) if role in self.slots else None for role in ("mean", "var")]
        if self.returned:
            moved = [found_at(result, self.returned[role]) for role in ("mean", "var")]
        return outcome(layer, result, shape), *map(row, moved), (layer, shape, again)

    def _used(self, given: dict[str, Any], shape: tuple[int, ...], training: bool) -> tuple[Any, Any]:
        """Return a layer with everything in it, and what came back when it was called."""
        layer = self.made(given, shape)
        self.fill(layer, given, training)
        return layer, self.called(layer, given["x"], training, given)

    def apart(self) -> bool:
        """Whether gamma may be absent and beta not: whether its constructor has a word for one of them alone."""
        return any(p.role in ("gamma", "beta") or (p.role == "affine" and len(flagged(p.name)) == 1)
                   for p in self.constructor)  # fmt: skip

    def fill(self, layer: Any, given: dict[str, Any], training: bool) -> None:
        """Put parameters and statistics into a layer; one that makes them when it is called is called first."""
        for role in self.placed:
            self.slots[role].set(layer, given[role])
        if any(size_of(slot.get(layer)) is None for role, slot in self.slots.items() if given[role] is not None):
            try:  # a lazy layer makes them in either mode; one that begins with its first batch, in training alone
                self.called(layer, given["x"], training, given)
            except Exception:
                if training:
                    raise
                self.called(layer, given["x"], True, given)
        for role, slot in self.slots.items():
            slot.set(layer, given[role])
        for role, slot in self.gradients.items():
            if slot.of_parameter and given[role] is not None:
                slot.set(layer, self.library.own(np.zeros_like(to_numpy(given[role]))))
            elif isinstance(begun := slot.get(layer), np.ndarray) and given[role] is not None:
                slot.set(layer, row(begun).astype(given[role].dtype))  # it was made beside the parameter, and like it
        if self.counts:
            begun = getattr(layer, self.counts) * 0  # an array of none, where it is kept so
            setattr(layer, self.counts, begun + 1)  # so that the next batch counts for half, and not for all

    def switched(self, layer: Any) -> Any:
        """Return what has the switch that says whether it trains: the layer, or an object that it keeps; or None."""
        kept = getattr(layer, "__dict__", {}).values()
        return next((v for v in (layer, *kept) if hasattr(v, self.mode.name)), None)

    def called(self, layer: Any, x: Any, training: bool, given: Mapping[str, Any] | None = None) -> Any:
        """Call a layer, with statistics if it asks for them, and tell it whether it trains."""
        said: dict[str, Any] = {p.name: which(p.name) for p in self.parameters if p.role == "which" and p.needed}
        said |= {p.name: (given or {})[p.role] for p in self.parameters if p.role in ("mean", "var") and p.needed}
        if self.mode.where == "argument":
            said[self.mode.name] = self.mode.value(training)
        elif self.mode.where == "switch":
            setattr(self.switched(layer) or layer, self.mode.name, self.mode.value(training))
        elif self.mode.where == "entry":
            kept = [d for d in vars(layer).values() if isinstance(d, dict) and self.mode.name in d]
            kept[0][self.mode.name] = self.mode.value(training)
        elif self.mode.where == "method":
            layer.train() if training else layer.eval()
        name = self.mode.inference if self.mode.where == "name" and not training else self.call
        with self.mode.told(training):
            return getattr(layer, name)(x, **said)

    def backward(self, dy: Any, cache: Any) -> tuple[Any, Any, Any]:
        """Go forward anew, and back: a backward that learns moves parameters, one that pops a tape empties it."""
        _, shape, again = cache
        return self.gradients_of(again()[0], dy, shape)

    def gradients_of(self, layer: Any, dy: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """Call a layer's backward; gradients of the parameters come back, or are kept by the layer."""
        step = copy.deepcopy(layer) if self.rate and not self.gradients and not self.recorded else None
        result = getattr(layer, self.back)(dy, **self.at_rate(0.0))
        dx, dgamma, dbeta = gradients_in(result, shape)
        if dx is None:
            dx = next((v for n, v in vars(layer).items() if gradient_of(n) == "x" and size_of(v) == shape), None)
        if step is not None and dgamma is None and dbeta is None:
            dgamma, dbeta = self._steps(step, dy)
        if self.recorded:
            own = (self.slots[role].get(layer) if role in self.slots else None for role in ("gamma", "beta"))
            return dx, *(row(recorded_gradient(layer, parameter)) for parameter in own)
        if self.gradients:
            dgamma, dbeta = (self.gradients[r].get(layer) if r in self.gradients else None for r in ("gamma", "beta"))
        return dx, row(dgamma), row(dbeta)

    def at_rate(self, value: float) -> dict[str, float]:
        """Return the rate at which a backward learns, where it asks for one."""
        return {self.rate: value} if self.rate else {}

    def _steps(self, layer: Any, dy: Any) -> tuple[Any, Any]:
        """Return the gradients of the parameters as what they become from 0, at a rate of -1: exactly those."""
        slots = [self.slots[role] for role in ("gamma", "beta") if role in self.slots]
        for slot in slots:
            slot.set(layer, self.library.own(np.zeros_like(to_numpy(row(slot.get(layer))))))
        getattr(layer, self.back)(dy, **self.at_rate(-1.0))
        found = {slot: slot.get(layer) for slot in slots}
        dgamma, dbeta = (found.get(self.slots.get(role)) for role in ("gamma", "beta"))  # type: ignore[arg-type]
        return dgamma, dbeta


def outcome(layer: Any, result: Any, shape: tuple[int, ...]) -> Any:
    """Return y: what came back, or, where nothing does, the attribute that a layer leaves it in."""
    if result is None:
        for name, value in getattr(layer, "__dict__", {}).items():
            if in_small(name) in OUTPUTS and size_of(value) == shape:
                return value
    return of_shape(result, shape)


def flagged(name: str) -> tuple[str, ...]:
    """Return which parameters a constructor's flag of this name is about.

    Examples
    --------
    >>> flagged("affine"), flagged("use_scale"), flagged("center")
    (('gamma', 'beta'), ('gamma',), ('beta',))
    """
    small = in_small(name)
    about = ("gamma", r"gamma|scale(?!_and)|weight"), ("beta", r"beta|bias|shift|offset|center")
    found = tuple(role for role, pattern in about if re.search(pattern, small))
    return found if len(found) == 1 else ("gamma", "beta")


def makes(thing: Any) -> bool:
    """Whether a thing makes layers, as a class does, and a function that is none of its own; else it is a layer."""
    return isinstance(thing, type) or (inspect.isfunction(thing) and not vars(thing))


def row(value: Any) -> Any:
    """Return one value per channel as a row, whatever shape a layer keeps them in."""
    shape = size_of(value)
    value = to_numpy(value) if kept_in(value) else value
    if shape is None or len(shape) == 1:
        return value
    return np.reshape(value, -1) if isinstance(value, list) else value.reshape(-1)
