"""Channels as integers, and affine maps of their values in double-double arithmetic: what makes large arrays fast."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from flint import fmpq
from numpy.lib.array_utils import normalize_axis_tuple

from refnorm.exact.nearest import roundings
from refnorm.exact.number import Exact, Floats, Number, rational
from refnorm.formats import Array

Axes = int | Sequence[int]
SOME = 4096  # elements at a time, as integers of thousands of digits


def kept_axes(axis: Axes, ndim: int) -> tuple[int, ...]:
    """Return the axes that keep their own statistics, ascending and non-negative."""
    return tuple(sorted(normalize_axis_tuple(axis, ndim)))


@dataclass(frozen=True)
class Channel:
    """The values of one channel that count, as rationals over one power of two, and where they stand in the array."""

    index: npt.NDArray[np.intp]
    integers: list[int]
    unit: fmpq

    @cached_property
    def total(self) -> fmpq:
        """Sum of the values."""
        return self.unit * sum(self.integers)

    @cached_property
    def squares(self) -> fmpq:
        """Sum of the squares of the values."""
        return self.dot(self)

    def dot(self, other: Channel) -> fmpq:
        """Sum of the products with another channel's values."""
        return self.unit * other.unit * sum(map(int.__mul__, self.integers, other.integers))


class Affine(NamedTuple):
    """The exact number constant + sum of factor * (value - centre), with one root v in factors: see `affine`."""

    constant: fmpq
    terms: tuple[tuple[fmpq, fmpq], ...]  # (factor before 1/sqrt(v), centre) per array of values
    v: fmpq

    def number(self, values: Sequence[float]) -> Number:
        """Return the exact number for one element's values."""
        pairs = zip(self.terms, values, strict=True)
        return Number(self.constant, sum((f * (rational(value) - c) for (f, c), value in pairs), fmpq(0)), self.v)


def channels_of(array: Array, axis: Axes, where: Array | None) -> Sequence[Channel]:
    """Split an array into channels, row-major over the kept axes; masked values are left out."""
    mask = np.ones(array.shape, bool) if where is None else np.broadcast_to(where, array.shape)
    if mask.dtype != bool:
        raise TypeError(f"where must be a boolean array, got {mask.dtype}")
    values = np.asarray(array, dtype=np.float64)
    if not np.all(np.isfinite(values[mask])):
        raise ValueError("exact arithmetic needs finite values; NaN and inf have no rational")
    return _channels(values.tobytes(), array.shape, kept_axes(axis, array.ndim), mask.tobytes())


@lru_cache(maxsize=16)
def _channels(content: bytes, shape: tuple[int, ...], kept: tuple[int, ...], masked: bytes) -> tuple[Channel, ...]:
    """Split float64 values, given as their bytes, into channels: y, gradients and statistics ask for the same ones."""
    reduced = tuple(a for a in range(len(shape)) if a not in kept)
    flat, mask = np.frombuffer(content), np.frombuffer(masked, bool)
    rows, columns = math.prod(shape[a] for a in kept), math.prod(shape[a] for a in reduced)
    order = np.arange(flat.size).reshape(shape).transpose(kept + reduced).reshape(rows, columns)
    found = []
    for row in order:
        index = row[mask[row]]
        if not index.size:
            raise ValueError(f"a channel of shape {shape} kept along {kept} has no values")
        fraction, exponent = np.frexp(flat[index])
        lowest = int(exponent[fraction != 0].min(initial=2000)) if fraction.any() else 0
        shifts = np.where(fraction != 0, exponent - lowest, 0).tolist()
        integers = [i << s for i, s in zip(np.ldexp(fraction, 53).astype(np.int64).tolist(), shifts, strict=True)]
        found.append(Channel(index, integers, fmpq(2) ** (lowest - 53)))
    return tuple(found)


def parameters(array: Array | None, channels: int, default: int | None = None) -> list[fmpq]:
    """Return one rational per channel, ``default`` where the array is None; TypeError if there is no default."""
    if array is None:
        if default is None:
            raise TypeError("a mean or a variance must be an array of one value per channel, got None")
        return [fmpq(default)] * channels
    values = np.asarray(array, dtype=np.float64).reshape(-1).tolist()
    if len(values) != channels:
        raise ValueError(
            f"a parameter or statistic has {len(values)} values, expected one for each of {channels} channels"
        )
    return [rational(value) for value in values]


def rationals(shape: tuple[int, ...], values: Sequence[fmpq]) -> Exact:
    """Collect rationals."""
    return Exact.of(shape, [Number(value, fmpq(0), fmpq(1)) for value in values])


def affine(shape: tuple[int, ...], channels: Sequence[Channel], lines: Sequence[Affine], *arrays: Array) -> Exact:
    """Evaluate constant + sum of factor/sqrt(v) * (value - centre) for every element, in double-double.

    Error: each constant is a double-double, within 2^-106 of itself; a difference, product or sum of double-doubles
    adds at most 2^-102 of the magnitudes that enter it (Joldes, Muller & Popescu 2017); at most seven are in a row. So
    2^-98 (|constant| + sum |factor| (|value| + |centre|)) covers them, with 2^-1070 for products that underflow. A
    factor or centre whose second half underflows is off by up to 2^-1075 more, and its partner in the product
    multiplies that: 2^-1073 sum (|factor| + |value| + |centre|). Overflow gives NaN, which the filter does not accept.
    Where every term is exactly 0 the number is 0, and so is its bound.
    """
    flat = [np.asarray(array, dtype=np.float64).reshape(-1) for array in arrays]
    owner = np.full(flat[0].size, -1)
    for c, channel in enumerate(channels):
        owner[channel.index] = c
    whose = owner[owner >= 0]
    hi, lo, bound = np.zeros(flat[0].size), np.zeros(flat[0].size), np.zeros(flat[0].size)
    with np.errstate(all="ignore"):  # nothing: every term is exactly 0
        total = _of_each(((line.constant, fmpq(0), fmpq(1)) for line in lines), whose)
        size, partners = np.abs(total[0]), np.zeros(whose.size)
        nothing = np.array([line.constant == 0 and line.v > 0 for line in lines], bool)[whose]
        for k, array in enumerate(flat):
            values = array[owner >= 0]
            slope = _of_each(((fmpq(0), line.terms[k][0], line.v) for line in lines), whose)
            middle = _of_each(((line.terms[k][1], fmpq(0), fmpq(1)) for line in lines), whose)
            reach = np.abs(values) + np.abs(middle[0])
            nothing &= (values == 0) & np.array([line.terms[k][1] == 0 for line in lines], bool)[whose]
            size, partners = size + np.abs(slope[0]) * reach, partners + (np.abs(slope[0]) + reach)
            total = _plus(total, _times(slope, _minus(values, middle)))
        hi[owner >= 0], lo[owner >= 0] = total
        bound[owner >= 0] = np.where(nothing, 0.0, size * 2.0**-98 + partners * 2.0**-1073 + 2.0**-1070)

    def number(i: int) -> Number:
        if owner[i] < 0:  # masked
            return Number(fmpq(0), fmpq(0), fmpq(1))
        line = lines[int(owner[i])]
        return line.number([float(values[i]) for values in flat])

    def rounded(indices: npt.NDArray[np.intp], kind: str) -> Floats:
        result, whose = np.zeros(indices.size), owner[indices]
        order = np.argsort(whose, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(whose[order])) + 1):
            if whose[mine[0]] >= 0:  # the others are masked: 0
                line = lines[int(whose[mine[0]])]
                for part in np.split(mine, range(SOME, mine.size, SOME)):
                    columns = [values[indices[part]] for values in flat]
                    result[part] = roundings(line.constant, line.terms, line.v, columns, kind)
        return result

    return Exact(tuple(shape), hi, lo, bound, number, rounded)


DoubleDouble = tuple[Any, Any]  # an unevaluated sum of two floats or float arrays


def _of_each(numbers: Iterable[tuple[fmpq, fmpq, fmpq]], whose: npt.NDArray[np.intp]) -> DoubleDouble:
    """Return each channel's number as a double-double, for every value of it."""
    pairs = np.array([Number(*number).double_double() for number in numbers]).reshape(-1, 2)
    return pairs[whose, 0], pairs[whose, 1]


def _two_sum(a: Any, b: Any) -> DoubleDouble:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _split(a: Any) -> DoubleDouble:
    t = 134217729.0 * a  # 2^27 + 1
    hi = t - (t - a)
    return hi, a - hi


def _times(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    p = a[0] * b[0]
    (ah, al), (bh, bl) = _split(a[0]), _split(b[0])
    e = ((ah * bh - p) + ah * bl + al * bh) + al * bl
    return _two_sum(p, e + (a[0] * b[1] + a[1] * b[0]))


def _minus(a: Floats, b: DoubleDouble) -> DoubleDouble:
    s, e = _two_sum(a, -b[0])
    return _two_sum(s, e - b[1])


def _plus(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    s, e = _two_sum(a[0], b[0])
    return _two_sum(s, e + (a[1] + b[1]))
