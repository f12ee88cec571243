import flax.linen as nn
import jax.numpy as jnp


class BatchNorm(nn.Module):
    """Channels last; the mode is an argument of the call: bn.apply(variables, x, training, mutable=[...])."""

    features: int
    decay: float = 0.9
    epsilon: float = 1e-5

    def setup(self):
        shape = (self.features,)
        self.scale = self.param("scale", nn.initializers.ones, shape)
        self.bias = self.param("bias", nn.initializers.zeros, shape)
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        self.var = self.variable("batch_stats", "var", jnp.ones, shape)

    def __call__(self, x, training: bool):
        if training:
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x, axes)
            var = jnp.var(x, axes)
            if not self.is_initializing():
                self.mean.value = self.decay * self.mean.value + (1 - self.decay) * mean
                self.var.value = self.decay * self.var.value + (1 - self.decay) * var
        else:
            mean, var = self.mean.value, self.var.value
        return self.scale * (x - mean) / jnp.sqrt(var + self.epsilon) + self.bias
