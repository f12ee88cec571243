"""Read off y which values its statistics are of, where they are of some alone, or count some twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from refnorm.oracle.measure.divisors import formula_of, root_of
from refnorm.oracle.measure.fit import CLEAR, PLAIN, Rows, summed
from refnorm.oracle.measure.formula import Table, Term, of
from refnorm.oracle.measure.parts import ALL, DIVIDED, Selection, part_mean, part_variance, parts
from refnorm.oracle.measure.read_forward import ForwardMap, Lines, Seen, defined, lines_of
from refnorm.oracle.measure.region import STANDARD
from refnorm.oracle.measure.terms import BETA, EPS, GAMMA, MEAN, ONE, VAR, constant
from refnorm.oracle.worlds import Values, World

TELLING = 64  # how much larger than gamma y may be: what is added to gamma x_hat hides its digits
FEW = 12  # lines by which most parts are refuted
ADDED = (EPS, ONE, constant("eps^2", lambda w: np.longdouble(w.eps) ** 2))


def read_parts(seen: Sequence[Seen]) -> Iterator[ForwardMap]:
    """Yield y's whose mean and variance are of some of the values, eps added in any place.

    Parameters
    ----------
    seen : the definition's world of each case, with the y that was returned; training alone.
    """
    plain = [(w, y) for w, y in seen if np.all(np.isfinite(y)) and w.case.operation == "training"]
    lines = [line for line in lines_of(plain, STANDARD) if line.world.case.gamma is None or np.all(line.world.gamma)]
    if not lines:
        return
    with np.errstate(all="ignore"):
        few = lines[:FEW]
        centre, unsure, *_ = _measured(few)
        clear, rough, target, loose = _measured(lines)
        usual = bool(np.all(np.abs(_row(MEAN, lines) - clear) <= rough))
        for part in parts():
            if all(part.all_count_once(line.world) for line in lines):
                continue
            for mean in (part_mean(part, False), part_mean(part, True), *([MEAN] if usual else [])):
                if np.all(np.abs(_row(mean, few) - centre) <= unsure) and np.all(
                    np.abs(_row(mean, lines) - clear) <= rough
                ):
                    yield from _divided(part, mean, lines, target, loose, usual)


@np.errstate(all="ignore")
def other_inverse(seen: Sequence[Seen]) -> tuple[str, float] | None:
    """Say of a y that is right but for a number in each channel how far that is from 1/std, and return the farthest.

    A value that is rounded on the way is off by another factor in each place; what is approximated, in each channel.

    Parameters
    ----------
    seen : the definition's world of each case, with the y that was returned.
    """
    plain = [(w, y) for w, y in seen if np.all(w.gamma)]
    lines = lines_of(plain, STANDARD)
    if not lines:
        return None
    own = defined(lines[0].world)
    table = Table([line.world for line in lines], [line.slope.shape for line in lines])
    centre, unsure, square, loose = _measured(lines)
    told = np.isfinite(loose) & np.isfinite(table(own.divisor))
    if not told.any() or np.any(np.abs(centre - table(own.centre)) > unsure):
        return None
    factors = np.sqrt(table(own.divisor)[told] / square[told])
    off = float(np.max(np.abs(factors - 1)))
    if not np.any(np.abs(factors - 1) > loose[told] / square[told]):
        return None
    inverse = (
        "gamma/sqrt(var + eps)" if plain[0][0].case.operation == "training" else "gamma/sqrt(running variance + eps)"
    )
    between = " to ".join(f"{value:.9g}" for value in (factors.min(), factors.max()))
    return f"y is right but for another number in each channel in the place of {inverse}: {between} times it", off


class Unsaid(Exception):
    """What was measured says nothing of a case."""


def with_other_inverse(seen: Sequence[Seen]) -> Callable[[World], World]:
    """Return the world in which 1/std is what the slope of y says; it is `Unsaid` where gamma is small or y unknown."""
    known: dict[str, Values] = {}
    for w, y in seen:
        centred = w.x - STANDARD.average(w.x)
        spread = STANDARD.average(centred * centred)
        with np.errstate(all="ignore"):
            slope = STANDARD.average(centred * np.asarray(y, np.longdouble)) / (spread * w.gamma)
        told = np.isfinite(slope) & (np.abs(y).max(w.axes, keepdims=True) <= TELLING * np.abs(w.gamma))
        if np.all(told | (spread == 0)) and np.all(w.gamma):
            known[w.case.id] = np.where(spread == 0, w.inv, slope)

    def inverse(w: World) -> Values:
        if w.case.id not in known:
            raise Unsaid
        return known[w.case.id]

    return lambda w: replace(w, inverse=inverse)


def _row(term: Term, lines: Sequence[Lines]) -> Rows:
    return Table([line.world for line in lines], [line.slope.shape for line in lines])(term)


def _measured(lines: Sequence[Lines]) -> tuple[Rows, Rows, Rows, Rows]:
    """Return what x is centred by, and the square of what it is divided by, each with its noise."""
    slope, noise, x, y = (
        np.concatenate([np.asarray(a, float).ravel() for a in column])
        for column in zip(*((o.slope, o.noise, o.x, o.y) for o in lines), strict=True)
    )
    table = Table([line.world for line in lines], [line.slope.shape for line in lines])
    beta, gamma = table(BETA), table(GAMMA)
    unsure = noise * (np.abs(x) + np.sqrt(table(VAR))) + 1e-15 * (np.abs(y) + np.abs(beta))
    square = (gamma / slope) ** 2
    told = np.abs(slope) > CLEAR * noise
    loose = np.where(told, 2 * square * noise / np.abs(slope), np.inf)
    return x - (y - beta) / slope, np.where(told, unsure / np.abs(slope), np.inf), square, np.maximum(loose, 1e-300)


def _divided(
    part: Selection, mean: Term, lines: Sequence[Lines], square: Rows, noise: Rows, usual: bool
) -> Iterator[ForwardMap]:
    """Yield y's that are centred by a mean, and divided by deviations of a part, or of all, about it.

    Where the mean is the ``usual`` one, deviations that are a multiple of those of all values say nothing of a part.
    """
    table = Table([line.world for line in lines], [line.slope.shape for line in lines])
    told = np.isfinite(noise)
    if not told.any():
        return
    of_part, of_all = ([part_variance(some, mean, divided) for divided in DIVIDED] for some in (part, ALL))
    if usual:
        ratios = [[table(own)[told] / table(whole)[told] for whole in of_all] for own in of_part]
        of_part = [v for v, row in zip(of_part, ratios, strict=True) if all(np.ptp(r) > PLAIN * r.max() for r in row)]
    variances = of_part if usual else [*of_part, *of_all]
    for power in (2, 1):
        own = variances if power == 2 else [root_of(v) for v in variances]
        target = square[told] ** (power / 2)
        rough = noise[told] * (1 if power == 2 else 0.5 / np.sqrt(square[told]))
        found = summed(target, rough, [[table(t)[told] for t in own], [table(t)[told] for t in ADDED]])
        if found and found.terms:
            yield ForwardMap(of(mean), power, formula_of(found.terms, [*own, *ADDED]), of(GAMMA), of(BETA), part)
            return
