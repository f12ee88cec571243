"""A layer is two pure functions: init makes (params, state), apply takes them."""
import jax.numpy as jnp


def init(features, dtype=jnp.float32):
    params = {"scale": jnp.ones(features, dtype), "bias": jnp.zeros(features, dtype)}
    state = {"mean": jnp.zeros(features, dtype), "var": jnp.ones(features, dtype)}
    return params, state


def apply(params, state, x, training, momentum=0.99, eps=1e-5):
    """Normalise the last axis of x; return y and the state for the next call."""
    if training:
        axes = tuple(range(x.ndim - 1))
        mean = jnp.mean(x, axes)
        var = jnp.mean(jnp.square(x - mean), axes)
        state = {
            "mean": momentum * state["mean"] + (1 - momentum) * mean,
            "var": momentum * state["var"] + (1 - momentum) * var,
        }
    else:
        mean, var = state["mean"], state["var"]
    y = params["scale"] * (x - mean) / jnp.sqrt(var + eps) + params["bias"]
    return y, state
