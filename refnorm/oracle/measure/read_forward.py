"""Read off y what it is centred by, divided by, scaled by and shifted by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np

from refnorm.formats import unit_roundoff
from refnorm.oracle.measure.counts import DIVISORS
from refnorm.oracle.measure.divisors import OTHER_EPS, Row, divisors, formula_of, power_words
from refnorm.oracle.measure.fit import CLEAR, Rows, nice, summed
from refnorm.oracle.measure.formula import Formula, Table, Term, of, times
from refnorm.oracle.measure.parts import Selection
from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.measure.terms import (
    BETA,
    EPS,
    GAMMA,
    MEAN,
    ONE,
    REGIONS,
    RUNNING_MEAN,
    RUNNING_VAR,
    SCALES,
    SHARDED,
    SHIFTS,
    UNUSUAL_SCALES,
    VAR,
    constant,
    mean,
    shard_means,
    variance,
    weighed,
)
from refnorm.oracle.worlds import Values, World

ROUNDINGS = {"float64": 512, "float32": 512}  # of a result: noise of what is measured, before it is magnified
FEW = 4  # of a result in half precision: it is computed in wider formats, and rounded

GIVEN = constant("gamma is given", lambda w: np.longdouble(w.case.gamma is not None))

Seen = tuple[World, Values]


@dataclass(frozen=True, eq=False)
class ForwardMap:
    """The map y as it was measured: x - centre, divided by std, scaled and shifted; `std^power` is the divisor.

    ``part`` are the values that its statistics are of, where they are not of all.
    """

    centre: Formula
    power: float
    divisor: Formula
    scale: Formula
    shift: Formula
    part: Selection | None = None

    def std(self, w: World) -> Values:
        """Return what x - centre is divided by."""
        return self.divisor.value(w) ** (1 / np.longdouble(self.power))

    def change(self, w: World) -> World:
        """Return the world in which it happens."""
        inverse = 1 / self.std(w)
        scale, shift = self.scale.value(w), self.shift.value(w)
        return replace(w, mean=self.centre.value(w), inverse=lambda _: inverse, gamma=scale, beta=shift)

    def y(self, w: World) -> Values:
        """Return the result."""
        return self.change(w).y

    def dx(self, w: World) -> Values:
        """Return the gradient with respect to x, as the derivative of this map."""
        changed = self.change(w)
        root = self.divisor.value(w)
        slope = -(root ** (-1 / np.longdouble(self.power) - 1)) / np.longdouble(self.power)
        arriving = changed.gamma * w.upstream
        through = self.divisor.back(w, arriving * (w.x - changed.mean) * slope)
        moved = self.shift.back(w, w.upstream)
        return arriving * changed.inv + self.centre.back(w, -arriving * changed.inv) + through + moved

    def regions(self) -> list[Region]:
        """Return the regions, other than the channel, that its statistics are of."""
        if self.part is not None:
            return []
        words = f"{self.centre}, {self.divisor}"
        return [r for r in (*REGIONS, *SHARDED) if r.words and re.search(rf"{r.words}(?! [CSL]\b| and )", words)]

    def variance(self) -> Formula:
        """Return what of the divisor is a variance: all but eps and constants."""
        kept = [(c, t) for c, t in self.divisor.parts if t.back is not None]
        return Formula(tuple(kept))

    def dgamma(self, w: World) -> Values:
        """Return the gradient with respect to gamma, as the derivative of this map."""
        x_hat = self.change(w).x_hat
        slope = self.scale.slope(w, "gamma")
        return (w.upstream * (x_hat * slope + self.shift.slope(w, "gamma"))).sum(w.axes)

    def dbeta(self, w: World) -> Values:
        """Return the gradient with respect to beta, as the derivative of this map."""
        x_hat = self.change(w).x_hat
        return (w.upstream * (x_hat * self.scale.slope(w, "beta") + self.shift.slope(w, "beta"))).sum(w.axes)

    def parts(self) -> dict[str, str]:
        """Return the formula of each part, in words."""
        divisor = f"{power_words(self.power)} = {self.divisor}"
        return {"centre": str(self.centre), "divisor": divisor, "scale": str(self.scale), "shift": str(self.shift)}

    def coefficients(self) -> dict[str, float]:
        """Return every coefficient, by part and term."""
        formulas = {
            "centre": self.centre,
            power_words(self.power): self.divisor,
            "scale": self.scale,
            "shift": self.shift,
        }
        return {f"{part}: {term.words}": c for part, formula in formulas.items() for c, term in formula.parts}


class Lines(NamedTuple):
    """Slope of y over x in each group that shares it, with the means of both, and the noise of the slope."""

    world: World
    slope: Values
    x: Values
    y: Values
    noise: Values


BY_BATCH = ForwardMap(of(MEAN), 2, of(VAR, EPS), of(GAMMA), of(BETA))
BY_RUNNING = ForwardMap(of(RUNNING_MEAN), 2, of(RUNNING_VAR, EPS), of(GAMMA), of(BETA))


def defined(w: World) -> ForwardMap:
    """Return the definition: by the batch's statistics in training, by the running ones elsewhere."""
    return BY_BATCH if w.case.operation == "training" else BY_RUNNING


def noise_in(kind: str) -> float:
    """Return the relative error that a result in a format may have, with a margin."""
    return float(unit_roundoff(kind) * ROUNDINGS.get(kind, FEW))


def read_y(seen: Sequence[Seen]) -> Iterator[ForwardMap]:
    """Yield what y may be, the simplest first.

    Parameters
    ----------
    seen : the definition's world of each case, with the y that was returned.
    """
    plain = [(w, y) for w, y in seen if np.all(np.isfinite(y))]
    for region in (*REGIONS, *SHARDED):  # which values share a line: first those of a channel
        if lines := lines_of(plain, region):
            yield from _read(lines, region)
            if region == STANDARD:
                return


def with_other_eps(w: World) -> Iterator[ForwardMap]:
    """Yield the definition with another value in the place of eps, which few cases may show, and none so as to read it.

    Examples
    --------
    >>> from refnorm.conventions import CONVENTIONS
    >>> from refnorm.golden.inputs import case
    >>> from refnorm.oracle.worlds import world
    >>> maps = with_other_eps(world(case("bn.training.float64.rank-2.1"), CONVENTIONS["torch"]))
    >>> [m.parts()["divisor"] for m in maps][:2]
    ['std^2 = var + eps^2', 'std^2 = var + sqrt(eps)']
    """
    right = defined(w)
    statistic, _ = right.divisor.parts
    for other in OTHER_EPS:
        yield replace(right, divisor=Formula((statistic, (1.0, other))))


@np.errstate(all="ignore")
def lines_of(seen: Sequence[Seen], region: Region) -> list[Lines]:
    """Return the lines of all cases, none if y is no line in a group of three values or more."""
    lines, told = [], False
    for w, y in seen:
        wide = np.asarray(y, np.longdouble)
        if not region.per_channel:  # groups hold several channels: of y only what gamma and beta leave
            if np.any(w.gamma == 0):
                continue
            wide = (wide - w.beta) / w.gamma
        x_mean, y_mean = region.average(w.x), region.average(wide)
        dx, dy = w.x - x_mean, wide - y_mean
        spread = region.average(dx * dx)
        slope = region.average(dx * dy) / spread
        u = noise_in(w.case.kind)
        size = region.average(np.abs(wide)) + np.abs(slope) * region.average(np.abs(w.x))
        off = region.average(np.abs(dy - slope * dx))
        if np.any(off > u * size * 8):
            return []
        told = told or bool(np.max(np.broadcast_to(region.count(w.x), slope.shape)) > 2)
        if not np.any(spread > 0):
            continue
        noise = u * size / np.sqrt(spread)  # of the slope, absolute
        lines.append(Lines(w, slope, x_mean, y_mean, noise))
    lines.sort(key=lambda line: line.world.x.ndim, reverse=True)  # the highest rank refutes terms first
    return lines if told else []


def _read(lines: Sequence[Lines], region: Region) -> Iterator[ForwardMap]:
    slope, noise, x, y = (
        np.concatenate([np.asarray(a, float).ravel() for a in column])
        for column in ([o.slope for o in lines], [o.noise for o in lines], [o.x for o in lines], [o.y for o in lines])
    )
    clear = np.isfinite(slope) & np.isfinite(noise) & (np.abs(slope) > CLEAR * noise)
    flat = np.isfinite(slope) & ~clear
    if clear.sum() < 4:
        if flat.any() and not clear.any():
            yield from _constant(lines)
        return
    hidden = noise[flat]
    slope, noise, x, y = slope[clear], noise[clear], x[clear], y[clear]
    per_channel = region.per_channel
    scales = SCALES if per_channel else (ONE,)  # gamma is taken off already
    own = defined(lines[0].world)

    table = Table([line.world for line in lines], [line.slope.shape for line in lines])

    def row(term: Term | Formula) -> Rows:
        return table(term)[clear]

    def silent(scale: Term | Formula, divisor: Formula, power: float) -> bool:
        """Whether it is 0 where y does not depend on x."""
        level = np.abs(table(scale) * table(divisor) ** (-1 / power))[flat]
        return not np.any(level > 2 * CLEAR * hidden)

    unsure = noise * (np.abs(x) + np.sqrt(row(variance(region))))  # of y beside slope x
    told = row(GIVEN).astype(bool)
    given = told if told.any() else ~told
    readings: list[tuple[float, Formula, float, Formula]] = []
    for cost, scale in enumerate(scales):
        with_it = np.where(given, slope / row(scale), np.nan)
        for price, power, (sign, divisor) in divisors(with_it, noise / np.abs(row(scale)), row, 2 if cost else 3):
            if silent(scale, divisor, power):
                factor, plain = _common_factor(divisor, power)
                formula = Formula(((sign * factor, scale if per_channel else GAMMA),))
                readings.append((price + cost, formula, power, plain))
        if readings and cost == 0:
            break
    if per_channel and not any(price < 1 for price, *_ in readings):
        std = row(own.divisor) ** 0.5
        every = (*SCALES, *UNUSUAL_SCALES)
        families = [[row(s)[given] for s in every], [row(SCALES[1])[given]]]
        found = summed((slope * std)[given], (noise * std)[given], families)
        if found:
            formula = formula_of(found.terms, [*every, SCALES[1]])
            if silent(formula, own.divisor, own.power):
                readings.append((found.cost, formula, own.power, own.divisor))
    for _, scale_formula, power, divisor_formula in sorted(readings, key=lambda r: r[0]):
        for centre, shift in _offsets(slope, unsure, y - slope * x, row, per_channel):
            found_map = ForwardMap(centre, power, divisor_formula, scale_formula, shift)
            yield found_map
            if str(scale_formula) not in ("gamma", "1"):  # an absent gamma may be left alone
                yield replace(found_map, scale=replace(scale_formula, if_given=True))
            if str(scale_formula) == "(1 + gamma)":  # an absent one may be 1 before 1 is added
                yield replace(found_map, scale=of(GAMMA, ONE))


def _common_factor(divisor: Formula, power: float) -> tuple[float, Formula]:
    """Take a factor that all terms of a divisor share to the scale, if it is simpler there."""
    constants = {c for c, _ in divisor.parts}
    if len(divisor.parts) < 2 or len(constants) > 1:
        return 1.0, divisor
    scale = constants.pop() ** (-1 / power)
    return (scale, of(*(t for _, t in divisor.parts))) if nice(scale) <= 1 else (1.0, divisor)


def _constant(lines: Sequence[Lines]) -> Iterator[ForwardMap]:
    """Yield what y may be where it does not depend on x."""
    flat = [(line.world, line.y) for line in lines]
    for shift in (Formula(), of(BETA)):
        if all(np.allclose(np.asarray(y - shift.value(w), float), 0, atol=1e-12) for w, y in flat):
            yield ForwardMap(Formula(), 2, of(ONE), Formula(), shift)


@cache
def _centres() -> tuple[tuple[Term, ...], ...]:
    own = [
        *(mean(r, d) for d in DIVISORS for r in REGIONS),
        *weighed(MEAN, ["(1 - a)", "a"]),
        *(mean(r) for r in SHARDED),
        *map(shard_means, (1, 2, 4)),
    ]
    return tuple(own), (RUNNING_MEAN, *weighed(RUNNING_MEAN, ["(1 - a)", "a"])), (ONE, EPS)


@cache
def _unscaled() -> tuple[Term, ...]:
    """Return means that are subtracted from what is scaled already, or are scaled otherwise than x is."""
    return tuple(
        term for m in (MEAN, RUNNING_MEAN) for term in (m, _over_std(m), times(f"gamma {m.words}", GAMMA.value, m))
    )


def _over_std(m: Term) -> Term:
    def back(w: World, upstream: Values) -> Values:
        own = np.zeros_like(w.x) if m.back is None else m.back(w, upstream * w.inv)
        through = 0 if w.case.operation != "training" else upstream * m.value(w) * w.inv**3 / 2
        assert VAR.back is not None
        return own - VAR.back(w, np.broadcast_to(through, w.x.shape))

    return Term(f"{m.words} / std", lambda w: m.value(w) * w.inv, back)


def _offsets(slope: Rows, unsure: Rows, left: Rows, row: Row, per_channel: bool) -> Iterator[tuple[Formula, Formula]]:
    """Yield centre and shift: what is left of y beside slope x is -slope centre + shift, a sum of terms of either."""
    beta = row(BETA) if per_channel else np.zeros_like(left)
    families = _centres()
    rows = [[-slope * row(t) for t in family] for family in families]
    flat = [t for family in families for t in family]
    if found := summed(left - beta, unsure, rows):
        yield formula_of(found.terms, flat), of(BETA)
        if found.cost < 1:
            return
    if per_channel:
        shifts = [SHIFTS, SHIFTS[3:4], _unscaled()]
        if found := summed(left, unsure, [*rows[:2], *([row(s) for s in family] for family in shifts)]):
            known = len(families[0]) + len(families[1])
            every = [*flat[:known], *(s for family in shifts for s in family)]
            centre = [(i, c) for i, c in found.terms if i < known]
            shift = [(i, c) for i, c in found.terms if i >= known]
            yield formula_of(centre, every), formula_of(shift, every)
