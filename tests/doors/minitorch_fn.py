"""A NumPy Function with a context, as in minitorch."""
import numpy as np


class Context:
    def __init__(self):
        self.saved = ()

    def save_for_backward(self, *values):
        self.saved = values


class Function:
    @classmethod
    def apply(cls, *args):
        ctx = Context()
        return cls.forward(ctx, *args), ctx


class BatchNormFn(Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, eps=1e-5):
        mean = x.mean(0)
        inv = 1 / np.sqrt(x.var(0) + eps)
        xhat = (x - mean) * inv
        ctx.save_for_backward(xhat, inv, gamma)
        return gamma * xhat + beta

    @staticmethod
    def backward(ctx, dy):
        xhat, inv, gamma = ctx.saved
        dgamma, dbeta = (dy * xhat).sum(0), dy.sum(0)
        dxhat = dy * gamma
        return inv * (dxhat - dxhat.mean(0) - xhat * (dxhat * xhat).mean(0)), dgamma, dbeta
