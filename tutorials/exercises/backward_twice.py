"""The exercises of `backward-twice.md`: each link of the chain by itself, then the chain, then the closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from exercises import Function, Lesson, Number
from exercises.truths import batch, gradients, parameters, pulled_back

EPS = 0.1


def forward(x: Any, gamma: Any) -> tuple[Any, Any, Any, Any]:
    """Return centred, inv_std, x_hat and gamma, which backward needs."""
    centred = x - x.mean(axis=0)
    inv_std = ((centred * centred).mean(axis=0) + EPS) ** -0.5
    return centred, inv_std, centred * inv_std, gamma


def drawn(rng: np.random.Generator) -> tuple[Any, tuple[Any, Any, Any, Any]]:
    """Draw an upstream gradient, and what forward keeps."""
    x = batch(rng)
    return rng.standard_normal(x.shape), forward(x, parameters(rng)[0])


def last_line(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Draw dy, x_hat and gamma."""
    dy, (_, _, x_hat, gamma) = drawn(rng)
    return dy, x_hat, gamma


def product(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Draw dx_hat, centred and inv_std."""
    dx_hat, (centred, inv_std, _, _) = drawn(rng)
    return dx_hat, centred, inv_std


def root(rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw dinv_std and inv_std."""
    dx_hat, (_, inv_std, _, _) = drawn(rng)
    return dx_hat[0], inv_std


def square(rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw dvar and centred."""
    dx_hat, (centred, _, _, _) = drawn(rng)
    return dx_hat[0], centred


def difference(rng: np.random.Generator) -> tuple[Any]:
    """Draw dcentred."""
    return (drawn(rng)[0],)


def closed(rng: np.random.Generator) -> tuple[Any, Any, Any, Any]:
    """Draw dy, x_hat, inv_std and gamma."""
    dy, (_, inv_std, x_hat, gamma) = drawn(rng)
    return dy, x_hat, inv_std, gamma


def part_that_is_left() -> float:
    """Return the sum of dx x_hat as a part of that of dy x_hat / s, for 1, 3, 3, 9 and eps = 7."""
    x, dy = np.array([[1.0], [3.0], [3.0], [9.0]]), np.array([[1.0], [0.0], [-2.0], [5.0]])
    dx, dgamma, _ = gradients(dy, x, np.ones(1), 7.0)
    return float((dx * (x - 4) / 4).sum() / (dgamma[0] / 4))


def through_all(dy: Any, cache: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Return dx, dgamma and dbeta by differentiating the definition; x is centred, which no gradient notices."""
    centred, _, _, gamma = cache
    return gradients(dy, centred, gamma, EPS)


check = Lesson(
    Function(
        last_line,
        lambda dy, x_hat, gamma: pulled_back(lambda h, g, b: g * h + b, (x_hat, gamma, np.zeros(3)), dy),
        "dx_hat, dgamma, dbeta",
        {
            "gamma is missing in dx_hat": lambda dy, x_hat, gamma: (dy, (dy * x_hat).sum(0), dy.sum(0)),
            "dgamma and dbeta are means, and the loss is a sum: each y adds what it passes back": lambda dy, h, gamma: (
                dy * gamma,
                (dy * h).mean(0),
                dy.mean(0),
            ),
            "gamma reached every y of its channel, so what comes back is summed over the batch": lambda dy, h, gamma: (
                dy * gamma,
                dy * h,
                dy,
            ),
        },
    ),
    Function(
        product,
        lambda dx_hat, centred, inv_std: pulled_back(lambda c, r: c * r, (centred, inv_std), dx_hat),
        "dcentred, dinv_std",
        {
            "each factor's gradient is the other factor, and here it is the same one": lambda d, c, r: (
                d * c,
                (d * r).sum(0),
            ),
            "dinv_std is a mean, where a sum is needed": lambda d, c, r: (d * r, (d * c).mean(0)),
        },
    ),
    Function(
        root,
        lambda dinv_std, inv_std: pulled_back(lambda v: v**-0.5, (inv_std**-2,), dinv_std)[0],
        "dvar",
        {
            "the sign is wrong: a larger variance makes inv_std smaller": lambda d, r: d * r**3 / 2,
            "the power is wrong: (var + eps)^(-3/2) is inv_std^3": lambda d, r: -d * r / 2,
            "the factor 1/2 is missing": lambda d, r: -d * r**3,
        },
    ),
    Function(
        square,
        lambda dvar, centred: pulled_back(lambda c: (c * c).sum(0) / len(c), (centred,), dvar)[0],
        "dcentred",
        {
            "the factor 2 of the square is missing": lambda d, c: d * c / len(c),
            "the division by m is missing": lambda d, c: 2 * d * c,
        },
    ),
    Function(
        difference,
        lambda dcentred: pulled_back(lambda x: x - x.sum(0) / len(x), (np.zeros(dcentred.shape),), dcentred)[0],
        "dx",
        {
            "x was used twice, and the way through the mean is missing": lambda d: d,
            "the way through the mean has the wrong sign": lambda d: d + d.mean(0),
            "the gradient of the mean is shared by m values, and the division by m is missing": lambda d: d - d.sum(0),
        },
    ),
    Function(
        drawn,
        through_all,
        "dx, dgamma, dbeta",
        {
            "nothing came back through the variance": lambda dy, cache: (
                cache[3] * cache[1] * (dy - dy.mean(0)),
                (dy * cache[2]).sum(0),
                dy.sum(0),
            ),
            "nothing came back through the mean": lambda dy, cache: (
                cache[3] * cache[1] * (dy - cache[2] * (dy * cache[2]).mean(0)),
                (dy * cache[2]).sum(0),
                dy.sum(0),
            ),
            "gamma is missing in dx": lambda dy, cache: (
                cache[1] * (dy - dy.mean(0) - cache[2] * (dy * cache[2]).mean(0)),
                (dy * cache[2]).sum(0),
                dy.sum(0),
            ),
        },
    ),
    Function(
        closed,
        lambda dy, x_hat, inv_std, gamma: pulled_back(
            lambda c: gamma * x_hat / inv_std * ((c * c).mean(0) + EPS) ** -0.5, (x_hat / inv_std,), dy
        )[0],
        "the variance's part",
        {
            "the sign is wrong: the variance takes something away": lambda dy, h, r, g: g * r * h * (dy * h).mean(0),
            "there is an x_hat too many or too few": lambda dy, h, r, g: -g * r * (dy * h).mean(0) + 0 * h,
            "the sum should be divided by m": lambda dy, h, r, g: -g * r * h * (dy * h).sum(0),
        },
    ),
    Function(
        closed,
        lambda dy, x_hat, inv_std, gamma: gradients(dy, x_hat / inv_std, gamma, EPS)[0],
        "dx",
        {
            "nothing came back through the variance": lambda dy, h, r, g: g * r * (dy - dy.mean(0)),
            "nothing came back through the mean": lambda dy, h, r, g: g * r * (dy - h * (dy * h).mean(0)),
            "gamma is missing": lambda dy, h, r, g: r * (dy - dy.mean(0) - h * (dy * h).mean(0)),
            "mean and variance were taken for constants": lambda dy, h, r, g: g * r * dy,
        },
    ),
    Number(
        part_that_is_left(),
        "the part that is left",
        {"this is the part that is removed, var / (var + eps)": 9 / 16, "this is eps / var": 7 / 9},
    ),
)
