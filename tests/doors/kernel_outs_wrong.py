"""Kernels over channels, for a compiler; results go into arrays that are given."""

import numpy as np

try:
    from numba import njit
except ImportError:

    def njit(*args, **kwargs):
        return args[0] if args and callable(args[0]) else lambda f: f


@njit(cache=True)
def bn_forward_kernel(x, gamma, beta, eps, out, save_mean, save_invstd):
    N, C, S = x.shape
    for c in range(C):
        mu = x[:, c].sum() / (N * S)
        d = x[:, c] - mu
        inv = 1.0 / (np.sqrt((d * d).sum() / (N * S)) + eps)
        save_mean[c] = mu
        save_invstd[c] = inv
        out[:, c] = gamma[c] * d * inv + beta[c]


@njit(cache=True)
def bn_backward_kernel(dout, x, gamma, save_mean, save_invstd, dx, dgamma, dbeta):
    N, C, S = x.shape
    M = N * S
    for c in range(C):
        xh = (x[:, c] - save_mean[c]) * save_invstd[c]
        dgamma[c] = (dout[:, c] * xh).sum()
        dbeta[c] = dout[:, c].sum()
        dx[:, c] = gamma[c] * save_invstd[c] * (dout[:, c] - dbeta[c] / M - xh * dgamma[c] / M)
