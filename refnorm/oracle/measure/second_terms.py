"""Forward mode and double backward as sums of terms: by definition, or with other factors, constants and means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refnorm.oracle.measure.formula import Value
from refnorm.oracle.measure.products import COUNTS
from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.worlds import Values, World

Mean = Callable[[Values], Values]

FRONTS: dict[str, Value] = {
    "": lambda w: np.ones_like(w.gamma),
    "gamma": lambda w: w.gamma,
    "gamma^2": lambda w: w.gamma**2,
    "|gamma|": lambda w: np.abs(w.gamma),
    "ddgamma": lambda w: w.ddgamma,
    "ddgamma gamma": lambda w: w.ddgamma * w.gamma,
    "ddbeta": lambda w: w.ddbeta,
    "ddbeta gamma": lambda w: w.ddbeta * w.gamma,
}
ONCE_MORE = {"": "gamma", "gamma": "gamma^2", "ddgamma": "ddgamma gamma", "ddbeta": "ddbeta gamma"}
STDS: dict[str, Value] = {  # 1 / std, where it is another one than the forward's
    "sqrt(var)": lambda w: 1 / np.sqrt(w.var),
    "(sqrt(var) + eps)": lambda w: 1 / (np.sqrt(w.var) + w.eps),
    "sqrt(unbiased var + eps)": lambda w: 1 / np.sqrt(w.var * (w.m / max(w.m - 1, 1)) + w.eps),
}


POWERS = {"std": -1, "/ std": 1, "std^2": -2, "/ std^2": 2}
AXES = ("N", "NCSL", "SL", "NS", "CSL", "C", "NC")


@dataclass(frozen=True)
class Summand:
    """What stands in front, counts, 1 / std^power, and what follows.

    Attributes
    ----------
    front : of FRONTS.
    power : of 1 / std, beside those in x_hat.
    words, value : what follows, with "{}" where the region of a mean is named.
    count : of `products.COUNTS`. region : what means are over. std : of STDS, or "std".
    """

    front: str
    power: int
    words: str
    value: Callable[[World, Mean], Values]
    count: str = "1"
    region: Region = STANDARD
    std: str = "std"

    def follows(self, w: World) -> Values:
        """Return what follows, in a world."""
        own = w if self.std == "std" else replace(w, inverse=STDS[self.std])
        return self.value(own, self.region.average)

    def inverse(self, w: World) -> Values:
        """Return 1 / std."""
        return w.inv if self.std == "std" else STDS[self.std](w)

    def times(self, w: World) -> Values:
        """Return the term in a world."""
        return FRONTS[self.front](w) * COUNTS[self.count](w) * self.inverse(w) ** self.power * self.follows(w)


JVP = {
    Summand("gamma", 1, "ddx", lambda w, avg: w.ddx): (1, 1),  # the constant in training, and in a frozen layer
    Summand("gamma", 1, "mean{}(ddx)", lambda w, avg: avg(w.ddx)): (-1, 0),
    Summand("gamma", 1, "x_hat mean{}(ddx x_hat)", lambda w, avg: w.x_hat * avg(w.ddx * w.x_hat)): (-1, 0),
    Summand("ddgamma", 0, "x_hat", lambda w, avg: w.x_hat): (1, 1),
    Summand("ddbeta", 0, "", lambda w, avg: np.ones_like(w.x)): (1, 1),
}
DX = {  # of the double backward: the derivative of dx = gamma / std (dy - mean(dy) - x_hat mean(dy x_hat))
    Summand("ddgamma", 1, "dy", lambda w, avg: w.upstream): (1, 1),
    Summand("ddgamma", 1, "mean{}(dy)", lambda w, avg: avg(w.upstream)): (-1, 0),
    Summand("ddgamma", 1, "x_hat mean{}(dy x_hat)", lambda w, avg: w.x_hat * avg(w.upstream * w.x_hat)): (-1, 0),
    Summand("gamma", 2, "dy mean{}(ddx x_hat)", lambda w, avg: w.upstream * avg(w.ddx * w.x_hat)): (-1, 0),
    Summand("gamma", 2, "mean{}(dy) mean{}(ddx x_hat)", lambda w, avg: avg(w.upstream) * avg(w.ddx * w.x_hat)): (1, 0),
    Summand("gamma", 2, "ddx mean{}(dy x_hat)", lambda w, avg: w.ddx * avg(w.upstream * w.x_hat)): (-1, 0),
    Summand("gamma", 2, "mean{}(ddx) mean{}(dy x_hat)", lambda w, avg: avg(w.ddx) * avg(w.upstream * w.x_hat)): (1, 0),
    Summand("gamma", 2, "x_hat mean{}(dy ddx)", lambda w, avg: w.x_hat * avg(w.upstream * w.ddx)): (-1, 0),
    Summand("gamma", 2, "x_hat mean{}(dy) mean{}(ddx)", lambda w, avg: w.x_hat * avg(w.upstream) * avg(w.ddx)): (1, 0),
    Summand(
        "gamma",
        2,
        "x_hat mean{}(dy x_hat) mean{}(ddx x_hat)",
        lambda w, avg: w.x_hat * avg(w.upstream * w.x_hat) * avg(w.ddx * w.x_hat),
    ): (3, 0),
}
DGAMMA = {
    Summand("", 1, "sum(dy ddx)", lambda w, avg: w.m * w.average(w.upstream * w.ddx)): (1, 1),
    Summand("", 1, "sum(dy) mean{}(ddx)", lambda w, avg: w.m * w.mean_dy * avg(w.ddx)): (-1, 0),
    Summand(
        "",
        1,
        "sum(dy x_hat) mean{}(ddx x_hat)",
        lambda w, avg: w.m * w.mean_dy_x_hat * avg(w.ddx * w.x_hat),
    ): (-1, 0),
}
DEFINED: dict[str, dict[Summand, tuple[int, int]]] = {
    "jvp": JVP,
    "double backward ddy": JVP,
    "double backward dx": DX,
    "double backward dgamma": DGAMMA,
}


@dataclass(frozen=True, eq=False)
class Combination:
    """A quantity of second order as a sum of terms, each times a constant.

    Attributes
    ----------
    quantity : what it is.
    parts : constants and terms.
    key : the constants of the definition's terms, in words; one with a star is of a term that is changed.
    changed : how, in the words of `variations`.
    """

    quantity: str
    parts: tuple[tuple[float, Summand], ...]
    key: tuple[str, ...] = ()
    changed: str = ""

    def value(self, w: World) -> Values:
        """Return the sum in a world."""
        total = sum((np.longdouble(c) * t.times(w) for c, t in self.parts), np.longdouble(0))
        if self.quantity.endswith("dgamma"):
            return np.broadcast_to(total, w.mean.shape).reshape(-1)
        return np.broadcast_to(total, w.x.shape)

    def words(self) -> str:
        """Return the formula, terms with the same front in one bracket."""
        fronts: dict[str, list[tuple[float, str]]] = {}
        for c, t in self.parts:
            size = t.std if abs(t.power) == 1 else f"{t.std}^{abs(t.power)}"
            powers = {-1: size, 0: "", 1: f"/ {size}"}[int(np.sign(t.power))]
            front = " ".join(word for word in (t.count if t.count != "1" else "", t.front, powers) if word)
            front = f"1 {front}" if front.startswith("/") else front
            over = t.region.words + (" " if t.region.words else "")
            fronts.setdefault(front, []).append((c, t.words.replace("{}", over)))
        text = ""
        for front, terms in fronts.items():
            if front and len(terms) > 1:
                outer = -1 if terms[0][0] < 0 else 1
                inside = _sum([(c * outer, words) for c, words in terms]).removeprefix(" + ")
                terms = [(outer, f"({inside})")]
            text += _sum([(c, f"{front} {words}".strip()) for c, words in terms])
        name = self.quantity.removeprefix("frozen ").removeprefix("double backward ")
        text = text.removeprefix(" + ") if text.startswith(" + ") else text.replace(" - ", "-", 1)
        return f"{name} = {text or '0'}"


def _sum(terms: list[tuple[float, str]]) -> str:
    text = ""
    for c, words in terms:
        sized = words if abs(c) == 1 else f"{abs(c):.7g} {words.removeprefix('1 ')}"
        text += (" - " if c < 0 else " + ") + sized
    return text


def defined_second(quantity: str) -> Combination:
    """Return what a quantity is by definition.

    Examples
    --------
    >>> defined_second("frozen jvp").words()
    'jvp = gamma / std ddx + ddgamma x_hat + ddbeta'
    >>> defined_second("jvp").words()
    'jvp = gamma / std (ddx - mean(ddx) - x_hat mean(ddx x_hat)) + ddgamma x_hat + ddbeta'
    >>> defined_second("frozen double backward dgamma").words()
    'dgamma = 1 / std sum(dy ddx)'
    """
    frozen = quantity.startswith("frozen ")
    terms = DEFINED[quantity.removeprefix("frozen ")]
    parts = tuple((float(c[frozen]), t) for t, c in terms.items() if c[frozen])
    return Combination(quantity, parts, tuple(f"{c[frozen]:g}" for c in terms.values()))


RIGHT: dict[str, Value] = {  # quantity -> what it is in a world, be it the definition's or one that deviates
    quantity: defined_second(quantity).value for which in DEFINED for quantity in (which, f"frozen {which}")
}


def variations() -> Iterator[tuple[str, Callable[[Summand], Summand]]]:
    """Yield what a term may have that its definition has not: another gamma, std, count, or means of other values."""
    yield "no gamma", lambda t: replace(t, front="") if t.front == "gamma" else t
    yield "gamma", lambda t: replace(t, front=ONCE_MORE[t.front])
    yield "|gamma|", lambda t: replace(t, front="|gamma|") if t.front == "gamma" else t
    yield "x for x_hat", lambda t: replace(t, words="x", value=lambda w, _: w.x) if t.words == "x_hat" else t
    yield (
        "x - mean for x_hat",
        lambda t: replace(t, words="(x - mean)", value=lambda w, _: w.x - w.mean) if t.words == "x_hat" else t,
    )
    yield from ((words, _times_power(power)) for words, power in POWERS.items())
    yield from ((count, _with(count=count)) for count in COUNTS)
    yield from ((region.words, _with(region=region)) for region in map(Region, AXES))
    yield from ((std, _with(std=std)) for std in STDS)


def _with(**fields: Any) -> Callable[[Summand], Summand]:
    return lambda t: replace(t, **fields)


def _times_power(power: int) -> Callable[[Summand], Summand]:
    return lambda t: replace(t, power=t.power + power)
