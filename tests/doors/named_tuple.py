from typing import NamedTuple

import numpy as np

EPSILON = 1e-5


class Normalized(NamedTuple):
    values: np.ndarray
    mean: np.ndarray
    var: np.ndarray


def batch_normalization(inputs, gamma, beta, mean, var, *, train: bool, decay=0.9, eps=EPSILON) -> Normalized:
    """Return the normalised inputs (N, C) or (N, C, H, W), and the moving mean and variance after this call."""
    if inputs.ndim == 2:
        axes, shape = 0, (1, -1)
    elif inputs.ndim == 4:
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
    else:
        raise ValueError("inputs must have 2 or 4 axes")
    use_mean, use_var = mean, var
    if train:
        use_mean, use_var = inputs.mean(axis=axes), inputs.var(axis=axes)
        mean = decay * mean + (1 - decay) * use_mean
        var = decay * var + (1 - decay) * use_var
    scaled = (inputs - use_mean.reshape(shape)) / np.sqrt(use_var.reshape(shape) + EPSILON)
    return Normalized(gamma.reshape(shape) * scaled + beta.reshape(shape), mean, var)
