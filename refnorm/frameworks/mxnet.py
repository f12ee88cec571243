"""MXNet's batch normalization on the CPU: the operator as Gluon calls it.

Measured: MXNet moves the statistics in its backward pass, so a training step here includes one. The package needs
names that NumPy has removed; they are put back before the import.
"""

from __future__ import annotations

from typing import Any

import numpy as np

np.bool = bool  # type: ignore[misc,assignment]

import mxnet as mx  # noqa: E402

NAME = "mxnet"
CONVENTION = "mxnet"


class Operator:
    """``mxnet.nd.BatchNorm`` with ``fix_gamma=False``."""

    dtypes = ("float64", "float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Record a call in training mode, and go back once, so that the statistics move."""
        tape = self._record(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        y, _, (mean, var) = tape[:3]
        self.backward(np.zeros_like(x), tape)
        return y.asnumpy(), mean.asnumpy(), var.asnumpy(), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Record a call with ``use_global_stats``."""
        tape = self._record(x, gamma, beta, running_mean, running_var, 0.9, eps, False)
        return tape[0].asnumpy(), tape

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask autograd."""
        y, leaves, _, gamma, beta = cache
        mx.autograd.backward([y], [_array(dy)], retain_graph=True)
        given = (0, gamma, beta)
        return tuple(leaf.grad.asnumpy() if g is not None else None for leaf, g in zip(leaves, given, strict=True))

    def _record(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        ones, zeros = np.ones_like(mean), np.zeros_like(mean)
        leaves = [_array(a) for a in (x, ones if gamma is None else gamma, zeros if beta is None else beta)]
        moving = _array(mean), _array(var)
        for leaf in leaves:
            leaf.attach_grad()
        with mx.autograd.record(train_mode=on):
            y = mx.nd.BatchNorm(
                *leaves, *moving, eps=eps, momentum=momentum, fix_gamma=False, use_global_stats=not on, axis=1
            )
        return y, leaves, moving, gamma, beta

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new Gluon layer for one step."""
        given = {k: v for k, v in (("momentum", momentum), ("epsilon", eps)) if v is not None}
        layer = mx.gluon.nn.BatchNorm(in_channels=x.shape[1], **given)
        layer.cast(x.dtype)
        layer.initialize()
        with mx.autograd.record():
            y = layer(_array(x))
        y.backward()
        return y.asnumpy(), layer.running_mean.data().asnumpy(), layer.running_var.data().asnumpy()


def _array(a: Any) -> Any:
    return mx.nd.array(np.ascontiguousarray(a), dtype=a.dtype)


def version() -> str:
    """Version of MXNet."""
    return f"mxnet {mx.__version__}"


def paths() -> dict[str, object]:
    """One path."""
    return {"": Operator()}
