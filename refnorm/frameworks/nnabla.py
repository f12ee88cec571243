"""nnabla's batch normalization on the CPU, float32: ``functions.batch_normalization``, gradients by its graphs."""

from __future__ import annotations

from typing import Any

import nnabla
import numpy as np
from nnabla import functions

NAME = "nnabla"
CONVENTION = "nnabla"


class Function:
    """``nnabla.functions.batch_normalization``, which moves the statistics that it is given."""

    dtypes = ("float32",)

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Run a graph whose statistics are those of the batch."""
        leaves, mean, var, y = _graph(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        y.forward()
        return np.array(y.d), np.array(mean.d).ravel(), np.array(var.d).ravel(), (leaves, y, gamma, beta)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Run a graph whose statistics are the running ones."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Run a graph whose statistics are the running ones, and keep it."""
        leaves, _, _, y = _graph(x, gamma, beta, running_mean, running_var, 0.9, eps, False)
        y.forward()
        return np.array(y.d), (leaves, y, gamma, beta)

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Go backward through the graph."""
        leaves, y, gamma, beta = cache
        for leaf in leaves:
            leaf.grad.zero()
        y.backward(np.array(dy, order="C"))
        dx, dgamma, dbeta = (np.array(leaf.g) for leaf in leaves)
        return dx, None if gamma is None else dgamma.ravel(), None if beta is None else dbeta.ravel()


def _graph(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool) -> Any:
    one = [1, x.shape[1], *[1] * (x.ndim - 2)]
    scale = np.ones_like(mean) if gamma is None else gamma
    shift = np.zeros_like(mean) if beta is None else beta
    given = [_variable(x, x.shape), *(_variable(a, one) for a in (scale, shift, mean, var))]
    x, scale, shift, mean, var = given
    y = functions.batch_normalization(x, shift, scale, mean, var, axes=[1], decay_rate=momentum, eps=eps, batch_stat=on)
    return (x, scale, shift), mean, var, y


def _variable(array: Any, shape: Any) -> Any:
    variable = nnabla.Variable(shape, need_grad=True)
    variable.d = np.reshape(array, shape)
    return variable


def version() -> str:
    """Version of nnabla."""
    return f"nnabla {nnabla.__version__}"


def paths() -> dict[str, object]:
    """One function."""
    return {"": Function()}
