"""One function, two partials of it."""
from functools import partial

import numpy as np


def _norm(x, gamma, beta, running_mean, running_var, training, momentum, eps, axes):
    shape = [1 if k in axes else n for k, n in enumerate(x.shape)]
    if training:
        mean, var = x.mean(axes), x.var(axes)
        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var = (1 - momentum) * running_var + momentum * var
    else:
        mean, var = running_mean, running_var
    y = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
    return y * gamma.reshape(shape) + beta.reshape(shape), running_mean, running_var


batch_norm_1d = partial(_norm, axes=(0,), eps=1e-5)
batch_norm_2d = partial(_norm, axes=(0, 2, 3), eps=1e-5, momentum=0.1)
