"""MLX's batch normalization on the CPU; x is moved to channels last, as the layer wants it.

Measured: ``mlx.nn.BatchNorm``, gradients by mlx's vjp. Parameters come in pairs; a missing one is ones or zeros.
"""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

NAME = "mlx"
CONVENTION = "mlx"
mx.set_default_device(mx.cpu)


class BatchNorm:
    """``mlx.nn.BatchNorm``."""

    dtypes = ("float64", "float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a layer in training mode."""
        layer, x, pair = _layer(x, gamma, beta, running_mean, running_var, momentum, eps)
        y = layer.train()(x)
        return _first(y), np.array(layer.running_mean), np.array(layer.running_var), (layer, x, pair, gamma, beta)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode, keeping what the vjp needs."""
        layer, x, pair = _layer(x, gamma, beta, running_mean, running_var, 0.1, eps)
        return _first(layer.eval()(x)), (layer, x, pair, gamma, beta)

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask mlx's vjp, which runs the layer again."""
        layer, x, pair, gamma, beta = cache

        def forward(x: Any, weight: Any, bias: Any) -> list[Any]:
            layer.weight, layer.bias = weight, bias
            return [layer(x)]

        dy = _array(np.moveaxis(dy, 1, -1))
        _, (dx, dgamma, dbeta) = mx.vjp(forward, [x, *pair], [dy])
        found = None if gamma is None else np.array(dgamma), None if beta is None else np.array(dbeta)
        return _first(dx), *found

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step."""
        layer = nn.BatchNorm(x.shape[1], **{k: v for k, v in (("momentum", momentum), ("eps", eps)) if v is not None})
        layer.set_dtype(getattr(mx, str(x.dtype)))
        y = layer(_array(np.moveaxis(x, 1, -1)))
        return _first(y), np.array(layer.running_mean), np.array(layer.running_var)


def _layer(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
    layer = nn.BatchNorm(mean.shape[0], eps=eps, momentum=momentum)
    layer.running_mean, layer.running_var = _array(mean), _array(var)
    pair = [
        _array(np.ones_like(mean) if gamma is None else gamma),
        _array(np.zeros_like(mean) if beta is None else beta),
    ]
    layer.weight, layer.bias = pair
    return layer, _array(np.moveaxis(x, 1, -1)), pair


def _array(a: Any) -> Any:
    return mx.array(np.ascontiguousarray(a), dtype=getattr(mx, str(a.dtype)))


def _first(y: Any) -> Any:
    return np.moveaxis(np.array(y), -1, 1)


def version() -> str:
    """Version of mlx."""
    return f"mlx {version_of('mlx')}"


def paths() -> dict[str, object]:
    """One layer."""
    return {"": BatchNorm()}
