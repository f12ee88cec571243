"""TensorFlow.js in Node.js: ``tf.layers.batchNormalization`` on its back ends in JavaScript and in WebAssembly.

Measured: x moved to channels last, as the layer wants it; gradients by ``tf.variableGrads``, through a second call. All
there is float32. Node and the packages of ``requirements/tfjs-npm.json`` must be there: `refnorm matrix` puts them into
its environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from refnorm.frameworks.conversation import node, package_version

NAME = "tfjs"
CONVENTION = "tfjs"
PACKAGE, BACKENDS = "@tensorflow/tfjs", ("cpu", "wasm")
PROGRAM = node(PACKAGE, Path(__file__).with_suffix(".mjs"))


class BatchNormalization:
    """``tf.layers.batchNormalization`` on one back end."""

    dtypes = ("float32",)

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call a layer in training mode."""
        given = self._given(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        y, mean, var = PROGRAM.ask(**given)
        return np.moveaxis(y, -1, 1), mean, var, given

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in inference mode."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call a layer in inference mode; what it was called with is kept for `backward`."""
        given = self._given(x, gamma, beta, running_mean, running_var, 0.5, eps, False)
        return np.moveaxis(PROGRAM.ask(**given)[0], -1, 1), given

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Call the layer again, for its gradients."""
        dx, *rest = PROGRAM.ask(**cache, dy=np.moveaxis(dy, 1, -1))
        found = iter(rest)
        return np.moveaxis(dx, -1, 1), *(None if cache[name] is None else next(found) for name in ("gamma", "beta"))

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> Any:
        """Train a new layer for one step."""
        one, zero = np.ones(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
        given = self._given(x, one, zero, None, None, momentum, eps, True)
        y, mean, var = PROGRAM.ask(**given)
        return np.moveaxis(y, -1, 1), mean, var

    def _given(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: Any, eps: Any, on: bool
    ) -> dict[str, Any]:
        settings = {"momentum": momentum, "eps": eps, "training": on, "backend": self._backend}
        return {"x": np.moveaxis(x, 1, -1), "gamma": gamma, "beta": beta, "mean": mean, "variance": var, **settings}


def version() -> str:
    """Versions of TensorFlow.js and of its back end in WebAssembly."""
    return f"tfjs {package_version(PACKAGE)}, tfjs-backend-wasm {package_version('@tensorflow/tfjs-backend-wasm')}"


def paths() -> dict[str, object]:
    """One path for each back end."""
    return {backend: BatchNormalization(backend) for backend in BACKENDS}
