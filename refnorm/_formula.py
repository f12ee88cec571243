"""Run a formula on block after block in the same memory, where NumPy would ask for a new array at every operation.

A formula such as ``(x - mean) * scale`` is called once, with values that record what is done to them. On each block the
recorded operations then write to memory that is used again: new memory may have to be zeroed by the system time and
again, which takes longer than the arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
VIEWS = 64  # of memory, one for each shape of a block, are remembered
Operation = Callable[..., Array]  # of operands and, as out, the memory for its result


class Value:
    """An argument of a formula or the result of an operation, known by its number."""

    def __init__(self, recording: list[tuple[Operation, tuple[int, ...]]], number: int, arguments: int) -> None:
        self._recording, self._number, self._arguments = recording, number, arguments

    def then(self, operation: Operation, *others: Value) -> Value:
        """Record an operation, and return its result."""
        self._recording.append((operation, (self._number, *(other._number for other in others))))
        return Value(self._recording, self._arguments + len(self._recording) - 1, self._arguments)

    def __add__(self, other: Value) -> Value:
        return self.then(np.add, other)

    def __sub__(self, other: Value) -> Value:
        return self.then(np.subtract, other)

    def __mul__(self, other: Value) -> Value:
        return self.then(np.multiply, other)


class Step(NamedTuple):
    """An operation, the numbers of its operands, and that of the memory for its result."""

    operation: Operation
    operands: tuple[int, ...]
    slot: int


class Program(NamedTuple):
    """What a formula does: for each of its results, the steps to it and its number; and how much memory they need."""

    parts: list[tuple[list[Step], int]]
    slots: int

    @classmethod
    @functools.lru_cache(32)
    def of(cls, formula: Callable[..., Any], narrow: tuple[bool, ...], others: int, masked: bool) -> Program:
        """Record a formula.

        Parameters
        ----------
        formula : returns a result, or yields several; each is used before it goes on.
        narrow : for each array, whether it has to be widened.
        others : number of arguments after the arrays.
        masked : whether a last argument, unknown to the formula, says which values to keep; others become 0.
        """
        count = len(narrow) + others + masked
        recording: list[tuple[Operation, tuple[int, ...]]] = []
        given = [Value(recording, number, count) for number in range(count)]
        mask = given.pop() if masked else None
        results = []
        wide = [value.then(_widened) if needed else value for value, needed in zip(given, narrow, strict=False)]
        found = formula(*wide, *given[len(narrow) :])
        for value in (found,) if isinstance(found, Value) else found:
            selected = value if mask is None else value.then(_selected, mask)
            results.append((len(recording), selected._number))
        return cls._planned(recording, results, count)

    @classmethod
    def _planned(
        cls, recording: list[tuple[Operation, tuple[int, ...]]], results: list[tuple[int, int]], count: int
    ) -> Program:
        """Give each step memory: that of an operand which nobody needs any more, or more."""
        last = {operand: at for at, (_, operands) in enumerate(recording) for operand in operands}
        for after, number in results:
            last[number] = max(last.get(number, 0), after)
        slots: dict[int, int] = {}
        steps = []
        for at, (operation, operands) in enumerate(recording):
            free = (slots[operand] for operand in operands if operand in slots and last[operand] == at)
            slots[count + at] = next(free, len(set(slots.values())))
            steps.append(Step(operation, operands, slots[count + at]))
        starts = [0, *(after for after, _ in results)]
        parts = [(steps[start:after], number) for start, (after, number) in zip(starts, results, strict=False)]
        return cls(parts, len(set(slots.values())))

    def run(
        self, arguments: Sequence[Array | float], memory: Sequence[Array], into: Array | None = None
    ) -> Iterator[Array]:
        """Yield the results on one block; the next overwrites them. The last step may write elsewhere."""
        values = list(arguments)
        end = len(arguments) + sum(len(steps) for steps, _ in self.parts) - 1
        for steps, number in self.parts:
            for operation, operands, slot in steps:
                out = into if into is not None and len(values) == end else memory[slot]
                values.append(operation(*[values[operand] for operand in operands], out=out))
            yield values[number]  # type: ignore[misc]  # a result is an array


class Memory:
    """Memory for the steps of programs; it is kept for the next program."""

    def __init__(self) -> None:
        self._kept: list[Array] = []
        self._views: dict[Any, list[Array]] = {}

    def like(self, block: Array, slots: int, dtype: Any) -> list[Array]:
        """Return arrays of the shape, and in the order, of a block."""
        key = block.shape, block.strides, slots, dtype
        if key not in self._views:
            size = block.size * np.dtype(dtype).itemsize
            if len(self._kept) < slots or any(kept.size < size for kept in self._kept):
                self._kept = [np.empty(size, np.uint8) for _ in range(max(slots, len(self._kept)))]
                self._views.clear()
            if len(self._views) == VIEWS:
                self._views.clear()
            outer_first = sorted(range(block.ndim), key=lambda axis: -abs(block.strides[axis]))
            shape, back = [block.shape[axis] for axis in outer_first], np.argsort(outer_first)
            flat = [kept[:size].view(dtype) for kept in self._kept[:slots]]
            self._views[key] = [values.reshape(shape).transpose(back) for values in flat]
        return self._views[key]


@functools.cache
def _threads() -> Any:
    import threading  # here, to keep the import of refnorm light

    return threading.local()


def own_memory() -> Memory:
    """Return the memory of this thread."""
    local = _threads()
    if not hasattr(local, "memory"):
        local.memory = Memory()
    memory: Memory = local.memory
    return memory


def _widened(values: Array, *, out: Array) -> Array:
    np.copyto(out, values)
    return out


def _selected(values: Array, mask: Array, *, out: Array) -> Array:
    """Put 0 where the mask is False: selected, never multiplied."""
    if values is not out:
        np.copyto(out, values)
    np.copyto(out, 0, where=~mask)
    return out
