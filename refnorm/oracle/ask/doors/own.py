"""What offers refnorm's own functions (`refnorm.oracle.ask.interface`), whatever the order of their parameters."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from refnorm.oracle.ask.doors.names import role_of
from refnorm.oracle.ask.interface import ARGUMENTS, FUNCTIONS, offered

ROLES = {"running_mean": "mean", "running_var": "var"}
FORWARD = ("train", "infer", "frozen")


def own_functions(thing: Any) -> Any:
    """Return an implementation of these functions, called in the order that they ask for; None if it is none.

    A ``train(model, loader)`` beside it is no such function, and neither is the ``train(mode)`` of a torch.nn.Module.
    """
    functions = {name: getattr(thing, name) for name in offered(thing)}
    orders = {name: _order(name, function) for name, function in functions.items()}
    if not any(orders.get(name) is not None for name in ("train", "infer")):
        return None
    if all(order in ((), None) for order in orders.values()) and None not in [
        orders[n] for n in orders if n in FUNCTIONS
    ]:
        return thing
    return Reordered(thing, {name: order for name, order in orders.items() if order is not None})


class Reordered(SimpleNamespace):
    """Functions called by the names of their parameters."""

    def __init__(self, thing: Any, orders: dict[str, tuple[str, ...]]) -> None:
        also = {name: getattr(thing, name) for name in ("dtypes", "mixed", "convention") if hasattr(thing, name)}
        super().__init__(**also)
        for name, order in orders.items():
            setattr(self, name, _by_name(getattr(thing, name), ARGUMENTS[name], order))


def _by_name(function: Any, given: tuple[str, ...], order: tuple[str, ...]) -> Any:
    if not order:
        return function

    def called(*arguments: Any) -> Any:
        return function(**dict(zip(order, arguments, strict=True)))

    return called


def _order(name: str, function: Any) -> tuple[str, ...] | None:
    """Return () if a function takes its arguments as they are listed, else their names; None if it is another."""
    wanted = [ROLES.get(argument, argument) for argument in ARGUMENTS[name]]
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ()  # written in another language: it can only be tried
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return ()
    parameters = parameters[1:] if parameters and parameters[0].name == "self" else parameters
    if name not in FORWARD:
        needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        return () if len(needed) <= len(wanted) <= len(parameters) else None
    roles: dict[str, inspect.Parameter] = {}
    for p in parameters:
        roles.setdefault("x" if p.name in ("x", "X", "input", "inputs") else role_of(p.name), p)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    in_order = [role_of(p.name) for p in positional[: len(wanted)]]
    if len(positional) >= len(wanted) and all(
        found in (role, "") or role == "x" or found == "x" for found, role in zip(in_order, wanted, strict=False)
    ):
        return ()
    if set(wanted) <= set(roles):
        return tuple(roles[role].name for role in wanted)
    if len(positional) == len(wanted) and not set(in_order[1:]) - {""}:
        return ()
    return None
