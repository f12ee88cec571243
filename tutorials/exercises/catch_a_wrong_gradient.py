"""The exercises of `catch-a-wrong-gradient.md`."""

from __future__ import annotations

from typing import Any

import numpy as np

import refnorm
from exercises import Lesson, Number, Property, returned
from exercises.truths import batch, gradients, parameters, training

U = 2.0**-53


def cache_of(x: Any, gamma: Any, eps: float = 1e-5) -> tuple[Any, Any, Any]:
    """Return what the page's forward keeps: x_hat, inv_std and gamma."""
    inv_std = 1 / np.sqrt(x.var(axis=0) + eps)
    return (x - x.mean(axis=0)) * inv_std, inv_std, gamma


def why_no_blind_spot(answer: Any, rng: np.random.Generator) -> str | None:
    """Ask for a dy that is not constant, and of which nothing comes back, with eps = 0."""
    for _ in range(5):
        x = batch(rng)
        dy = np.asarray(returned(answer, x), dtype=np.float64)
        if dy.shape != x.shape:
            return f"dy should have the shape {x.shape}, and has {dy.shape}"
        if np.any(np.ptp(dy, axis=0) < 1e-3 * (1 + abs(dy).max())):
            return "in one channel all dy are equal: that one is known, and another is asked for"
        dx = gradients(dy, x, np.ones(3), 0.0)[0]
        if abs(dx).max() > 2.0**-40 * abs(dy).max() / x.std(axis=0).min():
            return f"something comes back: one dx is {dx.flat[abs(dx).argmax()]:.3g}"
    return None


def why_no_impostor(answer: Any, rng: np.random.Generator) -> str | None:
    """Ask for a wrong backward that passes where dy = 1."""
    wrong = False
    for _ in range(5):
        x, gamma = batch(rng), parameters(rng)[0]
        cache = cache_of(x, gamma)
        dx = np.asarray(returned(answer, np.ones_like(x), cache), dtype=np.float64)
        if dx.shape != x.shape:
            return f"dx should have the shape {x.shape}, and has {dx.shape}"
        if abs(dx).max() > 2.0**-40 * abs(cache[1] * gamma).max():
            return f"the check with dy = 1 catches it: one dx is {dx.flat[abs(dx).argmax()]:.3g}, and all should be 0"
        dy = rng.standard_normal(x.shape)
        right = gradients(dy, x, gamma, 1e-5)[0]
        wrong |= abs(returned(answer, dy, cache) - right).max() > 1e-6 * abs(right).max()
    return None if wrong else "it is right, and a wrong one is asked for"


def off_by(var: float, eps: float) -> float:
    """Return by how many per cent dx is too large if backward divides by sqrt(var), from y with eps and without."""
    x = np.array([[-1.0], [1.0]]) * var**0.5
    return float(100 * (training(x, 0.0)[1, 0] / training(x, eps)[1, 0] - 1))


def best_step(order: int) -> float:
    """Return the step at which h^order and u/h together are least, on a fine grid."""
    h = np.logspace(-12, 0, 100_001)
    return float(h[np.argmin(h**order + U / h)])


def factor_of_unbiased(m: int) -> float:
    """Return by which factor gradcheck sees dgamma differ if backward's x_hat was divided by the unbiased deviation."""
    x = np.random.default_rng(m).standard_normal((m, 1))

    def forward(gamma: Any) -> tuple[Any, Any]:
        return gamma * (x - x.mean()) / x.std(), x

    verdict = refnorm.gradcheck(forward, lambda dy, x: (dy * (x - x.mean()) / x.std(ddof=1)).sum(0), np.array([0.7]))
    return float(verdict.comparisons[0].analytic / verdict.comparisons[0].numeric)


check = Lesson(
    Number(
        best_step(4),
        "the best step",
        {"this is that of a central difference, whose error is h^2": U ** (1 / 3), "this is that of forward": U**0.5},
        within=3,
    ),
    Property(
        why_no_blind_spot,
        "nothing comes back, though this dy is not constant",
        {
            "all dy are equal": np.ones_like,
            "something comes back": lambda x: x**2,
        },
    ),
    Property(
        why_no_impostor,
        "it passes with dy = 1, and is wrong",
        {
            "it is right": lambda dy, cache: (
                cache[2] * cache[1] * (dy - dy.mean(axis=0) - cache[0] * (dy * cache[0]).mean(axis=0))
            ),
            "the check with dy = 1 catches it": lambda dy, cache: cache[2] * cache[1] * dy,
        },
    ),
    Number(
        off_by(0.05, 1e-3),
        "how much too large dx is, in per cent,",
        {"this is eps/var; the root halves it": 2.0},
    ),
    Number(
        factor_of_unbiased(5),
        "the factor",
        {
            "this is the factor of the variances; x_hat is divided by the root": 0.8,
            "it is dgamma that is too small": 1.118,
        },
    ),
)
