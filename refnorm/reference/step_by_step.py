"""The gradients of batch normalization one node of the computational graph at a time: the chain rule, to be read."""

from __future__ import annotations

from refnorm.formats import Array
from refnorm.reference._channels import total
from refnorm.reference._layout import Axes, Layout, ieee, non_negative
from refnorm.reference.batch_norm import Saved, layout_of
from refnorm.reference.statistics import deviation


@ieee
def batch_norm_training_backward_step_by_step(dy: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """Carry the gradient of a loss back through every step of `batch_norm_training`, the last one first.

    The forward, one operation per line (Ioffe & Szegedy 2015, Algorithm 1)::

        mean    = sum(x) / m
        centred = x - mean
        var     = sum(centred^2) / m
        inv_std = (var + eps)^(-1/2)
        x_hat   = centred inv_std
        scaled  = gamma x_hat
        y       = scaled + beta

    Two rules carry a gradient back. Through z = f(a): da = dz f'(a), summed over all z that this a reached. And where a
    was used twice, as centred and x are, its two gradients add up. `batch_norm_training_backward` is what remains when
    the lines are put into each other.

    Parameters, results and errors are those of `batch_norm_training_backward`. The steps form (var + eps)^(-3/2), so
    their range is narrower: they lose digits from |x - mean| of about 1e104 on, and are NaN where var + eps is below
    about 1e-205.

    Examples
    --------
    >>> import numpy as np
    >>> from refnorm import batch_norm_training
    >>> y, saved = batch_norm_training(np.array([[1.0], [2.0], [6.0]]), eps=0.0)
    >>> dx, dgamma, dbeta = batch_norm_training_backward_step_by_step(np.array([[1.0], [0.0], [0.0]]), saved)
    >>> dbeta, dgamma                                # dy reaches beta as it is, and gamma times x_hat = -2 / sqrt(14/3)
    (array([1.]), array([-0.9258201]))
    """
    layout = layout_of(saved)
    x, gamma, _, statistics, tail, eps, _ = saved
    dy = layout.widen(dy, "dy")
    centred = deviation(layout, x, statistics.mean, tail)
    inv_std = 1 / layout.xp.sqrt(statistics.var + eps)
    x_hat = centred * layout.along(inv_std)

    # y = scaled + beta, where beta reached every y of its channel
    dscaled = dy
    dbeta = total(layout, dy)

    # scaled = gamma x_hat: each factor's gradient is the other factor
    dgamma = total(layout, dscaled * x_hat)
    dx_hat = dscaled if gamma is None else dscaled * layout.along(layout.parameter(gamma, "gamma"))

    # x_hat = centred inv_std
    dcentred = dx_hat * layout.along(inv_std)
    dinv_std = total(layout, dx_hat * centred)

    # inv_std = (var + eps)^(-1/2): the derivative is -1/2 (var + eps)^(-3/2)
    dvar = dinv_std * (-0.5 * inv_std * inv_std * inv_std)

    # var = sum(centred^2) / m: centred is used again
    dcentred = dcentred + centred * layout.along(dvar * 2.0 / layout.count)

    # centred = x - mean: the minus reaches mean
    dx = dcentred
    dmean = -total(layout, dcentred)

    # mean = sum(x) / m: x is used again
    dx = dx + layout.along(dmean / layout.count)
    return layout.narrow(dx), dgamma, dbeta


@ieee
def batch_norm_inference_backward_step_by_step(
    dy: Array,
    x: Array,
    running_mean: Array,
    running_var: Array,
    gamma: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 1,
) -> tuple[Array, Array, Array]:
    """Carry the gradient of a loss back through every step of `batch_norm_inference`, the last one first.

    The steps are those of `batch_norm_training_backward_step_by_step`; the way ends at inv_std and mean, which do not
    depend on x here (Ioffe & Szegedy 2015, Algorithm 2).

    Parameters, results and errors are those of `batch_norm_inference_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.array([[1.0]])
    >>> batch_norm_inference_backward_step_by_step(one, 3 * one, one[0], 3.75 * one[0], eps=0.25)
    (array([[0.5]]), array([1.]), array([1.]))
    """
    eps = non_negative(eps, "eps")
    layout = Layout.of(x, axis)
    dy = layout.widen(dy, "dy")
    inv_std = 1 / layout.xp.sqrt(layout.along(layout.parameter(running_var, "running_var")) + eps)
    x_hat = (layout.widen(x, "x") - layout.along(layout.parameter(running_mean, "running_mean"))) * inv_std

    # y = scaled + beta, where beta reached every y of its channel
    dscaled = dy
    dbeta = total(layout, dy)

    # scaled = gamma x_hat: each factor's gradient is the other factor
    dgamma = total(layout, dscaled * x_hat)
    dx_hat = dscaled if gamma is None else dscaled * layout.along(layout.parameter(gamma, "gamma"))

    # x_hat = centred inv_std, centred = x - mean
    dcentred = dx_hat * inv_std
    return layout.narrow(dcentred), dgamma, dbeta
