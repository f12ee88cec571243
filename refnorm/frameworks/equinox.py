"""Equinox's batch normalization in its two modes, under vmap with a named axis, as its users call it.

Measured: ``eqx.nn.BatchNorm``; its parameters come in pairs, so a missing gamma or beta is one or zero.
"""

from __future__ import annotations

from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np

from refnorm.frameworks.jax import versions
from refnorm.oracle.ask.doors.in_jax import InJax

NAME = "equinox"
CONVENTION = "equinox"


class BatchNorm(InJax):
    """``equinox.nn.BatchNorm`` in one mode."""

    mixed = False

    def __init__(self, mode: str, convention: str) -> None:
        self.mode, self.convention = mode, convention

    def apply(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Put the arguments into a layer and its state, as they stand after an earlier step."""
        layer, state = equinox.nn.make_with_state(equinox.nn.BatchNorm)(
            mean.shape[0], "batch", eps, True, momentum, dtype=mean.dtype, mode=self.mode
        )
        pair = (jnp.ones_like(mean) if gamma is None else gamma, jnp.zeros_like(mean) if beta is None else beta)
        layer = equinox.tree_at(lambda bn: (bn.weight, bn.bias), layer, pair)
        return self._step(layer, self._placed(layer, state, mean, var, momentum), x, training)

    def _placed(self, layer: Any, state: Any, mean: Any, var: Any, momentum: float) -> Any:
        if self.mode == "ema":
            state = state.set(layer.ema_first_time_index, jnp.array(False))
            return state.set(layer.ema_state_index, (mean, var))
        # After one step the state holds sums that are debiased by 1 - momentum^1 when they are read.
        state = state.set(layer.batch_counter, jnp.array(1))
        return state.set(layer.batch_state_index, (mean * (1 - momentum), var * (1 - momentum)))

    def _step(self, layer: Any, state: Any, x: Any, training: bool) -> tuple[Any, Any, Any]:
        layer = equinox.nn.inference_mode(layer, not training)
        y, state = jax.vmap(layer, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)
        if self.mode == "ema":
            return y, *state.get(layer.ema_state_index)
        debias = 1 - layer.momentum ** state.get(layer.batch_counter)
        return y, *(sums / debias for sums in state.get(layer.batch_state_index))

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new layer for one step."""
        given = {k: v for k, v in (("momentum", momentum), ("eps", eps)) if v is not None}
        make = equinox.nn.make_with_state(equinox.nn.BatchNorm)
        layer, state = make(x.shape[1], "batch", dtype=x.dtype, mode=self.mode, **given)
        y, mean, var = self._step(layer, state, jnp.asarray(x), True)
        return np.asarray(y), np.asarray(mean), np.asarray(var)


def version() -> str:
    """Versions of equinox and jax."""
    return versions("equinox")


def paths() -> dict[str, object]:
    """Both modes."""
    return {"mode batch": BatchNorm("batch", "equinox"), "mode ema": BatchNorm("ema", "equinox-ema")}
