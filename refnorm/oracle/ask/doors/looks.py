"""What looks like a batch norm, by its name and by the names inside; and what stands beside it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from types import CodeType
from typing import Any

from refnorm.oracle.ask.doors.binding import NotReadable, parameters_of
from refnorm.oracle.ask.doors.methods import FORWARD, forwards_of
from refnorm.oracle.ask.doors.names import OTHER_NORMS, in_small, is_running, role_of

INFERS = r"(?<![a-z])(infer(ence)?|test(ing)?|eval(uat(e|ion))?|predict(ion)?)(?![a-z])"
NAMED = r"batch_?_?norm|(^|_)bn(_|\d|$)"
BATCH_NORM = r"batch_?_?norm|(^|_)bn(_|\d|$)|bn(\d+d)?$|norm|whiten|standardi[sz]e|归一化|正規化"


def is_function(value: Any) -> bool:
    """Whether a value is a function, or one that a library has wrapped, as `jax.jit` and `jax.custom_vjp` do."""
    wrapped = (
        callable(value) and not isinstance(value, type) and inspect.isfunction(getattr(value, "__wrapped__", None))
    )
    return inspect.isroutine(value) or wrapped or isinstance(value, functools.partial)


def looks_like_a_function(function: Callable[..., Any], name: str = "", alone: bool = False) -> bool:
    """Whether a function's name and parameters are those of a batch normalization's forward.

    That of an inference is none, but where it stands ``alone``.
    """
    try:
        parameters = parameters_of(function)
    except NotReadable:
        return False
    name = in_small(name or getattr(function, "__name__", ""))
    roles = {p.role for p in parameters}
    if (
        re.search(OTHER_NORMS, name)
        or (inference_of_training(name) is not None and not alone)
        or re.search(r"back(ward|prop)?|bwd|(^|_)d(_|$)|grad(?!_enabled)|^init|^(make|create|build)_", name)
    ):
        return False
    telling = len(roles & {"gamma", "beta", "mean", "var", "eps", "momentum", "state", "params"})
    named = bool(re.search(BATCH_NORM, name)) and not re.search(r"test_|plot|make|build|create|demo|main", name)
    return "x" in roles and (
        telling >= 4
        or (alone and {"params", "state", "training"} <= roles)
        or {"gamma", "beta", "eps"} <= roles
        or (named and telling >= 1)
        or (named and "batch" in name and len(roles) < 4)
    )


def looks_like_a_maker(function: Any) -> bool:
    """Whether a function makes others, and is named after batch normalization: it holds their code, and takes no x."""
    code, name = getattr(function, "__code__", None), in_small(getattr(function, "__name__", ""))
    inner = any(
        isinstance(constant, CodeType) and constant.co_name[0] != "<" for constant in getattr(code, "co_consts", ())
    )
    if not inner or not re.search(NAMED, name) or re.search(r"test_|check|compare|demo|plot|train_|main|bench", name):
        return False
    return not any(p.role == "x" for p in parameters_of(function, first=""))


def looks_like_a_layer(kind: type) -> bool:
    """Whether a class may be a batch normalization: by its name, or by what it names inside."""
    name = in_small(kind.__name__)
    if re.search(OTHER_NORMS, name) or issubclass(kind, BaseException) or getattr(kind, "_is_protocol", False):
        return False
    named = bool(re.search(r"batch|bn", name))  # what scales a data set has the methods of scikit-learn, too
    ways = [n for n in forwards_of(kind) if n != "fit_transform" or named]
    inside: set[str] = set()
    for method in vars(kind).values():
        code = getattr(inspect.unwrap(method) if callable(method) else method, "__code__", None)
        names = [n for n in getattr(code, "co_names", ()) if len(n.strip("_")) > 1]  # a letter may be anything
        inside |= {role_of(n) for n in names if is_running(n) or role_of(n) in ("gamma", "beta")}
    affine = {"gamma", "beta"} <= inside
    if not set(ways) & set(FORWARD):  # methods of other names are looked at in what can be nothing else
        return bool(ways) and (affine or bool(re.search(NAMED, name)))
    return bool(re.search(BATCH_NORM, name)) or {"mean", "var"} <= inside or affine


def methods_in(kind: type) -> list[str]:
    """Return the methods of a class, such as a network, that are the forward of a batch normalization by their name."""
    if re.search(BATCH_NORM, in_small(kind.__name__)):
        return []
    own = [n for n, v in vars(kind).items() if inspect.isfunction(v) and re.search(NAMED, in_small(n))]
    return [n for n in own if looks_like_a_function(functools.partial(getattr(kind, n), None), n)]


def inference_of_training(name: str) -> str | None:
    """Return the name of the training function that one of this name stands beside; None if it is no inference."""
    return re.sub(INFERS, "train", name) if re.search(INFERS, name) else None


def partner_for_inference(function: Callable[..., Any], scope: dict[str, Any]) -> Any:
    """Return the inference that stands beside a function that only trains; None if there is none."""
    name = in_small(name_in(scope, function))
    known = {in_small(n): v for n, v in scope.items() if inspect.isroutine(v)}
    for other, value in known.items():
        stem = inference_of_training(other)
        if stem is not None and name in (
            stem,
            stem.replace("train", "training"),
            stem.replace("_train", "").replace("train_", ""),
        ):
            return value
    return None


def name_in(scope: dict[str, Any], function: Any) -> str:
    """Return the name that a function has in a module: a decorator, a partial and a lambda leave it without its own."""
    own: str = getattr(function, "__name__", "")
    return own if scope.get(own) is function else next((n for n, v in scope.items() if v is function), own)


def backward_of(function: Callable[..., Any], scope: dict[str, Any]) -> Any:
    """Return the backward that stands beside a forward, by its name; None if there is none."""
    name = name_in(scope, function)
    small = {in_small(n): v for n, v in scope.items() if callable(v)}
    base = in_small(name)
    bare = re.sub(r"_?(forward|fwd|train)_?", "", base)
    wanted = [
        re.sub("forward|fwd", word, base)
        for word in ("backward", "bwd", "back", "backprop")
        if re.search("forward|fwd", base)
    ]
    wanted += [
        f"{b}_{word}"
        for b in (base, bare)
        for word in ("backward", "bwd", "grad", "gradient", "back", "backprop", "vjp")
    ]
    wanted += [f"{word}_{b}" for b in (base, bare) for word in ("backward", "d", "grad")]
    wanted += [f"d{b}" for b in (base, bare)] + (["backward"] if re.search("forward", base) else [])
    return next((small[w] for w in wanted if w in small and small[w] is not function), None)
