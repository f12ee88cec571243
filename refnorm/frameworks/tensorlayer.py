"""TensorLayer's BatchNorm on TensorFlow: the layer, channels first, gradients by the tape.

Measured: weights given through initializers; a missing gamma or beta is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorlayer as tl

NAME = "tensorlayer"
CONVENTION = "tensorlayer"


class BatchNorm:
    """``tensorlayer.layers.BatchNorm``."""

    dtypes = ("float32",)

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a layer in training mode."""
        layer = _layer(x, gamma, beta, running_mean, running_var, momentum, eps)
        y, tape = _record(layer, x, True)
        return y.numpy(), layer.moving_mean.numpy(), layer.moving_var.numpy(), (*tape, gamma, beta)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode, recording."""
        y, tape = _record(_layer(x, gamma, beta, running_mean, running_var, 0.9, eps), x, False)
        return y.numpy(), (*tape, gamma, beta)

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask the tape."""
        tape, y, x, layer, gamma, beta = cache
        leaves = {"x": x} | {n: getattr(layer, n) for n, p in (("gamma", gamma), ("beta", beta)) if p is not None}
        found = tape.gradient(y, leaves, tf.constant(np.ascontiguousarray(dy)))
        return found["x"].numpy(), *(found[n].numpy() if n in found else None for n in ("gamma", "beta"))

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step."""
        given = {k: v for k, v in (("decay", momentum), ("epsilon", eps)) if v is not None}
        layer = tl.layers.BatchNorm(num_features=x.shape[1], data_format="channels_first", **given)
        y, _ = _record(layer, x, True)
        # gamma is random at first: divide it out.
        shape = (1, -1, *[1] * (x.ndim - 2))
        return y.numpy() / layer.gamma.numpy().reshape(shape), layer.moving_mean.numpy(), layer.moving_var.numpy()


def _record(layer: Any, x: Any, training: bool) -> Any:
    x = tf.constant(np.ascontiguousarray(x))
    layer.is_train = training
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = layer.forward(x)
    return y, (tape, y, x, layer)


def _layer(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, decay: float, eps: float) -> Any:
    gamma, beta, mean, var = (None if a is None else tl.initializers.Constant(a) for a in (gamma, beta, mean, var))
    return tl.layers.BatchNorm(
        decay, eps, beta_init=beta, gamma_init=gamma, moving_mean_init=mean, moving_var_init=var,
        num_features=x.shape[1], data_format="channels_first",
    )  # fmt: skip


def version() -> str:
    """Versions of TensorLayer and TensorFlow."""
    return f"tensorlayer {tl.__version__}, tensorflow {tf.__version__}"


def paths() -> dict[str, object]:
    """One layer."""
    return {"": BatchNorm()}
