"""Keras 2 as tf-keras keeps it: BatchNormalization, fused and not, on TensorFlow, gradients by the tape.

Measured: ``axis=-1``, where the fused kernel runs on the CPU; x is moved there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.legacy_tf_layers.normalization import BatchNormalization as TensorFlow1

NAME = "tf-keras"
CONVENTION = "tf-keras"


class BatchNormalization:
    """``tf_keras.layers.BatchNormalization``."""

    kind: Any = tf_keras.layers.BatchNormalization

    def __init__(self, fused: bool) -> None:
        self.fused = fused
        self.convention = "keras-fused" if fused else "tf-keras"
        self.dtypes = ("float32", "float16") if fused else ("float64", "float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a layer in training mode."""
        y, layer, tape = self._record(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return _first(y), layer.moving_mean.numpy(), layer.moving_variance.numpy(), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode, recording."""
        y, _, tape = self._record(x, gamma, beta, running_mean, running_var, 0.99, eps, False)
        return _first(y), tape

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask the tape."""
        tape, y, x, layer = cache
        leaves = {"x": x} | {n: getattr(layer, n) for n in ("gamma", "beta") if getattr(layer, n) is not None}
        found = tape.gradient(y, leaves, _last(dy))
        return _first(found["x"]), *(found[n].numpy() if n in found else None for n in ("gamma", "beta"))

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step."""
        layer = self._layer(x.dtype, x.dtype, **_given(momentum=momentum, epsilon=eps))
        y = layer(_last(x), training=True)
        return _first(y), layer.moving_mean.numpy(), layer.moving_variance.numpy()

    def _layer(self, x: Any, parameters: Any, **options: Any) -> Any:
        policy = str(x) if x == parameters else f"mixed_{x}"
        return self.kind(fused=self.fused, dtype=tf_keras.mixed_precision.Policy(policy), **options)

    def _record(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        options = {"momentum": momentum, "epsilon": eps, "scale": gamma is not None, "center": beta is not None}
        layer, x = self._layer(x.dtype, mean.dtype, **options), _last(x)
        layer.build(x.shape)
        layer.set_weights([a for a in (gamma, beta, mean, var) if a is not None])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = layer(x, training=on)
        return y, layer, (tape, y, x, layer)


class Legacy(BatchNormalization):
    """``tf.layers.BatchNormalization`` of TensorFlow 1, as tf-keras keeps it."""

    kind = TensorFlow1


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _last(x: Any) -> Any:
    return tf.constant(np.ascontiguousarray(np.moveaxis(x, 1, -1)))


def _first(y: Any) -> Any:
    return np.moveaxis(y.numpy(), -1, 1)


def version() -> str:
    """Versions of tf-keras and TensorFlow."""
    return f"tf-keras {tf_keras.__version__}, tensorflow {tf.__version__}"


def paths() -> dict[str, object]:
    """Fused (rank 4 only) and not, of Keras 2 and of TensorFlow 1."""
    return {
        "unfused": BatchNormalization(False),
        "fused": BatchNormalization(True),
        "tf.layers, unfused": Legacy(False),
        "tf.layers, fused": Legacy(True),
    }
