import equinox as eqx
import jax.numpy as jnp
from jax import Array


class BatchNorm(eqx.Module):
    """bn, state = eqx.nn.make_with_state(BatchNorm)(size); y, state = bn(x, state), x of shape (N, size, ...)."""

    weight: Array
    bias: Array
    statistics: eqx.nn.StateIndex
    momentum: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    inference: bool

    def __init__(self, size, momentum=0.99, eps=1e-5, inference=False):
        self.weight, self.bias = jnp.ones(size), jnp.zeros(size)
        self.statistics = eqx.nn.StateIndex((jnp.zeros(size), jnp.ones(size)))
        self.momentum, self.eps, self.inference = momentum, eps, inference

    def __call__(self, x, state, *, key=None, inference=None):
        inference = self.inference if inference is None else inference
        shape = (1, -1) + (1,) * (x.ndim - 2)
        running_mean, running_var = state.get(self.statistics)
        if inference:
            mean, var = running_mean, running_var
        else:
            axes = (0, *range(2, x.ndim))
            mean, var = jnp.mean(x, axes), jnp.var(x, axes)
            old, new = self.momentum, 1 - self.momentum
            state = state.set(self.statistics, (old * running_mean + new * mean, old * running_var + new * var))
        x_hat = (x - mean.reshape(shape)) / jnp.sqrt(var.reshape(shape) + self.eps)
        return self.weight.reshape(shape) * x_hat + self.bias.reshape(shape), state
