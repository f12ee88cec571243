"""A function, or a forward and a backward: bound by the names of its parameters, read by what it does with arrays."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.binding import (
    ARRAYS,
    CHANNELS,
    FULL,
    SETTINGS,
    NotReadable,
    Parameter,
    best_of,
    gradients_in,
    probe,
    which,
)
from refnorm.oracle.ask.doors.containers import Asked, Form, Named, forms_of, nested
from refnorm.oracle.ask.doors.leaves import Way, flat, found_at, leaves, of_shape, size_of
from refnorm.oracle.ask.doors.libraries import Library
from refnorm.oracle.ask.doors.modes import ALWAYS, WORDS, Mode, modes_of, modes_outside, words_in
from refnorm.oracle.ask.doors.names import in_small, role_of

IN_PLACE: Way = ("in place",)


@dataclass(frozen=True)
class FunctionDoor:
    """A function, and how it is called: which parameter is what, how it is told to train, where results are.

    ``keys`` are the names in a dictionary of parameters or statistics that it takes, by what they stand for, each with
    those of the dictionaries around it; those of ``attributes`` are attributes. ``forms`` are how other arguments are
    made that hold several things.
    ``spread`` are the ranks of x for which parameters and statistics have that rank too: (1, C, 1, 1); of 2, (C, 1),
    for x of shape (features, samples).
    """

    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    mode: Mode = ALWAYS
    keys: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    forms: Mapping[str, Form] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()
    y: Way = ()
    mean: Way | None = None
    var: Way | None = None
    rest: tuple[Way, ...] = ()
    pullback: Way | None = None
    inference: Callable[..., Any] | None = None
    back: Callable[..., Any] | None = None
    back_parameters: tuple[Parameter, ...] = ()
    inference_parameters: tuple[Parameter, ...] = ()
    spread: frozenset[int] = frozenset()

    @property
    def roles(self) -> set[str]:
        """What can be passed to it."""
        inside = {role for keys in self.keys.values() for role in keys}
        return {p.role for p in self.parameters if p.role} - {"state", "params"} | inside

    def forward(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any, Any]:
        """Call it; return y, the statistics as they are afterwards, and what its backward needs."""
        given = self.given(x, gamma, beta, mean, var, momentum, eps)
        if not training and self.inference is not None:
            result = self.inference(**self._for_inference(given))
            return of_shape(result, size_of(x)), None, None, None
        with self.mode.told(training):
            arguments = self.arguments(given, training)
            result = self.function(**arguments)
        if not training:
            return of_shape(result, size_of(x)), mean, var, (given, result)
        moved = [
            None if way is None else as_row(self._moved(way, role, given, arguments, result))
            for way, role in ((self.mean, "mean"), (self.var, "var"))
        ]
        return found_at(result, self.y), *moved, (given, result)

    def _moved(self, way: Way, role: str, given: dict[str, Any], arguments: dict[str, Any], result: Any) -> Any:
        if way[:1] != IN_PLACE:
            return found_at(result, way)
        return given[role] if len(way) == 1 else found_at(arguments[way[1]], way[2:])

    def given(self, x: Any, *rest: Any) -> dict[str, Any]:
        """Return what it is given, by what it stands for, in the shapes that it takes."""
        arrays, settings = (x, *rest[:-2]), rest[-2:]
        rank = len(size_of(x) or ())
        if rank in self.spread:
            shape = (-1, 1) if rank == 2 else (1, -1, *[1] * (rank - 2))
            arrays = (x, *(None if row is None else row.reshape(shape) for row in arrays[1:]))
        return dict(zip((*ARRAYS, *SETTINGS), (*arrays, *settings), strict=True))

    def arguments(self, given: dict[str, Any], training: bool) -> dict[str, Any]:
        """Return what to call it with."""
        said: dict[str, Any] = {}
        for p in self.parameters:
            if p.role in ("state", "params"):
                said[p.name] = self._several(p.name, given | {"mode": self.mode.value(training)})
            elif self.mode.where == "absent" and training and p.role in ("mean", "var"):
                continue
            elif self.mode.where == "argument" and p.name == self.mode.name:
                said[p.name] = self.mode.value(training)
            elif p.role == "which" and p.needed:
                said[p.name] = which(p.name)
            elif p.role in given and not (given[p.role] is None and not p.needed):
                said[p.name] = given[p.role]
        return said

    def _for_inference(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what to call the inference beside it with: what holds several things as the function itself has it."""
        several = {p.role: p.name for p in self.parameters if p.role in ("state", "params")}
        return {
            p.name: self._several(several[p.role], given) if p.role in several else given[p.role]
            for p in self.inference_parameters
            if p.role in several or p.role in given
        }

    def _several(self, name: str, values: Mapping[str, Any]) -> Any:
        """Return an argument that holds several things."""
        values = {**values, "count": 1}  # the batches before
        if name in self.forms:
            return self.forms[name].filled(values)
        if (known := self.keys.get(name)) is None:
            return Asked(values)
        own = nested({keys: values[r] for r, keys in known.items() if r in values})
        return Named(own) if name in self.attributes else own

    def backward(self, dy: Any, cache: Any) -> tuple[Any, Any, Any]:
        """Call the backward that belongs to it; return dx, dgamma and dbeta, None for what does not come back."""
        given, result = cache
        if self.back is None:
            assert self.pullback is not None
            dx, dgamma, dbeta = gradients_in(found_at(result, self.pullback)(dy), size_of(given["x"]))
            return dx, as_row(dgamma), as_row(dbeta)
        said: dict[str, Any] = {}
        further = list(self.rest)
        unknown = [p for p in self.back_parameters if p.needed and not p.role]
        whole = len(unknown) == 1 and not {"cache", "mean", "var", "std"} & {p.role for p in self.back_parameters}
        for p in self.back_parameters:
            if p.role == "dy":
                said[p.name] = dy
            elif p.role == "cache" or (whole and p in unknown):
                said[p.name] = (
                    found_at(result, further[0])
                    if len(further) == 1
                    else tuple(found_at(result, way) for way in further)
                )
            elif p.role in ("mean", "var", "std") and further:
                said[p.name] = found_at(result, further.pop(0))
            elif p.role in given:
                said[p.name] = given[p.role]
            elif p.needed and further:
                said[p.name] = found_at(result, further.pop(0))
        dx, dgamma, dbeta = gradients_in(self.back(**said), size_of(given["x"]))
        return dx, as_row(dgamma), as_row(dbeta)


def as_row(value: Any) -> Any:
    """Return what holds a value per channel along one of several axes as a row; anything else as it is.

    Examples
    --------
    >>> as_row(np.ones((1, 3, 1, 1))).shape, as_row(np.ones((2, 3))).shape
    ((3,), (2, 3))
    """
    shape = size_of(value) or ()
    if len(shape) < 2 or int(np.prod(shape)) != max(shape) or not hasattr(value, "reshape"):
        return value
    return value.reshape(-1)


def read_function(door: FunctionDoor, library: Library, shape: tuple[int, ...]) -> FunctionDoor:
    """Find out, by calling it, how a function is told to train, and where its results are.

    Raises
    ------
    Exception
        Whatever the function raises, in the mode that comes first.
    """
    has = {p.role for p in door.parameters}
    return best_of(
        (
            (mode, forms)
            for forms in forms_of(door.function, door.parameters)
            for mode in candidate_modes(door, library)
        ),
        lambda way: _learned(replace(door, mode=way[0], forms=way[1]), library, shape, has),
        "it cannot be called",
    )


def candidate_modes(door: FunctionDoor, library: Library) -> Iterator[Mode]:
    """Yield how it may be told whether it trains, most likely first."""
    own = inspect.unwrap(door.function)
    code = getattr(own, "__code__", None)
    defaults = [d for d in getattr(own, "__defaults__", None) or () if isinstance(d, str)]
    for p in door.parameters:
        yield from modes_of(p.name, p.role, "argument", [*defaults, *words_in([code] if code else [])])
    if any(p.role == "state" for p in door.parameters):
        yield from (Mode("key", "mode", *pair) for pair in WORDS[:2])
    if not any(p.role in ("training", "inference", "mode") for p in door.parameters):
        if library.name == "torch" and {"mean", "var", "state", "params"} & {p.role for p in door.parameters}:
            yield Mode("grad")
        if re.search(r"(^|_)train(ing)?(_|$)", in_small(getattr(door.function, "__name__", ""))):
            yield Mode("")  # that it trains is in its name
        if (mean := next((p for p in door.parameters if p.role == "mean" and not p.needed), None)) is not None:
            yield Mode("absent", mean.name)
        yield from modes_outside([code] if code else [], getattr(door.function, "__globals__", {}))
        yield Mode("")


def _learned(door: FunctionDoor, library: Library, shape: tuple[int, ...], has: set[str]) -> tuple[FunctionDoor, int]:
    """Call a function in both modes with different statistics: what depends on them tells which result is which."""

    def called(training: bool, shifted: str = "") -> tuple[Any, dict[str, Any], dict[str, Any]]:
        given = door.given(*probe(shape, library, shifted), 0.5, 2.0**-10)
        with door.mode.told(training):
            arguments = door.arguments(given, training)
            return door.function(**arguments), given, arguments

    result, given, arguments = called(True)
    keys = {p.name: a.keys_by_role for p in door.parameters if isinstance(a := arguments.get(p.name), Asked)}
    keys = {name: dict(known) for name, known in keys.items()} | {
        n: {r: (k,) for r, k in f.keys.items()} for n, f in door.forms.items()
    }
    attributes = frozenset(name for name, a in arguments.items() if isinstance(a, Asked) and a.by_attribute)
    y = next((way for way, leaf in leaves(result) if size_of(leaf) == shape), None)
    if y is None:
        raise NotReadable(f"nothing of the shape of x, {shape}, comes back")
    stated = has & {"mean", "var"} or any({"mean", "var"} & set(known) for known in keys.values())
    score = 1
    moved: dict[str, Way | None] = {"mean": None, "var": None}
    if stated:
        for role in moved:
            moved[role] = _where(role, called(True, role), (result, given, arguments))
        other_y = found_at(called(True, "mean")[0], y)
        steady = np.array_equal(flat(found_at(result, y)), flat(other_y))
        score += steady
        fallback = [w for w, leaf in leaves(result) if w != y and _is_row(leaf) and not isinstance(w[-1], str)]
        free = [way for way in fallback if way not in moved.values()]
        if "momentum" in has and steady and moved["mean"] is None and moved["var"] is None and len(fallback) >= 2:
            moved = dict(zip(moved, fallback[:2], strict=True))
        elif "momentum" in has and steady and (moved["mean"] is None) != (moved["var"] is None) and len(free) == 1:
            moved = {role: way or free[0] for role, way in moved.items()}  # it does not depend on what it was
        try:
            one, another = (of_shape(called(False, shifted)[0], shape) for shifted in ("", "mean"))
            score += not np.array_equal(flat(one), flat(another))
        except Exception:  # it has no such mode
            pass
    else:
        score = FULL
    if score < FULL and not door.mode.sure:
        raise NotReadable(f"it is not known what tells it, by {door.mode.name}, whether it trains")
    if any(p.role == "state" for p in door.parameters):
        called(False)
    taken = {y, moved["mean"], moved["var"]}
    rest = tuple(_outermost(result, taken))
    pullback = next((way for way, leaf in leaves(result) if inspect.isroutine(leaf) and way), None)
    door = replace(door, keys=keys, attributes=attributes, pullback=pullback)
    return replace(door, y=y, mean=moved["mean"], var=moved["var"], rest=rest), score


def _where(
    role: str, shifted: tuple[Any, dict[str, Any], dict[str, Any]], plain: tuple[Any, dict[str, Any], dict[str, Any]]
) -> Way | None:
    """Find where a running statistic is after the call: what came back and depends on what it was; or in its place."""
    before = dict(leaves(plain[0]))
    for way, leaf in leaves(shifted[0]):
        if _is_row(leaf) and way in before and _is_row(before[way]) and np.any(flat(leaf) != flat(before[way])):
            named = [step for step in way if isinstance(step, str)]
            if not named or role_of(named[-1].strip(".")) in (role, ""):
                return way
    for name, argument in shifted[2].items():
        if dataclasses.is_dataclass(argument):
            for way, value in leaves(argument):
                if role_of(str(way[-1]).strip(".")) == role and not np.array_equal(flat(value), flat(shifted[1][role])):
                    return (*IN_PLACE, name, *way)
        if isinstance(argument, Asked):
            for key, value in argument.items():
                if role_of(key) == role and _is_row(value):
                    return (*IN_PLACE, name, key)
    started = probe((2, CHANNELS), _NUMPY, role)[ARRAYS.index(role)]
    own = shifted[1][role]
    return IN_PLACE if _is_row(own) and np.any(flat(own) != started) else None


_NUMPY = Library("numpy", lambda array: array)


def _is_row(value: Any) -> bool:
    shape = size_of(value)
    return shape is not None and int(np.prod(shape)) == CHANNELS


def _outermost(result: Any, taken: set[Way | None]) -> Iterator[Way]:
    """Yield the ways to what is not taken: a whole tuple that holds nothing else is one thing."""
    if not isinstance(result, tuple | list | dict):
        return
    for step in result if isinstance(result, dict) else range(len(result)):
        inside = [way for way in taken if way is not None and way[:1] == (step,)]
        if not inside:
            yield (step,)
