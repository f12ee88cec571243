"""tinygrad's batch normalization on the CPU: ``nn.BatchNorm``, gradients by ``Tensor.gradient``."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

import numpy as np
from tinygrad import Tensor, nn
from tinygrad.helpers import Context

NAME = "tinygrad"
CONVENTION = "tinygrad"


class BatchNorm:
    """``tinygrad.nn.BatchNorm``; a module has both parameters or none, as here it may have either."""

    dtypes = ("float64", "float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a module in training mode."""
        y, layer, leaves = _record(x, gamma, beta, running_mean, running_var, momentum, eps, 1)
        return y.numpy(), layer.running_mean.numpy(), layer.running_var.numpy(), (y, leaves)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a module in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a module in evaluation mode, recording."""
        y, _, leaves = _record(x, gamma, beta, running_mean, running_var, 0.1, eps, 0)
        return y.numpy(), (y, leaves)

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask Tensor.gradient."""
        y, leaves = cache
        gradients = iter(y.gradient(*(leaf for leaf in leaves if leaf is not None), gradient=_tensor(dy)))
        return tuple(None if leaf is None else next(gradients).numpy() for leaf in leaves)

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new module for one step."""
        layer = nn.BatchNorm(x.shape[1], **{k: v for k, v in (("momentum", momentum), ("eps", eps)) if v is not None})
        layer.running_mean, layer.running_var = (
            a.cast(_tensor(x).dtype) for a in (layer.running_mean, layer.running_var)
        )
        with Context(TRAINING=1):
            y = layer(_tensor(x))
        return y.numpy(), layer.running_mean.numpy(), layer.running_var.numpy()


def _record(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: int) -> Any:
    layer = nn.BatchNorm(mean.shape[0], eps=eps, momentum=momentum)
    leaves = [None if a is None else _tensor(a) for a in (x, gamma, beta)]
    x, layer.weight, layer.bias = leaves
    layer.running_mean, layer.running_var = _tensor(mean), _tensor(var)
    with Context(TRAINING=on):
        return layer(x), layer, leaves


def _tensor(a: Any) -> Any:
    return Tensor(np.array(a, order="C"))


def version() -> str:
    """Version of tinygrad."""
    return f"tinygrad {version_of('tinygrad')}"


def paths() -> dict[str, object]:
    """One module."""
    return {"": BatchNorm()}
