"""Chainer's batch normalization on NumPy: the functions and the link.

Measured: ``decay`` as momentum, gradients by chainer's own. Both parameters are always there in the functions.
"""

from __future__ import annotations

from typing import Any

import chainer
import numpy as np

NAME = "chainer"
CONVENTION = "chainer"


class Functions:
    """``chainer.functions.batch_normalization`` and ``fixed_batch_normalization``."""

    dtypes = ("float64", "float32", "float16")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call on copies of the running statistics, and return the copies."""
        mean, var = np.array(running_mean), np.array(running_var)
        leaves = _leaves(x, gamma, beta, mean)
        y = self._train(leaves[0], leaves[1], leaves[2], mean, var, momentum, eps)
        return y.array, mean, var, (y, leaves, gamma, beta)

    def _train(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
        return chainer.functions.batch_normalization(
            x, gamma, beta, eps=eps, running_mean=mean, running_var=var, decay=momentum
        )

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call the fixed function."""
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call the fixed function, recording."""
        leaves = _leaves(x, gamma, beta, running_mean)
        y = chainer.functions.fixed_batch_normalization(*leaves, running_mean, running_var, eps=eps)
        return y.array, (y, leaves, gamma, beta)

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Ask chainer.grad."""
        y, leaves, gamma, beta = cache
        gradients = chainer.grad([y], leaves, [chainer.Variable(dy)])
        return tuple(g.array if p is not None else None for g, p in zip(gradients, (0, gamma, beta), strict=True))


class Link(Functions):
    """``chainer.links.BatchNormalization`` in training."""

    def _train(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float) -> Any:
        link = chainer.links.BatchNormalization(mean.shape[0], decay=momentum, eps=eps, dtype=mean.dtype)
        link.gamma, link.beta, link.avg_mean, link.avg_var = gamma, beta, mean, var
        with chainer.using_config("train", True):
            return link(x)

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> tuple[Any, Any, Any]:
        """Train a new link for one step."""
        given = {k: v for k, v in (("decay", momentum), ("eps", eps)) if v is not None}
        link = chainer.links.BatchNormalization(x.shape[1], dtype=x.dtype, **given)
        with chainer.using_config("train", True):
            return link(x).array, link.avg_mean, link.avg_var


def _leaves(x: Any, gamma: Any, beta: Any, like: Any) -> list[Any]:
    gamma, beta = np.ones_like(like) if gamma is None else gamma, np.zeros_like(like) if beta is None else beta
    return [chainer.Variable(a) for a in (x, gamma, beta)]


def version() -> str:
    """Version of chainer."""
    return f"chainer {chainer.__version__}"


def paths() -> dict[str, object]:
    """Functions and link."""
    return {"functions": Functions(), "link": Link()}
