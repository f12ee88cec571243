"""How far a correct jvp or double backward may be off: running error bounds, a heuristic for other arrangements.

Notation and model are those of `refnorm.oracle.bounds`. Here the bounds are not written out: each is carried along its
formula, operation by operation (Higham 2002, section 3.3). A value comes with a bound d on its error; then

product   |a| d_b + |b| d_a + d_a d_b + 2u |a b| + e
sum       d_a + d_b + 2u (|a| + |b|) + e
mean      mean(d) + (h + 2) u mean|a| + 2e, for m values added with the factor h of the tier

For whoever computes these formulas, operation by operation, that is a bound, but for terms of second order in u. For
others it is a heuristic: second derivatives can be arranged in many ways, and no bound here covers them all. The 2 in
2u, and |a| + |b| in place of |a + b|, leave room for the same terms in another order, for a product that is grouped
otherwise, and for a - b computed from b's parts; that this room is enough is known from the implementations that were
tried (`tests/test_oracle_second_order.py`), and not from a proof. x_hat and 1 / sqrt(var + eps) start with the errors
that `refnorm.oracle.bounds` derives for them. A result is rounded once more, to its own format.

Where. Values are judged where (var + eps)^(5/2), its inverse, and the squares of x stay finite in the candidate's
format: the second derivative of 1 / sqrt(v) is 3/4 v^(-5/2). Beyond, only finiteness is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from refnorm.conventions import Convention
from refnorm.formats import Floats, largest, smallest, unit_roundoff
from refnorm.golden.directions import Directions, directions
from refnorm.golden.inputs import Case
from refnorm.oracle.bounds import Normalised, Sums, bounded_moments
from refnorm.oracle.tiers import WORST, Tier


@dataclass(frozen=True, eq=False)
class Carried:
    """A value, and a bound on the error that it may carry; u, e and h of the candidate's arithmetic."""

    value: Floats
    error: Floats
    u: float
    e: float
    h: float

    def of(self, value: Any, error: Any = 0.0) -> Carried:
        """Return another value in the same arithmetic."""
        return Carried(np.asarray(value, dtype=np.float64), np.asarray(error, dtype=np.float64), self.u, self.e, self.h)

    def __mul__(self, other: Carried) -> Carried:
        value = self.value * other.value
        error = np.abs(self.value) * other.error + np.abs(other.value) * self.error + self.error * other.error
        return self.of(value, error + 2 * self.u * np.abs(value) + self.e)

    def __add__(self, other: Carried) -> Carried:
        error = self.error + other.error + 2 * self.u * (np.abs(self.value) + np.abs(other.value)) + self.e
        return self.of(self.value + other.value, error)

    def __neg__(self) -> Carried:
        return self.of(-self.value, self.error)

    def __sub__(self, other: Carried) -> Carried:
        return self + -other

    def mean(self) -> Carried:
        """Average over all axes but the channels'."""
        axes = tuple(a for a in range(self.value.ndim) if a != 1)
        error = (self.error + (self.h + 2) * self.u * np.abs(self.value)).mean(axes, keepdims=True) + 2 * self.e
        return self.of(self.value.mean(axes, keepdims=True), error)

    def total(self, m: int) -> Carried:
        """Sum over the same axes, one value per channel."""
        mean = self.mean()
        return self.of((m * mean.value).ravel(), (m * mean.error).ravel())


@lru_cache(maxsize=4096)
def second_bounds(case: Case, convention: Convention, tier: Tier = WORST) -> dict[str, Floats]:
    """Return the bound of every quantity of forward mode and second order; inf where only finiteness is asked for."""
    with np.errstate(all="ignore"):
        frozen = case.operation == "inference"
        inv_std, x_hat, judged = (_given if frozen else _batch)(case, convention, tier)
        results = _formulas(case, directions(case), inv_std, x_hat, frozen)
        bounds = {}
        for name, carried in results.items():
            of_gamma = name == "double backward dgamma"
            kind, asked = (case.parameters, judged.ravel()) if of_gamma else (case.kind, judged)
            bound = carried.error + unit_roundoff(kind) * np.abs(carried.value) + smallest(kind)
            bound = np.where(asked & ~np.isnan(bound), bound, np.inf)  # NaN is an infinite error times 0
            bounds[f"frozen {name}" if frozen else name] = bound
        return bounds


def _formulas(case: Case, moves: Directions, inv_std: Carried, x_hat: Carried, frozen: bool) -> dict[str, Carried]:
    """Carry the errors through jvp and double backward (see `refnorm.second_order`)."""

    def along(values: Floats | None, default: float) -> Carried:
        shape = (1, case.x.shape[1]) + (1,) * (case.x.ndim - 2)
        return inv_std.of(np.full(case.x.shape[1], default).reshape(shape) if values is None else values.reshape(shape))

    def residual(v: Carried) -> Carried:
        return v if frozen else v - v.mean() - x_hat * (v * x_hat).mean()

    gamma, ddgamma, ddbeta = along(case.gamma, 1.0), along(moves.dgamma, 0.0), along(moves.dbeta, 0.0)
    ddx, dy = inv_std.of(moves.dx), inv_std.of(case.dy)
    slope, of_dy, of_ddx = gamma * inv_std, residual(dy), residual(ddx)
    jvp = slope * of_ddx + ddgamma * x_hat + ddbeta
    dx = ddgamma * of_dy
    if not frozen:
        crossed = (ddx * x_hat).mean() * of_dy + (dy * x_hat).mean() * of_ddx + (ddx * of_dy).mean() * x_hat
        dx = dx - slope * crossed
    dgamma = (ddx * of_dy * inv_std).total(case.count)
    return {
        "jvp": jvp,
        "double backward ddy": jvp,
        "double backward dx": inv_std * dx,
        "double backward dgamma": dgamma,
    }


def _batch(case: Case, convention: Convention, tier: Tier) -> tuple[Carried, Carried, Floats]:
    """Return 1 / sqrt(var + eps) and x_hat of the batch with their errors, and where they are judged."""
    x, kind, axes = case.x, case.kind, tuple(a for a in range(case.x.ndim) if a != 1)
    sums = Sums.of_case(case, tier, kind)
    centred, statistics = bounded_moments(x, sums)
    n = Normalised.of(x, centred, statistics, convention.travelled(case.eps), kind, sums)
    judged = (np.max(np.abs(x), axis=axes, keepdims=True) ** 2 <= largest(sums.kind)) & _judged(n.s**2, sums.kind)
    return *_start(n, x, kind), judged


def _given(case: Case, convention: Convention, tier: Tier) -> tuple[Carried, Carried, Floats]:
    """Return the same for given statistics, which are constants; the working format may be the parameters'."""
    kind = min(case.kind, case.parameters, key=unit_roundoff)
    x, none = case.x, np.zeros(case.x.shape[1])
    centred = x - case.running_mean.reshape((1, x.shape[1]) + (1,) * (x.ndim - 2))
    statistics = (case.running_mean, case.running_var, none, none)
    sums = Sums.of_case(case, tier, kind)
    n = Normalised.of(x, centred, statistics, convention.travelled(case.eps), kind, sums)
    return *_start(n, x, kind), _judged(n.s**2, tier.sums_in(case.kind))


def _start(n: Normalised, x: Floats, kind: str) -> tuple[Carried, Carried]:
    h = n.sums.h * n.sums.u / n.u  # in units of the format that the rest is computed in
    e, size, growth = smallest(kind), np.abs(n.x_hat), np.exp(n.r + 2 * n.u)
    d_x_hat = size * np.expm1(n.r + 2 * n.u) + growth * (n.shift + (2 * n.u * n.reach if n.sums.tier.folded else 0))
    d_x_hat = d_x_hat + e * (2 + 1 / n.s + np.abs(x) + np.abs(n.mean))
    return Carried(1 / n.s, np.expm1(n.r) / n.s + e, n.u, e, h), Carried(n.x_hat, d_x_hat, n.u, e, h)


def _judged(v: Floats, kind: str) -> Floats:
    result: Floats = (v**2.5 <= largest(kind)) & (v**-2.5 <= largest(kind))
    return result
