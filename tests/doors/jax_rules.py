"""A derivative of one's own in JAX, its rules named as JAX's guide names them."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def batch_norm(x, gamma, beta, eps):
    return batch_norm_fwd(x, gamma, beta, eps)[0]


def batch_norm_fwd(x, gamma, beta, eps):
    centred = x - x.mean(0)
    inv = jax.lax.rsqrt((centred**2).mean(0) + eps)
    return gamma * centred * inv + beta, (centred * inv, inv, gamma)


def batch_norm_bwd(res, g):
    x_hat, inv, gamma = res
    dx = gamma * inv * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))
    return dx, (g * x_hat).sum(0), g.sum(0), None


batch_norm.defvjp(batch_norm_fwd, batch_norm_bwd)
