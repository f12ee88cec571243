"""refnorm's own functions on trial like any other: widening, one rounding per result, unbiased running variance."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

import refnorm
from refnorm._array import FORMATS, Array, ieee, round_once
from refnorm.golden.rule import cast

NAME = "refnorm"
CONVENTION = "torch"


class Tape(NamedTuple):
    """The derivatives that belong to a forward, and the dtypes of their parameters (None: no such parameter)."""

    backward: Callable[[Array], tuple[Array, Array, Array]]
    jvp: Callable[..., Array]
    double_backward: Callable[..., tuple[Array, Array, Array]]
    gamma_dtype: Any
    beta_dtype: Any


class Reference:
    """refnorm on arrays of one library, to and from which ``from_numpy`` and ``to_numpy`` convert."""

    def __init__(
        self, from_numpy: Callable[[Any], Array] = np.asarray, to_numpy: Callable[[Array], Any] = np.asarray
    ) -> None:
        self._from_numpy = from_numpy
        self._to_numpy = to_numpy
        self.dtypes = tuple(name for name in FORMATS if self._takes(name))

    def _takes(self, name: str) -> bool:
        """Whether arrays of a format make the way to the library and back."""
        if name == "bfloat16" and not find_spec("ml_dtypes"):
            return False
        one = cast(np.ones((2, 1)), name)
        try:
            return bool(self._to_numpy(refnorm.batch_norm_training(self._from_numpy(one))[0]).dtype == one.dtype)
        except (TypeError, ValueError, RuntimeError):  # each library refuses in its own way
            return False

    def _arrays(self, *arrays: Any) -> list[Array]:
        return [None if array is None else self._from_numpy(array) for array in arrays]

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, Tape]:
        """Normalise by the batch and move the running statistics; m = 1 raises, as a corrected variance must."""
        x, own_gamma, own_beta, mean, var = self._arrays(x, gamma, beta, running_mean, running_var)
        y, saved = refnorm.batch_norm_training(x, own_gamma, own_beta, eps=eps)
        mean, var = refnorm.update_running(mean, var, saved.statistics, momentum=momentum)
        derivatives = (
            partial(refnorm.batch_norm_training_backward, saved=saved),
            partial(refnorm.batch_norm_training_jvp, saved=saved),
            partial(refnorm.batch_norm_training_double_backward, saved=saved),
        )
        tape = Tape(*derivatives, _dtype(gamma), _dtype(beta))
        return self._to_numpy(y), self._to_numpy(mean), self._to_numpy(var), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Normalise by running statistics."""
        x, gamma, beta, mean, var = self._arrays(x, gamma, beta, running_mean, running_var)
        return self._to_numpy(refnorm.batch_norm_inference(x, mean, var, gamma, beta, eps=eps))

    def frozen(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float
    ) -> tuple[Any, Tape]:
        """Infer, and keep what `backward` needs to treat the statistics as constants."""
        y = self.infer(x, gamma, beta, running_mean, running_var, eps)
        x, own_gamma, mean, var = self._arrays(x, gamma, running_mean, running_var)
        given = {"x": x, "running_mean": mean, "running_var": var, "gamma": own_gamma, "eps": eps}
        derivatives = (
            partial(refnorm.batch_norm_inference_backward, **given),
            partial(refnorm.batch_norm_inference_jvp, **given),
            partial(refnorm.batch_norm_inference_double_backward, **given),
        )
        return y, Tape(*derivatives, _dtype(gamma), _dtype(beta))

    @ieee
    def backward(self, dy: Any, cache: Tape) -> tuple[Any, Any, Any]:
        """Return gradients in the dtypes of their variables; None for a parameter that was None."""
        dx, dgamma, dbeta = (self._to_numpy(gradient) for gradient in cache.backward(self._from_numpy(dy)))
        return dx, _round(dgamma, cache.gamma_dtype), _round(dbeta, cache.beta_dtype)

    @ieee
    def jvp(self, dx: Any, dgamma: Any, dbeta: Any, cache: Tape) -> Any:
        """Return how y moves when x, gamma and beta move."""
        return self._to_numpy(cache.jvp(*self._arrays(dx, dgamma, dbeta)))

    @ieee
    def double_backward(self, ddx: Any, ddgamma: Any, ddbeta: Any, dy: Any, cache: Tape) -> tuple[Any, Any, Any]:
        """Return gradients with respect to dy, x and gamma, None for a gamma that was None."""
        results = cache.double_backward(*self._arrays(ddx, ddgamma, ddbeta, dy))
        ddy, dx, dgamma = (self._to_numpy(result) for result in results)
        return ddy, dx, _round(dgamma, cache.gamma_dtype)


def _dtype(parameter: Any) -> Any:
    return getattr(parameter, "dtype", None)


def _round(gradient: Any, dtype: Any) -> Any:
    return None if dtype is None else round_once(np, gradient, dtype)


def version() -> str:
    """Versions of refnorm and of the array library."""
    return f"refnorm {refnorm.__version__} (numpy {np.__version__})"


def paths() -> dict[str, object]:
    """One path: refnorm on NumPy arrays."""
    return {"": Reference()}


def paths_on(library: str) -> dict[str, object]:
    """One path: refnorm on arrays of another library (array_api_strict, cupy, dask.array, jax.numpy, torch)."""
    xp = importlib.import_module(library)
    if library == "cupy":
        return {library: Reference(xp.asarray, xp.asnumpy)}
    return {library: Reference(lambda array: xp.asarray(array.copy()), np.asarray)}  # torch has no negative strides
