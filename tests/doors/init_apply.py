"""A stax/optax-like batch norm: a transformation is a pair of pure functions."""
from typing import Callable, NamedTuple

import jax.numpy as jnp


class Layer(NamedTuple):
    init: Callable
    apply: Callable


class BatchNormState(NamedTuple):
    count: jnp.ndarray
    mu: jnp.ndarray
    nu: jnp.ndarray


def batch_norm(momentum: float = 0.9, epsilon: float = 1e-5) -> Layer:
    def init(num_features):
        params = (jnp.ones(num_features), jnp.zeros(num_features))
        state = BatchNormState(jnp.zeros([], jnp.int32), jnp.zeros(num_features), jnp.ones(num_features))
        return params, state

    def apply(params, state, x, train=True):
        gamma, beta = params
        if train:
            mean = x.mean(0)
            var = ((x - mean) ** 2).mean(0)
            state = BatchNormState(
                state.count + 1,
                momentum * state.mu + (1 - momentum) * mean,
                momentum * state.nu + (1 - momentum) * var,
            )
        else:
            mean, var = state.mu, state.nu
        return gamma * (x - mean) / jnp.sqrt(var + epsilon) + beta, state

    return Layer(init, apply)
