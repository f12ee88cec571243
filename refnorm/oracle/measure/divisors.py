"""Read off what x - mean is divided by: a power of it is a sum of variances, eps and constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from refnorm.formats import rounded
from refnorm.oracle.measure.counts import DIVISORS, FACTORS
from refnorm.oracle.measure.fit import Rows, snapped, summed
from refnorm.oracle.measure.formula import Formula, Term, times
from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.measure.terms import (
    EPS,
    MEAN,
    ONE,
    REGIONS,
    RUNNING_VAR,
    SHARDED,
    VAR,
    constant,
    counted,
    extent,
    function,
    mean_distance,
    second_moment,
    shard_variances,
    variance,
    weighed,
)
from refnorm.oracle.worlds import Values, World

POWERS = {2: "std^2", 1: "std", 0.5: "std^(1/2)", -1: "1/std", -2: "1/std^2"}  # written as a sum of terms
TELLING = 1e-8  # of 1/std: where it is known to so much its power tells
Row = Callable[[Term | Formula], Rows]


def divisors(slope: Rows, noise: Rows, row: Row, most: int = 2) -> Iterator[tuple[float, float, tuple[float, Formula]]]:
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
            yield found.cost + order, power, (float(signs[0]), formula_of(found.terms, flat))
            if found.cost < 1:  # no other power costs less
                return
    yield from _other_power(size, unsure, lambda term: row(term)[known], float(signs[0]))


def _other_power(
    size: Rows, noise: Rows, row: Row, sign: float
) -> Iterator[tuple[float, float, tuple[float, Formula]]]:
    """Yield another power of std that is var + eps: the logarithm of 1/std goes with that of var + eps."""
    with np.errstate(all="ignore"):
        for own in (VAR, RUNNING_VAR):
            logs = np.log(row(own) + row(EPS))
            told = np.isfinite(logs) & (noise < TELLING * size) & (np.abs(logs) > 1)
            power = float(np.median(-np.log(size[told]) / logs[told])) if told.any() else np.nan  # of 1 / (var + eps)
            if not 0 < power < np.inf:
                continue
            power = next((near for near in snapped(power) if abs(near - power) < TELLING * power), power)
            target = (row(own) + row(EPS)) ** -power
            if np.all(np.abs(target - size) <= 2 * noise + 1e-13 * size):
                yield 4.0, 1 / power, (sign, Formula(((1.0, own), (1.0, EPS))))
                return


def power_words(power: float) -> str:
    """Return a power of std in words.

    Examples
    --------
    >>> power_words(2), power_words(1), power_words(3)
    ('std^2', 'std', 'std^3')
    """
    return POWERS.get(power, f"std^{power:.6g}")


def formula_of(terms: Sequence[tuple[int, float]], flat: Sequence[Term]) -> Formula:
    """Return a sum by the numbers of its terms."""
    return Formula(tuple((c, flat[i]) for i, c in terms))


OTHER_EPS = (  # what may stand in the place of eps
    constant("eps^2", lambda w: np.longdouble(w.eps) ** 2),
    constant("sqrt(eps)", lambda w: np.sqrt(np.longdouble(w.eps))),
    constant("max(eps, 1.001e-5)", lambda w: np.longdouble(max(w.eps, 1.001e-5))),
    constant("float32(eps)", lambda w: np.longdouble(np.float32(w.eps))),
    constant("(eps, and 1e-12 if it is small)", lambda w: np.longdouble(w.eps + (1e-12 if w.eps <= 1.0001e-5 else 0))),
    constant("float16(eps)", lambda w: np.longdouble(np.float16(w.eps))),
    constant("bfloat16(eps)", lambda w: np.longdouble(float(rounded(w.eps, "bfloat16")))),
    constant("min(eps, 1)", lambda w: np.longdouble(min(w.eps, 1.0))),
    constant("(eps, or 1e-5 if it is 0)", lambda w: np.longdouble(w.eps or 1e-5)),
)


@cache
def _divisor_terms(power: float) -> tuple[tuple[Term, ...], ...]:
    """Return what a power of the divisor may be made of: of the batch, of the running statistics, of eps."""
    batch = (
        [variance(r, d) for d in DIVISORS for r in REGIONS]
        if power == 2
        else [variance(), variance(STANDARD, "(m - 1)")]
    )
    own = [
        *batch,
        *(counted(k, variance(r)) for k in FACTORS[1:] for r in REGIONS if power == 2),
        *(_clamped(r) for r in REGIONS),
        *(variance(r, about=STANDARD) for r in REGIONS if r != STANDARD),
        *(second_moment(r, d) for d in DIVISORS[:6] for r in REGIONS[: 16 if power == 2 else 1]),
        *(variance(r) for r in SHARDED),
        *(shard_variances(split, equal) for split in (1, 2, 4) for equal in (False, True)),
        _of_position_means(),
        function("|var - eps|", VAR, lambda w, v: np.abs(v - w.eps), lambda w, v: np.sign(v - w.eps)),
        *map(_square, (mean_distance(), extent(), VAR)),
        *weighed(VAR, ["(1 - a)", "a"]),
        *weighed(variance(STANDARD, "(m - 1)"), ["(1 - a)", "a"]),
    ]
    roots = [mean_distance(), extent(), *map(root_of, (VAR, variance(STANDARD, "(m - 1)"), second_moment()))]
    both = function("sqrt(var + eps)", VAR, lambda w, v: np.sqrt(v + w.eps), lambda w, v: 0.5 / np.sqrt(v + w.eps))
    relative = [times(f"eps {v.words}", EPS.value, v) for v in (RUNNING_VAR, VAR)]  # beside var itself
    own.append(relative[0])
    stored = [
        RUNNING_VAR,
        relative[1],
        *weighed(RUNNING_VAR, ["(1 - a)", "a"]),
        *(counted(k, RUNNING_VAR) for k in ("m/(m - 1)", "(m - 1)/m")),
        constant("running variance^2", lambda w: w.running_var**2),
        constant("|running variance - eps|", lambda w: np.abs(w.running_var - w.eps)),
        constant("max(running variance, eps)", lambda w: np.maximum(w.running_var, w.eps)),
        ONE,
    ]
    stored_roots = [
        constant("sqrt(running variance)", lambda w: np.sqrt(w.running_var)),
        constant("sqrt(running variance + eps)", lambda w: np.sqrt(w.running_var + w.eps)),
    ]
    added = [
        EPS,
        ONE,
        *OTHER_EPS,
        constant("eps/m", lambda w: np.longdouble(w.eps) / w.m),
        *(counted(k, EPS) for k in ("m", "N", "1/N", "C", "1/C", "m/(m - 1)", "(m - 1)/m")),
    ]
    if power == -1:
        roots += [_inverse(root) for root in (*roots[2:], both)]
        stored_roots += [_inverse(root) for root in stored_roots]
    if power in (1, -1):
        own, stored = [*roots, both, *own], [*stored_roots, *stored]
    return tuple(own), tuple(stored), tuple(added), (ONE,)


@cache
def _clamped(region: Region) -> Term:
    var = variance(region)
    return function(
        f"max({var.words}, eps)", var, lambda w, v: np.maximum(v, w.eps), lambda w, v: (v > w.eps) * np.longdouble(1)
    )


def _square(term: Term) -> Term:
    words = term.words.strip("()")
    return function(f"({words})^2" if " " in words else f"{words}^2", term, lambda _, v: v * v, lambda _, v: 2 * v)


def root_of(term: Term) -> Term:
    """Return the root of a term."""
    return function(f"sqrt({term.words})", term, lambda w, v: np.sqrt(v), lambda w, v: 0.5 / np.sqrt(v))


def _inverse(term: Term) -> Term:
    return function(f"1/{term.words}", term, lambda _, v: 1 / v, lambda _, v: -1 / v**2)


@cache
def _of_position_means() -> Term:
    """Return the variance of the samples' means."""
    inner = Region("SL")

    def value(w: World) -> Values:
        return STANDARD.average((inner.average(w.x) - MEAN.value(w)) ** 2)

    def back(w: World, upstream: Values) -> Values:
        return 2 * (inner.average(w.x) - MEAN.value(w)) * STANDARD.average(upstream)

    return Term("var of the samples' means", value, back)
