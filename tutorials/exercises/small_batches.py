"""The exercises of `small-batches.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from exercises import Function, Lesson, Number
from exercises.batch_of_one_batch_of_two import surviving
from exercises.truths import inference, statistics


def shards(rng: np.random.Generator) -> tuple[Any, ...]:
    """Draw the counts, means and biased variances (k, 3) of k batches."""
    parts = [rng.standard_normal((n, 3)) + rng.standard_normal(3) for n in rng.integers(2, 6, rng.integers(2, 5))]
    return np.array([len(p) for p in parts]), *map(np.array, zip(*map(statistics, parts), strict=True))


def merged(counts: Any, means: Any, variances: Any) -> tuple[Any, Any]:
    """Return mean and variance of values that have these statistics: each batch is rebuilt, two values beside zeros."""
    rebuilt = []
    for n, mean, var in zip(counts, means, variances, strict=True):
        around = np.zeros((n, 3))
        around[0], around[1] = np.sqrt(n / 2), -np.sqrt(n / 2)  # of mean 0 and variance 1
        rebuilt.append(mean + np.sqrt(var) * around)
    return statistics(np.concatenate(rebuilt))


def weighted(counts: Any, values: Any) -> Any:
    """Return the mean of statistics, each weighed by its count."""
    return (counts[:, None] * values).sum(axis=0) / counts.sum()


def frozen(rng: np.random.Generator) -> tuple[Any, ...]:
    """Draw x, a mean, a variance, gamma, beta and eps."""
    return (
        rng.standard_normal((5, 3)),
        rng.standard_normal(3),
        rng.uniform(0.5, 2, 3),
        rng.uniform(0.5, 2, 3),
        rng.standard_normal(3),
        0.1,
    )


def line(x: Any, mean: Any, var: Any, gamma: Any, beta: Any, eps: float) -> tuple[Any, Any]:
    """Return slope and shift of frozen batch norm, from what it makes of 0 and of 1."""
    zero, one = (inference(np.full((1, 3), v), mean, var, gamma, beta, eps)[0] for v in (0.0, 1.0))
    return one - zero, zero


def error_of_mean(m: int) -> float:
    """Return the standard deviation of the mean of m values -1 or 1, each as often: over all their sums."""
    rows = np.array(np.meshgrid(*[[-1.0, 1.0]] * m)).reshape(m, -1)
    return float(rows.mean(axis=0).std())


check = Lesson(
    Number(
        error_of_mean(16),
        "how far the mean is off, in standard deviations,",
        {"this is the variance of the mean; its root is needed": 1 / 16},
    ),
    Number(
        2 * np.ones((7, 7)).size,
        "m",
        {"this is the number of images": 2, "these are the values of one image": 49},
    ),
    Number(
        next(m for m in range(2, 100) if surviving(m) >= 0.9),
        "the smallest m",
        {"of m directions two are lost, not one": 10},
    ),
    Function(
        shards,
        merged,
        "mean, var",
        {
            "the variance of the means is missing: values of two batches differ by that, too": lambda n, mean, var: (
                weighted(n, mean),
                weighted(n, var),
            ),
            "the batches were not weighed by their counts": lambda n, mean, var: (
                mean.mean(axis=0),
                (var + mean**2).mean(axis=0) - mean.mean(axis=0) ** 2,
            ),
        },
    ),
    Function(
        frozen,
        line,
        "slope, shift",
        {
            "the mean is subtracted before the slope multiplies": lambda x, mean, var, gamma, beta, eps: (
                gamma / np.sqrt(var + eps),
                beta - mean,
            ),
            "eps is missing": lambda x, mean, var, gamma, beta, eps: (
                gamma / np.sqrt(var),
                beta - gamma * mean / np.sqrt(var),
            ),
        },
    ),
)
