"""The second road to the exact truth: batch normalization in `fractions.Fraction` and plain loops, nothing shared.

Written from Ioffe & Szegedy 2015, Algorithms 1 and 2, to be compared with `refnorm.exact`, of which it knows nothing.
It is slow and naive: one element at a time, gradients by dual numbers, rounding by integer square roots.

Every result is a triple (p, q, v) of fractions that stands for p + q / sqrt(v).
"""

import itertools
import math
from fractions import Fraction

# significand bits and exponent of the smallest normal number: IEEE 754-2008 table 3.5; bfloat16 is float32 cut short
FORMATS = {"float64": (53, -1022), "float32": (24, -126), "bfloat16": (8, -126), "float16": (11, -14)}


class Dual:
    """a + b s + (c + d s) t with s = 1/sqrt(v) and t infinitely small: s s = 1/v and t t = 0."""

    def __init__(self, v, a, b=0, c=0, d=0):
        self.v, self.a, self.b, self.c, self.d = v, Fraction(a), Fraction(b), Fraction(c), Fraction(d)

    def __add__(self, other):
        return Dual(self.v, self.a + other.a, self.b + other.b, self.c + other.c, self.d + other.d)

    def __mul__(self, other):
        def ss(product):  # what the product of two coefficients of s adds to the rational part
            return product / self.v if product else 0

        return Dual(
            self.v,
            self.a * other.a + ss(self.b * other.b),
            self.a * other.b + self.b * other.a,
            self.a * other.c + self.c * other.a + ss(self.b * other.d + self.d * other.b),
            self.a * other.d + self.d * other.a + self.b * other.c + self.c * other.b,
        )


def inverse_root(v):
    """Return the dual number r with r r v = 1 that is s at t = 0; checked, so no derivative is taken on trust."""
    r = Dual(v.v, 0, 1, 0, -v.c / (2 * v.a) if v.c else 0)
    if v.a:
        one = r * r * v
        assert (one.a, one.b, one.c, one.d) == (1, 0, 0, 0)
    return r


def variance_of(values, correction=0):
    """Return the mean, and the mean square of the distances to it."""
    mean = sum(values) / Fraction(len(values))
    return mean, sum((value - mean) ** 2 for value in values) / (len(values) - correction)


def normalise(x, gamma, beta, v, statistics):
    """Return y for dual numbers: gamma (x - mean) / sqrt(var + eps) + beta."""
    mean, var_plus_eps = statistics
    minus_mean, inv_std = Dual(v, -1) * mean, inverse_root(var_plus_eps)
    return [gamma * (x_i + minus_mean) * inv_std + beta for x_i in x]


def batch_statistics(x, eps, v):
    """Return mean and variance + eps of dual numbers."""
    share = Dual(v, Fraction(1, len(x)))
    mean = sum(x, start=Dual(v, 0)) * share
    distances = [x_i + Dual(v, -1) * mean for x_i in x]
    return mean, sum((d * d for d in distances), start=Dual(v, 0)) * share + Dual(v, eps)


def forward(x, gamma, beta, eps, given=None, correction=0):
    """Return y, mean and variance of one channel; ``given`` statistics make it inference (Algorithm 2)."""
    mean, var = given or variance_of(x, correction)
    v = var + eps
    statistics = Dual(v, mean), Dual(v, v)
    y = normalise([Dual(v, x_i) for x_i in x], Dual(v, gamma), Dual(v, beta), v, statistics)
    return [(y_i.a, y_i.b, v) for y_i in y], (mean, Fraction(0), Fraction(1)), (var, Fraction(0), Fraction(1))


def gradients(dy, x, gamma, eps, given=None):
    """Return dx, dgamma and dbeta of sum(dy y) for one channel: one forward per variable, that one moved by t."""
    mean, var = given or variance_of(x)
    v = var + eps
    slopes = []
    for moved in range(len(x) + 2):
        moving = [Dual(v, x_i, c=int(i == moved)) for i, x_i in enumerate(x)]
        scale, shift = Dual(v, gamma, c=int(moved == len(x))), Dual(v, 0, c=int(moved == len(x) + 1))
        statistics = (Dual(v, mean), Dual(v, v)) if given else batch_statistics(moving, eps, v)
        y = normalise(moving, scale, shift, v, statistics)
        loss = sum((Dual(v, dy_i) * y_i for dy_i, y_i in zip(dy, y, strict=True)), start=Dual(v, 0))
        slopes.append((loss.c, loss.d, v))
    return slopes[:-2], slopes[-2], slopes[-1]


def channels(shape, axis, where=None):
    """Return, channel by channel in row-major order of the kept axes, the indices of the values that count."""
    kept = sorted(a % len(shape) for a in ([axis] if isinstance(axis, int) else axis))
    found = {key: [] for key in itertools.product(*(range(shape[a]) for a in kept))}
    for index in itertools.product(*map(range, shape)):
        if where is None or where[index]:
            found[tuple(index[a] for a in kept)].append(index)
    return list(found.values())


def sign(p, q, v):
    """Return the sign of p + q / sqrt(v), v > 0: where the two terms differ in sign, by comparing their squares."""
    if p * q >= 0:
        return (p + q > 0) - (p + q < 0)
    larger = p if p * p * v > q * q else q if p * p * v < q * q else 0
    return (larger > 0) - (larger < 0)


def rounded(p, q, v, kind):
    """Round p + q / sqrt(v) to a format, to nearest, ties to even; q/0 is infinite, 0/0 and v < 0 are NaN."""
    if v < 0 or v == q == 0:
        return math.nan
    if v == 0:
        return math.inf if q > 0 else -math.inf
    side = sign(p, q, v)
    if side == 0:
        return 0.0
    p, q = side * p, side * q  # |number| = (whole +- sqrt(square)) / divisor, all three integers
    whole = p.numerator * q.denominator * v.numerator
    square = (q.numerator * p.denominator) ** 2 * v.numerator * v.denominator
    divisor = p.denominator * q.denominator * v.numerator

    def floor(place):  # of |number| / 2^place; exact, as floor(r / n) = floor(floor(r) / n) for integers n
        up, down = max(-place, 0), max(place, 0)
        root = math.isqrt(square << 2 * up) if q >= 0 else -1 - math.isqrt((square << 2 * up) - 1)
        return ((whole << up) + root) // (divisor << down)

    place = 64
    while not floor(place):
        place -= 64 + abs(place)
    exponent = floor(place).bit_length() - 1 + place  # 2^exponent <= |number| < 2^(exponent + 1)
    bits, smallest = FORMATS[kind]
    place = max(exponent, smallest) - (bits - 1)
    units, half = divmod(floor(place - 1), 2)
    middle = Fraction(2 * units + 1) * Fraction(2) ** (place - 1)
    if half and (sign(p - middle, q, v) > 0 or units % 2):
        units += 1
    overflow = units * Fraction(2) ** place >= Fraction(2) ** (2 - smallest)
    return side * (math.inf if overflow else math.ldexp(units, place))
