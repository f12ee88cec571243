"""What the exercises of several lessons share: batches drawn at random, and what is right of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from refnorm import exact

H = 1e-100  # of the complex step: f(a + iH)/H has the derivative of f as its imaginary part, to rounding


def batch(rng: np.random.Generator) -> Any:
    """Draw x (m, 3), m from 3 to 9, whose channels differ in mean and scale."""
    return rng.standard_normal((rng.integers(3, 10), 3)) * [1.0, 3.0, 0.5] + [0.0, -2.0, 1.0]


def parameters(rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw gamma and beta (3,), gamma of either sign and not small."""
    return rng.uniform(0.5, 2, 3) * rng.choice([-1, 1], 3), rng.standard_normal(3)


def training(x: Any, eps: float, gamma: Any = None, beta: Any = None, axis: Any = 1) -> Any:
    """Return y by the definition, in exact arithmetic, rounded once."""
    return exact.training(x, gamma, beta, eps=eps, axis=axis).y.rounded()


def inference(x: Any, mean: Any, var: Any, gamma: Any, beta: Any, eps: float) -> Any:
    """Return y of inference by the definition, in exact arithmetic, rounded once."""
    return exact.inference(x, mean, var, gamma, beta, eps=eps).rounded()


def gradients(dy: Any, x: Any, gamma: Any, eps: float) -> tuple[Any, Any, Any]:
    """Return dx, dgamma and dbeta: the definition, differentiated by power series in exact arithmetic."""
    dx, dgamma, dbeta = exact.training_gradients_mechanical(dy, x, gamma, eps=eps)
    return dx.rounded(), dgamma.rounded(), dbeta.rounded()


def statistics(x: Any, where: Any = None) -> tuple[Any, Any]:
    """Return mean and biased variance of each channel, in exact arithmetic, rounded once."""
    moments = exact.statistics(x, where=where)
    return moments.mean.rounded(), moments.var.rounded()


def pulled_back(forward: Any, arguments: tuple[Any, ...], dz: Any) -> tuple[Any, ...]:
    """Return the gradient of sum(dz * forward(*arguments)) by each argument, by the complex step."""
    found = []
    for k, argument in enumerate(arguments):
        gradient = np.empty(argument.shape)
        for at in np.ndindex(argument.shape):
            moved = argument.astype(complex)
            moved[at] += 1j * H
            gradient[at] = (dz * forward(*arguments[:k], moved, *arguments[k + 1 :])).sum().imag / H
        found.append(gradient)
    return tuple(found)
