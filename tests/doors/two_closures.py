"""A function makes two, forward and backward, that close over parameters and statistics."""
import numpy as np


def make_batchnorm(units, momentum=0.9, eps=1e-5):
    gamma, beta = np.ones(units), np.zeros(units)
    mean_ema, var_ema = np.zeros(units), np.ones(units)
    kept = {}

    def forward(x, train=True):
        nonlocal mean_ema, var_ema
        mu, var = (x.mean(0), x.var(0)) if train else (mean_ema, var_ema)
        if train:
            mean_ema = momentum * mean_ema + (1 - momentum) * mu
            var_ema = momentum * var_ema + (1 - momentum) * var
        kept["std"] = np.sqrt(var + eps)
        kept["x_hat"] = (x - mu) / kept["std"]
        return gamma * kept["x_hat"] + beta

    def backward(dy):
        x_hat, m = kept["x_hat"], len(dy)
        dgamma, dbeta = (dy * x_hat).sum(0), dy.sum(0)
        return gamma / kept["std"] * (dy - dbeta / m - x_hat * dgamma / m), dgamma, dbeta

    return forward, backward
