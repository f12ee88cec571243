"""Cut an array into blocks that stay in the cache, and visit them with memory at hand, in several threads if many."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, NamedTuple, TypeVar

import numpy as np

from refnorm.formats import Array

T = TypeVar("T")

VALUES = 2**17  # in a block: 1 MiB in float64, so that an operation finds in the cache what the last one wrote
FEW = 2**12  # values that are not worth a plan
LEAST_VALUES = 32  # of a channel in a block, if it has so many, so that the sums of all blocks are few
LEAST_BLOCKS = 8  # for a thread, so that they are worth its start
BUFFER = 512  # values; NumPy copies what repeats more often than once in its buffer, of 8192 values if left alone
VIEWS = 64  # of scratch memory, one for each shape of a block, are remembered


class Block(NamedTuple):
    """Where a block lies.

    Attributes
    ----------
    index : in an array of the shape that was cut.
    channels : in an array that broadcasts against it, of length 1 along the reduced axes.
    part : 0, 1, ... among the blocks of the same channels.
    """

    index: Any
    channels: Any
    part: int


WHOLE = Block(..., ..., 0)


def most(itemsize: int) -> int:
    """Return how many values a block may hold: fewer in half precision, as rounding to it takes more memory."""
    return VALUES if itemsize > 2 else VALUES // 4


@functools.lru_cache(4)  # forward and backward visit the same blocks five times
def cut(shape: tuple[int, ...], strides: tuple[int, ...], reduced: tuple[int, ...], itemsize: int = 8) -> list[Block]:
    """Cut an array along any of its axes into blocks of neighbours in memory."""
    if math.prod(shape) <= min(FEW, most(itemsize)):
        return [WHOLE]
    inner_first = sorted(range(len(shape)), key=lambda axis: abs(strides[axis]))
    step = [1] * len(shape)
    for axis in (a for a in inner_first if a in reduced):
        step[axis] = min(shape[axis], -(-LEAST_VALUES // math.prod(step)))
    for axis in inner_first:
        step[axis] = min(shape[axis], max(step[axis], most(itemsize) * step[axis] // math.prod(step)))

    pieces = [[slice(i, min(i + s, n)) for i in range(0, n, s)] for n, s in zip(shape, step, strict=True)]
    parts = itertools.product(*(pieces[axis] for axis in reduced))
    number = {tuple(piece.start for piece in part): i for i, part in enumerate(parts)}
    return [
        Block(
            index,
            tuple(slice(None) if axis in reduced else piece for axis, piece in enumerate(index)),
            number[tuple(index[axis].start for axis in reduced)],
        )
        for index in itertools.product(*pieces)
    ]


def slab(shape: tuple[int, ...], strides: tuple[int, ...], reduced: tuple[int, ...], itemsize: int = 8) -> Any:
    """Return the index of all values at one place of the outermost axis; None if they are many, or that axis is short.

    Few they are if blocks hold several such slabs whole, so that what was repeated to fill one broadcasts against each
    block. NumPy's loops end wherever an operand starts to repeat: a mean per channel makes them as short as an image.
    """
    outer = max(range(len(shape)), key=lambda axis: abs(strides[axis]))
    values = math.prod(shape) // shape[outer]
    if outer not in reduced or values * LEAST_BLOCKS > most(itemsize) or shape[outer] < LEAST_BLOCKS:
        return None
    return (slice(None),) * outer + (slice(0, 1),)


class Scratch:
    """Memory to compute a block in: new memory may have to be zeroed by the system, which takes longer than that."""

    def __init__(self) -> None:
        self._kept: list[Array] = []
        self._views: dict[Any, list[Array]] = {}

    def like(self, block: Array, number: int, dtype: Any) -> list[Array]:
        """Return so many arrays of the shape, and in the order, of a block; the next call gives the same memory."""
        key = block.shape, block.strides, number, dtype
        if key not in self._views:
            size = block.size * np.dtype(dtype).itemsize
            if len(self._kept) < number or any(kept.size < size for kept in self._kept):
                self._kept = [np.empty(size, np.uint8) for _ in range(max(number, len(self._kept)))]
                self._views.clear()
            if len(self._views) == VIEWS:
                self._views.clear()
            outer_first = sorted(range(block.ndim), key=lambda axis: -abs(block.strides[axis]))
            shape, back = [block.shape[axis] for axis in outer_first], np.argsort(outer_first)
            flat = [kept[:size].view(dtype) for kept in self._kept[:number]]
            self._views[key] = [values.reshape(shape).transpose(back) for values in flat]
        return self._views[key]


_idle: list[Scratch] = []  # of calls that have ended: a call that interrupts another, or runs beside it, takes its own


def visit(blocks: Sequence[Block], task: Callable[[Block, Scratch], T]) -> list[T]:
    """Run a task on every block and return its results, in order, whatever the number of threads.

    NumPy lets other threads run while it computes. They are as many as OMP_NUM_THREADS says, or as there are cores.
    """

    def share(blocks: Sequence[Block]) -> list[T]:
        try:
            scratch = _idle.pop()
        except IndexError:
            scratch = Scratch()
        with np.errstate():  # gives the buffer back
            np.setbufsize(BUFFER)
            results = [task(block, scratch) for block in blocks]
        _idle.append(scratch)
        return results

    threads = len(blocks) // LEAST_BLOCKS
    if threads > 1:
        wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        threads = min(threads, int(wanted) if wanted.isdecimal() else os.cpu_count() or 1)
    if threads < 2:
        return share(blocks)
    from concurrent.futures import ThreadPoolExecutor

    size = -(-len(blocks) // (4 * threads))  # small enough that no thread waits long for the last one
    with ThreadPoolExecutor(threads) as pool:
        shares = [pool.submit(copy_context().run, share, blocks[i : i + size]) for i in range(0, len(blocks), size)]
        return [result for results in shares for result in results.result()]
