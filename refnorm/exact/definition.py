"""The definition of batch normalization and its gradients, exactly: each result with its rational p, q and v."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from flint import fmpq, fmpq_series

from refnorm.exact.affine import Affine, Axes, Channel, affine, channels_of, kept_axes, parameters, rationals
from refnorm.exact.number import Exact, Number, rational
from refnorm.formats import Array


@dataclass(frozen=True)
class Forward:
    """Exact results of the training forward; ``var`` is the biased variance, ``count`` the values of each channel."""

    y: Exact
    mean: Exact
    var: Exact
    count: list[int]


@dataclass(frozen=True)
class Moments:
    """Exact mean and biased variance, and how many values each channel has."""

    mean: Exact
    var: Exact
    count: list[int]


class Gradients(NamedTuple):
    """Exact gradients of sum(dy * y)."""

    dx: Exact
    dgamma: Exact
    dbeta: Exact


def training(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float,
    axis: Axes = 1,
    where: Array | None = None,
) -> Forward:
    """Normalise a batch by its own statistics (Ioffe & Szegedy 2015, Algorithm 1).

    Parameters
    ----------
    x : finite NumPy array of any format of `refnorm.formats.FORMATS`.
    gamma, beta, eps, axis, where : as in `refnorm.batch_norm_training`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> training(x, eps=0.0).y.number(0).decimal(40)          # -2 / sqrt(14/3)
    '-0.9258200997725514615665667765839995225293'
    """
    channels = channels_of(x, axis, where)
    means, variances, moments = _moments(x, channels, axis)
    scale, shift = parameters(gamma, len(channels), 1), parameters(beta, len(channels), 0)
    lines = [
        Affine(b, ((g, mean),), var + rational(eps))
        for mean, var, g, b in zip(means, variances, scale, shift, strict=True)
    ]
    return Forward(affine(x.shape, channels, lines, x), moments.mean, moments.var, moments.count)


def statistics(x: Array, *, axis: Axes = 1, where: Array | None = None) -> Moments:
    """Take mean and biased variance alone, as `training` does.

    Examples
    --------
    >>> import numpy as np
    >>> statistics(np.array([[1.0], [2.0], [6.0]])).var.number(0).p
    14/3
    """
    return _moments(x, channels_of(x, axis, where), axis)[2]


def _moments(x: Array, channels: Sequence[Channel], axis: Axes) -> tuple[list[fmpq], list[fmpq], Moments]:
    counts = [len(channel.integers) for channel in channels]
    means = [channel.total / m for channel, m in zip(channels, counts, strict=True)]
    variances = [c.squares / m - mean * mean for c, m, mean in zip(channels, counts, means, strict=True)]
    kept = tuple(x.shape[a] for a in kept_axes(axis, x.ndim))
    return means, variances, Moments(rationals(kept, means), rationals(kept, variances), counts)


def training_gradients(
    dy: Array, x: Array, gamma: Array | None = None, *, eps: float, axis: Axes = 1, where: Array | None = None
) -> Gradients:
    """Differentiate `training` in closed form; the tests prove it equal to `training_gradients_mechanical`.

    Examples
    --------
    >>> import numpy as np
    >>> x, dy = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> training_gradients(dy, x, eps=0.0).dbeta.rounded()
    array([1.])
    """
    channels, upstream = channels_of(x, axis, where), channels_of(like(x, dy), axis, where)
    kept = tuple(x.shape[a] for a in kept_axes(axis, x.ndim))
    lines, dgamma, dbeta = [], [], []
    for channel, grad, g in zip(channels, upstream, parameters(gamma, len(channels), 1), strict=True):
        m = len(channel.integers)
        mean, mean_dy = channel.total / m, grad.total / m
        v = channel.squares / m - mean * mean + rational(eps)
        covariance = grad.dot(channel) / m - mean_dy * mean
        lines.append(Affine(fmpq(0), ((g, mean_dy), (-g * covariance / v if v else fmpq(0), mean)), v))
        dgamma.append(Number(fmpq(0), m * covariance, v))
        dbeta.append(m * mean_dy)
    return Gradients(affine(x.shape, channels, lines, dy, x), Exact.of(kept, dgamma), rationals(kept, dbeta))


def training_gradients_mechanical(
    dy: Array, x: Array, gamma: Array | None = None, *, eps: float, axis: Axes = 1, where: Array | None = None
) -> Gradients:
    """Differentiate `training` mechanically: Algorithm 1 on truncated power series x + t e_j, one run per element.

    With v0 the value of v at t = 0, v / v0 has a rational series of which the root is rational again; the 1 / sqrt(v0)
    in front stays exact. The cost is quadratic in the count, so this is for small arrays, and the proof of the rest.
    """
    channels, upstream = channels_of(x, axis, where), channels_of(like(x, dy), axis, where)
    kept = tuple(x.shape[a] for a in kept_axes(axis, x.ndim))
    dx, dgamma, dbeta = [Number(fmpq(0), fmpq(0), fmpq(1))] * x.size, [], []
    for channel, grad, g in zip(channels, upstream, parameters(gamma, len(channels), 1), strict=True):
        values = [channel.unit * i for i in channel.integers]
        weights = [grad.unit * i for i in grad.integers]
        gradient, v = [], fmpq(0)
        for j in range(len(values) + 2):  # towards each x_j, then gamma, then beta
            towards = [_series(value, int(i == j)) for i, value in enumerate(values)]
            scale, shift = _series(g, int(j == len(values))), _series(fmpq(0), int(j == len(values) + 1))
            value, constant, v = loss(towards, weights, scale, shift, rational(eps))
            gradient.append((constant[1], value[1]))
        for i, (p, q) in zip(channel.index.tolist(), gradient, strict=False):
            dx[i] = Number(p, q, v)
        dgamma.append(Number(*gradient[-2], v))
        dbeta.append(Number(*gradient[-1], v))
    return Gradients(Exact.of(x.shape, dx), Exact.of(kept, dgamma), Exact.of(kept, dbeta))


def inference(
    x: Array,
    mean: Array,
    var: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float,
    axis: Axes = 1,
) -> Exact:
    """Normalise by given statistics (Ioffe & Szegedy 2015, Algorithm 2)."""
    channels = channels_of(x, axis, None)
    n = len(channels)
    lines = [
        Affine(b, ((g, m),), v + rational(eps))
        for m, v, g, b in zip(
            parameters(mean, n), parameters(var, n), parameters(gamma, n, 1), parameters(beta, n, 0), strict=True
        )
    ]
    return affine(x.shape, channels, lines, x)


def inference_gradients(
    dy: Array, x: Array, mean: Array, var: Array, gamma: Array | None = None, *, eps: float, axis: Axes = 1
) -> Gradients:
    """Differentiate `inference`: an affine map, statistics constant."""
    channels, upstream = channels_of(x, axis, None), channels_of(like(x, dy), axis, None)
    n, kept = len(channels), tuple(x.shape[a] for a in kept_axes(axis, x.ndim))
    lines, dgamma, dbeta = [], [], []
    for channel, grad, m, v, g in zip(
        channels, upstream, parameters(mean, n), parameters(var, n), parameters(gamma, n, 1), strict=True
    ):
        v = v + rational(eps)
        lines.append(Affine(fmpq(0), ((g, fmpq(0)),), v))
        dgamma.append(Number(fmpq(0), grad.dot(channel) - m * grad.total, v))
        dbeta.append(grad.total)
    return Gradients(affine(x.shape, channels, lines, dy), Exact.of(kept, dgamma), rationals(kept, dbeta))


def blend(old: Array | Exact, old_weight: Fraction | fmpq, batch: Exact, batch_weight: Fraction | fmpq) -> Exact:
    """Weigh running statistics with a batch's, exactly: old_weight * old + batch_weight * batch, per channel.

    Every convention is a choice of the two weights; m/(m - 1), where a convention has it, is part of the batch's.
    """
    if not isinstance(old, Exact):
        old = rationals(batch.shape, parameters(old, len(batch.hi)))
    before, now = rational(old_weight), rational(batch_weight)
    return rationals(batch.shape, [before * old.number(i).p + now * batch.number(i).p for i in range(len(batch.hi))])


def like(x: Array, dy: Array) -> Array:
    """Return dy, which must have the shape of x."""
    if dy.shape != x.shape:
        raise ValueError(f"dy has shape {dy.shape}, expected {x.shape}: the shape of x")
    return dy


def _series(value: fmpq, slope: int) -> fmpq_series:
    return fmpq_series([value, slope], None, 2)


def loss(x: list[Any], dy: list[Any], gamma: Any, beta: Any, eps: fmpq) -> tuple[Any, Any, fmpq]:
    """Run Algorithm 1 and the loss sum(dy * y) on series: what stands before 1/sqrt(v0), the rest, and v0."""
    m = len(x)
    mean = sum(x) / m
    v = sum((x_i - mean) * (x_i - mean) for x_i in x) / m + eps
    v0 = v[0]
    inv_std = (v / v0).rsqrt()  # times 1 / sqrt(v0)
    value = sum(dy_i * (gamma * (x_i - mean) * inv_std) for x_i, dy_i in zip(x, dy, strict=True))
    constant = sum(dy_i * beta for dy_i in dy)
    return value, constant, v0
