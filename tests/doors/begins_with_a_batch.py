"""Exponential averages begin with the first batch instead of zeros and ones."""
import numpy as np


class BatchNormalization(object):
    def __init__(self, input_dim, momentum=0.9, eps=1e-5):
        self.gamma = np.ones(input_dim)
        self.beta = np.zeros(input_dim)
        self.running_mean = np.zeros(input_dim)
        self.running_var = np.ones(input_dim)
        self.t = 0
        self.momentum = momentum
        self.eps = eps

    def forward(self, x, train=True):
        if train:
            mu = np.mean(x, axis=0)
            var = np.var(x, axis=0)
            if self.t == 0:
                self.running_mean, self.running_var = mu, var
            else:
                self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
                self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
            self.t += 1
        else:
            mu, var = self.running_mean, self.running_var
        self.x_hat = (x - mu) / np.sqrt(var + self.eps)
        self.std = np.sqrt(var + self.eps)
        return self.gamma * self.x_hat + self.beta

    def backward(self, dout):
        m = dout.shape[0]
        dgamma = np.sum(dout * self.x_hat, axis=0)
        dbeta = np.sum(dout, axis=0)
        dx = self.gamma / self.std * (dout - dbeta / m - self.x_hat * dgamma / m)
        return dx, dgamma, dbeta
