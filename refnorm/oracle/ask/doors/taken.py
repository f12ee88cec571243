"""Which arrays something takes: of which library, in which ranks, and with the channels on which axis."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.binding import NotReadable, probe
from refnorm.oracle.ask.doors.derived import SHAPES, Doors
from refnorm.oracle.ask.doors.libraries import Library, kept_in, to_numpy
from refnorm.oracle.ask.troubled import exhausted

ROWS = r"\b[NBM]\s*,\s*[DCFKM]\b|(?i:\b(batch(_?size)?|samples|examples|rows)\b\s*,|\brows\b)"
COLUMNS = (
    r"\bm\s*=\s*\w+\.shape\[1\]|/\s*\w+\.shape\[1\]|(?i:\bcolumns?\b)|\b[nDCFdc]\s*,\s*[mNB]\b"
    r"|(?i:\b(n_\w+|\w*(features?|units|channels|dims?|neurons))\s*,\s*(m|N|\w*(samples|examples|batch)\w*)\b)"
)
ABOUT_RANK = r"(?i)\b\d-?d\b|dimension|rank|to unpack|axis \d|axes"  # how a rank is refused
WHOLE = 0.9  # of a channel's values change where one does, but for those that rounding leaves as they were


def by_columns(thing: Any, x: str = "") -> bool:
    """Whether samples may be columns: unless the source of a function or class says that they are rows.

    A function, whose parameter ``x`` is, must say it by a name or in a word: statistics of the wrong axis look alike.
    In a layer the shape of its parameters tells.
    """
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        return not x
    told = not x or x in ("Z", "A", "S", "z", "a", "s") or bool(re.search(COLUMNS, source))
    return told and not re.search(ROWS, source)


def turned(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Return a shape with the channels, which are on axis 1, on another one."""
    rest = [shape[0], *shape[2:]]
    rest.insert(axis % len(shape), shape[1])
    return tuple(rest)


def elsewhere(doors: Doors) -> dict[int, int]:
    """Return the axis that the channels are on, by rank of x, where it is not 1."""
    return {rank: axis for rank, (_, axis) in doors.items() if axis != 1}


def taken_shape(doors: Doors) -> tuple[int, ...]:
    """Return a shape that the first of some doors takes."""
    return turned(next(s for s in SHAPES if len(s) == min(doors)), doors[min(doors)][1])


def opened(
    read: Callable[..., Any], libraries: list[Library], last: bool = False, spread: bool = False, columns: bool = False
) -> tuple[Library, Doors]:
    """Return the first library whose arrays are taken, and by rank how, and where the channels are.

    With ``spread``, parameters of shape (1, C, 1, 1) are tried where rows of them are not taken. With ``columns``, x of
    shape (features, samples) is tried where statistics of the columns of (samples, features) are not taken.

    Raises
    ------
    Exception
        Whatever was raised first, if nothing is taken: where other ranks were refused, in the rank that was not.
    """
    errors = list[Exception]()
    for library in libraries:
        doors, mixed = Doors(), Doors()
        for shape in SHAPES:
            ways: list[tuple[int, dict[str, bool]]] = [(-1, {})] if last and len(shape) > 2 else [(1, {})]
            rows = None
            if len(shape) == 2 and columns:
                ways += [*([(0, {"spread": True})] if spread else []), (0, {})]
            if len(shape) > 2 and not last:
                first = any(axis == 1 for rank, (_, axis) in doors.items() if rank > 2)  # then in every rank
                ways += [*([(1, {"spread": True})] if spread else []), *([] if first else [(-1, {})])]
            for axis, how in ways:
                own = turned(shape, axis)
                try:
                    door = read(library, own, axis, **how)
                    turned_over = doors.get(2, (None, 1))[1] == 0
                    moved = np.moveaxis(_changed(door, library, own), axis, 0)
                    partly = max(doors, default=2) > 2 and _some_places(moved)
                    if partly or not _keeps(moved, door, axis, alone=2 not in doors, strict=turned_over):
                        if partly or (axis == 1 and len(shape) > 2 and _one_place(moved)):
                            doors.apart += (len(shape),)
                        rows = door if axis == 1 and not how else rows
                        continue
                except Exception as error:  # of foreign code: another library, or rank, may do
                    if exhausted(error):
                        raise
                    errors.append(error)
                    continue
                doors[len(shape)] = door, axis
                break
            else:
                if rows is not None:  # statistics across channels: a fault, which is left to the judge
                    (doors if len(shape) == 2 else mixed)[len(shape)] = rows, 1
        doors.update({} if doors else mixed)
        if len(doors) > 1 and doors.get(2, (None, 1))[1] == 0:
            del doors[2]  # code for more axes, which turns any two
        if doors:
            return library, doors
    errors.append(NotReadable("it cannot be called"))
    raise next((error for error in errors[:-1] if not re.search(ABOUT_RANK, str(error))), errors[0])


def _one_place(moved: Any) -> bool:
    """Whether a change of one value changes y in the same place of other samples, and nowhere else."""
    there = moved[(0, slice(None), *[0] * (moved.ndim - 2))]
    return bool(there[1:].any() and np.count_nonzero(moved) == np.count_nonzero(there))


def _some_places(moved: Any) -> bool:
    """Whether it changes y of other volumes along some axes, and along another in the same place alone."""
    if moved.ndim < 5 or moved[1:].any() or not moved[0][1:].any():
        return False
    along = [bool(np.delete(moved[0], 0, axis).any()) for axis in range(1, moved.ndim - 1)]
    return any(along) and not all(along)


def _changed(door: Any, library: Library, shape: tuple[int, ...]) -> Any:
    """Return where y changes with the first value of x."""
    x, *rest = probe(shape, library)
    other = np.array(to_numpy(x))
    other[(0,) * other.ndim] += 1.5
    settings = (0.5, 2.0**-10, True)
    results = [door.forward(v, *rest, *settings)[0] for v in (x, library.own(other))]
    if library.name == "engine" and not all(map(kept_in, results)):
        raise NotReadable("what comes back is no tensor that its gradients could be asked of")
    y, changed = (np.asarray(to_numpy(result)) for result in results)
    return y != changed


def _keeps(moved: Any, door: Any, axis: int, alone: bool, strict: bool) -> bool:
    """Whether channels are on this axis: a change of one value leaves the y of other channels as it was.

    Code for rows that is given maps may take each place in them for a channel: it does not take maps. Where it takes
    no rows, ``alone``, that is a fault, and is left to the judge. Where rows are columns, ``strict``, it takes no maps
    but by statistics of all samples.
    """
    if moved.ndim == 2 and axis == 1:
        return not moved[1:].any()
    if axis == 0 or moved.ndim in getattr(door, "spread", ()):
        return bool(not moved[1:].any() and np.mean(moved[0]) > WHOLE)
    samples = moved[0].reshape(len(moved[0]), -1)
    if strict and not samples[1:].any():
        return False
    shared = samples[:, 1:].any()  # each place in a map alone is no batch norm of channels
    return bool(not moved[1:].any() and ((axis == 1 and alone) or shared))
