"""Layers whose arrays live outside of them, in trees of variables: Flax's Linen, Haiku's, Equinox's; and Keras's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from refnorm.oracle.ask.doors.binding import (
    CHANNELS,
    FULL,
    NotReadable,
    Parameter,
    best_of,
    mode_score,
    parameters_of,
    probe,
)
from refnorm.oracle.ask.doors.leaves import leaves, size_of
from refnorm.oracle.ask.doors.libraries import Library
from refnorm.oracle.ask.doors.modes import ALWAYS, Mode, modes_of
from refnorm.oracle.ask.doors.names import is_size, role_of

ROLES = ("gamma", "beta", "mean", "var")
Tree = Any  # nested dictionaries with arrays at their leaves


@dataclass(frozen=True)
class VariablesDoor:
    """A layer made anew for each call; ``kind`` says how its variables get in and out."""

    make: Any
    kind: Any
    constructor: tuple[Parameter, ...]
    parameters: tuple[Parameter, ...]
    mode: Mode = ALWAYS
    names: tuple[tuple[str, Any], ...] = ()
    back: str = ""

    @property
    def roles(self) -> set[str]:
        """What can be put into it."""
        settings = {p.role for p in self.constructor if p.role in ("momentum", "eps")}
        return {role for role, _ in self.names} | settings

    def made(self, shape: tuple[int, ...], momentum: float, eps: float, training: bool) -> Any:
        """Make a layer for x of this shape."""
        given = {"momentum": momentum, "eps": eps}
        said: dict[str, Any] = {}
        for p in self.constructor:
            if p.role in given:
                said[p.name] = given[p.role]
            elif self.mode.where == "switch" and p.name == self.mode.name:
                said[p.name] = self.mode.value(training)
            elif p.needed and (is_size(p.name) or not p.role):
                said[p.name] = shape[-1]
        return self.make, said

    def arguments(self, training: bool) -> dict[str, Any]:
        """Return what tells a call that it trains."""
        return {self.mode.name: self.mode.value(training)} if self.mode.where == "argument" else {}

    def forward(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any, Any]:
        """Make a layer, put everything in, call it; return y, the statistics afterwards, and all variables by role."""
        make, said = self.made(size_of(x) or (), momentum, eps, training)
        given = dict(zip(ROLES, (gamma, beta, mean, var), strict=True))
        y, after = self.kind.call(make, said, x, self.arguments(training), {w: given[r] for r, w in self.names})
        moved = {role: after.get(way) for role, way in self.names}
        return y, moved.get("mean"), moved.get("var"), moved


def read_variables(thing: Any, kind: Any, library: Library, shape: tuple[int, ...]) -> VariablesDoor:
    """Find out, by making and calling it, how such a layer is told to train, and which variable is what.

    Raises
    ------
    Exception
        Whatever the layer raises, in the way that comes first.
    """
    constructor = tuple(p for p in parameters_of(thing, first="") if p.name not in ("parent", "name"))
    parameters = parameters_of(kind.method(thing), first="")[1:]
    x = probe(shape, library)[0]
    modes = [mode for where, found in (("argument", parameters), ("switch", constructor)) for p in found
             for mode in modes_of(p.name, p.role, where)]  # fmt: skip

    def learned(mode: Mode) -> tuple[VariablesDoor, int]:
        """Make a layer and see what it keeps; call it with different statistics."""
        door = VariablesDoor(thing, kind, constructor, parameters, mode)
        make, said = door.made(shape, 0.5, 2.0**-10, True)
        seen: dict[str, Any] = {}
        for way, value in kind.variables(make, said, x, door.arguments(True)):
            names = [str(step).strip(".") for step in way if isinstance(step, str)]
            role = next((role_of(n) for n in reversed(names) if role_of(n) in ROLES), "")
            if role and size_of(value) == (CHANNELS,) and role not in seen:
                seen[role] = way
        door = replace(door, names=tuple(seen.items()))

        def y(training: bool, shifted: str) -> Any:
            given: Any = (*probe(shape, library, shifted), 0.5, 2.0**-10, training)
            return door.forward(*given)[0]

        if "mean" in seen:
            score = mode_score(y)
            if score < FULL and not mode.sure:
                raise NotReadable(f"it is not known what tells it, by {mode.name}, whether it trains")
            return door, score
        y(True, "")
        return door, 1

    return best_of([*modes, Mode("")], learned, "it cannot be called")


class Called:
    """What a layer of a framework is called by."""

    @staticmethod
    def method(thing: Any) -> Callable[..., Any]:
        """Return what is called."""
        call: Callable[..., Any] = thing.__call__
        return call


class Linen(Called):
    """A flax.linen.Module."""

    name, convention, reading = "jax", "flax", "read as flax.linen.Module"

    @staticmethod
    def variables(make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the variables of a new layer, each with the way to it."""
        import jax

        yield from leaves(_plain(make(**said).init(jax.random.key(0), x, **arguments)))

    @staticmethod
    def call(
        make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any], given: dict[Any, Any]
    ) -> tuple[Any, dict[Any, Any]]:
        """Apply a layer to variables made of what is given; return y, and the variables afterwards."""
        variables: dict[str, Any] = {}
        for way, value in given.items():
            if value is not None:
                _put(variables, way, value)
        collections = [name for name in variables if name != "params"]
        y, moved = make(**said).apply(variables, x, mutable=collections, **arguments)
        return y, given | dict(leaves(_plain(moved)))


class Haiku(Called):
    """A haiku.Module, transformed with its state."""

    name, convention, reading = "jax", "", "read as haiku.Module"

    @staticmethod
    def _begun(make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return a new layer as pure functions, and its variables."""
        import haiku
        import jax

        transformed = haiku.transform_with_state(lambda x: make(**said)(x, **arguments))
        params, state = transformed.init(jax.random.key(0), x)
        return transformed, {"params": _plain(params), "state": _plain(state)}

    @classmethod
    def variables(cls, make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the variables of a new layer, each with the way to it."""
        yield from leaves(cls._begun(make, said, x, arguments)[1])

    @classmethod
    def call(
        cls, make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any], given: dict[Any, Any]
    ) -> tuple[Any, dict[Any, Any]]:
        """Apply a layer to variables made of what is given; return y, and the variables afterwards."""
        transformed, variables = cls._begun(make, said, x, arguments)
        for way, value in given.items():
            if value is not None:
                _put(variables, way, value)
        y, moved = transformed.apply(variables["params"], variables["state"], None, x)
        return y, given | dict(leaves({"state": _plain(moved)}))


class Equinox(Called):
    """An equinox.Module that is called with a state, and returns it: ``y, state = layer(x, state)``."""

    name, convention, reading = "jax", "", "read as equinox.Module with its state"

    @staticmethod
    def _indices(layer: Any) -> dict[str, Any]:
        import equinox

        return {n: v for n, v in vars(layer).items() if isinstance(v, equinox.nn.StateIndex)}

    @classmethod
    def _kept(cls, layer: Any, state: Any) -> Iterator[tuple[Any, Any]]:
        """Yield what is in the state: a pair is mean and variance, where it has no names."""
        for name, index in cls._indices(layer).items():
            for way, value in leaves(state.get(index)):
                unnamed = len(way) == 1 and isinstance(way[0], int)
                yield ("state", name, *way, *([("mean", "var")[way[0] % 2]] if unnamed else [])), value

    @classmethod
    def variables(cls, make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the arrays of a new layer and of its state, each with the way to it."""
        import equinox

        layer, state = equinox.nn.make_with_state(make)(**said)
        yield from ((("layer", name), value) for name, value in vars(layer).items())
        yield from cls._kept(layer, state)

    @classmethod
    def call(
        cls, make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any], given: dict[Any, Any]
    ) -> tuple[Any, dict[Any, Any]]:
        """Call a layer with what is given in it and in its state; return y, and both afterwards."""
        import equinox

        layer, state = equinox.nn.make_with_state(make)(**said)
        for way, value in given.items():
            if way[0] == "layer":
                object.__setattr__(layer, way[1], value)
        for name, index in cls._indices(layer).items():
            old = [(way, given.get(way, value)) for way, value in cls._kept(layer, state) if way[1] == name]
            values = tuple(value for _, value in old)
            state = state.set(index, values if len(values) > 1 else values[0])
        y, after = layer(x, state, **arguments)
        return y, given | dict(cls._kept(layer, after))


class Keras:
    """A layer of Keras 3, whose variables another value may stand for while it is called."""

    name, convention, reading = "keras", "keras", "read as a Keras layer"

    @staticmethod
    def method(thing: Any) -> Callable[..., Any]:
        """Return what is called."""
        call: Callable[..., Any] = thing.call
        return call

    @staticmethod
    def _built(make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any]) -> Any:
        takes = inspect.signature(make).parameters
        kind = getattr(x.dtype, "name", str(x.dtype).rpartition(".")[2])
        if "dtype" in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            said = said | {"dtype": kind}
        layer = make(**said)
        if not layer.built:
            layer.build(tuple(x.shape))
        if not layer.weights:
            layer(x, **arguments)
        return layer

    @classmethod
    def variables(cls, make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the variables of a new layer, each with its name."""
        layer = cls._built(make, said, x, arguments)
        for number, variable in enumerate(layer.weights):
            yield (number, variable.name.partition(":")[0].rpartition("/")[2]), variable

    @classmethod
    def call(
        cls, make: Any, said: dict[str, Any], x: Any, arguments: dict[str, Any], given: dict[Any, Any]
    ) -> tuple[Any, dict[Any, Any]]:
        """Call a layer with what is given for its variables; return y, and the variables afterwards."""
        layer = cls._built(make, said, x, arguments)
        variables = {way: layer.weights[way[0]] for way in given}
        y, now = cls._with(
            [(v, given[way]) for way, v in variables.items() if given[way] is not None], layer, x, arguments
        )
        return y, {way: now(variable) for way, variable in variables.items()}

    @staticmethod
    def _with(
        values: list[tuple[Any, Any]], layer: Any, x: Any, arguments: dict[str, Any]
    ) -> tuple[Any, Callable[[Any], Any]]:
        """Call a layer with values in the place of variables: y, and what gives a variable afterwards."""
        import keras

        with keras.StatelessScope(state_mapping=values) as scope:
            return layer(x, **arguments), scope.get_current_value


class KerasTwo(Keras):
    """A layer of Keras 2, which tf-keras keeps, on TensorFlow.

    The row of tf-keras is about its own layer, whose momentum is a float32; what someone wrote has Python's.
    """

    name, convention, reading = "tensorflow", "keras", "read as a layer of tf-keras"

    @staticmethod
    def _with(
        values: list[tuple[Any, Any]], layer: Any, x: Any, arguments: dict[str, Any]
    ) -> tuple[Any, Callable[[Any], Any]]:
        """Call a layer with values assigned to variables, which Keras 2 has no other way for."""
        for variable, value in values:
            variable.assign(value)
        return layer(x, **arguments), lambda variable: variable


def _plain(tree: Tree) -> Tree:
    """Return nested dictionaries of Python's own, for whatever mapping came."""
    return {k: _plain(v) for k, v in tree.items()} if hasattr(tree, "items") else tree


def _put(tree: dict[str, Any], way: Any, value: Any) -> None:
    for step in way[:-1]:
        tree = tree.setdefault(step, {})
    tree[way[-1]] = value
