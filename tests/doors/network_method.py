"""Batch norm is a pair of methods of a network, which is made of something else."""
import numpy as np


class MLP:
    eps = 1e-5

    def __init__(self, widths):
        self.weights = [np.zeros(pair) for pair in zip(widths, widths[1:], strict=False)]

    def batchnorm_forward(self, S, gamma, beta):
        centred = S - S.mean(0)
        std = np.sqrt((centred**2).mean(0) + self.eps)
        return gamma * centred / std + beta, (centred / std, std, gamma)

    def batchnorm_backward(self, G, cache):
        S_hat, std, gamma = cache
        dgamma, dbeta = (G * S_hat).sum(0), G.sum(0)
        return gamma / std * (G - dbeta / len(G) - S_hat * dgamma / len(G)), dgamma, dbeta

    def forward(self, X):
        for W in self.weights:
            X = np.maximum(X @ W, 0)
        return X
