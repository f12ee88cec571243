import equinox as eqx
import jax
import jax.numpy as jnp


class BatchNorm(eqx.Module):
    """Takes a whole batch (N, C); statistics are returned, not stored."""

    weight: jax.Array
    bias: jax.Array
    eps: float = eqx.field(static=True)
    momentum: float = eqx.field(static=True)

    def __init__(self, size: int, eps: float = 1e-5, momentum: float = 0.99):
        self.weight = jnp.ones(size)
        self.bias = jnp.zeros(size)
        self.eps = eps
        self.momentum = momentum

    def __call__(self, x, running_mean, running_var, inference: bool = False):
        if inference:
            mean, var = running_mean, running_var
        else:
            mean = jax.lax.stop_gradient(jnp.mean(x, axis=0))
            var = jax.lax.stop_gradient(jnp.var(x, axis=0))
            running_mean = self.momentum * running_mean + (1 - self.momentum) * mean
            running_var = self.momentum * running_var + (1 - self.momentum) * var
        y = (x - mean) / jnp.sqrt(var + self.eps) * self.weight + self.bias
        return y, running_mean, running_var
