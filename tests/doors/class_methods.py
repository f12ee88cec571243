"""Everything is a classmethod; the state is the class's."""
import numpy as np


class BatchNorm:
    eps = 1e-5
    momentum = 0.1

    @classmethod
    def init(cls, n):
        cls.gamma, cls.beta = np.ones(n), np.zeros(n)
        cls.running_mean, cls.running_var = np.zeros(n), np.ones(n)

    @classmethod
    def forward(cls, x, training=True):
        if training:
            mu, var = x.mean(0), x.var(0)
            cls.running_mean = (1 - cls.momentum) * cls.running_mean + cls.momentum * mu
            cls.running_var = (1 - cls.momentum) * cls.running_var + cls.momentum * var
        else:
            mu, var = cls.running_mean, cls.running_var
        cls.xhat, cls.inv = (x - mu) / np.sqrt(var + cls.eps), 1 / np.sqrt(var + cls.eps)
        return cls.gamma * cls.xhat + cls.beta

    @classmethod
    def backward(cls, dout):
        dgamma, dbeta = (dout * cls.xhat).sum(0), dout.sum(0)
        dx = cls.gamma * cls.inv * (dout - dout.mean(0) - cls.xhat * (dout * cls.xhat).mean(0))
        return dx, dgamma, dbeta
