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
|mean|)/s. dgamma is m c. dbeta is a sum and no more. dx = gamma/s T with T = g - mean g - x_hat c, off by E(h + 3)
mean|g| + |x_hat| d_c + |c| d_x_hat; by |c| times the computed mean of x_hat, delta/s + E(h + 4) mean|x_hat|, which the
paper's chain adds and a gradient in two steps takes away; by 6 roundings of g and mean g and 8 of x_hat c (the chain
through var^(-3/2)); folded, dx = a g + b x + k, by 2u |c|(|x| + |mean|)/s.

Floors. Each product may underflow, which costs eta times what it is multiplied with afterwards.

Where. y and statistics are judged where the squares of x are finite in the candidate's format, gradients where also
(var + eps)^(3/2) and its inverse are: beyond that the textbook formulas leave the format, and only finiteness is asked
for. So it is where the bound is infinite: all digits of the variance may be lost, and eps is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from refnorm.conventions import Convention
from refnorm.formats import Floats, largest, rounded, smallest, unit_roundoff
from refnorm.golden.inputs import Case


def _eta(kind: str) -> float:
    return max(smallest(kind) / 2, smallest("float64"))  # float64 does not hold half of its own


def _wide(m: int, u: float) -> float:
    return min(m - 1, 1 + min(m * u, 1))


def _halves(m: int, u: float) -> float:
    return min(m - 1, math.log2(m) + 17.2) + (m * u >= 0.5)


def _any_order(m: int, u: float) -> float:
    return m - 1 if m * u < 0.5 else _halves(m, u)


class Batch(NamedTuple):
    """What the errors of a batch's moments depend on; ``size`` is mean|x| and ``reach`` max|x - mean|, per channel."""

    h: float
    u: float
    eta: float
    mean: Floats
    var: Floats
    size: Floats
    rms: Floats
    reach: Floats


def two_passes(b: Batch) -> tuple[Floats, Floats]:
    """Bound the mean, and the variance as the mean of (x - mean)^2."""
    d_mean = math.expm1((b.h + 2) * b.u) * b.size + b.eta
    growth = math.expm1((b.h + 5) * b.u)
    return d_mean, growth * (b.var + d_mean**2) + d_mean**2 + 2 * (1 + growth) * b.eta


def updates(b: Batch) -> tuple[Floats, Floats]:
    """Bound mean and variance brought up to date value by value, or merged from those of two parts."""
    m, std, growth = b.h + 1, np.sqrt(b.var), math.exp(2 * (b.h + 3) * b.u)
    d_mean = (b.h + 2) * b.u * b.size + 3 * b.u * (math.sqrt(2) * std + b.reach) + (m + 1) / 2 * b.eta
    on_the_way = math.sqrt(2) / 3 * (m + 2) * b.u * b.rms + 3 * math.sqrt(2 * (1 + math.log(m))) * b.u * std
    on_the_way = growth * (on_the_way + (m + 3) / 3 * b.eta)
    return growth * d_mean, two_passes(b)[1] + growth * (math.sqrt(8) * std * on_the_way + on_the_way**2)


def one_pass(b: Batch) -> tuple[Floats, Floats]:
    """Bound the mean, and the variance as E[x^2] - E[x]^2."""
    d_mean, _ = two_passes(b)
    d_var = math.expm1((b.h + 3) * b.u) * b.rms**2 + d_mean * (2 * np.abs(b.mean) + d_mean) + 3 * b.eta
    return d_mean, (1 + b.u) ** 2 * (d_var + b.u * b.mean**2) + b.u * b.var


@dataclass(frozen=True)
class Tier:
    """A class of algorithms: how sums are taken (h of m and u), how moments are, and whether maps are folded.

    ``growth`` says what the error grows like, in words.
    """

    name: str
    growth: str
    h: Callable[[int, float], float]
    moments: Callable[[Batch], tuple[Floats, Floats]] = two_passes
    folded: bool = False


WIDE = Tier("wide accumulation", "not at all", _wide)
PAIRWISE = Tier("pairwise sums", "like log m, m being the values per channel", _halves)
ROW_BY_ROW = Tier("row-by-row sums", "like m, the number of values per channel", _any_order)
WELFORD = Tier("Welford's updates or merged moments", "like m |mean|/std", _any_order, updates)
FOLDED = Tier("folded y = x a + b", "like |mean|/std", _halves, folded=True)
COMBINED = Tier("row-by-row updates and folded maps", "like m |mean|/std", _any_order, updates, folded=True)
ONE_PASS = Tier("one-pass variance E[x^2] - E[x]^2", "like (mean/std)^2", _any_order, one_pass, folded=True)
TIERS = (WIDE, PAIRWISE, ROW_BY_ROW, WELFORD, FOLDED, COMBINED, ONE_PASS)
WORST = COMBINED  # what still conforms: all of the tiers before it


@lru_cache(maxsize=8192)
def bounds(case: Case, convention: Convention, tier: Tier = WORST) -> dict[str, Floats]:
    """Return the bound of every quantity of a case, by the oracle's names; inf where only finiteness is asked for."""
    with np.errstate(all="ignore"):
        result = (_training if case.operation == "training" else _inference)(case, convention, tier)
        # NaN is an infinite error times 0; a bound is itself rounded
        return {k: np.where(np.isnan(b), np.inf, b * (1 + 2.0**-30)) for k, b in result.items()}


class Normalised(NamedTuple):
    """x_hat, exactly, and what its error is made of: e^r on 1/s, delta, and |x| + |mean| if maps are folded."""

    u: float
    eta: float
    folded: bool
    mean: Floats
    s: Floats
    x_hat: Floats
    r: Floats
    shift: Floats  # delta/s
    reach: Floats  # (|x| + |mean|)/s if folded, else |x_hat|; and the shift

    @classmethod
    def of(
        cls, x: Floats, centred: Floats, moments: tuple[Floats, ...], eps: float, kind: str, tier: Tier
    ) -> Normalised:
        """Collect, from x - mean and from mean, variance and the errors of both."""
        mean, var, d_mean, d_var = moments
        u, v = unit_roundoff(kind), var + eps
        rest = u * v + abs(float(rounded(np.array(eps), kind)) - eps)
        less = rest + (d_var if tier.moments is one_pass else np.minimum(d_var, var))
        grows = np.where(v > less, np.log1p(less / (v - less)) / 2, np.inf)
        shrinks = np.log1p(-np.expm1(-np.log1p((rest + (1 + u) * d_var) / v) / 2))
        mean, s, delta, r = (_along(a, x) for a in (mean, np.sqrt(v), d_mean, np.maximum(grows, shrinks) + 5 * u))
        reach = (np.abs(x) + np.abs(mean) if tier.folded else np.abs(centred)) + delta
        return cls(u, _eta(kind), tier.folded, mean, s, centred / s, r, delta / s, reach / s)

    def d_y(self, gamma: Floats, beta: Floats) -> Floats:
        """Bound y."""
        growth = np.exp(self.r + 3 * self.u)
        d = np.abs(gamma) * (np.abs(self.x_hat) * np.expm1(self.r + 3 * self.u) + growth * self.shift)
        if self.folded:
            d = d + self.u * growth * (np.abs(gamma) * self.reach + np.abs(beta - gamma * self.mean / self.s))
        d = d + self.eta * (2 + np.abs(gamma) + self.s * self.reach)
        result: Floats = (1 + self.u) * d + self.u * np.abs(gamma * self.x_hat + beta)
        return result

    def c(self, g: Floats, h: float) -> tuple[Floats, Floats]:
        """Return c = mean(g x_hat), and its bound."""
        c, terms = _average(g * self.x_hat), _average(np.abs(g) * self.reach)
        d = self.shift * np.abs(_average(g)) + math.expm1((h + 6) * self.u) * terms
        d = d + 2 * self.eta * (1 + _average(np.abs(g)) + 1 / self.s)
        return c, np.expm1(self.r) * np.abs(c) + np.exp(self.r) * d

    def d_dx(self, g: Floats, h: float, gamma: Floats) -> Floats:
        """Bound dx."""
        u, size, shift, growth = self.u, np.abs(self.x_hat), self.shift, np.exp(self.r + 2 * self.u)
        (c, d_c), mean_g = self.c(g, h), _average(g)
        zero = shift + math.expm1((h + 4) * u) * (_average(size) + shift)
        d = size * np.expm1(self.r + 2 * u) + growth * (shift + zero) + (2 * u * self.reach if self.folded else 0)
        d = size * d_c + (np.abs(c) + d_c) * d + math.expm1((h + 3) * u) * _average(np.abs(g))
        terms = np.abs(g) + np.abs(mean_g) + size * np.abs(c)
        d = math.exp(8 * u) * d + math.expm1(6 * u) * terms + 3 * u * size * np.abs(c)
        d = growth * d + np.expm1(self.r) * (np.abs(g - mean_g) + size * np.abs(c))
        after = (1 + np.abs(gamma)) * (1 + size) * (1 + terms + np.abs(c)) * (self.s + 1 / self.s) ** 2
        result: Floats = np.abs(gamma) / self.s * d + 3 * self.eta * growth**3 * after
        return result


def bounded_moments(x: Floats, kind: str, tier: Tier) -> tuple[Floats, tuple[Floats, ...]]:
    """Return x - mean, and mean and variance of a batch followed by the bounds of both."""
    u, axes, m = unit_roundoff(kind), _axes(x), x.size // x.shape[1]
    mean = x.mean(axes)
    centred = x - _along(mean, x)
    centred = centred - _average(centred)
    var, rms = (centred**2).mean(axes), np.sqrt((x**2).mean(axes))
    reach = np.abs(centred).max(axes)
    batch = Batch(tier.h(m, u), u, _eta(kind), mean, var, np.abs(x).mean(axes), rms, reach)
    return centred, (mean, var, *tier.moments(batch))


def _training(case: Case, convention: Convention, tier: Tier) -> dict[str, Floats]:
    """Bound what training and its backward return."""
    kind, u, eta = case.kind, unit_roundoff(case.kind), _eta(case.kind)
    x, g, m, h, axes = case.x, case.dy, case.count, tier.h(case.count, u), _axes(case.x)
    factor, eps = float(convention.factor(m)), convention.travelled(case.eps)
    running = [(old, np.zeros(x.shape[1])) for old in (case.running_mean, case.running_var)]
    for batch in case.batches:
        centred, (mean, var, d_mean, d_var) = bounded_moments(batch, kind, tier)
        new = (mean, d_mean), (factor * var, factor * ((1 + 3 * u) * d_var + 3 * u * var) + eta)
        running = [_blend(*pair, case, convention) for pair in zip(running, new, strict=True)]

    n = Normalised.of(x, centred, (mean, var, d_mean, d_var), eps, kind, tier)
    (c, d_c), s = n.c(g, h), n.s.ravel()
    squares = np.max(np.abs(np.stack(case.batches)), axis=(0, *(a + 1 for a in axes))) ** 2 <= largest(kind)
    cubes = squares & (s**3 <= largest(kind)) & (s**-3 <= largest(kind))
    forward, backward = (np.where(judged, 0.0, np.inf) for judged in (squares, cubes))
    return {
        "y, training": n.d_y(*_affine(case)) + _along(forward, x),
        "running mean": running[0][1] + forward,
        "running variance": running[1][1] + forward,
        "dx": n.d_dx(g, h, _affine(case)[0]) + _along(backward, x),
        "dgamma": _stored((m * d_c).ravel(), (m * c).ravel(), kind, case.parameters) + backward,
        "dbeta": _stored(h * u * np.abs(g).sum(axes), g.sum(axes), kind, case.parameters) + backward,
    }


def _inference(case: Case, convention: Convention, tier: Tier) -> dict[str, Floats]:
    """Bound what inference and its backward return; the statistics are given, and exact."""
    kind = min(case.kind, case.parameters, key=unit_roundoff)  # parameters are not rounded to the format of x
    x, g, m, h = case.x, case.dy, case.count, tier.h(case.count, unit_roundoff(kind))
    moments = case.running_mean, case.running_var, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    n = Normalised.of(x, x - _along(moments[0], x), moments, convention.travelled(case.eps), kind, tier)
    gamma, beta = _affine(case)
    (c, d_c), dx = n.c(g, h), gamma / n.s * g
    d_y = _stored(n.d_y(gamma, beta), gamma * n.x_hat + beta, kind, case.kind)
    d_dx = np.expm1(n.r + 2 * n.u) * np.abs(dx) + n.eta * (1 + np.abs(gamma)) * (1 + np.abs(g)) * (1 + 1 / n.s)
    d_dbeta = h * unit_roundoff(case.kind) * np.abs(g).sum(_axes(x))
    return {
        "y, inference": d_y,
        "frozen y": d_y,
        "frozen dx": _stored(d_dx, dx, kind, case.kind),
        "frozen dgamma": _stored((m * d_c).ravel(), (m * c).ravel(), kind, case.parameters),
        "frozen dbeta": _stored(d_dbeta, g.sum(_axes(x)), case.kind, case.parameters),
    }


def _blend(
    old: tuple[Floats, Floats], new: tuple[Floats, Floats], case: Case, convention: Convention
) -> tuple[Floats, Floats]:
    """Return a running value after a step, and its bound, from those before and those of the batch."""
    coarse = max(case.kind, case.parameters, key=unit_roundoff)
    w_old, w_new = (float(w) for w in convention.weights(case.momentum))
    off_old, off_new = (1, w_new) if convention.momentum == "new" else (w_old, 1)
    size_old, size_new = (np.abs(value) + d for value, d in (old, new))
    terms = (off_old + 4 * w_old + 2 * w_new) * size_old + (off_new + 4 * w_new) * size_new
    d = w_old * old[1] + w_new * new[1] + math.expm1(unit_roundoff(coarse)) * terms + 3 * _eta(coarse)
    return w_old * old[0] + w_new * new[0], d


def _stored(bound: Floats, value: Floats, computed: str, stored: str) -> Floats:
    """Return the bound after one more rounding, if the format to store in is coarser than that of the computation."""
    u = unit_roundoff(stored)
    return bound if u <= unit_roundoff(computed) else (1 + u) * bound + u * np.abs(value) + _eta(stored)


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
