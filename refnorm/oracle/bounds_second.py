"""How far a correct jvp or double backward may be off: running error bounds, per element, from the inputs.

Notation and model are those of `refnorm.oracle.bounds`. Here the bounds are not written out: each is carried along its
formula, operation by operation (Higham 2002, section 3.3). A value comes with a bound d on its error; then

product   |a| d_b + |b| d_a + d_a d_b + 2u |a b| + e
sum       d_a + d_b + 2u (|a| + |b|) + e
mean      mean(d) + (h + 2) u mean|a| + 2e, for m values added with the factor h of the tier

The 2 in 2u, and |a| + |b| in place of |a + b|, leave room for the same terms in another order, for a product that is
grouped otherwise, and for a - b computed from b's parts. x_hat and 1 / sqrt(var + eps) start with the errors that
`refnorm.oracle.bounds` derives for them. A result is rounded once more, to its own format.

Where. Values are judged where (var + eps)^(5/2), its inverse, and the squares of x stay finite in the candidate's
format: the second derivative of 1 / sqrt(v) is 3/4 v^(-5/2). Beyond, only finiteness is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from refnorm.conventions import Convention
from refnorm.golden.cases import Case
from refnorm.golden.rule import Floats
from refnorm.oracle.bounds import PAIRWISE, ROW_BY_ROW, Tier, largest, smallest, unit_roundoff
from refnorm.oracle.directions import Directions, directions


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
        return self.of((m * mean.value).reshape(-1), (m * mean.error).reshape(-1))


@lru_cache(maxsize=4096)
def second_bounds(case: Case, convention: Convention, tier: Tier = ROW_BY_ROW) -> dict[str, Floats]:
    """Return the bound of every quantity of forward mode and second order; inf where only finiteness is asked for."""
    with np.errstate(all="ignore"):
        frozen = case.operation == "inference"
        inv_std, x_hat, judged = (_given if frozen else _batch)(case, convention, tier)
        results = _formulas(case, directions(case), inv_std, x_hat, frozen)
        bounds = {}
        for name, carried in results.items():
            kind = case.parameters if name == "double backward dgamma" else case.kind
            bound = carried.error + unit_roundoff(kind) * np.abs(carried.value) + smallest(kind)
            bounds[f"frozen {name}" if frozen else name] = np.where(
                judged if bound.ndim > 1 else judged.reshape(-1), bound, np.inf
            )
        return bounds


def _formulas(case: Case, moves: Directions, inv_std: Carried, x_hat: Carried, frozen: bool) -> dict[str, Carried]:
    """Carry the errors through jvp and double backward (see `refnorm.second_order`)."""

    def along(values: Floats | None, default: float) -> Carried:
        shape = (1, -1) + (1,) * (case.x.ndim - 2)
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
    kind, u, e = case.kind, unit_roundoff(case.kind), smallest(case.kind)
    x, m, axes = case.x, case.count, tuple(a for a in range(case.x.ndim) if a != 1)
    h = tier.h(m) if m * u < 0.5 else min(tier.h(m), PAIRWISE.h(m))
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    centred = centred - centred.mean(axes, keepdims=True)
    var, rms = (centred**2).mean(axes, keepdims=True), np.sqrt((x * x).mean(axes, keepdims=True))
    d_mean = (h + 2) * u * np.abs(x).mean(axes, keepdims=True) + 2 * e
    d_var = d_mean**2 + 4 * e
    d_var = d_var + (2 * (h + 4) * u * rms**2 if tier.one_pass else 2 * (h + 5) * u * (var + np.sqrt(var) * rms))
    eps = convention.travelled(case.eps)
    v = var + eps
    d_v = d_var + 2 * u * v + e
    lowest = np.maximum(v - d_v, 0 if tier.one_pass else eps * (1 - 4 * u))
    rho = np.where(lowest > 0, np.sqrt(v / lowest) - 1 + 3 * u, np.inf)
    judged = (np.max(np.abs(x), axis=axes, keepdims=True) ** 2 <= largest(kind)) & _judged(v, kind)
    return *_start(x, centred, mean, d_mean, v, rho, u, e, h), judged


def _given(case: Case, convention: Convention, tier: Tier) -> tuple[Carried, Carried, Floats]:
    """Return the same for given statistics, which are constants; the working format may be the parameters'."""
    working = min(case.kind, case.parameters, key=unit_roundoff)
    u, e, m = unit_roundoff(working), smallest(working), case.count
    h = tier.h(m) if m * u < 0.5 else min(tier.h(m), PAIRWISE.h(m))
    shape = (1, -1) + (1,) * (case.x.ndim - 2)
    mean, v = case.running_mean.reshape(shape), case.running_var.reshape(shape) + convention.travelled(case.eps)
    start = _start(case.x, case.x - mean, mean, np.zeros_like(mean), v, np.full_like(v, 4 * u), u, e, h)
    return *start, _judged(v, case.kind)


def _start(
    x: Floats, centred: Floats, mean: Floats, d_mean: Floats, v: Floats, rho: Floats, u: float, e: float, h: float
) -> tuple[Carried, Carried]:
    s = np.sqrt(v)
    size = np.abs(centred) / s
    d_x_hat = (d_mean / s + 2 * u * (np.abs(x) + np.abs(mean)) / s) * (1 + rho) + size * (rho + 3 * u)
    d_x_hat = d_x_hat + e * (2 + 1 / s + np.abs(x) + np.abs(mean))
    return Carried(1 / s, rho / s + e, u, e, h), Carried(centred / s, d_x_hat, u, e, h)


def _judged(v: Floats, kind: str) -> Floats:
    result: Floats = (v**2.5 <= largest(kind)) & (v**-2.5 <= largest(kind))
    return result
