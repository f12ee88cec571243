"""Keywords alone; the state is a pair of mean and variance, that goes in and comes back; images."""
import numpy as np


def batchnorm2d(*, inputs, scale, shift, state, train, decay=0.9, epsilon=1e-5):
    ema_mean, ema_var = state
    mu, var = ema_mean, ema_var
    if train:
        mu, var = inputs.mean(axis=(0, 2, 3)), inputs.var(axis=(0, 2, 3))
        state = (decay * ema_mean + (1 - decay) * mu, decay * ema_var + (1 - decay) * var)
    slope = scale / np.sqrt(var + epsilon)
    return slope[:, None, None] * (inputs - mu[:, None, None]) + shift[:, None, None], state
