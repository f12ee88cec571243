"""Read CS231n's signatures, batchnorm_forward and batchnorm_backward, and its spatial pair, as an implementation."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.names import role_of

SPATIAL = "spatial_"
FORWARD, BACKWARD = "batchnorm_forward", "batchnorm_backward"


class CS231n:
    """A module written to CS231n's signatures, seen as an implementation.

    ``batchnorm_forward(x, gamma, beta, bn_param) -> out, cache`` and ``batchnorm_backward(dout, cache)``; the running
    statistics live in ``bn_param``. For x of rank 4 the same with ``spatial_`` before their names, where there is such
    a function. Absent parameters are passed as ones and zeros; what is missing is not offered. The assignment computes
    in one format, float64 or float32, so half and mixed precision are not judged.
    """

    dtypes = ("float64", "float32")
    mixed = False
    convention = "cs231n"

    def __init__(self, module: Any) -> None:
        self._module = module
        self._spatial = hasattr(module, SPATIAL + FORWARD) and self._written(SPATIAL + FORWARD)
        self.ranks = (2, 4) if self._spatial else (2,)
        names = [n for p in ("", *([SPATIAL] if self._spatial else [])) for n in (p + FORWARD, p + BACKWARD)]
        self.reading = f"read as CS231n: {', '.join(n for n in names if hasattr(module, n))}"
        if hasattr(module, SPATIAL + FORWARD) and not self._spatial:
            self.reading += f"; {SPATIAL}{FORWARD} raises NotImplementedError: not offered"

    def _written(self, name: str) -> bool:
        """Whether a function is there to be judged: one that raises NotImplementedError is not."""
        parameters = {"mode": "train", "eps": 1e-5, "momentum": 0.5}
        parameters |= {"running_mean": np.zeros(3), "running_var": np.ones(3)}
        try:
            getattr(self._module, name)(np.arange(24.0).reshape(2, 3, 2, 2), np.ones(3), np.zeros(3), parameters)
        except NotImplementedError:
            return False
        except Exception:  # what it raises is judged when it is asked
            return True
        return True

    def _called(self, x: Any, gamma: Any, beta: Any, parameters: dict[str, Any]) -> Any:
        prefix = SPATIAL if np.ndim(x) == 4 and self._spatial else ""
        y, cache = getattr(self._module, prefix + FORWARD)(x, gamma, beta, parameters)
        return y, (prefix, cache)

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call batchnorm_forward in mode "train"."""
        gamma, beta = _affine(gamma, beta, running_mean)
        parameters = {"mode": "train", "eps": eps, "momentum": momentum}
        parameters |= {"running_mean": running_mean.copy(), "running_var": running_var.copy()}
        y, cache = self._called(x, gamma, beta, parameters)
        return y, parameters["running_mean"], parameters["running_var"], cache

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call batchnorm_forward in mode "test"."""
        gamma, beta = _affine(gamma, beta, running_mean)
        parameters = {"mode": "test", "eps": eps}
        parameters |= {"running_mean": running_mean.copy(), "running_var": running_var.copy()}
        return self._called(x, gamma, beta, parameters)[0]

    def __getattr__(self, name: str) -> Any:
        """Offer ``backward`` if the module has batchnorm_backward."""
        if name == "backward" and hasattr(self._module, BACKWARD):
            return self._backward
        raise AttributeError(name)

    def _backward(self, dy: Any, cache: Any) -> Any:
        prefix, saved = cache
        return getattr(self._module, prefix + BACKWARD)(dy, saved)


def is_cs231n(module: Any) -> bool:
    """Whether a module has the assignment's forward: four parameters, of which the last is its dictionary."""
    forward = getattr(module, FORWARD, None)
    if not callable(forward):
        return False
    try:
        parameters = list(inspect.signature(forward).parameters)
    except (TypeError, ValueError):
        return True
    return len(parameters) == 4 and role_of(parameters[3]) in ("state", "params", "")


def paths_of(module: Any) -> dict[str, CS231n]:
    """Return the assignment's paths: with its simplified backward, where there is one, as a second."""
    alternative = getattr(module, "batchnorm_backward_alt", None)
    if alternative is None:
        return {"": CS231n(module)}
    second = SimpleNamespace(batchnorm_forward=module.batchnorm_forward, batchnorm_backward=alternative)
    return {"backward": CS231n(module), "backward_alt": CS231n(second)}


def _affine(gamma: Any, beta: Any, like: Any) -> tuple[Any, Any]:
    gamma = like * 0 + 1 if gamma is None else gamma
    return gamma, like * 0 if beta is None else beta
