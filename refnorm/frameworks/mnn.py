"""MNN's module ``nn.batch_norm`` on the CPU, float32. Forward alone: its optimizers take gradients, and show none.

Only ``MNN.nn`` and ``MNN.expr`` are imported: importing ``MNN.tools`` runs ``pip install`` of a client for logs.
"""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

import numpy as np
from MNN import expr, nn

NAME = "mnn"
CONVENTION = "mnn"


class BatchNorm:
    """``MNN.nn.batch_norm``, whose parameters are gamma, beta, running variance and running mean."""

    dtypes = ("float32",)

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a module in training mode."""
        return *_called(_module(x, gamma, beta, running_mean, running_var, momentum, eps), x, True), None

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a module in inference mode."""
        return _called(_module(x, gamma, beta, running_mean, running_var, 0.5, eps), x, False)[0]

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> Any:
        """Train a new module for one step."""
        settings = {k: v for k, v in (("momentum", momentum), ("epsilon", eps)) if v is not None}
        return _called(nn.batch_norm(x.shape[1], x.ndim, **settings), x, True)


def _module(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
    module = nn.batch_norm(x.shape[1], x.ndim, momentum, eps)
    scale = np.ones_like(mean) if gamma is None else gamma
    shift = np.zeros_like(mean) if beta is None else beta
    kept = [1, x.shape[1], *[1] * (x.ndim - 2)]
    module.load_parameters([_tensor(array, kept) for array in (scale, shift, var, mean)])
    return module


def _called(module: Any, x: Any, training: bool) -> list[Any]:
    module.train(training)
    y = np.array(module(_tensor(x, list(x.shape))).read(), np.float32).reshape(x.shape)
    var, mean = (np.array(parameter.read(), np.float32).ravel() for parameter in module.parameters[2:4])
    return [y, mean, var]


def _tensor(array: Any, shape: list[int]) -> Any:
    return expr.const(np.ravel(array).tolist(), shape, expr.NCHW)


def version() -> str:
    """Version of MNN."""
    return f"mnn {version_of('mnn')}"


def paths() -> dict[str, object]:
    """One module."""
    return {"": BatchNorm()}
