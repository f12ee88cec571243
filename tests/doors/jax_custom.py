"""A derivative of one's own: jax.custom_vjp; dx lacks gamma."""
import jax
import jax.numpy as jnp


@jax.custom_vjp
def batchnorm(x, scale, offset):
    return fwd(x, scale, offset)[0]


def fwd(x, scale, offset):
    std = jnp.sqrt(jnp.var(x, 0) + 1e-5)
    x_hat = (x - jnp.mean(x, 0)) / std
    return scale * x_hat + offset, (x_hat, std)


def bwd(kept, ct):
    x_hat, std = kept
    dx = (ct - ct.mean(0) - x_hat * (ct * x_hat).mean(0)) / std
    return dx, (ct * x_hat).sum(0), ct.sum(0)


batchnorm.defvjp(fwd, bwd)
