"""Read off y what it is centred by, divided by, scaled by and shifted by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np

from refnorm.formats import unit_roundoff
from refnorm.oracle.measure.fit import Rows, summed
from refnorm.oracle.measure.formula import STANDARD, Formula, Region, Term, of, stacked
from refnorm.oracle.measure.terms import (
    BETA,
    DIVISORS,
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
    VAR,
    constant,
    factor,
    function,
    mean,
    scaled,
    second_moment,
    shard_means,
    shard_variances,
    variance,
    weighed,
)
from refnorm.oracle.worlds import Values, World

ROUNDINGS = 2.0**9  # of a result: noise of what is measured, before it is magnified
POWERS = {2: "std^2", 1: "std", 0.5: "std^(1/2)", -1: "1/std", -2: "1/std^2"}  # written as a sum of terms

Seen = tuple[World, Values]
Row = Callable[[Term | Formula], Rows]


@dataclass(frozen=True, eq=False)
class Forward:
    """y = scale (x - centre) / std + shift, as it was measured; `std^power` is the divisor."""

    centre: Formula
    power: float
    divisor: Formula
    scale: Formula
    shift: Formula

    def std(self, w: World) -> Values:
        """Return what x - centre is divided by."""
        return self.divisor.value(w) ** np.longdouble(1 / self.power)

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
        slope = -root ** np.longdouble(-1 / self.power - 1) / np.longdouble(self.power)
        arriving = changed.gamma * w.upstream
        through = self.divisor.back(w, arriving * (w.x - changed.mean) * slope)
        return arriving * changed.inv + self.centre.back(w, -arriving * changed.inv) + through

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
        divisor = f"{POWERS[self.power]} = {self.divisor}"
        return {"centre": str(self.centre), "divisor": divisor, "scale": str(self.scale), "shift": str(self.shift)}


class Lines(NamedTuple):
    """Slope of y over x in each group that shares it, with the means of both, and the noise of the slope."""

    world: World
    slope: Values
    x: Values
    y: Values
    noise: Values


def defined(w: World) -> Forward:
    """Return the definition: by the batch's statistics in training, by the running ones elsewhere."""
    centre, var = (MEAN, VAR) if w.case.operation == "training" else (RUNNING_MEAN, RUNNING_VAR)
    return Forward(of(centre), 2, of(var, EPS), of(GAMMA), of(BETA))


def read_y(seen: Sequence[Seen]) -> Iterator[Forward]:
    """Yield what y may be, the simplest first.

    Parameters
    ----------
    seen : the definition's world of each case, with the y that was returned.
    """
    if not seen:
        return
    plain = [(w, y) for w, y in seen if np.all(np.isfinite(y))]
    if lines := _lines(plain, STANDARD, True):
        yield from _read(lines, True)
        return
    for region in (*REGIONS[1:], *SHARDED):  # which values share a line, if not those of a channel
        per_channel = "C" not in region.axes
        if lines := _lines(plain, region, per_channel):
            yield from _read(lines, per_channel)


@np.errstate(all="ignore")
def _lines(seen: Sequence[Seen], region: Region, per_channel: bool) -> list[Lines]:
    """Return the lines of all cases, none if y is no line in a group of three values or more."""
    lines, told = [], False
    for w, y in seen:
        wide = np.asarray(y, np.longdouble)
        if not per_channel:  # groups hold several channels: of y only what gamma and beta leave
            if np.any(w.gamma == 0):
                continue
            wide = (wide - w.beta) / w.gamma
        x_mean, y_mean = region.average(w.x), region.average(wide)
        dx, dy = w.x - x_mean, wide - y_mean
        spread = region.average(dx * dx)
        slope = region.average(dx * dy) / spread
        u = unit_roundoff(w.case.kind) * ROUNDINGS
        size = region.average(np.abs(wide)) + np.abs(slope) * region.average(np.abs(w.x))
        off = region.average(np.abs(dy - slope * dx))
        if np.any(off > u * size * 8):
            return []
        told = told or bool(np.max(np.broadcast_to(region.count(w.x), slope.shape)) > 2)
        if not np.any(spread > 0):
            continue
        noise = u * size / np.sqrt(spread)  # of the slope, absolute
        lines.append(Lines(w, slope, x_mean, y_mean, noise))
    return sorted(lines, key=lambda line: -line.world.x.ndim) if told else []  # the highest rank refutes terms first


@np.errstate(all="ignore")
def _read(lines: Sequence[Lines], per_channel: bool) -> Iterator[Forward]:
    slope, noise, x, y = (
        np.concatenate([np.asarray(a, float).ravel() for a in column])
        for column in ([o.slope for o in lines], [o.noise for o in lines], [o.x for o in lines], [o.y for o in lines])
    )
    clear = np.isfinite(slope) & np.isfinite(noise) & (np.abs(slope) > 1e3 * noise)
    flat = np.isfinite(slope) & ~clear
    if clear.sum() < 4:
        if flat.any() and not clear.any():
            yield from _constant(lines)
        return
    hidden = noise[flat]
    slope, noise, x, y = slope[clear], noise[clear], x[clear], y[clear]
    scales = SCALES if per_channel else (constant("gamma", lambda w: np.ones_like(w.gamma)),)
    own = defined(lines[0].world)

    before: dict[int, Rows] = {}
    worlds, shapes = [line.world for line in lines], [line.slope.shape for line in lines]

    def row(term: Term | Formula) -> Rows:
        if id(term) not in before:
            before[id(term)] = stacked(term.value, worlds, shapes)
        return before[id(term)][clear]

    def silent(scale: Term | Formula, divisor: Formula, power: float) -> bool:
        """Whether it is 0 where y does not depend on x."""
        row(scale), row(divisor)
        level = np.abs(before[id(scale)] * before[id(divisor)] ** (-1 / power))[flat]
        return not np.any(level > 2e3 * hidden)

    readings: list[tuple[float, Formula, float, Formula, Rows]] = []
    for cost, scale in enumerate(scales):
        for price, power, divisor in divisors(slope / row(scale), noise / np.abs(row(scale)), row, 2 if cost else 3):
            if not silent(scale, divisor[1], power):
                continue
            formula = of(GAMMA) if not per_channel else of(scale) if divisor[0] > 0 else Formula(((-1.0, scale),))
            readings.append((price + cost, formula, power, divisor[1], row(scale) * divisor[0]))
        if readings and cost == 0:
            break
    if per_channel and not any(price < 1 for price, *_ in readings):
        std = (row(own.divisor)) ** 0.5
        found = summed(slope * std, noise * std, [[row(s) for s in SCALES], [row(SCALES[1])]], 2)
        if found:
            formula = _formula(found.terms, [*SCALES, SCALES[1]])
            if silent(formula, own.divisor, own.power):
                readings.append((found.cost, formula, own.power, own.divisor, row(formula)))
    for _, scale_formula, power, divisor_formula, _ in sorted(readings, key=lambda r: r[0]):
        for centre, shift in _offsets(slope, noise, x, y, row, own, per_channel):
            yield Forward(centre, power, divisor_formula, scale_formula, shift)


def _constant(lines: Sequence[Lines]) -> Iterator[Forward]:
    """Yield what y may be where it does not depend on x."""
    flat = [(line.world, line.y) for line in lines]
    for shift in (Formula(), of(BETA)):
        if all(np.allclose(np.asarray(y - shift.value(w), float), 0, atol=1e-12) for w, y in flat):
            yield Forward(Formula(), 2, of(ONE), Formula(), shift)


def divisors(slope: Rows, noise: Rows, row: Row, most: int) -> Iterator[tuple[float, float, tuple[float, Formula]]]:
    """Yield cost, power and formula of what x - centre is divided by, and the sign of the scale."""
    known = np.isfinite(slope) & (slope != 0)
    signs = np.sign(slope[known])
    if known.sum() < 3 or np.any(signs != signs[0]):
        return
    size, unsure = np.abs(slope[known]), noise[known]
    for order, power in enumerate(POWERS):
        target = size ** -float(power)
        rough = np.maximum(np.abs(power) * target * unsure / size, 1e-300)
        families = _divisor_terms(power)
        rows = [[row(t)[known] for t in family] for family in families]
        found = summed(target, rough, rows, most)
        if found and found.terms:
            flat = [t for family in families for t in family]
            yield found.cost + order, power, (float(signs[0]), _formula(found.terms, flat))


def _formula(terms: Sequence[tuple[int, float]], flat: Sequence[Term]) -> Formula:
    return Formula(tuple((c, flat[i]) for i, c in terms))


@cache
def _divisor_terms(power: float) -> tuple[tuple[Term, ...], ...]:
    """Return what a power of the divisor may be made of: of the batch, of the running statistics, of eps."""
    counted = [variance(r, d) for d in DIVISORS for r in REGIONS] if power == 2 else [variance(), variance(STANDARD, "(m - 1)")]
    own = [
        *counted,
        *(variance(r, about=STANDARD) for r in REGIONS if r != STANDARD),
        *(second_moment(r, d) for d in DIVISORS[:6] for r in REGIONS[: 16 if power == 2 else 1]),
        *(variance(r) for r in SHARDED),
        *(shard_variances(split, equal) for split in (1, 2, 4) for equal in (False, True)),
        _of_position_means(),
        function("max(var, eps)", VAR, lambda w, v: np.maximum(v, w.eps), lambda w, v: (v > w.eps) * np.longdouble(1)),
        function("var^2", VAR, lambda w, v: v * v, lambda w, v: 2 * v),
        *weighed(VAR, ["(1 - a)", "a"]),
        *weighed(variance(STANDARD, "(m - 1)"), ["(1 - a)", "a"]),
    ]
    roots = [_root(t) for t in (VAR, variance(STANDARD, "(m - 1)"), second_moment())]
    both = function(
        "sqrt(var + eps)", VAR, lambda w, v: np.sqrt(v + w.eps), lambda w, v: 0.5 / np.sqrt(v + w.eps)
    )
    stored = [
        RUNNING_VAR,
        *weighed(RUNNING_VAR, ["(1 - a)", "a"]),
        *(scaled(k, lambda w, k=k: factor(w, k), RUNNING_VAR) for k in ("m/(m - 1)", "(m - 1)/m")),  # type: ignore[misc]
        constant("running variance^2", lambda w: w.running_var**2),
        ONE,
    ]
    stored_roots = [
        constant("sqrt(running variance)", lambda w: np.sqrt(w.running_var)),
        constant("sqrt(running variance + eps)", lambda w: np.sqrt(w.running_var + w.eps)),
    ]
    added = [
        EPS,
        ONE,
        constant("eps^2", lambda w: np.longdouble(w.eps) ** 2),
        constant("sqrt(eps)", lambda w: np.sqrt(np.longdouble(w.eps))),
        constant("max(eps, 1.001e-5)", lambda w: np.longdouble(max(w.eps, 1.001e-5))),
        constant("float32(eps)", lambda w: np.longdouble(np.float32(w.eps))),
        constant("(eps, and 1e-12 if it is small)", lambda w: np.longdouble(w.eps + (1e-12 if w.eps <= 1.0001e-5 else 0))),
        constant("min(eps, 1)", lambda w: np.longdouble(min(w.eps, 1.0))),
        constant("(eps, or 1e-5 if it is 0)", lambda w: np.longdouble(w.eps or 1e-5)),
        constant("eps/m", lambda w: np.longdouble(w.eps) / w.m),
    ]
    if power in (1, -1):
        own, stored = [*roots, both, *own], [*stored_roots, *stored]
    return tuple(own), tuple(stored), tuple(added)


def _root(term: Term) -> Term:
    return function(f"sqrt({term.words})", term, lambda w, v: np.sqrt(v), lambda w, v: 0.5 / np.sqrt(v))


def _of_position_means() -> Term:
    """Return the variance of the samples' means."""
    inner = Region("SL")

    def value(w: World) -> Values:
        return STANDARD.average((inner.average(w.x) - MEAN.value(w)) ** 2)

    def back(w: World, upstream: Values) -> Values:
        return 2 * (inner.average(w.x) - MEAN.value(w)) * STANDARD.average(upstream)

    return Term("var of the samples' means", value, back)


@cache
def _centres() -> tuple[tuple[Term, ...], ...]:
    own = [
        *(mean(r, d) for d in DIVISORS for r in REGIONS),
        *weighed(MEAN, ["(1 - a)", "a"]),
        *(mean(r) for r in SHARDED),
        *map(shard_means, (1, 2, 4)),
    ]
    return tuple(own), (RUNNING_MEAN, *weighed(RUNNING_MEAN, ["(1 - a)", "a"])), (ONE,)


def _offsets(
    slope: Rows, noise: Rows, x: Rows, y: Rows, row: Row, own: Forward, per_channel: bool
) -> Iterator[tuple[Formula, Formula]]:
    """Yield centre and shift: the centre if beta is added as it is; else the shift, if the centre is an ordinary one."""
    unsure = (np.abs(x) * noise + noise) / np.abs(slope) + noise * np.abs(x)
    unsure = np.abs(x) * noise / np.abs(slope) + noise / np.abs(slope)
    beta = row(BETA) if per_channel else np.zeros_like(y)
    families = _centres()
    rows = [[row(t) for t in family] for family in families]
    flat = [t for family in families for t in family]
    tried = [] if not per_channel else [row(s) for s in SHIFTS]
    found = summed(x - (y - beta) / slope, unsure + 1e-15 * np.abs(beta / slope), rows)
    if found:
        yield _formula(found.terms, flat), of(BETA)
    if found and found.cost < 1:
        return
    for centre in (own.centre, Formula(), of(MEAN), of(RUNNING_MEAN), Formula(((-1.0, MEAN),))):
        left = y - slope * (x - row(centre)) if centre.parts else y - slope * x
        shift = summed(left, unsure * np.abs(slope) + 1e-15 * np.abs(y), [tried, tried[3:4]], 2) if tried else None
        if shift is not None:
            yield centre, _formula(shift.terms, [*SHIFTS, SHIFTS[3]])
