import numpy as np


def batch_norm_op(
    input, scale, bias, mean, variance, momentum=0.9, epsilon=1e-5, is_test=False, data_layout="NCHW"
):
    """Return y, mean_out, variance_out, saved_mean, saved_inv_std, as the operator's five outputs."""
    assert data_layout in ("NCHW", "NHWC")
    channel = 1 if data_layout == "NCHW" else input.ndim - 1
    axes = tuple(a for a in range(input.ndim) if a != channel)
    mean_out, variance_out = mean, variance
    if is_test:
        saved_mean, shifted_variance = mean, variance + epsilon
    else:
        saved_mean, shifted_variance = input.mean(axis=axes), input.var(axis=axes) + epsilon
        mean_out = mean * momentum + saved_mean * (1 - momentum)
        variance_out = variance * momentum + shifted_variance * (1 - momentum)
    saved_inv_std = 1 / np.sqrt(shifted_variance)
    shape = [-1 if a == channel else 1 for a in range(input.ndim)]
    normalised = (input - saved_mean.reshape(shape)) * saved_inv_std.reshape(shape)
    y = normalised * scale.reshape(shape) + bias.reshape(shape)
    return y, mean_out, variance_out, saved_mean, saved_inv_std
