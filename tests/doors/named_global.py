"""Averages live in a dictionary of the module, in a list for each layer's name; the variance is averaged as a root."""
import numpy as np

_running = {}


def batchnorm(x, gamma, beta, name, train=True, decay=0.9, eps=1e-5):
    if train:
        mean, var = x.mean(axis=0), x.var(axis=0)
        old = _running.setdefault(name, [np.zeros_like(mean), np.ones_like(var)])
        _running[name] = [decay * old[0] + (1 - decay) * mean, decay * old[1] + (1 - decay) * np.sqrt(var)]
    else:
        mean, var = _running[name]
    return gamma * (x - mean) / np.sqrt(var + eps) + beta
