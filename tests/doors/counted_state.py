"""Stateless layers: every function takes (params, state, inputs) and returns (outputs, state)."""
import numpy as np


def init(num_channels):
    params = dict(scale=np.ones(num_channels), offset=np.zeros(num_channels))
    state = dict(mean=np.zeros(num_channels), var=np.ones(num_channels), steps=0)
    return params, state


def apply(params, state, inputs, *, train, decay=0.9, eps=1e-5):
    axes = (0,) + tuple(range(2, inputs.ndim))
    shape = (1, -1) + (1,) * (inputs.ndim - 2)
    if train:
        mean, var = inputs.mean(axes), inputs.var(axes)
        state = dict(
            mean=decay * state["mean"] + (1 - decay) * mean,
            var=decay * state["var"] + (1 - decay) * var,
            steps=state["steps"] + 1,
        )
    else:
        mean, var = state["mean"], state["var"]
    inv = params["scale"] / np.sqrt(var + eps)
    return (inputs - mean.reshape(shape)) * inv.reshape(shape) + params["offset"].reshape(shape), state
