"""A function for rows and for maps, whose parameters have the rank of x, as a book teaches it."""

import numpy as np


def batch_norm(X, gamma, beta, moving_mean, moving_var, eps, momentum, training=True):
    if training:
        axes = 0 if X.ndim == 2 else (0, 2, 3)
        mean = X.mean(axes, keepdims=True)
        var = ((X - mean) ** 2).mean(axes, keepdims=True)
        moving_mean = (1.0 - momentum) * moving_mean + momentum * mean
        moving_var = (1.0 - momentum) * moving_var + momentum * var
    else:
        mean, var = moving_mean, moving_var
    X_hat = (X - mean) / np.sqrt(var + eps)
    return gamma * X_hat + beta, moving_mean, moving_var
