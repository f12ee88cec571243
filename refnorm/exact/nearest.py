"""The elements of one affine map, rounded with proof by integers alone, where the filter cannot tell.

With one root in a channel each element is p + q / sqrt(v), and q = sum of f (x - c) over the arrays. Times the common
denominator L of the factors q is an integer, so whether it is 0 is known, and then the number is p. Where v is a square
the number is a fraction and is rounded as one, ties included. Everything else is irrational and no tie: 1/(L sqrt(v)),
enclosed once for the channel, encloses the number between two integers times a power of two; if both round alike it is
decided, and if not, the enclosure is taken with twice the digits. What is done for an element are a few integer
operations, whatever the data: no greatest common divisor, no ball.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from flint import arb, ctx, fmpq

from refnorm.exact.number import Floats, Number, nearest_ratio, rational_root
from refnorm.formats import FORMATS

FIRST = 160  # bits of the first enclosure; enough but for numbers nearer to a tie than 2^-100 of themselves
PROBES = 32  # elements that tell whether an enclosure is worth trying on the others


def roundings(
    constant: fmpq, terms: Sequence[tuple[fmpq, fmpq]], v: fmpq, columns: Sequence[Floats], kind: str
) -> list[float]:
    """Return constant + sum of factor (value - centre) / sqrt(v), correctly rounded to a format, for many elements.

    Parameters
    ----------
    constant, terms, v : of one channel, as in `refnorm.exact.affine.Affine`: the terms are factor and centre.
    columns : one float64 array of values per term.
    kind : format, of `refnorm.formats.FORMATS`.

    Returns
    -------
    list of float
        As `Number.rounded` would give them one by one.

    Examples
    --------
    >>> roundings(fmpq(1), [(fmpq(2), fmpq(3))], fmpq(2), [np.array([3.0, 4.0])], "float16")  # 1 + 2 / sqrt(2) = 2.4142
    [1.0, 2.4140625]
    """
    if v < 0:
        return [math.nan] * columns[0].size
    integers, denominator = _integers(terms, columns)
    if v == 0:
        return [math.inf if q > 0 else -math.inf if q < 0 else math.nan for q in integers]
    root = rational_root(v)
    if root is not None:
        scale = denominator * int(root.p)
        a, b, whole = scale * int(constant.p), int(constant.q * root.q), scale * int(constant.q)
        return [nearest_ratio(a + b * q, whole, kind) for q in integers]
    at_zero = Number(constant, fmpq(0), v).rounded(kind)
    found = {i: at_zero for i, q in enumerate(integers) if q == 0}
    bits = FIRST
    while left := [i for i in range(len(integers)) if i not in found]:
        decided = dict(_enclosed(integers, left[:PROBES], denominator, constant, v, bits, kind))
        found.update(decided)
        if len(decided) > len(left[:PROBES]) // 2:  # otherwise so many bits are too few for the others as well
            found.update(_enclosed(integers, left[PROBES:], denominator, constant, v, bits, kind))
        bits *= 8
    return [found[i] for i in range(len(integers))]


def _integers(terms: Sequence[tuple[fmpq, fmpq]], columns: Sequence[Floats]) -> tuple[list[int], int]:
    """Return sum of factor (value - centre) of every element as integers over one denominator."""
    factors, parts = [], []
    for (factor, _), values in zip(terms, columns, strict=True):
        fraction, exponent = np.frexp(values)
        lowest = int(exponent.min())
        parts.append((np.ldexp(fraction, 53).astype(np.int64), exponent - lowest))
        factors.append(factor * fmpq(2) ** (lowest - 53))
    middle = -sum((factor * centre for factor, centre in terms), fmpq(0))
    denominator = math.lcm(*(int(number.q) for number in (middle, *factors)))
    totals = [int(middle * denominator)] * columns[0].size
    for factor, (mantissas, shifts) in zip(factors, parts, strict=True):
        scaled = int(factor * denominator)
        if scaled:
            products = zip(totals, mantissas.tolist(), shifts.tolist(), strict=True)
            totals = [total + (scaled * mantissa << shift) for total, mantissa, shift in products]
    return totals, denominator


def _enclosed(
    integers: Sequence[int], left: Sequence[int], denominator: int, constant: fmpq, v: fmpq, bits: int, kind: str
) -> Iterator[tuple[int, float]]:
    """Enclose 1/(denominator sqrt(v)) with so many bits, and yield the roundings of those numbers that this decides.

    A number lies strictly between lower and upper, integers of the same sign, both times 2^(drop - unit).
    """
    unit, low, high = _inverse(denominator, v, bits)
    shift, width = (int(constant.p) << unit) // int(constant.q), int(constant != 0)
    digits, smallest = FORMATS[kind]
    for i in left:
        q = integers[i]
        drop = q.bit_length() - bits
        if drop > 0:
            first = q >> drop
            lower, upper = (first * low, (first + 1) * high) if q > 0 else (first * high, (first + 1) * low)
        else:
            drop = 0
            lower, upper = (q * low, q * high) if q > 0 else (q * high, q * low)
        if width:
            lower += shift >> drop
            upper += (shift >> drop) + 1
        if lower < 0:
            if upper > 0:
                continue
            lower, upper, sign = -upper, -lower, -1.0
        else:
            sign = 1.0
        exponent = upper.bit_length() - 1 + drop - unit
        place = (exponent if exponent > smallest else smallest) - digits + 1  # of the last digit
        below = place - drop + unit  # bits of lower and upper after it
        if below < 2 or upper - lower > 1 << (below - 2):  # more than a quarter: below a power of two it is a half
            continue
        half = 1 << (below - 1)
        quotient = (lower + half) >> below
        if quotient == (upper + half) >> below:
            beyond = quotient.bit_length() + place > 2 - smallest
            yield i, sign * (math.inf if beyond else math.ldexp(quotient, place))


def _inverse(denominator: int, v: fmpq, bits: int) -> tuple[int, int, int]:
    """Return unit, low, high with low <= 2^unit / (denominator sqrt(v)) <= high; low has at least so many bits."""
    with ctx.workprec(bits + 32):
        ball = arb(v * denominator * denominator).rsqrt()
        ends = [[int(part) for part in end.man_exp()] for end in (ball.lower(), ball.upper())]
    (low, below), (high, above) = ends
    unit = max(0, bits - low.bit_length() - below)
    return unit, _shifted(low, below + unit), -_shifted(-high, above + unit)


def _shifted(value: int, by: int) -> int:
    """Return floor(value * 2^by)."""
    return value << by if by > 0 else value >> -by
