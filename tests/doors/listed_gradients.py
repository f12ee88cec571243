"""Parameters in one list, their gradients, which are means, in another; no statistics are kept."""
import numpy as np


class BatchNorm:
    def __init__(self, gamma, beta, eps=1e-5):
        self.params = [gamma, beta]
        self.grads = [np.zeros_like(gamma), np.zeros_like(beta)]
        self.eps = eps

    def forward(self, x):
        self.mean = x.mean(axis=0)
        self.std = np.sqrt(x.var(axis=0) + self.eps)
        self.x_hat = (x - self.mean) / self.std
        return self.params[0] * self.x_hat + self.params[1]

    def backward(self, dout):
        self.grads[0][...] = np.mean(dout * self.x_hat, axis=0)
        self.grads[1][...] = np.mean(dout, axis=0)
        inner = dout - self.grads[1] - self.x_hat * self.grads[0]
        return self.params[0] / self.std * inner
