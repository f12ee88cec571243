"""TF-Slim's batch_norm in TensorFlow 1's graph mode: unfused, fused, and with zero_debias_moving_mean.

Measured: a graph per call, updates made in place; gradients by tf.gradients. The debiased mean keeps a sum and a count
of steps beside it: the arguments are put there as after a million steps, when the debiasing has come to its end.
"""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim

NAME = "tf-slim"
CONVENTION = "tf-slim"
tf.disable_v2_behavior()


class BatchNorm:
    """``tf_slim.batch_norm``, NHWC."""

    dtypes = ("float32",)

    def __init__(self, convention: str = "tf-slim", **options: bool) -> None:
        self.convention, self.options = convention, options

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Build a training graph and run it once."""
        y, mean, var, _ = self._run(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        cache = (x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return y, mean, var, cache

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Build an inference graph and run it."""
        return self._run(x, gamma, beta, running_mean, running_var, 0.9, eps, False)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Infer, and keep the arguments for a graph with gradients."""
        arguments = (x, gamma, beta, running_mean, running_var, 0.9, eps, False)
        return self._run(*arguments)[0], arguments

    def backward(self, dy: Any, cache: Any) -> Any:
        """Build the graph again, with tf.gradients."""
        x, gamma, beta, mean, var, decay, eps, on = cache
        return self._run(x, gamma, beta, mean, var, decay, eps, on, dy)[3]

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step."""
        given = {k: v for k, v in (("decay", momentum), ("epsilon", eps)) if v is not None}
        with tf.Graph().as_default(), tf.Session() as session:
            y = tf_slim.batch_norm(_last(x), is_training=True, updates_collections=None, **self.options, **given)
            session.run(tf.global_variables_initializer())
            y = session.run(y)
            return np.moveaxis(y, -1, 1), *session.run([_variable("moving_mean"), _variable("moving_variance")])

    def _run(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, decay: float, eps: float, on: bool, dy: Any = None
    ) -> Any:
        given = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": var}
        initial = {n: tf.constant_initializer(v) for n, v in given.items() if v is not None}
        with tf.Graph().as_default(), tf.Session() as session:
            place = tf.placeholder(x.dtype, np.moveaxis(x, 1, -1).shape)
            y = tf_slim.batch_norm(
                place, decay=decay, center=beta is not None, scale=gamma is not None, epsilon=eps,
                param_initializers=initial, updates_collections=None, is_training=on, **self.options,
            )  # fmt: skip
            session.run(tf.global_variables_initializer())
            if on and "zero_debias_moving_mean" in self.options:
                session.run([_variable("biased").assign(mean), _variable("local_step").assign(1e6)])
            feed, gradients = {place: _last(x)}, None
            if dy is not None:
                names = [n for n in ("gamma", "beta") if given[n] is not None]
                wanted = tf.gradients(y, [place, *map(_variable, names)], tf.constant(_last(dy)))
                dx, *rest = session.run(wanted, feed)
                found = dict(zip(names, rest, strict=True))
                gradients = np.moveaxis(dx, -1, 1), found.get("gamma"), found.get("beta")
            y = session.run(y, feed)
            moved = session.run([_variable("moving_mean"), _variable("moving_variance")])
        return np.moveaxis(y, -1, 1), *moved, gradients


def _variable(name: str) -> Any:
    return next(v for v in tf.global_variables() if v.op.name.endswith(f"/{name}"))


def _last(x: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def version() -> str:
    """Versions of TF-Slim and TensorFlow."""
    return f"tf-slim {version_of('tf-slim')}, tensorflow {tf.__version__}"


def paths() -> dict[str, object]:
    """Three settings of one layer."""
    return {
        "unfused": BatchNorm(fused=False),
        "fused": BatchNorm("tf-slim-fused", fused=True),
        "zero_debias": BatchNorm(fused=False, zero_debias_moving_mean=True),
    }
