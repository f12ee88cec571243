"""Batch normalization in CuPy, as functions over its arrays."""

import cupy as cp


def _axes(x):
    return tuple(axis for axis in range(x.ndim) if axis != 1)


def _along(vector, x):
    return vector.reshape([1, -1] + [1] * (x.ndim - 2))


def batchnorm_forward(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    if training:
        count = x.size // x.shape[1]
        if count < 2:
            raise ValueError(f"training needs more than one value per channel, got {x.shape}")
        mean, var = x.mean(_axes(x)), x.var(_axes(x))
        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var = (1 - momentum) * running_var + momentum * var * count / (count - 1)
    else:
        mean, var = running_mean, running_var
    scale = 1 / cp.sqrt(var + eps)
    normalized = (x - _along(mean, x)) * _along(scale, x)
    y = _along(gamma, x) * normalized + _along(beta, x)
    return y, running_mean, running_var, (normalized, gamma, scale)


def batchnorm_backward(dy, cache):
    normalized, gamma, scale = cache
    count = dy.size // dy.shape[1]
    dgamma, dbeta = (dy * normalized).sum(_axes(dy)), dy.sum(_axes(dy))
    inner = dy - _along(dbeta, dy) / count - normalized * _along(dgamma, dy) / count
    return _along(gamma * scale, dy) * inner, dgamma, dbeta
