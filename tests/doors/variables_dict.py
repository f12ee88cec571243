"""variables = {'params': ..., 'batch_stats': ...}; apply(variables, x, train) as Flax would, in plain JAX."""

import jax
import jax.numpy as jnp


def bn_init(c):
    return {
        "params": {"scale": jnp.ones(c), "bias": jnp.zeros(c)},
        "batch_stats": {"mean": jnp.zeros(c), "var": jnp.ones(c)},
    }


def bn_apply(variables, x, train, momentum=0.99, eps=1e-3):
    p, s = variables["params"], variables["batch_stats"]
    if train:
        mean, var = jnp.mean(x, 0), jnp.var(x, 0)
        new = {"mean": momentum * s["mean"] + (1 - momentum) * mean, "var": momentum * s["var"] + (1 - momentum) * mean}
    else:
        mean, var, new = s["mean"], s["var"], s
    y = p["scale"] * (x - mean) * jax.lax.rsqrt(var + eps) + p["bias"]
    return y, {"params": p, "batch_stats": new}
