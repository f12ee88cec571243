"""Five ways to have x_hat in the backward pass of batch normalization, and what each keeps in memory for it.

The network is a chain of linear map, batch norm without gamma and beta, and leaky ReLU. The map needs its input, and
the ReLU the sign of its output, which is the next map's input: that is one array a layer, with or without batch norm.
"""

from __future__ import annotations

import numpy as np

import refnorm

SLOPE = 0.01  # of the leaky ReLU
WAYS = {  # what forward keeps beside that, from z = x w and x_hat; and x_hat in backward
    "keep x": (lambda z, x_hat: [z], lambda x, y, w, mean, inv_std, kept: (kept[0] - mean) * inv_std),
    "keep x_hat": (lambda z, x_hat: [x_hat], lambda x, y, w, mean, inv_std, kept: kept[0]),
    "keep both": (lambda z, x_hat: [z, x_hat], lambda x, y, w, mean, inv_std, kept: kept[1]),
    "recompute": (lambda z, x_hat: [], lambda x, y, w, mean, inv_std, kept: (x @ w - mean) * inv_std),
    "in place": (lambda z, x_hat: [], lambda x, y, w, mean, inv_std, kept: np.where(y > 0, y, y / SLOPE)),
}


def arrays_and_gradient(x, weights, dy, keep, x_hat_again):
    """Run forward and backward in one of `WAYS`.

    Parameters
    ----------
    x, dy : float64 (N, C), the batch and the upstream gradient.
    weights : of the linear maps, each float64 (C, C).
    keep, x_hat_again : one of the `WAYS`.

    Returns
    -------
    arrays : how many arrays of the size of the batch were kept, layer by layer, beside the batch.
    dx : float64 (N, C).

    Examples
    --------
    >>> x, dy = np.random.default_rng(0).normal(size=(2, 8, 3))
    >>> arrays_and_gradient(x, [np.eye(3)] * 4, dy, *WAYS["keep x"])[0]
    2.0
    """
    steps, batch = [], x
    for w in weights:
        x_hat, saved = refnorm.batch_norm_training(x @ w)
        y = np.where(x_hat > 0, x_hat, SLOPE * x_hat)
        inv_std = 1 / np.sqrt(saved.statistics.var + saved.eps)
        steps.append((x, y, w, saved.statistics.mean, inv_std, keep(saved.x, x_hat)))
        x = y
    kept = {id(array): array.nbytes for x, y, *_, more in steps for array in (x, y, *more)}
    for x, y, w, mean, inv_std, more in reversed(steps):
        x_hat, g = x_hat_again(x, y, w, mean, inv_std, more), dy * np.where(y > 0, 1, SLOPE)
        dy = inv_std * (g - g.mean(0) - x_hat * (g * x_hat).mean(0)) @ w.T
    return (sum(kept.values()) / batch.nbytes - 1) / len(weights), dy
