"""What `refnorm.exact` uses of python-flint, in integers of the standard library: there is no FLINT in the browser.

Rationals are fractions, balls are intervals with integer ends, rounded outwards: an enclosure is as certain as FLINT's,
and slower. The tests hold every truth that is computed with it to what FLINT computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any


class fmpz(int):
    """An integer."""

    def is_square(self) -> bool:
        """Whether it is the square of an integer."""
        return self >= 0 and math.isqrt(self) ** 2 == self

    def isqrt(self) -> fmpz:
        """Return the integer part of its root."""
        return fmpz(math.isqrt(self))


class fmpq(Fraction):
    """A rational number p / q in lowest terms."""

    __slots__ = ()

    @property
    def p(self) -> fmpz:
        """Numerator."""
        return fmpz(self.numerator)

    @property
    def q(self) -> fmpz:
        """Denominator."""
        return fmpz(self.denominator)


def _closed(name: str) -> Callable[..., Any]:
    """Return an operation of fractions whose result is an `fmpq` again."""
    operation = getattr(Fraction, name)

    def method(self: fmpq, *others: Any) -> Any:
        result = operation(self, *others)
        return fmpq(result) if isinstance(result, Fraction) else result

    return method


for _name in ("add", "sub", "mul", "truediv"):
    for _side in ("", "r"):
        setattr(fmpq, f"__{_side}{_name}__", _closed(f"__{_side}{_name}__"))
for _name in ("__pow__", "__neg__", "__abs__"):
    setattr(fmpq, _name, _closed(_name))


class fmpq_series:
    """A power series with rational coefficients, of which the first ``prec`` are kept."""

    def __init__(self, coefficients: Sequence[Any], _: None, prec: int) -> None:
        kept = [fmpq(c) for c in coefficients[:prec]]
        self.terms, self.prec = kept + [fmpq(0)] * (prec - len(kept)), prec

    def _like(self, other: Any) -> fmpq_series:
        return other if isinstance(other, fmpq_series) else fmpq_series([other], None, self.prec)

    def __getitem__(self, k: int) -> fmpq:
        return self.terms[k]

    def __add__(self, other: Any) -> fmpq_series:
        pairs = zip(self.terms, self._like(other).terms, strict=True)
        return fmpq_series([a + b for a, b in pairs], None, self.prec)

    def __neg__(self) -> fmpq_series:
        return fmpq_series([-a for a in self.terms], None, self.prec)

    def __sub__(self, other: Any) -> fmpq_series:
        return self + -self._like(other)

    def __mul__(self, other: Any) -> fmpq_series:
        a, b = self.terms, self._like(other).terms
        return fmpq_series([sum(a[i] * b[k - i] for i in range(k + 1)) for k in range(self.prec)], None, self.prec)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> fmpq_series:
        b, quotient = self._like(other).terms, list[Any]()
        for k, a in enumerate(self.terms):
            quotient.append((a - sum(b[i] * quotient[k - i] for i in range(1, k + 1))) / b[0])
        return fmpq_series(quotient, None, self.prec)

    def rsqrt(self) -> fmpq_series:
        """Return 1 / sqrt(self), which must begin with 1: r with 2 f r' = -f' r."""
        f = self.terms
        assert f[0] == 1, f"the series begins with {f[0]}"
        r = [fmpq(1)]
        for k in range(1, self.prec):
            r.append(-sum((2 * k - i) * f[i] * r[k - i] for i in range(1, k + 1)) / (2 * k))
        return fmpq_series(r, None, self.prec)


class _Context:
    """How many bits the ends of an interval have."""

    prec = 53

    @contextmanager
    def workprec(self, bits: int) -> Iterator[None]:
        """Work with this many bits."""
        before, self.prec = self.prec, bits
        try:
            yield
        finally:
            self.prec = before


ctx = _Context()


class _Dyadic:
    """The number man 2^exp."""

    def __init__(self, man: int, exp: int) -> None:
        self._parts = fmpz(man), fmpz(exp)

    def man_exp(self) -> tuple[fmpz, fmpz]:
        """Return man and exp."""
        return self._parts


class arb:
    """A real number that lies between lo 2^exp and hi 2^exp."""

    def __init__(self, value: fmpq) -> None:
        n, d = value.numerator, value.denominator
        exp = min(n.bit_length() - d.bit_length() - ctx.prec - 1, 0)
        if d == 1:
            exp = 0
        self.lo, self.hi, self.exp = _floor(n << -exp, d), -_floor(-n << -exp, d), exp

    @classmethod
    def _of(cls, lo: int, hi: int, exp: int) -> arb:
        """Round the ends of an interval outwards."""
        number = cls.__new__(cls)
        drop = max(max(lo.bit_length(), hi.bit_length()) - ctx.prec, 0)
        number.lo, number.hi, number.exp = lo >> drop, -(-hi >> drop), exp + drop
        return number

    def __add__(self, other: arb) -> arb:
        exp = min(self.exp, other.exp)
        a, b = self.exp - exp, other.exp - exp
        return self._of((self.lo << a) + (other.lo << b), (self.hi << a) + (other.hi << b), exp)

    def __mul__(self, other: arb) -> arb:
        ends = [a * b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return self._of(min(ends), max(ends), self.exp + other.exp)

    def rsqrt(self) -> arb:
        """Return 1 / sqrt(self)."""
        assert self.lo > 0, "the root of what may not be positive"
        up = 2 * ctx.prec + self.hi.bit_length()
        up += (up + self.exp) % 2
        lo, hi = math.isqrt((1 << up) // self.hi), math.isqrt(-_floor(-(1 << up), self.lo)) + 1
        return self._of(lo, hi, -(up + self.exp) // 2)

    def rel_accuracy_bits(self) -> int:
        """Return a number of leading bits that are certain."""
        return abs(self.lo + self.hi).bit_length() - (self.hi - self.lo).bit_length() - 2

    def mid(self) -> _Dyadic:
        """Return the middle."""
        return _Dyadic(self.lo + self.hi, self.exp - 1)

    def lower(self) -> _Dyadic:
        """Return the lower end."""
        return _Dyadic(self.lo, self.exp)

    def upper(self) -> _Dyadic:
        """Return the upper end."""
        return _Dyadic(self.hi, self.exp)


def _floor(n: int, d: int) -> int:
    return n // d
