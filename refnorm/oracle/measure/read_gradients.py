"""Read off dx, dgamma and dbeta what dy is multiplied by, and which sums of it are taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from refnorm.formats import unit_roundoff
from refnorm.oracle.measure.fit import Rows, multiplied, summed
from refnorm.oracle.measure.formula import STANDARD, Formula, Region, Term, channels, shards, stacked
from refnorm.oracle.measure.read_forward import POWERS, ROUNDINGS, Seen, divisors
from refnorm.oracle.measure.terms import FACTORS, factor
from refnorm.oracle.worlds import Values, World

Value = Callable[[World], Values]
GAMMAS: dict[str, Value] = {
    "gamma": lambda w: w.gamma,
    "1": lambda w: np.ones_like(w.gamma),
    "|gamma|": lambda w: np.abs(w.gamma),
    "gamma^2": lambda w: w.gamma**2,
    "sign(gamma)": lambda w: np.where(w.gamma < 0, -1, 1).astype(np.longdouble),
    "gamma^3": lambda w: w.gamma**3,
    "beta": lambda w: w.gamma if w.case.gamma is None or w.case.beta is None else w.beta,
    "(1 + gamma)": lambda w: w.gamma if w.case.gamma is None else 1 + w.gamma,
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
AVERAGES = (STANDARD, Region("N"), Region("NCSL"), Region("SL"), Region("NS"), Region("CSL"), Region("C"), Region("NC"))


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
        number = "" if size == 1 and above else f"{size:.10g} "
        return ("-" if self.constant < 0 else "") + (number + text).strip()


ZERO = Product(0.0, ())


@dataclass(frozen=True, eq=False)
class Divisor:
    """What a backward divides by, where that is not what its forward divided by: std^power is a sum of terms."""

    power: float
    formula: Formula

    def change(self, w: World) -> World:
        """Return the world in which it is std."""
        inverse = self.formula.value(w) ** np.longdouble(-1 / self.power)
        return replace(w, inverse=lambda _: inverse)

    def __str__(self) -> str:
        return f"{POWERS[self.power]} = {self.formula}"


@dataclass(frozen=True, eq=False)
class Dx:
    """dx = own dy - of_mean - of_x_hat, each a product, as it was measured; a term may be missing."""

    own: Product
    of_mean: Product
    of_x_hat: Product
    divisor: Divisor | None = None

    def value(self, w: World) -> Values:
        """Return dx."""
        w = w if self.divisor is None else self.divisor.change(w)
        parts = (self.own, w.upstream), (self.of_mean, 1), (self.of_x_hat, w.x - w.mean)
        return sum((p.value(w) * by for p, by in parts if p.constant), np.zeros_like(w.x))

    def words(self) -> str:
        """Return the formula in words."""
        terms = [f"{self.own} dy"] if self.own.constant else []
        terms += [str(self.of_mean)] if self.of_mean.constant else []
        terms += [f"{self.of_x_hat} (x - mean)"] if self.of_x_hat.constant else []
        return " + ".join(terms).replace("+ -", "- ") or "0"



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


def centred(w: World) -> Values:
    """Return x less the mean."""
    return w.x - w.mean


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
    "sum |dy|": lambda w: _total(w, np.abs(w.upstream)),
    "sum dy^2": lambda w: _total(w, w.upstream**2),
}
BEHIND: dict[str, Value] = {
    **INVERSES,
    "/ sqrt(running variance + eps)": lambda w: 1 / np.sqrt(w.running_var + w.eps),
    "/ sqrt(batch variance + eps)": lambda w: 1 / np.sqrt(STANDARD.average((w.x - STANDARD.average(w.x)) ** 2) + w.eps),
}
COUNTS: dict[str, Value] = {words: (lambda w, words=words: factor(w, words)) for words in FACTORS}  # type: ignore[misc]


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
        worlds, shapes = [w for w, _ in plain], [channels(w) for w, _ in plain]
        u = max(unit_roundoff(w.case.kind) for w in worlds) * ROUNDINGS
        sizes = stacked(lambda w: np.abs(w.upstream).sum(w.axes, keepdims=True) * _far(w), worlds, shapes)
        noise = np.maximum(sizes * u, np.abs(target) * u)
        if np.all(target == 0):
            yield Summed(ZERO)
            return
        families = {"sum": SUMS, "inverse": BEHIND, "gamma": GAMMAS, "count": COUNTS}

        def row(term: Term | Formula) -> Rows:
            return stacked(term.value, worlds, shapes)

        rows = [[stacked(value, worlds, shapes) for value in f.values()] for f in families.values()]
        found = multiplied(target, noise, rows)
        if found:
            yield Summed(_product(found.terms, families))
            return
        size = rows[0][0]
        clear = np.abs(size) > 1e-300
        slope = np.where(clear, target / np.where(clear, size, 1), 0)
        slope[np.abs(target) < 1e3 * noise] = 0
        for _, power, (sign, formula) in divisors(slope, np.where(clear, noise / np.abs(size), np.inf), row, 2):
            usual = ((0, sign), (0, 1.0), (1, 1.0), (0, 1.0))
            yield Summed(_product(usual, families), Divisor(power, formula))
            return


def _far(w: World) -> Values:
    """Return how large x_hat is, with what its mean costs."""
    return np.max(np.abs(w.x), axis=w.axes, keepdims=True) * np.abs(w.inv) + 1


def _product(terms: Sequence[tuple[int, float]], families: dict[str, dict[str, Value]]) -> Product:
    constant = float(np.prod([c for _, c in terms]))
    chosen = zip(terms, families.items(), strict=True)
    return Product(constant, tuple((kind, *list(f.items())[i]) for (i, _), (kind, f) in chosen))


def read_dx(seen: Sequence[Seen]) -> Iterator[Dx]:
    """Yield what dx may be: in each channel dx = a dy + b + c (x - mean), and a, b, c are products.

    Parameters
    ----------
    seen : the world of each case, with the dx that was returned.
    """
    plain = [(w, np.asarray(dx, np.longdouble)) for w, dx in seen if np.all(np.isfinite(dx)) and w.m > 3]
    for region in AVERAGES[:1]:
        solved = [_solved(w, dx, region) for w, dx in plain]
        if plain and all(s is not None for s in solved):
            yield from _read([(w, *s) for (w, _), s in zip(plain, solved, strict=True) if s is not None], region)
            return
    if len(plain) > 2:
        yield from _elementwise(sorted(plain, key=lambda pair: -pair[0].x.ndim))


@np.errstate(all="ignore")
def _solved(w: World, dx: Values, region: Region) -> tuple[Values, Values] | None:
    """Solve for a, b, c in each group; with the noise of each. None if they leave more than noise."""
    axes = region.numbers(w.x.ndim)
    others = tuple(a for a in range(w.x.ndim) if a not in axes)
    m = int(np.prod([w.x.shape[a] for a in axes]))
    if m < 4:
        return (np.zeros((3, 0)), np.zeros((3, 0)))

    def grouped(values: Values) -> Values:
        return np.moveaxis(np.broadcast_to(values, w.x.shape), others, range(len(others))).reshape(-1, m)

    g, d, target = grouped(w.upstream), grouped(centred(w)), grouped(dx)
    shift = d.mean(axis=1, keepdims=True)  # what is left of x beside a constant
    columns = np.stack([g, np.ones_like(g), d - shift], axis=-1).astype(float)
    size = np.abs(columns).max(axis=1, keepdims=True)
    size[size == 0] = 1
    wanted = np.asarray(target, float)
    inverse = np.linalg.pinv(columns / size)
    found = (inverse @ wanted[..., None])[..., 0] / size[:, 0]
    far = np.abs(grouped(w.x)).max(axis=1) / np.maximum(np.abs(d).max(axis=1), 1e-300)  # what a rounded mean costs
    u = unit_roundoff(w.case.kind) * (ROUNDINGS + 8 * np.asarray(far, float))
    level = u * (np.abs(wanted).max(axis=1) + np.abs(found * size[:, 0]).max(axis=1))
    left = np.abs((columns @ found[..., None])[..., 0] - wanted).max(axis=1)
    if np.any(left > level * 8):
        return None
    noise = np.abs(inverse).sum(axis=2) / size[:, 0] * level[:, None]
    found[:, 1] -= found[:, 2] * np.asarray(shift[:, 0], float)
    noise[:, 1] += noise[:, 2] * np.abs(np.asarray(shift[:, 0], float))
    return found.T, noise.T


@np.errstate(all="ignore")
def _read(solved: Sequence[tuple[World, Values, Values]], region: Region) -> Iterator[Dx]:
    solved = [s for s in solved if s[1].shape[1]]
    if len(solved) < 2:
        return
    found = np.concatenate([f for _, f, _ in solved], axis=1)
    noise = np.concatenate([n for _, _, n in solved], axis=1)
    worlds = [w for w, _, _ in solved]
    divisor = None
    own = _fitted(found[0], noise[0], {"inverse": INVERSES, "gamma": GAMMAS, "count": COUNTS}, worlds, region)
    if own is None:
        own, divisor = _own_divisor(found[0], noise[0], worlds, region)
        if own is None or divisor is None:
            return
        worlds = [divisor.change(w) for w in worlds]
    means = {f"mean{r.words} dy": (lambda w, r=r: r.average(w.upstream)) for r in AVERAGES}  # type: ignore[misc]
    means |= {"mean of the shards' means of dy": lambda w: _equally(w, w.upstream)}
    usual = {"gamma": GAMMAS, "count": COUNTS}
    of_mean = _fitted(found[1], noise[1], {"sum": means, "inverse": INVERSES, **usual}, worlds, region)
    both = {f"mean{r.words} dy (x - mean)": (lambda w, r=r: r.average(w.upstream * centred(w))) for r in AVERAGES}  # type: ignore[misc]
    both |= {"mean of the shards' means of dy (x - mean)": lambda w: _equally(w, w.upstream * centred(w))}
    squares = {"/ std^3": lambda w: w.inv**3}
    squares |= {_cubed(a, b): (lambda w, x=x, y=y: x(w) * y(w) ** 2) for a, b, x, y in _pairs()}  # type: ignore[misc]
    of_x_hat = _fitted(found[2], noise[2], {"sum": both, "squares": squares, **usual}, worlds, region)
    if of_mean is not None and of_x_hat is not None:
        yield Dx(own, of_mean, of_x_hat, divisor)


def _own_divisor(
    target: Rows, noise: Rows, worlds: Sequence[World], region: Region
) -> tuple[Product | None, Divisor | None]:
    """Return what dy is multiplied by, where that is gamma, or 1, over another divisor than the forward's."""

    def row(term: Term | Formula) -> Rows:
        return _stacked(term.value, worlds, region)

    families = {"inverse": INVERSES, "gamma": GAMMAS, "count": COUNTS}
    for number, gamma in enumerate(list(GAMMAS.values())[:3]):
        size = _stacked(gamma, worlds, region)
        clear = (size != 0) & (np.abs(target) > 1e3 * noise)
        slope = np.where(clear, target / np.where(clear, size, 1), 0)
        for _, power, (sign, formula) in divisors(slope, noise / np.where(clear, np.abs(size), 1), row, 2):
            return _product(((0, sign), (number, 1.0), (0, 1.0)), families), Divisor(power, formula)
    return None, None


def _cubed(a: str, b: str) -> str:
    return f"{a} ({b})^2" if b else a


def _pairs() -> Iterator[tuple[str, str, Value, Value]]:
    """Yield what may stand in front of x_hat mean(dy x_hat), with its two halves: mostly one inverse, or that of x_hat."""
    usual = next(iter(INVERSES))
    for a, x in INVERSES.items():
        for b in dict.fromkeys((a, usual, "")):
            yield a, b, x, INVERSES[b]
        if a != usual:
            yield usual, a, INVERSES[usual], x


def _equally(w: World, values: Values) -> Values:
    parts = shards(values, 1)
    return sum(STANDARD.average(p) for p in parts) / len(parts)


def _fitted(
    target: Rows, noise: Rows, families: dict[str, dict[str, Value]], worlds: Sequence[World], region: Region
) -> Product | None:
    if np.all(np.abs(target) <= noise):
        return ZERO
    rows = [[_stacked(value, worlds, region) for value in f.values()] for f in families.values()]
    found = multiplied(target, noise, rows)
    return _product(found.terms, families) if found else None


def _stacked(value: Value, worlds: Sequence[World], region: Region) -> Rows:
    """Return one value for each group, as `_solved` orders them."""
    shapes = []
    for w in worlds:
        axes = region.numbers(w.x.ndim)
        shapes.append(tuple(1 if a in axes else n for a, n in enumerate(w.x.shape)))
    return stacked(value, worlds, shapes)


@np.errstate(all="ignore")
def _elementwise(seen: Sequence[Seen]) -> Iterator[Dx]:
    """Yield what dx may be where its sums are over other values than the channel's: dy itself weighs as it should."""
    worlds, shapes = [w for w, _ in seen], [w.x.shape for w, _ in seen]
    whole = stacked(lambda w: w.gamma * w.inv * w.upstream, worlds, shapes)
    target = np.concatenate([np.asarray(dx, float).ravel() for _, dx in seen])
    u = max(unit_roundoff(w.case.kind) for w in worlds) * ROUNDINGS * 8
    size = stacked(lambda w: np.abs(w.gamma * w.inv) * np.abs(w.upstream).max() * _far(w) ** 2, worlds, shapes)
    front = ("inverse", *list(INVERSES.items())[0]), ("gamma", *list(GAMMAS.items())[0])
    behind = ("squares", "/ std^3", lambda w: w.inv**3), ("gamma", *list(GAMMAS.items())[0])
    means, both = [], []
    for r in AVERAGES:
        mean = ("sum", f"mean{r.words} dy", lambda w, r=r: r.average(w.upstream))  # type: ignore[misc]
        other = ("sum", f"mean{r.words} dy (x - mean)", lambda w, r=r: r.average(w.upstream * centred(w)))  # type: ignore[misc]
        for count in list(COUNTS.items())[:8]:
            means.append(Product(1.0, (mean, *front, ("count", *count))))
            both.append(Product(1.0, (other, *behind, ("count", *count))))
    rows = [
        [stacked(p.value, worlds, shapes) for p in means],
        [stacked(lambda w, p=p: p.value(w) * centred(w), worlds, shapes) for p in both],  # type: ignore[misc]
    ]
    found = summed(target - whole, np.maximum(size * u, 1e-300), rows)
    if found:
        terms = {0: ZERO, 1: ZERO}
        for i, c in found.terms:
            p = [*means, *both][i]
            terms[i >= len(means)] = Product(c, p.factors)
        yield Dx(Product(1.0, (*front, ("count", "1", COUNTS["1"]))), terms[0], terms[1])
