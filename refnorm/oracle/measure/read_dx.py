"""Read off dx what dy is multiplied by, and which means of it are taken away."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from refnorm.oracle.measure.divisors import divisors
from refnorm.oracle.measure.fit import CLEAR, Rows, multiplied, summed
from refnorm.oracle.measure.formula import Table, Value
from refnorm.oracle.measure.parts import Selection, parts
from refnorm.oracle.measure.products import (
    ACROSS,
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
from refnorm.oracle.measure.region import STANDARD, Region, shards
from refnorm.oracle.measure.terms import REGIONS, once
from refnorm.oracle.worlds import Values, World

MEANS: dict[str, Value] = {  # what the steps of a chain may be made of
    "mean dy": lambda w: w.mean_dy,
    "mean dy (x - mean)": lambda w: w.average(w.upstream * centred(w)),
    "mean dy x": lambda w: w.average(w.upstream * w.x),
}
BESIDE: dict[str, Value] = {"": lambda w: np.longdouble(1), "mean": lambda w: w.mean}
AVERAGES = (STANDARD, Region("N"), Region("NCSL"), Region("SL"), Region("NS"), Region("CSL"), Region("C"), Region("NC"))


@dataclass(frozen=True, eq=False)
class Dx:
    """The gradient dx as it was measured: dy, its mean and x - mean, each times a product; a term may be missing.

    ``also`` is a second product beside the mean of dy, and one beside x - mean.
    """

    own: Product
    of_mean: Product
    of_x_hat: Product
    divisor: Divisor | None = None
    also: tuple[Product, Product] = (ZERO, ZERO)

    def value(self, w: World) -> Values:
        """Return dx."""
        w = w if self.divisor is None else self.divisor.change(w)
        constant, slope = (self.of_mean, self.also[0]), (self.of_x_hat, self.also[1])
        parts = [(self.own, w.upstream), *((p, 1) for p in constant), *((p, w.x - w.mean) for p in slope)]
        return sum((p.value(w) * by for p, by in parts if p.constant), np.zeros_like(w.x))

    def words(self) -> str:
        """Return the formula in words."""
        terms = [f"{self.own} dy"] if self.own.constant else []
        terms += [str(p) for p in (self.of_mean, self.also[0]) if p.constant]
        terms += [f"{p} (x - mean)" for p in (self.of_x_hat, self.also[1]) if p.constant]
        return " + ".join(terms).replace("+ -", "- ") or "0"


def read_dx(seen: Sequence[Seen], regions: Sequence[Region] = ()) -> Iterator[Dx]:
    """Yield what dx may be: in each channel dx = a dy + b + c (x - mean), and a, b, c are products.

    Parameters
    ----------
    seen : the world of each case, with the dx that was returned.
    regions : groups of values that share statistics in those worlds, if not the channels.
    """
    plain = [(w, np.asarray(dx, np.longdouble)) for w, dx in seen if np.all(np.isfinite(dx)) and w.m > 3]
    for region in (STANDARD, *regions):
        solved = [_solved(w, dx, region) for w, dx in plain]
        if plain and all(s is not None for s in solved):
            yield from _read([(w, *s) for (w, _), s in zip(plain, solved, strict=True) if s is not None], region)
            return
    if len(plain) > 2:
        yield from _elementwise(plain)


def _solved(w: World, dx: Values, region: Region) -> tuple[Values, Values] | None:
    """Solve for a, b, c in each group; with the noise of each. None if they leave more than noise."""
    axes = region.numbers(w.x.ndim)
    others = tuple(a for a in range(w.x.ndim) if a not in axes)
    m = int(np.prod([w.x.shape[a] for a in axes]))
    if m < 4:
        return np.array([]), np.array([])

    def grouped(values: Values) -> Values:
        return np.moveaxis(np.broadcast_to(values, w.x.shape), others, range(len(others))).reshape(-1, m)

    g, d, target = grouped(w.upstream), grouped(centred(w)), grouped(dx)
    shift = d.mean(axis=1)  # what is left of x beside a constant
    columns = np.stack([g, np.ones_like(g), d - shift[:, None]], axis=-1).astype(float)
    size = np.abs(columns).max(axis=1)
    size[size == 0] = 1
    wanted = np.asarray(target, float)
    inverse = np.linalg.pinv(columns / size[:, None])
    found = (inverse @ wanted[..., None])[..., 0] / size
    far = np.abs(grouped(w.x)).max(axis=1) / np.maximum(np.abs(d).max(axis=1), 1e-100)  # what a rounded mean costs
    u = noise_in(w.case.kind) * (1 + np.asarray(far, float) / 64)
    level = u * (np.abs(wanted).max(axis=1) + np.abs(found * size).max(axis=1))
    left = np.abs((columns @ found[..., None])[..., 0] - wanted).max(axis=1)
    if np.any(left > level * 8):
        return None
    noise = np.abs(inverse).sum(axis=2) / size * level[:, None]
    found[:, 1] -= found[:, 2] * shift
    noise[:, 1] += noise[:, 2] * np.abs(shift)
    return found.T, noise.T


def _read(solved: Sequence[tuple[World, Values, Values]], region: Region) -> Iterator[Dx]:
    solved = [(w, found, noise) for w, found, noise in solved if found.size]
    if len(solved) < 2:
        return
    found = np.concatenate([f for _, f, _ in solved], axis=1)
    noise = np.concatenate([n for _, _, n in solved], axis=1)
    worlds = [w for w, _, _ in solved]
    divisor: Divisor | None = None
    own = _fitted(found[0], noise[0], {"inverse": INVERSES, "gamma": GAMMAS, "count": COUNTS}, worlds, region)
    if own is None:
        another = _own_divisor(found[0], noise[0], worlds, region)
        if another is None:
            return
        own, divisor = another
        worlds = [divisor.change(w) for w in worlds]
    means = {f"mean{r.words} dy": _mean_of(r, False) for r in AVERAGES}
    means |= {"mean of the shards' means of dy": lambda w: _equally(w, w.upstream)}
    usual = {"gamma": GAMMAS, "count": COUNTS}
    of_mean = _fitted(found[1], noise[1], {"sum": means, "inverse": INVERSES, **usual}, worlds, region)
    both = {f"mean{r.words} dy (x - mean)": _mean_of(r, True) for r in AVERAGES}
    both |= {"mean of the shards' means of dy (x - mean)": lambda w: _equally(w, w.upstream * centred(w))}
    of_x_hat = _fitted(found[2], noise[2], {"sum": both, "squares": _squares(), **usual}, worlds, region)
    gamma = {"gamma": {"gamma": GAMMAS["gamma"]}}
    if of_mean is None:
        parted = {"part": _parts_of("", region), "inverse": {"/ std": INVERSES["/ std"]}} | gamma
        of_mean = _fitted(found[1], noise[1], parted, worlds, region)
    if of_x_hat is None:
        parted = {"part": _parts_of(" (x - mean)", region), "squares": {"/ std^3": INVERSES["/ std^3"]}} | gamma
        of_x_hat = _fitted(found[2], noise[2], parted, worlds, region)
    if of_x_hat is None and divisor is None:
        of_x_hat = _own_square(found[2], noise[2], worlds, region)
    second = [ZERO, ZERO]
    if of_mean is None and region == STANDARD:
        of_mean, second[0] = _two_products(found[1], noise[1], "mean dy / std", worlds)
    if of_x_hat is None and region == STANDARD:
        of_x_hat, second[1] = _two_products(found[2], noise[2], "mean dy (x - mean) / std^3", worlds)
    if of_mean is not None and of_x_hat is not None:
        yield Dx(own, of_mean, of_x_hat, divisor, (second[0], second[1]))


def _two_products(target: Rows, noise: Rows, usual: str, worlds: Sequence[World]) -> tuple[Product | None, Product]:
    """Return the sum of a usual product, but for its constant and count, and another one; None if there is none."""
    table = _table(worlds, STANDARD)
    every: dict[str, Product] = {}
    for (mean, value), times, inverse in itertools.product(
        MEANS.items(), BESIDE.items(), ("/ std", "/ std^2", "/ std^3")
    ):
        words = " ".join(word for word in (mean, times[0], inverse) if word)
        factors = ("sum", mean, value), ("times", *times), ("inverse", inverse, INVERSES[inverse])
        every[words] = Product(1.0, (*factors, ("gamma", "gamma", GAMMAS["gamma"])))
    first = [replace(every[usual], factors=(*every[usual].factors, ("count", *count))) for count in COUNTS.items()]
    both = [first, list(every.values())]
    told = noise > 0  # in a constant channel x - mean tells nothing
    found = summed(target[told], noise[told], [[table(p.value)[told] for p in products] for products in both])
    if found is None:
        return None, ZERO
    one, *two = (replace([*both[0], *both[1]][i], constant=c) for i, c in found.terms)
    return one, two[0] if two else ZERO


def _own_square(target: Rows, noise: Rows, worlds: Sequence[World], region: Region) -> Product | None:
    """Return what x_hat mean(dy x_hat) is multiplied by, where its variance is not the one in front."""
    table = _table(worlds, region)
    usual = table(lambda w: w.gamma * w.inv * region.average(w.upstream * centred(w)))
    slope = np.where(np.abs(target) > CLEAR * noise, target / usual, 0)
    size = np.sqrt(np.abs(slope))  # 1 / std
    found = next(divisors(np.sign(slope) * size, noise / np.abs(usual) / (2 * size), table), None)
    if found is None:
        return None
    _, power, (sign, formula) = found
    inner = Divisor(power, formula)
    mean = ("sum", "mean dy (x - mean)", _mean_of(region, True))
    words = f"/ std / ({formula})" + (f"^{2 / power:g}" if power != 2 else "")
    square = ("squares", words, lambda w: w.inv * inner.change(w).inv ** 2)
    return Product(sign, (mean, square, ("gamma", "gamma", GAMMAS["gamma"])))


def _parts_of(times: str, region: Region) -> dict[str, Value]:
    """Return means and sums over some of the values; none where others than the channels share statistics."""
    found: dict[str, Value] = {}
    for part in parts() if region == STANDARD else ():
        found[f"sum dy{times} of {part.words} / m"] = _of_part(part, times, True)
        found[f"mean dy{times} of {part.words}"] = _of_part(part, times, False)
    return found


def _of_part(part: Selection, times: str, of_all: bool) -> Value:
    def value(w: World) -> Values:
        total = once(w, ("total", part, times), lambda: part.total(w, w.upstream * centred(w) if times else w.upstream))
        return total / (w.m if of_all else part.count(w))

    return value


def _own_divisor(target: Rows, noise: Rows, worlds: Sequence[World], region: Region) -> tuple[Product, Divisor] | None:
    """Return what dy is multiplied by, where that is gamma, or 1, over another divisor than the forward's."""
    table = _table(worlds, region)
    for words in ("gamma", "1", "|gamma|"):
        size = table(GAMMAS[words])
        for _, power, (sign, formula) in divisors(target / size, noise / np.abs(size), table):
            return Product(sign, (DIVIDED, ("gamma", words, GAMMAS[words]))), Divisor(power, formula)
    return None


def _mean_of(region: Region, times_x: bool) -> Value:
    return lambda w: region.average(w.upstream * centred(w) if times_x else w.upstream)


def _squares() -> dict[str, Value]:
    """Return what may stand in front of x_hat mean(dy x_hat): one inverse three times, or that of x_hat twice."""
    usual = next(iter(INVERSES))
    result: dict[str, Value] = {"/ std^3": INVERSES["/ std^3"]}
    for a in INVERSES:
        for b in dict.fromkeys((a, usual, "")):
            result[f"{a} ({b})^2" if b else a] = _cubed(a, b)
        result[f"{usual} ({a})^2" if a else usual] = _cubed(usual, a)
    return result


def _cubed(a: str, b: str) -> Value:
    return lambda w: INVERSES[a](w) * INVERSES[b](w) ** 2


def _equally(w: World, values: Values) -> Values:
    parts = shards(values, 1)
    return sum(STANDARD.average(p) for p in parts) / len(parts)


def _fitted(
    target: Rows, noise: Rows, families: dict[str, dict[str, Value]], worlds: Sequence[World], region: Region
) -> Product | None:
    if np.all(np.abs(target) <= noise):
        return ZERO
    table = _table(worlds, region)
    rows = [[*map(table, f.values())] for f in families.values()]
    found = multiplied(target, noise, rows)
    return product_of(found.terms, families) if found else None


def _table(worlds: Sequence[World], region: Region) -> Table:
    """Return rows of one value for each group, as `_solved` orders them."""
    shapes = []
    for w in worlds:
        axes = region.numbers(w.x.ndim)
        shapes.append(tuple(1 if a in axes else n for a, n in enumerate(w.x.shape)))
    return Table(worlds, shapes)


def _elementwise(seen: Sequence[Seen]) -> Iterator[Dx]:
    """Yield what dx may be where its sums are over other values than the channel's: dy itself weighs as it should."""
    worlds = [w for w, _ in seen]
    table = Table(worlds, [w.x.shape for w in worlds])
    whole = table(lambda w: w.gamma * w.inv * w.upstream)
    target = np.concatenate([np.asarray(dx, float).ravel() for _, dx in seen])
    u = max(noise_in(w.case.kind) for w in worlds) * 8
    size = table(lambda w: np.abs(w.gamma * w.inv) * np.abs(w.upstream).max() * far(w) ** 2)
    counts = {words: table(value) for words, value in ACROSS.items()}
    products: tuple[list[Product], ...] = ([], [])
    rows: tuple[list[Rows], ...] = ([], [])
    for r in REGIONS:
        for of_x_hat, p in _over(r):
            plain = table(p.value) * (table(centred) if of_x_hat else 1)
            for count in ACROSS.items():
                products[of_x_hat].append(replace(p, factors=(*p.factors, ("count", *count))))
                rows[of_x_hat].append(plain * counts[count[0]])
    found = summed(target - whole, np.maximum(size * u, 1e-300), rows)
    if found:
        terms = [ZERO, ZERO]
        for i, c in found.terms:
            of_x_hat = i >= len(products[0])
            terms[of_x_hat] = replace([*products[0], *products[1]][i], constant=c)
        yield Dx(Product(1.0, (DIVIDED, SCALED, ("count", "1", COUNTS["1"]))), terms[0], terms[1])


DIVIDED = ("inverse", "/ std", INVERSES["/ std"])
SCALED = ("gamma", "gamma", GAMMAS["gamma"])


def _over(region: Region) -> Iterator[tuple[bool, Product]]:
    """Yield what may be taken away from dy, with a mean over a region: beside it (False), and beside x - mean (True).

    Over several channels it matters whether gamma and 1/std are applied before the mean is taken, or behind it.
    """
    over = f"mean{region.words} "
    cubed = ("squares", "/ std^3", INVERSES["/ std^3"]), SCALED
    yield False, Product(1.0, (("sum", f"{over}dy", _mean_of(region, False)), DIVIDED, SCALED))
    yield True, Product(1.0, (("sum", f"{over}dy (x - mean)", _mean_of(region, True)), *cubed))
    if not region.per_channel:
        unscaled = ("gamma", "1", GAMMAS["1"])
        squared = ("squares", "/ std^2", INVERSES["/ std^2"])
        for before, scale in (("", SCALED), ("gamma ", unscaled)):
            x_hat = _mean_of_x_hat(region, bool(before))
            yield True, Product(1.0, (("sum", f"{over}{before}dy x_hat", x_hat), squared, scale))
        scaled = lambda w: region.average(w.gamma * w.upstream)  # noqa: E731
        yield False, Product(1.0, (("sum", f"{over}gamma dy", scaled), DIVIDED, unscaled))


def _mean_of_x_hat(region: Region, scaled: bool) -> Value:
    return lambda w: region.average(w.upstream * w.x_hat * (w.gamma if scaled else 1))
