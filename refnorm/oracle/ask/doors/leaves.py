"""Whatever a function returns, as a row of arrays with the way to each: through tuples, lists, dictionaries, fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.libraries import NoNumbers, to_numpy

Way = tuple[Any, ...]  # keys, indices and names of attributes, from the outside in
NESTED = 4  # levels that are looked through


def leaves(value: Any, way: Way = ()) -> Iterator[tuple[Way, Any]]:
    """Yield what is in a returned value, each with the way to it."""
    steps: list[Any] = []
    if _is_array(value) or len(way) >= NESTED:
        yield way, value
        return
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, tuple | list):
        steps = list(range(len(value)))
    elif dataclasses.is_dataclass(value):
        steps = [f".{field.name}" for field in dataclasses.fields(value)]
    if not steps:
        yield way, value
    for step in steps:
        yield from leaves(_at(value, step), (*way, step))


def found_at(value: Any, way: Way) -> Any:
    """Return what is found on a way into a value."""
    for step in way:
        value = _at(value, step)
    return value


def of_shape(value: Any, shape: tuple[int, ...] | None) -> Any:
    """Return the first thing of a shape in a value; what a function returns may differ from mode to mode.

    Raises
    ------
    NoNumbers
        If nothing has it.
    """
    for _, leaf in leaves(value):
        if size_of(leaf) == shape:
            return leaf
    raise NoNumbers(f"nothing of the shape of x, {shape}, comes back")


def size_of(value: Any) -> tuple[int, ...] | None:
    """Return the shape of what is an array of numbers, or a rectangular list of them; None of anything else."""
    try:
        if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.ndarray):
            return tuple(int(n) for n in value.shape)  # of what is only traced, too
    except (TypeError, RuntimeError):  # of a lazy layer, whose parameters have no shape yet
        return None
    try:
        array = to_numpy(value)
    except NoNumbers:
        return None
    return None if array is None or array.dtype.kind not in "fiuVc" else array.shape


def flat(value: Any) -> Any:
    """Return an array's values in a row, as float64."""
    return np.asarray(to_numpy(value), dtype=np.float64).reshape(-1)


def _is_array(value: Any) -> bool:
    """Whether a value is one array: a list of numbers is, a list of arrays is not."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(v, int | float) or (isinstance(v, list) and _is_array(v)) for v in value)
    return not isinstance(value, tuple | dict) and size_of(value) is not None


def _at(value: Any, step: Any) -> Any:
    if isinstance(step, str) and step.startswith("."):
        return getattr(value, step[1:])
    return value[step]
