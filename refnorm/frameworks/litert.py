"""LiteRT on what TensorFlow's converter makes of batch normalization: the fused kernel, and Keras's layer.

Measured: NHWC, a model for each shape, whose parameters and statistics go in and come out as tensors. The kernel is
converted for inference alone: in training its statistics are no outputs that the converter takes. The gradients of the
layer are the tape's, converted with it, as training on a device does.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version as version_of
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

NAME = "litert"
CONVENTION = "keras"


class Kernel:
    """``tf.compat.v1.nn.fused_batch_norm`` in evaluation mode."""

    convention = "tensorflow"
    dtypes = ("float32",)
    sparing = True

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Convert and run."""
        scale = np.ones_like(running_mean) if gamma is None else gamma
        shift = np.zeros_like(running_mean) if beta is None else beta
        arrays = (np.moveaxis(x, 1, -1), scale, shift, running_mean, running_var)
        return np.moveaxis(_run(_kernel, eps, *arrays)[0], -1, 1)


class Layer:
    """``keras.layers.BatchNormalization(axis=-1)``, called without state."""

    dtypes = ("float32", "float16")
    sparing = True

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Convert and run a layer in training mode."""
        return self._called(x, gamma, beta, running_mean, running_var, momentum, eps, True)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Convert and run a layer in evaluation mode."""
        return self._called(x, gamma, beta, running_mean, running_var, 0.5, eps, False)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Convert and run a layer in evaluation mode; its gradients are asked for later."""
        y, _, _, tape = self._called(x, gamma, beta, running_mean, running_var, 0.5, eps, False)
        return y, tape

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Convert the tape's gradients and run them."""
        settings, arrays = cache
        dx, *rest = _run(_gradients, settings, *arrays, np.moveaxis(dy, 1, -1))
        given = iter(rest)
        return np.moveaxis(dx, -1, 1), *(next(given) if there else None for there in settings[2:4])

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> Any:
        """Train a new layer for one step."""
        new = keras.layers.BatchNormalization()
        momentum, eps = new.momentum if momentum is None else momentum, new.epsilon if eps is None else eps
        zero = np.zeros(x.shape[1], x.dtype)
        return self.train(x, zero + 1, zero, zero, zero + 1, momentum, eps)[:3]

    def _called(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> Any:
        policy = str(x.dtype) if x.dtype == mean.dtype else f"mixed_{x.dtype}"
        settings = (float(momentum), float(eps), gamma is not None, beta is not None, policy, training)
        arrays = [np.moveaxis(x, 1, -1), *(a for a in (gamma, beta) if a is not None), mean, var]
        y, mean, var = _run(_layer, settings, *arrays)
        return np.moveaxis(y, -1, 1), mean, var, (settings, arrays)


def _kernel(eps: float, rank: int, _: int) -> Any:
    form = {4: "NHWC", 5: "NDHWC"}[rank]

    def kernel(x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> list[Any]:
        return [tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, var, eps, form, is_training=False)[0]]

    return kernel


def _layer(settings: Any, rank: int, channels: int) -> Any:
    momentum, eps, scale, center, policy, training = settings
    made = keras.layers.BatchNormalization(-1, momentum, eps, scale=scale, center=center, dtype=policy)
    made.build((*[None] * (rank - 1), channels))

    def layer(x: Any, *arrays: Any) -> list[Any]:
        y, moved = made.stateless_call(arrays[:-2], arrays[-2:], x, training=training)
        return [y, *moved]

    return layer


def _gradients(settings: Any, rank: int, channels: int) -> Any:
    layer = _layer(settings, rank, channels)

    def gradients(*arrays: Any) -> list[Any]:
        *given, dy = arrays
        leaves = given[:-2]
        with tf.GradientTape() as tape:
            tape.watch(leaves)
            y = layer(*given)[0]
        return list(tape.gradient(y, leaves, dy))

    return gradients


def _run(make: Any, settings: Any, *arrays: Any) -> list[Any]:
    """Run a function that is converted for the shapes and formats of its arrays."""
    run = _converted(make, settings, tuple((a.shape, str(a.dtype)) for a in arrays))
    results = run(**{f"a{k}": np.ascontiguousarray(array) for k, array in enumerate(arrays)})
    return [results[f"output_{k}"] for k in range(len(results))]


@cache
def _converted(make: Any, settings: Any, arrays: tuple[Any, ...]) -> Any:
    specifications = [tf.TensorSpec(shape, kind, f"a{k}") for k, (shape, kind) in enumerate(arrays)]
    (*some, channels), _ = arrays[0]
    traced = tf.function(make(settings, len(some) + 1, channels), input_signature=specifications)
    module = tf.Module()
    model = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], module).convert()
    return Interpreter(model_content=model).get_signature_runner()


def version() -> str:
    """Versions of LiteRT, and of TensorFlow, which converts."""
    return f"litert {version_of('ai-edge-litert')}, tensorflow {tf.__version__}"


def paths() -> dict[str, object]:
    """Return the kernel, and the layer."""
    return {"kernel": Kernel(), "layer": Layer()}
