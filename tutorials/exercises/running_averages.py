"""The exercises of `running-averages.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from exercises import Function, Lesson, Number
from refnorm import Statistics, update_running


def follow(means: Any, momentum: float, start: float = 0.0) -> Any:
    """Return the running mean after each batch, by refnorm; momentum weighs the new batch."""
    running, path = (np.array([start]), np.ones(1)), []
    for mean in means:
        running = update_running(*running, Statistics(2, np.array([mean]), np.ones(1)), momentum=momentum)
        path.append(running[0][0])
    return np.array(path)


def lag(momentum: float) -> float:
    """Return by how many batches the running mean is behind batch means that grow by 1."""
    steps = int(30 / momentum)
    return float(round(steps - follow(np.arange(1.0, steps + 1), momentum)[-1], 9))


def batches_until(left: float, momentum: float) -> int:
    """Return after how many batches no more than a part of the first value is left."""
    running, batches = (np.ones(1), np.ones(1)), 0
    while running[0] > left:
        running = update_running(*running, Statistics(2, np.zeros(1), np.ones(1)), momentum=momentum)
        batches += 1
    return batches


def impulses(momentum: float, batches: int) -> Any:
    """Return the weights of the first value and of each batch: what the running mean is of, one at a time."""
    eye = np.eye(batches)
    return np.array(
        [follow(np.zeros(batches), momentum, 1.0)[-1], *(follow(row, momentum)[-1] for row in eye)],
    )


def averaged(rng: np.random.Generator) -> tuple[Any, float]:
    """Draw a running mean's path from 0 over batches of one mean, and the momentum."""
    momentum = float(rng.uniform(0.05, 0.5))
    return follow(np.full(6, rng.uniform(1, 9)), momentum), momentum


check = Lesson(
    Number(
        lag(0.05),
        "the lag",
        {
            "0.95 was taken for the weight of the new batch": 0.05 / 0.95,
            "this is over how many batches it averages": 39,
            "this is 1/a; the batch that has just come counts already": 20,
        },
    ),
    Function(
        lambda rng: (float(rng.uniform(0.1, 0.9)), int(rng.integers(1, 8))),
        impulses,
        "weights",
        {
            "the last batch weighs most, and these weights run the other way": lambda a, k: np.array(
                [(1 - a) ** k, *(a * (1 - a) ** np.arange(k))]
            ),
            "the first value's weight is that of a value no batch has replaced, (1 - a)^k": lambda a, k: np.array(
                [1 - a, *(a * (1 - a) ** np.arange(k)[::-1])]
            ),
        },
    ),
    Number(
        batches_until(0.01, 0.05),
        "the number of batches",
        {
            "after so many batches slightly more than 1 % is left": 89,
            "0.95 was taken for the weight of the new batch": 2,
        },
    ),
    Function(
        averaged,
        lambda path, a: np.full(6, path[-1] / (1 - impulses(a, 6)[0])),
        "means",
        {
            "the path was divided by a, and not by what the batches weigh together": lambda path, a: path / a,
            "batches are counted from 1: after the first, the weight a has come": lambda path, a: (
                path / (1 - (1 - a) ** np.arange(2, 8))
            ),
        },
    ),
    Number(
        batches_until(0.5, 0.003),
        "the number of batches",
        {"this is the lag, after which 37 % are left": 332, "after so many 1 % is left": 1533},
    ),
)
