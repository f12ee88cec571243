"""Deviations of forward mode and double backward: what is held constant, forgotten, or taken twice.

Two roads lead to the double backward, and a mistake on one gives other numbers than the same mistake on the other:
`forward_dx` moves the backward's formula along the direction, `reverse_dx` carries a gradient back through it. Each
lets the mean, 1 / sqrt(var + eps) inside x_hat, and the 1 / sqrt(var + eps) in front be constants (0) or not (1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from refnorm.formats import rounded
from refnorm.oracle.worlds import Deviation, Values, World

Value = Callable[[World], Values]
SAME = "Gradient penalties, Hessian-vector products and influence functions follow another function than the layer."


def _frozen(w: World) -> bool:
    return w.case.operation == "inference"


def moved_x_hat(w: World, mean: float = 1, inverse: float = 1) -> Values:
    """Return how x_hat moves along ddx, with what is left of the mean's and of the inverse std's part."""
    return w.inv * (w.ddx - mean * w.average(w.ddx) - inverse * w.x_hat * w.average(w.ddx * w.x_hat))


def jvp(w: World, mean: float = 1, inverse: float = 1, direct: float = 1, gamma: float = 1, beta: float = 1) -> Values:
    """Return how y moves, each part scaled; in a frozen layer mean and inverse count as 0."""
    moved = w.inv * w.ddx if _frozen(w) else moved_x_hat(w, mean, inverse)
    return direct * w.gamma * moved + gamma * w.ddgamma * w.x_hat + beta * w.ddbeta


def residual(w: World) -> Values:
    """Return what the two means leave of dy."""
    return w.upstream - w.mean_dy - w.x_hat * w.mean_dy_x_hat


def of_ddgamma(w: World) -> Values:
    """Return the part of the double backward's dx that comes from ddgamma."""
    return w.ddgamma * w.inv * (w.upstream if _frozen(w) else residual(w))


def forward_dx(w: World, mean: float = 1, inverse: float = 1, front: float = 1) -> Values:
    """Return how dx moves along (ddx, ddgamma)."""
    moved = moved_x_hat(w, mean, inverse)
    in_front = w.inv * (w.ddgamma - front * w.gamma * w.inv * w.average(w.ddx * w.x_hat)) * residual(w)
    return in_front - w.gamma * w.inv * (moved * w.mean_dy_x_hat + w.x_hat * w.average(w.upstream * moved))


def reverse_dx(w: World, mean: float = 1, inverse: float = 1, front: float = 1) -> Values:
    """Return the gradient with respect to x of <ddx, dx> + <ddgamma, dgamma>."""
    crossed = w.ddx * w.mean_dy_x_hat + w.upstream * w.average(w.ddx * w.x_hat)
    a = w.ddgamma * w.upstream - w.gamma * w.inv * crossed
    through = w.inv * (a - mean * w.average(a) - inverse * w.x_hat * w.average(a * w.x_hat))
    return through - front * w.gamma * w.inv**2 * w.x_hat * w.average(w.ddx * residual(w))


def dx(w: World) -> Values:
    """Return the double backward's dx."""
    return of_ddgamma(w) if _frozen(w) else forward_dx(w)


def dgamma(w: World, mean: float = 1, inverse: float = 1) -> Values:
    """Return the double backward's dgamma."""
    moved = w.inv * w.ddx if _frozen(w) else moved_x_hat(w, mean, inverse)
    return (w.upstream * moved).sum(w.axes)


def second(
    name: str,
    sentence: str,
    *,
    moving: Value | None = None,
    frozen: bool = True,
    effect: str = SAME,
    **double_backward: Value,
) -> Deviation:
    """Deviate in second order only: ``moving`` in jvp and ddy, other keywords in dx and dgamma."""
    of = {} if moving is None else {"jvp": moving, "double backward ddy": moving}
    of |= {f"double backward {result}": value for result, value in double_backward.items()}
    return Deviation(name, sentence, effect, of | ({f"frozen {q}": v for q, v in of.items()} if frozen else {}))


def _constant(name: str, sentence: str, mean: float, inverse: float) -> tuple[Deviation, ...]:
    """Hold statistics constant, on either road."""

    def moving(w: World) -> Values:
        return jvp(w, mean, inverse)

    def of_gamma(w: World) -> Values:
        return dgamma(w, mean, inverse)

    forward = second(
        name, sentence, moving=moving, frozen=False, dx=lambda w: forward_dx(w, mean, inverse, inverse), dgamma=of_gamma
    )
    return forward, second(name, sentence, frozen=False, dx=lambda w: reverse_dx(w, mean, inverse, inverse))


def _through_statistics(w: World) -> Values:
    return w.gamma * moved_x_hat(w) + w.ddgamma * w.x_hat + w.ddbeta


def _rounded_products(w: World) -> Values:
    products = rounded(np.asarray(w.ddx * w.upstream, dtype=np.float64), w.case.kind)
    return (products * w.inv).sum(w.axes)


def _without_gamma(w: World) -> World:
    return replace(w, gamma=np.ones_like(w.gamma))


def _halves(w: World) -> tuple[Values, Values]:
    """Return dx without one and without the other of the two terms in which ddx and dy change places."""
    slope = w.gamma * w.inv**2
    first = slope * w.average(w.ddx * w.x_hat) * residual(w)
    other = slope * w.mean_dy_x_hat * moved_x_hat(w) / w.inv
    return dx(w) + first, dx(w) + other


RIGHT: dict[str, Value] = {  # quantity -> what it is in a world, be it the definition's or one that deviates
    f"{prefix}{quantity}": value
    for prefix in ("", "frozen ")
    for quantity, value in (
        ("jvp", jvp),
        ("double backward ddy", jvp),
        ("double backward dx", dx),
        ("double backward dgamma", dgamma),
    )
}

SECOND_ORDER_DEVIATIONS: tuple[Deviation, ...] = (
    *_constant(
        "second-order-statistics-constant",
        "the batch's statistics are constants in jvp or double backward, as they are in a frozen layer",
        0,
        0,
    ),
    second(
        "second-order-statistics-constant",
        "double backward is that of a frozen layer: the batch's statistics are constants in it",
        frozen=False,
        dx=lambda w: w.ddgamma * w.inv * w.upstream,
    ),
    *_constant(
        "second-order-mean-constant",
        "the mean does not move with x: its term is missing in jvp or double backward",
        0,
        1,
    ),
    *_constant(
        "second-order-variance-constant",
        "1 / sqrt(var + eps) does not move with x: the variance's term is missing in jvp or double backward",
        1,
        0,
    ),
    *(
        second(
            "double-backward-front-constant",
            "the 1 / sqrt(var + eps) in front of dx does not move with x; inside x_hat it does",
            frozen=False,
            dx=value,
        )
        for value in (lambda w: forward_dx(w, front=0), lambda w: reverse_dx(w, front=0))
    ),
    second(
        "double-backward-ddx-missing",
        "the part of dx that comes from ddx is missing: x_hat and 1 / sqrt(var + eps) are constants in the backward",
        frozen=False,
        dx=of_ddgamma,
    ),
    *(
        second(
            "double-backward-half-missing",
            "of the two halves of dx in which ddx and dy change places, one is missing",
            frozen=False,
            dx=value,
        )
        for value in (lambda w: _halves(w)[0], lambda w: _halves(w)[1])
    ),
    second(
        "second-order-ddgamma-missing",
        "what moves with gamma is missing: dgamma's part of the jvp, ddgamma's of the double backward",
        moving=lambda w: jvp(w, gamma=0),
        dx=lambda w: dx(w) - of_ddgamma(w),
    ),
    second(
        "second-order-ddbeta-missing",
        "what moves with beta is missing: dbeta's part of the jvp, ddbeta's of the double backward",
        moving=lambda w: jvp(w, beta=0),
    ),
    second(
        "second-order-gamma-missing",
        "gamma is missing in jvp or double backward",
        moving=lambda w: jvp(_without_gamma(w)),
        dx=lambda w: dx(_without_gamma(w)),
    ),
    second(
        "second-order-sign",
        "jvp or double backward has the wrong sign",
        moving=lambda w: -jvp(w),
        dx=lambda w: -dx(w),
        dgamma=lambda w: -dgamma(w),
    ),
    second(
        "second-order-x-sign",
        "what moves with x has the wrong sign in jvp or double backward",
        moving=lambda w: jvp(w, direct=-1),
        dx=lambda w: 2 * of_ddgamma(w) - dx(w),
        dgamma=lambda w: -dgamma(w),
    ),
    second(
        "second-order-not-divided",
        "sums stand where means belong in jvp or double backward: they are not divided by m",
        moving=lambda w: jvp(w, w.m, w.m),
        dx=lambda w: w.m * dx(w) - (w.m - 1) * of_ddgamma(w),
        dgamma=lambda w: dgamma(w, w.m, w.m),
        frozen=False,
    ),
    second(
        "second-order-std-missing",
        "1 / sqrt(var + eps) is missing in jvp or double backward",
        moving=lambda w: jvp(w, direct=0) + (jvp(w, gamma=0, beta=0)) / w.inv,
        dx=lambda w: dx(w) / w.inv,
        dgamma=lambda w: dgamma(w) / w.inv.reshape(-1),
    ),
    second(
        "double-backward-dgamma-times-gamma",
        "the double backward's dgamma is sum(ddx dx), gamma included",
        dgamma=lambda w: dgamma(w) * w.gamma.reshape(-1),
    ),
    Deviation(
        "double-backward-products-rounded",
        "ddx dy is rounded to the format of x before it is summed to dgamma, whose format is wider",
        "dgamma in float32 has the digits of half precision.",
        {"frozen double backward dgamma": _rounded_products},
        kind="numerics",
    ),
    Deviation(
        "double-backward-swapped",
        "ddy and dx of the double backward change places",
        SAME,
        {
            f"{prefix}double backward {result}": value
            for prefix in ("", "frozen ")
            for result, value in (("ddy", dx), ("dx", jvp))
        },
    ),
    Deviation(
        "training-second-order-in-frozen",
        "frozen jvp or double backward goes through the statistics, which are constants there",
        SAME,
        {
            **dict.fromkeys(("frozen jvp", "frozen double backward ddy"), _through_statistics),
            "frozen double backward dx": forward_dx,
            "frozen double backward dgamma": lambda w: (w.upstream * moved_x_hat(w)).sum(w.axes),
        },
    ),
)
