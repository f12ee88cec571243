"""Parameters are objects with a value and a gradient, which adds up until the optimizer clears it."""
import numpy as np


class Param:
    def __init__(self, value):
        self.value, self.grad = value, np.zeros_like(value)


class BatchNormLayer:
    def __init__(self, n_features, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = Param(np.ones(n_features)), Param(np.zeros(n_features))
        self.running_mean, self.running_var = np.zeros(n_features), np.ones(n_features)
        self.momentum, self.eps, self.train_mode = momentum, eps, True

    def forward(self, X):
        mean, var = self.running_mean, self.running_var
        if self.train_mode:
            mean, var = X.mean(0), X.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.std = np.sqrt(var + self.eps)
        self.x_hat = (X - mean) / self.std
        return self.gamma.value * self.x_hat + self.beta.value

    def backward(self, d_out):
        self.gamma.grad += (d_out * self.x_hat).sum(0)
        self.beta.grad += d_out.sum(0)
        inner = d_out - d_out.mean(0) - self.x_hat * (d_out * self.x_hat).mean(0)
        return self.gamma.value * inner / self.std
