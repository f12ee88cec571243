"""What the frameworks on JAX have in common here: float64 switched on, gradients by JAX's own vjp."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as version_of
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


class Layer:
    """A batch normalization layer; ``apply`` is what each framework adds."""

    dtypes = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))

    def apply(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Return y, running mean and running variance."""
        raise NotImplementedError

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, Callable[[Any], Any]]:
        """Call in training mode; the cache is the vjp."""
        y, mean, var, vjp = self._record(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return np.asarray(y), np.asarray(mean), np.asarray(var), vjp

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        x, gamma, beta, mean, var = (
            None if a is None else jnp.asarray(a) for a in (x, gamma, beta, running_mean, running_var)
        )
        return np.asarray(self.apply(x, gamma, beta, mean, var, 0.5, eps, False)[0])

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode, recording for `backward`."""
        y, _, _, vjp = self._record(x, gamma, beta, running_mean, running_var, 0.5, eps, False)
        return np.asarray(y), vjp

    def backward(self, dy: Any, cache: Callable[[Any], Any]) -> tuple[Any, ...]:
        """Pull dy, in the dtype of y, back through the recorded call."""
        return tuple(None if gradient is None else np.asarray(gradient) for gradient in cache(jnp.asarray(dy)))

    def _record(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        x, gamma, beta, mean, var = (None if a is None else jnp.asarray(a) for a in (x, gamma, beta, mean, var))

        def forward(x: Any, gamma: Any, beta: Any) -> Any:
            y, *moved = self.apply(x, gamma, beta, mean, var, momentum, eps, on)
            return y, moved

        y, vjp, (mean, var) = jax.vjp(forward, x, gamma, beta, has_aux=True)
        return y, mean, var, lambda dy: vjp(dy.astype(y.dtype))


def versions(*names: str) -> str:
    """Return the versions of packages, and of jax."""
    return ", ".join(f"{name} {version_of(name)}" for name in (*names, "jax"))
