import numpy as np


def _expand(p, x):
    """Bring a vector to the shape of x."""
    if p.shape[0] == x.shape[0]:
        return p.reshape(-1, *([1] * (x.ndim - 1)))
    return p.reshape(1, -1, *([1] * (x.ndim - 2)))


def batchnorm(x, gamma, beta, running_mean, running_var, training, momentum=0.9, eps=1e-5):
    axis = tuple(i for i in range(x.ndim) if i != 1)
    if training:
        mean, var = x.mean(axis=axis), x.var(axis=axis)
        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * var
    else:
        mean, var = running_mean, running_var
    y = _expand(gamma, x) * (x - _expand(mean, x)) / np.sqrt(_expand(var, x) + eps) + _expand(beta, x)
    return y, running_mean, running_var
