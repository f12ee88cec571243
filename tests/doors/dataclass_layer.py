from dataclasses import dataclass, field

import numpy as np


@dataclass
class BatchNorm:
    """Normalises along `axis` being the channels, which are last unless said otherwise."""

    features: int
    axis: int = -1
    momentum: float = 0.99
    eps: float = 1e-3
    gamma: np.ndarray = field(init=False, repr=False)
    beta: np.ndarray = field(init=False, repr=False)
    moving_mean: np.ndarray = field(init=False, repr=False)
    moving_var: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        self.gamma, self.beta = np.ones(self.features), np.zeros(self.features)
        self.moving_mean, self.moving_var = np.zeros(self.features), np.ones(self.features)

    def forward(self, x, training=True):
        x = np.moveaxis(x, self.axis, -1)
        mean, var = self.moving_mean, self.moving_var
        if training:
            axes = tuple(range(x.ndim - 1))
            mean, var = x.mean(axis=axes), x.var(axis=axes)
            self.moving_mean = self.moving_mean * self.momentum + mean * (1 - self.momentum)
            self.moving_var = self.moving_var * self.momentum + var * (1 - self.momentum)
            self.std = np.sqrt(var + self.eps)
            self.x_hat = (x - mean) / self.std
        x_hat = self.x_hat if training else (x - mean) / np.sqrt(var + self.eps)
        return np.moveaxis(self.gamma * x_hat + self.beta, -1, self.axis)

    def backward(self, dy):
        dy = np.moveaxis(dy, self.axis, -1)
        axes = tuple(range(dy.ndim - 1))
        self.dgamma, self.dbeta = (dy * self.x_hat).sum(axis=axes), dy.sum(axis=axes)
        m = dy.size // dy.shape[-1]
        dx = self.gamma / self.std * (dy - self.dbeta / m - self.x_hat * self.dgamma / m)
        return np.moveaxis(dx, -1, self.axis)
