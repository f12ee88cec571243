import numpy as np

from ..ops import mean_and_variance, moving_average
from .base import Layer


class BatchNorm(Layer):
    """Batch normalization over all axes but the second."""

    def __init__(self, channels, momentum=0.9, eps=1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.params = {"gamma": np.ones(channels), "beta": np.zeros(channels)}
        self.running_mean, self.running_var = np.zeros(channels), np.ones(channels)

    def forward(self, x):
        shape = (1, x.shape[1]) + (1,) * (x.ndim - 2)
        gamma, beta = (self.params[name].reshape(shape) for name in ("gamma", "beta"))
        if not self.training:
            inv_std = 1 / np.sqrt(self.running_var + self.eps)
            return gamma * (x - self.running_mean.reshape(shape)) * inv_std.reshape(shape) + beta
        self.axes = (0, *range(2, x.ndim))
        mean, var = mean_and_variance(x, self.axes)
        self.running_mean = moving_average(self.running_mean, mean, self.momentum)
        self.running_var = moving_average(self.running_var, var, self.momentum)
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean) * self.inv_std
        return gamma * self.x_hat + beta

    def backward(self, dy):
        dbeta = dy.sum(axis=self.axes, keepdims=True)
        dgamma = (dy * self.x_hat).sum(axis=self.axes, keepdims=True)
        self.grads = {"gamma": dgamma.ravel(), "beta": dbeta.ravel()}
        m = dy.size // dy.shape[1]
        dx = dy - dbeta / m - self.x_hat * dgamma / m
        return self.params["gamma"].reshape(dbeta.shape) * self.inv_std * dx
