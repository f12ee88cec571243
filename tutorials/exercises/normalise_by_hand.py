"""The exercises of `normalise-by-hand.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from exercises import Function, Lesson, Number, Property
from exercises.truths import batch, statistics, training

PHOTOGRAPHS = np.broadcast_to(np.float32(0), (32, 1, 28, 28))  # one of the 64 channels


def numbers(rng: np.random.Generator) -> tuple[list[float]]:
    """Draw a few numbers, as a list."""
    return ([float(v) for v in batch(rng)[:, 1]],)


def images(rng: np.random.Generator) -> tuple[Any, float]:
    """Draw images (2, 3, 4, 2), channels last, and an eps."""
    return rng.standard_normal((2, 3, 4, 2)) * [1.0, 3.0] + [0.0, 5.0], float(rng.uniform(0.1, 1))


def column(values: list[float]) -> Any:
    """Return numbers as a batch of one channel."""
    return np.array(values)[:, None]


def undo(values: list[float]) -> tuple[float, float]:
    """Return gamma and beta with which batch norm gives back what it got."""
    mean, var = statistics(column(values))
    return np.sqrt(var[0]), mean[0]


def eps_that_goes_with_five(factor: float, rng: np.random.Generator) -> str | None:
    """Compare y of 5 x, with eps times a factor, with y of x."""
    x = batch(rng).round(3)
    before, after = training(x, 0.25), training(5 * x, 0.25 * float(factor))
    if abs(after - before).max() <= 2.0**-45:
        return None
    seen = f"with eps times {factor:g}, y[0, 0] is {after[0, 0]:.6g} where it was {before[0, 0]:.6g}"
    return f"{seen}; eps is added to the variance, which is the square of a standard deviation"


check = Lesson(
    Function(
        numbers,
        lambda values: training(column(values), 0.0)[:, 0],
        "x_hat",
        {
            "the sum of squares was divided by m - 1: np.std(..., ddof=1) does that, np.std does not": lambda v: (
                (v - np.mean(v)) / np.std(v, ddof=1)
            ),
            "the deviations were divided by the variance, not by its root": lambda v: (v - np.mean(v)) / np.var(v),
            "the mean was not subtracted": lambda v: np.array(v) / np.std(v),
        },
    ),
    Function(
        numbers,
        undo,
        "gamma, beta",
        {
            "they are the right two numbers in the other order": lambda v: undo(v)[::-1],
            "gamma is the variance, which is the square of what was divided by": lambda v: (
                undo(v)[0] ** 2,
                undo(v)[1],
            ),
        },
    ),
    Function(
        images,
        lambda x, eps: training(x, eps, axis=-1),
        "y",
        {
            "each position of a channel got statistics of its own, over the two images alone": lambda x, eps: training(
                x, eps, axis=(1, 2, 3)
            ),
            "axis 1 was taken for the channels: these images have them last": lambda x, eps: training(x, eps, axis=1),
            "all channels share one mean and one variance": lambda x, eps: (x - x.mean()) / np.sqrt(x.var() + eps),
            "eps was added outside the root": lambda x, eps: (x - x.mean((0, 1, 2))) / (x.std((0, 1, 2)) + eps),
        },
    ),
    Number(
        PHOTOGRAPHS.size,
        "m, 32 images of 28 times 28 values each,",
        {
            "this is the number of images": 32,
            "these are the positions of one image": 28 * 28,
            "these are the values of all channels, and each channel has statistics of its own": 64 * PHOTOGRAPHS.size,
        },
    ),
    Property(
        eps_that_goes_with_five,
        "with 25 eps, y is the same to the last digit, as variances grow with the square",
        {"which is the square of a standard deviation": 5},
    ),
    Number(
        float(training(np.eye(5)[:, :1], 0.0).max()),
        "the largest x_hat",
        {"this is the root of m, which is not reached": round(5**0.5, 12), "this is m - 1; its root is needed": 4},
    ),
)
