"""A right batch normalization, computed in float64 and rounded once, with one relative error of k u put into it.

The error goes into one quantity on the way, or one result, under one condition. What the oracle convicts of these says
how much it resolves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = Any
PLACES = (
    "mean", "var", "inv_std", "y", "running mean", "running variance", "mean of dy", "mean of dy x_hat", "dgamma",
    "dbeta", "dx",
)  # fmt: skip


def _far(x: Array) -> bool:
    axes = tuple(a for a in range(x.ndim) if a != 1)
    with np.errstate(all="ignore"):
        return bool(np.any(np.abs(x.mean(axes)) > 1000 * x.std(axes)))


CONDITIONS: dict[str, Callable[[Array], bool]] = {
    "everywhere": lambda x: True,
    "m > 64": lambda x: x.size > 64 * x.shape[1],
    "m > 1024": lambda x: x.size > 1024 * x.shape[1],
    "m > 2^14": lambda x: x.size > 2**14 * x.shape[1],
    "m > 2^16": lambda x: x.size > 2**16 * x.shape[1],
    "m > 2^17": lambda x: x.size > 2**17 * x.shape[1],
    "mean/std > 1000": _far,
    "rank 5": lambda x: x.ndim == 5,
    "C > 255": lambda x: x.shape[1] > 255,
    "N > 65,535": lambda x: x.shape[0] > 65535,
    "a tail of fours": lambda x: x.ndim > 2 and x.shape[-1] % 4 != 0,
}
PARTS = ("all", "one channel", "one element")  # of a quantity, that are off


class Injected(NamedTuple):
    """Where an error is put, under which condition, into which part, and how large it is."""

    place: str
    condition: str = "everywhere"
    part: str = "all"
    error: float = 0.0
    dtypes: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16")
    mixed: bool = True

    def _put(self, place: str, x: Array, values: Array) -> Array:
        """Return values, with the error if this is its place."""
        if place != self.place or not CONDITIONS[self.condition](x):
            return values
        values = np.array(values)
        if self.part == "all":
            return values * (1 + self.error)
        if self.part == "one channel":
            where = (slice(None), x.shape[1] // 2) if values.ndim > 1 else (x.shape[1] // 2,)
            values[where] *= 1 + self.error
        else:
            values[np.unravel_index(np.argmax(np.abs(values)), values.shape)] *= 1 + self.error
        return values

    def train(self, x, gamma, beta, mean, var, momentum, eps):
        wide, axes = x.astype(float), tuple(a for a in range(x.ndim) if a != 1)
        batch_mean = wide.mean(axes)
        batch_mean = batch_mean + (wide - _along(batch_mean, x)).mean(axes)
        batch_mean = self._put("mean", x, batch_mean)
        centred = wide - _along(batch_mean, x)
        batch_var = self._put("var", x, (centred**2).mean(axes))
        inv = self._put("inv_std", x, 1 / np.sqrt(batch_var + eps))
        x_hat = centred * _along(inv, x)
        y = self._put("y", x, x_hat * _along(_or(gamma, 1, x), x) + _along(_or(beta, 0, x), x))
        m = x.size // x.shape[1]
        unbiased = batch_var * (m / (m - 1) if m > 1 else 1)
        pairs = (mean, batch_mean), (var, unbiased)
        with np.errstate(all="ignore"):
            moved = [(1 - momentum) * old.astype(float) + momentum * new for old, new in pairs]
        if m <= 1:
            raise ValueError("expected more than 1 value per channel")
        names = ("running mean", "running variance")
        mean, var = (self._put(n, x, v).astype(mean.dtype) for n, v in zip(names, moved, strict=True))
        return y.astype(x.dtype), mean, var, (x, x_hat, inv, gamma)

    def backward(self, dy, cache):
        x, x_hat, inv, gamma = cache
        g, axes = dy.astype(float), tuple(a for a in range(x.ndim) if a != 1)
        mean_g = self._put("mean of dy", x, g.mean(axes))
        mean_g_x_hat = self._put("mean of dy x_hat", x, (g * x_hat).mean(axes))
        scale = _along(_or(gamma, 1, x) * inv, x)
        dx = self._put("dx", x, scale * (g - _along(mean_g, x) - x_hat * _along(mean_g_x_hat, x)))
        dgamma = self._put("dgamma", x, (g * x_hat).sum(axes))
        dbeta = self._put("dbeta", x, g.sum(axes))
        kind = x.dtype if gamma is None else gamma.dtype
        return dx.astype(x.dtype), dgamma.astype(kind), dbeta.astype(kind)


def _along(values: Array, x: Array) -> Array:
    return np.asarray(values, float).reshape((1, -1) + (1,) * (x.ndim - 2))


def _or(parameter: Array, default: float, x: Array) -> Array:
    return np.full(x.shape[1], float(default)) if parameter is None else parameter.astype(float)
