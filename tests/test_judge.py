"""How one returned array becomes an observation: ratio, worst element, tiers, and what is not asked about.

The exact results and the bounds are given by the tests, in numbers that a reader can divide. Where the line lies for
real bounds is in test_threshold.py, and whether these are right in test_bounds.py.
"""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.golden.frozen import Enclosure
from refnorm.golden.inputs import Case
from refnorm.golden.situations import Situation
from refnorm.golden.sized import sized
from refnorm.golden.truth import NotHeld, truth
from refnorm.oracle import judge
from refnorm.oracle.ask.answers import Answer, Kind, NoArray, Trouble
from refnorm.oracle.bounds import bounds
from refnorm.oracle.judge import (
    Observation,
    bound_of,
    compared,
    judged_numbers,
    limits,
    observed_trouble,
    resolves,
    usable,
    wanted,
)  # fmt: skip
from refnorm.oracle.second_bounds import second_bounds
from refnorm.oracle.tiers import (
    COMBINED,
    FOLDED,
    NARROW,
    ONE_PASS,
    PAIRWISE,
    ROW_BY_ROW,
    SHIFTED,
    SUMMED,
    WELFORD,
    WIDE,
)  # fmt: skip

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


def test_beyond_what_conforms_only_what_does_not_is_an_explanation(known):
    known([16.0, 16.0], TIERED | {"row-by-row sums": 99.0, FOLDED.name: 99.0, SHIFTED.name: 7.0})
    assert seen([16.0, 16.0 + 6.0]).tiers == (SHIFTED.name, ONE_PASS.name)
    assert seen([16.0, 16.0 + 3.0]).tiers == (ROW_BY_ROW.name, FOLDED.name, COMBINED.name, SHIFTED.name, ONE_PASS.name)
    found = compared(made(), TORCH, "dbeta", np.array([16.0, 22.0]), WIDE)
    assert [o.tiers for o in found] == [(ROW_BY_ROW.name, FOLDED.name, SHIFTED.name, ONE_PASS.name)]


# Sums in half precision: what they explain, and where anything would.
HALF = dict.fromkeys(TIERED, 0.5) | {NARROW.name: 0.9}


@pytest.mark.parametrize(("expected", "told"), [(9.25, True), (8.75, False)])  # ten times the bound, or less
def test_sums_in_the_format_of_x_tell_where_their_bound_is_below_a_tenth_of_the_largest_result(known, expected, told):
    half = {"quantity": "frozen dbeta", "dtype": np.float16, "operation": "inference", "kind": "float16"}
    known([-expected, 0.25], HALF)
    assert seen([-expected, 1.0], **half).narrow_tells is told
    assert seen([-expected, 0.5], **half).narrow_tells is False  # nothing is wrong
    assert seen([-expected, 2.0], **half).narrow_tells is False  # nor is it that
    known([-expected, np.inf], HALF)
    assert seen([0.75 - expected, 1.0], **half).narrow_tells is told
    known([-expected, 0.25], HALF | {NARROW.name: [0.9, 99.0]})  # where nothing is wrong any bound will do
    assert seen([0.75 - expected, 0.5], **half).narrow_tells is told


def test_rounded_parameters_make_the_same_of_dgamma_as_sums_in_half_precision(known):
    known([16.0, 16.0], HALF)
    half = {"operation": "inference", "kind": "float16"}
    for quantity, parameters, told in (
        ("frozen dgamma", "float16", True),
        ("frozen dgamma", "".join(["float", "16"]), True),
        ("frozen dgamma", "float32", False),
        ("frozen dbeta", "float32", True),
    ):
        options = half | {"dtype": parameters, "parameters": parameters}
        assert seen([16.0, 16.75], quantity, **options).narrow_tells is told


def test_in_a_wide_format_there_are_no_narrower_sums(known):
    known([16.0, 16.0], HALF)
    for kind in ("float64", "float32"):
        assert seen([16.0, 16.75], kind=kind, dtype=kind).tiers == ()


def test_a_bound_of_nothing_explains_what_has_no_size():
    assert resolves(np.zeros(2), np.array([np.inf, np.nan]), np.array([True, True]))
    assert not resolves(np.array([0.11]), np.array([-1.0]), np.array([True]))
    assert not resolves(np.array([0.05]), np.array([0.25]), np.array([True]))


def test_the_resolution_is_the_smallest_error_that_would_have_been_found_beside_its_element(known):
    known([1.0, -8.0], [0.5, 1.0])
    assert seen([1.0, -8.0]).resolution == 0.125
    for spoilt in (0.0, np.inf, np.nan):
        known([1.0, spoilt], [0.5, 0.25])
        assert seen([1.0, 0.0]).resolution == 0.5
    known([1.0, 4.0], [0.5, np.inf])
    assert seen([1.0, 4.0]).resolution == 0.5


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
    assert (observation.narrow_tells, observation.elsewhere) == (False, False)
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


@pytest.mark.parametrize("kind", Kind)
def test_what_is_declined_is_noted_as_such_and_is_no_failure(kind):
    answer = Answer(failed={"jvp": Trouble(kind, "no second order")})
    (observation,) = judged_numbers(made(), TORCH, answer)
    declined = kind.value == "declined"
    assert observation.passed is declined
    assert (observation.quantity, observation.policy) == (
        ("not offered", "no second order") if declined else ("jvp", "")
    )


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


def test_what_is_wanted_is_kept_and_so_cannot_change():
    asked = wanted(made(), TORCH, "dbeta", COMBINED)
    with pytest.raises(ValueError, match="read-only"):
        asked.expected[0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        asked.resolution = 1.0
    assert asked != dataclasses.replace(asked)


def test_judging_imports_no_exact_arithmetic_that_may_be_absent():
    without = "import sys; sys.modules['flint'] = None; import refnorm.oracle.judge"
    assert subprocess.run([sys.executable, "-c", without], check=False).returncode == 0


# Cases of sizes: who adds up is held to the bounds of sums.

STORED, GRADIENTS = ("y, training", "running mean", "running variance"), ("dx", "dgamma", "dbeta")
LARGE = sized("training", "float32", (1001, 4))
SUMMED_BY = {  # which of its channels are constant, and of which the values add up to 0
    "constant": np.ptp(LARGE.x, axis=0) == 0,
    "nothing": LARGE.x.sum(axis=0) == 0,
}


def held(case=LARGE, limit=COMBINED, **changed):
    """Which quantities are held to the bounds of sums where what comes back is right, but for some of it."""
    results = {name: truth(case, TORCH, name).rounded().reshape(-1) for name in STORED}
    results["y, training"] = results["y, training"].reshape(case.x.shape)
    for name, change in changed.items():
        name = {"y": "y, training", "mean": "running mean", "var": "running variance"}[name]
        results[name] = change(results[name])
    found = limits(case, TORCH, Answer(results=results), limit)
    assert set(found.values()) <= {SUMMED}
    return set(found)


def test_who_adds_up_is_held_to_sums_and_so_are_the_gradients_of_who_normalises_so():
    assert SUMMED_BY["constant"].any()
    assert SUMMED_BY["nothing"].any()
    assert held() == {*STORED, *GRADIENTS}
    assert held(y=lambda y: y * 1.001) == set(STORED)
    assert held(y=lambda y: y * 1.001, mean=lambda mean: mean + 1) == set()
    assert held(mean=lambda mean: mean + 1) == set(GRADIENTS)


def test_y_counts_only_where_all_of_it_is_within_the_bounds_of_sums():
    bound = bound_of(LARGE, TORCH, "y, training", SUMMED)
    for times, right in ((0.99, True), (1.01, False), (-0.99, True), (-1.01, False)):
        off = np.where(np.arange(LARGE.x.size) == 2002, times, 0).reshape(LARGE.x.shape) * bound
        assert held(y=lambda y, off=off: y + off) == ({*STORED, *GRADIENTS} if right else set(STORED))


@pytest.mark.parametrize(
    "y", [None, NoArray("list"), np.zeros(4), np.zeros((1002, 4)), np.zeros((1001, 4), complex)], ids=str
)
def test_a_y_that_is_none_makes_no_demand(y):
    assert held(y=lambda _: y) == set(STORED)


@pytest.mark.parametrize("name", ["mean", "var"])
def test_statistics_that_are_none_make_no_demand(name):
    for change in (lambda a: None, lambda a: NoArray("list"), lambda a: a[None], lambda a: a[:3]):
        assert held(**{name: change}) == set(GRADIENTS)
    assert held(var=lambda var: var + 0j) == set(GRADIENTS)
    for spoilt in (np.inf, np.nan):
        assert held(var=lambda var, spoilt=spoilt: np.full_like(var, spoilt)) == set(GRADIENTS)


def test_means_of_what_adds_up_to_0_are_0_and_others_are_not_looked_at():
    for channel in range(4):
        off = np.where(np.arange(4) == channel, 1e-6, 0)
        expected = {*GRADIENTS} if SUMMED_BY["nothing"][channel] else {*STORED, *GRADIENTS}
        assert held(mean=lambda mean, off=off: mean + off) == expected


def test_variances_are_right_or_wrong_by_one_factor_but_for_roundings_and_that_of_a_constant_is_not_looked_at():
    assert held(var=lambda var: var * 1000 / 1001) == {*STORED, *GRADIENTS}
    for channel in range(4):
        one = np.where(np.arange(4) == channel, 2.0**-24, 0)  # a rounding
        alike = held(var=lambda var, one=one: 3 * var * (1 + 7.99 / 3 * one) + 1e-3 * (var == 0))
        assert alike == {*STORED, *GRADIENTS}
        differ = held(var=lambda var, one=one: 3 * var * (1 + 8.01 / 3 * one))
        assert (differ == alike) == SUMMED_BY["constant"][channel]


@pytest.mark.parametrize("m", [999, 1000, 1002])
def test_few_values_or_two_halves_of_one_size_say_nothing_of_how_they_are_added_up(m):
    assert held(sized("training", "float32", (m, 4))) == set(GRADIENTS)


def test_variances_say_nothing_where_all_is_constant_or_the_batch_does_not_enter():
    shape = next((m, 1) for m in range(1001, 1101, 2) if np.ptp(sized("training", "float32", (m, 1)).x) == 0)
    assert held(sized("training", "float32", shape)) == set(GRADIENTS)
    stays = dataclasses.replace(LARGE.situation, momentum=0.0)
    small = dataclasses.replace(LARGE.table.case, situation=stays)
    table = dataclasses.replace(LARGE.table, case=small)
    assert held(dataclasses.replace(LARGE, situation=stays, table=table)) == set(GRADIENTS)


def test_other_bounds_inference_and_cases_of_the_set_are_not_held_to_sums():
    for tier in (WIDE, ONE_PASS):
        assert held(limit=tier) == set()
    assert limits(made(), TORCH, Answer(results={"y, training": made().x})) == {}
    frozen = sized("inference", "float32", (1001, 4))
    assert limits(frozen, TORCH, Answer(results={"y, training": truth(LARGE, TORCH, "y, training").rounded()})) == {}


def test_of_a_case_of_sizes_every_value_is_judged_and_the_first_of_the_worst_is_shown():
    right = truth(LARGE, TORCH, "y, training").rounded("float32").astype(np.float32)
    for off in (0.5, -0.5, np.nan):
        y = right.copy()
        y[[7, 900], [2, 2]] += np.float32(off)
        same = np.flatnonzero((LARGE.x[:, 2] == LARGE.x[7, 2]) & (LARGE.dy[:, 2] == LARGE.dy[7, 2]))
        assert {7, 900} <= set(same)
        (observation,) = compared(LARGE, TORCH, "y, training", y)
        assert observation.index == (7, 2)
        assert observation.ratio > 1000
    for case in (LARGE, sized("training", "float32", (1, 4, 1001))):
        for quantity in STORED:
            right = truth(case, TORCH, quantity).rounded("float32").astype(np.float32)
            (observation,) = compared(case, TORCH, quantity, right)
            assert observation.ratio <= 1
