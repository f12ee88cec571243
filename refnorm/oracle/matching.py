"""Which formula gives every number that was returned, those that passed included."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.formats import Floats, largest, unit_roundoff
from refnorm.golden.truth import truth
from refnorm.oracle.judge import Observation, bound_of
from refnorm.oracle.measure.explain import Explanation, explanations
from refnorm.oracle.measure.read_parts import Unsaid
from refnorm.oracle.quantities import FURTHER
from refnorm.oracle.worlds import Values, World, world

FITS = (1, 4)  # in bounds: the first formula that fits is believed, one that nearly fits only if none does
LARGEST = 3000  # values of x: of larger ones a formula is not read unless nothing else fails, but it must predict them
ROUNDINGS = 4  # of the terms of a formula, beside those that the bound covers
EXPLAINED = 0.5  # of an error: a formula that leaves more of it has not explained it


def smooth(o: Observation) -> bool:
    """Whether rounding errors are not magnified: not in a constant channel, not among subnormal numbers."""
    return o.case.situation.content != "constant" and o.case.situation.name != "subnormal-values"


@np.errstate(all="ignore")
def explained(
    quantity: str,
    failed: Sequence[Observation],
    comparable: Sequence[Observation],
    row: Convention,
    given: Sequence[Explanation],
) -> Explanation | None:
    """Return the first explanation that fits, else the first that nearly does; None if none does.

    A formula is read off the small cases in the widest format, and believed if it predicts every case, those that
    passed included. Small cases are asked first: most formulas are refuted there, before a large array is computed.
    """
    telling = [o for o in failed if smooth(o)] or list(failed)
    telling = sorted([*telling, *(o for o in comparable if o.passed and smooth(o))], key=lambda o: o.case.x.size)
    best, closest = None, len(FITS)
    for explanation in explanations(quantity, readable(telling, row), row, given):
        fit = 0
        for o in telling:
            fit = max(fit, _fit(explanation.value, o, row))
            if fit >= closest:
                break
        else:
            best, closest = explanation, fit
        if closest == 0:
            break
    return best


def readable(observations: Sequence[Observation], row: Convention) -> list[tuple[World, Values]]:
    """Return the worlds of small cases with what was returned, in the widest format; of larger ones if none fails."""
    plain = [o for o in observations if o.case.table is None and np.size(o.actual)]
    small = [o for o in plain if o.case.x.size <= LARGEST]
    if all(o.passed for o in small):
        small += [o for o in plain if o not in small and o.case.x.size <= 10 * LARGEST]
    u = min((unit_roundoff(o.case.kind) for o in small), default=1.0)
    return [(world(o.case, row), o.actual) for o in small if unit_roundoff(o.case.kind) == u]


def _bound(o: Observation, row: Convention) -> Floats:
    """Return the bound of a quantity; of dbeta that of dgamma, if it is larger: a formula may take it for dgamma."""
    bound = bound_of(o.case, row, o.quantity)
    if not o.quantity.endswith("dbeta") or o.quantity in FURTHER:
        return bound
    return np.maximum(bound, bound_of(o.case, row, o.quantity.replace("dbeta", "dgamma")))


def _fit(predicted: Callable[[World], Values], o: Observation, row: Convention) -> int:
    """Return how well a formula gives what was returned: the index in FITS, their number if not at all."""
    with np.errstate(all="ignore"):
        bound = _bound(o, row)
        try:
            value = predicted(world(o.case, row))
            value = np.broadcast_to(np.asarray(value, dtype=np.longdouble), np.shape(o.actual))
        except ValueError:  # of another shape: not what was computed
            return len(FITS)
        except Unsaid:
            return 0
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
        unguarded = o.quantity == "running variance" and len(o.case.x) == 1  # divided by N - 1, which is 0
        undefined = (~np.isfinite(value) | (np.abs(value) > limit) | unguarded) & ~np.isfinite(o.actual)
        settled = undefined | (np.isfinite(o.actual) & np.isinf(bound))
        fits = (bool(np.all(settled | (np.isfinite(o.actual) & (off <= slack * allowed)))) for slack in FITS)
        return next((number for number, fit in enumerate(fits) if fit), len(FITS))
