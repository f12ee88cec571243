"""Flax's batch normalization, Linen and NNX, each with the one-pass ("fast") and the two-pass variance.

Measured: ``axis=1``, the statistics collection as the layer returns it, and what a new layer starts from.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from refnorm.frameworks.jax import versions
from refnorm.oracle.ask.doors.in_jax import InJax

NAME = "flax"
CONVENTION = "flax"


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


class Linen(InJax):
    """``flax.linen.BatchNorm``."""

    def __init__(self, fast: bool) -> None:
        self.fast = fast

    def apply(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Apply the module to variables made of the arguments."""
        module = linen.BatchNorm(
            not training, axis=1, momentum=momentum, epsilon=eps, dtype=x.dtype, param_dtype=mean.dtype,
            use_scale=gamma is not None, use_bias=beta is not None, use_fast_variance=self.fast,
        )  # fmt: skip
        variables = {"params": _given(scale=gamma, bias=beta), "batch_stats": {"mean": mean, "var": var}}
        y, moved = module.apply(variables, x, mutable=["batch_stats"])
        return y, moved["batch_stats"]["mean"], moved["batch_stats"]["var"]

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new module for one step."""
        options = _given(momentum=momentum, epsilon=eps)
        module = linen.BatchNorm(use_running_average=False, axis=1, use_fast_variance=self.fast, **options)
        y, moved = module.apply(module.init(jax.random.key(0), x), x, mutable=["batch_stats"])
        mean, var = (np.asarray(moved["batch_stats"][name]) for name in ("mean", "var"))
        return np.asarray(y), mean, var


class NNX(Linen):
    """``flax.nnx.BatchNorm``."""

    def apply(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Build a module, put the arguments in, call it."""
        module = nnx.BatchNorm(
            mean.shape[0], use_running_average=not training, axis=1, momentum=momentum, epsilon=eps, dtype=x.dtype,
            param_dtype=mean.dtype, use_scale=gamma is not None, use_bias=beta is not None,
            use_fast_variance=self.fast, rngs=nnx.Rngs(0),
        )  # fmt: skip
        variables = (module.scale, module.bias, module.mean, module.var)
        for variable, value in zip(variables, (gamma, beta, mean, var), strict=True):
            if value is not None:
                variable.set_value(value)
        y = module(x)
        return y, module.mean.get_value(), module.var.get_value()

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new module for one step."""
        options = _given(momentum=momentum, epsilon=eps)
        module = nnx.BatchNorm(x.shape[1], axis=1, use_fast_variance=self.fast, rngs=nnx.Rngs(0), **options)
        y = module(jnp.asarray(x))
        return np.asarray(y), np.asarray(module.mean.get_value()), np.asarray(module.var.get_value())


def version() -> str:
    """Versions of flax and jax."""
    return versions("flax")


def paths() -> dict[str, object]:
    """Two modules, each with both ways to the variance."""
    kinds = {"linen": Linen, "nnx": NNX}
    return {f"{k}, {v}": kinds[k](v == "fast") for k in kinds for v in ("fast", "two-pass")}
