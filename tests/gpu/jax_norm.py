"""A batch normalization in JAX, right: what XLA compiles of it is judged where JAX computes."""

import jax.numpy as jnp


def batch_norm(x, gamma, beta, eps=1e-5):
    axes = (0, *range(2, x.ndim))
    mean, var = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    shape = mean.shape
    return gamma.reshape(shape) * (x - mean) / jnp.sqrt(var + eps) + beta.reshape(shape)
