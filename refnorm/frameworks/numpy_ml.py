"""numpy-ml's BatchNorm1D and BatchNorm2D, with the gradients that the layers themselves accumulate.

Measured: x as (N, C), or moved to (N, H, W, C). A layer has both parameters; a missing one is ones or zeros. The
package needs ``collections.Hashable``, which Python 3.10 removed; it is put back before the import.
"""

from __future__ import annotations

import collections
import collections.abc
import sys
from importlib.metadata import version as version_of
from typing import Any

import numpy as np

collections.Hashable = collections.abc.Hashable  # type: ignore[attr-defined]
sys.modules.setdefault("numpy_ml.rl_models", np)  # reinforcement learning, whose import needs a game library

from numpy_ml.neural_nets.layers import BatchNorm1D, BatchNorm2D  # noqa: E402

NAME = "numpy-ml"
CONVENTION = "numpy-ml"


class BatchNorm:
    """The layer that fits the rank of x: 2 or 4."""

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a trainable layer."""
        layer = _layer(x, gamma, beta, running_mean, running_var, momentum, eps)
        y = _first(layer.forward(_last(x)))
        return y, layer.parameters["running_mean"], layer.parameters["running_var"], (layer, gamma, beta)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a frozen layer."""
        layer = _layer(x, gamma, beta, running_mean, running_var, 0.9, eps)
        layer.freeze()
        return _first(layer.forward(_last(x), retain_derived=False))

    def backward(self, dy: Any, cache: Any) -> tuple[Any, Any, Any]:
        """Call the layer's backward on gradients set to zero."""
        layer, gamma, beta = cache
        layer.gradients = {name: np.zeros_like(layer.parameters[name]) for name in ("scaler", "intercept")}
        dx = _first(layer.backward(_last(dy)))
        found = layer.gradients["scaler"], layer.gradients["intercept"]
        return dx, *(None if p is None else g.reshape(-1) for p, g in zip((gamma, beta), found, strict=True))

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step; its scaler is random at first and is divided out."""
        given = {k: v for k, v in (("momentum", momentum), ("epsilon", eps)) if v is not None}
        layer = (BatchNorm1D if x.ndim == 2 else BatchNorm2D)(**given)
        y = layer.forward(_last(x)) / layer.parameters["scaler"]
        return _first(y), layer.parameters["running_mean"], layer.parameters["running_var"]


def _layer(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
    layer = {2: BatchNorm1D, 4: BatchNorm2D}[x.ndim](momentum, eps)
    layer.in_ch = layer.out_ch = layer.n_in = layer.n_out = x.shape[1]
    layer._init_params()
    scaler = np.ones_like(mean) if gamma is None else gamma
    intercept = np.zeros_like(mean) if beta is None else beta
    layer.parameters = {"scaler": scaler, "intercept": intercept, "running_mean": mean, "running_var": var}
    return layer


def _last(x: Any) -> Any:
    return np.moveaxis(x, 1, -1)


def _first(x: Any) -> Any:
    return np.moveaxis(x, -1, 1)


def version() -> str:
    """Version of numpy-ml."""
    return f"numpy-ml {version_of('numpy-ml')}"


def paths() -> dict[str, object]:
    """One path."""
    return {"": BatchNorm()}
