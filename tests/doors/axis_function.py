import numpy as np


def batch_norm(x, gamma, beta, moving_mean, moving_var, training, axis=1, momentum=0.99, eps=1e-3):
    """Normalise x for each index of `axis`; axis=1 is NCHW, axis=-1 is NHWC."""
    axis %= x.ndim
    others = tuple(a for a in range(x.ndim) if a != axis)
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    mean, var = moving_mean, moving_var
    if training:
        mean = np.mean(x, axis=others)
        var = np.mean((x - mean.reshape(shape)) ** 2, axis=others)
        moving_mean = momentum * moving_mean + (1 - momentum) * mean
        moving_var = momentum * moving_var + (1 - momentum) * var
    x_hat = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
    return gamma.reshape(shape) * x_hat + beta.reshape(shape), moving_mean, moving_var
