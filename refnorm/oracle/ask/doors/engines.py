"""Tensors of people's own making, whose operations record a graph and whose `backward` walks it: found and called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from refnorm.oracle.ask.doors.again import used_twice
from refnorm.oracle.ask.doors.binding import NotReadable, parameters_of
from refnorm.oracle.ask.doors.layers import LayerDoor, row
from refnorm.oracle.ask.doors.libraries import LIBRARIES, TENSORS, Library, to_numpy

HOLDS = ("data", "_data", "value", "_value", "array", "_array", "arr", "values", "nd", "cached_data")
KINDS = ("float64", "float32", "float16")
ROLES = ("gamma", "beta")


@dataclass(frozen=True)
class Engine(Library):
    """The tensors of one class, made of arrays; ``way`` goes back from y with dy upstream."""

    kind: type = object
    way: Callable[[Any, Any], Any] = print

    @property
    def words(self) -> str:
        """The name of the class."""
        return self.kind.__name__


def engines_in(scope: Mapping[str, Any]) -> Iterator[Engine]:
    """Yield the classes of tensors that a module defines or imports, each with the way in which it goes back."""
    inside = [value for value in scope.values() if isinstance(value, ModuleType)]
    names = [value for module in inside if _foreign(module.__name__) for value in vars(module).values()]
    for kind in dict.fromkeys(v for v in (*scope.values(), *names) if isinstance(v, type)):
        if callable(getattr(kind, "backward", None)) and hasattr(kind, "__mul__") and _foreign(kind.__module__):
            try:
                yield _engine(kind)
            except Exception:  # of foreign code: it is no tensor, or its gradients are found in another way
                continue


def _foreign(module: str) -> bool:
    return module.partition(".")[0] not in LIBRARIES


def _engine(kind: type) -> Engine:
    """Return how tensors of a class are made, opened and gone back from."""
    flags = {
        p.name: True for p in inspect.signature(kind).parameters.values() if "grad" in p.name and p.default is False
    }
    x, dy = np.arange(6.0).reshape(2, 3), np.array([[1.0, -2.0, 0.5], [4.0, 3.0, -0.25]])
    made = kind(x.copy(), **flags)
    there = [n for n in (*HOLDS, *getattr(made, "__dict__", {})) if np.array_equal(_plain(getattr(made, n, None)), x)]
    TENSORS[kind] = there[0]

    def own(array: Any) -> Any:
        return kind(np.array(array), **flags)

    for way in _ways(kind, own):
        try:
            leaf, other = own(x), own(np.full((2, 3), 2.0))
            way(leaf * other, dy)
            if np.array_equal(to_numpy(leaf.grad), 2 * dy) and np.array_equal(to_numpy(other.grad), x * dy):
                break
        except Exception:  # of foreign code: another way may do
            continue
    else:
        del TENSORS[kind]
        raise NotReadable(f"{kind.__name__}.backward() gives no gradient of a product")
    formats = tuple(name for name in KINDS if to_numpy(own(x.astype(name))).dtype == name)
    return Engine("engine", own, formats or KINDS[:1], kind=kind, way=way)


def _plain(value: Any) -> Any:
    return value if isinstance(value, np.ndarray | list) else None


def _ways(kind: type, own: Callable[[Any], Any]) -> Iterator[Callable[[Any, Any], Any]]:
    """Yield the ways to go back with an upstream gradient: handed over, or as a factor of what is gone back from."""
    if parameters_of(kind.backward, first="")[1:]:  # type: ignore[attr-defined]
        yield lambda y, dy: y.backward(own(dy))
        yield lambda y, dy: y.backward(np.array(dy))
    yield lambda y, dy: (y * own(dy)).sum().backward()
    yield lambda y, dy: (y * own(dy)).backward()


class Tape(NamedTuple):
    """A call that can be made again: what was given, and whether it trained."""

    given: tuple[Any, ...]
    training: bool


class InEngine:
    """A batch normalization over an engine's tensors; each backward has a forward of its own, as a graph is used up."""

    def __init__(self, door: Any, library: Engine) -> None:
        self.door, self.library, self.dtypes, self.sparing = door, library, library.formats, False
        self.derives = f"{library.kind.__name__}.backward()"

    def train(self, *given: Any) -> tuple[Any, ...]:
        """Call in training mode."""
        y, mean, var, _ = self._forward(given, True)
        return *(_array(v) for v in (y, mean, var)), Tape(given, True)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        return _array(self._forward((x, gamma, beta, running_mean, running_var, 0.5, eps), False)[0])

    def frozen(self, *given: Any) -> tuple[Any, Tape]:
        """Call in evaluation mode, for `backward`."""
        tape = Tape((*given[:5], 0.5, given[5]), False)
        return _array(self._forward(*tape)[0]), tape

    def backward(self, dy: Any, cache: Tape) -> tuple[Any, ...]:
        """Call anew, and go back from y."""
        y, _, _, leaves = self._forward(*cache)
        self.library.way(y, dy)
        dx, *rest = (None if leaf is None else _gradient(leaf) for leaf in leaves)
        return dx, *map(row, rest)

    def used_twice(self, *given: Any) -> tuple[Any, ...]:
        """Use one layer twice; see `refnorm.oracle.ask.doors.again`."""
        x, gamma, beta, mean, var, momentum, eps, other, dy = given
        x, gamma, beta, mean, var = (None if a is None else self.library.own(a) for a in (x, gamma, beta, mean, var))

        def gradients(layer: Any, x: Any, y: Any, dy: Any) -> tuple[Any, Any, Any]:
            leaves = [x, *(self.door.slots[role].held(layer) for role in ROLES if role in self.door.slots)]
            for leaf in leaves:
                leaf.grad = None if leaf.grad is None else leaf.grad * 0
            self.library.way(y, to_numpy(dy))
            dx, *rest = map(_gradient, leaves)
            rows = [*map(row, rest), None, None]
            return dx, rows[0], rows[1]

        arrays, own = (x, gamma, beta, mean, var), self.library.own
        return used_twice(self.door, gradients, own, *arrays, momentum, eps, own(other), dy)

    def _forward(self, given: tuple[Any, ...], training: bool) -> tuple[Any, Any, Any, tuple[Any, ...]]:
        """Call; return y, the statistics, and the tensors that x, gamma and beta went in as."""
        own = [None if a is None else self.library.own(a) for a in given[:5]]
        y, mean, var, cache = self.door.forward(*own, *given[5:], training)
        leaves = own[:3]
        if isinstance(self.door, LayerDoor):
            held = [self.door.slots[r].held(cache[0]) if r in self.door.slots else None for r in ROLES]
            leaves = [
                own[0],
                *(h if isinstance(h, self.library.kind) else leaf for h, leaf in zip(held, own[1:3], strict=True)),
            ]
        return y, mean, var, tuple(leaves)


def _array(value: Any) -> Any:
    return None if value is None else np.array(to_numpy(value))


def _gradient(leaf: Any) -> Any:
    """Return the gradient that a tensor was left with; zeros where nothing was left."""
    return np.zeros_like(to_numpy(leaf)) if leaf.grad is None else np.array(to_numpy(leaf.grad))
