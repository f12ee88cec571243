"""Settings that are not parameters of their own: in a configuration, behind ``**kwargs``; and activations, left out."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from refnorm.oracle.ask.doors.names import in_small, is_size, role_of

CONFIGURATION = r"^_?(config(uration)?|cfg|conf|args|opts?|options|hparams|hps|settings|spec)$"
ACTIVATION = r"^(use_|with_|apply_|fuse_)?(act(ivation)?|relu|nonlin(earity)?)(_(layer|fn|func|function|type|name))?$"
NO_ACTIVATION = ("identity", "linear", "none", None)
KEPT = ("eps", "momentum")


class Configuration:
    """An object whose attributes and keys are what their names stand for; what is none of that, it has of another."""

    def __init__(self, values: Mapping[str, Any], other: Any = None) -> None:
        self._values, self._other = values, other

    def __getattr__(self, name: str) -> Any:
        """Return what an attribute stands for."""
        role = role_of(name) if role_of(name) in KEPT else "size" if is_size(name) else ""
        if name.startswith("__") or (role not in self._values and not hasattr(self._other, name)):
            raise AttributeError(f"no attribute {name!r}")
        return self._values[role] if role in self._values else getattr(self._other, name)

    def __getitem__(self, key: str) -> Any:
        """Return what a key stands for."""
        try:
            return getattr(self, key)
        except AttributeError as error:
            raise KeyError(key) from error

    def get(self, key: str, default: Any = None) -> Any:
        """Return what a key stands for, or the default."""
        return getattr(self, key, default)


def told_apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose eps and momentum are parameters of their own, if it has them of a configuration.

    Examples
    --------
    >>> def scaled(cfg, x):
    ...     return x * cfg.epsilon
    >>> told_apart(scaled)(x=3, eps=2)
    6
    """
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return function
    name = _configuration(parameters)
    if not name:
        return function
    asked = _asked([getattr(inspect.unwrap(function), "__code__", None)])
    other = _made(function, name)

    @functools.wraps(function)
    def called(**said: Any) -> Any:
        values = {role: said.pop(role) for role in KEPT if role in said}
        return function(**said, **{name: Configuration(values, other)})

    own = [p.replace(kind=p.KEYWORD_ONLY) for n, p in parameters.items() if n != name]
    called.__signature__ = inspect.Signature([*own, *map(_keyword, sorted(asked - {"size"}))])  # type: ignore[attr-defined]
    return called


def as_constructed(kind: type) -> Iterator[tuple[type, str]]:
    """Yield a class with its settings as parameters of its constructor, in words what is fixed; and as it is, last.

    Where its constructor has a flag or a name for an activation that follows, there is none.
    """
    try:
        parameters = dict(inspect.signature(kind).parameters)
    except (TypeError, ValueError):
        yield kind, ""
        return
    name = _configuration(parameters)
    own = [k for k in kind.__mro__ if k.__module__ == kind.__module__]
    codes = [getattr(v, "__code__", None) for k in own for v in vars(k).values()]
    further = {role: role for role in sorted(_asked(codes))} if name else _behind(kind, parameters)
    if "size" in further:
        further["size"] = "num_features"
    other = _made(getattr(kind, "__init__"), name) if name else None  # noqa: B009
    for fixed in _without_activation(parameters):
        if not (name or further or fixed):
            continue
        words = "".join(f"; with {n}={getattr(v, '__name__', repr(v))}" for n, v in fixed.items())
        yield _subclass(kind, parameters, name, other, further, fixed), words
    yield kind, ""


def _subclass(
    kind: type,
    parameters: Mapping[str, inspect.Parameter],
    name: str,
    other: Any,
    further: Mapping[str, str],
    fixed: Mapping[str, Any],
) -> type:
    def __init__(self: Any, **said: Any) -> None:
        if name:
            values = {role: said.pop(own) for role, own in further.items() if own in said}
            said[name] = Configuration(values, other)
        kind.__init__(self, **said, **fixed)  # type: ignore[misc]

    own = [
        p.replace(kind=p.KEYWORD_ONLY)
        for n, p in parameters.items()
        if n != name and n not in fixed and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    own += [_keyword(n, role != "size") for role, n in further.items()]
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    inside = {"__init__": __init__, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return types.new_class(kind.__name__, (kind,), {}, lambda scope: scope.update(inside))


def _keyword(name: str, optional: bool = True) -> inspect.Parameter:
    default = None if optional else inspect.Parameter.empty
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)


def _configuration(parameters: Mapping[str, inspect.Parameter]) -> str:
    """Return the name of the parameter that is a configuration; "" if there is none."""
    needed = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    return next((name for name in needed if re.search(CONFIGURATION, in_small(name))), "")


def _made(function: Any, name: str) -> Any:
    """Return an object of the class that a parameter is said to be of, if it can be made of nothing; else None."""
    with contextlib.suppress(Exception):  # of foreign code
        return typing.get_type_hints(function)[name]()
    return None


def _asked(codes: Iterator[Any] | list[Any]) -> set[str]:
    """Return which settings some code names, and whether it names a size."""
    words = [n for code in codes if code for n in (*code.co_names, *code.co_consts) if isinstance(n, str)]
    return {role_of(n) for n in words if role_of(n) in KEPT} | {"size" for n in words if is_size(n)}


def _behind(kind: type, parameters: Mapping[str, inspect.Parameter]) -> dict[str, str]:
    """Return settings that a constructor takes among ``**kwargs``: it looks them up, or one that it calls has them."""
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return {}
    here = {role_of(n) for n in parameters}
    found: dict[str, str] = {}
    for own in kind.__mro__:
        constructor = vars(own).get("__init__")
        code = getattr(constructor, "__code__", None)
        if code is None or constructor is None:
            continue
        there = inspect.signature(constructor).parameters
        words = [n for n, p in there.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if {"get", "pop", "setdefault"} & set(code.co_names):
            words += [n for n in code.co_consts if isinstance(n, str) and n.isidentifier()]
        for n in words:
            if role_of(n) in KEPT and role_of(n) not in here:
                found.setdefault(role_of(n), n)
        if not any(p.kind is p.VAR_KEYWORD for p in there.values()):
            break
    return found


def _without_activation(parameters: Mapping[str, inspect.Parameter]) -> Iterator[dict[str, Any]]:
    """Yield what leaves an activation out: a flag that is not set, or a name or function that does nothing."""
    named = {
        n: p.default for n, p in parameters.items() if re.search(ACTIVATION, in_small(n)) and p.default is not p.empty
    }
    if flags := [n for n, default in named.items() if default is True]:
        yield dict.fromkeys(flags, False)
        return
    for name, default in named.items():
        if isinstance(default, str) and default not in NO_ACTIVATION:
            yield from ({name: nothing} for nothing in NO_ACTIVATION)
            return
        if callable(default):
            yield {name: None}
            return
    yield {}
