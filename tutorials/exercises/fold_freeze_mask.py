"""The exercises of `fold-freeze-mask.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from exercises import Function, Lesson, Number
from exercises.truths import gradients, inference, statistics

EPS = 0.1


def layer(rng: np.random.Generator) -> tuple[Any, ...]:
    """Draw weight (4, 3) and bias (4,) of a linear map, and mean, var, gamma, beta (4,) of the batch norm after it."""
    positive = rng.uniform(0.5, 2, 4)
    return rng.standard_normal((4, 3)), *rng.standard_normal((2, 4)), positive, *rng.standard_normal((2, 4))


def folded(weight: Any, bias: Any, mean: Any, var: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
    """Return the one map that both are, from what they make of 0 and of each unit vector."""

    def both(x: Any) -> Any:
        return inference((weight @ x + bias)[None], mean, var, gamma, beta, EPS)[0]

    at_zero = both(np.zeros(3))
    return np.stack([both(unit) - at_zero for unit in np.eye(3)], axis=1), at_zero


def next_layer(rng: np.random.Generator) -> tuple[Any, ...]:
    """Draw weight (4, 3) and bias (4,) of a linear map, and mean, var, gamma, beta (3,) of the batch norm before it."""
    mean, gamma, beta = rng.standard_normal((3, 3))
    return rng.standard_normal((4, 3)), rng.standard_normal(4), mean, rng.uniform(0.5, 2, 3), gamma, beta


def folded_into_next(weight: Any, bias: Any, mean: Any, var: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
    """Return the one map that both are, batch norm first."""

    def both(x: Any) -> Any:
        return weight @ inference(x[None], mean, var, gamma, beta, EPS)[0] + bias

    at_zero = both(np.zeros(3))
    return np.stack([both(unit) - at_zero for unit in np.eye(3)], axis=1), at_zero


def masked(rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw x (4, 2, 5) and a mask (4, 1, 5) of what counts, with NaN where it does not."""
    where = rng.random((4, 1, 5)) < 0.6
    where[0, 0, 0], where[1, 0, 1] = True, True
    return np.where(where, rng.standard_normal((4, 2, 5)) + 5, np.nan), where


def workers(rng: np.random.Generator) -> tuple[Any, ...]:
    """Draw dy and x_hat of two workers, 5 samples and 3, and the inv_std of all eight."""
    x, dy = rng.standard_normal((8, 3)) + np.arange(8)[:, None], rng.standard_normal((8, 3))
    inv_std = (x.var(axis=0) + EPS) ** -0.5
    x_hat = (x - x.mean(axis=0)) * inv_std
    return dy[:5], x_hat[:5], dy[5:], x_hat[5:], inv_std


def synchronised(dy_1: Any, x_hat_1: Any, dy_2: Any, x_hat_2: Any, inv_std: Any) -> tuple[Any, Any]:
    """Return dx of both workers: that of the whole batch."""
    x = np.concatenate([x_hat_1, x_hat_2]) / inv_std
    dx = gradients(np.concatenate([dy_1, dy_2]), x, np.ones(3), EPS)[0]
    return dx[:5], dx[5:]


def each_by_itself(dy: Any, x_hat: Any, inv_std: Any) -> Any:
    """Return the closed form with the sums of one worker."""
    return inv_std * (dy - dy.mean(axis=0) - x_hat * (dy * x_hat).mean(axis=0))


def variance_with_padding() -> float:
    """Return the variance of values of mean 5 and variance 1, of which a third is replaced by 0."""
    values = np.array([4.0, 6.0] * 4 + [0.0] * 4)
    return float(statistics(values[:, None])[1][0])


def scaled(weight: Any, bias: Any, mean: Any, var: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
    """Return scale and shift of inference."""
    scale = gamma / np.sqrt(var + EPS)
    return scale, beta - scale * mean


check = Lesson(
    Function(
        layer,
        folded,
        "weight, bias",
        {
            "the bias of the map goes through batch norm, too, and must be scaled": lambda W, b, *bn: (
                scaled(W, b, *bn)[0][:, None] * W,
                b + scaled(W, b, *bn)[1],
            ),
            "the scale belongs to the outputs, the rows of the weight; it was taken for a scale of its mean": (
                lambda W, b, *bn: (W, scaled(W, b, *bn)[0] * b + scaled(W, b, *bn)[1])
            ),
        },
    ),
    Function(
        next_layer,
        folded_into_next,
        "weight, bias",
        {
            "the shift must go through the weight before it is added to the bias": lambda W, b, *bn: (
                W * scaled(W, b, *bn)[0],
                b + scaled(W, b, *bn)[1].sum(),
            ),
            "the shift of batch norm is missing": lambda W, b, *bn: (W * scaled(W, b, *bn)[0], b),
        },
    ),
    Number(
        variance_with_padding(),
        "the variance",
        {
            "this is how the values differ from each other; the zeros differ from all of them": 2 / 3,
            "this is the mean square; the square of the mean is to be subtracted": 52 / 3,
        },
    ),
    Function(
        masked,
        lambda x, where: statistics(np.where(where, x, 0.0), where=where),
        "mean, var",
        {
            "what does not count was set to 0, and counted": lambda x, where: (
                np.where(where, x, 0).mean((0, 2)),
                np.where(where, x, 0).var((0, 2)),
            ),
            "the deviations of what does not count entered the variance": lambda x, where: (
                np.where(where, x, 0).sum((0, 2)) / where.sum(),
                ((np.where(where, x, 0) - (np.where(where, x, 0).sum((0, 2)) / where.sum())[:, None]) ** 2).sum((0, 2))
                / where.sum(),
            ),
        },
    ),
    Function(
        workers,
        synchronised,
        "dx_1, dx_2",
        {
            "each worker took the sums over its own samples, and they are needed over all": lambda d, h, e, k, r: (
                each_by_itself(d, h, r),
                each_by_itself(e, k, r),
            ),
            "mean and variance were taken for constants": lambda d, h, e, k, r: (r * d, r * e),
        },
    ),
)
