"""Population statistics: the mean and variance of a data set that does not fit into memory, exactly merged."""

from __future__ import annotations

import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import array_api_compat
import numpy as np

from refnorm.formats import Array
from refnorm.reference._layout import Axes, kept_axes
from refnorm.reference.statistics import Statistics

CHUNK = 2**22  # values of an array that are read at once
SECONDS = 30.0  # between two checkpoints


def population_statistics(
    batches: Array | Iterable[Array],
    *,
    axis: Axes = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
) -> Statistics:
    """Take the statistics of all values of a data set, in constant memory, for inference.

    The statistics of the batches are merged two by two (`Statistics.merge`), as in a tree, so that the error grows with
    log2 of their number. An average of the batches' variances would lack the variance of their means.

    Parameters
    ----------
    batches : iterable of arrays, of any sizes; or one array, memory-mapped perhaps, which is read chunk by chunk; or a
        dask.array, whose chunks are merged as a tree by whatever scheduler is active, on one machine or many.
    axis : the axis, or axes, that keep their own statistics.
    checkpoint : file that keeps what has been merged so far, written every half minute, when interrupted and at the end
        (aside, then renamed). If it exists, its work is taken up: the batches that it holds are drawn from the
        iterable in the same order, and a sample of each tells whether they are the same. NumPy arrays only.
    progress : wraps the batches to show how far it is, ``tqdm.tqdm`` for one; called with the batches and ``total=``.

    Returns
    -------
    Statistics
        ``mean`` is within 8 u log2(number of batches) of the largest |x|.

    Raises
    ------
    ValueError
        There are no batches, their channels differ, or the checkpoint is damaged or of other data.

    Examples
    --------
    >>> import numpy as np
    >>> batches = [np.array([[1.0], [2.0]]), np.array([[6.0]])]
    >>> population = population_statistics(batches)
    >>> population.count, population.mean, population.var.round(12)               # 14/3; averaged it would be 1/8
    (3, array([3.]), array([4.66666667]))
    """
    if array_api_compat.is_dask_array(batches):
        return _merged_by_dask(batches, axis)
    total = len(batches) if isinstance(batches, Sized) else None
    if array_api_compat.is_array_api_obj(batches):
        batches, total = _chunks(batches, axis)

    path = None if checkpoint is None else os.fspath(checkpoint)
    seen, done = b"", 0
    partial: list[tuple[int, Statistics]] = []
    remaining: Iterable[Array] = iter(batches)
    if path is not None and os.path.exists(path):
        seen, done, partial = _load(path, axis)
        if functools.reduce(_look, itertools.islice(remaining, done), b"") != seen:
            raise ValueError(f"checkpoint {path} is of other data, of {done} batches; delete it to start anew")
    if progress is not None:
        remaining = progress(remaining, total=None if total is None else total - done)
    saved = time.monotonic()
    try:
        for batch in remaining:
            partial = _push(partial, Statistics.of(batch, axis=axis))
            done += 1
            seen = seen if path is None else _look(seen, batch)
            if path is not None and time.monotonic() - saved > SECONDS:
                _save(path, axis, seen, done, partial)
                saved = time.monotonic()
    finally:
        if path is not None and partial:
            _save(path, axis, seen, done, partial)
    if not partial:
        raise ValueError("there are no batches to take statistics of; an iterator may have been used up before")
    return _merge(partial)


def _push(partial: list[tuple[int, Statistics]], new: Statistics) -> list[tuple[int, Statistics]]:
    """Add a batch to merges of 1, 2, 4, ... batches, of which two equal ones become one, as in a binary counter."""
    level = 0
    while partial and partial[-1][0] == level:
        *partial, (_, last) = partial
        new, level = last.merge(new), level + 1
    return [*partial, (level, new)]


def _merge(partial: list[tuple[int, Statistics]]) -> Statistics:
    *rest, (_, merged) = partial
    for _, statistics in reversed(rest):  # small ones first
        merged = statistics.merge(merged)
    return merged


def _chunks(x: Array, axis: Axes) -> tuple[Iterator[Array], int]:
    """Cut an array along its first axis that keeps no statistics."""
    kept = kept_axes(axis, x.shape)
    cut = next((a for a in range(x.ndim) if a not in kept), None)
    if cut is None or math.prod(x.shape) == 0:
        return iter([x]), 1
    length = max(1, CHUNK * x.shape[cut] // math.prod(x.shape))
    starts = range(0, x.shape[cut], length)
    at = (slice(None),) * cut
    return (x[(*at, slice(start, start + length), ...)] for start in starts), len(starts)


def _merged_by_dask(x: Array, axis: Axes) -> Statistics:
    """Merge the statistics of the chunks of a dask array, as a tree of its tasks."""
    from dask.delayed import delayed

    kept = kept_axes(axis, x.shape)
    x = x.rechunk(dict.fromkeys(kept, -1))  # each chunk holds all channels
    parts = [delayed(Statistics.of)(chunk, axis=axis) for chunk in x.to_delayed().ravel()]
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [delayed(Statistics.merge)(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    merged: Statistics = parts[0].compute()
    return merged


def _look(seen: bytes, batch: Array) -> bytes:
    """Continue a digest of batches by their shape, format and some thousand of their values, evenly spread."""
    import hashlib

    if not isinstance(batch, np.ndarray):
        raise TypeError("a checkpoint can hold NumPy statistics only; convert the batches, or go without")
    some = np.asarray(batch.flat[:: max(1, batch.size // 1024)])
    return hashlib.sha256(seen + repr((batch.shape, batch.dtype.str)).encode() + some.tobytes()).digest()


def _save(path: str, axis: Axes, seen: bytes, done: int, partial: list[tuple[int, Statistics]]) -> None:
    """Write what has been merged so far aside, in a place of its own, then rename."""
    import tempfile

    whole = os.path.realpath(path)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(whole), prefix=os.path.basename(whole)[:100]) as folder:
        aside = os.path.join(folder, "partial")
        with open(aside, "wb") as file:
            np.savez(
                file,
                axis=np.atleast_1d(axis),
                seen=np.frombuffer(seen, np.uint8),
                done=done,
                level=[level for level, _ in partial],
                count=[statistics.count for _, statistics in partial],
                mean=[statistics.mean for _, statistics in partial],
                var=[statistics.var for _, statistics in partial],
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, whole)


def _load(path: str, axis: Axes) -> tuple[bytes, int, list[tuple[int, Statistics]]]:
    """Read a checkpoint; ValueError, with what to do, if it is damaged or of another axis."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            old_axis, seen, done, level = file["axis"], file["seen"].tobytes(), int(file["done"]), file["level"]
            count, mean, var = file["count"], file["mean"], file["var"]
        sound = mean.shape == var.shape and len(mean) == len(count) == len(level) > 0 and done == sum(2**level)
        sound = sound and bool(np.all(count > 0) and np.all((var >= 0) & ~np.isnan(mean) | np.isnan(var)))
    except Exception as error:  # zipfile, zlib, NumPy and the operating system each raise their own
        raise ValueError(f"checkpoint {path} cannot be read ({error}); delete it to start anew") from error
    if not sound or not np.array_equal(old_axis, np.atleast_1d(axis)):
        raise ValueError(
            f"checkpoint {path} is damaged or of another axis (axis={old_axis.tolist()}, not {axis}); "
            "delete it to start anew"
        )
    parts = zip(level.tolist(), count.tolist(), mean, var, strict=True)
    return seen, done, [(rank, Statistics(n, m, v)) for rank, n, m, v in parts]
