"""A function that trains, and one that infers beside it."""

from collections import namedtuple

import numpy as np

BNOut = namedtuple("BNOut", ["y", "mean", "inv_std"])


def batch_normalization_train(inputs, gamma, beta, axes="per-activation", epsilon=1e-4, running_average_factor=0.1,
                              running_mean=None, running_var=None):
    if axes == "per-activation":
        axes = (0,)
    elif axes == "spatial":
        axes = (0,) + tuple(range(2, inputs.ndim))
    mean = inputs.mean(axes, keepdims=True)
    var = inputs.var(axes, keepdims=True)
    inv_std = 1 / np.sqrt(var + epsilon)
    y = (inputs - mean) * gamma * inv_std + beta
    if running_mean is None:
        return BNOut(y, mean, inv_std)
    m = inputs.size / mean.size
    running_mean = running_mean * (1 - running_average_factor) + mean * running_average_factor
    running_var = running_var * (1 - running_average_factor) + (m / max(m - 1, 1)) * var * running_average_factor
    return y, mean, inv_std, running_mean, running_var


def batch_normalization_test(inputs, gamma, beta, mean, var, axes="per-activation", epsilon=1e-4):
    return (inputs - mean) * gamma / np.sqrt(var + epsilon) + beta
