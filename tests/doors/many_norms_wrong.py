"""All normalizations of a lecture in one file."""
import numpy as np


class _Norm:
    axes = ()

    def __init__(self, channels, eps=1e-5):
        self.gamma = np.ones((1, channels, 1, 1))
        self.beta = np.zeros((1, channels, 1, 1))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(self.axes, keepdims=True)
        var = x.var(self.axes, keepdims=True)
        return self.gamma * (x - mean) / np.sqrt(var + self.eps) + self.beta


class BatchNorm(_Norm):
    axes = (2, 3)


class InstanceNorm(_Norm):
    axes = (2, 3)


class LayerNorm(_Norm):
    axes = (1, 2, 3)


class GroupNorm(_Norm):
    def __init__(self, channels, groups=2, eps=1e-5):
        super().__init__(channels, eps)
        self.groups = groups

    def forward(self, x):
        n, c, h, w = x.shape
        g = x.reshape(n, self.groups, -1)
        g = (g - g.mean(-1, keepdims=True)) / np.sqrt(g.var(-1, keepdims=True) + self.eps)
        return self.gamma * g.reshape(n, c, h, w) + self.beta
