"""Read off dgamma and dbeta what dy is summed with, and what the sum is multiplied by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from refnorm.oracle.measure.divisors import divisors
from refnorm.oracle.measure.fit import CLEAR, Rows, multiplied, summed
from refnorm.oracle.measure.formula import Table, Value, channels
from refnorm.oracle.measure.parts import ALL, Selection, parts
from refnorm.oracle.measure.products import COUNTS, GAMMAS, INVERSES, ZERO, Divisor, Product, centred, far, product_of
from refnorm.oracle.measure.read_forward import Seen, noise_in
from refnorm.oracle.measure.region import STANDARD
from refnorm.oracle.worlds import Values, World

FEW = 6  # cases by which most parts are refuted


@dataclass(frozen=True, eq=False)
class Summed:
    """dgamma or dbeta: a product, one of whose factors is a sum over dy."""

    product: Product
    divisor: Divisor | None = None
    added: Product = ZERO

    def value(self, w: World) -> Values:
        """Return one value a channel."""
        w = w if self.divisor is None else self.divisor.change(w)
        total = self.product.value(w) + (self.added.value(w) if self.added.constant else 0)
        return np.broadcast_to(total, channels(w)).reshape(-1)

    def words(self) -> str:
        """Return the formula in words."""
        return str(self.product) + (f" + {self.added}".replace("+ -", "- ") if self.added.constant else "")


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
OWN: dict[str, Value] = {  # what something else may be added to
    "sum dy (x - mean) / std": lambda w: _total(w, w.upstream * w.x_hat),
    **{words: SUMS[words] for words in ("sum dy", "sum dy (x - mean)", "sum dy x", "sum dy y")},
}
ADDED: dict[str, Value] = {
    "gamma": lambda w: w.gamma,
    "beta": lambda w: w.beta,
    "1": lambda w: np.ones_like(w.gamma),
    "eps": lambda w: np.full_like(w.gamma, w.eps),
    "sign(gamma)": lambda w: np.sign(w.gamma),
    "sign(beta)": lambda w: np.sign(w.beta),
    "sum dy": SUMS["sum dy"],
    "mean sum dy": lambda w: _total(w, w.upstream) * w.mean,
    "mean sum dy / std": lambda w: _total(w, w.upstream) * w.mean * w.inv,
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
        if np.all(np.abs(target) <= noise):
            yield Summed(ZERO)
            return
        families = {"sum": SUMS, "inverse": BEHIND, "gamma": GAMMAS, "count": COUNTS}

        rows = [[*map(table, f.values())] for f in families.values()]
        found = multiplied(target, noise, rows)
        if found:
            yield Summed(product_of(found.terms, families))
            return
        both = [list(OWN.values()), list(ADDED.values())]
        pair = summed(target, noise, [[*map(table, some)] for some in both])
        if pair and len(pair.terms) == 2:
            (i, c), (j, d) = pair.terms
            added = Product(d, (("added", *list(ADDED.items())[j - len(OWN)]),))
            yield Summed(Product(c, (("sum", *list(OWN.items())[i]),)), added=added)
            return
        size = rows[0][0]
        slope = np.where(np.abs(target) > CLEAR * noise, target / size, 0)
        for _, power, (sign, formula) in divisors(slope, noise / np.abs(size), table):
            usual = ((0, sign), (0, 1.0), (1, 1.0), (0, 1.0))
            yield Summed(product_of(usual, families), Divisor(power, formula))
            return
        yield from _of_a_part(plain, target, noise, table)


def _of_a_part(seen: Sequence[Seen], target: Rows, noise: Rows, table: Table) -> Iterator[Summed]:
    """Yield sums over some of the values; most parts are refuted by a few cases that are not right."""
    for times, inverse in (("(x - mean)", "/ std"), ("", "")):
        right = table(_total_of(ALL, times, inverse))
        off = (np.abs(target - right) > noise) & np.isfinite(right)
        starts = np.cumsum([0, *(g.size for _, g in seen)])
        unlike = [k for k, (a, b) in enumerate(pairwise(starts)) if np.any(off[a:b])][:FEW]
        if not unlike:
            return
        few = Table([seen[k][0] for k in unlike], [channels(seen[k][0]) for k in unlike])
        rows = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in unlike])
        for part in parts():
            own = _total_of(part, times, inverse)
            if np.any(np.abs(few(own) - target[rows]) > noise[rows]) or np.any(np.abs(table(own) - target) > noise):
                continue
            words = f"sum dy {times}".strip() + f" of {part.words}"
            summed_up = ("part", words, _total_of(part, times, ""))
            yield Summed(Product(1.0, (summed_up, ("inverse", inverse, INVERSES[inverse]))))
            return


def _total_of(part: Selection, times: str, inverse: str) -> Value:
    return lambda w: part.total(w, w.upstream * (centred(w) if times else 1)) * INVERSES[inverse](w)
