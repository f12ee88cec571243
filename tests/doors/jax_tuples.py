"""Parameters and state are named tuples; a new state comes back; channels last."""
from typing import NamedTuple

import jax


class Params(NamedTuple):
    gamma: jax.Array
    beta: jax.Array


class State(NamedTuple):
    mean: jax.Array
    var: jax.Array


def bn_apply(params: Params, state: State, x, is_training: bool, decay=0.99, eps=1e-3):
    if is_training:
        axes = tuple(range(x.ndim - 1))
        mean, var = x.mean(axes), x.var(axes)
        state = State(*(decay * old + (1 - decay) * new for old, new in zip(state, (mean, var), strict=True)))
    else:
        mean, var = state
    return params.gamma * (x - mean) / (var + eps) ** 0.5 + params.beta, state
