"""Read one thing, a function, class, instance or declaration: by the library, ranks and axis that it takes."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.binding import NotReadable, Parameter, parameters_of, probe
from refnorm.oracle.ask.doors.declared import Declared
from refnorm.oracle.ask.doors.derived import SHAPES, Doors, engine_of, finished
from refnorm.oracle.ask.doors.functions import FunctionDoor, read_function
from refnorm.oracle.ask.doors.layers import makes
from refnorm.oracle.ask.doors.libraries import LIBRARIES, Library, lists, to_numpy, used_by
from refnorm.oracle.ask.doors.looks import backward_of, is_function, looks_like_a_function, partner_for_inference
from refnorm.oracle.ask.doors.read_layer import read_layer
from refnorm.oracle.ask.doors.through import Through
from refnorm.oracle.ask.doors.variables import Equinox, Haiku, Keras, KerasTwo, Linen, read_variables
from refnorm.oracle.ask.troubled import exhausted

ROWS = r"\b[NBM]\s*,\s*[DCFKM]\b|(?i:\b(batch(_?size)?|samples|examples|rows)\b\s*,|\brows\b)"
WHOLE = 0.9  # of a channel's values change where one does, but for those that rounding leaves as they were


def read_thing(thing: Any, scope: dict[str, Any]) -> Through:
    """Read one thing: a function, a class, an instance, or what is declared."""
    if isinstance(thing, Declared):
        return through_declared(thing, scope)
    if inspect.ismethod(thing):
        scope = scope | {n: getattr(thing.__self__, n) for n, v in vars(type(thing.__self__)).items() if callable(v)}
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(thing, type) and issubclass(thing, torch.autograd.Function):
        return through_autograd(thing, scope)
    if isinstance(thing, type) and isinstance(inspect.getattr_static(thing, "forward", None), staticmethod):
        own = {name: getattr(thing, name) for name, v in vars(thing).items() if isinstance(v, staticmethod)}
        return through_function(own["forward"], scope | own)
    if (
        inspect.isfunction(thing)
        and not looks_like_a_function(thing)
        and makes(thing)
        and not any(p.role == "x" for p in parameters_of(thing, first=""))
    ):
        return through_layer(thing, scope)
    if not isinstance(thing, type) and (
        is_function(thing)
    ):
        return through_function(thing, scope)
    return through_layer(thing, scope)


def through_function(function: Callable[..., Any], scope: dict[str, Any]) -> Through:
    """Read a function, with the backward that stands beside it."""
    bare = FunctionDoor(function, holding(parameters_of(function)))
    unbound = [p.name for p in bare.parameters if p.needed and p.role in ("", "dtype", "axis", "rank", "count", "std")]
    if unbound:
        raise NotReadable(f"it is not known what {', '.join(unbound)} {'is' if len(unbound) == 1 else 'are'}")
    library, doors = _opened(_reading(bare), used_by(function, scope), spread=True, columns=not by_rows(function))
    door = doors[min(doors)][0]
    if library.name == "numpy" and isinstance(
        door.forward(*probe(taken_shape(doors), library), 0.5, 2.0**-10, True)[0], list
    ):
        library = lists()
    return _function(doors, library, backward_of(function, scope), scope)


def holding(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Return a function's parameters; where none of them is gamma, one of an unknown name may hold it."""
    if {"gamma", "beta", "params", "state"} & {p.role for p in parameters}:
        return parameters
    known = [k for k, p in enumerate(parameters) if p.needed and p.role in ("", "which")]
    return tuple(replace(p, role="params") if known[:1] == [k] else p for k, p in enumerate(parameters))


def taken_shape(doors: Doors) -> tuple[int, ...]:
    """Return a shape that the first of some doors takes."""
    return turned(next(s for s in SHAPES if len(s) == min(doors)), doors[min(doors)][1])


def by_rows(thing: Any) -> bool:
    """Whether the source of a function or class says that samples are rows: then (features, samples) is not tried."""
    try:
        return bool(re.search(ROWS, inspect.getsource(thing)))
    except (OSError, TypeError):
        return False


def turned(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Return a shape with the channels, which are on axis 1, on another one."""
    rest = [shape[0], *shape[2:]]
    rest.insert(axis % len(shape), shape[1])
    return tuple(rest)


def elsewhere(doors: Doors) -> dict[int, int]:
    """Return the axis that the channels are on, by rank of x, where it is not 1."""
    return {rank: axis for rank, (_, axis) in doors.items() if axis != 1}


def _reading(bare: FunctionDoor) -> Callable[..., FunctionDoor]:
    def read(library: Library, shape: tuple[int, ...], axis: int, spread: bool = False) -> FunctionDoor:
        ranks = frozenset([len(shape)] if spread else [])
        return read_function(replace(bare, spread=ranks), library, shape)

    return read


def _opened(
    read: Callable[..., Any],
    libraries: list[Library],
    last: bool = False,
    spread: bool = False,
    columns: bool = False,
) -> tuple[Library, Doors]:
    """Return the first library whose arrays are taken, and by rank how, and where the channels are.

    With ``spread``, parameters of shape (1, C, 1, 1) are tried where rows of them are not taken. With ``columns``, x of
    shape (features, samples) is tried where statistics of the columns of (samples, features) are not taken.

    Raises
    ------
    Exception
        Whatever was raised first, if nothing is taken.
    """
    first_error: Exception | None = None
    for library in libraries:
        doors: Doors = {}
        for shape in SHAPES:
            ways: list[tuple[int, dict[str, bool]]] = [(-1, {})] if last and len(shape) > 2 else [(1, {})]
            rows = None
            if len(shape) == 2 and columns:
                ways += [*([(0, {"spread": True})] if spread else []), (0, {})]
            if len(shape) > 2 and not last:
                first = any(axis == 1 for rank, (_, axis) in doors.items() if rank > 2)  # then in every rank
                ways += [*([(1, {"spread": True})] if spread else []), *([] if first else [(-1, {})])]
            for axis, how in ways:
                own = turned(shape, axis)
                try:
                    door = read(library, own, axis, **how)
                    if not _keeps(door, library, own, axis, alone=2 not in doors):
                        rows = door if len(shape) == 2 and axis == 1 else rows
                        continue
                except Exception as error:  # of foreign code: another library, or rank, may do
                    if exhausted(error):
                        raise
                    first_error = first_error or error
                    continue
                doors[len(shape)] = door, axis
                break
            else:
                if rows is not None:
                    doors[2] = rows, 1  # statistics across channels: a fault, which is left to the judge
            if doors.get(2, (None, 1))[1] == 0:
                break
        if doors:
            return library, doors
    raise first_error or NotReadable("it cannot be called")


def _keeps(door: Any, library: Library, shape: tuple[int, ...], axis: int, alone: bool) -> bool:
    """Whether channels are on this axis: a change of one value leaves the y of other channels as it was.

    Code for rows that is given maps may take each place in them for a channel: it does not take maps. Where it takes
    no rows, ``alone``, that is a fault, and is left to the judge. Code for maps that is given volumes may take a place
    along their last axis for a channel: where parameters have the rank of x, that is known, and it takes no volumes.
    """
    x, *rest = probe(shape, library)
    other = np.array(to_numpy(x))
    other[(0,) * other.ndim] += 1.5
    settings = (0.5, 2.0**-10, True)
    y, changed = (np.asarray(to_numpy(door.forward(v, *rest, *settings)[0])) for v in (x, library.own(other)))
    moved = np.moveaxis(y != changed, axis, 0)
    if len(shape) == 2 and axis == 1:
        return not moved[1:].any()
    if axis == 0 or len(shape) in getattr(door, "spread", ()):
        return bool(not moved[1:].any() and np.mean(moved[0]) > WHOLE)
    shared = moved[0].reshape(len(x), -1)[:, 1:].any()  # each place in a map alone is no batch norm of channels
    return bool(not moved[1:].any() and ((axis == 1 and alone) or shared))


def _function(doors: Doors, library: Library, partner: Any, scope: dict[str, Any]) -> Through:
    """Return a function as the judge calls it, once it is known how."""
    spread = frozenset().union(*(d.spread for d, _ in doors.values()))
    door = replace(doors[min(doors)][0], spread=spread)
    if partner is not None:
        door = replace(door, back=partner, back_parameters=parameters_of(partner, first="dy"))
    inference = partner_for_inference(door.function, scope)
    if inference is not None:
        door = replace(door, inference=inference, inference_parameters=parameters_of(inference))
    roles = door.roles
    statistics = door.mean is not None or door.var is not None
    infers = inference is not None or (bool({"mean", "var"} & roles) and str(door.mode) != "")
    engine = engine_of(door, library, by_hand=partner is not None)
    words = (
        f"read as a {'JAX' if library.name == 'jax' else library.name} function"
        if library.name in ("torch", "cupy", "jax", "keras", "tensorflow")
        else "read as a function"
    )
    if library.name == "lists":
        words += " of lists of lists"
    words += f" of {', '.join(p.name for p in door.parameters if p.role)}"
    if str(door.mode):
        words += f"; {door.mode}"
    if inference is not None:
        words += f"; inference by {inference.__name__}"
    if partner is not None:
        words += f"; gradients by {partner.__name__}"
    if spread:
        words += "; parameters of shape " + ", ".join(
            "(C, 1)" if rank == 2 else f"(1, C{', 1' * (rank - 2)})" for rank in sorted(spread)
        )
    return finished(
        door, engine, library, words, elsewhere(doors), infers, statistics, roles
    )


def through_layer(thing: Any, scope: dict[str, Any]) -> Through:
    """Read a class or an instance."""
    kind = thing if isinstance(thing, type) else type(thing)
    if (special := special_kind(kind)) is not None:
        library, doors = _opened(
            lambda library, own, _: read_variables(thing, special, library, own), [LIBRARIES[special.name]()]
        )
        return _variables(doors, library, special)
    library, doors = _opened(
        lambda library, own, axis: read_layer(thing, library, own, axis), used_by(kind, scope), columns=not by_rows(kind)
    )
    return _layer(doors, library, kind)


def special_kind(kind: type) -> Any:
    """Return how a framework's own kind of layer is read; None for what is read as any class is."""
    for module, name, special in (
        ("flax.linen", "Module", Linen),
        ("haiku", "Module", Haiku),
        ("keras", "Layer", Keras),
        ("tf_keras.layers", "Layer", KerasTwo),
        ("equinox", "Module", Equinox),
    ):
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and issubclass(kind, found):
            with_state = special is not Equinox or "state" in inspect.signature(kind.__call__).parameters
            return special if with_state else None
    return None


def _variables(doors: Doors, library: Library, special: Any) -> Through:
    door = doors[min(doors)][0]
    names = ", ".join(str(way[-1]) for _, way in door.names)
    words = f"{special.reading}: {names or 'nothing kept'}" + (f"; {door.mode}" if str(door.mode) else "")
    statistics = {"mean", "var"} <= door.roles
    engine = engine_of(door, library, by_hand=False)
    return finished(door, engine, library, words, elsewhere(doors), statistics, statistics, door.roles, special.convention)


def _layer(doors: Doors, library: Library, kind: type) -> Through:
    door = replace(doors[min(doors)][0], at=elsewhere(doors))
    module = is_torch_module(kind)
    by_hand = bool(door.back) and not module
    engine = engine_of(door, library, by_hand)
    statistics = {"mean", "var"} <= set(door.slots)
    words = (
        "read as torch.nn.Module"
        if module
        else f"read as a layer of {library.name}"
        if library.name not in ("numpy", "lists")
        else "read as a layer"
    )
    words += f": {', '.join(slot.name for slot in door.slots.values()) or 'nothing kept'}"
    if str(door.mode):
        words += f"; {door.mode}"
    if by_hand:
        words += f"; gradients by .{door.back}()"
    return finished(door, engine, library, words, elsewhere(doors), statistics, statistics, door.roles, "torch" if module else "")


def is_torch_module(kind: type) -> bool:
    """Whether a class is a torch.nn.Module."""
    torch = sys.modules.get("torch")
    return torch is not None and issubclass(kind, torch.nn.Module)


def through_autograd(kind: Any, scope: dict[str, Any]) -> Through:
    """Read a torch.autograd.Function: ``apply`` with the parameters of ``forward``; a backward that is written out.

    What it saves for its backward was computed without a graph: a derivative of the backward is not asked for.
    """
    context = [] if "setup_context" in vars(kind) else [0]
    parameters = [p for k, p in enumerate(inspect.signature(kind.forward).parameters.values()) if k not in context]

    def apply(**said: Any) -> Any:
        return kind.apply(*(said.get(p.name, p.default) for p in parameters))

    apply.__name__, apply.__signature__ = kind.__name__, inspect.Signature(parameters)  # type: ignore[attr-defined]
    read = through_function(apply, scope)
    read.reading = read.reading.replace("read as a torch function", "read as torch.autograd.Function")
    for name in ("double_backward", *(() if "jvp" in vars(kind) else ("jvp",))):
        vars(read).pop(name, None)
    return read


def through_declared(declared: Declared, scope: dict[str, Any]) -> Through:
    """Read what is declared: the words of whoever wrote it go before names and before what is tried."""
    thing, takes, last = declared.thing, declared.takes, declared.last
    if isinstance(thing, type) or not inspect.isroutine(thing):
        if makes(thing) and isinstance(thing, type):
            thing = with_fixed(thing, declared.fixed)
        kind = declared.thing if isinstance(declared.thing, type) else type(declared.thing)
        library, doors = _opened(
            lambda library, own, axis: read_layer(thing, library, own, axis, declared.state, takes), used_by(kind, scope), last
        )
        return _layer(doors, library, kind)
    bare = FunctionDoor(with_fixed(thing, declared.fixed), parameters_of(thing))
    if takes is not None:
        bare = replace(bare, parameters=tuple(Parameter(n, r.replace("?", ""), False) for n, r in takes.items()))
    library, doors = _opened(_reading(bare), used_by(thing, scope), last, spread=True)
    if gives := declared.gives:
        where: dict[str, Any] = {role: (k,) if len(gives) > 1 else () for k, role in enumerate(gives)}
        rest = (where["cache"],) if "cache" in where else ()
        told = {"y": where["y"], "mean": where.get("mean"), "var": where.get("var"), "rest": rest}
        doors = {rank: (replace(door, **told), axis) for rank, (door, axis) in doors.items()}
    partner = declared.back or backward_of(thing, scope)
    return _function(doors, library, partner, scope)


def with_fixed(thing: Any, fixed: Mapping[str, Any]) -> Any:
    """Return a function or class with some arguments always passed so."""
    if not fixed:
        return thing

    @functools.wraps(thing, updated=())
    def called(*arguments: Any, **named: Any) -> Any:
        return thing(*arguments, **{**named, **fixed})

    signature = inspect.signature(thing)
    left = [p for name, p in signature.parameters.items() if name not in fixed]
    called.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
    return called
