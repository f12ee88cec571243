"""Everything in a file that looks like a batch norm, each read; or what is there, where nothing can be read."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from refnorm.oracle.ask.doors.at_once import scripted
from refnorm.oracle.ask.doors.binding import NotReadable, parameters_of
from refnorm.oracle.ask.doors.declared import Declared
from refnorm.oracle.ask.doors.looks import (
    is_function,
    looks_like_a_function,
    looks_like_a_layer,
    looks_like_a_maker,
    methods_in,
)
from refnorm.oracle.ask.doors.methods import FORWARD
from refnorm.oracle.ask.doors.names import is_size, other_norms
from refnorm.oracle.ask.doors.read import read_thing
from refnorm.oracle.ask.troubled import exhausted, where_of


class NotFound(Exception):
    """Nothing in a target can be read as a batch normalization; the text says what was found, and what to write."""


def candidates_in(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield what a module defines that looks like a batch norm, by name; where it defines none, what it has made."""
    scope = {name: scripted(value) for name, value in without_rules(vars(module)).items() if not name.startswith("_")}
    declared = {name: value for name, value in scope.items() if isinstance(value, Declared)}
    if declared:
        yield from declared.items()
        return
    own = {name: value for name, value in scope.items() if _home(value) == module.__name__}
    found = False
    for name, value in own.items():
        if isinstance(value, type) and (methods := methods_in(value)):
            found = True
            made = _instance(value)
            yield from ((f"{name}.{method}", getattr(made, method)) for method in methods)
        elif (isinstance(value, type) and looks_like_a_layer(value)) or (
            is_function(value) and (looks_like_a_function(value, name) or looks_like_a_maker(value))
        ):
            found = True
            yield name, value
    if not found:
        for name, value in own.items():
            if is_function(value) and looks_like_a_function(value, name, alone=True):
                found = True
                yield name, value
    if not found:
        for name, value in scope.items():
            if is_made(value):
                yield from ((name + way, layer) for way, layer in layers_in(value))


def without_rules(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a module holds without the rules by which JAX differentiates a function of it: JAX calls these."""
    whole = [v for v in scope.values() if type(v).__name__ in ("custom_vjp", "custom_jvp")]
    rules = [getattr(v, name, None) for v in whole for name in ("fwd", "bwd", "jvp")]
    return {n: v for n, v in scope.items() if not any(v is rule for rule in rules if rule is not None)}


def is_made(value: Any) -> bool:
    """Whether a value is an object that a file has made, neither a module, class or function nor plain data."""
    known = isinstance(value, type | ModuleType) or inspect.isroutine(value)
    return not known and type(value).__module__ not in ("builtins", "typing", "__future__")


def layers_in(made: Any) -> Iterator[tuple[str, Any]]:
    """Yield the batch norm that an object is, or those that a network of torch holds, one of a kind, with the way."""
    if looks_like_a_layer(type(made)):
        yield "", made
        return
    kinds = set[type]()
    for way, layer in getattr(made, "named_modules", dict[str, Any]().items)():
        if type(layer) not in kinds and looks_like_a_layer(type(layer)):
            kinds.add(type(layer))
            yield f".{way}", layer


def _home(value: Any) -> Any:
    """Return the name of the module that a function or class was written in; of a partial, that of its function."""
    return getattr(value.func if isinstance(value, functools.partial) else value, "__module__", None)


def _instance(kind: type) -> Any:
    """Return an object of a class: made without arguments, or, where it needs some, not made up at all."""
    try:
        return kind()
    except Exception:  # of foreign code
        return object.__new__(kind)


def read_all(target: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read everything in a module that looks like a batch norm, or one thing; return each, and what is to be noted.

    Raises
    ------
    NotFound
        If nothing can be read; the text says what was there, how it was tried, and what happened.
    """
    if isinstance(target, ModuleType):
        chosen, scope = dict(candidates_in(target)), without_rules(vars(target))
    else:
        thing = target.thing if isinstance(target, Declared) else target
        home = sys.modules.get(getattr(thing if callable(thing) else type(thing), "__module__", "") or "")
        chosen = {getattr(thing, "__name__", type(thing).__name__): target}
        scope = without_rules(getattr(thing, "__globals__", None) or (vars(home) if home else {}))
    read, failed = dict[str, Any](), dict[str, str]()
    for name, thing in chosen.items():
        try:
            read[name] = read_thing(thing, scope)
        except Exception as error:  # of foreign code
            if exhausted(error):
                raise
            failed[name] = said_by(error)
    if not read:
        raise NotFound(unread(target, chosen, failed, scope))
    notes = [f"{name} was not read as a batch normalization: {text}" for name, text in failed.items()]
    others = other_norms(scope) if isinstance(target, ModuleType) else []
    notes += [f"not judged, being no batch normalization: {', '.join(others)}"] * bool(others)
    return read, tuple(notes)


def said_by(error: BaseException) -> str:
    """Return what foreign code raised, and where."""
    kind = "" if isinstance(error, NotReadable) else f"{type(error).__name__}: "
    return f"{kind}{' '.join(str(error).split())[:200]}{where_of(error)}"


def unread(target: Any, chosen: dict[str, Any], failed: dict[str, str], scope: dict[str, Any]) -> str:
    """Say what was found instead of a batch normalization, and the lines that declare it."""
    home = getattr(target, "__name__", "")
    own = {n: v for n, v in scope.items() if n[0] != "_" and (_home(v) == home or is_made(v))}
    if failed:
        text = "could not be read as a batch normalization: " + "; ".join(f"{n}: {t}" for n, t in failed.items())
    else:
        there = f"it defines {', '.join(own)}" if own else "it defines no function, no class and no layer"
        if others := other_norms(scope):
            there += (
                f"; {', '.join(others)} normalizes otherwise, and is judged only where it is named, as file.py:NAME"
            )
        text = f"holds nothing that looks like a batch normalization; {there}"
    alone = own if len(own) == 1 and callable(*own.values()) else {"my_function": None}
    return f"{text}. {declaration(*next(iter((chosen or alone).items())))}"


def _of_layer(name: str, kind: type) -> str:
    """Return what is to be said of a layer: its method, what that takes, which attributes hold what, what makes it."""
    takes, made = "x", list[str]()
    methods = [n for n, v in vars(kind).items() if inspect.isfunction(v) and (n in FORWARD or n[0] != "_")]
    method = min(methods, key=lambda n: FORWARD.index(n) if n in FORWARD else len(FORWARD), default="__call__")
    with contextlib.suppress(NotReadable, AttributeError):
        made = [p.name for p in parameters_of(kind, first="") if p.needed and not p.role and not is_size(p.name)]
        called = parameters_of(getattr(kind, method), first="")[1:]
        takes = ", ".join("x" if k == 0 else p.role or "?" for k, p in enumerate(called)) or takes
    state = ", ".join(f'"{role}": "..."' for role in ("gamma", "beta", "mean", "var"))
    said = f'{name if method in FORWARD else f"{name}.{method}"}, takes="{takes}", state={{{state}}}'
    return said + "".join(f", {name}=..." for name in made)


def declaration(name: str, thing: Any) -> str:
    """Return the lines that declare how something is called, filled in as far as it is known."""
    if isinstance(thing, type):
        return f"To declare it, add to the file: import refnorm; bn = refnorm.reading({_of_layer(name, thing)})"
    takes = "x, gamma, beta, eps"
    try:
        known = parameters_of(thing) if callable(thing) and not isinstance(thing, type) else ()
        takes = ", ".join(p.role or "?" for p in known) or takes
    except NotReadable:
        pass
    return f'To declare it, add to the file: import refnorm; bn = refnorm.reading({name}, takes="{takes}", gives="y")'
