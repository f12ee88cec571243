"""Coroutines, generators, scripts, pairs with a context and class methods, as what is called by names and answers."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from refnorm.oracle.ask.doors.methods import FORWARD


def at_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose results are there when it returns: a coroutine is run to its end.

    A generator yields y, is sent dy, and yields or returns the gradients: it comes back as y and a function of dy.

    Examples
    --------
    >>> def doubled(x):
    ...     dy = yield 2 * x
    ...     yield 2 * dy
    >>> y, pullback = at_once(doubled)(3.0)
    >>> y, pullback(1.0)
    (6.0, 2.0)
    """
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            return asyncio.run(function(*arguments, **named))

        return run
    if not inspect.isgeneratorfunction(function):
        return function

    @functools.wraps(function)
    def begun(*arguments: Any, **named: Any) -> Any:
        steps = function(*arguments, **named)

        def pullback(dy: Any) -> Any:
            try:
                return steps.send(dy)
            except StopIteration as end:
                return end.value

        return next(steps), pullback

    return begun


def by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes by name what one takes by its place alone; others as they are.

    Examples
    --------
    >>> def scaled(x, /, gamma):
    ...     return gamma * x
    >>> by_name(scaled)(x=2.0, gamma=3.0)
    6.0
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return function
    placed = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
    if not placed:
        return function

    @functools.wraps(function, updated=())
    def called(**said: Any) -> Any:
        first = [said.pop(p.name, p.default) for p in placed]
        return function(*first, **said)

    keyed = [p.replace(kind=p.POSITIONAL_OR_KEYWORD) if p in placed else p for p in parameters]
    called.__signature__ = inspect.Signature(keyed)  # type: ignore[attr-defined]
    return called


def scripted(thing: Any) -> Any:
    """Return what `torch.jit.script` made of a function as one with the signature that it had; others as they are.

    What is compiled is what is called.
    """
    if type(thing).__name__ != "ScriptFunction":
        return thing
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    taken = [
        inspect.Parameter(a.name, kind, default=a.default_value if a.has_default_value() else empty)
        for a in thing.schema.arguments
    ]

    def call(*arguments: Any, **named: Any) -> Any:
        return thing(*arguments, **named)

    home = [part for part in thing.qualified_name.split(".")[:-1] if not part.startswith("__")]
    call.__name__, call.__module__ = thing.name, ".".join(home)
    call.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    return call


def applied(maker: Any) -> Callable[..., Any] | None:
    """Return the ``apply`` of a function that makes an ``init`` and an ``apply``, with the maker's settings; else None.

    Examples
    --------
    >>> def scaling(factor=2.0):
    ...     def init(size):
    ...         return [1.0] * size
    ...     def apply(params, x):
    ...         return factor * x
    ...     return init, apply
    >>> applied(scaling)(params=None, x=1.0, factor=3.0)
    3.0
    """

    def apply_of(made: Any) -> Any:
        init, function = (made.init, made.apply) if hasattr(made, "apply") else made
        return function if "init" in init.__name__ and inspect.isfunction(function) else None

    try:
        own, function = inspect.signature(maker).parameters, apply_of(maker())
    except Exception:  # of foreign code: it makes something else
        return None
    if function is None:
        return None

    def call(**said: Any) -> Any:
        settings = {name: said.pop(name) for name in own if name in said}
        return apply_of(maker(**settings))(**said)

    taken = inspect.signature(function).parameters
    call.__name__, call.__module__ = maker.__name__, maker.__module__
    every = [*taken.values(), *(p for name, p in own.items() if name not in taken)]
    call.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in every])  # type: ignore[attr-defined]
    return call


class Context:
    """What a forward leaves its backward: whatever is put there, or saved there."""

    saved: tuple[Any, ...] = ()

    def save_for_backward(self, *values: Any) -> None:
        """Keep values."""
        self.saved = values

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was kept."""
        return self.saved

    saved_values = saved_tensors


def with_context(kind: type, scope: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return a forward and a backward that share a context as one function, whose pullback comes back; None of others.

    The context is of the class that a module has for that, or one that keeps what it is given.
    """
    static = inspect.getattr_static(kind, "forward", None)
    forward = getattr(static, "__func__", static)
    parameters = list(inspect.signature(forward).parameters.values()) if inspect.isfunction(forward) else []
    bound = isinstance(static, classmethod)
    if not parameters or not re.search(r"^_?(ctx|context)$", parameters[bound].name) or not hasattr(kind, "backward"):
        return None
    contexts = [v for v in scope.values() if isinstance(v, type) and hasattr(v, "save_for_backward") and v is not kind]

    def call(**said: Any) -> Any:
        context = contexts[0]() if len(contexts) == 1 else Context()
        given = (said.get(p.name, p.default) for p in parameters[bound + 1 :])
        y = getattr(kind, "forward")(context, *given)  # noqa: B009 - any class has it by here
        return y, lambda dy: getattr(kind, "backward")(context, dy)  # noqa: B009

    call.__name__, call.__signature__ = kind.__name__, inspect.Signature(parameters[bound + 1 :])  # type: ignore[attr-defined]
    return call


def instances_of(kind: type) -> type:
    """Return a class whose instances keep what its class methods keep in the class; a class without such as it is.

    Examples
    --------
    >>> class Layer:
    ...     @classmethod
    ...     def forward(cls, x):
    ...         cls.seen = x
    >>> layer = instances_of(Layer)()
    >>> layer.forward(3)
    >>> layer.seen, hasattr(Layer, "seen")
    (3, False)
    """
    methods = {name: v for k in reversed(kind.__mro__) for name, v in vars(k).items() if isinstance(v, classmethod)}
    if not any(name in FORWARD for name in methods):
        return kind
    own = {name: method.__func__ for name, method in methods.items() if not name.startswith("__")}
    return type(kind.__name__, (kind,), {**own, "__module__": kind.__module__})
