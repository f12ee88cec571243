"""Loops that a compiler is meant for; results go into arrays that are given."""

import numpy as np

try:
    from numba import njit
except ImportError:
    def njit(*args, **kwargs):
        if args and callable(args[0]):
            return args[0]
        return lambda f: f


@njit(cache=True)
def bn_forward_kernel(x, gamma, beta, eps, out, save_mean, save_invstd):
    N, C, S = x.shape
    for c in range(C):
        acc = 0.0
        for n in range(N):
            for s in range(S):
                acc += x[n, c, s]
        mu = acc / (N * S)
        acc = 0.0
        for n in range(N):
            for s in range(S):
                d = x[n, c, s] - mu
                acc += d * d
        inv = 1.0 / (np.sqrt(acc / (N * S)) + eps)
        save_mean[c] = mu
        save_invstd[c] = inv
        for n in range(N):
            for s in range(S):
                out[n, c, s] = gamma[c] * (x[n, c, s] - mu) * inv + beta[c]


@njit(cache=True)
def bn_backward_kernel(dout, x, gamma, save_mean, save_invstd, dx, dgamma, dbeta):
    N, C, S = x.shape
    M = N * S
    for c in range(C):
        sg = 0.0
        sb = 0.0
        for n in range(N):
            for s in range(S):
                xh = (x[n, c, s] - save_mean[c]) * save_invstd[c]
                sg += dout[n, c, s] * xh
                sb += dout[n, c, s]
        dgamma[c] = sg
        dbeta[c] = sb
        for n in range(N):
            for s in range(S):
                xh = (x[n, c, s] - save_mean[c]) * save_invstd[c]
                dx[n, c, s] = gamma[c] * save_invstd[c] * (dout[n, c, s] - sb / M - xh * sg / M)
