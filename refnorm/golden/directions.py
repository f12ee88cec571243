"""Directions for forward mode and second order: along which a case's inputs move, by the integer rule."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from refnorm.formats import Floats, rounded
from refnorm.golden.inputs import Case
from refnorm.golden.rule import uniform

SECOND_ORDER = {
    "jvp": ("jvp",),
    "double_backward": ("double backward ddy", "double backward dx", "double backward dgamma"),
}


class Directions(NamedTuple):
    """Directions of x, gamma and beta: of the jvp, and the upstream gradients of the double backward.

    None where the case has no such parameter. Numbers follow the integer rule (see `refnorm.golden.rule`), with the
    seeds of the case plus 70, 71 and 72, rounded to the formats of x and of the parameters.
    """

    dx: Floats
    dgamma: Floats | None
    dbeta: Floats | None


@lru_cache(maxsize=4096)
def directions(case: Case) -> Directions:
    """Return the directions of a case: never constant, of the size of x, and broadcast where x is."""
    x = np.where(np.isfinite(case.x), case.x, 0.0)
    size = np.max(np.abs(x - x.mean(tuple(a for a in range(x.ndim) if a != 1), keepdims=True)), initial=0)
    scale = 2.0 ** np.round(np.log2(size)) if size else 1.0
    channels = (case.x.shape[1],)
    dx = rounded((uniform(case.x.shape, case.seed + 70) - 0.25) * scale, case.kind)
    if case.situation.layout == "broadcast":
        dx = np.broadcast_to(dx[:1], dx.shape).copy()
    dgamma, dbeta = (rounded(uniform(channels, case.seed + k) + 0.125, case.parameters) for k in (71, 72))
    return Directions(dx, None if case.gamma is None else dgamma, None if case.beta is None else dbeta)
