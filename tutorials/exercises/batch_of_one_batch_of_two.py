"""The exercises of `batch-of-one-batch-of-two.md`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from exercises import Function, Lesson, Number
from exercises.truths import gradients, parameters, training
from refnorm import exact


def values_of_last_layer(side: int) -> int:
    """Return m of the sixth layer for one image, by sliding the windows."""
    positions = np.zeros((side, side), np.int8)
    for stride in (2, 2, 2, 2, 2, 1):
        positions = sliding_window_view(positions, (5, 5))[::stride, ::stride, 0, 0]
    return positions.size


def apart(x_hat: float, eps: float) -> float:
    """Return how far apart two values must be to be normalised to -x_hat and x_hat."""
    near, far = 0.0, 1.0
    for _ in range(60):
        d = (near + far) / 2
        near, far = (d, far) if training(np.array([[0.0], [d]]), eps)[1, 0] < x_hat else (near, d)
    return near


def two(rng: np.random.Generator) -> tuple[Any, Any, Any, float]:
    """Draw dy and x of two samples, gamma and eps."""
    dy, x = rng.standard_normal((2, 2, 3))
    return dy, x, parameters(rng)[0], float(rng.uniform(0.1, 1))


def surviving(m: int) -> float:
    """Return which part of a random gradient survives: the mean of s^2 dx^2, dy being each unit vector in turn."""
    x = np.random.default_rng(m).standard_normal((m, 1))
    slopes = [exact.training_gradients(dy[:, None], x, eps=0.0).dx.rounded() for dy in np.eye(m)]
    return float(round(np.sum(np.square(slopes)) * x.var() / m, 9))


def half_closed(dy: Any, x: Any, gamma: Any, eps: float) -> Any:
    """Return what mean and variance as constants would pass back."""
    return gamma * dy / np.sqrt(x.var(axis=0) + eps)


check = Lesson(
    Number(
        values_of_last_layer(512),
        "m",
        {
            "that is what reaches the sixth layer; its own 5 x 5 windows have fewer places": 13**2,
            "this is the side of the map": 9,
        },
    ),
    Number(
        apart(0.9, 1e-5),
        "the distance",
        {"this is d, half the distance": apart(0.9, 1e-5) / 2, "this is d^2": (apart(0.9, 1e-5) / 2) ** 2},
    ),
    Function(
        two,
        lambda dy, x, gamma, eps: gradients(dy, x, gamma, eps)[0],
        "dx",
        {
            "mean and variance were taken for constants": half_closed,
            "nothing came back through the variance": lambda dy, x, gamma, eps: half_closed(
                dy - dy.mean(axis=0), x, gamma, eps
            ),
        },
    ),
    Number(
        next(m for m in range(1, 10) if surviving(m + 1) > 0.01) + 1,
        "the smallest m with a gradient",
        {"two values have a gradient of the size of eps only": 2},
    ),
    Number(
        surviving(10),
        "the part that survives",
        {"only the mean was removed, and not the part along x_hat": 0.9, "this is what is removed": 0.2},
    ),
)
