"""Haiku's batch normalization: zero-debiased moving averages, judged as they stand after one earlier step.

Measured: ``hk.BatchNorm`` with channels first. Its state holds, beside each average, the undebiased one and a counter;
given running statistics are put there as the outcome of one step (counter 1, hidden = average (1 - decay)).
"""

from __future__ import annotations

from typing import Any

import haiku
import jax.numpy as jnp
import numpy as np

from refnorm.frameworks.jax import versions
from refnorm.oracle.ask.doors.in_jax import InJax

NAME = "haiku"
CONVENTION = "haiku"


def _module(momentum: float, eps: float, scale: bool, offset: bool, training: bool) -> Any:
    def call(x: Any) -> Any:
        layer = haiku.BatchNorm(scale, offset, momentum, eps, data_format="channels_first", name="bn")
        return layer(x, is_training=training)

    return haiku.without_apply_rng(haiku.transform_with_state(call))


class BatchNorm(InJax):
    """``haiku.BatchNorm``."""

    def apply(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Apply the transformed layer to parameters and state made of the arguments."""
        module = _module(momentum, eps, gamma is not None, beta is not None, training)
        shape = (1, -1, *[1] * (x.ndim - 2))
        given = {"scale": gamma, "offset": beta}
        parameters = {"bn": {name: value.reshape(shape) for name, value in given.items() if value is not None}}
        state = {
            f"bn/~/{name}_ema": {
                "average": value.reshape(shape),
                "hidden": (value * (1 - momentum)).reshape(shape),
                "counter": jnp.asarray(1, jnp.int32),
            }
            for name, value in (("mean", mean), ("var", var))
        }
        y, moved = module.apply(parameters, state, x)
        return y, *(moved[f"bn/~/{name}_ema"]["average"].reshape(-1) for name in ("mean", "var"))

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step; haiku has no default decay, its examples use 0.9."""
        module = _module(0.9 if momentum is None else momentum, 1e-5 if eps is None else eps, True, True, True)
        x = jnp.asarray(x)
        parameters, state = module.init(None, x)
        y, moved = module.apply(parameters, state, x)
        mean, var = (np.ravel(moved[f"bn/~/{name}_ema"]["average"]) for name in ("mean", "var"))
        return np.asarray(y), mean, var


def version() -> str:
    """Versions of haiku and jax."""
    return versions("dm-haiku")


def paths() -> dict[str, object]:
    """One layer."""
    return {"": BatchNorm()}
