"""A coefficient as it was measured: a constant times powers of gamma, std and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refnorm.oracle.measure.counts import FACTORS, ratio
from refnorm.oracle.measure.divisors import power_words
from refnorm.oracle.measure.formula import Formula, Value, counts
from refnorm.oracle.measure.terms import NEIGHBOURS, of_neighbours
from refnorm.oracle.worlds import Values, World

GAMMAS: dict[str, Value] = {
    "gamma": lambda w: w.gamma,
    "1": lambda w: np.ones_like(w.gamma),
    "|gamma|": lambda w: np.abs(w.gamma),
    "gamma^2": lambda w: w.gamma**2,
    "sign(gamma)": lambda w: np.where(w.gamma < 0, -1, 1).astype(np.longdouble),
    "gamma^3": lambda w: w.gamma**3,
    "beta": lambda w: w.gamma if w.case.gamma is None or w.case.beta is None else w.beta,
    "(1 + gamma)": lambda w: w.gamma if w.case.gamma is None else 1 + w.gamma,
    **{f"gamma of {words}": of_neighbours("gamma", of) for words, of in NEIGHBOURS.items()},
    "1/gamma": lambda w: 1 / np.where(w.gamma == 0, np.nan, w.gamma),
}
INVERSES: dict[str, Value] = {
    "/ std": lambda w: w.inv,
    "": lambda w: np.ones_like(w.inv),
    "/ std^2": lambda w: w.inv**2,
    "std": lambda w: 1 / w.inv,
    "var": lambda w: w.var,
    "/ std^3": lambda w: w.inv**3,
    "std^2": lambda w: w.inv**-2.0,
}


def _counted(words: str) -> Value:
    of = ratio(words).of
    return lambda w: of(counts(w), np.longdouble(w.m))


COUNTS: dict[str, Value] = {words: _counted(words) for words in FACTORS}
ACROSS = COUNTS | {"C/N": _counted("C/N")}  # where a sum runs over several channels


@dataclass(frozen=True, eq=False)
class Product:
    """A constant times factors, each with its words."""

    constant: float
    factors: tuple[tuple[str, str, Value], ...]

    def value(self, w: World) -> Values:
        """Return the product in a world."""
        result: Values = np.longdouble(self.constant)
        for _, _, value in self.factors:
            result = result * value(w)
        return result

    def words(self) -> dict[str, str]:
        """Return the factors in words, by kind: sum, inverse, squares, gamma, count."""
        return {kind: word for kind, word, _ in self.factors}

    def __str__(self) -> str:
        if not self.constant:
            return "0"
        words = [word for _, word, _ in self.factors if word not in ("", "1")]
        above = [w for w in words if not w.startswith("/")]
        text = " ".join([*above, *(w for w in words if w.startswith("/"))])
        size = abs(self.constant)
        number = "" if size == 1 and above else f"{size:.7g} "
        return ("-" if self.constant < 0 else "") + (number + text).strip()


ZERO = Product(0.0, ())


@dataclass(frozen=True, eq=False)
class Divisor:
    """What a backward divides by, where that is not what its forward divided by: std^power is a sum of terms."""

    power: float
    formula: Formula

    def change(self, w: World) -> World:
        """Return the world in which it is std."""
        inverse = self.formula.value(w) ** (-1 / np.longdouble(self.power))
        return replace(w, inverse=lambda _: inverse)

    def __str__(self) -> str:
        return f"{power_words(self.power)} = {self.formula}"


def centred(w: World) -> Values:
    """Return x less the mean."""
    return w.x - w.mean


def far(w: World) -> Values:
    """Return how large x_hat is, with what its mean costs."""
    return np.max(np.abs(w.x), axis=w.axes, keepdims=True) * np.abs(w.inv) + 1


def product_of(terms: Sequence[tuple[int, float]], families: dict[str, dict[str, Value]]) -> Product:
    """Return a product by the numbers of its factors."""
    constant = float(np.prod([c for _, c in terms]))
    chosen = zip(terms, families.items(), strict=True)
    return Product(constant, tuple((kind, *list(f.items())[i]) for (i, _), (kind, f) in chosen))
