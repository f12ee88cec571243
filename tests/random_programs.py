"""Batch norms put together at random from a grammar: right ones, and ones with one or two things wrong.

Nothing here knows what the oracle can name. A program is a choice for each piece of the algorithm; the first option of
a piece is the right one. `Program` computes what the choice says, in float64 NumPy, forward and backward, with the
backward written by hand for the statistics that it keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any

AXES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "channel": lambda n: tuple(a for a in range(n) if a != 1),
    "samples": lambda n: (0,),
    "all": lambda n: tuple(range(n)),
    "sample": lambda n: tuple(range(1, n)),
    "positions": lambda n: tuple(range(2, n)) or (0,),
    "inner": lambda n: (0, *range(2, n - 1)),
    "channels last": lambda n: tuple(range(n - 1)),
}


def counts(x: Array) -> dict[str, float]:
    n, c, m = x.shape[0], x.shape[1], x.size // x.shape[1]
    return {"m": m, "N": n, "C": c, "HW": m / n, "m - 1": max(m - 1, 1), "3": 3.0, "7": 7.0, "m + 1": m + 1}


EPS: dict[str, Callable[[Array, float], Array]] = {  # variance, eps -> what x - mean is divided by
    "inside": lambda v, e: np.sqrt(v + e),
    "outside": lambda v, e: np.sqrt(v) + e,
    "missing": lambda v, e: np.sqrt(v),
    "twice": lambda v, e: np.sqrt(v + 2 * e),
    "half": lambda v, e: np.sqrt(v + e / 2),
    "squared": lambda v, e: np.sqrt(v + e * e),
    "fixed 2e-5": lambda v, e: np.sqrt(v + 2e-5),
    "fixed 0.01": lambda v, e: np.sqrt(v + 0.01),
    "and 1e-3": lambda v, e: np.sqrt(v + e + 1e-3),
    "no root": lambda v, e: v + e,
    "clamped": lambda v, e: np.sqrt(np.maximum(v, e)),
    "multiplied": lambda v, e: 1 / np.sqrt(v + e),
}
SCALE: dict[str, Callable[[Array, Array], Array]] = {
    "gamma": lambda g, b: g,
    "1": lambda g, b: np.ones_like(g),
    "-gamma": lambda g, b: -g,
    "2 gamma": lambda g, b: 2 * g,
    "0.5 gamma": lambda g, b: 0.5 * g,
    "|gamma|": lambda g, b: np.abs(g),
    "gamma^2": lambda g, b: g * g,
}
SHIFT: dict[str, Callable[[Array, Array], Array]] = {
    "beta": lambda g, b: b,
    "0": lambda g, b: np.zeros_like(b),
    "-beta": lambda g, b: -b,
    "3 beta": lambda g, b: 3 * b,
    "gamma beta": lambda g, b: g * b,
}
CENTRE: dict[str, float] = {"mean": 1.0, "0": 0.0, "-mean": -1.0, "2 mean": 2.0}
WEIGHTS: dict[str, Callable[[float], tuple[float, float]]] = {  # momentum -> weights of old and new
    "new": lambda a: (1 - a, a),
    "old": lambda a: (a, 1 - a),
    "fixed": lambda a: (0.7, 0.3),
    "sum": lambda a: (1 - a, 1.0),
    "twice": lambda a: ((1 - a) ** 2, 1 - (1 - a) ** 2),
    "thrice": lambda a: ((1 - a) ** 3, 1 - (1 - a) ** 3),
    "kept": lambda a: (1.0, 0.0),
    "replaced": lambda a: (0.0, 1.0),
    "squared": lambda a: (1 - a * a, a * a),
}
STORED = ("m - 1", "m", "N", "C", "HW", "3", "m + 1")
TERM: dict[str, Callable[[dict[str, float]], float]] = {  # factors of a term of dx, or of dgamma and dbeta
    "1": lambda c: 1.0,
    "0": lambda c: 0.0,
    "-1": lambda c: -1.0,
    "2": lambda c: 2.0,
    "0.5": lambda c: 0.5,
    "m": lambda c: c["m"],
    "1/m": lambda c: 1 / c["m"],
    "m/N": lambda c: c["m"] / c["N"],
    "m/(m - 1)": lambda c: c["m"] / c["m - 1"],
    "1/C": lambda c: 1 / c["C"],
}
BACK_SCALE = ("gamma", "1", "|gamma|", "gamma^2")
BACK_STD = ("1", "0", "2", "-1")  # powers of 1/std in front of dx

OPTIONS: dict[str, tuple[str, ...]] = {
    "axes": tuple(AXES),
    "divisor": ("m", "m - 1", "N", "C", "HW", "3", "7", "m + 1"),
    "eps": tuple(EPS),
    "centre": tuple(CENTRE),
    "scale": tuple(SCALE),
    "shift": tuple(SHIFT),
    "frozen eps": tuple(EPS),
    "mean weights": tuple(WEIGHTS),
    "variance weights": tuple(WEIGHTS),
    "stored": STORED,
    "direct": tuple(TERM),
    "mean term": tuple(TERM),
    "x_hat term": tuple(TERM),
    "gamma in dx": BACK_SCALE,
    "std in dx": BACK_STD,
    "dgamma": tuple(TERM),
    "dbeta": tuple(TERM),
}


def drawn(rng: np.random.Generator, wrong: int) -> dict[str, str]:
    """Return the choices of a program with so many wrong pieces."""
    choices = {piece: options[0] for piece, options in OPTIONS.items()}
    for piece in rng.choice(list(OPTIONS), size=wrong, replace=False).tolist():
        choices[piece] = str(rng.choice(OPTIONS[piece][1:]))
    return choices


class Program:
    """A batch norm by its choices, with the oracle's interface."""

    ranks = (2, 3, 4, 5)
    dtypes = ("float64",)

    def __init__(self, choices: dict[str, str]) -> None:
        self.choices = choices
        self.wrong = {piece: c for piece, c in choices.items() if c != OPTIONS[piece][0]}

    def along(self, values: Array, like: Array, absent: float) -> Array:
        wide = np.full(like.shape[1], absent) if values is None else values
        return wide.reshape((1, -1) + (1,) * (like.ndim - 2))

    def normalised(
        self, x: Array, gamma: Array, beta: Array, mean: Array, std: Array, centre: float
    ) -> tuple[Array, Any]:
        g, b = self.along(gamma, x, 1.0), self.along(beta, x, 0.0)
        scale = g if gamma is None else SCALE[self.choices["scale"]](g, b)
        shift = b if beta is None else SHIFT[self.choices["shift"]](g, b)
        x_hat = (x - centre * mean) / std
        return scale * x_hat + shift, (x_hat, std, scale, gamma, beta)

    def train(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, momentum: float, eps: float
    ) -> tuple[Any, ...]:
        if x.size <= x.shape[1]:
            raise ValueError("more than one value per channel is needed")
        axes, channel = AXES[self.choices["axes"]](x.ndim), AXES["channel"](x.ndim)
        mean = x.mean(axes, keepdims=True)
        squares = ((x - mean) ** 2).mean(axes, keepdims=True)
        var = squares * (counts(x)["m"] / counts(x)[self.choices["divisor"]])
        std = EPS[self.choices["eps"]](var, eps)
        y, cache = self.normalised(x, gamma, beta, mean, std, CENTRE[self.choices["centre"]])
        own_mean, own_var = x.mean(channel), x.var(channel)
        own_var = own_var * (counts(x)["m"] / counts(x)[self.choices["stored"]])
        old, new = WEIGHTS[self.choices["mean weights"]](momentum)
        running_mean = old * running_mean + new * own_mean
        old, new = WEIGHTS[self.choices["variance weights"]](momentum)
        return y, running_mean, old * running_var + new * own_var, (True, axes, *cache)

    def frozen(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
    ) -> tuple[Array, Any]:
        mean, var = self.along(running_mean, x, 0.0), self.along(running_var, x, 1.0)
        y, cache = self.normalised(x, gamma, beta, mean, EPS[self.choices["frozen eps"]](var, eps), 1.0)
        return y, (False, (), *cache)

    def infer(self, *arguments: Any) -> Array:
        return self.frozen(*arguments)[0]

    def backward(self, dy: Array, cache: Any) -> tuple[Any, ...]:
        training, axes, x_hat, std, scale, gamma, beta = cache
        c, channel = counts(dy), AXES["channel"](dy.ndim)
        g = {"gamma": scale, "1": np.ones_like(scale), "|gamma|": np.abs(scale), "gamma^2": scale**2}
        front = g[self.choices["gamma in dx"]] / std ** int(self.choices["std in dx"])
        dx = TERM[self.choices["direct"]](c) * dy
        if training:
            dx = dx - TERM[self.choices["mean term"]](c) * dy.mean(axes, keepdims=True)
            dx = dx - TERM[self.choices["x_hat term"]](c) * x_hat * (dy * x_hat).mean(axes, keepdims=True)
        dgamma = TERM[self.choices["dgamma"]](c) * (dy * x_hat).sum(channel)
        dbeta = TERM[self.choices["dbeta"]](c) * dy.sum(channel)
        return front * dx, None if gamma is None else dgamma, None if beta is None else dbeta
