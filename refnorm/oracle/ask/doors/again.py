"""One layer used twice, as in training: what it gives then, beside what a new one gives that begins where it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.layers import LayerDoor, row
from refnorm.oracle.ask.doors.leaves import of_shape, size_of
from refnorm.oracle.ask.doors.libraries import to_numpy
from refnorm.oracle.ask.doors.names import role_of

CLEARING = r"^_?(zero|flush|reset|clear)_?(the_)?(param(eter)?_?)?grad(ient)?s?$"
Gradients = Callable[[Any, Any, Any, Any], tuple[Any, Any, Any]]  # of a layer, x, y and dy: dx, dgamma, dbeta


def used_twice(
    door: LayerDoor,
    gradients: Gradients | None,
    parameter: Callable[[Any], Any],
    x: Any,
    gamma: Any,
    beta: Any,
    mean: Any,
    var: Any,
    momentum: float,
    eps: float,
    other: Any,
    dy: Any,
) -> tuple[Any, ...]:
    """Go forward and back with ``other``, then with x; and with x in a new layer, of what the first has then.

    ``other`` may have more samples than x; it is its own upstream gradient. ``parameter`` makes gamma and beta for the
    new layer of arrays.

    Returns
    -------
    y, dx, running mean, running variance, dgamma, dbeta
        Each twice, of the layer that was used and of the new one: None where there is none. Statistics are left out
        where the layer counts its calls, which they may depend on.
    dgamma, dbeta
        Of ``other``: what they would be more by if they added up.

    Raises
    ------
    NotImplementedError
        If not even the first use, or that of the new layer, gives something: that is judged elsewhere.
    Exception
        Whatever a layer raises when it is used again.
    """
    given = {"gamma": gamma, "beta": beta, "mean": mean, "var": var, "momentum": momentum, "eps": eps}

    def use(layer: Any, x: Any, dy: Any) -> list[Any]:
        y = of_shape(door.called(layer, x, True), size_of(x))
        found = (None, None, None) if gradients is None else gradients(layer, x, y, dy)
        return [_copy(v) for v in (y, found[0], *_kept(door, layer, "mean", "var"), *found[1:])]

    try:
        used = door.made(given | {"x": other}, size_of(other) or ())
        door.fill(used, given | {"x": other}, True)
        counts = _numbers(used)
        first = use(used, other, other)
        counting = any(counts.get(name, value) != value for name, value in _numbers(used).items())
        for name in dir(type(used)):
            if re.search(CLEARING, name):
                getattr(used, name)()
        for role, slot in door.gradients.items():
            if slot.of_parameter and given[role] is not None:
                slot.set(used, door.library.own(np.zeros_like(to_numpy(given[role]))))
        now = dict(
            zip(("gamma", "beta", "mean", "var"), _kept(door, used, "gamma", "beta", "mean", "var"), strict=True)
        )
        own = {"gamma": parameter, "beta": parameter, "mean": door.library.own, "var": door.library.own}
        begin = {role: None if v is None else own[role](_copy(v)) for role, v in now.items()}
        new = door.made(given | begin | {"x": x}, size_of(x) or ())
        door.fill(new, given | begin | {"x": x}, True)
        wanted = use(new, x, dy)
    except Exception as error:
        raise NotImplementedError(str(error)) from error
    again = use(used, x, dy)
    pairs = [value for pair in zip(again, wanted, strict=True) for value in pair]
    if counting:
        pairs[4:8] = [None] * 4
    return *pairs, *first[4:]


def _kept(door: LayerDoor, layer: Any, *roles: str) -> list[Any]:
    return [row(door.slots[role].get(layer)) if role in door.slots else None for role in roles]


def _copy(value: Any) -> Any:
    return None if value is None else np.array(to_numpy(value))


def _numbers(layer: Any) -> dict[str, Any]:
    """Return the numbers that a layer keeps, those of its calls among them."""
    own = getattr(layer, "__dict__", {})
    found = {name: value for name, value in own.items() if isinstance(value, Number)}
    inside = own.get("_buffers", {})
    return found | {n: np.array(to_numpy(v)).tolist() for n, v in inside.items() if role_of(n) == "count"}
