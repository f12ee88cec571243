"""Batch normalization: training and inference, each forward with its backward right under it."""

from __future__ import annotations

from typing import NamedTuple

from refnorm.formats import Array
from refnorm.reference._channels import affine, sums
from refnorm.reference._layout import Axes, Layout, ieee, non_negative
from refnorm.reference.statistics import Statistics, moments


class Saved(NamedTuple):
    """What the training forward keeps for its backward; ``x``, ``gamma`` and ``where`` are held by reference."""

    x: Array
    gamma: Array | None
    where: Array | None
    statistics: Statistics
    tail: Array  # what one float64 cannot hold of the mean, which is statistics.mean + tail
    eps: float
    axis: Axes


def layout_of(saved: Saved) -> Layout:
    """Return the layout of what was saved; TypeError if that is something else."""
    if not isinstance(saved, Saved):
        raise TypeError(f"saved must be what the training forward returned beside y, got {type(saved).__name__}")
    return Layout.of(saved.x, saved.axis, saved.where)


@ieee
def batch_norm_training(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 1,
    where: Array | None = None,
) -> tuple[Array, Saved]:
    """Normalise a batch by its own statistics.

    x_hat = (x - mean) / sqrt(var + eps),  y = gamma x_hat + beta      (Ioffe & Szegedy 2015, Algorithm 1)

    Parameters
    ----------
    x : floating-point array of any rank and any array API library.
    gamma, beta : arrays of the kept shape, or None for 1 and 0.
    eps : finite, at least 0; added to the variance, inside the root. With eps = 0 a constant channel is 0/0: NaN.
    axis : the axis, or axes, that keep their own statistics: 1 for NCHW, -1 for NHWC, (1, 2, 3) for one mean per unit.
    where : boolean, broadcast against x. Elsewhere y is 0 and nothing enters a statistic, NaN included.

    Returns
    -------
    y : array, shape and dtype of x
        Computed in float64 (or the library's widest) and rounded once.
    saved : Saved
        For `batch_norm_training_backward`; ``saved.statistics`` are the batch's, for `refnorm.update_running`.

    Raises
    ------
    TypeError
        An argument is no floating-point array, or of another library than x.
    ValueError
        A shape does not fit, eps is negative or not finite, axis is out of range, or a channel has no values (with a
        mask: raised on NumPy arrays; elsewhere that channel is NaN).

    Notes
    -----
    Sums are taken in pairs or eighths, so errors grow at most like log(m), m being the values per channel, and do not
    grow with mean/std; `tests/test_promise.py` derives the constants. JAX has no float64 unless ``jax_enable_x64`` is
    set: without it everything is computed in float32, and errors are in units of 2^-24 instead of 2^-53.

    A variance is a square: where |x - mean| goes beyond about 1.3e154 it is inf, and y is 0, finite and wrong. Below
    about 1.5e-154 squares are subnormal and lose digits, and below 1.6e-162 they are 0: with eps = 0, y has as few, or
    is inf or NaN. No value of a narrower format than float64 is as large, or as small.

    gamma / sqrt(var + eps) is one factor, which saves a pass over the array. Only float64 parameters can take it out of
    float64: beyond 1.8e308 y is inf or NaN, even where gamma x_hat would be finite; below 2.2e-308 it loses digits.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])       # channel 1 is constant
    >>> y, saved = batch_norm_training(x, eps=0.25)
    >>> y                                            # (1 - 2) / sqrt(1 + 0.25) = -0.894
    array([[-0.89442719,  0.        ],
           [ 0.89442719,  0.        ]])
    >>> saved.statistics.var
    array([1., 0.])
    """
    eps = non_negative(eps, "eps")
    layout = Layout.of(x, axis, where)
    scale, shift = layout.parameter(gamma, "gamma", 1.0), layout.parameter(beta, "beta", 0.0)
    statistics, tail = moments(layout, x)
    slope = scale / layout.xp.sqrt(statistics.var + eps)

    y = affine(layout, [(slope, x, statistics.mean)], shift - tail * slope)
    return y, Saved(x, gamma, where, statistics, tail, eps, axis)


@ieee
def batch_norm_training_backward(dy: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """Carry the gradient of a loss back through `batch_norm_training`, its mean and its variance.

    dbeta = sum dy,  dgamma = sum dy x_hat,
    dx = gamma / sqrt(var + eps) (dy - mean(dy) - x_hat mean(dy x_hat))

    Every x moves the mean and the variance of its channel, so every dy reaches every dx: the two means are that path
    (the equations of Ioffe & Szegedy 2015, section 3, with the chain through mean and variance summed up).

    Parameters
    ----------
    dy : array, shape of x
        Gradient with respect to y; ignored where masked.
    saved : what `batch_norm_training` returned.

    Returns
    -------
    dx : array, shape and dtype of x; 0 where masked.
    dgamma, dbeta : arrays of the kept shape, wide; returned whether or not gamma and beta were given.

    Raises
    ------
    TypeError, ValueError
        If dy is no floating-point array of the shape and library of x.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> y, saved = batch_norm_training(x, eps=0.0)
    >>> dx, dgamma, dbeta = batch_norm_training_backward(np.array([[1.0], [0.0], [0.0]]), saved)
    >>> bool(abs(dx.sum()) < 1e-15)                  # moving all x together changes nothing
    True
    """
    layout = layout_of(saved)
    layout.check(dy, "dy")
    dgamma, dbeta = parameter_gradients(layout, dy, saved)
    dx = input_gradient(layout, dy, saved, dgamma, dbeta)
    return dx, dgamma, dbeta


def parameter_gradients(layout: Layout, dy: Array, saved: Saved) -> tuple[Array, Array]:
    """Return dgamma = sum dy x_hat and dbeta = sum dy, of the values at hand."""
    x, _, _, statistics, tail, eps, _ = saved
    dbeta, product = sums(layout, x, statistics.mean, dy)
    return (product - dbeta * tail) / layout.xp.sqrt(statistics.var + eps), dbeta


def input_gradient(layout: Layout, dy: Array, saved: Saved, dgamma: Array, dbeta: Array) -> Array:
    """Return dx from the sums dgamma and dbeta of all values that the statistics are of."""
    x, gamma, _, statistics, tail, eps, _ = saved
    inv_std = 1 / layout.xp.sqrt(statistics.var + eps)
    scale = layout.parameter(gamma, "gamma", 1.0) * inv_std
    slope = scale * inv_std * dgamma / statistics.count  # gamma inv_std x_hat mean(dy x_hat), per x - mean

    # scale dy - slope (x - mean - tail) - scale mean(dy): the tail and the mean of dy are one constant
    constant = tail * slope - scale * dbeta / statistics.count
    return affine(layout, [(scale, dy, 0.0), (-slope, x, statistics.mean)], constant)


@ieee
def batch_norm_inference(
    x: Array,
    running_mean: Array,
    running_var: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 1,
) -> Array:
    """Normalise by given statistics: a map of each value on its own, whatever else is in the batch.

    y = gamma (x - running_mean) / sqrt(running_var + eps) + beta      (Ioffe & Szegedy 2015, Algorithm 2)

    Parameters
    ----------
    x : floating-point array of any rank; may be an empty batch.
    running_mean, running_var : arrays of the kept shape, as stored by training.
    gamma, beta, eps, axis : as in `batch_norm_training`.

    Returns
    -------
    y : array, shape and dtype of x.

    Raises
    ------
    TypeError, ValueError
        As `batch_norm_training`.

    Examples
    --------
    >>> import numpy as np
    >>> batch_norm_inference(np.array([[3.0]]), np.array([1.0]), np.array([3.75]), eps=0.25)   # (3 - 1) / sqrt(4)
    array([[1.]])
    """
    eps = non_negative(eps, "eps")
    layout = Layout.of(x, axis)
    mean = layout.parameter(running_mean, "running_mean")
    inv_std = 1 / layout.xp.sqrt(layout.parameter(running_var, "running_var") + eps)
    gamma, beta = layout.parameter(gamma, "gamma", 1.0), layout.parameter(beta, "beta", 0.0)

    return affine(layout, [(gamma * inv_std, x, mean)], beta)


@ieee
def batch_norm_inference_backward(
    dy: Array,
    x: Array,
    running_mean: Array,
    running_var: Array,
    gamma: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 1,
) -> tuple[Array, Array, Array]:
    """Carry the gradient of a loss back through `batch_norm_inference`: frozen batch normalization.

    dx = gamma dy / sqrt(running_var + eps),  dgamma = sum dy x_hat,  dbeta = sum dy

    The statistics are constants here, so the two means of `batch_norm_training_backward` are absent.

    Parameters
    ----------
    dy : array, shape of x: gradient with respect to y.
    x, running_mean, running_var, gamma, eps, axis : as given to `batch_norm_inference`.

    Returns
    -------
    dx : array, shape and dtype of x.
    dgamma, dbeta : arrays of the kept shape, wide.

    Raises
    ------
    TypeError, ValueError
        As `batch_norm_training`.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.array([[1.0]])
    >>> batch_norm_inference_backward(one, 3 * one, one[0], 3.75 * one[0], eps=0.25)
    (array([[0.5]]), array([1.]), array([1.]))
    """
    eps = non_negative(eps, "eps")
    layout = Layout.of(x, axis)
    layout.check(dy, "dy")
    mean = layout.parameter(running_mean, "running_mean")
    inv_std = 1 / layout.xp.sqrt(layout.parameter(running_var, "running_var") + eps)
    gamma = layout.parameter(gamma, "gamma", 1.0)

    dbeta, product = sums(layout, x, mean, dy)
    dx = affine(layout, [(gamma * inv_std, dy, 0.0)])
    return dx, product * inv_std, dbeta
