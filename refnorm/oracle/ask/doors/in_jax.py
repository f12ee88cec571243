"""What is written in JAX: float64 switched on, derivatives by JAX's own vjp and jvp, compiled once for each shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
HASTE = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}


class JaxTape(NamedTuple):
    """A call to differentiate: y as a function of x, gamma and beta, where it was called, and the vjp there."""

    forward: Callable[..., Any]
    leaves: tuple[Any, ...]
    vjp: Callable[[Any], Any]


class InJax:
    """A batch normalization in JAX; ``apply`` is what each adds."""

    derives = "JAX's vjp"
    dtypes = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))

    def apply(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Return y, running mean and running variance."""
        raise NotImplementedError

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, JaxTape]:
        """Call in training mode, recording the call."""
        y, mean, var, tape = self._record(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return np.asarray(y), array_or_none(mean), array_or_none(var), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        x, gamma, beta, mean, var = map(_own, (x, gamma, beta, running_mean, running_var))
        return np.asarray(self.apply(x, gamma, beta, mean, var, 0.5, eps, False)[0])

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode, recording for `backward`."""
        y, _, _, tape = self._record(x, gamma, beta, running_mean, running_var, 0.5, eps, False)
        return np.asarray(y), tape

    def backward(self, dy: Any, cache: JaxTape) -> tuple[Any, ...]:
        """Pull dy, in the dtype of y, back through the recorded call."""
        return tuple(map(array_or_none, cache.vjp(jnp.asarray(dy))))

    def jvp(self, dx: Any, dgamma: Any, dbeta: Any, cache: JaxTape) -> Any:
        """Push a direction forward through the recorded call."""
        return np.asarray(jax.jvp(cache.forward, cache.leaves, tuple(map(_own, (dx, dgamma, dbeta))))[1])

    def double_backward(self, ddx: Any, ddgamma: Any, ddbeta: Any, dy: Any, cache: JaxTape) -> tuple[Any, ...]:
        """Pull the gradients of the gradients back through the vjp of the recorded call."""
        y = jax.eval_shape(cache.forward, *cache.leaves)

        def backward(dy: Any, *leaves: Any) -> Any:
            return jax.vjp(cache.forward, *leaves)[1](dy.astype(y.dtype))

        moves = tuple(map(_own, (ddx, ddgamma, ddbeta)))
        return tuple(map(array_or_none, jax.vjp(backward, jnp.asarray(dy), *cache.leaves)[1](moves)[:3]))

    def _record(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
        x, gamma, beta, mean, var = map(_own, (x, gamma, beta, mean, var))

        def forward(x: Any, gamma: Any, beta: Any) -> Any:
            y, *moved = self.apply(x, gamma, beta, mean, var, momentum, eps, on)
            return y, moved

        y, vjp, (mean, var) = jax.vjp(forward, x, gamma, beta, has_aux=True)
        tape = JaxTape(lambda *leaves: forward(*leaves)[0], (x, gamma, beta), lambda dy: vjp(dy.astype(y.dtype)))
        return y, mean, var, tape


class Recorded(NamedTuple):
    """A call to differentiate: whether it trains, with the settings that it is compiled for, and what with."""

    on: tuple[Any, ...]
    given: tuple[Any, ...]


class Compiled(InJax):
    """A batch normalization in JAX that is compiled for each shape and format, once for all cases that have them.

    ``spared`` are the formats that are tried where they are asked for: plain code does not claim half precision.
    """

    dtypes: tuple[str, ...] = ("float64", "float32")
    spared = InJax.dtypes[2:]
    sparing = True

    constant: frozenset[str] = frozenset()  # which of eps and momentum are numbers to the compiler: for each anew

    def __init__(self) -> None:
        static = (0,)
        self._forward, self._backward, self._along, self._twice = (
            jax.jit(f, static_argnums=static, **in_haste())
            for f in (self._out, self._gradients, self._tangent, self._second)
        )

    def _call(self, on: bool, arrays: Any, momentum: float, eps: float) -> Recorded:
        """Return a call: what is compiled for is its first part, and hashable."""
        settings = {"momentum": momentum, "eps": eps}
        fixed = tuple((name, value) for name, value in settings.items() if name in self.constant)
        given = (*map(_own, arrays), *(None if name in self.constant else v for name, v in settings.items()))
        return Recorded((on, *fixed), given)

    def _out(self, on: tuple[Any, ...], given: Any) -> Any:
        x, gamma, beta, mean, var, momentum, eps = given
        settings = {"momentum": momentum, "eps": eps} | dict(on[1:])
        return self.apply(x, gamma, beta, mean, var, settings["momentum"], settings["eps"], on[0])

    def _of(self, on: tuple[Any, ...], given: Any) -> Callable[..., Any]:
        return lambda x, gamma, beta: self._out(on, (x, gamma, beta, *given[3:]))[0]

    def _gradients(self, on: tuple[Any, ...], given: tuple[Any, ...], dy: Any) -> Any:
        y, vjp = jax.vjp(self._of(on, given), *given[:3])
        return vjp(dy.astype(y.dtype))

    def _tangent(self, on: tuple[Any, ...], given: tuple[Any, ...], moves: tuple[Any, ...]) -> Any:
        return jax.jvp(self._of(on, given), given[:3], moves)[1]

    def _second(self, on: tuple[Any, ...], given: tuple[Any, ...], moves: tuple[Any, ...], dy: Any) -> Any:
        def backward(dy: Any, *leaves: Any) -> Any:
            return self._gradients(on, (*leaves, *given[3:]), dy)

        return jax.vjp(backward, dy, *given[:3])[1](moves)[:3]

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call in training mode; the cache is what it was called with."""
        call = self._call(True, (x, gamma, beta, running_mean, running_var), momentum, eps)
        return *map(array_or_none, self._forward(*call)), call

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode; the cache is what it was called with."""
        call = self._call(False, (x, gamma, beta, running_mean, running_var), 0.5, eps)
        return np.asarray(self._forward(*call)[0]), call

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Pull dy, in the dtype of y, back through the recorded call."""
        return tuple(map(array_or_none, self._backward(*cache, jnp.asarray(dy))))

    def jvp(self, dx: Any, dgamma: Any, dbeta: Any, cache: Any) -> Any:
        """Push a direction forward through the recorded call."""
        return np.asarray(self._along(*cache, tuple(map(_own, (dx, dgamma, dbeta)))))

    def double_backward(self, ddx: Any, ddgamma: Any, ddbeta: Any, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Pull the gradients of the gradients back through the vjp of the recorded call."""
        moves = tuple(map(_own, (ddx, ddgamma, ddbeta)))
        return tuple(map(array_or_none, self._twice(*cache, moves, jnp.asarray(dy))))


@cache
def in_haste() -> dict[str, Any]:
    """Return options of `jax.jit` with which XLA compiles in a third of its time; none where it does not know them.

    They choose among its generators of code for the CPU. A trial calls what it compiles a few times, on few numbers.
    """
    try:
        jax.jit(lambda x: x + 1, compiler_options=HASTE)(0.0)
    except Exception:  # of another version: it says so in its own way
        return {}
    return {"compiler_options": HASTE}


def _own(array: Any) -> Any:
    return None if array is None else jnp.asarray(array)


def array_or_none(value: Any) -> Any:
    """Return an array of NumPy's; None stays None."""
    return None if value is None else np.asarray(value)
