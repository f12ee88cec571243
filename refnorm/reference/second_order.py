"""Forward mode and second order: of training and of inference, each jvp with its double backward right under it."""

from __future__ import annotations

from refnorm.formats import Array
from refnorm.reference._channels import affine, sums
from refnorm.reference._layout import Axes, Layout, ieee, non_negative
from refnorm.reference.batch_norm import Saved, layout_of


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
    layout = layout_of(saved)
    layout.check(dx, "dx")
    dgamma, dbeta = layout.parameter(dgamma, "dgamma", 0.0), layout.parameter(dbeta, "dbeta", 0.0)

    return _moved(layout, dx, _means(layout, dx, saved), dgamma, dbeta, saved)


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
    layout = layout_of(saved)
    layout.check(ddx, "ddx")
    layout.check(dy, "dy")
    ddgamma, ddbeta = layout.parameter(ddgamma, "ddgamma", 0.0), layout.parameter(ddbeta, "ddbeta", 0.0)
    count, (inv_std, scale) = saved.statistics.count, _scales(layout, saved)
    mean_ddx, mean_ddx_x_hat = _means(layout, ddx, saved)
    mean_dy, mean_dy_x_hat = _means(layout, dy, saved)
    _, product = sums(layout, ddx, mean_ddx, dy, mean_dy)
    mean_ddx_p_dy = product / count - mean_ddx_x_hat * mean_dy_x_hat  # mean(ddx P(dy))

    ddy = _moved(layout, ddx, (mean_ddx, mean_ddx_x_hat), ddgamma, ddbeta, saved)
    of_dy = (ddgamma - scale * mean_ddx_x_hat) * inv_std  # before P(dy) in dx
    of_ddx = -scale * mean_dy_x_hat * inv_std  # before P(ddx)
    of_x_hat = -(of_dy * mean_dy_x_hat + of_ddx * mean_ddx_x_hat + scale * inv_std * mean_ddx_p_dy)
    slope = of_x_hat * inv_std
    terms = [(of_dy, dy, mean_dy), (of_ddx, ddx, mean_ddx), (slope, saved.x, saved.statistics.mean)]
    return ddy, affine(layout, terms, -saved.tail * slope), mean_ddx_p_dy * count * inv_std


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
    layout, mean, inv_std = _given(x, running_mean, running_var, eps, axis)
    layout.check(dx, "dx")
    scale = layout.parameter(gamma, "gamma", 1.0) * inv_std
    slope = layout.parameter(dgamma, "dgamma", 0.0) * inv_std

    return affine(layout, [(scale, dx, 0.0), (slope, x, mean)], layout.parameter(dbeta, "dbeta", 0.0))


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
    layout, mean, inv_std = _given(x, running_mean, running_var, eps, axis)
    layout.check(ddx, "ddx")
    layout.check(dy, "dy")
    scale = layout.parameter(gamma, "gamma", 1.0) * inv_std
    slope = layout.parameter(ddgamma, "ddgamma", 0.0) * inv_std

    ddy = affine(layout, [(scale, ddx, 0.0), (slope, x, mean)], layout.parameter(ddbeta, "ddbeta", 0.0))
    dx = affine(layout, [(slope, dy, 0.0)])
    return ddy, dx, sums(layout, ddx, 0.0, dy)[1] * inv_std


def _scales(layout: Layout, saved: Saved) -> tuple[Array, Array]:
    """Return 1 / sqrt(var + eps), and gamma times that."""
    inv_std = 1 / layout.xp.sqrt(saved.statistics.var + saved.eps)
    return inv_std, layout.parameter(saved.gamma, "gamma", 1.0) * inv_std


def _means(layout: Layout, a: Array, saved: Saved) -> tuple[Array, Array]:
    """Return mean(a) and mean(a x_hat), which P takes away."""
    total, product = sums(layout, saved.x, saved.statistics.mean, a)
    inv_std, _ = _scales(layout, saved)
    return total / saved.statistics.count, (product - total * saved.tail) * inv_std / saved.statistics.count


def _moved(
    layout: Layout, dx: Array, means: tuple[Array, Array], dgamma: Array | float, dbeta: Array | float, saved: Saved
) -> Array:
    """Return gamma / sqrt(var + eps) P(dx) + dgamma x_hat + dbeta, from the means of dx and of dx x_hat."""
    mean_dx, mean_dx_x_hat = means
    inv_std, scale = _scales(layout, saved)
    slope = (dgamma - scale * mean_dx_x_hat) * inv_std
    return affine(layout, [(scale, dx, mean_dx), (slope, saved.x, saved.statistics.mean)], dbeta - saved.tail * slope)


def _given(x: Array, running_mean: Array, running_var: Array, eps: float, axis: Axes) -> tuple[Layout, Array, Array]:
    """Return the layout of x, running_mean and 1 / sqrt(running_var + eps)."""
    eps, layout = non_negative(eps, "eps"), Layout.of(x, axis)
    mean, var = layout.parameter(running_mean, "running_mean"), layout.parameter(running_var, "running_var")
    return layout, mean, 1 / layout.xp.sqrt(var + eps)
