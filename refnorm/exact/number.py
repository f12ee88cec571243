"""Numbers p + q / sqrt(v), and arrays of them, rounded correctly with proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from flint import arb, ctx, fmpq

from refnorm import formats
from refnorm.formats import FORMATS, Array

Floats = npt.NDArray[np.float64]
to_format = formats.rounded


class Number(NamedTuple):
    """The number p + q / sqrt(v), all three rational."""

    p: fmpq
    q: fmpq
    v: fmpq

    def rounded(self, kind: str = "float64") -> float:
        """Return the nearest number of a format, ties to even; as in IEEE q/0 is infinite, 0/0 and v < 0 are NaN."""
        if self.v <= 0:
            return math.nan if self.v < 0 or self.q == 0 else math.inf if self.q > 0 else -math.inf
        root = rational_root(self.v)
        if root is not None or self.q == 0:
            return _nearest(self.p if root is None else self.p + self.q / root, kind)
        for bits in (64 << k for k in range(24)):
            lower, upper = self.enclosure(bits)
            if (nearest := _nearest(lower, kind)) == _nearest(upper, kind) and (lower > 0) == (upper > 0):
                return nearest  # a zero with the number's sign
        raise ArithmeticError(f"{self} was not decided")  # unreachable: an irrational number is no tie

    def double_double(self) -> tuple[float, float]:
        """Return two floats whose sum is the number: the first off by 2^-53 of itself, and the second, too.

        As in IEEE q/0 is infinite, 0/0 and v < 0 are NaN, and then the second is NaN.
        """
        if self.v <= 0:
            return self.rounded(), math.nan
        n, d, bits = int(self.p.p), int(self.p.q), 0
        if self.q != 0:
            with ctx.workprec(256):
                ball = arb(self.p) + arb(self.q) * arb(self.v).rsqrt()
            bits = ball.rel_accuracy_bits()
            man, exp = (int(part) for part in ball.mid().man_exp())
            n, d = (man << exp, 1) if exp >= 0 else (man, 1 << -exp)
        try:
            hi = n / d  # of integers: rounded once
            a, b = hi.as_integer_ratio()
            lo = (n * b - a * d) / (d * b)
        except OverflowError:
            return self.rounded(), math.nan
        narrow = lo == 0 or math.frexp(hi)[1] - math.frexp(lo)[1] > bits - 56
        if self.q != 0 and narrow:  # what is known of the number does not tell the second
            hi = self.rounded()
            lo = self.minus(hi).rounded()
        return hi, lo

    def enclosure(self, bits: int) -> tuple[fmpq, fmpq]:
        """Enclose the number between two rationals, computed with this many bits."""
        with ctx.workprec(bits):
            ball = arb(self.p) + arb(self.q) * arb(self.v).rsqrt()
            ends = (ball.lower().man_exp(), ball.upper().man_exp())
        lower, upper = (fmpq(man) * fmpq(2) ** int(exp) for man, exp in ends)
        return lower, upper

    def minus(self, value: float) -> Number:
        """Return this number less a float."""
        return self._replace(p=self.p - rational(value))

    def decimal(self, digits: int = 30) -> str:
        """Write the number with this many correct decimal digits."""
        with ctx.workprec(4 * digits + 64):
            ball = arb(self.p) + arb(self.q) * arb(self.v).rsqrt()
            return str(ball.str(digits, radius=False))


class Exact(NamedTuple):
    """An array of exact numbers.

    Attributes
    ----------
    shape : of the array; the other fields are flat, row-major.
    hi, lo, bound : float64; each number lies within ``bound`` of the unevaluated sum hi + lo. A bound of 0 says that
        the number is 0 (masked, or all its terms are 0).
    number : the exact `Number` at a flat index.
    nearest : correct roundings of the numbers at many flat indices to a format; None: one by one, by ``number``.
    """

    shape: tuple[int, ...]
    hi: Floats
    lo: Floats
    bound: Floats
    number: Callable[[int], Number]
    nearest: Callable[[npt.NDArray[np.intp], str], Floats] | None = None

    @classmethod
    def of(cls, shape: tuple[int, ...], numbers: Sequence[Number]) -> Exact:
        """Collect numbers, row-major."""
        pairs = np.array([n.double_double() for n in numbers]).reshape(len(numbers), 2)
        hi, lo = pairs[:, 0].copy(), np.where(np.isfinite(pairs[:, 0]), pairs[:, 1], 0.0)
        return cls(shape, hi, lo, np.abs(lo) * 2.0**-52 + 2.0**-1074, numbers.__getitem__)

    def rounded(self, kind: str = "float64") -> Floats:
        """Return each number correctly rounded to a format, as float64 values.

        Examples
        --------
        >>> third = Exact.of((1,), [Number(fmpq(1, 3), fmpq(0), fmpq(1))])
        >>> third.rounded("float16")            # 0.333333...; float16 has 11 significant bits
        array([0.33325195])
        """
        with np.errstate(invalid="ignore", over="ignore"):
            slack = self.bound + np.abs(self.hi) * 2.0**-105 + 2.0**-1070  # the last two: rounding of lo +- slack
            lower, upper = self.hi + (self.lo - slack), self.hi + (self.lo + slack)
            if kind != "float64":  # beyond the next float64, no tie can be in between
                lower, upper = np.nextafter(lower, -np.inf), np.nextafter(upper, np.inf)
            result = to_format(lower, kind)
            undecided = ~((result == to_format(upper, kind)) & np.isfinite(lower))
            undecided |= np.signbit(lower) != np.signbit(upper)  # a zero takes the sign of the number; 0 itself has +
            masked = self.bound == 0
            result[masked], undecided[masked] = 0.0, False
        left = np.flatnonzero(undecided)
        if self.nearest is None:
            result[left] = [self.number(i).rounded(kind) for i in left.tolist()]
        elif left.size:
            result[left] = self.nearest(left, kind)
        return result.reshape(self.shape)

    def error_of(self, values: Array) -> Floats:
        """Return values - exact, to about 2^-50 of itself or 2^-100 of the number."""
        wide = np.asarray(values, dtype=np.float64)
        if wide.shape != self.shape:
            raise ValueError(f"values have shape {wide.shape}, the exact result {self.shape}")
        with np.errstate(invalid="ignore"):
            return (wide - self.hi.reshape(self.shape)) - self.lo.reshape(self.shape)


def rational(value: float | Fraction | fmpq) -> fmpq:
    """Return a finite float, or a fraction, as FLINT's rational, exactly."""
    if isinstance(value, fmpq):
        return value
    if not math.isfinite(value):
        raise ValueError(f"exact arithmetic needs finite values, got {value!r}")
    return fmpq(*(value if isinstance(value, Fraction) else float(value)).as_integer_ratio())


def nearest_ratio(numerator: int, d: int, kind: str) -> float:
    """Round a fraction, d > 0, to the nearest number of a format, ties to even, by integer division.

    Examples
    --------
    >>> nearest_ratio(1, 3, "float16")
    0.333251953125
    """
    bits, smallest = FORMATS[kind]
    n = abs(numerator)
    place = max(n.bit_length() - d.bit_length(), smallest) - (bits - 1)  # of the last bit, at most one too high
    if n << max(0, -(place + bits - 1)) < d << max(0, place + bits - 1):
        place = max(place - 1, smallest - (bits - 1))
    quotient, rest = divmod(n << max(0, -place), d << max(0, place))
    divisor = d << max(0, place)
    quotient += 2 * rest + quotient % 2 > divisor  # ties to even
    magnitude = math.inf if quotient.bit_length() + place > 2 - smallest else math.ldexp(quotient, place)
    return -magnitude if numerator < 0 else magnitude


def _nearest(r: fmpq, kind: str) -> float:
    return nearest_ratio(int(r.p), int(r.q), kind)


def rational_root(v: fmpq) -> fmpq | None:
    """Return the root of v where it is rational."""
    if not (v.p.is_square() and v.q.is_square()):
        return None
    return fmpq(v.p.isqrt(), v.q.isqrt())
