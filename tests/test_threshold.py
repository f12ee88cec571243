"""Where the oracle draws the line: the last number of the format within a bound passes, the first beyond it does not.

For every quantity, format and tier, on a sample of cases: the candidate is exact but for one element, which is moved
away from the exact number, in exact arithmetic, to both sides of its bound. Not verified here: that the bounds are
right (test_bounds.py), and that bugs exceed them (test_mutants.py).
"""

from fractions import Fraction

import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.formats import FORMATS, largest, numpy_dtype, rounded
from refnorm.golden.inputs import cases
from refnorm.golden.truth import truth
from refnorm.oracle.judge import bound_of, compared
from refnorm.oracle.quantities import kind_of
from refnorm.oracle.tiers import PAIRWISE, TIERS

SAMPLED = True  # see conftest.py

TORCH = ROWS["torch"]
TWICE = [f"double backward {name}" for name in ("ddy", "dx", "dgamma")]
TRAINING = ["y, training", "running mean", "running variance", "dx", "dgamma", "dbeta", "jvp", *TWICE]
INFERENCE = ["y, inference", *(f"frozen {name}" for name in ("y", "dx", "dgamma", "dbeta", "jvp", *TWICE))]
PAIRS = [*(("training", quantity) for quantity in TRAINING), *(("inference", quantity) for quantity in INFERENCE)]
SITUATIONS = ("rank-4", "two-values", "large-mean", "mixed", "many-samples")


def exact_number(exact, at):
    """The exact number of one element, to far more digits than a bound has."""
    return Fraction(float(exact.hi.reshape(-1)[at])) + Fraction(float(exact.lo.reshape(-1)[at]))


def next_number(value, kind, upwards):
    """The neighbour of a number of a format, found by halving on the format's own rounding."""
    far = largest(kind) if upwards else -largest(kind)
    if kind == "float64":
        return float(np.nextafter(value, far))
    near, other = value, far  # near rounds to the value, other beyond
    while rounded([np.nextafter(near, far)], kind)[0] == value:
        middle = near + (other - near) / 2
        if rounded([middle], kind)[0] == value:
            near = middle
        else:
            other = middle
    return float(rounded([np.nextafter(near, far)], kind)[0])


def around(exact, bound, kind, upwards):
    """The last number of the format within a bound of the exact number on one side, and the first beyond it."""
    sign = 1 if upwards else -1
    value = float(rounded([float(exact + sign * bound)], kind)[0])
    while abs(Fraction(value) - exact) > bound:
        value = next_number(value, kind, not upwards)
    while abs(Fraction(following := next_number(value, kind, upwards)) - exact) <= bound:
        value = following
    return value, following


def chosen(operation, kind):
    """A case of each situation: ordinary ones, whose numbers and bounds are normal numbers of the format."""
    found = {}
    for case in cases(operation, kind):
        if case.situation.name in SITUATIONS and case.finite and not case.undefined:
            found.setdefault(case.situation.name, case)
    return list(found.values())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("operation", "quantity"), PAIRS)
def test_the_line_is_the_bound_and_no_other(operation, quantity, kind):
    if kind == "bfloat16":
        pytest.importorskip("ml_dtypes")
    tried = 0
    for case in chosen(operation, kind):
        own = kind_of(case, quantity)
        exact = truth(case, TORCH, quantity)
        values = exact.rounded(own)
        bound = np.broadcast_to(bound_of(case, TORCH, quantity), exact.shape).reshape(-1)
        at = int(np.argmax(np.where(np.isfinite(bound), np.abs(exact.hi.reshape(-1)), -1)))
        number = exact_number(exact, at)
        if not np.isfinite(bound[at]) or not bound[at] or abs(float(number)) > 0.4 * largest(own):
            continue
        for upwards in (False, True):
            inside, outside = around(number, Fraction(float(bound[at])), own, upwards)
            for value, right in ((inside, True), (outside, False)):
                moved = values.copy()
                moved.reshape(-1)[at] = value
                (seen,) = compared(case, TORCH, quantity, moved.astype(numpy_dtype(own)))
                ratio = abs(Fraction(value) - number) / Fraction(float(bound[at]))
                if abs(ratio - 1) > 2.0**-14:  # closer than that, the digits of what the set holds decide
                    assert seen.passed is right, (case.id, float(ratio), seen.ratio)
                    nearest = value == values.reshape(-1)[at]  # an error of less than a place is not asked about
                    assert seen.ratio == (0 if nearest else pytest.approx(float(ratio), rel=2.0**-14))
                tried += 1
        twice = values.copy()
        twice.reshape(-1)[at] = around(number, Fraction(float(bound[at])) * Fraction(3, 2), own, True)[1]
        (seen,) = compared(case, TORCH, quantity, twice.astype(numpy_dtype(own)))
        assert not seen.passed
    assert tried >= 4


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("operation", "quantity"), PAIRS)
def test_the_line_of_a_tier_is_its_bound(operation, quantity, kind):
    if kind == "bfloat16":
        pytest.importorskip("ml_dtypes")
    for case in chosen(operation, kind)[:2]:
        own = kind_of(case, quantity)
        exact = truth(case, TORCH, quantity)
        values = exact.rounded(own)
        for tier in (PAIRWISE, *TIERS[2:-1]):
            bound = np.broadcast_to(bound_of(case, TORCH, quantity, tier), exact.shape).reshape(-1)
            at = int(np.argmax(np.where(np.isfinite(bound), np.abs(exact.hi.reshape(-1)), -1)))
            number = exact_number(exact, at)
            if not np.isfinite(bound[at]) or not bound[at] or float(abs(number) + bound[at]) > 0.4 * largest(own):
                continue
            for value, right in zip(around(number, Fraction(float(bound[at])), own, True), (True, False), strict=True):
                moved = values.copy()
                moved.reshape(-1)[at] = value
                (seen,) = compared(case, TORCH, quantity, moved.astype(numpy_dtype(own)))
                if abs(abs(Fraction(value) - number) / Fraction(float(bound[at])) - 1) < 2.0**-14:
                    continue
                if tier is PAIRWISE:
                    assert (not seen.tiers) or not right, (case.id, tier.name)
                    assert right or seen.tiers or not any(within(case, quantity, moved, t, exact) for t in TIERS[2:-1])
                else:
                    assert (tier.name in seen.tiers) is (right and not within(case, quantity, moved, PAIRWISE, exact))


def within(case, quantity, values, tier, exact):
    """Whether all values lie within a tier's bounds, in exact arithmetic."""
    bound = np.broadcast_to(bound_of(case, TORCH, quantity, tier), exact.shape).reshape(-1)
    return all(
        np.isinf(b) or abs(Fraction(float(v)) - exact_number(exact, i)) <= Fraction(float(b))
        for i, (v, b) in enumerate(zip(values.reshape(-1), bound, strict=True))
    )
