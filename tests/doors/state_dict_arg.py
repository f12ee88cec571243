"""State goes in, new state comes out: {"mean": ..., "var": ...}; nothing is changed in place."""
import numpy as np


def initial_state(channels, dtype=np.float64):
    return {"mean": np.zeros(channels, dtype), "var": np.ones(channels, dtype)}


def batchnorm(x, gamma, beta, state, training=True, momentum=0.9, eps=1e-5):
    axes = (0, *range(2, x.ndim))
    as_x = (slice(None),) + (None,) * (x.ndim - 2)
    mean, var = state["mean"], state["var"]
    if training:
        mean = x.mean(axis=axes)
        var = np.square(x - mean[as_x]).mean(axis=axes)
        state = {
            "mean": momentum * state["mean"] + (1 - momentum) * mean,
            "var": momentum * state["var"] + (1 - momentum) * var,
        }
    x_hat = (x - mean[as_x]) / np.sqrt(var[as_x] + eps)
    return gamma[as_x] * x_hat + beta[as_x], state
