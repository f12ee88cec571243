"""Decorators that count and check, with and without functools.wraps."""
import functools

import numpy as np


def checked(f):
    @functools.wraps(f)
    def inner(*args, **kwargs):
        out = f(*args, **kwargs)
        return out

    return inner


def counted(f):
    def inner(*args, **kwargs):
        inner.calls += 1
        return f(*args, **kwargs)

    inner.calls = 0
    return inner


@checked
def batchnorm_forward(x, gamma, beta, eps=1e-5):
    mu, var = x.mean(axis=0), x.var(axis=0)
    xhat = (x - mu) / np.sqrt(var + eps)
    return gamma * xhat + beta, (xhat, gamma, var, eps)


@counted
def batchnorm_backward(dout, cache):
    xhat, gamma, var, eps = cache
    n = len(dout)
    dgamma, dbeta = (dout * xhat).sum(0), dout.sum(0)
    dx = gamma / np.sqrt(var + eps) / n * (n * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta
