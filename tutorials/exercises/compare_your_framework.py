"""The exercises of `compare-your-framework.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

from exercises import Function, Lesson, Number
from exercises.running_averages import impulses
from exercises.truths import batch, gradients, inference, parameters
from refnorm import Statistics
from refnorm.conventions import CONVENTIONS


def averages(momentum: float, batches: int = 3000) -> float:
    """Return over how many batches a running average is as quiet as a mean: 1 over the sum of squared weights."""
    weights = momentum * (1 - momentum) ** np.arange(batches)
    return float(round(1 / np.sum(weights**2), 6))


def stored_by(name: str, momentum: float, x: Any) -> Any:
    """Return the running variance after one batch from (0, 1), by a row of the table of conventions."""
    return CONVENTIONS[name].update(np.zeros(3), np.ones(3), Statistics.of(x), momentum=momentum)[1]


def eps_moved(rng: np.random.Generator) -> tuple[Any, float, float]:
    """Draw a running variance, the eps it was trained with, and the one that will be added to it."""
    return rng.uniform(0.5, 2, 3), float(rng.uniform(0.01, 0.2)), float(rng.uniform(0.01, 0.2))


def variance_for(var: Any, eps: float, new_eps: float) -> Any:
    """Return the variance that normalises alike with another eps, read off what inference makes of 1."""
    zero, one = np.zeros(3), np.ones((1, 3))
    return inference(one, zero, var, None, None, eps)[0] ** -2 - new_eps


def cached(rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw dy, and the cache of the page's file: x_hat, inv_std, gamma, beta."""
    x = batch(rng)
    inv_std = (x.var(axis=0) + 0.1) ** -0.5
    return rng.standard_normal(x.shape), ((x - x.mean(axis=0)) * inv_std, inv_std, *parameters(rng))


def mended(dy: Any, cache: Any) -> tuple[Any, Any, Any]:
    """Return the gradients of the definition."""
    x_hat, inv_std, gamma, _ = cache
    return gradients(dy, x_hat / inv_std, gamma, 0.1)


def as_in_the_file(dy: Any, cache: Any) -> tuple[Any, Any, Any]:
    """Return what the page's file does."""
    x_hat, inv_std, _, _ = cache
    dgamma, dbeta = (dy * x_hat).sum(axis=0), dy.sum(axis=0)
    return inv_std * (dy - dbeta / len(dy) - x_hat * dgamma / len(dy)), dgamma, dbeta


def scaled_dgamma(dy: Any, cache: Any) -> tuple[Any, Any, Any]:
    """Return gamma in dx, and in dgamma, where it does not belong."""
    dx, dgamma, dbeta = mended(dy, cache)
    return dx, cache[2] * dgamma, dbeta


check = Lesson(
    Function(
        cached,
        mended,
        "dx, dgamma, dbeta",
        {
            "this is what the file does: gamma is missing in dx": as_in_the_file,
            "gamma multiplies dx alone; dgamma is the sum of dy x_hat": scaled_dgamma,
        },
    ),
    Number(
        averages(0.003),
        "the number of batches",
        {
            "this is the lag; the average is over about twice as many": 332.3,
            "decay was taken for the weight of the new batch": averages(0.997),
        },
    ),
    Function(
        lambda rng: (batch(rng), float(rng.uniform(0.1, 0.9))),
        lambda x, momentum: (stored_by("torch", momentum, x), stored_by("keras", momentum, x)),
        "pytorch, keras",
        {
            "momentum weighs the old value in Keras, and the new batch in PyTorch": lambda x, a: (
                stored_by("torch", 1 - a, x),
                stored_by("keras", 1 - a, x),
            ),
            "Keras stores the biased variance": lambda x, a: (
                stored_by("torch", a, x),
                a + (1 - a) * x.var(axis=0, ddof=1),
            ),
            "PyTorch stores the unbiased variance": lambda x, a: (
                1 - a + a * x.var(axis=0),
                stored_by("keras", a, x),
            ),
        },
    ),
    Function(
        eps_moved,
        variance_for,
        "new_var",
        {
            "it goes the other way: what eps gains, the variance must lose": lambda var, eps, new: var + new - eps,
            "this is how it would be if eps stood outside the root": lambda var, eps, new: (
                (np.sqrt(var) + eps - new) ** 2
            ),
        },
    ),
    Number(
        round(1 / impulses(0.1, 1)[1]),
        "the count",
        {"this is the weight of a new batch, and Caffe adds up": 0.1, "this is over how many batches it averages": 19},
    ),
)
