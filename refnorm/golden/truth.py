"""The truth about a case: what a convention demands of it, read from the frozen set, or computed by `refnorm.exact`.

Float64 results stand in the frozen set with what rounding took away, those of narrower formats to half a unit in the
last place. Where python-flint is at hand, these are computed exactly, so that half a unit decides nothing, and with
them what the set does not hold: running statistics of every convention, cases about memory layouts, all of a large
array. Without it the frozen set decides alone. The tests prove that both say the same.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.golden.contents import CONTENT
from refnorm.golden.directions import SECOND_ORDER, directions
from refnorm.golden.frozen import Enclosure, held
from refnorm.golden.inputs import Case

if TYPE_CHECKING:
    from refnorm.exact import Exact
    from refnorm.golden.counted import Spread

RESULTS = {quantity: (operation, name) for operation, c in CONTENT.items() for name, quantity in c.results.items()}
RESULTS |= {"frozen y": RESULTS["y, inference"]}
MOVED = {"running mean": "running_mean", "running variance": "running_var_correction_{}"}


class NotHeld(Exception):
    """The frozen set does not hold a result, and there is no python-flint to compute it."""


def truth(case: Case, row: Convention, quantity: str) -> Exact | Enclosure | Spread:
    """Return what one quantity of a case must be, by the oracle's names: frozen where the set has all digits of it.

    Raises
    ------
    NotHeld
        The set does not hold it, and python-flint is not installed.

    Examples
    --------
    >>> from refnorm.conventions import ROWS
    >>> from refnorm.golden import case
    >>> truth(case("bn.training.float64.two-values.1"), ROWS["torch"], "running mean").rounded()
    array([-0.95843315, -2.47000504,  1.59020615])
    """
    if case.table is not None and can_compute():
        return _spread(case, row, quantity)
    kept = _frozen(case, row, quantity)
    if kept is not None and kept.whole and kept.sharp:
        return kept
    if can_compute():
        return _computed(case, row, quantity)
    kept = kept or (_blended(case, row, quantity) if quantity in MOVED else None)
    if kept is None:
        raise NotHeld(f"{quantity} of {case.id} is not in the frozen set; pip install python-flint")
    return kept


@cache
def can_compute() -> bool:
    """Whether python-flint is at hand."""
    return find_spec("flint") is not None


def expected(case: Case, row: Convention) -> dict[str, Exact]:
    """Compute the exact result of every quantity of a case, second order aside, by the oracle's names.

    The case must be finite and hold at least one value per channel. Needs python-flint.
    """
    results = _first_order(case, row.travelled(case.eps))
    return results | _running(case, row) if case.operation == "training" else results


def second_order(case: Case, row: Convention) -> dict[str, Exact]:
    """Compute the exact jvp and double backward of a case along its directions, by the oracle's names."""
    return _second_order(case, row.travelled(case.eps))


def _frozen(case: Case, row: Convention, quantity: str) -> Enclosure | None:
    """Return what the set holds of a quantity under a row, if the row asks for the same numbers."""
    if not case.held:
        return None
    if quantity in MOVED:
        momentum = Fraction(case.momentum)
        if row.weights(case.momentum) != (1 - momentum, momentum):
            return None
        operation, name = "running", MOVED[quantity].format(row.correction)
    elif row.travelled(case.eps) == case.eps:
        operation, name = RESULTS[quantity]
    else:
        return None
    entry = held(operation, case.kind).get(case.id_in(operation))
    return None if entry is None else entry.expected[name]


def _blended(case: Case, row: Convention, quantity: str) -> Enclosure | None:
    """Enclose a running statistic after one step, from the mean and variance that the set holds of the batch."""
    entry = held("training", case.kind).get(case.id_in("training")) if case.held else None
    if entry is None or len(case.batches) > 1:
        return None
    old, new = row.weights(case.momentum)
    if quantity == "running mean":
        before, batch = case.running_mean, entry.expected["mean"]
    else:
        before, batch, new = case.running_var, entry.expected["var"], new * row.factor(case.count)
    sums = [Fraction(hi) + Fraction(lo) for hi, lo in zip(batch.hi.tolist(), batch.lo.tolist(), strict=True)]
    values = [old * Fraction(b) + new * s for b, s in zip(before.tolist(), sums, strict=True)]
    hi = np.array([float(v) for v in values])
    lo = np.array([float(v - Fraction(h)) for v, h in zip(values, hi.tolist(), strict=True)])
    bound = np.nextafter(float(new) * batch.bound, np.inf) + np.abs(lo) * 2.0**-52
    return Enclosure(batch.shape, hi, lo, bound)


def _computed(case: Case, row: Convention, quantity: str) -> Exact:
    if quantity in MOVED:
        return _running(case, row)[quantity]
    eps = row.travelled(case.eps)
    second = quantity.removeprefix("frozen ") in [name for names in SECOND_ORDER.values() for name in names]
    return (_second_order if second else _first_order)(case, eps)[quantity]


def _spread(case: Case, row: Convention, quantity: str) -> Exact | Spread:
    """Compute a quantity of a large case that repeats few pairs, by them."""
    from refnorm.golden.counted import Spread

    assert case.table is not None
    found = _computed(case.table.case, row, quantity)
    return Spread(found, case.table.index) if found.shape == case.table.case.x.shape else found


@lru_cache(maxsize=4096)
def _first_order(case: Case, eps: float) -> dict[str, Exact]:
    from refnorm import exact

    if case.times is not None:
        from refnorm.golden import counted

        return counted.first_order(case, eps)
    if case.operation == "inference":
        statistics = (case.running_mean, case.running_var, case.gamma)
        y = exact.inference(case.x, *statistics, case.beta, eps=eps)
        gradients = exact.inference_gradients(case.dy, case.x, *statistics, eps=eps)
        return {"y, inference": y, "frozen y": y} | {f"frozen {k}": v for k, v in gradients._asdict().items()}
    y = exact.training(case.x, case.gamma, case.beta, eps=eps).y
    return {"y, training": y} | exact.training_gradients(case.dy, case.x, case.gamma, eps=eps)._asdict()


@lru_cache(maxsize=4096)
def _running(case: Case, row: Convention) -> dict[str, Exact]:
    from refnorm import exact

    old, new = row.weights(case.momentum)
    mean: Any = case.running_mean
    var: Any = case.running_var
    for moments in _moments(case):
        mean = exact.blend(mean, old, moments.mean, new)
        var = exact.blend(var, old, moments.var, new * row.factor(moments.count[0]))
    return {"running mean": mean, "running variance": var}


@lru_cache(maxsize=4096)
def _moments(case: Case) -> tuple[Any, ...]:
    from refnorm import exact

    if case.times is not None:
        from refnorm.golden import counted

        return (counted.counted_moments(case),)
    return tuple(exact.statistics(x) for x in case.batches)


@lru_cache(maxsize=4096)
def _second_order(case: Case, eps: float) -> dict[str, Exact]:
    """Compute the jvp, which is ddy, and the double backward of a case along its directions."""
    from refnorm import exact

    moves = directions(case)
    if case.operation == "inference":
        rest = (case.x, case.running_mean, case.running_var, case.gamma)
        second = exact.inference_double_backward(*moves, case.dy, *rest, eps=eps)
    else:
        second = exact.training_double_backward(*moves, case.dy, case.x, case.gamma, eps=eps)
    prefix = "frozen " if case.operation == "inference" else ""
    names = [name for names in SECOND_ORDER.values() for name in names]
    return {prefix + name: result for name, result in zip(names, (second.ddy, *second), strict=True)}
