"""Read CS231n's signatures, batchnorm_forward and batchnorm_backward, as an implementation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class CS231n:
    """A module written to CS231n's signatures, seen as an implementation.

    ``batchnorm_forward(x, gamma, beta, bn_param) -> out, cache`` and ``batchnorm_backward(dout, cache)``; the running
    statistics live in ``bn_param``. Absent parameters are passed as ones and zeros; what is missing is not offered. The
    assignment computes in one format, float64 or float32, so half and mixed precision are not judged.
    """

    dtypes = ("float64", "float32")
    mixed = False

    def __init__(self, module: Any) -> None:
        self._module = module

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call batchnorm_forward in mode "train"."""
        gamma, beta = _affine(x, gamma, beta, running_mean)
        parameters = {"mode": "train", "eps": eps, "momentum": momentum}
        parameters |= {"running_mean": running_mean.copy(), "running_var": running_var.copy()}
        y, cache = self._module.batchnorm_forward(x, gamma, beta, parameters)
        return y, parameters["running_mean"], parameters["running_var"], cache

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call batchnorm_forward in mode "test"."""
        gamma, beta = _affine(x, gamma, beta, running_mean)
        parameters = {
            "mode": "test",
            "eps": eps,
            "running_mean": running_mean.copy(),
            "running_var": running_var.copy(),
        }
        return self._module.batchnorm_forward(x, gamma, beta, parameters)[0]

    def __getattr__(self, name: str) -> Any:
        """Offer ``backward`` if the module has batchnorm_backward."""
        if name == "backward" and hasattr(self._module, "batchnorm_backward"):
            return self._module.batchnorm_backward
        raise AttributeError(name)


def paths_of(module: Any) -> dict[str, CS231n]:
    """Return the assignment's paths: with its simplified backward, where there is one, as a second."""
    alternative = getattr(module, "batchnorm_backward_alt", None)
    if alternative is None:
        return {"": CS231n(module)}
    second = SimpleNamespace(batchnorm_forward=module.batchnorm_forward, batchnorm_backward=alternative)
    return {"backward": CS231n(module), "backward_alt": CS231n(second)}


def _affine(x: Any, gamma: Any, beta: Any, like: Any) -> tuple[Any, Any]:
    gamma = like * 0 + 1 if gamma is None else gamma
    return gamma, like * 0 if beta is None else beta
