"""Globals hold the moving averages: None until the first batch, which they begin with; the phase is a word."""
import numpy as np

MOVING_MEAN = None
MOVING_VAR = None


def batch_norm(X, gamma, beta, phase="train", momentum=0.9, eps=1e-5):
    global MOVING_MEAN, MOVING_VAR
    if phase == "train":
        mu, var = X.mean(0), X.var(0)
        if MOVING_MEAN is None:
            MOVING_MEAN, MOVING_VAR = mu, var
        else:
            MOVING_MEAN = momentum * MOVING_MEAN + (1 - momentum) * mu
            MOVING_VAR = momentum * MOVING_VAR + (1 - momentum) * var
    else:
        mu, var = MOVING_MEAN, MOVING_VAR
    return gamma * (X - mu) / np.sqrt(var + eps) + beta
