"""The exercises of `why-normalise.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from exercises import Function, Lesson, Number
from exercises.relu_bias_memory import turned
from exercises.truths import gradients

NODES, SHARES = np.polynomial.legendre.leggauss(80)  # of an integral from -1 to 1


def growth(activation: Any, slope: Any) -> float:
    """Return E[slope(z)^2] / Var[activation(z)] for Gaussian z: the squared gradient's growth from layer to layer."""

    def mean(f: Any) -> float:
        z = 6 * (NODES + 1)  # from 0 to 12, and with the other sign: where an activation has its kink, an integral ends
        both = np.array([f(value) + f(-value) for value in z.tolist()])
        return float(np.sum(6 * SHARES * both * np.exp(-z * z / 2)) / np.sqrt(2 * np.pi))

    return float(round(mean(lambda z: slope(z) ** 2) / (mean(lambda z: activation(z) ** 2) - mean(activation) ** 2), 9))


RELU = growth(lambda z: max(z, 0.0), lambda z: float(z > 0))


def step(rng: np.random.Generator) -> tuple[Any, ...]:
    """Draw weights (4, 3), the gradient of a loss behind batch norm (eps = 0) by them, and a rate."""
    x, weight = rng.standard_normal((9, 4)), rng.standard_normal((4, 3))
    dx = gradients(rng.standard_normal((9, 3)), x @ weight, np.ones(3), 0.0)[0]
    return weight, x.T @ dx, float(rng.uniform(0.1, 2))


check = Lesson(
    Number(
        turned(10.0),
        "the factor",
        {
            "this is what becomes of the gradient; the weights it turns are ten times longer, too": 0.1,
            "the gradient shrinks as the weights grow": 10,
        },
    ),
    Function(
        step,
        lambda weight, gradient, rate: np.linalg.norm(weight - rate * gradient, axis=0),
        "length",
        {
            "this is the square of the length": lambda w, g, rate: ((w - rate * g) ** 2).sum(axis=0),
            "lengths at a right angle do not add, their squares do": lambda w, g, rate: (
                np.linalg.norm(w, axis=0) + rate * np.linalg.norm(g, axis=0)
            ),
            "the length is what it was: but the step has a length, too": lambda w, g, rate: np.linalg.norm(w, axis=0),
        },
    ),
    Number(
        growth(lambda z: z, lambda z: 1.0),
        "the factor",
        {"this is ReLU's": round(RELU, 3)},
    ),
    Number(
        growth(lambda z: z if z > 0 else 0.5 * z, lambda z: 1.0 if z > 0 else 0.5),
        "the factor",
        {"this is that of ReLU, without a leak": RELU, "this is that of a linear layer": 1},
    ),
    Number(
        np.broadcast_to(np.float32(0), (32, 256, 56, 56)).nbytes / 1e6,
        "what is kept, in MB,",
        {"a float32 takes four bytes": 25.69, "that is of one image": 3.21},
    ),
)
