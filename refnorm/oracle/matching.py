"""Which single deviation gives every number that was returned, those that passed included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.formats import largest, unit_roundoff
from refnorm.golden.truth import truth
from refnorm.oracle.deviations import candidates
from refnorm.oracle.deviations.double_backward import RIGHT
from refnorm.oracle.judge import Observation, bound_of
from refnorm.oracle.worlds import Deviation, Values, World, world

FITS = (0.1, 1, 4)  # in bounds: what fits closely is believed before what merely fits, then what nearly fits
ROUNDINGS = 4  # of the terms of a deviation, beside those that the bound covers
EXPLAINED = 0.5  # of an error: a deviation that leaves more of it has not explained it


def smooth(o: Observation) -> bool:
    """Whether rounding errors are not magnified: not in a constant channel, not among subnormal numbers."""
    return o.case.situation.content != "constant" and o.case.situation.name != "subnormal-values"


def matching_deviation(
    quantity: str,
    failed: Sequence[Observation],
    comparable: Sequence[Observation],
    row: Convention,
    given: Sequence[Deviation],
) -> Deviation | None:
    """Return the deviation that fits best, the first of those that fit alike; None if none fits.

    Small cases are asked first: most deviations are refuted there, before a large array is computed. A gradient may
    also deviate in the world of a forward deviation that was found before (a pair).
    """
    telling = [o for o in failed if smooth(o)] or list(failed)
    telling = sorted([*telling, *(o for o in comparable if o.passed and smooth(o))], key=lambda o: o.case.x.size)
    best, closest = None, len(FITS)
    for deviation in _possible(quantity, given):
        fit = 0
        for o in telling:
            fit = max(fit, _fit(deviation, o, row))
            if fit >= closest:
                break
        else:
            best, closest = deviation, fit
        if closest == 0:
            break
    return best


def _possible(quantity: str, given: Sequence[Deviation]) -> Iterator[Deviation]:
    """Yield what may explain a quantity: what was found before, then single deviations, then pairs."""
    yield from (d for d in given if quantity in d.values)
    if quantity in RIGHT:
        yield from (replace(d, values={quantity: _in_world(d.change, RIGHT[quantity])}) for d in given if d.change)
    yield from sorted(candidates(quantity), key=lambda d: d.change is not None)  # first what touches nothing else
    for first in given:
        if first.change is None or quantity.split()[-1] not in ("dx", "dgamma", "dbeta", "jvp", "ddy"):
            continue
        for second in candidates(quantity):
            if second.change is None:
                yield replace(second, values={quantity: _in_world(first.change, second.values[quantity])})


def _in_world(change: Callable[[World], World], value: Callable[[World], Values]) -> Callable[[World], Values]:
    return lambda w: value(change(w))


def _fit(deviation: Deviation, o: Observation, row: Convention) -> int:
    """Return how well a deviation gives what was returned: the index in FITS, their number if not at all."""
    with np.errstate(all="ignore"):
        bound = bound_of(o.case, row, o.quantity)
        try:
            value = deviation.values[o.quantity](world(o.case, row))
            value = np.broadcast_to(np.asarray(value, dtype=np.longdouble), np.shape(o.actual))
        except ValueError:  # of another shape: not what was computed
            return len(FITS)
        left = abs(o.got - float(value[o.index]))
        if not (o.passed or left < EXPLAINED * o.error or not np.isfinite(o.error)):
            return len(FITS)  # what does not differ from the truth explains nothing
        exact = truth(o.case, row, o.quantity).hi.reshape(value.shape)
        known = float(np.max(np.abs(exact), initial=5e-324, where=~np.isnan(exact)))
        growth = max(1.0, float(np.max(np.abs(value), initial=0)) / known)
        u = max(unit_roundoff(o.case.kind), unit_roundoff(o.case.parameters))
        size = np.fmax(np.abs(value), np.abs(exact))
        if size.ndim > 1:  # its terms may be larger than it is: as large as elsewhere in the channel
            size = size.max(tuple(a for a in range(size.ndim) if a != 1), keepdims=True)
        allowed, off = growth * bound + ROUNDINGS * u * size, np.abs(o.actual - value)
        limit = largest(o.case.kind if value.ndim > 1 else o.case.parameters)
        undefined = (~np.isfinite(value) | (np.abs(value) > limit)) & ~np.isfinite(o.actual)
        settled = undefined | (np.isfinite(o.actual) & np.isinf(bound))
        fits = (bool(np.all(settled | (np.isfinite(o.actual) & (off <= slack * allowed)))) for slack in FITS)
        return next((number for number, fit in enumerate(fits) if fit), len(FITS))
