import jax.numpy as jnp
from flax import nnx
from jax import lax


class BatchNorm(nnx.Module):
    """Normalises the last axis; `use_running_average` is set by model.eval() and model.train()."""

    def __init__(self, num_features: int, *, momentum: float = 0.99, epsilon: float = 1e-5, rngs: nnx.Rngs):
        key = rngs.params()
        self.scale = nnx.Param(nnx.initializers.ones(key, (num_features,)))
        self.bias = nnx.Param(nnx.initializers.zeros(key, (num_features,)))
        self.mean = nnx.BatchStat(jnp.zeros(num_features))
        self.var = nnx.BatchStat(jnp.ones(num_features))
        self.momentum, self.epsilon = momentum, epsilon
        self.use_running_average = False

    def __call__(self, x):
        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x, axes)
            var = jnp.mean((x - mean) ** 2, axes)
            keep = self.momentum
            self.mean[...] = keep * self.mean[...] + (1 - keep) * lax.stop_gradient(mean)
            self.var[...] = keep * self.var[...] + (1 - keep) * lax.stop_gradient(var)
        return self.scale[...] * (x - mean) / jnp.sqrt(var + self.epsilon) + self.bias[...]
