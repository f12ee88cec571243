"""The exercises of `relu-bias-memory.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from exercises import Function, Lesson, Number
from exercises.truths import gradients, training

SLOPE = 0.25


def into_relu(rng: np.random.Generator) -> tuple[Any, ...]:
    """Draw gamma > 0 and beta (3,), and the weight (3, 2) that follows ReLU."""
    return rng.uniform(0.5, 2, 3), rng.standard_normal(3), rng.standard_normal((3, 2))


def moved(gamma: Any, beta: Any, weight: Any) -> tuple[Any, Any]:
    """Return shift and weight that do without gamma, from the kink and the slope of ReLU(gamma x_hat + beta) weight."""

    def unit(x_hat: Any) -> Any:
        return np.maximum(gamma * x_hat + beta, 0)

    kink = -beta / gamma  # where the unit begins; without gamma it begins at minus the shift
    return -kink, (unit(kink + 1) - unit(kink))[:, None] * weight


def lagging(rate: float, decay: float, momentum: float, steps: int = 2000) -> float:
    """Return by which part of the bias the running mean is behind, under weight decay and nothing else."""
    bias = mean = 1.0
    for _ in range(steps):
        mean = (1 - momentum) * mean + momentum * bias
        bias *= 1 - rate * decay
    return round(mean / bias - 1, 9)


def activated(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Draw gamma, beta, and z: a leaky ReLU of slope 1/4 of a batch norm."""
    x = rng.standard_normal((7, 3))
    gamma, beta = rng.uniform(0.5, 2, 3) * [1, -1, 1], rng.standard_normal(3)
    y = training(x, 0.1, gamma, beta)
    return np.where(y > 0, y, SLOPE * y), gamma, beta


def found_again(z: Any, gamma: Any, beta: Any) -> Any:
    """Return the x_hat for which batch norm and leaky ReLU give z, by bisection: z rises or falls with it."""
    low, high = np.full(z.shape, -64.0), np.full(z.shape, 64.0)
    for _ in range(80):
        middle = (low + high) / 2
        y = gamma * middle + beta
        beyond = (np.where(y > 0, y, SLOPE * y) > z) == (gamma > 0)
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return (low + high) / 2


def turned(scale: float) -> float:
    """Return how much further a step of gradient descent turns weights of another length, for small steps."""
    rng = np.random.default_rng(0)
    x, weight, dy = rng.standard_normal((9, 4)), rng.standard_normal((4, 1)), rng.standard_normal((9, 1))
    angles = []
    for w in (weight, scale * weight):
        gradient = x.T @ gradients(dy, x @ w, np.ones(1), 0.0)[0]
        angles.append(np.linalg.norm(gradient) / np.linalg.norm(w))
    return float(round(angles[1] / angles[0], 9))


check = Lesson(
    Function(
        into_relu,
        moved,
        "shift, new_weight",
        {
            "gamma scales the shift as well, and is taken out of it": lambda g, b, w: (b, g[:, None] * w),
            "what is taken out before ReLU must be multiplied in after it": lambda g, b, w: (b / g, w / g[:, None]),
        },
    ),
    Number(
        lagging(0.1, 1e-3, 0.01) * 100,
        "how far the running mean is behind, in per cent of the bias,",
        {"momentum was taken for the weight of the old value": 0.01},
    ),
    Function(
        activated,
        found_again,
        "x_hat",
        {
            "the leaky ReLU was not undone": lambda z, g, b: (z - b) / g,
            "the leaky ReLU was applied again, where its slope must be divided by": lambda z, g, b: (
                (np.where(z > 0, z, SLOPE * z) - b) / g
            ),
        },
    ),
    Number(
        float(training(np.repeat([1.0, 0.0], [4, 60])[:, None], 0.0)[0, 0]),
        "what the ones become",
        {"this is the bound for one among 64": 63**0.5, "this is 1/sqrt(p); the mean is not 0": 4.0},
    ),
    Number(
        turned(0.5),
        "how many times further a step turns them",
        {"this is by how much the gradient grows; the weights it turns are shorter, too": 2},
    ),
)
