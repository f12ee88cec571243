"""Read off dgamma and dbeta what dy is summed with, and what the sum is multiplied by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from refnorm.oracle.measure.divisors import divisors
from refnorm.oracle.measure.fit import CLEAR, multiplied
from refnorm.oracle.measure.formula import Table, Value, channels
from refnorm.oracle.measure.products import (
    COUNTS,
    GAMMAS,
    INVERSES,
    ZERO,
    Divisor,
    Product,
    centred,
    far,
    product_of,
)
from refnorm.oracle.measure.read_forward import Seen, noise_in
from refnorm.oracle.measure.region import STANDARD
from refnorm.oracle.worlds import Values, World


@dataclass(frozen=True, eq=False)
class Summed:
    """dgamma or dbeta: a product, one of whose factors is a sum over dy."""

    product: Product
    divisor: Divisor | None = None

    def value(self, w: World) -> Values:
        """Return one value a channel."""
        w = w if self.divisor is None else self.divisor.change(w)
        return np.broadcast_to(self.product.value(w), channels(w)).reshape(-1)

    def words(self) -> str:
        """Return the formula in words."""
        return str(self.product)


def _total(w: World, values: Values) -> Values:
    return values.sum(w.axes, keepdims=True)


def _sample(w: World, values: Values, which: int) -> Values:
    return values[which : which + 1 or None].sum(tuple(range(2, w.x.ndim)), keepdims=True)


SUMS: dict[str, Value] = {
    "sum dy (x - mean)": lambda w: _total(w, w.upstream * centred(w)),
    "sum dy": lambda w: _total(w, w.upstream),
    "sum dy x": lambda w: _total(w, w.upstream * w.x),
    "sum dy y": lambda w: _total(w, w.upstream * w.y),
    "sum dy (x - running mean)": lambda w: _total(w, w.upstream * (w.x - w.running_mean)),
    "sum dy (x - batch mean)": lambda w: _total(w, w.upstream * (w.x - STANDARD.average(w.x))),
    "sum dy (x - mean) of the first sample": lambda w: _sample(w, w.upstream * centred(w), 0),
    "sum dy (x - mean) of the last sample": lambda w: _sample(w, w.upstream * centred(w), -1),
    "sum dy of the first sample": lambda w: _sample(w, w.upstream, 0),
    "sum dy of the last sample": lambda w: _sample(w, w.upstream, -1),
    "sum dy x_hat": lambda w: _total(w, w.upstream * w.x_hat),
    "sum |dy|": lambda w: _total(w, np.abs(w.upstream)),
    "sum dy^2": lambda w: _total(w, w.upstream**2),
}
BEHIND: dict[str, Value] = {
    **INVERSES,
    "/ sqrt(running variance + eps)": lambda w: 1 / np.sqrt(w.running_var + w.eps),
    "/ sqrt(batch variance + eps)": lambda w: 1 / np.sqrt(STANDARD.average((w.x - STANDARD.average(w.x)) ** 2) + w.eps),
}


def read_parameter(seen: Sequence[Seen]) -> Iterator[Summed]:
    """Yield what dgamma or dbeta may be.

    Parameters
    ----------
    seen : the world of each case, with the gradient that was returned.
    """
    plain = [(w, np.asarray(g, float)) for w, g in seen if np.all(np.isfinite(g))]
    if len(plain) < 3:
        return
    with np.errstate(all="ignore"):
        target = np.concatenate([g for _, g in plain])
        table = Table([w for w, _ in plain], [channels(w) for w, _ in plain])
        u = max(noise_in(w.case.kind) for w, _ in plain)
        sizes = table(lambda w: np.abs(w.upstream).sum(w.axes, keepdims=True) * far(w))
        noise = np.maximum(sizes * u, np.abs(target) * u)
        if np.all(target == 0):
            yield Summed(ZERO)
            return
        families = {"sum": SUMS, "inverse": BEHIND, "gamma": GAMMAS, "count": COUNTS}

        rows = [[*map(table, f.values())] for f in families.values()]
        found = multiplied(target, noise, rows)
        if found:
            yield Summed(product_of(found.terms, families))
            return
        size = rows[0][0]
        clear = np.abs(size) > 1e-300
        slope = np.where(clear, target / np.where(clear, size, 1), 0)
        slope[np.abs(target) < CLEAR * noise] = 0
        for _, power, (sign, formula) in divisors(slope, np.where(clear, noise / np.abs(size), np.inf), table, 2):
            usual = ((0, sign), (0, 1.0), (1, 1.0), (0, 1.0))
            yield Summed(product_of(usual, families), Divisor(power, formula))
            return
