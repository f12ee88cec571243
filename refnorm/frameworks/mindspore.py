"""MindSpore's batch normalization on the CPU, eager mode: the layers, gradients by mindspore.grad.

Measured: BatchNorm1d for rank 2 and 3, 2d and 3d for 4 and 5. A layer has both parameters; a missing one is ones or
zeros.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

NAME = "mindspore"
CONVENTION = "mindspore"
ms.set_context(mode=ms.PYNATIVE_MODE)
ms.set_device("CPU")


class BatchNorm:
    """``mindspore.nn.BatchNorm1d``, ``BatchNorm2d``, ``BatchNorm3d``."""

    dtypes = ("float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a layer in training mode."""
        layer, leaves = _layer(x, gamma, beta, running_mean, running_var, momentum, eps)
        layer.set_train(True)
        y, mean, var = _results(layer, leaves[0])
        return y, mean, var, (layer, leaves, gamma, beta)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in evaluation mode, keeping it."""
        layer, leaves = _layer(x, gamma, beta, running_mean, running_var, 0.9, eps)
        layer.set_train(False)
        return layer(leaves[0]).asnumpy(), (layer, leaves, gamma, beta)

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask mindspore's vjp, which runs the layer again."""
        layer, (x, *_), gamma, beta = cache
        weights = [layer.gamma, layer.beta] if hasattr(layer, "gamma") else [layer.bn2d.gamma, layer.bn2d.beta]
        _, vjp = ms.vjp(lambda x: layer(x), x, weights=ms.ParameterTuple(weights))
        dx, (dgamma, dbeta) = vjp(_tensor(dy))
        found = (None if p is None else g.asnumpy() for p, g in ((gamma, dgamma), (beta, dbeta)))
        return (dx[0] if isinstance(dx, tuple) else dx).asnumpy(), *found

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step."""
        given = {k: v for k, v in (("momentum", momentum), ("eps", eps)) if v is not None}
        layer = _kind(x)(x.shape[1], dtype=getattr(ms, str(x.dtype)), **given)
        layer.set_train(True)
        return _results(layer, _tensor(x))


def _kind(x: Any) -> Any:
    return {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(x.ndim, nn.BatchNorm1d)


def _results(layer: Any, x: Any) -> tuple[Any, Any, Any]:
    y = layer(x).asnumpy()
    inner = getattr(layer, "bn2d", layer)
    return y, inner.moving_mean.asnumpy(), inner.moving_variance.asnumpy()


def _layer(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
    leaves = [
        _tensor(x),
        _tensor(np.ones_like(mean) if gamma is None else gamma),
        _tensor(np.zeros_like(mean) if beta is None else beta),
    ]
    layer = _kind(x)(
        mean.shape[0], eps, momentum, True, *leaves[1:], _tensor(mean), _tensor(var), dtype=getattr(ms, str(mean.dtype))
    )
    return layer, leaves


def _tensor(a: Any) -> Any:
    return ms.Tensor(np.array(a, order="C"))


def version() -> str:
    """Version of MindSpore."""
    return f"mindspore {ms.__version__}"


def paths() -> dict[str, object]:
    """One path: the layers."""
    return {"": BatchNorm()}
