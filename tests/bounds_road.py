"""The second road to the bounds: the page at the head of `refnorm.oracle.bounds`, one number at a time, nothing shared.

Plain floats and loops over the values of one channel, to be compared with `refnorm.oracle.bounds` and
`refnorm.oracle.second_bounds`, of which it knows nothing: what stands in one place only could grow or shrink unseen.
Names are those of the page. Whether the page is right is tried elsewhere, on algorithms (test_bounds.py).
"""

import math
import struct
from fractions import Fraction
from typing import NamedTuple

# significand bits and exponent of the smallest normal number: IEEE 754-2008 table 3.5; bfloat16 is float32 cut short
FORMATS = {"float64": (53, -1022), "float32": (24, -126), "bfloat16": (8, -126), "float16": (11, -14)}
LARGEST = {"float64": 1.7976931348623157e308, "float32": 3.4028234663852886e38, "float16": 65504.0}
LARGEST["bfloat16"] = 255 * 2.0**120
TIERS = {  # how sums are taken, how moments are, and whether maps are folded
    "wide accumulation": ("wide", "two passes", False),
    "pairwise sums": ("halves", "two passes", False),
    "row-by-row sums": ("rows", "two passes", False),
    "Welford's updates or merged moments": ("rows", "updates", False),
    "folded y = x a + b": ("halves", "two passes", True),
    "row-by-row updates and folded maps": ("rows", "updates", True),
    "one-pass variance of x less one of its values": ("rows", "shifted", False),
    "one-pass variance E[x^2] - E[x]^2": ("rows", "one pass", True),
}


def roundoff(kind):
    return 2.0 ** -FORMATS[kind][0]


def subnormal(kind):
    bits, exponent = FORMATS[kind]
    return 2.0 ** (exponent + 1 - bits)


def half_subnormal(kind):
    """eta; of float64 there is no half in float64, so a whole one."""
    return 2.0**-1074 if kind == "float64" else subnormal(kind) / 2


def nearest_single(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def lost_of(eps, kind):
    """What a format rounds off eps."""
    rounded = {"float16": lambda e: struct.unpack("e", struct.pack("e", e))[0], "float32": nearest_single}
    return abs(rounded.get(kind, lambda e: e)(eps) - eps)


def E(k, u):
    """How far k factors 1 + d in a row are from 1."""
    return math.exp(k * u) - 1 if k * u > 1e-3 else sum((k * u) ** n / math.factorial(n) for n in range(1, 8))


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


# Sums.


def additions(sums, m, u):
    """h: how many roundings a term of a sum of m terms goes through."""
    everywhere = m - 1
    if sums == "wide":  # twice the digits: m roundings of u u, of which no more than u is left, and one of u
        return min(everywhere, 2 if m * u > 1 else 1 + m * u)
    by_halves = min(everywhere, math.log(m, 2) + 17.2)
    if 2 * m * u >= 1:  # in any order all digits may be lost, so by halves, and m may be no number
        return by_halves + 1
    return by_halves if sums == "halves" else everywhere


class Sum(NamedTuple):
    """How m values of a channel are added up; ``known`` if how often each of them comes is."""

    sums: str
    m: int
    kind: str
    known: bool

    def h(self, terms=(), given=False):
        """The roundings of this sum: of known terms as many as are not 0, less one; none if all sums of parts fit."""
        usual = additions(self.sums, self.m, roundoff(self.kind))
        if not self.known or not terms:
            return usual
        if given and fits(terms, self.kind):
            return 0
        return min(usual, max(sum(t != 0 for t in terms) - 1, 0))


def fits(terms, kind):
    """Whether no sum of some of the terms needs more digits than the format has."""
    exact = [abs(Fraction(t)) for t in terms if t]
    return not exact or sum(exact) <= min(map(last_bit, exact)) * 2 ** FORMATS[kind][0]


def last_bit(number):
    """The largest power of 2 of which a number is a multiple."""
    return Fraction(number.numerator & -number.numerator, number.denominator)


# Moments of a batch: the errors of mean and variance.


class Moments(NamedTuple):
    """Of the values of one channel, exactly."""

    mean: float
    var: float
    size: float  # mean|x|
    square: float  # mean(x^2)
    reach: float  # max|x - mean|
    centred: list

    @classmethod
    def of(cls, xs):
        exact = sum(map(Fraction, xs)) / len(xs)
        centred = [float(x - exact) for x in map(Fraction, xs)]
        var, square = (mean(v * v for v in values) for values in (centred, xs))
        return cls(float(exact), var, mean(map(abs, xs)), square, max(map(abs, centred)), centred)


def moments(how, xs, b, total, u, eta):
    """delta and d_var."""
    h, merges = total.h(), 8 if total.known else 0
    of_x, of_deviations = total.h(xs, given=True), h
    delta = E(of_x + 2, u) * (b.size if of_x else abs(b.mean)) + eta  # an exact sum is off by its quotient alone
    quotient_fits = b.mean == 0 or Fraction(total.m) == last_bit(Fraction(total.m))
    if total.known and of_x == 0 and quotient_fits and fits(b.centred, total.kind):
        delta = E(merges, u) * b.size  # exact, but for parts that merge
        of_deviations = total.h([v * v for v in b.centred], given=True)
    if how == "updates":  # these divide on the way, whatever the terms
        of_deviations, first = h, E(h + 2, u) * b.size + eta
    else:
        first = delta
    grown = E(of_deviations + 5 + merges, u)
    two_passes = grown * (b.var + first * first) + first * first + 2 * eta + 2 * eta * grown
    if how == "two passes":
        return delta, two_passes
    if how == "one pass":
        off = (
            E(total.h([x * x for x in xs], given=True) + 3, u) * b.square
            + delta * 2 * abs(b.mean)
            + delta * delta
            + u * b.mean**2
            + 3 * eta
        )
        return delta, off + 2 * u * off + u * u * off + u * b.var
    if how == "shifted":
        r = b.reach
        off_d = E(h + 3, u) * (math.sqrt(b.var) + r) + eta
        off = E(h + 5, u) * (b.var + r * r) + 2 * r * off_d + off_d * off_d + u * r * r + 3 * eta
        return off_d + u * abs(b.mean) + u * off_d, off + 2 * u * off + u * u * off + u * b.var
    m = h + 1
    carried = math.exp(2 * (m + 2) * u)
    delta = (m + 1) * u * b.size + 3 * u * (math.sqrt(2 * b.var) + b.reach) + (m + 1) * eta / 2
    on_the_way = math.sqrt(2) / 3 * (m + 2) * u * math.sqrt(b.square)
    on_the_way += 3 * math.sqrt(2 * (1 + math.log(m)) * b.var) * u + (m + 3) * eta / 3
    on_the_way *= carried
    return carried * delta, two_passes + carried * (2 * math.sqrt(2 * b.var) * on_the_way + on_the_way**2)


# 1/s and x_hat.


class Scaled(NamedTuple):
    """s and x_hat exactly, and what their errors are made of."""

    u: float
    eta: float
    folded: bool
    total: Sum
    mean: float
    s: float
    x_hats: list
    r: float
    shift: float
    reaches: list


def scaled(xs, centred, middle, var, off, eps, kind, tier, known=False):
    """From x, x - mean, mean and variance, and the errors ``off`` of the latter two."""
    (sums, how, folded), m = TIERS[tier], len(xs)
    u, eta, v = roundoff(kind), half_subnormal(kind), var + eps
    delta, d_var = off
    rest = u * v + lost_of(eps, kind)
    lost = rest + (d_var if how in ("one pass", "shifted") else min(d_var, var))
    larger = math.inf if lost >= v else math.sqrt(v / (v - lost)) - 1
    smaller = 1 - math.sqrt(v / (v + rest + d_var + u * d_var))
    if max(larger, smaller) < 1e-3:  # the same, without cancellation
        larger = lost / (v - lost) / (1 + math.sqrt(v / (v - lost)))
        more = (rest + d_var + u * d_var) / v
        smaller = more / (1 + more) / (1 + 1 / math.sqrt(1 + more))
    r = math.log1p(max(larger, smaller)) + 5 * u
    s = math.sqrt(v)
    sizes = [abs(x) + abs(middle) for x in xs] if folded else map(abs, centred)
    reaches = [(size + delta) / s for size in sizes]
    total = Sum(sums, m, kind, known)
    return Scaled(u, eta, folded, total, middle, s, [v / s for v in centred], r, delta / s, reaches)


def off_y(n, gamma, beta):
    found = []
    grown = math.exp(n.r + 3 * n.u)
    for x_hat, reach in zip(n.x_hats, n.reaches, strict=True):
        d = abs(gamma * x_hat) * math.expm1(n.r + 3 * n.u) + abs(gamma) * n.shift * grown
        if n.folded:
            d += n.u * (abs(gamma) * reach + abs(beta - gamma * n.mean / n.s)) * grown
        d += 2 * n.eta + n.eta * abs(gamma) + n.eta * n.s * reach
        found.append(d + n.u * d + n.u * abs(gamma * x_hat + beta))
    return found


def off_c(n, gs):
    """c = mean(g x_hat), and its error."""
    c = mean(g * x_hat for g, x_hat in zip(gs, n.x_hats, strict=True))
    terms = mean(abs(g) * reach for g, reach in zip(gs, n.reaches, strict=True))
    d = n.shift * abs(mean(gs)) + E(n.total.h(gs) + 6, n.u) * terms
    d += 2 * n.eta + 2 * n.eta * mean(map(abs, gs)) + 2 * n.eta / n.s
    return c, math.expm1(n.r) * abs(c) + math.exp(n.r) * d


def off_dx(n, gs, gamma):
    (c, d_c), mean_g, size_g = off_c(n, gs), mean(gs), mean(map(abs, gs))
    grown = math.exp(n.r + 2 * n.u)
    mean_x_hat = n.shift + E(n.total.h(n.x_hats) + 4, n.u) * mean(map(abs, n.x_hats))
    mean_x_hat += E(n.total.h() + 4, n.u) * n.shift
    found = []
    for g, x_hat, reach in zip(gs, n.x_hats, n.reaches, strict=True):
        x_hat = abs(x_hat)
        d_x_hat = x_hat * math.expm1(n.r + 2 * n.u) + grown * n.shift + grown * mean_x_hat
        d_x_hat += 2 * n.u * reach if n.folded else 0
        of_t = x_hat * d_c + abs(c) * d_x_hat + d_c * d_x_hat + E(n.total.h(gs) + 3, n.u) * size_g
        largest = abs(g) + abs(mean_g) + x_hat * abs(c)
        of_t = math.exp(8 * n.u) * of_t + E(6, n.u) * largest + 3 * n.u * x_hat * abs(c)
        of_t = grown * of_t + math.expm1(n.r) * (abs(g - mean_g) + x_hat * abs(c))
        after = (1 + abs(gamma)) * (1 + x_hat) * (1 + largest + abs(c)) * (n.s + 1 / n.s) ** 2
        found.append(abs(gamma) / n.s * of_t + 3 * n.eta * grown**3 * after)
    return found


# Results.


def stored(d, value, computed, kept):
    """One more rounding, if a format to store in is coarser than that of the computation."""
    if roundoff(kept) <= roundoff(computed):
        return d
    return d + roundoff(kept) * d + roundoff(kept) * abs(value) + half_subnormal(kept)


def moved(old, new, weights, given, u, eta):
    """A running value and its error, both as a pair; ``given`` is the index of the weight that is the argument."""
    terms = 0.0
    for i, (value, d) in enumerate((old, new)):
        of_weight = weights[i] if i == given else 1
        # four roundings of each term, and of w old twice more in old + w (new - old)
        terms += (of_weight + 4 * weights[i] + (2 * weights[1] if i == 0 else 0)) * (abs(value) + d)
    off = weights[0] * old[1] + weights[1] * new[1] + E(1, u) * terms + 3 * eta
    return weights[0] * old[0] + weights[1] * new[0], off


def columns(x, times=None):
    """The values of each channel of an array with channels on axis 1, each as often as it comes."""
    found = []
    for c in range(x.shape[1]):
        values = x[:, c].reshape(-1)
        counts = [1] * len(values) if times is None else times[:, c].reshape(-1)
        found.append([float(v) for v, n in zip(values, counts, strict=True) for _ in range(int(n))])
    return found


def off_sum(total, gs):
    """A sum, or m times a mean, whose parts may have been scaled by 1/m: where they are known, a few merge."""
    u, eta, merges = roundoff(total.kind), half_subnormal(total.kind), 8 if total.known else 3
    return (total.h(gs, given=True) + merges) * u * math.fsum(map(abs, gs)) + 8 * total.m * eta


def of_channel(parameter, channel, default):
    return default if parameter is None else float(parameter[channel])


def training(case, row, tier):
    """The bounds of a case of training, by the oracle's names: for each channel a number or the list of its values'."""
    kind, (sums, how, _), known = case.kind, TIERS[tier], case.times is not None
    u, eta, coarse = roundoff(kind), half_subnormal(kind), max(case.kind, case.parameters, key=roundoff)
    weights = [float(w) for w in row.weights(case.momentum)]
    given = 1 if row.momentum == "new" else 0
    eps, steps = row.travelled(case.eps), [columns(x, case.times) for x in case.batches]
    found = {name: [] for name in ("y, training", "running mean", "running variance", "dx", "dgamma", "dbeta")}
    for channel, gs in enumerate(columns(case.dy, case.times)):
        running = [(float(case.running_mean[channel]), 0.0), (float(case.running_var[channel]), 0.0)]
        for step in steps:
            xs = step[channel]
            m, b = len(xs), Moments.of(xs)
            total = Sum(sums, m, kind, known)
            delta, d_var = moments(how, xs, b, total, u, eta)
            factor = m / (m - row.correction)
            var = factor * b.var, factor * (d_var + 3 * u * d_var + 3 * u * b.var) + eta
            running = [
                moved(old, new, weights, given, roundoff(coarse), half_subnormal(coarse))
                for old, new in zip(running, ((b.mean, delta), var), strict=True)
            ]
        gamma, beta = of_channel(case.gamma, channel, 1.0), of_channel(case.beta, channel, 0.0)
        n = scaled(xs, b.centred, b.mean, b.var, (delta, d_var), eps, kind, tier, known)
        c, d_c = off_c(n, gs)
        most = max(abs(x) for step in steps for x in step[channel])
        forward = 0.0 if most * most <= LARGEST[kind] else math.inf
        backward = forward if n.s**3 <= LARGEST[kind] and 1 / n.s**3 <= LARGEST[kind] else math.inf
        found["y, training"].append([d + forward for d in off_y(n, gamma, beta)])
        found["running mean"].append(running[0][1] + forward)
        found["running variance"].append(running[1][1] + forward)
        found["dx"].append([d + backward for d in off_dx(n, gs, gamma)])
        found["dgamma"].append(stored(m * d_c, m * c, kind, case.parameters) + backward)
        found["dbeta"].append(stored(off_sum(total, gs), math.fsum(gs), kind, case.parameters) + backward)
    return found


def inference(case, row, tier):
    """The same for given statistics, which are exact: computed in the finer format, stored in that of x."""
    kind, known = min(case.kind, case.parameters, key=roundoff), case.times is not None
    eps = row.travelled(case.eps)
    found = {name: [] for name in ("y, inference", "frozen y", "frozen dx", "frozen dgamma", "frozen dbeta")}
    given = zip(columns(case.x, case.times), columns(case.dy, case.times), strict=True)
    for channel, (xs, gs) in enumerate(given):
        middle, var = float(case.running_mean[channel]), float(case.running_var[channel])
        gamma, beta = of_channel(case.gamma, channel, 1.0), of_channel(case.beta, channel, 0.0)
        n = scaled(xs, [x - middle for x in xs], middle, var, (0.0, 0.0), eps, kind, tier, known)
        c, d_c = off_c(n, gs)
        y = [
            stored(d, gamma * x_hat + beta, kind, case.kind)
            for d, x_hat in zip(off_y(n, gamma, beta), n.x_hats, strict=True)
        ]
        dx = []
        for g in gs:
            value = gamma / n.s * g
            d = math.expm1(n.r + 2 * n.u) * abs(value)
            d += n.eta * (1 + abs(gamma)) * (1 + abs(g)) * (1 + 1 / n.s)
            dx.append(stored(d, value, kind, case.kind))
        found["y, inference"].append(y)
        found["frozen y"].append(y)
        found["frozen dx"].append(dx)
        found["frozen dgamma"].append(stored(len(xs) * d_c, len(xs) * c, kind, case.parameters))
        total = Sum(TIERS[tier][0], len(xs), case.kind, known)  # a sum of dy alone is in the format of dy
        found["frozen dbeta"].append(stored(off_sum(total, gs), math.fsum(gs), case.kind, case.parameters))
    return found


# Forward mode and second order: errors carried along the formulas.


class Carried(NamedTuple):
    """A number and a bound on its error, in an arithmetic of roundoff u and underflow e."""

    value: float
    off: float
    u: float
    e: float

    def of(self, value, off=0.0):
        return self._replace(value=value, off=off)

    def __mul__(self, other):
        a, b = self, other
        off = abs(a.value) * b.off + abs(b.value) * a.off + a.off * b.off
        return self.of(a.value * b.value, off + 2 * self.u * abs(a.value * b.value) + self.e)

    def __add__(self, other):
        off = self.off + other.off + 2 * self.u * (abs(self.value) + abs(other.value)) + self.e
        return self.of(self.value + other.value, off)

    def __sub__(self, other):
        return self + other._replace(value=-other.value)


def averaged(numbers, h):
    first = numbers[0]
    off = mean(n.off for n in numbers) + (h + 2) * first.u * mean(abs(n.value) for n in numbers) + 2 * first.e
    return first.of(mean(n.value for n in numbers), off)


def second_order(case, row, tier, moves):
    """The bounds of jvp and double backward; ``moves`` are the directions of x, gamma and beta."""
    frozen, m = case.operation == "inference", case.count
    kind = min(case.kind, case.parameters, key=roundoff) if frozen else case.kind
    sums, how, _ = TIERS[tier]
    u, e = roundoff(kind), subnormal(kind)
    found = {name: [] for name in ("jvp", "double backward ddy", "double backward dx", "double backward dgamma")}
    for channel, xs in enumerate(columns(case.x)):
        if frozen:
            middle, var, off = float(case.running_mean[channel]), float(case.running_var[channel]), (0.0, 0.0)
            centred = [x - middle for x in xs]
        else:
            b = Moments.of(xs)
            middle, var, centred = b.mean, b.var, b.centred
            off = moments(how, xs, b, Sum(sums, m, kind, False), u, half_subnormal(kind))
        n = scaled(xs, centred, middle, var, off, row.travelled(case.eps), kind, tier)
        h, power, limit = n.total.h(), (n.s**2) ** 2.5, LARGEST[case.kind]
        judged = power <= limit and 1 / power <= limit and (frozen or max(map(abs, xs)) ** 2 <= limit)
        inv_std = Carried(1 / n.s, math.expm1(n.r) / n.s + e, u, e)
        x_hat = []
        for x, exact, reach in zip(xs, n.x_hats, n.reaches, strict=True):
            start = abs(exact) * math.expm1(n.r + 2 * u) + math.exp(n.r + 2 * u) * n.shift
            start += math.exp(n.r + 2 * u) * 2 * u * reach if n.folded else 0
            x_hat.append(inv_std.of(exact, start + 2 * e + e / n.s + e * abs(x) + e * abs(middle)))
        gamma, ddgamma, ddbeta = (
            inv_std.of(of_channel(p, channel, default))
            for p, default in ((case.gamma, 1.0), (moves[1], 0.0), (moves[2], 0.0))
        )
        ddx, dy = ([inv_std.of(v) for v in columns(values)[channel]] for values in (moves[0], case.dy))

        def along_x_hat(numbers, x_hat=x_hat, h=h):
            return averaged([a * b for a, b in zip(numbers, x_hat, strict=True)], h)

        def residual(numbers, x_hat=x_hat, h=h):
            if frozen:
                return numbers
            middle, slope = averaged(numbers, h), along_x_hat(numbers, x_hat, h)
            return [v - middle - a * slope for v, a in zip(numbers, x_hat, strict=True)]

        of_dy, of_ddx, slope = residual(dy), residual(ddx), gamma * inv_std
        jvp = [slope * r + ddgamma * a + ddbeta for r, a in zip(of_ddx, x_hat, strict=True)]
        dx = [ddgamma * r for r in of_dy]
        if not frozen:
            p, q = along_x_hat(ddx), along_x_hat(dy)
            t = averaged([a * b for a, b in zip(ddx, of_dy, strict=True)], h)
            dx = [d - slope * (p * a + q * b + t * c) for d, a, b, c in zip(dx, of_dy, of_ddx, x_hat, strict=True)]
        dgamma = averaged([a * b * inv_std for a, b in zip(ddx, of_dy, strict=True)], h)
        dgamma = dgamma.of(m * dgamma.value, m * dgamma.off)

        def rounded(number, kind, judged=judged):
            return number.off + roundoff(kind) * abs(number.value) + subnormal(kind) if judged else math.inf

        found["jvp"].append([rounded(v, case.kind) for v in jvp])
        found["double backward dx"].append([rounded(inv_std * v, case.kind) for v in dx])
        found["double backward dgamma"].append(rounded(dgamma, case.parameters))
    found["double backward ddy"] = found["jvp"]
    return {f"frozen {name}": values for name, values in found.items()} if frozen else found
