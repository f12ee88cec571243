"""The two operations of batch normalization on whole arrays: affine maps per channel, and centred sums of products.

Every array result, forward, backward, forward mode and double backward, is affine per channel, and its coefficients are
sums. NumPy arrays are read block by block, in memory that is used again; other libraries look after theirs themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refnorm.formats import Array, round_once
from refnorm.reference._blocks import WHOLE, Block, Scratch, cut, slab, visit
from refnorm.reference._layout import Layout

PerChannel = Array | float  # one value per channel, of the kept shape; or one for all
Term = tuple[PerChannel, Array, PerChannel]  # factor, array, centre


def affine(layout: Layout, terms: Sequence[Term], constant: PerChannel = 0.0) -> Array:
    """Return constant + sum of factor (array - centre), rounded once to the dtype of x; 0 where masked.

    Parameters
    ----------
    terms : (factor, array, centre) each, the array of the shape of x.
    constant : per channel, as factors and centres are.
    """
    first = terms[0][1]
    blocks = _blocks(layout, first)
    if blocks == [WHOLE]:
        along, wide = layout.along, layout.wide_of
        parts = [(wide(array) - along(centre)) * along(factor) for factor, array, centre in terms]
        return layout.narrow(sum(parts[1:], parts[0]) + along(constant))
    result = np.empty_like(first, dtype=layout.dtype)
    spread = [(_spread(layout, f, first), array, _spread(layout, c, first)) for f, array, c in terms]
    last = _spread(layout, constant, first)

    def compute(block: Block, scratch: Scratch) -> None:
        at = block.index
        out, spare = scratch.like(result[at], 2, layout.wide)
        total = out if layout.dtype != layout.wide else result[at]
        for number, (factor, array, centre) in enumerate(spread):
            part = spare if number else total
            deviation = _deviation(layout, array[at], _here(centre, block), part)
            np.multiply(deviation, _here(factor, block), out=part)
            if number:
                np.add(total, part, out=total)
        if not _is_zero(last):
            np.add(total, _here(last, block), out=total)
        _selected(layout, total, block, total)
        if total is out:
            result[at] = round_once(np, total, layout.dtype)

    visit(blocks, compute)
    return result


def sums(
    layout: Layout, x: Array, centre: PerChannel, weights: Array | None = None, level: PerChannel = 0.0
) -> tuple[Array, Array]:
    """Return sum(w) and sum(w (x - centre)) over the values that count, of the kept shape, with w = weights - level.

    Without weights, w is x - centre: its sum, and the sum of its squares.
    """

    def parts(block: Block, scratch: Scratch) -> tuple[Array, Array]:
        product, spare = scratch.like(x[block.index], 2, layout.wide)
        deviation = _counted(layout, x, _here(along_centre, block), block, product)
        w = deviation if weights is None else _counted(layout, weights, _here(along_level, block), block, spare)
        first = _summed(layout, w)
        return first, _summed(layout, np.multiply(deviation, w, out=product))

    def plain() -> tuple[Array, Array]:
        deviation = layout.select(layout.wide_of(x) - layout.along(centre))
        w = deviation if weights is None else layout.select(layout.wide_of(weights) - layout.along(level))
        return _summed(layout, w), _summed(layout, deviation * w)

    blocks = _blocks(layout, x)
    along_centre, along_level = (c if blocks == [WHOLE] else _spread(layout, c, x) for c in (centre, level))
    first, second = _by_blocks(layout, blocks, parts, plain)
    return first, second


def total(layout: Layout, values: Array) -> Array:
    """Return sum(values) over the values that count, of the kept shape."""

    def part(block: Block, scratch: Scratch) -> tuple[Array]:
        (spare,) = scratch.like(values[block.index], 1, layout.wide)
        return (_summed(layout, _counted(layout, values, 0.0, block, spare)),)

    (result,) = _by_blocks(
        layout, _blocks(layout, values), part, lambda: (_summed(layout, layout.select(layout.wide_of(values))),)
    )
    return result


def average(layout: Layout, values: Array) -> Array:
    """Return the mean of the values that count, of the kept shape."""
    return total(layout, values) / layout.count


def _blocks(layout: Layout, x: Array) -> list[Block]:
    """Cut what can be written to block by block; other libraries look after their memory themselves."""
    if not isinstance(x, np.ndarray):
        return [WHOLE]
    return cut(x.shape, x.strides, layout.reduced, layout.dtype.itemsize)


def _by_blocks(
    layout: Layout,
    blocks: list[Block],
    parts: Callable[[Block, Scratch], tuple[Array, ...]],
    plain: Callable[[], tuple[Array, ...]],
) -> list[Array]:
    """Return sums from those of all blocks, or of the array as a whole, in the kept shape."""
    found = [plain()] if blocks == [WHOLE] else visit(blocks, parts)
    merged = (_merge(layout, blocks, same) for same in zip(*found, strict=True))
    return [layout.xp.reshape(values, layout.kept_shape) for values in merged]


def _deviation(layout: Layout, x: Array, centre: PerChannel, out: Array) -> Array:
    """Return x - centre in the wide dtype: written to out, or x itself where there is nothing to write."""
    if x.dtype == layout.wide:
        return x if _is_zero(centre) else np.subtract(x, centre, out=out)
    np.copyto(out, x)
    return out if _is_zero(centre) else np.subtract(out, centre, out=out)


def _selected(layout: Layout, values: Array, block: Block, out: Array) -> Array:
    """Return values with 0 wherever the mask says that they do not count: selected, never multiplied."""
    if layout.mask is None:
        return values
    if values is not out:
        np.copyto(out, values)
    np.copyto(out, 0, where=~layout.mask[block.index])
    return out


def _counted(layout: Layout, x: Array, centre: PerChannel, block: Block, out: Array) -> Array:
    """Return x - centre in one block, wide, 0 where masked: written to out, or x itself where that is all."""
    return _selected(layout, _deviation(layout, x[block.index], centre, out), block, out)


def _spread(layout: Layout, values: PerChannel, x: Array) -> PerChannel:
    """Shape one value per channel along x, repeated over its inner axes where that makes NumPy's loops longer."""
    values = layout.along(values)
    at = None if isinstance(values, float) else slab(x.shape, x.strides, layout.reduced, layout.dtype.itemsize)
    if at is None:
        return values
    result = np.empty_like(x[at], dtype=layout.wide)
    result[...] = values
    return result


def _here(values: PerChannel, block: Block) -> PerChannel:
    return values if isinstance(values, float) else values[block.channels]


def _is_zero(values: PerChannel) -> bool:
    return isinstance(values, float) and values == 0.0


def _merge(layout: Layout, blocks: Sequence[Block], parts: Sequence[Array]) -> Array:
    """Add up what the blocks of the same channels have summed up."""
    if len(blocks) == 1:
        return parts[0]
    shape = [n if a in layout.kept else 1 for a, n in enumerate(layout.shape)]
    rows = np.empty((1 + max(block.part for block in blocks), *shape), parts[0].dtype)
    for block, values in zip(blocks, parts, strict=True):
        rows[(block.part, *block.channels)] = values
    return _sum(layout, rows, (0,))


def _summed(layout: Layout, values: Array) -> Array:
    """Sum over the reduced axes, which keep length 1; a copy, should there be nothing to sum."""
    return _add(layout, _sum(layout, values, layout.reduced), ())


def _sum(layout: Layout, values: Array, axes: tuple[int, ...]) -> Array:
    """Sum over axes, which keep length 1.

    NumPy sums neighbours in memory pairwise. Elsewhere each axis is cut into eighths that are added up, until it is
    short, and summed up before the next: whatever the memory layout, the error grows with log2 of the count, not
    with the count (Higham 2002, section 4.2). All short axes in one sum would be as many as 8^4 values in a row.
    """
    inner = tuple(axis for i, axis in enumerate(reversed(axes), 1) if axis == values.ndim - i)
    if inner and isinstance(values, np.ndarray) and _contiguous(values, len(inner)):
        values, axes = _add(layout, values, inner, keepdims=True), axes[: -len(inner)]
    for axis in axes:
        at, before, after = (slice(None),) * axis, values.shape[:axis], values.shape[axis + 1 :]
        while (n := values.shape[axis]) > 8:
            whole, rest = values[(*at, slice(n - n % 8), ...)], values[(*at, slice(n - n % 8, n), ...)]
            values = _add(layout, layout.xp.reshape(whole, (*before, 8, n // 8, *after)), axis)
            values = layout.xp.concat((values, rest), axis=axis) if n % 8 else values
        if n != 1:
            values = _add(layout, values, axis, keepdims=True)
    return values


def _add(layout: Layout, values: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
    """Sum over axes, in the order in which the library does; NumPy's own sum takes a detour to the same."""
    add: Callable[..., Array] = np.add.reduce if isinstance(values, np.ndarray) else layout.xp.sum
    return add(values, axis=axis, keepdims=keepdims)


def _contiguous(values: Array, axes: int) -> bool:
    """Tell whether what the last axes hold lies together in memory."""
    return values.size > 0 and bool(values[(0,) * (values.ndim - axes)].flags.c_contiguous)
