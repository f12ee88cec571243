"""A graph of nodes that share a switch; settings are looked up in kwargs."""

import numpy as np


class Param:
    def __init__(self, value):
        self.value = value
        self.grad = np.zeros_like(value)


class Node:
    registry = []
    is_training = True

    def __init__(self, *args, **kwargs):
        Node.registry.append(self)
        self.name = kwargs.get("name", type(self).__name__)

    def parameters(self):
        return [v for v in vars(self).values() if isinstance(v, Param)]


class BatchNormNode(Node):
    def __init__(self, n, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.gamma = Param(np.ones(n))
        self.beta = Param(np.zeros(n))
        self.decay = kwargs.get("decay", 0.9)
        self.eps = kwargs.get("eps", 1e-5)
        self.mean_ema = np.zeros(n)
        self.var_ema = np.ones(n)

    def forward(self, x, **kwargs):
        if Node.is_training:
            mu, var = x.mean(axis=0), x.var(axis=0)
            self.mean_ema = self.decay * self.mean_ema + (1 - self.decay) * mu
            self.var_ema = self.decay * self.var_ema + (1 - self.decay) * var
        else:
            mu, var = self.mean_ema, self.var_ema
        self.istd = 1 / np.sqrt(var + self.eps)
        self.xn = (x - mu) * self.istd
        return self.gamma.value * self.xn + self.beta.value

    def backward(self, dy):
        self.gamma.grad += np.sum(dy * self.xn, axis=0)
        self.beta.grad += np.sum(dy, axis=0)
        g = dy * self.gamma.value
        return self.istd * (g - g.mean(axis=0) - self.xn * np.mean(g * self.xn, axis=0))
