"""How far a correct algorithm may be off: error bounds derived per element from the inputs.

Notation. u is the unit roundoff of the format that the candidate works in, e the smallest subnormal of it, m the values
per channel, s = sqrt(var + eps), and every rounding obeys fl(a op b) = (a op b)(1 + d) + f with |d| <= u, |f| <= e
(Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed. 2002, sections 2.2 and 2.8).

Sums. A sum of m terms t_i is off by at most h u sum|t_i|: h = m - 1 in any order (Higham section 4.2), log2(m) + 1 by
halves, about 1 when accumulated in a wider format. NumPy's blocks of 128 with eight accumulators give log2(m) + 24.
Where m u >= 1/2 no bound of the first kind exists, and the second is asked for.

Statistics. mean: |d_mean| <= (h + 2) u mean|x| + 2e.
Variance in two passes: (h + 5) u var + d_mean^2, for the mean's error enters squared (Higham section 1.9). Welford's
and merged moments: 2 (h + 5) u sqrt(var) rms(x), linear in kappa = rms(x)/sqrt(var) (Chan, Golub & LeVeque 1983).
In one pass, E[x^2] - E[x]^2: 2 (h + 4) u mean(x^2), quadratic in kappa.

y. rho, the relative error of 1/s, is that of the root of var + eps at the end of its interval, + 3u. x_hat is off by
d_mean/s + |x_hat| (rho + 3u), and by 2u (|x| + |mean|)/s more if the map is folded into y = a x + b. Then
|d_y| <= |gamma| d_x_hat + 3u (|gamma x_hat| + |beta|) + u|y| + one rounding to y's format.

Gradients. With g = dy, c = mean(g x_hat): d_c <= (h + 4) u mean|g x_hat| + mean(|g| d_x_hat), and
|d_dx| <= |gamma|/s (1 + rho) [6u (|g| + |mean g| + |x_hat c|) + (h + 2) u mean|g| + |x_hat| d_c + |c| d_x_hat
+ rho (|g - mean g| + |x_hat c|)]. It covers the closed form, the step-by-step chain and its zero term sum(x - mean).
dgamma is off by m d_c, dbeta by (h + 1) u sum|g|. Frozen maps have constant statistics: terms with h and rho are 3u.

Where. y and statistics are judged where the squares of x are finite in the candidate's format, gradients where also
(var + eps)^(3/2) and its inverse are: beyond that the textbook formulas leave the format, and only finiteness is asked
for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from refnorm._array import FORMATS
from refnorm.conventions import Convention
from refnorm.golden.cases import Case
from refnorm.golden.rule import Floats


@dataclass(frozen=True)
class Tier:
    """A class of algorithms: how sums are taken (the factor h), and whether the variance is E[x^2] - E[x]^2."""

    name: str
    h: Callable[[int], float]
    one_pass: bool = False


def _pairwise(m: int) -> float:
    return min(m, math.log2(max(m, 1)) + 24)


WIDE = Tier("wide accumulation", lambda m: 1)
PAIRWISE = Tier("pairwise sums", _pairwise)
ROW_BY_ROW = Tier("row-by-row sums", float)
ONE_PASS = Tier("one-pass variance E[x^2] - E[x]^2", float, one_pass=True)
TIERS = (WIDE, PAIRWISE, ROW_BY_ROW, ONE_PASS)


def unit_roundoff(kind: str) -> float:
    """Return u, half the distance from 1 to the next number of a format."""
    return 2.0 ** -FORMATS[kind][0]


def smallest(kind: str) -> float:
    """Return the smallest subnormal of a format."""
    bits, exponent = FORMATS[kind]
    return 2.0 ** (exponent - bits + 1)


def largest(kind: str) -> float:
    """Return the largest finite number of a format."""
    bits, exponent = FORMATS[kind]
    return (2.0 - 2.0 ** (1 - bits)) * 2.0 ** (1 - exponent)


@lru_cache(maxsize=8192)
def bounds(case: Case, convention: Convention, tier: Tier = ROW_BY_ROW) -> dict[str, Floats]:
    """Return the bound of every quantity of a case, by the oracle's names; inf where only finiteness is asked for."""
    with np.errstate(all="ignore"):
        return (_training if case.operation == "training" else _inference)(case, convention, tier)


def _along(values: Floats, x: Floats) -> Floats:
    return values.reshape((1, -1) + (1,) * (x.ndim - 2))


def _affine(case: Case) -> tuple[Floats, Floats]:
    channels = case.x.shape[1]
    gamma = np.ones(channels) if case.gamma is None else np.abs(case.gamma)
    beta = np.zeros(channels) if case.beta is None else np.abs(case.beta)
    return _along(gamma, case.x), _along(beta, case.x)


def _training(case: Case, convention: Convention, tier: Tier) -> dict[str, Floats]:
    kind, u, e = case.kind, unit_roundoff(case.kind), smallest(case.kind)
    up, ep = unit_roundoff(case.parameters), smallest(case.parameters)
    x, g, m = case.x, case.dy, case.count
    axes = tuple(a for a in range(x.ndim) if a != 1)
    h = tier.h(m) if m * u < 0.5 else min(tier.h(m), _pairwise(m))
    eps = convention.travelled(case.eps)
    gamma, beta = _affine(case)
    old_weight, new_weight = (float(w) for w in convention.weights(case.momentum))
    factor = float(convention.factor(m))

    d_running_mean, d_running_var = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    old_mean, old_var = np.abs(case.running_mean), np.abs(case.running_var)
    for batch in case.batches:
        mean, magnitude = batch.mean(axes), np.abs(batch).mean(axes)
        rms = np.sqrt((batch * batch).mean(axes))
        centred = batch - _along(mean, batch)
        centred = centred - _along(centred.mean(axes), batch)
        var = (centred * centred).mean(axes)
        d_mean = (h + 2) * u * magnitude + 2 * e
        d_var = d_mean**2 + 4 * e
        d_var = d_var + (2 * (h + 4) * u * rms**2 if tier.one_pass else 2 * (h + 5) * u * (var + np.sqrt(var) * rms))
        old_mean, old_var = (
            old_weight * o + new_weight * n for o, n in ((old_mean, np.abs(mean)), (old_var, factor * var))
        )
        both = max(u, up)
        d_running_mean = old_weight * d_running_mean + new_weight * d_mean + 5 * both * old_mean + 3 * (e + ep)
        d_running_var = old_weight * d_running_var + new_weight * factor * d_var + 8 * both * old_var + 3 * (e + ep)
        d_running_mean, d_running_var = (
            d + 4 * both * np.abs(r)
            for d, r in ((d_running_mean, case.running_mean), (d_running_var, case.running_var))
        )

    v = var + eps
    s = np.sqrt(v)
    d_v = d_var + 2 * u * v + e
    lowest = np.maximum(v - d_v, 0 if tier.one_pass else eps * (1 - 4 * u))
    rho = _along(np.where(lowest > 0, np.sqrt(v / lowest) - 1 + 3 * u, np.inf), x)
    s, mean, d_mean = _along(s, x), _along(mean, x), _along(d_mean, x)
    x_hat = np.abs(centred) / s
    folded = 2 * u * (np.abs(x) + np.abs(mean)) / s
    d_x_hat = (d_mean / s + folded) * (1 + rho) + x_hat * (rho + 3 * u) + e * (2 + 1 / s + np.abs(x) + np.abs(mean))
    y = gamma * x_hat + beta
    d_y = gamma * d_x_hat + 5 * u * y + 3 * e

    def average(values: Floats) -> Floats:
        result: Floats = values.mean(axes, keepdims=True)
        return result

    signed = centred / s
    c, mean_g = average(g * signed), average(g)
    d_c = (h + 4) * u * average(np.abs(g) * x_hat) + average(np.abs(g) * d_x_hat) + 2 * e
    terms = np.abs(g) + np.abs(mean_g) + np.abs(x_hat * c)
    d_dx = 6 * u * terms + (h + 2) * u * average(np.abs(g)) + x_hat * d_c + np.abs(c) * d_x_hat
    d_dx = gamma / s * (1 + rho) * (d_dx + rho * (np.abs(g - mean_g) + np.abs(x_hat * c)) + 4 * e)
    d_dx = d_dx + u * np.abs(gamma / s * (g - mean_g - signed * c)) + 4 * e * (1 + gamma) * (1 + 1 / s)
    d_dgamma = (m * d_c).reshape(-1) + up * np.abs((m * c).reshape(-1)) + ep
    d_dbeta = ((h + 1) * u * np.abs(g).sum(axes)) + up * np.abs(g.sum(axes)) + ep

    squares = np.max(np.abs(np.stack(case.batches)), axis=(0, *(a + 1 for a in axes))) ** 2 <= largest(kind)
    cubes = squares & (v**1.5 <= largest(kind)) & (v**-1.5 <= largest(kind))
    forward = {"y, training": d_y, "running mean": d_running_mean, "running variance": d_running_var}
    backward = {"dx": d_dx, "dgamma": d_dgamma, "dbeta": d_dbeta}
    return {k: _where(squares, b, x) for k, b in forward.items()} | {
        k: _where(cubes, b, x) for k, b in backward.items()
    }


def _where(judged: Floats, bound: Floats, x: Floats) -> Floats:
    result: Floats = np.where(_along(judged, x) if bound.ndim == x.ndim else judged, bound, np.inf)
    return result


def _inference(case: Case, convention: Convention, tier: Tier) -> dict[str, Floats]:
    working = min(case.kind, case.parameters, key=unit_roundoff)
    u, e = unit_roundoff(working), smallest(working)
    uo, eo = unit_roundoff(case.kind), smallest(case.kind)
    up, ep = unit_roundoff(case.parameters), smallest(case.parameters)
    x, g, m = case.x, case.dy, case.count
    axes = tuple(a for a in range(x.ndim) if a != 1)
    h = tier.h(m) if m * u < 0.5 else min(tier.h(m), _pairwise(m))
    gamma, beta = _affine(case)
    mean, s = _along(case.running_mean, x), _along(np.sqrt(case.running_var + convention.travelled(case.eps)), x)
    x_hat = np.abs(x - mean) / s
    d_x_hat = 3 * u * (np.abs(x) + np.abs(mean)) / s + 6 * u * x_hat + e * (2 + 1 / s + np.abs(x) + np.abs(mean))
    y = np.abs(gamma * x_hat) + beta
    d_y = gamma * d_x_hat + 5 * u * y + uo * y + 3 * e + eo
    dx = np.abs(gamma / s * g)
    d_dgamma = ((h + 4) * u * (np.abs(g) * x_hat).sum(axes) + (np.abs(g) * d_x_hat).sum(axes)) * 1.0
    d_dgamma = d_dgamma + up * np.abs((g * (x - mean) / s).sum(axes)) + ep
    return {
        "y, inference": d_y,
        "frozen y": d_y,
        "frozen dx": 8 * u * dx + uo * dx + 4 * e * (1 + gamma) * (1 + 1 / s) + eo,
        "frozen dgamma": d_dgamma,
        "frozen dbeta": (h + 1) * max(u, uo) * np.abs(g).sum(axes) + up * np.abs(g.sum(axes)) + ep,
    }
