"""What binds code to batch normalization: its parameters by what they stand for, gradients by name, numbers to try."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from refnorm.oracle.ask.doors.leaves import flat, leaves, size_of
from refnorm.oracle.ask.doors.libraries import Library
from refnorm.oracle.ask.doors.names import UPSTREAM, gradient_of, is_running, role_of
from refnorm.oracle.ask.troubled import exhausted

Way = TypeVar("Way")
Door = TypeVar("Door")
CHANNELS = 3
SETTINGS = ("momentum", "eps")
LITTLE = 2.0**-6  # no weight of an average is so small, and no eps larger
ARRAYS = ("x", "gamma", "beta", "mean", "var")


class NotReadable(Exception):
    """Something that cannot be called as a batch normalization; the text says what was tried, and what happened."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function: its name, what it stands for, and whether it must be given."""

    name: str
    role: str
    needed: bool


def parameters_of(function: Callable[..., Any], first: str = "x") -> tuple[Parameter, ...]:
    """Return a function's parameters with what each stands for; the first that stands for nothing else is ``first``.

    Raises
    ------
    NotReadable
        If it has no signature, or takes only ``*args``.
    """
    try:
        there = list(inspect.signature(function).parameters.values())
        if isinstance(function, type) and _takes_anything(there):
            there = list(inspect.signature(vars(function).get("__init__", function)).parameters.values())[1:]
        elif _takes_anything(there) and (inner := _wrapped(function)) is not None:
            return parameters_of(inner, first)
    except (TypeError, ValueError) as error:
        raise NotReadable(f"its parameters cannot be seen ({error})") from error
    found = [
        Parameter(own.name, _role(own), own.default is own.empty)
        for own in there
        if own.kind not in (own.VAR_POSITIONAL, own.VAR_KEYWORD)
    ]
    named = [k for k, p in enumerate(found) if first == "dy" and re.search(UPSTREAM, p.name)]
    found = [replace(p, role="dy") if named[:1] == [k] else p for k, p in enumerate(found)]
    seen: set[str] = set()
    for k, p in enumerate(found):  # a role is taken once: the first of two, but for statistics a running one
        if p.role in seen and p.role not in ("training", "inference"):
            twin = next(i for i, q in enumerate(found) if q.role == p.role)
            better = is_running(p.name) and not is_running(found[twin].name)
            better = better or len(found[twin].name) == 1 < len(p.name)  # a letter may be anything
            found[twin if better else k] = replace(found[twin if better else k], role="")
        seen.add(found[k].role)
    if first and found and not any(p.role == first for p in found) and len(found[0].name) == 1 and found[0].needed:
        found[0] = replace(found[0], role=first)  # whatever letter it is
    if first and not any(p.role == first for p in found):
        free = [k for k, p in enumerate(found) if (not p.role or p.role in ("x", "dtype", "std")) and p.needed]
        if not free:
            free = [k for k, p in enumerate(found[:1]) if p.needed and first == "dy"]
        if free:
            found[free[0]] = replace(found[free[0]], role=first)
    return tuple(found)


def _role(own: inspect.Parameter) -> str:
    """Return what a parameter stands for: a letter with a number for its default is a setting, and no array."""
    role = role_of(own.name)
    if len(own.name) == 1 and isinstance(own.default, float) and 0 < own.default < 1:
        return {"": "eps"}.get(role, role) if own.default < LITTLE else {"mean": "momentum"}.get(role, role)
    return role


def _takes_anything(parameters: list[inspect.Parameter]) -> bool:
    return all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _wrapped(function: Any) -> Any:
    """Return the one function that a decorator's closes over and passes its arguments on to; None if there is none."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    if code is None or not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return None
    held = [cell.cell_contents for cell in cells if cell != types.CellType()]
    inner = [value for value in held if inspect.isroutine(value) and value is not function]
    return inner[0] if len(inner) == 1 else None


def which(name: str) -> Any:
    """Return what says of which layer something is: any name, or the number of the first."""
    return "bn" if re.search(r"name|scope|key", name) else 0


def gradients_in(value: Any, shape: tuple[int, ...] | None) -> tuple[Any, Any, Any]:
    """Return dx, dgamma and dbeta out of what a backward returned: by name where it names them, else in order."""
    found: dict[str, Any] = {}
    rest = []
    for way, leaf in leaves(value):
        names = [gradient_of(step.strip(".")) or role_of(step.strip(".")) for step in way if isinstance(step, str)]
        role = next((name for name in names if name in ("x", "gamma", "beta")), "")
        if size_of(leaf) is None:
            continue
        if role and role not in found:
            found[role] = leaf
        elif "x" not in found and size_of(leaf) == shape:
            found["x"] = leaf
        else:
            rest.append(leaf)
    for role in ("x", "gamma", "beta"):
        if role not in found and rest:
            found[role] = rest.pop(0)
    return found.get("x"), found.get("gamma"), found.get("beta")


FULL = 3  # what a way of calling scores that tells everything


def best_of(ways: Iterable[Way], learned: Callable[[Way], tuple[Door, int]], nothing: str) -> Door:
    """Return what is learned by the way of calling that scores most; the first that tells everything ends the search.

    Raises
    ------
    Exception
        Whatever foreign code raises in the way that comes first, if no way does.
    NotReadable
        That there was ``nothing``, if there are no ways.
    """
    best: tuple[Door, int] | None = None
    first_error: Exception | None = None
    for way in ways:
        try:
            door, score = learned(way)
        except Exception as error:  # of foreign code: another way may do
            if exhausted(error):
                raise
            first_error = first_error or error
            continue
        if best is None or score > best[1]:
            best = door, score
        if score >= FULL:
            break
    if best is None:
        raise first_error or NotReadable(nothing)
    return best[0]


def mode_score(y: Callable[[bool, str], Any]) -> int:
    """Return 1 if y does not depend on the running mean in training, and 2 more if it does in inference.

    ``y`` is called with whether it trains, and the name of a statistic that is another one.
    """
    steady = np.array_equal(flat(y(True, "")), flat(y(True, "mean")))
    return steady + 2 * (not np.array_equal(flat(y(False, "")), flat(y(False, "mean"))))


def probe(shape: tuple[int, ...], library: Library, shifted: str = "") -> tuple[Any, ...]:
    """Return x, gamma, beta, mean and var to try a function on; ``shifted`` names the one that is another."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal(shape) + 0.5
    rest = {
        "gamma": np.array([1.5, -0.5, 2.0]), "beta": np.array([0.25, 0.5, -1.0]),
        "mean": np.array([0.5, -0.25, 0.125]), "var": np.array([1.5, 0.75, 2.0]),
    }  # fmt: skip
    if shifted:
        rest[shifted] = rest[shifted] + np.array([0.5, 0.25, 0.75])
    return tuple(library.own(a) for a in (x, *rest.values()))
