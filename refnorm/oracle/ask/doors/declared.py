"""What is declared by hand, where reading does not find out: how something is called, in a line or two."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

WORDS = ("x", "gamma", "beta", "mean", "var", "momentum", "eps", "training", "inference", "mode", "cache", "dy")
ALSO = {"running_mean": "mean", "running_var": "var"}
RESULTS = ("y", "mean", "var", "cache")
GRADIENTS = ("dx", "dgamma", "dbeta")


class Declared:
    """Something with the meaning of its parameters and results said by whoever wrote it; made by `reading`."""

    def __init__(
        self,
        thing: Any,
        takes: Mapping[str, str] | None,
        gives: tuple[str, ...],
        backward: Callable[..., Any] | None,
        state: Mapping[str, str],
        last: bool,
        fixed: Mapping[str, Any],
    ) -> None:
        self.thing, self.takes, self.gives, self.back = thing, takes, gives, backward
        self.state, self.last, self.fixed = state, last, fixed


def reading(
    thing: Any,
    takes: str = "",
    gives: str = "",
    *,
    backward: Callable[..., Any] | None = None,
    state: Mapping[str, str] | None = None,
    channels_last: bool = False,
    **fixed: Any,
) -> Declared:
    """Declare how a batch normalization is called, for `refnorm.check` and the command line.

    Put the result into the file under any name; whatever is declared in a file is judged, and nothing else of it.

    Parameters
    ----------
    thing : a function, a class or instance of a layer, or a method of a class that is called by another name.
    takes : what its parameters are, in their order: x, gamma, beta, mean, var (the running ones), momentum, eps,
        training or inference (flags), mode ("train" or "test"); ``?`` for one that is left at its default. Of a layer,
        what its method takes.
    gives : what it returns, in this order: y, mean, var, cache; ``?`` for what does not matter.
    backward : called with dy and the cache; returns dx, dgamma, dbeta.
    state : of a layer, the attribute that holds gamma, beta, mean and var, each: ``{"gamma": "W", "mean": "m"}``.
    channels_last : whether the channels are on the last axis.
    fixed : arguments that are always passed so.

    Raises
    ------
    ValueError
        If a word is none of these, or x or y is missing.

    Examples
    --------
    >>> import numpy as np, refnorm
    >>> def scaled(a, q, r, tiny):
    ...     z = (a - a.mean(0)) / np.sqrt(a.var(0) + tiny)
    ...     return z * q + r
    >>> bn = refnorm.reading(scaled, takes="x, gamma, beta, eps", gives="y")
    >>> refnorm.check(bn).conforms
    True
    """
    thing = _class_of(thing)
    given = _words(takes, (*WORDS, *ALSO), "takes") if takes else ()
    results = _words(gives, (*RESULTS, *ALSO), "gives") if gives else ()
    if takes and "x" not in given:
        raise ValueError(f"takes={takes!r} does not say which parameter is x")
    if gives and "y" not in results:
        raise ValueError(f"gives={gives!r} does not say which result is y")
    named: dict[str, str] | None = None
    if takes:
        target = thing if not isinstance(thing, type) else vars(thing).get("__call__", thing)
        parameters = [name for name in inspect.signature(target).parameters if name != "self"]
        if len(given) > len(parameters):
            raise ValueError(f"takes={takes!r} has {len(given)} words, and {target.__name__} takes {len(parameters)}")
        named = dict(zip(parameters, given, strict=False))
    return Declared(thing, named, results, backward, dict(state or {}), channels_last, fixed)


def _class_of(thing: Any) -> Any:
    """Return the class of a method, called by that method; anything else as it is."""
    name, _, method = getattr(thing, "__qualname__", "").rpartition(".")
    kind = getattr(thing, "__globals__", {}).get(name)
    if not isinstance(kind, type) or inspect.getattr_static(kind, method, None) is not thing:
        return thing
    return type(name, (kind,), {"__call__": thing, "__module__": kind.__module__})


def _words(text: str, known: tuple[str, ...], where: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in (*known, "?"):
            raise ValueError(f"{where}={text!r}: {word!r} is none of {', '.join(known)}, ?")
    return tuple(ALSO.get(word, word) for word in words)
