"""Find out how a layer is made, set up, called and told to train, and where its gradients are: by doing it."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.binding import (
    CHANNELS,
    FULL,
    NotReadable,
    Parameter,
    best_of,
    gradients_in,
    mode_score,
    parameters_of,
    probe,
)
from refnorm.oracle.ask.doors.declared import ALSO
from refnorm.oracle.ask.doors.layers import LayerDoor, Recorder, makes, outcome
from refnorm.oracle.ask.doors.leaves import Way, flat, leaves, size_of
from refnorm.oracle.ask.doors.libraries import Library
from refnorm.oracle.ask.doors.methods import INFER, SETUP, backwards_of, forwards_of
from refnorm.oracle.ask.doors.modes import Mode, modes_of, modes_outside, words_in
from refnorm.oracle.ask.doors.names import gradient_of, is_running, is_size, role_of
from refnorm.oracle.ask.doors.slots import ROLES, Slot, by_start, found_slots, kept

GRADIENTS = r"(?i)grad|^_?ds?$"  # how a dictionary of gradients is called


def read_layer(
    thing: Any,
    library: Library,
    shape: tuple[int, ...],
    axis: int = 1,
    state: Mapping[str, str] | None = None,
    takes: Mapping[str, str] | None = None,
) -> LayerDoor:
    """Find out, by making and calling it, how a layer is told to train, what it keeps, and where its results are.

    ``axis`` is that of the channels in x. ``state`` names the attributes that hold gamma, beta, mean and var, and
    ``takes`` what its parameters are, where that is declared.

    Raises
    ------
    Exception
        Whatever the layer raises, in the way that comes first.
    """
    constructor = _constructor(thing) if makes(thing) else ()
    begun = tuple(replace(p, role="") if p.role in ROLES and _is_number(thing, p.name) else p for p in constructor)
    named = tuple((state or {}).items())
    return best_of(
        (
            way
            for made in dict.fromkeys((constructor, begun))  # a number may be all that an array begins with
            for way in _attempts(thing, library, made, takes or {})
        ),
        lambda bare: _learned(replace(bare, named=named, at={len(shape): axis}), shape),
        "it has no method that takes x",
    )


def _constructor(thing: Any) -> tuple[Parameter, ...]:
    """Return a constructor's parameters: what stands for nothing else and must be given is the number of channels."""
    found: list[Parameter] = []
    for p in parameters_of(thing, first=""):
        role = p.role
        if role in ("gamma", "beta", "mean", "var") and not p.needed and _is_flag(thing, p.name):
            role = "affine" if role in ("gamma", "beta") else ""
        elif role not in ("gamma", "beta", "mean", "var", "momentum", "eps", "affine", "optimizer", "rank") and (
            is_size(p.name) and (p.needed or role == "")
        ):
            role = "size" if not any(q.role == "size" for q in found) else role
        found.append(replace(p, role=role))
    needed = [k for k, p in enumerate(found) if p.needed and not p.role and p.name != "rngs"]
    if needed and not any(p.role == "size" for p in found):
        found[needed[0]] = replace(found[needed[0]], role="size")
    return tuple(found)


def _is_flag(thing: Any, name: str) -> bool:
    default = inspect.signature(thing).parameters[name].default
    return isinstance(default, bool | str)


def _is_number(thing: Any, name: str) -> bool:
    return isinstance(inspect.signature(thing).parameters[name].default, int | float)


def _attempts(
    thing: Any, library: Library, constructor: tuple[Parameter, ...], takes: Mapping[str, str]
) -> Iterator[LayerDoor]:
    """Yield the ways in which it may be set up, called, and told whether it trains."""
    if inspect.isfunction(thing):
        made = LayerDoor(thing, library, constructor).made(_given(LayerDoor(thing, library), (6, 3)), (6, 3))
        bare = LayerDoor(
            thing, library, constructor, "__call__", parameters_of(getattr(made, "forward", made), first="x")
        )
        for mode in _modes(type(made), made, bare.parameters, "__call__"):
            yield replace(bare, mode=mode)
        return
    kind = thing if isinstance(thing, type) else type(thing)
    for setup in ("", *(name for name in SETUP if callable(getattr(kind, name, None)))):
        for call in forwards_of(kind):
            try:
                parameters = parameters_of(getattr(kind, call), first="")[1:]
                parameters = tuple(replace(p, role=takes.get(p.name, p.role)) for p in parameters)
            except NotReadable:
                continue
            bare = LayerDoor(thing, library, constructor, call, parameters, setup=setup)
            for mode in (*_modes(kind, thing, parameters, call), *([Mode("grad")] if library.name == "torch" else [])):
                yield replace(bare, mode=mode)


def _modes(kind: type, thing: Any, parameters: Sequence[Parameter], call: str) -> Iterator[Mode]:
    codes = [c for k in kind.__mro__ for v in vars(k).values() if (c := getattr(v, "__code__", None)) is not None]
    words = words_in(codes)
    defaults = [d for v in vars(kind).values() for d in getattr(v, "__defaults__", None) or () if isinstance(d, str)]
    for p in parameters:
        yield from modes_of(p.name, p.role, "argument", [*defaults, *words])
    if callable(getattr(kind, "train", None)) and callable(getattr(kind, "eval", None)):
        yield Mode("method", "train")
    for name in switches_of(thing):
        yield from modes_of(name, role_of(name), "switch", words)
    for name in INFER:
        if callable(getattr(kind, name, None)) and name != call:
            yield Mode("name", call, call, name)
    for name in words:
        yield from modes_of(name, role_of(name), "entry", words)
    yield from modes_outside(codes, vars(sys.modules.get(kind.__module__, inspect)))
    yield Mode("")
    yield Mode("switch", "trainable")


def switches_of(thing: Any) -> list[str]:
    """Return attributes that may say whether it trains, of an instance or as the source of a class sets them."""
    names = list(getattr(thing, "__dict__", {})) if not isinstance(thing, type) else []
    kind = thing if isinstance(thing, type) else type(thing)
    for method in (v for k in reversed(kind.__mro__) if k.__module__ == kind.__module__ for v in vars(k).values()):
        names += getattr(getattr(method, "__code__", None), "co_names", ())
    return [
        n
        for n in dict.fromkeys(names)
        if role_of(n) in ("training", "inference", "mode") and not callable(getattr(kind, n, None))
    ]


def _learned(door: LayerDoor, shape: tuple[int, ...]) -> tuple[LayerDoor, int]:
    """Make and call a layer with different statistics: what depends on them tells which result is which."""
    given = _given(door, shape)
    layer = door.made(given, shape)
    slots = found_slots(layer, CHANNELS)
    idle = _scalars(layer)
    sure = door.mode.sure and (door.mode.where != "switch" or door.switched(layer) is not None)
    begun = [(slot, np.array(flat(value))) for slot, name, value in kept(layer, CHANNELS) if not role_of(name)]
    placed, result = _first_call(door, layer, given)
    slots, door = slots | placed, replace(door, placed=tuple(placed))
    slots = by_start(begun, layer, functools.partial(_sways, door, given)) | slots
    slots = slots if {"gamma", "mean"} <= set(slots) else found_slots(layer, CHANNELS) | slots
    for role, name in door.named:
        slots |= {ALSO.get(role, role): slot for slot, own, _ in kept(layer, CHANNELS) if own == name}
    outcome(layer, result, shape)
    slots = _paired(slots, layer)
    new = None
    if not isinstance(result, type(layer)) and isinstance(result, tuple):
        new = next(((k,) for k, part in enumerate(result) if isinstance(part, type(layer))), None)
    door = replace(door, slots=slots, new=new)
    door = replace(door, returned=_returned(door, shape))
    score = 1
    if (counter := _counter(layer, idle)) and "mean" in slots and not _moves(door, shape):
        door = replace(door, counts=counter)
    if "mean" in slots or door.returned:
        score = mode_score(lambda on, shifted: door.forward(**_given(door, shape, shifted), training=on)[0])
        if score < FULL and not sure:
            raise NotReadable(f"it is not known what tells it, by {door.mode.name}, whether it trains")
        if score < FULL and "mean" in slots and not is_running(slots["mean"].name) and not _moves(door, shape):
            door = replace(door, slots={role: slot for role, slot in slots.items() if role not in ("mean", "var")})
    return replace(door, **_backward(door, shape)), score


def _returned(door: LayerDoor, shape: tuple[int, ...]) -> dict[str, Way]:
    """Return where statistics that a layer is called with come back: what differs with them, and is no y."""
    if not {"mean", "var"} <= {p.role for p in door.parameters if p.needed}:
        return {}

    def rows(shifted: str) -> dict[Way, Any]:
        given = _given(door, shape, shifted)
        layer = door.made(given, shape)
        door.fill(layer, given, True)
        found = leaves(door.called(layer, given["x"], True, given))
        return {way: flat(leaf) for way, leaf in found if size_of(leaf) not in (None, shape)}

    plain = rows("")
    moved = {role: [way for way, v in rows(role).items() if np.any(v != plain[way])] for role in ("mean", "var")}
    return {role: ways[0] for role, ways in moved.items()} if all(moved.values()) else {}


def _first_call(door: LayerDoor, layer: Any, given: dict[str, Any]) -> tuple[dict[str, Slot], Any]:
    """Call a layer; a parameter that it has not been given yet, as by a setter, is put where it is looked for."""
    placed: dict[str, Slot] = {}
    while True:
        try:
            return placed, door.called(layer, given["x"], True, given)
        except AttributeError as error:
            role = role_of(error.name or "")
            sets_up = not door.setup and any(callable(getattr(type(layer), name, None)) for name in SETUP)
            if error.obj is not layer or role not in ROLES or role in placed or sets_up:
                raise
            placed[role] = Slot((("attribute", error.name),))
            placed[role].set(layer, given[role])


def _sways(door: LayerDoor, given: dict[str, Any], slot: Slot) -> bool:
    """Whether y changes with what is in a slot."""
    shape = size_of(given["x"]) or ()
    found = []
    for value in (0.5, 2.0):
        try:
            layer = door.made(given, shape)
            slot.set(layer, door.library.own(np.full(CHANNELS, value)))
            found.append(flat(outcome(layer, door.called(layer, given["x"], True, given), shape)))
        except Exception:  # of foreign code
            return False
    return not np.array_equal(*found)


def _counter(layer: Any, idle: Mapping[str, float]) -> str:
    """Return the attribute that counts batches, or says that there was one: 0 in a new layer; "" if there is none."""
    return next((name for name, value in _scalars(layer).items() if value == 1 and idle.get(name) == 0), "")


def _scalars(layer: Any) -> dict[str, float]:
    """Return the numbers that a layer keeps, True and False among them."""
    own = getattr(layer, "__dict__", {})
    single = {n: v for n, v in (own | own.get("_buffers", {})).items() if isinstance(v, bool) or size_of(v) == ()}
    return {name: float(value) for name, value in single.items()}


def _paired(slots: dict[str, Slot], layer: Any) -> dict[str, Slot]:
    """Return slots with both running statistics, or with none: an array with a name of its own may be the other."""
    missing = {"mean", "var"} - set(slots)
    if len(missing) != 1:
        return slots
    taken = set(slots.values())
    free = [s for s, name, _ in kept(layer, CHANNELS) if is_running(name) and not role_of(name) and s not in taken]
    if len(free) == 1:
        return slots | {missing.pop(): free[0]}
    return {role: slot for role, slot in slots.items() if role not in ("mean", "var")}


def _moves(door: LayerDoor, shape: tuple[int, ...]) -> bool:
    """Whether what a layer keeps after training depends on what it kept before: else it is the batch's own."""
    one, other = (door.forward(**_given(door, shape, shifted), training=True)[1] for shifted in ("", "mean"))
    return not np.allclose(flat(one), flat(other), rtol=1e-5, atol=1e-6)  # what is replaced may be so by a sum


def _given(door: LayerDoor, shape: tuple[int, ...], shifted: str = "") -> dict[str, Any]:
    values = (*probe(shape, door.library, shifted), 0.5, 2.0**-10)
    return dict(zip(("x", "gamma", "beta", "mean", "var", "momentum", "eps"), values, strict=True))


def _backward(door: LayerDoor, shape: tuple[int, ...]) -> dict[str, Any]:
    """Find a layer's own backward, and where the gradients of its parameters are after it."""
    kind = door.make if isinstance(door.make, type) else type(door.make)
    closures = inspect.isfunction(door.make)
    name = next(iter(backwards_of(kind)), "backward" if closures else "")
    if not name:
        return {}
    try:
        layer = door.forward(**_given(door, shape), training=True)[3][0]
        if not hasattr(layer, name):
            return {}
        before = {slot: np.array(flat(value)) for slot, _, value in kept(layer, CHANNELS)}
        dy = probe(shape, door.library)[0]
        further = [p for p in parameters_of(getattr(layer, name), first="")[1:] if p.role == "rate"]
        door = replace(door, rate=further[0].name if further else "")
        _, dgamma, dbeta = gradients_in(getattr(layer, name)(dy, **door.at_rate(0.0)), shape)
    except Exception:  # what it raises is judged when it is asked
        return {"back": name, "rate": door.rate}
    found: dict[str, Slot] = {}
    changed = []
    for slot, own, value in kept(layer, CHANNELS):
        if slot in door.slots.values() or (slot in before and np.array_equal(before[slot], flat(value))):
            continue
        role = gradient_of(own) or next(
            (gradient_of(f"d{s}") for _, s in slot.way[:-1] if re.search(GRADIENTS, str(s)) and role_of(own)), ""
        )
        if not role and len(slot.way) > 1 and re.search(r"^_?grad(ient)?s?$", str(slot.way[-1][1])):
            role = role_of(str(slot.way[-2][1]))
        if not role and any(re.search(GRADIENTS, str(step)) for _, step in slot.way[:-1]):
            role = role_of(own)
        changed.append(slot)
        if role in ("gamma", "beta") and role not in found:
            found[role] = slot
    recorded = any(isinstance(v, Recorder) and v.given for v in getattr(layer, "__dict__", {}).values())
    use = dgamma is None and dbeta is None
    recorded = recorded and use and not found
    return {"back": name, "rate": door.rate, "gradients": found if use else {}, "recorded": recorded}
