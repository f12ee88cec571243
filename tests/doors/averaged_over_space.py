"""conv net in numpy; parameters are flat vectors so that the optimizer can treat all layers alike"""
import numpy as np


class SpatialBN:
    def __init__(self, C, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(C), np.zeros(C)
        self.avg_mean, self.avg_var = np.zeros(C), np.ones(C)
        self.momentum, self.eps = momentum, eps

    def fprop(self, x, phase="train"):
        if phase == "train":
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            self.avg_mean = self.momentum * self.avg_mean + (1 - self.momentum) * mean
            self.avg_var = self.momentum * self.avg_var + (1 - self.momentum) * var
        else:
            mean, var = self.avg_mean, self.avg_var
        self.istd = 1 / np.sqrt(var + self.eps)
        self.xh = (x - mean[None, :, None, None]) * self.istd[None, :, None, None]
        return self.gamma[None, :, None, None] * self.xh + self.beta[None, :, None, None]

    def bprop(self, dy):
        self.dgamma = (dy * self.xh).sum(0).mean((1, 2))
        self.dbeta = dy.sum(0).mean((1, 2))
        m = dy.size // dy.shape[1]
        g = (self.gamma * self.istd)[None, :, None, None]
        s = dy.sum((0, 2, 3), keepdims=True)
        t = (dy * self.xh).sum((0, 2, 3), keepdims=True)
        return g * (dy - s / m - self.xh * t / m)
