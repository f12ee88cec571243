"""Which array library, which axes keep statistics, and two roundings: widen at the door, round once on the way out."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import numpy as np

from refnorm._blocks import WHOLE, Block, cut, slab, visit
from refnorm._formula import Program, own_memory

Array = Any  # an array of any library that follows the array API standard
Axes = int | Sequence[int]

# significand bits and smallest normal exponent of every format that a result may be rounded to
FORMATS = {"float64": (53, -1022), "float32": (24, -126), "bfloat16": (8, -126), "float16": (11, -14)}
COMPLEX = ("complex64", "complex128")

# Undefined operations follow IEEE 754 (0/0 is NaN, overflow is inf) without NumPy's warnings, as in other libraries.
ieee = np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore")


@dataclass(frozen=True, eq=False)
class Layout:
    """An array seen as batch normalization sees it: some axes keep statistics, all others are averaged over.

    Attributes
    ----------
    xp : the array library of ``x`` as an array API namespace.
    kept, reduced : axes that keep their own statistics, and the others, ascending.
    shape, dtype : of ``x``; results are rounded to this dtype, once.
    wide : the dtype to compute in: float64 (complex128), or the widest that the library has.
    mask : boolean, of ``shape``; False where a value does not count. ``None`` when all count.
    count : values per channel: an int, or with a mask an array of the kept shape.
    """

    xp: Any
    kept: tuple[int, ...]
    reduced: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: Any
    wide: Any
    mask: Array | None
    count: int | Array

    @classmethod
    def of(cls, x: Array, axis: Axes, where: Array | None = None) -> Layout:
        """Examine ``x`` and raise if it has no batch-normalization layout."""
        xp = namespace(x, "x")
        kept = kept_axes(axis, x.shape)
        reduced = tuple(a for a in range(x.ndim) if a not in kept)
        count = math.prod(x.shape[a] for a in reduced)
        layout = cls(xp, kept, reduced, tuple(x.shape), x.dtype, _widest(xp, _format(x, "x")), None, count)
        return layout if where is None else layout._masked(where)

    def _masked(self, where: Array) -> Layout:
        xp = self.xp
        if namespace(where, "where") is not xp or where.dtype != xp.bool:
            raise TypeError(f"where must be a boolean array of the library of x, got {_describe(where)}")
        try:
            mask = xp.broadcast_to(where, self.shape)
        except (ValueError, RuntimeError, TypeError):  # each library raises its own
            shape = tuple(where.shape)
            raise ValueError(f"where of shape {shape} does not broadcast to x of shape {self.shape}") from None
        counted = replace(self, wide=_widest(xp, "float64"))
        return replace(self, mask=mask, count=counted.totals(lambda where: (where,), [mask])[0])

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """Shape of statistics and parameters."""
        return tuple(self.shape[a] for a in self.kept)

    def require_values(self) -> None:
        """Raise if a channel has no value to take statistics of (with a mask: if known without a transfer)."""
        if self.mask is None and self.count == 0:
            raise ValueError(
                f"x of shape {self.shape} has no values to average over axes {self.reduced}; "
                "an empty batch has no statistics: skip it, or use batch_norm_inference"
            )
        if self.mask is not None and array_api_compat.is_numpy_array(self.mask) and not np.all(self.count):
            empty = np.argwhere(np.asarray(self.count) == 0)[0].tolist()
            raise ValueError(
                f"where leaves no value in channel {tuple(empty)} of x with shape {self.shape}; "
                "every channel needs at least one True"
            )

    def check(self, array: Array, name: str) -> None:
        """Raise if an array is not of the shape and library of x."""
        self._check(array, name, self.shape, "the shape of x")

    def parameter(self, array: Array | None, name: str, default: float = 0.0) -> Array | float:
        """Take one value per channel into the wide dtype; None is one number for all."""
        if array is None:
            return default
        meaning = f"one value per channel, axis {self.kept} of x with shape {self.shape}"
        self._check(array, name, self.kept_shape, meaning)
        return self.xp.astype(array, self.wide, copy=False)

    def _check(self, array: Array, name: str, shape: tuple[int, ...], meaning: str) -> None:
        if namespace(array, name) is not self.xp:
            raise TypeError(f"{name} is {_describe(array)}, but x is of {self.xp.__name__}; convert one to the other")
        if tuple(array.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(array.shape)}, expected {shape}: {meaning}")
        if _format(array, name) in COMPLEX and dtype_name(self.dtype) not in COMPLEX:
            raise TypeError(f"{name} is complex but x is {dtype_name(self.dtype)}; make x complex as well")

    def map(self, formula: Callable[..., Array], arrays: Sequence[Array], channels: Sequence[Array | float]) -> Array:
        """Apply a formula to each value on its own, and round the result once to the dtype of x.

        Parameters
        ----------
        formula : takes the arrays, wide, and then the channels, shaped to broadcast against them.
        arrays : of the shape of x. Where the mask is False the result is 0: selected, never multiplied.
        channels : one value per channel each, or one number for all.
        """
        channels = [self.along(values) for values in channels]
        blocks = self._blocks(arrays[0])
        if blocks == [WHOLE]:
            return self.narrow(formula(*self._wide(arrays), *channels))
        result = np.empty_like(arrays[0], dtype=self.dtype)

        def rounded(block: Block, values: Array) -> None:
            if self.dtype != self.wide:
                result[block.index] = round_once(self.xp, values, self.dtype)

        into = result if self.dtype == self.wide else None
        self._visit(blocks, formula, arrays, channels, rounded, into)
        return result

    def totals(
        self, terms: Callable[..., Iterable[Array]], arrays: Sequence[Array], channels: Sequence[Array | float] = ()
    ) -> tuple[Array, ...]:
        """Sum up terms over the reduced axes, to the kept shape; what the mask leaves out does not count.

        Parameters
        ----------
        terms : as the formula of `map`, but gives several results; each is summed up on its own.
        arrays, channels : as in `map`.
        """
        channels = [self.along(values) for values in channels]
        blocks = self._blocks(arrays[0])

        def total(block: Block, values: Array) -> Array:
            return self.xp.sum(
                self._sum(values, self.reduced), axis=()
            )  # a copy, should there have been nothing to sum

        if blocks == [WHOLE]:
            parts = [[total(WHOLE, self.select(values)) for values in terms(*self._wide(arrays), *channels)]]
        else:
            parts = self._visit(blocks, terms, arrays, channels, total)
        merged = (self._merge(blocks, values) for values in zip(*parts, strict=True))
        return tuple(self.xp.reshape(v, self.kept_shape) for v in merged)

    def averages(
        self, terms: Callable[..., Iterable[Array]], arrays: Sequence[Array], channels: Sequence[Array | float] = ()
    ) -> tuple[Array, ...]:
        """Average terms over the values that count, otherwise as `totals`."""
        return tuple(total / self.count for total in self.totals(terms, arrays, channels))

    def _blocks(self, x: Array) -> list[Block]:
        """Cut what can be written to block by block; other libraries look after their memory themselves."""
        if not isinstance(x, np.ndarray):
            return [WHOLE]
        return cut(x.shape, x.strides, self.reduced, self.dtype.itemsize)

    def along(self, values: Array | float) -> Array | float:
        """Shape one value per channel so that it broadcasts against x."""
        if isinstance(values, float):
            return values
        return self.xp.reshape(values, tuple(n if a in self.kept else 1 for a, n in enumerate(self.shape)))

    def _wide(self, arrays: Sequence[Array]) -> list[Array]:
        return [self.xp.astype(array, self.wide, copy=False) for array in arrays]

    def _visit(
        self,
        blocks: Sequence[Block],
        formula: Callable[..., Any],
        arrays: Sequence[Array],
        channels: Sequence[Array | float],
        use: Callable[[Block, Array], Any],
        into: Array | None = None,
    ) -> list[list[Any]]:
        """Run a formula on each block, use each of its results before the next; the last may be written elsewhere."""
        masks = [] if self.mask is None else [self.mask]
        channels = [v if isinstance(v, float) else self._repeated(v, arrays[0]) for v in channels]
        program = Program.of(formula, tuple(array.dtype != self.wide for array in arrays), len(channels), bool(masks))

        def run(block: Block) -> list[Any]:
            at = [array[block.index] for array in arrays]
            memory = own_memory().like(at[0], program.slots, self.wide)
            at += [v if isinstance(v, float) else v[block.channels] for v in channels]
            at += [mask[block.index] for mask in masks]
            results = program.run(at, memory, None if into is None else into[block.index])
            return [use(block, values) for values in results]

        return visit(blocks, run)

    def _repeated(self, values: Array, x: Array) -> Array:
        """Repeat one value per channel along all axes but the outermost, where that makes NumPy's loops longer."""
        at = slab(x.shape, x.strides, self.reduced, self.dtype.itemsize)
        if at is None:
            return values
        result = np.empty_like(x[at], dtype=self.wide)
        result[...] = values
        return result

    # Whole arrays at once, for formulas that are to be read line by line.

    def widen(self, array: Array, name: str) -> Array:
        """Take an array of the shape of x into the wide dtype; masked values become 0."""
        self.check(array, name)
        return self.select(self.xp.astype(array, self.wide, copy=False))

    def select(self, values: Array) -> Array:
        """Put 0 wherever the mask says that a value does not count."""
        return values if self.mask is None else self.xp.where(self.mask, values, self.xp.zeros_like(values))

    def total(self, values: Array) -> Array:
        """Sum over the reduced axes, to the kept shape."""
        return self.totals(lambda values: (values,), [values])[0]

    def average(self, values: Array) -> Array:
        """Mean over the values that count, to the kept shape."""
        return self.total(values) / self.count

    def narrow(self, values: Array) -> Array:
        """Round from the wide dtype to the dtype of x, once; 0 where masked."""
        return round_once(self.xp, self.select(values), self.dtype)

    def _merge(self, blocks: Sequence[Block], sums: Sequence[Array]) -> Array:
        """Add up what the blocks of the same channels have summed up."""
        if len(blocks) == 1:
            return sums[0]
        shape = [n if a in self.kept else 1 for a, n in enumerate(self.shape)]
        parts = np.empty((1 + max(block.part for block in blocks), *shape), sums[0].dtype)
        for block, values in zip(blocks, sums, strict=True):
            parts[(block.part, *block.channels)] = values
        return self._sum(parts, (0,))

    def _sum(self, values: Array, axes: tuple[int, ...]) -> Array:
        """Sum over axes, which keep length 1.

        NumPy sums neighbours in memory pairwise. Elsewhere each axis is cut into eighths that are added up, until it is
        short, and summed up before the next: whatever the memory layout, the error grows with log2 of the count, not
        with the count (Higham 2002, section 4.2). All short axes in one sum would be as many as 8^4 values in a row.
        """
        inner = tuple(axis for i, axis in enumerate(reversed(axes), 1) if axis == values.ndim - i)
        if inner and isinstance(values, np.ndarray) and _contiguous(values, len(inner)):
            values, axes = np.add.reduce(values, axis=inner, keepdims=True), axes[: -len(inner)]
        for axis in axes:
            at, before, after = (slice(None),) * axis, values.shape[:axis], values.shape[axis + 1 :]
            while (n := values.shape[axis]) > 8:
                whole, rest = values[(*at, slice(n - n % 8), ...)], values[(*at, slice(n - n % 8, n), ...)]
                values = self.xp.sum(self.xp.reshape(whole, (*before, 8, n // 8, *after)), axis=axis)
                values = self.xp.concat((values, rest), axis=axis) if n % 8 else values
            if n != 1:
                values = self.xp.sum(values, axis=axis, keepdims=True)
        return values


def _contiguous(values: np.ndarray[Any, Any], axes: int) -> bool:
    """Tell whether what the last axes hold lies together in memory."""
    return values.size > 0 and values[(0,) * (values.ndim - axes)].flags.c_contiguous


def namespace(array: Array, name: str) -> Any:
    """Array API namespace of ``array``; TypeError with the argument's name if it is no array."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; pass {name}.data, and where=~mask for the values that count")
    try:
        return array_api_compat.array_namespace(array)
    except TypeError:
        raise TypeError(
            f"{name} must be an array (NumPy, CuPy, torch, JAX, dask, ...), got {type(array).__name__}; "
            "numpy.asarray makes one"
        ) from None


def dtype_name(dtype: Any) -> str:
    """Name of a dtype, the same in every library: ``torch.float32`` and NumPy's ``float32`` are both float32."""
    return str(getattr(dtype, "name", None) or str(dtype).rpartition(".")[2])


def kept_axes(axis: Axes, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Normalise ``axis`` to ascending non-negative axes of an array of this shape."""
    ndim = len(shape)
    try:
        axes = [operator.index(a) for a in axis] if isinstance(axis, Sequence) else [operator.index(axis)]
    except TypeError:
        raise TypeError(f"axis must be an int or a sequence of ints, got {axis!r}") from None
    for a in axes:
        if not -ndim <= a < ndim:
            usable = f"{-ndim}..{ndim - 1}" if ndim else "()"
            raise ValueError(f"axis={a} is out of range for x of shape {tuple(shape)}; use {usable}")
    kept = tuple(sorted(a % ndim for a in axes))
    if len(set(kept)) < len(kept):
        raise ValueError(f"axis={axis!r} names an axis of x with shape {tuple(shape)} twice")
    return kept


def non_negative(value: float, name: str) -> float:
    """Return ``value`` as a float; it must be finite and not below 0."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}={value!r} must be finite and at least 0")
    return number


def at_least_one(count: int | Array) -> int | Array:
    """Return counts to divide by: 1 in place of 0, where there is nothing to divide."""
    if isinstance(count, int):
        return max(count, 1)
    return count + namespace(count, "count").astype(count == 0, count.dtype)


def round_once(xp: Any, values: Array, dtype: Any) -> Array:
    """Round float64 to a narrower dtype once, to nearest, ties to even.

    Several libraries reach float16 and bfloat16 from float64 through float32, which rounds twice. So the value is first
    rounded in float64 arithmetic to the target's grid, which every later cast keeps: adding and subtracting
    C = 1.5 · 2^52 · ulp rounds to a multiple of ulp, and the unit in the first place that gives ulp comes from four
    operations (Rump, Ogita & Oishi 2008, *Accurate floating-point summation part I*, Algorithm 3.5).
    """
    if values.dtype == dtype:
        return values
    bits, exponent = FORMATS.get(dtype_name(dtype), FORMATS["float64"])
    if bits < 24 and dtype_name(values.dtype) == "float64":
        scaled = (2.0**52 + 1) * values
        first_place = xp.abs(scaled - (1 - 2.0**-53) * scaled)
        smallest = xp.full_like(values, 2.0**exponent)
        shift = xp.where(first_place > smallest, first_place, smallest) * (1.5 * 2.0 ** (52 + 1 - bits))
        rounded = (values + shift) - shift
        values = xp.where(rounded == 0, values * 0.0, rounded)  # keeps the sign of zero
    return xp.astype(values, dtype, copy=False)


def _describe(array: Array) -> str:
    return f"{type(array).__module__.partition('.')[0]} {dtype_name(array.dtype)} of shape {tuple(array.shape)}"


def _format(array: Array, name: str) -> str:
    kind = dtype_name(array.dtype)
    if kind not in FORMATS and kind not in COMPLEX:
        raise TypeError(
            f"{name} is {kind}, expected a floating-point array ({', '.join([*FORMATS, *COMPLEX])}); "
            "convert it first, to float32 say"
        )
    return kind


def _widest(xp: Any, kind: str) -> Any:
    names = ("complex128", "complex64") if kind in COMPLEX else ("float64", "float32")
    group = "complex floating" if kind in COMPLEX else "real floating"
    available = xp.__array_namespace_info__().dtypes(kind=group)
    return next(available[name] for name in names if name in available)
