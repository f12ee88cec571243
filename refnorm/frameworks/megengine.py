"""MegEngine's batch normalization on the CPU: ``functional.nn.batch_norm``, gradients by its GradManager."""

from __future__ import annotations

from typing import Any

import megengine
import numpy as np
from megengine import functional
from megengine.autodiff import GradManager

NAME = "megengine"
CONVENTION = "megengine"


class Function:
    """``megengine.functional.nn.batch_norm``; x has rank 4, and what is kept the shape (1, channels, 1, 1)."""

    dtypes = ("float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call the function in training mode, recording."""
        y, mean, var, cache = _record(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return y.numpy(), mean.numpy().ravel(), var.numpy().ravel(), cache

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call the function in inference mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call the function in inference mode, recording."""
        y, _, _, cache = _record(x, gamma, beta, running_mean, running_var, 0.9, eps, False)
        return y.numpy(), cache

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Record again, and go backward."""
        given, leaves = cache
        for leaf in leaves:
            if leaf is not None:
                leaf.grad = None  # to which a gradient would be added
        manager = GradManager().attach([leaf for leaf in leaves if leaf is not None])
        with manager:
            manager.backward(_call(given, leaves)[0], megengine.tensor(np.array(dy, order="C")))
        grads = [None if leaf is None else leaf.grad.numpy() for leaf in leaves]
        return grads[0], *(None if grad is None else grad.ravel() for grad in grads[1:])


def _record(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
    kept = (1, x.shape[1], 1, 1)
    leaves = [
        None if a is None else megengine.tensor(np.array(a, order="C").reshape(shape))
        for a, shape in ((x, x.shape), (gamma, kept), (beta, kept))
    ]
    given = (np.reshape(mean, kept), np.reshape(var, kept), momentum, eps, on)
    return *_call(given, leaves), (given, leaves)


def _call(given: Any, leaves: Any) -> Any:
    mean, var, momentum, eps, on = given
    x, weight, bias = leaves
    statistics = [megengine.tensor(np.array(a)) for a in (mean, var)]
    y = functional.nn.batch_norm(x, *statistics, weight, bias, training=on, momentum=momentum, eps=eps)
    return y, *statistics


def version() -> str:
    """Version of MegEngine."""
    return f"megengine {megengine.__version__}"


def paths() -> dict[str, object]:
    """One function."""
    return {"": Function()}
