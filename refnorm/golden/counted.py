"""The truth about a large case that repeats few pairs of x and dy: each pair once, with how often it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flint import fmpq

from refnorm.exact import Moments
from refnorm.exact.affine import Affine, affine, channels_of, parameters, rationals
from refnorm.exact.number import Exact, Number, rational
from refnorm.formats import Array, Floats
from refnorm.golden.inputs import Case


def first_order(case: Case, eps: float) -> dict[str, Exact]:
    """Compute y and the gradients of a case with ``times``, by the oracle's names.

    The closed form is that of `refnorm.exact.training_gradients` and `inference_gradients`, with sums in which each
    value counts so many times; the tests prove that both say the same.
    """
    frozen, n = case.operation == "inference", case.x.shape[1]
    lines, gradients, dgamma, dbeta = [], [], [], []
    for c, (g, b) in enumerate(zip(parameters(case.gamma, n, 1), parameters(case.beta, n, 0), strict=True)):
        x, dy, times = _channel(case, c)
        mean, var = rational(case.running_mean[c]), rational(case.running_var[c])
        if not frozen:
            mean, var = _mean_and_var(x, times)
        m, v, total = sum(times), var + rational(eps), _sum(times, dy)
        covariance = _sum(times, dy, x) - total * mean
        of_mean, of_x_hat = (fmpq(0), fmpq(0)) if frozen else (total / m, covariance / m / v)
        lines.append(Affine(b, ((g, mean),), v))
        gradients.append(Affine(fmpq(0), ((g, of_mean), (-g * of_x_hat, mean)), v))
        dgamma.append(Number(fmpq(0), covariance, v))
        dbeta.append(total)
    channels, shape = channels_of(case.x, 1, None), case.x.shape
    y, dx = affine(shape, channels, lines, case.x), affine(shape, channels, gradients, case.dy, case.x)
    rest = {"dx": dx, "dgamma": Exact.of((n,), dgamma), "dbeta": rationals((n,), dbeta)}
    if not frozen:
        return {"y, training": y} | rest
    return {"y, inference": y, "frozen y": y} | {f"frozen {name}": result for name, result in rest.items()}


def counted_moments(case: Case) -> Moments:
    """Return the exact mean and biased variance of each channel of a case with ``times``."""
    n = case.x.shape[1]
    pairs = [_mean_and_var(x, times) for x, _, times in (_channel(case, c) for c in range(n))]
    means, variances = zip(*pairs, strict=True)
    return Moments(rationals((n,), means), rationals((n,), variances), [case.count] * n)


@dataclass(frozen=True)
class Spread:
    """What is known of each pair of a table, for each value of the large case; an `Exact` in what is asked of it."""

    table: Exact
    index: npt.NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the large array."""
        return self.index.shape

    @property
    def hi(self) -> Floats:
        """Each number to one float64, row-major."""
        flat: Floats = self.table.hi[self.index.reshape(-1)]
        return flat

    def number(self, i: int) -> Number:
        """Return the exact number at a flat index."""
        return self.table.number(int(self.index.reshape(-1)[i]))

    def rounded(self, kind: str = "float64") -> Floats:
        """Return each number correctly rounded to a format."""
        laid_out: Floats = self.table.rounded(kind).reshape(-1)[self.index]
        return laid_out

    def error_of(self, values: Array) -> Floats:
        """Return values - exact, as `Exact.error_of`."""
        wide = np.asarray(values, dtype=np.float64)
        if wide.shape != self.shape:
            raise ValueError(f"values have shape {wide.shape}, the exact result {self.shape}")
        with np.errstate(invalid="ignore"):
            error: Floats = (wide - self.table.hi[self.index]) - self.table.lo[self.index]
        return error


def _channel(case: Case, c: int) -> tuple[list[fmpq], ...]:
    assert case.times is not None
    return tuple([rational(value) for value in a[0, c].tolist()] for a in (case.x, case.dy, case.times))


def _mean_and_var(x: list[fmpq], times: list[fmpq]) -> tuple[fmpq, fmpq]:
    mean = _sum(times, x) / sum(times)
    return mean, _sum(times, x, x) / sum(times) - mean * mean


def _sum(*factors: list[fmpq]) -> fmpq:
    """Add up products of one value of each list."""
    total = fmpq(0)
    for values in zip(*factors, strict=True):
        product = fmpq(1)
        for value in values:
            product *= value
        total += product
    return total
