"""Keras 3's BatchNormalization on the backend that KERAS_BACKEND names: any of Keras's five.

Measured: ``axis=1``, weights set, called in both modes. Keras has no gradients of its own; its backends are on trial
under their names.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

NAME = "keras"
CONVENTION = "keras"


class BatchNormalization:
    """``keras.layers.BatchNormalization``."""

    dtypes = ("float64", "float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a layer in training mode."""
        layer = _layer(x, gamma, beta, running_mean, running_var, momentum, eps)
        return _results(layer, x, True)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode."""
        return _results(_layer(x, gamma, beta, running_mean, running_var, 0.99, eps), x, False)[0]

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> Any:
        """Train a new layer for one step."""
        given = {k: v for k, v in (("momentum", momentum), ("epsilon", eps)) if v is not None}
        layer = keras.layers.BatchNormalization(axis=1, dtype=str(x.dtype), **given)
        return _results(layer, x, True)[:3]


def _results(layer: Any, x: Any, training: bool) -> Any:
    y = layer(keras.ops.convert_to_tensor(np.ascontiguousarray(x)), training=training)
    arrays = (keras.ops.convert_to_numpy(a) for a in (y, layer.moving_mean, layer.moving_variance))
    return *(np.array(a) for a in arrays), None


def _layer(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
    policy = str(x.dtype) if x.dtype == mean.dtype else f"mixed_{x.dtype}"
    layer = keras.layers.BatchNormalization(
        axis=1, momentum=momentum, epsilon=eps, scale=gamma is not None, center=beta is not None, dtype=policy
    )
    layer.build(x.shape)
    layer.set_weights([np.ascontiguousarray(a) for a in (gamma, beta, mean, var) if a is not None])
    return layer


def version() -> str:
    """Versions of Keras and its backend."""
    return f"keras {keras.__version__} on {keras.backend.backend()}"


def paths() -> dict[str, object]:
    """One path: the backend that is loaded."""
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    return {keras.backend.backend(): BatchNormalization()}
