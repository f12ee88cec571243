"""TensorFlow's own batch normalization: the fused kernel, and ``tf.nn.batch_normalization`` after ``tf.nn.moments``.

Measured: NHWC, which is what the CPU has; x is moved there. The kernel's momentum is ``exponential_avg_factor``, the
weight of the new batch. Gradients are the tape's. Both parameters are always there in the kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

NAME = "tensorflow"
CONVENTION = "tensorflow"


class Unfused:
    """``tf.nn.batch_normalization``; the running average is the user's own, so training is not offered."""

    convention = "tf-slim"  # whose unfused layer this is
    dtypes: tuple[str, ...] = ("float64", "float32", "float16")

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode, recording."""
        y, _, _, tape = self._record(x, gamma, beta, running_mean, running_var, 1.0, eps, False)
        return _first(y), tape

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask the tape."""
        tape, y, leaves, gamma, beta = cache
        dx, dgamma, dbeta = tape.gradient(y, leaves, _last(dy))
        return _first(dx), None if gamma is None else dgamma.numpy(), None if beta is None else dbeta.numpy()

    def _record(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        ones, zeros = np.ones_like(mean), np.zeros_like(mean)
        leaves = [_last(x), *map(tf.constant, (ones if gamma is None else gamma, zeros if beta is None else beta))]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(leaves)
            y, mean, var = self._call(
                leaves[0], leaves[1], leaves[2], tf.constant(mean), tf.constant(var), momentum, eps, on
            )
        return y, mean, var, (tape, y, leaves, gamma, beta)

    def _call(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        return tf.nn.batch_normalization(x, mean, var, beta, gamma, eps), mean, var


class Fused(Unfused):
    """``tf.compat.v1.nn.fused_batch_norm``; half precision takes float32 parameters."""

    convention = "tensorflow"
    dtypes = ("float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call in training mode."""
        y, mean, var, tape = self._record(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return _first(y), mean.numpy(), var.numpy(), tape

    def _call(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        form = {4: "NHWC", 5: "NDHWC"}[len(x.shape)]
        return tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, var, eps, form, is_training=on, exponential_avg_factor=momentum
        )


def _last(x: Any) -> Any:
    return tf.constant(np.ascontiguousarray(np.moveaxis(x, 1, -1)))


def _first(y: Any) -> Any:
    return np.moveaxis(y.numpy(), -1, 1)


def version() -> str:
    """Version of TensorFlow."""
    return f"tensorflow {tf.__version__}"


def paths() -> dict[str, object]:
    """Return the kernel, and the formula."""
    return {"fused": Fused(), "unfused": Unfused()}
