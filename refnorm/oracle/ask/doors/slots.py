"""Where a layer keeps its parameters and running statistics: found by name and size, set and read in its own shape."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.leaves import size_of
from refnorm.oracle.ask.doors.libraries import kept_in, to_numpy
from refnorm.oracle.ask.doors.names import gradient_of, is_running, role_of

ROLES = ("gamma", "beta", "mean", "var")
DICTIONARIES = ("_parameters", "_buffers")  # of a torch.nn.Module
INNER = ("_modules", "memory")  # of a torch.nn.Module, and of a function that remembers
SETTERS = ("set_value", "assign")  # of a framework's variable
WRAPPED = ("value", "data", "_value", "_data")  # where a variable, of a framework or people's own, keeps its array
DEPTH = 3
PAIRS = {  # what two arrays in a list are, by what it stands for
    "params": ("gamma", "beta"), "grads": ("dgamma", "dbeta"), "state": ("running_mean", "running_var"),
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """The way from a layer to one array that it keeps: attributes, and keys of dictionaries, in a row."""

    way: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The last name on the way that is no dictionary of torch's."""
        names = [step for _, step in self.way if isinstance(step, str)]
        return names[-1] if names[-1] == self.way[-1][1] else f"{names[-1]}[{self.way[-1][1]}]"

    @property
    def of_parameter(self) -> bool:
        """Whether it is the gradient that a parameter keeps: whoever holds the parameter clears it, as an optimizer."""
        return len(self.way) > 1 and self.way[-1] == ("attribute", "grad")

    def holder(self, layer: Any) -> Any:
        """Return what holds the array."""
        for kind, step in self.way[:-1]:
            layer = _inside(layer, kind, step)
        return layer

    def get(self, layer: Any) -> Any:
        """Return what is there now; a variable is opened."""
        try:
            return _opened(_inside(self.holder(layer), *self.way[-1]))
        except (AttributeError, KeyError, ValueError):  # it is made when the layer is called
            return None

    def held(self, layer: Any) -> Any:
        """Return what is there now, as it is: a variable, or an array."""
        kind, step = self.way[-1]
        if kind == "cell":
            return self.get(layer)
        holder = self.holder(layer)
        return getattr(holder, step, None) if kind == "attribute" else holder[step]

    def set(self, layer: Any, row: Any) -> None:
        """Put an array of one value per channel there, in the shape that the layer has it."""
        kind, step = self.way[-1]
        holder, old = self.holder(layer), self.held(layer)
        if name := kept_in(row):
            row = to_numpy(row)
            if kept_in(old):
                setattr(old, name, row.reshape(_shape(size_of(old) or (1,))))
                return
        shape = size_of(_opened(old))
        if row is not None and shape is not None and len(shape) != 1:
            row = np.reshape(row, _shape(shape)) if isinstance(row, list) else row.reshape(_shape(shape))
        if row is not None and any(hasattr(old, setter) for setter in SETTERS):
            getattr(old, next(setter for setter in SETTERS if hasattr(old, setter)))(row)
        elif _opened(old) is not old and row is not None:
            setattr(old, next(name for name in WRAPPED if size_of(getattr(old, name, None)) is not None), row)
        elif kind == "key":
            holder[step] = row
        elif kind == "cell":
            _cells(holder)[step].cell_contents = row
        else:
            try:
                setattr(holder, step, row)
            except AttributeError:  # frozen, as a dataclass may be: it is a layer of our own making
                object.__setattr__(holder, step, row)


def _inside(holder: Any, kind: str, step: Any) -> Any:
    if kind == "cell":
        return _cells(holder)[step].cell_contents
    return getattr(holder, step) if kind == "attribute" else holder[step]


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if n == 1 else -1 for n in shape) if any(n != 1 for n in shape) else (1,) * (len(shape) - 1) + (-1,)


def _opened(value: Any) -> Any:
    """Return the array in a variable; an array as it is."""
    if hasattr(value, "get_value") and hasattr(value, "set_value"):
        return value.get_value()
    if size_of(value) is None and value is not None:
        for name in WRAPPED:
            with contextlib.suppress(Exception):
                if size_of(getattr(value, name, None)) is not None:
                    return getattr(value, name)
    return value


def own_slots(layer: Any) -> dict[str, Slot]:
    """Return the slots of a layer that is made already, whatever its number of channels is."""
    sizes = Counter(int(np.prod(size_of(v) or ())) for _, name, v in kept(layer, None) if role_of(name) in ROLES)
    return found_slots(layer, sizes.most_common(1)[0][0]) if sizes else {}


def kept(layer: Any, channels: int | None) -> Iterator[tuple[Slot, str, Any]]:
    """Yield every array of one value per channel that a layer keeps: its slot, its name, and what it holds.

    Where the number of channels is not known, every array that it keeps.
    """
    yield from _kept(layer, channels, (), DEPTH)


def _kept(
    holder: Any, channels: int | None, way: tuple[tuple[str, Any], ...], depth: int
) -> Iterator[tuple[Slot, str, Any]]:
    if depth == 0:
        return
    around = [str(step) for _, step in way]
    for kind, step, name, value in _members(holder, around):
        here = (*way, (kind, step))
        if isinstance(value, dict) or (isinstance(value, list) and _named([*around, name], value)):
            yield from _kept(value, channels, here, depth - (name not in (*DICTIONARIES, *INNER)))
            continue
        opened = _opened(value)
        shape = size_of(opened)
        if shape is None:
            if value is not None and hasattr(value, "__dict__") and not isinstance(value, type) and _own(value):
                yield from _kept(value, channels, here, depth - 1)
        elif channels in (None, int(np.prod(shape))) and 0 < len(shape) <= 5:
            yield Slot(here), name, opened
            inner = None if opened is value else getattr(value, "grad", None)
            if size_of(inner) == shape:
                yield Slot((*here, ("attribute", "grad"))), "grad", inner


def _members(holder: Any, around: list[str]) -> Iterator[tuple[str, Any, str, Any]]:
    """Yield what is in a dictionary, a list or an object: which kind of step leads there, the step, a name, the value.

    ``around`` are the names of the holder, and of what it is in.
    """
    if isinstance(holder, dict):
        yield from (("key", name, name, value) for name, value in holder.items() if isinstance(name, str))
    elif isinstance(holder, list):
        yield from (("key", k, name, holder[k]) for k, name in enumerate(_named(around, holder)))
    else:
        yield from (("attribute", name, name, value) for name, value in getattr(holder, "__dict__", {}).items())
        for name, cell in _cells(holder).items():
            with contextlib.suppress(ValueError):  # one that is empty yet
                yield "cell", name, name, cell.cell_contents
        for name in getattr(type(holder), "__slots__", ()):
            if hasattr(holder, name):
                yield "attribute", name, name, getattr(holder, name)


def _cells(function: Any) -> dict[str, Any]:
    """Return what a function closes over, by name: each in a cell that can be read and written."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    return dict(zip(code.co_freevars, cells, strict=True)) if code is not None and cells else {}


def _named(around: list[str], value: list[Any]) -> tuple[str, ...]:
    """Return names for what is in a list of arrays: its own, of one per layer; of two, by what the list stands for.

    ``around`` are the names of the list, and of what it is in: the innermost that is running names two of no role.
    """
    if not any(size_of(v) for v in value):
        return ()
    name = around[-1]
    if not role_of(name):
        name = next((n for n in reversed(around) if is_running(n)), name)
    if role_of(name) in ROLES or gradient_of(name) in ROLES:
        return (name,) * len(value)
    if len(value) != len(PAIRS["params"]):
        return ()
    pair = "grads" if "grad" in name.lower() else "state" if is_running(name) else role_of(name)
    return PAIRS.get(pair, ())


def _own(value: Any) -> bool:
    """Whether an attribute is a layer or a parameter of the same making, or a function that closes over some."""
    inside = hasattr(value, "forward") or hasattr(value, "parameters") or bool(_cells(value))
    return not callable(value) or inside


def by_start(begun: list[tuple[Slot, Any]], layer: Any, sways: Callable[[Slot], bool]) -> dict[str, Slot]:
    """Return the slots of what has no telling name, by what it begins with and whether training has moved it since.

    Ones stay for gamma, zeros for beta; zeros that move are a mean, ones a variance. Of several that stay, it is the
    one that ``sways`` y. Where two arrays begin and move alike, neither is known.
    """
    found: dict[str, list[Slot]] = {}
    for slot, values in begun:
        value = slot.get(layer)
        if size_of(value) is None or not (np.all(values == 0) or np.all(values == 1)):
            continue
        moved = not np.array_equal(np.asarray(to_numpy(value)).reshape(-1), values)
        role = {(True, False): "gamma", (False, False): "beta", (False, True): "mean", (True, True): "var"}
        found.setdefault(role[bool(values[0]), moved], []).append(slot)
    for parameter in ("gamma", "beta"):
        if len(found.get(parameter, ())) > 1:
            found[parameter] = [slot for slot in found[parameter] if sways(slot)]
    return {role: slots[0] for role, slots in found.items() if len(slots) == 1}


def found_slots(layer: Any, channels: int) -> dict[str, Slot]:
    """Return the slots of gamma, beta, running mean and variance, by role; what is not found is left out."""
    found: dict[str, tuple[bool, Slot]] = {}
    for slot, name, _ in kept(layer, channels):
        role = role_of(name)
        if role not in ROLES or (gradient_of(name) and not is_running(name)):
            continue
        running = is_running(name)
        if role not in found or (running and role in ("mean", "var") and not found[role][0]):
            found[role] = running, slot
    return {role: slot for role, (_, slot) in found.items()}
