"""Forward mode and second order, exactly: the definition and its gradients differentiated on truncated power series.

Along a direction everything is a series in t: x + t dx, gamma + t dgamma, beta + t dbeta. The coefficient of t in y is
the jvp. The coefficient of t in the *gradients* is the double backward, because second derivatives are symmetric: the
gradient of <ddx, dx> + <ddgamma, dgamma> + <ddbeta, dbeta> is how dx and dgamma move when x, gamma and beta move along
(ddx, ddgamma, ddbeta). No second derivative is written down here. All but the elements themselves is one series per
channel, so the cost is linear. `training_double_backward_mechanical` takes no gradient for granted, and is quadratic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flint import fmpq, fmpq_series

from refnorm.exact.affine import Affine, Axes, Channel, affine, channels_of, kept_axes, parameters
from refnorm.exact.definition import like, loss
from refnorm.exact.number import Exact, Number, rational
from refnorm.formats import Array


class SecondOrder(NamedTuple):
    """Exact gradients of sum(ddx * dx) + sum(ddgamma * dgamma) + sum(ddbeta * dbeta)."""

    ddy: Exact
    dx: Exact
    dgamma: Exact


def training_jvp(
    dx: Array,
    dgamma: Array | None,
    dbeta: Array | None,
    x: Array,
    gamma: Array | None = None,
    *,
    eps: float,
    axis: Axes = 1,
    where: Array | None = None,
) -> Exact:
    """Differentiate `refnorm.exact.training` along a direction.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> training_jvp(x, None, np.array([0.5]), x, eps=0.0).rounded().ravel()   # stretched x leave x_hat where it is
    array([0.5, 0.5, 0.5])
    """
    lines = _lines(x, dx, gamma, dgamma, None, eps, axis, where)
    return _jvp(lines, x, dx, dbeta)


def training_double_backward(
    ddx: Array,
    ddgamma: Array | None,
    ddbeta: Array | None,
    dy: Array,
    x: Array,
    gamma: Array | None = None,
    *,
    eps: float,
    axis: Axes = 1,
    where: Array | None = None,
) -> SecondOrder:
    """Differentiate `refnorm.exact.training_gradients` along (ddx, ddgamma, ddbeta); ddy is the jvp.

    Examples
    --------
    >>> import numpy as np
    >>> x, dy = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> training_double_backward(dy, None, None, dy, x, eps=0.0).dgamma.number(0).decimal(20)   # 8/21 / sqrt(14/3)
    '0.17634668567096218316'
    """
    lines = _lines(x, ddx, gamma, ddgamma, None, eps, axis, where)
    upstream = channels_of(like(x, dy), axis, where)
    ddy, towards_x, towards_gamma = _jvp(lines, x, ddx, ddbeta), [], []
    for line, grad in zip(lines, upstream, strict=True):
        m = len(grad.integers)
        mean_dy = grad.total / m
        dot = [grad.dot(line.x) - m * mean_dy * line.centre, grad.dot(line.dx) - m * mean_dy * line.centre_dx]
        covariance = fmpq_series([d / m for d in dot], None, 2)
        variance_term = line.slope * covariance / line.v if line.v0 else line.slope  # before x - mean, in dx
        terms = (line.slope[1], mean_dy), (-variance_term[1], line.centre), (-variance_term[0], line.centre_dx)
        towards_x.append(Affine(fmpq(0), terms, line.v0))
        towards_gamma.append(Number(fmpq(0), m * (line.root * covariance)[1], line.v0))
    dx = affine(x.shape, upstream, towards_x, dy, x, ddx)
    return SecondOrder(ddy, dx, Exact.of(_kept(x, axis), towards_gamma))


def training_double_backward_mechanical(
    ddx: Array,
    ddgamma: Array | None,
    ddbeta: Array | None,
    dy: Array,
    x: Array,
    gamma: Array | None = None,
    *,
    eps: float,
    axis: Axes = 1,
    where: Array | None = None,
) -> SecondOrder:
    """Differentiate the loss sum(dy * y) of Algorithm 1 twice, on series of three terms; for small arrays, as a proof.

    With Q(d) the coefficient of t^2 of the loss at (x, gamma, beta, dy) + t d, the second derivative along a and b is
    Q(a + b) - Q(a) - Q(b). Here a is (ddx, ddgamma, ddbeta, 0), and b moves one element of dy, x or gamma.
    """
    of = [channels_of(like(x, array), axis, where) for array in (x, ddx, dy)]
    n = len(of[0])
    scales = zip(parameters(gamma, n, 1), parameters(ddgamma, n, 0), parameters(ddbeta, n, 0), strict=True)
    zero = Number(fmpq(0), fmpq(0), fmpq(1))
    ddy, dx, dgamma = [zero] * x.size, [zero] * x.size, []
    for channel, direction, grad, (g, dg, db) in zip(*of, scales, strict=True):
        m = len(channel.integers)
        start = [*_values(channel), *_values(grad), g, fmpq(0)]
        along = [*_values(direction), *[fmpq(0)] * m, dg, db]
        only_a, v = _curvature(start, along, m, rational(eps))
        numbers = []
        for j in range(2 * m + 1):
            unit = [fmpq(0)] * len(start)
            unit[j] = fmpq(1)
            only_b, _ = _curvature(start, unit, m, rational(eps))
            both, _ = _curvature(start, [a + b for a, b in zip(along, unit, strict=True)], m, rational(eps))
            p, q = (together - a - b for together, a, b in zip(both, only_a, only_b, strict=True))
            numbers.append(Number(p, q, v))
        for k, i in enumerate(channel.index.tolist()):
            dx[i], ddy[i] = numbers[k], numbers[m + k]
        dgamma.append(numbers[-1])
    return SecondOrder(Exact.of(x.shape, ddy), Exact.of(x.shape, dx), Exact.of(_kept(x, axis), dgamma))


def inference_jvp(
    dx: Array,
    dgamma: Array | None,
    dbeta: Array | None,
    x: Array,
    mean: Array,
    var: Array,
    gamma: Array | None = None,
    *,
    eps: float,
    axis: Axes = 1,
) -> Exact:
    """Differentiate `refnorm.exact.inference` along a direction, statistics constant."""
    lines = _lines(x, dx, gamma, dgamma, (mean, var), eps, axis, None)
    return _jvp(lines, x, dx, dbeta)


def inference_double_backward(
    ddx: Array,
    ddgamma: Array | None,
    ddbeta: Array | None,
    dy: Array,
    x: Array,
    mean: Array,
    var: Array,
    gamma: Array | None = None,
    *,
    eps: float,
    axis: Axes = 1,
) -> SecondOrder:
    """Differentiate `refnorm.exact.inference_gradients` along (ddx, ddgamma, ddbeta); ddy is the jvp."""
    lines = _lines(x, ddx, gamma, ddgamma, (mean, var), eps, axis, None)
    upstream = channels_of(like(x, dy), axis, None)
    towards_x, towards_gamma = [], []
    for line, grad in zip(lines, upstream, strict=True):
        towards_x.append(Affine(fmpq(0), ((line.slope[1], fmpq(0)),), line.v0))
        towards_gamma.append(Number(fmpq(0), line.root[0] * grad.dot(line.dx), line.v0))
    dx = affine(x.shape, upstream, towards_x, dy)
    return SecondOrder(_jvp(lines, x, ddx, ddbeta), dx, Exact.of(_kept(x, axis), towards_gamma))


class _Line(NamedTuple):
    """One channel along a direction: x - centre + t (dx - centre_dx), and series in t of what multiplies it."""

    x: Channel
    dx: Channel
    centre: fmpq
    centre_dx: fmpq
    v: Any  # var + eps
    v0: fmpq
    root: Any  # sqrt(v0 / v): a series with rational coefficients; 1 / sqrt(v0) stands before every result
    slope: Any  # gamma root


def _lines(
    x: Array,
    dx: Array,
    gamma: Array | None,
    dgamma: Array | None,
    statistics: tuple[Array, Array] | None,
    eps: float,
    axis: Axes,
    where: Array | None,
) -> list[_Line]:
    """Move x and gamma along a direction; statistics follow the batch unless they are given."""
    channels, directions = channels_of(x, axis, where), channels_of(like(x, dx), axis, where)
    n, lines = len(channels), []
    scales = zip(parameters(gamma, n, 1), parameters(dgamma, n, 0), strict=True)
    given = None if statistics is None else [parameters(array, n) for array in statistics]
    for c, (channel, direction, scale) in enumerate(zip(channels, directions, scales, strict=True)):
        if given is None:
            m = len(channel.integers)
            centre, centre_dx = channel.total / m, direction.total / m
            var = [channel.squares / m - centre**2, 2 * (channel.dot(direction) / m - centre * centre_dx)]
        else:
            centre, centre_dx, var = given[0][c], fmpq(0), [given[1][c], fmpq(0)]
        v = fmpq_series([var[0] + rational(eps), var[1]], None, 2)
        root = (v / v[0]).rsqrt() if v[0] else fmpq_series([0], None, 2)  # var + eps = 0: no derivative, NaN
        lines.append(
            _Line(channel, direction, centre, centre_dx, v, v[0], root, fmpq_series(list(scale), None, 2) * root)
        )
    return lines


def _jvp(lines: list[_Line], x: Array, dx: Array, dbeta: Array | None) -> Exact:
    """Return the coefficient of t in y = slope (x - centre + t (dx - centre_dx)) + t dbeta."""
    maps = [
        Affine(constant, ((line.slope[1], line.centre), (line.slope[0], line.centre_dx)), line.v0)
        for line, constant in zip(lines, parameters(dbeta, len(lines), 0), strict=True)
    ]
    return affine(x.shape, [line.x for line in lines], maps, x, dx)


def _kept(x: Array, axis: Axes) -> tuple[int, ...]:
    return tuple(x.shape[a] for a in kept_axes(axis, x.ndim))


def _values(channel: Channel) -> list[fmpq]:
    return [channel.unit * i for i in channel.integers]


def _curvature(start: list[fmpq], direction: list[fmpq], m: int, eps: fmpq) -> tuple[tuple[fmpq, fmpq], fmpq]:
    """Return the coefficient of t^2 of the loss, its rational part and that before 1 / sqrt(v), and v at t = 0."""
    moving = [fmpq_series([a, b], None, 3) for a, b in zip(start, direction, strict=True)]
    value, constant, v = loss(moving[:m], moving[m : 2 * m], moving[-2], moving[-1], eps)
    return (constant[2], value[2]), v
