"""What the frameworks on JAX have in common here: float64 switched on, derivatives by JAX's own vjp and jvp."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as version_of
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


class Tape(NamedTuple):
    """A call to differentiate: y as a function of x, gamma and beta, where it was called, and the vjp there."""

    forward: Callable[..., Any]
    leaves: tuple[Any, ...]
    vjp: Callable[[Any], Any]


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
    ) -> tuple[Any, Any, Any, Tape]:
        """Call in training mode, recording the call."""
        y, mean, var, tape = self._record(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return np.asarray(y), np.asarray(mean), np.asarray(var), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        x, gamma, beta, mean, var = (
            None if a is None else jnp.asarray(a) for a in (x, gamma, beta, running_mean, running_var)
        )
        return np.asarray(self.apply(x, gamma, beta, mean, var, 0.5, eps, False)[0])

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode, recording for `backward`."""
        y, _, _, tape = self._record(x, gamma, beta, running_mean, running_var, 0.5, eps, False)
        return np.asarray(y), tape

    def backward(self, dy: Any, cache: Tape) -> tuple[Any, ...]:
        """Pull dy, in the dtype of y, back through the recorded call."""
        return tuple(None if gradient is None else np.asarray(gradient) for gradient in cache.vjp(jnp.asarray(dy)))

    def jvp(self, dx: Any, dgamma: Any, dbeta: Any, cache: Tape) -> Any:
        """Push a direction forward through the recorded call."""
        moves = tuple(None if d is None else jnp.asarray(d) for d in (dx, dgamma, dbeta))
        return np.asarray(jax.jvp(cache.forward, cache.leaves, moves)[1])

    def double_backward(self, ddx: Any, ddgamma: Any, ddbeta: Any, dy: Any, cache: Tape) -> tuple[Any, ...]:
        """Pull the gradients of the gradients back through the vjp of the recorded call."""
        y = jax.eval_shape(cache.forward, *cache.leaves)

        def backward(dy: Any, *leaves: Any) -> Any:
            return jax.vjp(cache.forward, *leaves)[1](dy.astype(y.dtype))

        moves = tuple(None if d is None else jnp.asarray(d) for d in (ddx, ddgamma, ddbeta))
        results = jax.vjp(backward, jnp.asarray(dy), *cache.leaves)[1](moves)
        return tuple(None if result is None else np.asarray(result) for result in results[:3])

    def _record(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        x, gamma, beta, mean, var = (None if a is None else jnp.asarray(a) for a in (x, gamma, beta, mean, var))

        def forward(x: Any, gamma: Any, beta: Any) -> Any:
            y, *moved = self.apply(x, gamma, beta, mean, var, momentum, eps, on)
            return y, moved

        y, vjp, (mean, var) = jax.vjp(forward, x, gamma, beta, has_aux=True)
        tape = Tape(lambda *leaves: forward(*leaves)[0], (x, gamma, beta), lambda dy: vjp(dy.astype(y.dtype)))
        return y, mean, var, tape


def versions(*names: str) -> str:
    """Return the versions of packages, and of jax."""
    return ", ".join(f"{name} {version_of(name)}" for name in (*names, "jax"))
