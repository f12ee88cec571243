"""Absorb batch normalization with fixed statistics into the linear map before or after it, and take it out again.

Folding is batch normalization itself, applied to parameters: BN(W x + b) = W' x + b', where W' is W normalised with
mean 0, and b' is b normalised.
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np

from refnorm.formats import Array, round_once
from refnorm.reference._channels import total
from refnorm.reference._layout import Axes, Layout, ieee, kept_axes, namespace, non_negative
from refnorm.reference.batch_norm import batch_norm_inference


def fold_into_previous(
    weight: Array,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 0,
    groups: int = 1,
) -> tuple[Array, Array]:
    """Fold batch normalization into the linear map or convolution whose output it normalises.

    weight' = scale weight,  bias' = scale (bias - running_mean) + beta,  scale = gamma / sqrt(running_var + eps)
    (Ioffe & Szegedy 2015, Algorithm 2, line 11; SegNet's BN-absorber)

    Parameters
    ----------
    weight : floating-point array of any layout.
    bias : one value per output channel, or None for 0.
    running_mean, running_var, gamma, beta, eps : as given to `batch_norm_inference`, one value per output channel.
    axis : the axis, or axes, of weight that count output channels: 0 for (out, in, ...), -1 for (..., in, out),
        (2, 3) for a depthwise (height, width, in, multiplier), 1 for a transposed (in, out/groups, ...).
    groups : of a transposed convolution in that last layout, where the groups lie along axis 0. In the other layouts
        axis counts the output channels of all groups, so leave it 1.

    Returns
    -------
    weight, bias : arrays of their shapes, in the dtype of weight, computed wide and rounded once.

    Raises
    ------
    TypeError, ValueError
        There are no running statistics (in training mode batch normalization is no fixed map), a shape does not fit, a
        variance is negative, or 0 with eps = 0 (values are looked at on NumPy arrays; elsewhere they give NaN or inf).

    Notes
    -----
    Each parameter is within u of exact folding, with u the unit roundoff of weight's dtype, so each output moves by at
    most u (sum |weight' x| + |bias'|), beside what the order of its sums does. In float64, which nothing is wider than,
    by 8 u (sum |weight' x| + |scale| (|bias| + |running_mean|) + |beta|).

    Nothing may stand between the two maps: an activation in between makes folding wrong, and arrays cannot tell.

    Examples
    --------
    >>> import numpy as np
    >>> weight, bias = np.array([[2.0, 4.0]]), np.array([3.0])                    # one output, two inputs
    >>> fold_into_previous(weight, bias, np.array([1.0]), np.array([4.0]), eps=0.0)      # (W x + 3 - 1) / 2
    (array([[1., 2.]]), array([1.]))
    """
    layout = _require_fixed(weight, running_mean, running_var, eps)
    wide = layout.xp.zeros_like(running_mean, dtype=layout.wide)
    if bias is not None:
        _require_bias(bias, running_mean, layout.xp, ", or None")
        wide = layout.wide_of(bias)
    shift = batch_norm_inference(wide, running_mean, running_var, gamma, beta, eps=eps, axis=0)
    scaled = _scaled(weight, running_var, gamma, eps, *_channels(weight, axis, groups, 0))
    return scaled, round_once(layout.xp, shift, weight.dtype)


def fold_into_next(
    weight: Array,
    bias: Array | None,
    running_mean: Array,
    running_var: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 1,
    output_axis: int = 0,
    groups: int = 1,
    padding: bool,
) -> tuple[Array, Array]:
    """Fold batch normalization into the linear map or convolution that it feeds.

    weight' = weight scale,  bias' = bias + sum weight shift,  where batch normalization maps x to scale x + shift

    Parameters
    ----------
    weight, bias, running_mean, running_var, gamma, beta, eps : as in `fold_into_previous`; the statistics have one
        value per *input* channel, bias one per output channel.
    axis : the axis of weight that counts input channels, of one group: 1 for (out, in/groups, ...), -2 for
        (..., in, out).
    output_axis : the axis that counts output channels: 0, or -1.
    groups : of the convolution; they lie along output_axis.
    padding : whether the convolution pads with zeros. Padding comes after batch normalization, so at the border shift
        is absent from part of the sum, and no bias is right: refused, unless every shift is 0.

    Returns
    -------
    weight, bias : as in `fold_into_previous`; each bias is within u (|bias| + sum |weight shift|) of exact folding.

    Raises
    ------
    TypeError, ValueError
        As `fold_into_previous`, and where padding forbids folding. A transposed convolution cannot take it up: how many
        weights meet in an output differs between outputs.

    Examples
    --------
    >>> import numpy as np
    >>> weight = np.array([[2.0, 4.0]])
    >>> mean, var = np.array([1.0, 0.0]), np.array([4.0, 1.0])
    >>> fold_into_next(weight, None, mean, var, eps=0.0, padding=False)           # 2 (x - 1) / 2 + 4 x
    (array([[1., 4.]]), array([-1.]))
    """
    layout = _require_fixed(weight, running_mean, running_var, eps, output_axis)
    xp = layout.xp
    zeros = xp.zeros_like(running_mean, dtype=layout.wide)
    shift = batch_norm_inference(zeros, running_mean, running_var, gamma, beta, eps=eps, axis=0)
    if padding and not (array_api_compat.is_numpy_array(shift) and not np.any(shift)):
        raise ValueError(
            "cannot fold batch normalization into a convolution that pads with zeros: at the border, part of the shift "
            "is missing from the sum; pad before batch normalization, with the values that it maps to 0, or keep it"
        )
    shape, axes = _channels(weight, axis, groups, layout.kept[0])
    shift = xp.reshape(_laid(xp, shift, shape, axes), tuple(n if a in axes else 1 for a, n in enumerate(shape)))
    products = xp.reshape(xp.reshape(xp.astype(weight, layout.wide), shape) * shift, weight.shape)
    bias = total(layout, products) + layout.parameter(bias, "bias", 0.0)
    return _scaled(weight, running_var, gamma, eps, shape, axes), round_once(layout.xp, bias, weight.dtype)


@ieee
def unfold_from_previous(
    weight: Array,
    bias: Array,
    running_mean: Array,
    running_var: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 0,
    groups: int = 1,
) -> tuple[Array, Array]:
    """Undo `fold_into_previous`: return the linear map that stood before batch normalization.

    weight = weight' / scale,  bias = (bias' - beta) / scale + running_mean

    Parameters
    ----------
    weight, bias : as `fold_into_previous` returned them.
    running_mean, running_var, gamma, beta, eps, axis, groups : as they were given to it.

    Returns
    -------
    weight, bias : arrays in the dtype of weight; within 2 u of the original weight, and within
        2 u (|bias| + |running_mean| + |beta / scale|) of the original bias: what folding rounded away is gone.

    Raises
    ------
    TypeError, ValueError
        As `fold_into_previous`, and where gamma is 0, which leaves nothing of the map.

    Examples
    --------
    >>> import numpy as np
    >>> unfold_from_previous(np.array([[1.0, 2.0]]), np.array([1.0]), np.array([1.0]), np.array([4.0]), eps=0.0)
    (array([[2., 4.]]), array([3.]))
    """
    layout = _require_fixed(weight, running_mean, running_var, eps)
    xp = layout.xp
    mean, std = (xp.astype(v, layout.wide) for v in (running_mean, running_var))
    std = xp.sqrt(std + eps)
    zeros = xp.zeros_like(mean)
    gamma = zeros + 1 if gamma is None else xp.astype(gamma, layout.wide)
    if array_api_compat.is_numpy_array(gamma) and not np.all(gamma):
        raise ValueError(f"gamma is 0 in channel {int(np.argmin(gamma != 0))}: folding left nothing to be recovered")
    # the inverse of an affine map is one, with the parts exchanged: beta is the mean, gamma^2 the variance
    beta = zeros if beta is None else beta
    signed = xp.where(gamma < 0, -std, std)
    _require_bias(bias, running_mean, xp)
    original = batch_norm_inference(xp.astype(bias, layout.wide), beta, gamma * gamma, signed, mean, eps=0.0, axis=0)
    scaled = _scaled(weight, gamma * gamma, signed, 0.0, *_channels(weight, axis, groups, 0))
    return scaled, round_once(layout.xp, original, weight.dtype)


def _require_bias(bias: Array, running_mean: Array, xp: Any, otherwise: str = "") -> None:
    """Raise unless there is one value per channel, in weight's library."""
    if namespace(bias, "bias") is not xp:
        raise TypeError(f"bias is {type(bias).__name__}, expected an array of weight's library{otherwise}")
    if tuple(bias.shape) != tuple(running_mean.shape):
        shapes = f"{tuple(bias.shape)}, expected {tuple(running_mean.shape)}"
        raise ValueError(f"bias has shape {shapes}: one value per channel that batch normalization follows")


def _require_fixed(weight: Array, running_mean: Array, running_var: Array, eps: float, axis: Axes = 0) -> Layout:
    """Raise unless batch normalization is a fixed affine map."""
    eps = non_negative(eps, "eps")
    if running_mean is None or running_var is None:
        raise ValueError(
            "cannot fold batch normalization without running statistics: in training mode each batch is normalised by "
            "its own, which is no fixed map; train first, or take population statistics"
        )
    layout = Layout.of(weight, axis)
    for name, values in (("running_mean", running_mean), ("running_var", running_var)):
        if namespace(values, name) is not layout.xp or values.ndim != 1:
            raise ValueError(
                f"{name} has shape {tuple(values.shape)}, expected one value per channel, in weight's library"
            )
    if array_api_compat.is_numpy_array(running_var):
        bad = ~(running_var.astype(float) + eps > 0)  # NaN too
        if np.any(bad):
            channel = int(np.argmax(bad))
            raise ValueError(
                f"cannot fold: running_var[{channel}] = {running_var[channel]} with eps={eps}, "
                "expected their sum to be positive; such statistics are damaged"
            )
        if np.any(running_var < 0):
            channel = int(np.argmax(running_var < 0))
            raise ValueError(
                f"cannot fold: running_var[{channel}] = {running_var[channel]} is negative; such statistics are damaged"
            )
    return layout


def _channels(weight: Array, axis: Axes, groups: int, group_axis: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of weight with its groups apart, and the axes that count the channels of all groups.

    Channels of a group stand together, so the axis of the groups comes first, wherever it lies.
    """
    axes = kept_axes(axis, weight.shape)
    if groups == 1:
        return tuple(weight.shape), axes
    along = weight.shape[group_axis]
    if groups < 1 or along % groups or group_axis in axes:
        raise ValueError(
            f"groups={groups} does not divide axis {group_axis} of weight with shape {tuple(weight.shape)}, "
            f"or the channels lie along it (axis={axis})"
        )
    shape = (*weight.shape[:group_axis], groups, along // groups, *weight.shape[group_axis + 1 :])
    return shape, (group_axis, *(a + (a > group_axis) for a in axes))


def _laid(xp: Any, values: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Lay one value per channel out along the axes that count channels, the first of which counts slowest."""
    order = sorted(range(len(axes)), key=axes.__getitem__)
    return xp.permute_dims(xp.reshape(values, tuple(shape[a] for a in axes)), tuple(order))


def _scaled(
    weight: Array, running_var: Array, gamma: Array | None, eps: float, shape: tuple[int, ...], axes: tuple[int, ...]
) -> Array:
    """Normalise weight with mean 0."""
    xp = namespace(weight, "weight")
    channels = math.prod(shape[a] for a in axes)
    if running_var.shape != (channels,):
        raise ValueError(
            f"running_var has shape {tuple(running_var.shape)}, expected ({channels},): one value per channel along "
            f"axes {axes} of weight, seen with shape {shape}"
        )
    var = _laid(xp, running_var, shape, axes)
    gamma = None if gamma is None else _laid(xp, gamma, shape, axes)
    scaled = batch_norm_inference(xp.reshape(weight, shape), xp.zeros_like(var), var, gamma, eps=eps, axis=axes)
    return xp.reshape(scaled, weight.shape)
