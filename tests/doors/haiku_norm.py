import haiku as hk
import jax.numpy as jnp


class BatchNorm(hk.Module):
    """Normalises the last axis; plain exponential averages, without a correction of their start."""

    def __init__(self, decay_rate=0.99, eps=1e-5, name=None):
        super().__init__(name=name)
        self.decay_rate = decay_rate
        self.eps = eps

    def __call__(self, inputs, is_training):
        shape, dtype = inputs.shape[-1:], inputs.dtype
        scale = hk.get_parameter("scale", shape, dtype, init=jnp.ones)
        offset = hk.get_parameter("offset", shape, dtype, init=jnp.zeros)
        mean = hk.get_state("mean", shape, dtype, init=jnp.zeros)
        var = hk.get_state("var", shape, dtype, init=jnp.ones)
        if is_training:
            axes = tuple(range(inputs.ndim - 1))
            batch_mean, batch_var = inputs.mean(axes), inputs.var(axes)
            hk.set_state("mean", self.decay_rate * mean + (1 - self.decay_rate) * batch_mean)
            hk.set_state("var", self.decay_rate * var + (1 - self.decay_rate) * batch_var)
            mean, var = batch_mean, batch_var
        return scale * (inputs - mean) / jnp.sqrt(var + self.eps) + offset
