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


class Call(NamedTuple):
    """A call, to be differentiated perhaps: whether it trains, with the settings that are constants; and what with."""

    on: tuple[Any, ...]
    given: tuple[Any, ...]


class InJax:
    """A batch normalization in JAX; ``apply`` is what each adds.

    ``constant`` says which of eps and momentum are Python's numbers, and no arrays.
    """

    derives = "JAX's vjp"
    dtypes: tuple[str, ...] = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))
    constant = frozenset(("eps", "momentum"))

    def apply(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Return y, running mean and running variance."""
        raise NotImplementedError

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call in training mode; the cache is what it was called with."""
        call = self._call(True, (x, gamma, beta, running_mean, running_var), momentum, eps)
        return *map(array_or_none, self._run(self._results, *call)), call

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode; the cache is what it was called with."""
        call = self._call(False, (x, gamma, beta, running_mean, running_var), 0.5, eps)
        return np.asarray(self._run(self._results, *call)[0]), call

    def backward(self, dy: Any, cache: Call) -> tuple[Any, ...]:
        """Pull dy, in the dtype of y, back through the recorded call."""
        return tuple(map(array_or_none, self._run(self._gradients, *cache, jnp.asarray(dy))))

    def jvp(self, dx: Any, dgamma: Any, dbeta: Any, cache: Call) -> Any:
        """Push a direction forward through the recorded call."""
        return np.asarray(self._run(self._tangent, *cache, tuple(map(_own, (dx, dgamma, dbeta)))))

    def double_backward(self, ddx: Any, ddgamma: Any, ddbeta: Any, dy: Any, cache: Call) -> tuple[Any, ...]:
        """Pull the gradients of the gradients back through the vjp of the recorded call."""
        moves = tuple(map(_own, (ddx, ddgamma, ddbeta)))
        return tuple(map(array_or_none, self._run(self._second, *cache, moves, jnp.asarray(dy))))

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call one of the functions below."""
        return function(*arguments)

    def _call(self, on: bool, arrays: Any, momentum: float, eps: float) -> Call:
        """Return a call: what is constant is in its first part, and hashable."""
        settings = {"momentum": momentum, "eps": eps}
        fixed = tuple((name, value) for name, value in settings.items() if name in self.constant)
        given = (*map(_own, arrays), *(None if name in self.constant else v for name, v in settings.items()))
        return Call((on, *fixed), given)

    def _results(self, on: tuple[Any, ...], given: Any) -> Any:
        x, gamma, beta, mean, var, momentum, eps = given
        settings = {"momentum": momentum, "eps": eps} | dict(on[1:])
        return self.apply(x, gamma, beta, mean, var, settings["momentum"], settings["eps"], on[0])

    def _of(self, on: tuple[Any, ...], given: Any) -> Callable[..., Any]:
        return lambda x, gamma, beta: self._results(on, (x, gamma, beta, *given[3:]))[0]

    def _gradients(self, on: tuple[Any, ...], given: tuple[Any, ...], dy: Any) -> Any:
        y, vjp = jax.vjp(self._of(on, given), *given[:3])
        return vjp(dy.astype(y.dtype))

    def _tangent(self, on: tuple[Any, ...], given: tuple[Any, ...], moves: tuple[Any, ...]) -> Any:
        return jax.jvp(self._of(on, given), given[:3], moves)[1]

    def _second(self, on: tuple[Any, ...], given: tuple[Any, ...], moves: tuple[Any, ...], dy: Any) -> Any:
        def backward(dy: Any, *leaves: Any) -> Any:
            return self._gradients(on, (*leaves, *given[3:]), dy)

        return jax.vjp(backward, dy, *given[:3])[1](moves)[:3]


class Compiled(InJax):
    """A batch normalization in JAX that is compiled for each shape and format, once for all cases that have them.

    ``spared`` are the formats that are tried where they are asked for: plain code does not claim half precision. What
    is ``constant`` is compiled for anew with each value.
    """

    dtypes = InJax.dtypes[:2]
    spared = InJax.dtypes[2:]
    sparing = True
    constant: frozenset[str] = frozenset()

    def __init__(self) -> None:
        functions = (self._results, self._gradients, self._tangent, self._second)
        self._compiled = {f.__name__: jax.jit(f, static_argnums=(0,), **in_haste()) for f in functions}

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._compiled[function.__name__](*arguments)


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
