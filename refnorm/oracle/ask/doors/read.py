"""Read one thing, a function, class, instance or declaration: by the library, ranks and axis that it takes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from refnorm.oracle.ask.doors.at_once import applied, at_once, by_name, instances_of, scripted, with_context
from refnorm.oracle.ask.doors.binding import NotReadable, Parameter, parameters_of, probe
from refnorm.oracle.ask.doors.configured import as_constructed, told_apart
from refnorm.oracle.ask.doors.declared import Declared
from refnorm.oracle.ask.doors.derived import SHAPES, Doors, engine_of, finished, only_infers
from refnorm.oracle.ask.doors.functions import FunctionDoor, read_function
from refnorm.oracle.ask.doors.layers import makes
from refnorm.oracle.ask.doors.libraries import LIBRARIES, Library, lists, used_by
from refnorm.oracle.ask.doors.looks import (
    backward_of,
    is_function,
    looks_like_a_function,
    name_in,
    partner_for_inference,
)
from refnorm.oracle.ask.doors.modes import ALWAYS
from refnorm.oracle.ask.doors.names import in_small
from refnorm.oracle.ask.doors.outs import filled
from refnorm.oracle.ask.doors.read_layer import read_layer, switches_of
from refnorm.oracle.ask.doors.remembering import memory_of, remembering
from refnorm.oracle.ask.doors.taken import by_columns, elsewhere, opened, taken_shape
from refnorm.oracle.ask.doors.through import Through
from refnorm.oracle.ask.doors.variables import Equinox, Haiku, Keras, KerasTwo, Linen, read_variables
from refnorm.oracle.ask.troubled import exhausted

FROZEN = r"froz|freez|fixed|infer|eval(?!uat)"


def read_thing(thing: Any, scope: dict[str, Any]) -> Through:
    """Read one thing: a function, a class, an instance, or what is declared."""
    if isinstance(thing, Declared):
        return through_declared(thing, scope)
    thing = scripted(thing)
    if inspect.ismethod(thing):
        scope = scope | {n: getattr(thing.__self__, n) for n, v in vars(type(thing.__self__)).items() if callable(v)}
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(thing, type) and issubclass(thing, torch.autograd.Function):
        return through_autograd(thing, scope)
    if isinstance(thing, type) and (function := with_context(thing, scope)) is not None:
        return through_function(function, scope)
    if isinstance(thing, type) and isinstance(inspect.getattr_static(thing, "forward", None), staticmethod):
        own = {name: getattr(thing, name) for name, v in vars(thing).items() if isinstance(v, staticmethod)}
        return through_function(own["forward"], scope | own)
    if (
        inspect.isfunction(thing)
        and not looks_like_a_function(thing)
        and makes(thing)
        and not any(p.role == "x" for p in parameters_of(thing, first=""))
    ):
        pure = applied(thing)
        return through_layer(thing, scope) if pure is None else through_function(pure, scope)
    if not isinstance(thing, type) and (is_function(thing)):
        return through_function(thing, scope)
    return through_layer(thing, scope)


def through_function(function: Callable[..., Any], scope: dict[str, Any]) -> Through:
    """Read a function, with the backward that stands beside it."""
    function = filled(told_apart(by_name(at_once(function))))
    own = parameters_of(function)
    parameters = holding(own)
    names = memory_of(function) if not {p.role for p in own} & {"mean", "var", "state"} else []
    if names:
        read = through_layer(remembering(function, parameters, names), scope)
        read.reading = read.reading.replace("read as a layer", "read as a function that remembers, as a layer does", 1)
        return read
    bare = FunctionDoor(function, parameters)
    nothing = ("", "dtype", "axis", "rank", "count", "std")
    if any(p.needed and p.role in nothing for p in bare.parameters):
        unbound = [p.name for p in own if p.needed and p.role in nothing]
        raise NotReadable(f"it is not known what {', '.join(unbound)} {'is' if len(unbound) == 1 else 'are'}")
    x = next((p.name for p in parameters if p.role == "x"), "x")
    guessed = [p.name for p, q in zip(own, parameters, strict=True) if p.role != q.role == "state"]
    try:
        library, doors = opened(_reading(bare), used_by(function, scope), spread=True, columns=by_columns(function, x))
    except Exception as error:
        if exhausted(error) or not guessed:
            raise
        raise NotReadable(f"it is not known what {guessed[0]} is") from error
    door = doors[min(doors)][0]
    if library.name == "numpy" and isinstance(
        door.forward(*probe(taken_shape(doors), library), 0.5, 2.0**-10, True)[0], list
    ):
        library = lists()
    return _function(doors, library, backward_of(function, scope), scope)


def holding(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Return a function's parameters; where none is gamma, or a statistic, one of an unknown name may hold it."""
    roles = {p.role for p in parameters}
    if not {"gamma", "beta", "params", "state"} & roles:
        known, held = [k for k, p in enumerate(parameters) if p.needed and p.role in ("", "which")], "params"
    elif not {"mean", "var", "params", "state"} & roles:
        known, held = [k for k, p in enumerate(parameters) if p.needed and not p.role], "state"
    else:
        return parameters
    return tuple(replace(p, role=held) if known[:1] == [k] else p for k, p in enumerate(parameters))


def _reading(bare: FunctionDoor) -> Callable[..., FunctionDoor]:
    def read(library: Library, shape: tuple[int, ...], axis: int, spread: bool = False) -> FunctionDoor:
        ranks = frozenset([len(shape)] if spread else [])
        return read_function(replace(bare, spread=ranks), library, shape)

    return read


def _function(doors: Doors, library: Library, partner: Any, scope: dict[str, Any]) -> Through:
    """Return a function as the judge calls it, once it is known how."""
    spread = frozenset().union(*(d.spread for d, _ in doors.values()))
    door = replace(doors[min(doors)][0], spread=spread)
    if partner is not None:
        back = filled(by_name(partner))
        door = replace(door, back=back, back_parameters=parameters_of(back, first="dy"))
    inference = partner_for_inference(door.function, scope)
    if inference is not None:
        door = replace(door, inference=inference, inference_parameters=parameters_of(inference))
    roles = door.roles
    statistics = door.mean is not None or door.var is not None
    told = {"training", "inference", "mode", "momentum", "state", "track"} & {p.role for p in door.parameters}
    trains = inference is not None or bool(told) or not only_infers(door, library, taken_shape(doors))
    if not trains:
        door = replace(door, mode=ALWAYS)
    infers = inference is not None or not trains or (bool({"mean", "var"} & roles) and str(door.mode) != "")
    by_hand = partner is not None or (door.pullback is not None and library.name in ("numpy", "lists", "cupy"))
    engine = engine_of(door, library, by_hand)
    words = (
        f"read as a {'JAX' if library.name == 'jax' else library.words} function"
        if library.name in ("torch", "cupy", "jax", "keras", "tensorflow", "engine")
        else "read as a function"
    )
    if library.name == "lists":
        words += " of lists of lists"
    words += f" of {', '.join(p.name for p in door.parameters if p.role)}"
    if str(door.mode):
        words += f"; {door.mode}"
    if inference is not None:
        words += f"; inference by {name_in(scope, inference)}"
    if partner is not None:
        words += f"; gradients by {name_in(scope, partner)}"
    elif by_hand:
        words += "; gradients by the function that comes back"
    if spread:
        words += "; parameters of shape " + ", ".join(
            "(C, 1)" if rank == 2 else f"(1, C{', 1' * (rank - 2)})" for rank in sorted(spread)
        )
    words += _places(doors)
    return finished(door, engine, library, words, elsewhere(doors), infers, statistics, roles, trains=trains)


def through_layer(thing: Any, scope: dict[str, Any]) -> Through:
    """Read a class or an instance."""
    thing = instances_of(thing) if isinstance(thing, type) else thing
    kind = thing if isinstance(thing, type) else type(thing)
    if (special := special_kind(kind)) is not None:
        library, doors = opened(
            lambda library, own, _: read_variables(thing, special, library, own), [LIBRARIES[special.name]()]
        )
        return _variables(doors, library, special)
    initialised(thing)
    first_error: Exception | None = None
    for made, fixed in as_constructed(thing) if isinstance(thing, type) else [(thing, "")]:
        try:
            library, doors = opened(functools.partial(read_layer, made), used_by(kind, scope), columns=by_columns(kind))
        except Exception as error:  # of foreign code: another way may do
            if exhausted(error):
                raise
            first_error = error
            continue
        return _layer(doors, library, kind, fixed)
    raise first_error or NotReadable("it cannot be called")


def initialised(thing: Any) -> None:
    """Let a lazy layer of torch make its parameters, which it does when it is called first."""
    if isinstance(thing, type) or not getattr(thing, "has_uninitialized_params", bool)():
        return
    torch = sys.modules["torch"]
    for shape in SHAPES:
        with contextlib.suppress(Exception):  # it takes other ranks
            thing(torch.zeros(shape))
            return


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
    infers = statistics and str(door.mode) != ""
    engine = engine_of(door, library, by_hand=False)
    return finished(door, engine, library, words, elsewhere(doors), infers, statistics, door.roles, special.convention)


def _layer(doors: Doors, library: Library, kind: type, fixed: str = "") -> Through:
    door = replace(doors[min(doors)][0], at=elsewhere(doors))
    trains = about_training(kind, door) or not only_infers(door, library, taken_shape(doors))
    if not trains:
        door = replace(door, mode=ALWAYS)
    module = is_torch_module(kind)
    by_hand = bool(door.back) and not module
    engine = engine_of(door, library, by_hand)
    statistics = {"mean", "var"} <= set(door.slots) | set(door.returned)
    words = (
        "read as torch.nn.Module"
        if module
        else f"read as a layer of {library.words}"
        if library.name not in ("numpy", "lists")
        else "read as a layer"
    )
    called_with = [p.name for p in door.parameters if p.role in door.returned]
    words += f": {', '.join([*(slot.name for slot in door.slots.values()), *called_with]) or 'nothing kept'}"
    infers = statistics and (not trains or str(door.mode) != "")
    if str(door.mode):
        words += f"; {door.mode}"
    elif statistics and trains:
        words += "; nothing was found that tells it to infer"
    words += fixed + _places(doors)
    if door.counts:
        words += f"; each batch as the second, by {door.counts}"
    if by_hand:
        words += f"; gradients by .{door.back}()"
    at, row = elsewhere(doors), row_of(kind)
    return finished(door, engine, library, words, at, infers, statistics, door.roles, row, trains)


def _places(doors: Doors) -> str:
    apart = set(doors.apart) - set(doors)
    return "; where x has more axes it normalizes place by place, which is not judged" if apart else ""


def about_training(kind: type, door: Any) -> bool:
    """Whether a layer has a word for training, or for how its statistics move: then it is meant to train."""
    if re.search(FROZEN, in_small(kind.__name__)):
        return False
    told = {p.role for p in (*door.constructor, *door.parameters)} & {"training", "inference", "mode", "momentum"}
    return bool(told or switches_of(kind))


def row_of(kind: type) -> str:
    """Return the row of the ecosystem whose layer a class is; "" if it is of none."""
    nnx = getattr(sys.modules.get("flax.nnx"), "Module", ())
    return "torch" if is_torch_module(kind) else "flax" if issubclass(kind, nnx) else ""


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
        library, doors = opened(
            lambda library, own, axis: read_layer(thing, library, own, axis, declared.state, takes),
            used_by(kind, scope),
            last,
        )
        return _layer(doors, library, kind)
    bare = FunctionDoor(with_fixed(thing, declared.fixed), parameters_of(thing))
    if takes is not None:
        bare = replace(bare, parameters=tuple(Parameter(n, r.replace("?", ""), False) for n, r in takes.items()))
    library, doors = opened(_reading(bare), used_by(thing, scope), last, spread=True)
    if gives := declared.gives:
        where: dict[str, Any] = {role: (k,) if len(gives) > 1 else () for k, role in enumerate(gives)}
        rest = (where["cache"],) if "cache" in where else ()
        told = {"y": where["y"], "mean": where.get("mean"), "var": where.get("var"), "rest": rest}
        doors = Doors({rank: (replace(door, **told), axis) for rank, (door, axis) in doors.items()})
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
