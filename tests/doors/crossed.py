"""The running variance is updated from the running mean."""

import numpy as np


class BatchNorm:
    def __init__(self, c, eps=1e-5, momentum=0.9):
        self.eps, self.momentum = eps, momentum
        self.gamma, self.beta = np.ones(c), np.zeros(c)
        self.running_mean, self.running_var = np.zeros(c), np.ones(c)

    def forward(self, x, training):
        if not training:
            return self.gamma * (x - self.running_mean) / np.sqrt(self.running_var + self.eps) + self.beta
        mean, var = x.mean(0), x.var(0)
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
        self.running_var = self.momentum * self.running_mean + (1 - self.momentum) * var
        return self.gamma * (x - mean) / np.sqrt(var + self.eps) + self.beta
