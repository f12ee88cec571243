"""A derivative of one's own in JAX, whose dgamma is a mean."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def batch_norm(x, gamma, beta, eps):
    return forward(x, gamma, beta, eps)[0]


def forward(x, gamma, beta, eps):
    centred = x - x.mean(0)
    inv = jax.lax.rsqrt((centred**2).mean(0) + eps)
    return gamma * centred * inv + beta, (centred * inv, inv, gamma)


def backward(kept, dy):
    x_hat, inv, gamma = kept
    dx = gamma * inv * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0))
    return dx, (dy * x_hat).mean(0), dy.sum(0), None


batch_norm.defvjp(forward, backward)
