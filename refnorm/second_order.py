"""Forward mode and second order: of training and of inference, each jvp with its double backward right under it."""

from __future__ import annotations

from refnorm._array import Array, Axes, Layout, ieee, non_negative
from refnorm.batch_norm import Saved
from refnorm.statistics import deviation


@ieee
def batch_norm_training_jvp(dx: Array, dgamma: Array | None, dbeta: Array | None, saved: Saved) -> Array:
    """Carry a direction forward through `batch_norm_training`: how y moves when x, gamma and beta move.

    With P(a) = a - mean(a) - x_hat mean(a x_hat), what is left of a direction once the mean and the variance follow it:

    dy = gamma / sqrt(var + eps) P(dx) + dgamma x_hat + dbeta

    P is symmetric, and the dx of `batch_norm_training_backward` is gamma / sqrt(var + eps) P(dy): the one map, there
    and back (differentiated from Ioffe & Szegedy 2015, Algorithm 1). With one value per channel, P is 0 and dy is
    dbeta: y is beta there, whatever x is. NaN or inf makes its channel NaN, and no other.

    Parameters
    ----------
    dx : array, shape of x
        Direction in which x moves; ignored where masked.
    dgamma, dbeta : arrays of the kept shape, or None for 0
        Directions in which gamma and beta move.
    saved : what `batch_norm_training` returned.

    Returns
    -------
    dy : array, shape and dtype of x; 0 where masked.

    Raises
    ------
    TypeError, ValueError
        If a direction is no floating-point array of the library of x, or of another shape than what it moves.

    Examples
    --------
    >>> import numpy as np
    >>> from refnorm import batch_norm_training
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> y, saved = batch_norm_training(x, eps=0.0)
    >>> dy = batch_norm_training_jvp(x, None, None, saved)
    >>> bool(abs(dy).max() < 1e-15)                  # stretching all x together changes nothing
    True
    """
    x, gamma, where, _, _, _, axis = saved
    layout = Layout.of(x, axis, where)
    dx = layout.widen(dx, "dx")
    inv_std, x_hat = _normalised(layout, saved)

    return _moved(layout, _residual(layout, dx, x_hat) * inv_std, x_hat, gamma, dgamma, dbeta)


@ieee
def batch_norm_training_double_backward(
    ddx: Array, ddgamma: Array | None, ddbeta: Array | None, dy: Array, saved: Saved
) -> tuple[Array, Array, Array]:
    """Carry a gradient back through `batch_norm_training_backward`: what gradient penalties and Hessians need.

    A loss that depends on dx, dgamma and dbeta has gradients ddx, ddgamma and ddbeta with respect to them; this returns
    its gradients with respect to what they were computed from. With P as in `batch_norm_training_jvp`,

    ddy = gamma / sqrt(var + eps) P(ddx) + ddgamma x_hat + ddbeta
    dgamma = sum(ddx P(dy)) / sqrt(var + eps)
    dx = (ddgamma P(dy) - gamma / sqrt(var + eps) (mean(ddx x_hat) P(dy) + mean(dy x_hat) P(ddx)
    + mean(ddx P(dy)) x_hat)) / sqrt(var + eps)

    The backward is linear in dy, so ddy is its transpose: the jvp. With ddgamma = 0, dx is gamma times a form in which
    ddx and dy may change places. (The three equations of `batch_norm_training_backward`, differentiated once more.)
    With one value per channel, ddy is ddbeta, dx and dgamma are 0.

    Parameters
    ----------
    ddx : array, shape of x
        Gradient with respect to the backward's dx; ignored where masked.
    ddgamma, ddbeta : arrays of the kept shape, or None for 0
        Gradients with respect to the backward's dgamma and dbeta.
    dy : array, shape of x
        As given to the backward; ignored where masked.
    saved : what `batch_norm_training` returned.

    Returns
    -------
    ddy, dx : arrays, shape and dtype of x; 0 where masked.
        Gradients with respect to dy and x.
    dgamma : array of the kept shape, wide; returned whether or not gamma was given.
        Gradient with respect to gamma.

    Raises
    ------
    TypeError, ValueError
        If an argument is no floating-point array of the library of x, or of the wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> from refnorm import batch_norm_training
    >>> x, dy = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> y, saved = batch_norm_training(x, eps=0.0)
    >>> ddy, dx, dgamma = batch_norm_training_double_backward(x, None, None, dy, saved)
    >>> bool(abs(ddy).max() < 1e-15)                 # <x, dx> is 0 for every dy (Euler): so is its gradient
    True
    """
    x, gamma, where, _, _, _, axis = saved
    layout = Layout.of(x, axis, where)
    ddx, dy = layout.widen(ddx, "ddx"), layout.widen(dy, "dy")
    inv_std, x_hat = _normalised(layout, saved)
    slope = inv_std if gamma is None else inv_std * layout.along(layout.parameter(gamma, "gamma"))

    rest_of_dy, rest_of_ddx = _residual(layout, dy, x_hat), _residual(layout, ddx, x_hat)
    ddy = rest_of_ddx * slope
    dx = (
        layout.along(layout.average(ddx * x_hat)) * rest_of_dy
        + layout.along(layout.average(dy * x_hat)) * rest_of_ddx
        + layout.along(layout.average(ddx * rest_of_dy)) * x_hat
    ) * -slope
    if ddgamma is not None:
        ddgamma = layout.along(layout.parameter(ddgamma, "ddgamma"))
        ddy, dx = ddy + ddgamma * x_hat, dx + ddgamma * rest_of_dy
    if ddbeta is not None:
        ddy = ddy + layout.along(layout.parameter(ddbeta, "ddbeta"))
    dgamma = layout.total(ddx * rest_of_dy * inv_std)
    return layout.narrow(ddy), layout.narrow(dx * inv_std), dgamma


@ieee
def batch_norm_inference_jvp(
    dx: Array,
    dgamma: Array | None,
    dbeta: Array | None,
    x: Array,
    running_mean: Array,
    running_var: Array,
    gamma: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 1,
) -> Array:
    """Carry a direction forward through `batch_norm_inference`, whose statistics are constants.

    dy = gamma / sqrt(running_var + eps) dx + dgamma x_hat + dbeta      (from Ioffe & Szegedy 2015, Algorithm 2)

    Parameters
    ----------
    dx, dgamma, dbeta : as in `batch_norm_training_jvp`.
    x, running_mean, running_var, gamma, eps, axis : as given to `batch_norm_inference`.

    Returns
    -------
    dy : array, shape and dtype of x.

    Raises
    ------
    TypeError, ValueError
        As `batch_norm_training_jvp`.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.array([[1.0]])
    >>> batch_norm_inference_jvp(one, one[0], None, 3 * one, one[0], 3.75 * one[0], eps=0.25)      # 1/2 + (3 - 1)/2
    array([[1.5]])
    """
    layout, inv_std, x_hat = _normalised_by(x, running_mean, running_var, eps, axis)
    return _moved(layout, layout.widen(dx, "dx") * inv_std, x_hat, gamma, dgamma, dbeta)


@ieee
def batch_norm_inference_double_backward(
    ddx: Array,
    ddgamma: Array | None,
    ddbeta: Array | None,
    dy: Array,
    x: Array,
    running_mean: Array,
    running_var: Array,
    gamma: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 1,
) -> tuple[Array, Array, Array]:
    """Carry a gradient back through `batch_norm_inference_backward`, whose statistics are constants.

    ddy = gamma / sqrt(running_var + eps) ddx + ddgamma x_hat + ddbeta
    dx = ddgamma dy / sqrt(running_var + eps),  dgamma = sum(ddx dy) / sqrt(running_var + eps)

    Parameters
    ----------
    ddx, ddgamma, ddbeta, dy : as in `batch_norm_training_double_backward`.
    x, running_mean, running_var, gamma, eps, axis : as given to `batch_norm_inference`.

    Returns
    -------
    ddy, dx : arrays, shape and dtype of x: gradients with respect to dy and x.
    dgamma : array of the kept shape, wide: gradient with respect to gamma.

    Raises
    ------
    TypeError, ValueError
        As `batch_norm_training_double_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.array([[1.0]])
    >>> batch_norm_inference_double_backward(one, one[0], None, 4 * one, 3 * one, one[0], 3.75 * one[0], eps=0.25)
    (array([[1.5]]), array([[2.]]), array([2.]))
    """
    layout, inv_std, x_hat = _normalised_by(x, running_mean, running_var, eps, axis)
    ddx, dy = layout.widen(ddx, "ddx"), layout.widen(dy, "dy")
    ddy, dx = ddx * inv_std, layout.xp.zeros_like(dy)
    if gamma is not None:
        ddy = ddy * layout.along(layout.parameter(gamma, "gamma"))
    if ddgamma is not None:
        ddgamma = layout.along(layout.parameter(ddgamma, "ddgamma"))
        ddy, dx = ddy + ddgamma * x_hat, dy * (ddgamma * inv_std)
    if ddbeta is not None:
        ddy = ddy + layout.along(layout.parameter(ddbeta, "ddbeta"))
    return layout.narrow(ddy), layout.narrow(dx), layout.total(ddx * dy * inv_std)


def _normalised(layout: Layout, saved: Saved) -> tuple[Array, Array]:
    """Return 1 / sqrt(var + eps), along x, and x_hat."""
    inv_std = layout.along(1 / layout.xp.sqrt(saved.statistics.var + saved.eps))
    return inv_std, deviation(layout, saved.x, saved.statistics.mean, saved.tail) * inv_std


def _normalised_by(
    x: Array, running_mean: Array, running_var: Array, eps: float, axis: Axes
) -> tuple[Layout, Array, Array]:
    """Return the layout of x, 1 / sqrt(running_var + eps), along x, and x_hat."""
    eps = non_negative(eps, "eps")
    layout = Layout.of(x, axis)
    inv_std = 1 / layout.xp.sqrt(layout.along(layout.parameter(running_var, "running_var")) + eps)
    return (
        layout,
        inv_std,
        (layout.widen(x, "x") - layout.along(layout.parameter(running_mean, "running_mean"))) * inv_std,
    )


def _moved(
    layout: Layout, dx_hat: Array, x_hat: Array, gamma: Array | None, dgamma: Array | None, dbeta: Array | None
) -> Array:
    """Return gamma dx_hat + dgamma x_hat + dbeta, rounded: how y moves when x_hat and the parameters do."""
    dy = dx_hat if gamma is None else dx_hat * layout.along(layout.parameter(gamma, "gamma"))
    if dgamma is not None:
        dy = dy + layout.along(layout.parameter(dgamma, "dgamma")) * x_hat
    if dbeta is not None:
        dy = dy + layout.along(layout.parameter(dbeta, "dbeta"))
    return layout.narrow(dy)


def _residual(layout: Layout, values: Array, x_hat: Array) -> Array:
    """Return values - mean(values) - x_hat mean(values x_hat): what the mean and the variance do not take away."""
    first, second = layout.average(values), layout.average(values * x_hat)
    return values - layout.along(first) - x_hat * layout.along(second)
