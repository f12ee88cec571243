"""How one returned array becomes an observation: ratio, worst element, tiers, and what is not asked about.

The exact results and the bounds are given by the tests, in numbers that a reader can divide. Where the line lies for
real bounds is in test_threshold.py, and whether these are right in test_bounds.py.
"""

import dataclasses
import math

import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.golden.frozen import Enclosure
from refnorm.golden.inputs import Case
from refnorm.golden.situations import Situation
from refnorm.golden.truth import NotHeld
from refnorm.oracle import judge
from refnorm.oracle.ask.answers import Answer, Kind, NoArray, Trouble
from refnorm.oracle.bounds import bounds
from refnorm.oracle.judge import Observation, bound_of, compared, judged_numbers, observed_trouble, usable
from refnorm.oracle.second_bounds import second_bounds
from refnorm.oracle.tiers import COMBINED, FOLDED, ONE_PASS, PAIRWISE, ROW_BY_ROW, WELFORD, WIDE

TORCH = ROWS["torch"]
RAISED = Trouble(Kind.RAISED, "it raised")


def made(operation="training", kind="float64", eps=0.5, gamma=True, parameters=None):
    """A case of two values in two channels."""
    x, one = np.array([[1.0, -2.0], [3.0, 2.0]]), np.ones(2)
    situation = Situation("made", "", x.shape, eps=eps)
    given = one if gamma else None
    return Case("made", operation, kind, parameters or kind, situation, (x,), x / 2, given, one, one, one)


@pytest.fixture
def known(monkeypatch):
    """Let the exact result and the bounds of every quantity be those given: one bound, or one of each tier."""

    def known(exact, bound):
        exact = np.asarray(exact, dtype=np.float64)
        flat = exact.reshape(-1)
        held = Enclosure(exact.shape, flat, np.zeros(flat.size), np.zeros(flat.size))
        monkeypatch.setattr(judge, "truth", lambda *_: held)
        tiers = bound if isinstance(bound, dict) else {}

        def given(case, row, quantity, tier=COMBINED):
            return np.asarray(tiers.get(tier.name, 64.0) if tiers else bound, dtype=np.float64)

        monkeypatch.setattr(judge, "_bound", given)

    return known


def seen(values, quantity="dbeta", dtype=np.float64, **options):
    (observation,) = compared(made(**options), TORCH, quantity, np.asarray(values, dtype=dtype))
    return observation


def test_an_observation_tells_the_element_that_is_worst_for_its_bound_and_not_the_largest_error(known):
    known([[1.0, 2.0], [3.0, 4.0]], [[8.0, 1.0], [1.0, 0.125]])
    values = [[5.0, 2.0], [3.5, 4.25]]  # off by 4, 0, 1/2, 1/4: half a bound, none, half a bound, two bounds
    worst = seen(values, "dx")
    assert (worst.quantity, worst.ratio, worst.index) == ("dx", 2.0, (1, 1))
    assert (worst.expected, worst.got, worst.error, worst.bound) == (4.0, 4.25, 0.25, 0.125)
    assert np.array_equal(worst.actual, values)
    assert worst.actual.dtype == np.float64
    assert not worst.passed


def test_the_sign_of_an_error_does_not_matter(known):
    known([1.0, 1.0], [1.0, 1.0])
    assert seen([0.25, 1.5]).ratio == 0.75


@pytest.mark.parametrize(("value", "right"), [(1.25, True), (1.25 + 2.0**-50, False), (0.75 - 2.0**-50, False)])
def test_an_error_as_large_as_the_bound_is_right(known, value, right):
    known([1.0, 1.0], 0.25)
    assert seen([1.0, value]).passed is right


def test_what_has_an_infinite_bound_need_only_be_finite(known):
    known([1.0, 1.0], np.inf)
    assert seen([7.0, 1e300]).ratio == 0
    for value in (np.inf, -np.inf, np.nan):
        assert seen([7.0, value]).ratio == math.inf
        assert seen([7.0, value]).index == (1,)


def test_the_nearest_number_is_right_whatever_the_bound(known):
    known([1.0, 1.0], 0.0)
    assert seen([1.0, 1.0]).ratio == 0
    assert seen([1.0, 1.0 + 2.0**-52]).ratio == math.inf


@pytest.mark.parametrize("exact", [np.inf, -np.inf, np.nan])
def test_of_what_overflows_or_is_not_known_no_nan_is_asked(known, exact):
    known([exact, 1.0], 1.0)
    for value in (0.0, 5.0, np.inf, -np.inf):
        assert seen([value, 1.0]).ratio == 0
    assert seen([np.nan, 1.0]).ratio == math.inf


def test_nan_is_wrong_where_a_number_is_expected(known):
    known([1.0, 1.0], 1.0)
    assert (seen([1.0, np.nan]).ratio, seen([1.0, np.nan]).index) == (math.inf, (1,))


def test_an_overflow_of_the_narrow_format_is_expected_there(known):
    known([1e5, 1.0], 1.0)
    assert seen([np.inf, 1.0], kind="float16", dtype=np.float16).ratio == 0
    assert seen([np.inf, 1.0], kind="float32", dtype=np.float32).ratio == math.inf


def test_bounds_of_one_number_hold_for_all_elements(known):
    known([[1.0, 2.0], [3.0, 4.0]], [[0.5, 2.0]])
    assert seen([[1.5, 3.0], [3.0, 5.0]], "dx").ratio == 1


TIERED = {
    "wide accumulation": 0.25,
    "pairwise sums": 0.5,
    "row-by-row sums": 1.0,
    "Welford's updates or merged moments": 2.0,
    "folded y = x a + b": 1.0,
    "row-by-row updates and folded maps": 4.0,
    "one-pass variance of x less one of its values": 0.375,
    "one-pass variance E[x^2] - E[x]^2": 8.0,
}


@pytest.mark.parametrize(
    ("error", "tiers"),
    [
        (0.5, ()),
        (0.75, (ROW_BY_ROW, WELFORD, FOLDED, COMBINED, ONE_PASS)),
        (1.0, (ROW_BY_ROW, WELFORD, FOLDED, COMBINED, ONE_PASS)),
        (1.5, (WELFORD, COMBINED, ONE_PASS)),
        (2.0, (WELFORD, COMBINED, ONE_PASS)),
        (4.0, (COMBINED, ONE_PASS)),
        (8.0, (ONE_PASS,)),
        (8.5, ()),
    ],
)
def test_tiers_are_named_if_sums_by_halves_do_not_explain_the_error(known, error, tiers):
    known([16.0, 16.0], TIERED)
    assert seen([16.0, 16.0 + error]).tiers == tuple(tier.name for tier in tiers)
    assert seen([16.0 - error, 16.0]).tiers == tuple(tier.name for tier in tiers)


def test_one_element_beyond_the_bound_of_a_tier_is_enough(known):
    known([16.0, 16.0], TIERED | {"pairwise sums": [8.0, 0.5]})
    assert seen([18.0, 16.0]).tiers == ()
    assert seen([16.0, 18.0]).tiers == ("Welford's updates or merged moments", COMBINED.name, ONE_PASS.name)


def test_tiers_ask_nothing_where_their_bound_is_infinite_or_nothing_is_asked(known):
    known([16.0, 16.0], TIERED | {"pairwise sums": [np.inf, 0.5], "row-by-row sums": [0.5, 4.0]})
    assert seen([1e9, 16.0]).tiers == ()
    assert ROW_BY_ROW.name in seen([16.5, 18.0]).tiers
    known([np.inf, 16.0], TIERED)
    assert seen([0.0, 16.25]).tiers == ()
    assert seen([0.0, 17.0]).tiers[0] == ROW_BY_ROW.name


def test_another_format_is_charged_as_such_and_not_as_an_error(known):
    """In float32 numbers near 5 are 2^-21 apart; u |expected| = 5/8 of that, and the bound is the other 3/8."""
    known([5.0, 5.0], 3 * 2.0**-24)
    for value, ratio in ((5 + 2.0**-21, 1.0), (5 - 2.0**-20, 2.0)):
        trouble, observation = compared(made(), TORCH, "dbeta", np.array([5.0, value], np.float32))
        assert trouble.trouble == Trouble(Kind.DTYPE, "float32 comes back, expected float64", about="dbeta")
        assert (trouble.quantity, trouble.passed) == ("shapes and dtypes", False)
        assert (observation.bound, observation.ratio) == (2.0**-21, ratio)
    known([-5.0, -5.0], 3 * 2.0**-24)
    _, observation = compared(made(), TORCH, "dbeta", np.array([-5.0, -5 - 2.0**-21], np.float32))
    assert observation.ratio == 1


def test_a_format_that_no_roundoff_is_known_of_is_charged_by_the_plain_bound(known):
    if np.dtype(np.longdouble).name == "float64":
        pytest.skip("long double is float64 here")
    known([5.0, 5.0], 0.25)
    trouble, observation = compared(made(), TORCH, "dbeta", np.array([5.0, 5.5], np.longdouble))
    assert trouble.trouble.kind is Kind.DTYPE
    assert (observation.bound, observation.ratio) == (0.25, 2.0)


def test_what_cannot_be_compared_is_one_observation_and_an_empty_array_none():
    (observation,) = compared(made(), TORCH, "dbeta", None)
    assert observation.trouble == Trouble(Kind.UNUSABLE, "dbeta is NoneType, expected a NumPy array")
    assert observation.quantity == "dbeta"
    empty = dataclasses.replace(made(), batches=(np.zeros((0, 2)),))
    assert list(compared(empty, TORCH, "dx", np.zeros((0, 2)))) == []


@pytest.mark.parametrize(
    ("result", "trouble"),
    [
        (None, Trouble(Kind.UNUSABLE, "dx is NoneType, expected a NumPy array")),
        (NoArray("list"), Trouble(Kind.UNUSABLE, "dx is list, expected a NumPy array")),
        (np.zeros(2), Trouble(Kind.SHAPE, "dx has shape (2,), expected (2, 2)", particular=True)),
        (np.zeros((3, 2)), Trouble(Kind.SHAPE, "dx has shape (3, 2), expected (2, 2)", particular=True)),
        (np.zeros((2, 2), int), Trouble(Kind.UNUSABLE, "dx has dtype int64, expected float32")),
        (np.zeros((2, 2), bool), Trouble(Kind.UNUSABLE, "dx has dtype bool, expected float32")),
    ],
    ids=["None", "list", "fewer", "more", "integers", "bool"],
)
def test_what_is_no_array_of_floats_of_the_shape_is_unusable(result, trouble):
    assert usable(made(kind="float32"), "dx", result) == (None, trouble)


def test_an_array_of_another_float_format_is_usable_with_a_remark():
    array = np.zeros((2, 2), np.float16)
    assert usable(made(kind="float16"), "dx", array) == (array, None)
    found, trouble = usable(made(kind="float32"), "dx", array)
    assert found is array
    assert trouble == Trouble(Kind.DTYPE, "float16 comes back, expected float32", about="dx")
    _, trouble = usable(made(kind="float16", parameters="float32"), "dbeta", np.zeros(2, np.float16))
    assert trouble == Trouble(Kind.DTYPE, "float16 comes back, expected float32", about="dbeta")
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    _, trouble = usable(made(kind="float32"), "dx", array.astype(bfloat16))
    assert trouble == Trouble(Kind.DTYPE, "bfloat16 comes back, expected float32", about="dx")


def test_what_a_dtype_carries_beside_the_format_is_nothing_wrong():
    array = np.zeros((2, 2), np.dtype("float64", metadata={"from": "a file"}))
    assert usable(made(), "dx", array) == (array, None)


@pytest.mark.parametrize("kind", Kind)
def test_trouble_with_a_dtype_is_shown_with_the_dtypes_and_any_other_with_its_quantity(kind):
    shown = observed_trouble(made(), "dx", Trouble(kind, "")).quantity
    assert shown == ("shapes and dtypes" if kind.value == "dtype" else "dx")


def test_an_observation_passes_without_trouble_and_with_a_ratio_of_at_most_one():
    case = made()
    assert Observation("dx", case).passed
    assert Observation("dx", case, ratio=1.0).passed
    assert not Observation("dx", case, ratio=1.0 + 2.0**-52).passed
    assert not Observation("dx", case, trouble=RAISED).passed
    assert not Observation("dx", case, ratio=2.0, trouble=RAISED).passed


def test_an_observation_without_numbers_has_zeros_cannot_change_and_equals_no_other():
    observation = Observation("dx", made())
    assert (observation.ratio, observation.expected, observation.got) == (0, 0, 0)
    assert (observation.error, observation.bound, observation.index, observation.tiers) == (0, 0, (), ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        observation.ratio = 1.0
    assert observation != dataclasses.replace(observation)  # what is judged twice is two observations


# Whole answers.


def noted(operation, eps, row, failed):
    case = made(operation, eps=eps)
    return [o.quantity for o in judged_numbers(case, row, Answer(failed=dict.fromkeys(failed, RAISED)))]


def test_a_failure_is_shown_where_the_function_would_have_been():
    training = {"train": "y, training", "backward": "dx", "jvp": "jvp", "double_backward": "double backward ddy"}
    frozen = {"infer": "y, inference", "frozen": "frozen dx", "backward": "frozen dx", "jvp": "frozen jvp"}
    frozen["double_backward"] = "frozen double backward ddy"
    assert noted("training", 0.5, TORCH, training) == list(training.values())
    assert noted("inference", 0.5, TORCH, frozen) == list(frozen.values())


def test_eps_of_zero_may_be_refused_in_training_where_the_convention_lets_it():
    refuses, takes = (dataclasses.replace(TORCH, zero_eps=takes) for takes in (False, True))
    every = ["train", "backward", "jvp"]
    shown = ["y, training", "dx", "jvp"]
    assert noted("training", 0.0, refuses, every) == ["jvp"]
    assert noted("training", 0.0, takes, every) == shown
    assert noted("training", 2.0**-10, refuses, every) == shown
    assert noted("training", -(2.0**-10), refuses, every) == shown
    assert noted("inference", 0.0, refuses, ["backward"]) == ["frozen dx"]
    assert noted("inference", 2.0**-10, refuses, ["backward"]) == ["frozen dx"]


def test_the_gradient_of_an_absent_parameter_may_be_none_and_the_rest_is_judged():
    answer = Answer(results={"dgamma": None, "dbeta": np.array([2.0, 0.0])})  # dy is [[1/2, -1], [3/2, 1]]
    (observation,) = judged_numbers(made(gamma=False), TORCH, answer)
    assert (observation.quantity, observation.ratio) == ("dbeta", 0)
    missing, right = judged_numbers(made(), TORCH, answer)
    assert (missing.quantity, missing.trouble.kind) == ("dgamma", Kind.UNUSABLE)
    assert right.passed
    (observation,) = judged_numbers(made(gamma=False), TORCH, Answer(results={"dgamma": np.array([0.0, 1e9])}))
    assert not observation.passed


def test_what_the_set_does_not_hold_is_left_out_and_the_rest_is_judged(monkeypatch):
    held = judge.truth

    def truth(case, row, quantity):
        if quantity == "dgamma":
            raise NotHeld
        return held(case, row, quantity)

    monkeypatch.setattr(judge, "truth", truth)
    answer = Answer(results={"dgamma": np.zeros(2), "dbeta": np.array([2.0, 0.0])})
    assert [o.quantity for o in judged_numbers(made(), TORCH, answer)] == ["dbeta"]


@pytest.mark.parametrize("tier", [WIDE, PAIRWISE, COMBINED, ONE_PASS], ids=lambda t: t.name)
def test_first_and_second_order_have_bounds_of_their_own(tier):
    case = made()
    assert bound_of(case, TORCH, "dx", tier) is bounds(case, TORCH, tier)["dx"]
    assert bound_of(case, TORCH, "jvp", tier) is second_bounds(case, TORCH, tier)["jvp"]


def test_the_bound_that_conforms_is_that_of_row_by_row_updates_and_folded_maps():
    case = made()
    assert np.array_equal(bound_of(case, TORCH, "dx"), bound_of(case, TORCH, "dx", COMBINED))
