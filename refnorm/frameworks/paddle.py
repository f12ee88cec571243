"""PaddlePaddle's batch normalization on the CPU: the function and the layer.

Measured: forward in both modes, running statistics as Paddle writes them (into copies), gradients by paddle.grad.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

NAME = "paddle"
CONVENTION = "paddle"


class Functional:
    """``paddle.nn.functional.batch_norm``."""

    dtypes = ("float64", "float32")  # no CPU kernel for float16

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call in training mode on copies of the running statistics, and return the copies."""
        mean, var = _tensor(running_mean), _tensor(running_var)
        tape = self._record(x, gamma, beta, mean, var, momentum, eps, True)
        return tape[0].numpy(), mean.numpy(), var.numpy(), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode, recording."""
        tape = self._record(x, gamma, beta, _tensor(running_mean), _tensor(running_var), 0.9, eps, False)
        return tape[0].numpy(), tape

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask paddle.grad for the gradients of what has one."""
        y, leaves = cache
        inputs = [leaf for leaf in leaves if leaf is not None]
        gradients = iter(paddle.grad([y], inputs, [_tensor(dy)], retain_graph=True))
        return tuple(None if leaf is None else next(gradients).numpy() for leaf in leaves)

    def _record(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        leaves = [None if a is None else _tensor(a) for a in (x, gamma, beta)]
        for leaf in leaves:
            if leaf is not None:
                leaf.stop_gradient = False
        x, gamma, beta = leaves
        y = paddle.nn.functional.batch_norm(x, mean, var, gamma, beta, training=on, momentum=momentum, epsilon=eps)
        return y, leaves

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step."""
        given = {k: v for k, v in (("momentum", momentum), ("epsilon", eps)) if v is not None}
        paddle.set_default_dtype(str(x.dtype))
        kinds = {2: paddle.nn.BatchNorm1D, 3: paddle.nn.BatchNorm1D, 4: paddle.nn.BatchNorm2D}
        layer = kinds.get(x.ndim, paddle.nn.BatchNorm3D)(x.shape[1], **given)
        return layer(_tensor(x)).numpy(), layer._mean.numpy(), layer._variance.numpy()


def _tensor(a: Any) -> Any:
    return paddle.to_tensor(np.array(a))


def version() -> str:
    """Version of PaddlePaddle."""
    return f"paddlepaddle {paddle.__version__}"


def paths() -> dict[str, object]:
    """One path: the layers call the function."""
    return {"": Functional()}
