"""How far a correct algorithm may be off: error bounds derived per element from the inputs.

Arithmetic. u is the unit roundoff of the format that the candidate works in, eta half its smallest subnormal, and fl(a
op b) = (a op b)(1 + d) + f with |d| <= u, |f| <= eta, f = 0 for + and - (Higham, *Accuracy and Stability of Numerical
Algorithms*, 2nd ed. 2002, sections 2.2 and 2.8). k factors 1 + d in a row are within E(k) = e^(ku) - 1 of 1 (section
3.1; Higham's gamma_k = ku/(1 - ku) is a little larger). Terms of second order are kept.

Sums. A sum of m terms t is off by at most h u sum|t|. In any order h = m - 1 (Higham section 4.2; for every m:
Jeannerod & Rump 2013). By halves, be it down to NumPy's blocks of 128 with eight accumulators, h is the depth of the
tree, at most log2(m) + 17.2. In a format of twice the digits and rounded once: 1 + m u. Where m u >= 1/2 a sum in any
order may lose every digit, so one by halves is asked for, and h is one more for m, which may be no number of the
format.

Moments of a batch. delta, the error of the mean, is E(h + 2) mean|x| + eta: a sum, then a quotient by m or a product
with a rounded 1/m. Two passes: the squares of x - mean - delta average to var + delta^2 (section 1.9) and take h + 5
factors, so d_var = E(h + 5)(var + delta^2) + delta^2 + 2 eta.
Updates (Welford 1962), mean_k = mean_(k-1) + d_k/k with d_k = x_k - mean_(k-1), add u|mean_k| + 3u|d_k|/k + eta to (1 -
1/k) times the error before. k|mean_k| <= sum|x| and sum d_k^2 <= 2 m var, so delta = (m - 1) u mean|x| + 3 sqrt(2 var)
u + (m + 1) eta/2; because of the last term means of subnormals get stuck. Of mean|x| two u more are granted, so that no
bound is below that of two passes. As |mean_k| <= sqrt(m/k) rms(x), the errors
on the way have a root mean square D <= sqrt(2)/3 (m + 2) u rms(x) + 3 sqrt(2 (1 + ln m) var) u + (m + 3) eta/3, and sum
d_k (x_k - mean_k) is off by m (2 sqrt(2 var) D + D^2) more than in two passes: linear in kappa = rms(x)/sqrt(var)
(Chan, Golub & LeVeque 1983). All this is carried through m steps, which costs a factor e^(2 (m + 2) u). To merge the
moments of two parts is no worse, but for the three roundings of (mean_b - mean_a) m_b/m <= max|x - mean|.
One pass, E[x^2] - E[x]^2: E(h + 3) mean(x^2) + delta (2|mean| + delta) + u mean^2 + 3 eta, quadratic in kappa.
Shifted by a value k of the channel, E[d^2] - E[d]^2 with d = x - k (Chan, Golub & LeVeque 1983): d has one rounding
more, twice in d^2, and with R = max|x - mean| the size of d is mean|d| <= sqrt(var) + R, |mean d| <= R, mean(d^2) <=
var + R^2. So E[d] is off by delta_d = E(h + 3)(sqrt(var) + R) + eta, the mean by delta_d + u (|mean| + delta_d), the
variance by E(h + 5)(var + R^2) + delta_d (2R + delta_d) + u R^2 + 3 eta: quadratic in R/sqrt(var), whatever the mean.

Running values, (1 - w) old + w new or old + w (new - old): a weight is off by u w as given, by u as computed; four
roundings of the terms, and of w old twice more in the second form. m/(m - 1) is two.

1/s, s^2 = v = var + eps: d_v = d_var + u v, and what the format rounds off eps. A sum of squares loses at most all of
var. 1/s grows to sqrt(v/(v - d_v)) or shrinks to sqrt(v/(v + d_v)); the greater relative change is e^r - 1, and r is 5u
more for the root: two roundings, or a reciprocal root within 2 ulp of the rounded one, as CUDA documents its own. x_hat
takes e^(r + 2u) and delta/s. y = gamma x_hat + beta takes e^(r + 3u) on gamma x_hat, and is rounded. Folded, y = x a +
b with b = beta - mean a, the error of a is common to x and mean: new are only the roundings of both products and of b,
u (|gamma|(|x| + |mean|)/s + |b|).

Gradients, with g = dy and c = mean(g x_hat). e^r is common to all terms of c, and delta to all g: d_c = (e^r - 1)|c| +
e^r (delta/s |mean g| + E(h + 6) mean(|g x_hat|)). Folded, sum(g x) - mean sum(g), the terms of the sum are |g|(|x| +
|mean|)/s. dgamma is m c. dbeta is a sum, or m times a mean: h + 3. dx = gamma/s T with T = g - mean g - x_hat c, off by
E(h + 3) mean|g| + |x_hat| d_c + |c| d_x_hat; by |c| times the computed mean of x_hat, delta/s + E(h + 4) mean|x_hat|,
which the paper's chain adds and a gradient in two steps takes away; by 6 roundings of g and mean g and 8 of x_hat c
(the chain through var^(-3/2)); folded, dx = a g + b x + k, by 2u |c|(|x| + |mean|)/s.

Half formats. Sums, moments and 1/s are in float32 unless a tier says otherwise, u and eta theirs; all other operations
are rounded to the format of x.

Sums of known terms. In a case of sizes h u is 0 where every partial sum is a number of the format, whatever the order,
and at most n - 1 roundings for n terms that are not 0; a mean of 0 is then exact (see `Sums.cost`). But dbeta may be m
times a mean of parts that were scaled by 1/m, which no longer merge exactly: a few roundings of sum|g| are granted.
cuDNN's dbeta for channels last, computed in a way that is not known, was measured within 1.5 of them.

Floors. Each product may underflow, which costs eta times what it is multiplied with afterwards.

Where. y and statistics are judged where the squares of x are finite in the candidate's format, gradients where also
(var + eps)^(3/2) and its inverse are: beyond that the textbook formulas leave the format, and only finiteness is asked
for. So it is where the bound is infinite: all digits of the variance may be lost, and eps is 0.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from refnorm.conventions import Convention
from refnorm.formats import FORMATS, Floats, largest, rounded, unit_roundoff
from refnorm.golden.inputs import Case
from refnorm.oracle.tiers import NARROW, WORST, Batch, Tier, least_error, one_pass, shifted


def bounds(case: Case, convention: Convention, tier: Tier = WORST) -> dict[str, Floats]:
    """Return the bound of every quantity of a case, by the oracle's names; inf where only finiteness is asked for.

    Where a large case repeats few pairs, they are those of the pairs, which `refnorm.golden.repeats` lays out.
    """
    return _bounds(case if case.table is None else case.table.case, convention, tier)


@lru_cache(maxsize=8192)
def _bounds(case: Case, convention: Convention, tier: Tier) -> dict[str, Floats]:
    with np.errstate(all="ignore"):
        result = (_training if case.operation == "training" else _inference)(case, convention, tier)
        # NaN is an infinite error times 0; a bound is itself rounded
        return {k: np.where(np.isnan(b), np.inf, b * (1 + 2.0**-30)) for k, b in result.items()}


MERGES = 8.0  # a few parts of a sum, that are merged


class Sums(NamedTuple):
    """How sums over the values of a channel are taken: by a tier, in a format, of m values, each so many times."""

    tier: Tier
    kind: str
    m: int
    times: Floats | None = None

    @classmethod
    def of_case(cls, case: Case, tier: Tier, kind: str) -> Sums:
        """Return those of a case of which x, or the parameters, have a format."""
        return cls(tier, tier.sums_in(kind), case.count, case.times)

    @property
    def u(self) -> float:
        """Unit roundoff of the format."""
        return unit_roundoff(self.kind)

    @property
    def h(self) -> float:
        """The factor h of any m terms."""
        return self.tier.h(self.m, self.u)

    def total(self, values: Floats) -> Floats:
        """Add values up, each so many times as it counts."""
        result: Floats = (values if self.times is None else values * self.times).sum(_axes(values))
        return result

    def average(self, values: Floats) -> Floats:
        """Average values, keeping axes of size 1."""
        if self.times is None:
            return _average(values)
        return _along(self.total(values) / self.m, values)

    def cost(self, terms: Floats, given: bool = True) -> Floats:
        """Return h u of the sum of terms in each channel.

        Where it is known how often each value counts, it is known how many are not 0: adding 0 costs nothing, in any
        order. Terms that are ``given``, and not computed, are multiples of some 2^e; if their magnitudes add up to no
        more than 2^e times what the format counts up to, every partial sum is a number of it, and nothing is rounded.
        """
        whole = np.full(terms.shape[1], self.h * self.u)
        if self.times is None:
            return whole
        least = np.minimum(whole, np.maximum(self.total((terms != 0) * 1.0) - 1, 0) * self.u)
        return np.where(self.exactly(terms), 0.0, least) if given else least

    def off(self, terms: Floats) -> Floats:
        """Return how far off the sum of given terms may be in each channel, taken as such or as m times their mean."""
        scaled = 3.0 if self.times is None else MERGES
        result: Floats = (self.cost(terms) + scaled * self.u) * self.total(np.abs(terms))
        return result + MERGES * self.m * least_error(self.kind)

    def exactly(self, terms: Floats) -> Floats:
        """Say in which channels every partial sum is a number of the format."""
        fraction, exponent = np.frexp(terms)
        integers = np.ldexp(fraction, 53).astype(np.int64)
        lowest = np.ldexp((integers & -integers).astype(float), exponent - 53)  # each term's last bit
        axes = _axes(terms)
        unit = np.where(terms == 0, np.inf, lowest).min(axes)
        result: Floats = self.total(np.abs(terms)) <= unit * 2.0 ** FORMATS[self.kind][0]
        return result


class Normalised(NamedTuple):
    """x_hat, exactly, and what its error is made of: e^r on 1/s, delta, and |x| + |mean| if maps are folded."""

    u: float
    eta: float
    sums: Sums
    mean: Floats
    s: Floats
    x_hat: Floats
    r: Floats
    shift: Floats  # delta/s
    reach: Floats  # (|x| + |mean|)/s if folded, else |x_hat|; and the shift

    @classmethod
    def of(
        cls, x: Floats, centred: Floats, moments: tuple[Floats, ...], eps: float, kind: str, sums: Sums
    ) -> Normalised:
        """Collect, from x - mean and from mean, variance and the errors of both."""
        mean, var, d_mean, d_var = moments
        u, of_sums, v, tier = unit_roundoff(kind), sums.u, var + eps, sums.tier
        rest = of_sums * v + abs(float(rounded(np.array(eps), sums.kind)) - eps)
        less = rest + (d_var if tier.moments in (one_pass, shifted) else np.minimum(d_var, var))
        grows = np.where(v > less, np.log1p(less / (v - less)) / 2, np.inf)
        shrinks = np.log1p(-np.expm1(-np.log1p((rest + (1 + of_sums) * d_var) / v) / 2))
        root = 5 * of_sums + (u if u > of_sums else 0)
        mean, s, delta, r = (_along(a, x) for a in (mean, np.sqrt(v), d_mean, np.maximum(grows, shrinks) + root))
        reach = (np.abs(x) + np.abs(mean) if tier.folded else np.abs(centred)) + delta
        return cls(u, least_error(kind), sums, mean, s, centred / s, r, delta / s, reach / s)

    def cost(self, terms: Floats) -> Floats:
        """Return h u of a sum of computed terms, to stand beside x."""
        return _along(self.sums.cost(terms, given=False), terms)

    def d_y(self, gamma: Floats, beta: Floats) -> Floats:
        """Bound y."""
        growth = np.exp(self.r + 3 * self.u)
        d = np.abs(gamma) * (np.abs(self.x_hat) * np.expm1(self.r + 3 * self.u) + growth * self.shift)
        if self.sums.tier.folded:
            d = d + self.u * growth * (np.abs(gamma) * self.reach + np.abs(beta - gamma * self.mean / self.s))
        d = d + self.eta * (2 + np.abs(gamma) + self.s * self.reach)
        result: Floats = (1 + self.u) * d + self.u * np.abs(gamma * self.x_hat + beta)
        return result

    def c(self, g: Floats) -> tuple[Floats, Floats]:
        """Return c = mean(g x_hat), and its bound."""
        average = self.sums.average
        c, terms = average(g * self.x_hat), average(np.abs(g) * self.reach)
        d = self.shift * np.abs(average(g)) + np.expm1(self.cost(g) + 6 * self.u) * terms
        d = d + 2 * self.eta * (1 + average(np.abs(g)) + 1 / self.s)
        return c, np.expm1(self.r) * np.abs(c) + np.exp(self.r) * d

    def d_dx(self, g: Floats, gamma: Floats) -> Floats:
        """Bound dx."""
        u, size, shift, growth = self.u, np.abs(self.x_hat), self.shift, np.exp(self.r + 2 * self.u)
        average = self.sums.average
        (c, d_c), mean_g, of_g = self.c(g), average(g), self.cost(g)  # a mean of means divides on the way
        of_x_hat, of_shifts = self.cost(self.x_hat), self.sums.h * self.sums.u
        zero = shift + np.expm1(of_x_hat + 4 * u) * average(size) + np.expm1(of_shifts + 4 * u) * shift
        d = (
            size * np.expm1(self.r + 2 * u)
            + growth * (shift + zero)
            + (2 * u * self.reach if self.sums.tier.folded else 0)
        )
        d = size * d_c + (np.abs(c) + d_c) * d + np.expm1(of_g + 3 * u) * average(np.abs(g))
        terms = np.abs(g) + np.abs(mean_g) + size * np.abs(c)
        d = math.exp(8 * u) * d + math.expm1(6 * u) * terms + 3 * u * size * np.abs(c)
        d = growth * d + np.expm1(self.r) * (np.abs(g - mean_g) + size * np.abs(c))
        after = (1 + np.abs(gamma)) * (1 + size) * (1 + terms + np.abs(c)) * (self.s + 1 / self.s) ** 2
        result: Floats = np.abs(gamma) / self.s * d + 3 * self.eta * growth**3 * after
        return result


def bounded_moments(x: Floats, sums: Sums) -> tuple[Floats, tuple[Floats, ...]]:
    """Return x - mean, and mean and variance of a batch followed by the bounds of both."""
    u, m, average = sums.u, sums.m, sums.average
    mean = average(x)
    centred = x - mean
    centred = centred - average(centred)
    mean, var, rms = mean.reshape(-1), average(centred**2).reshape(-1), np.sqrt(average(x**2)).reshape(-1)
    reach, of_x = np.abs(centred).max(_axes(x)), sums.cost(x)
    exact, of_deviations = np.zeros(mean.shape, bool), np.full(mean.shape, sums.h * u)
    if sums.times is not None:  # S/m is exact if S is 0, or m a power of 2, whether it is a quotient or a product
        exact = (of_x == 0) & ((mean == 0) | (math.frexp(m)[0] == 0.5)) & sums.exactly(centred)
        of_deviations = np.where(exact, sums.cost(centred**2), of_deviations)  # and parts of it merge by halves
    batch = Batch(
        sums.h, u, least_error(sums.kind), of_x, of_deviations, sums.cost(x**2), exact, mean, var,
        average(np.abs(x)).reshape(-1), rms, reach, 0.0 if sums.times is None else MERGES,
    )  # fmt: skip
    return centred, (mean, var, *sums.tier.moments(batch))


def _training(case: Case, convention: Convention, tier: Tier) -> dict[str, Floats]:
    """Bound what training and its backward return."""
    kind, sums = case.kind, Sums.of_case(case, tier, case.kind)
    u, eta, most = sums.u, least_error(sums.kind), largest(sums.kind)
    x, g, m, axes = case.x, case.dy, case.count, _axes(case.x)
    factor, eps = float(convention.factor(m)), convention.travelled(case.eps)
    running = [(old, np.zeros(x.shape[1])) for old in (case.running_mean, case.running_var)]
    for batch in case.batches:
        centred, (mean, var, d_mean, d_var) = bounded_moments(batch, sums)
        new = (mean, d_mean), (factor * var, factor * ((1 + 3 * u) * d_var + 3 * u * var) + eta)
        running = [_blend(*pair, sums.kind, case, convention) for pair in zip(running, new, strict=True)]

    n = Normalised.of(x, centred, (mean, var, d_mean, d_var), eps, kind, sums)
    (c, d_c), s = n.c(g), n.s.ravel()
    squares = np.max(np.abs(np.stack(case.batches)), axis=(0, *(a + 1 for a in axes))) ** 2 <= most
    cubes = squares & (s**3 <= most) & (s**-3 <= most)
    forward, backward = (np.where(judged, 0.0, np.inf) for judged in (squares, cubes))
    return {
        "y, training": n.d_y(*_affine(case)) + _along(forward, x),
        "running mean": running[0][1] + forward,
        "running variance": running[1][1] + forward,
        "dx": n.d_dx(g, _affine(case)[0]) + _along(backward, x),
        "dgamma": _stored((m * d_c).ravel(), (m * c).ravel(), kind, case.parameters) + backward,
        "dbeta": _stored(sums.off(g), sums.total(g), sums.kind, case.parameters) + backward,
    }


def _inference(case: Case, convention: Convention, tier: Tier) -> dict[str, Floats]:
    """Bound what inference and its backward return; the statistics are given, and exact."""
    kind = min(case.kind, case.parameters, key=unit_roundoff)  # parameters are not rounded to the format of x
    x, g, m, sums = case.x, case.dy, case.count, Sums.of_case(case, tier, kind)
    moments = case.running_mean, case.running_var, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    n = Normalised.of(x, x - _along(moments[0], x), moments, convention.travelled(case.eps), kind, sums)
    gamma, beta = _affine(case)
    of_g = Sums.of_case(case, tier, case.kind)
    (c, d_c), dx = (n._replace(sums=of_g, u=of_g.u) if tier == NARROW else n).c(g), gamma / n.s * g
    d_y = _stored(n.d_y(gamma, beta), gamma * n.x_hat + beta, kind, case.kind)
    d_dx = np.expm1(n.r + 2 * n.u) * np.abs(dx) + n.eta * (1 + np.abs(gamma)) * (1 + np.abs(g)) * (1 + 1 / n.s)
    return {
        "y, inference": d_y,
        "frozen y": d_y,
        "frozen dx": _stored(d_dx, dx, kind, case.kind),
        "frozen dgamma": _stored((m * d_c).ravel(), (m * c).ravel(), kind, case.parameters),
        "frozen dbeta": _stored(of_g.off(g), of_g.total(g), of_g.kind, case.parameters),
    }


def _blend(
    old: tuple[Floats, Floats], new: tuple[Floats, Floats], summed: str, case: Case, convention: Convention
) -> tuple[Floats, Floats]:
    """Return a running value after a step, and its bound, from those before and those of the batch."""
    coarse = max(summed, case.parameters, key=unit_roundoff)
    w_old, w_new = (float(w) for w in convention.weights(case.momentum))
    off_old, off_new = (1, w_new) if convention.momentum == "new" else (w_old, 1)
    size_old, size_new = (np.abs(value) + d for value, d in (old, new))
    terms = (off_old + 4 * w_old + 2 * w_new) * size_old + (off_new + 4 * w_new) * size_new
    d = w_old * old[1] + w_new * new[1] + math.expm1(unit_roundoff(coarse)) * terms + 3 * least_error(coarse)
    return w_old * old[0] + w_new * new[0], d


def _stored(bound: Floats, value: Floats, computed: str, stored: str) -> Floats:
    """Return the bound after one more rounding, if the format to store in is coarser than that of the computation."""
    u = unit_roundoff(stored)
    return bound if u <= unit_roundoff(computed) else (1 + u) * bound + u * np.abs(value) + least_error(stored)


def _along(values: Floats, x: Floats) -> Floats:
    return values.reshape((1, values.size) + (1,) * (x.ndim - 2))


def _axes(x: Floats) -> tuple[int, ...]:
    return tuple(a for a in range(x.ndim) if a != 1)


def _average(values: Floats) -> Floats:
    result: Floats = values.mean(_axes(values), keepdims=True)
    return result


def _affine(case: Case) -> tuple[Floats, Floats]:
    channels = case.x.shape[1]
    gamma = np.ones(channels) if case.gamma is None else case.gamma
    beta = np.zeros(channels) if case.beta is None else case.beta
    return _along(gamma, case.x), _along(beta, case.x)
