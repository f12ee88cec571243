"""How behaviours are judged where numbers do not tell: one value per channel, an empty batch, NaN and inf.

Answers are written by hand, one value of a correct one changed at a time. That real implementations are judged
so is in test_oracle.py and test_mutants.py.
"""

import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.golden.inputs import Case
from refnorm.golden.situations import Situation
from refnorm.oracle.ask.answers import Answer, Kind, NoArray, Trouble
from refnorm.oracle.behaviours import poisoned, policy

TORCH = ROWS["torch"]
MEAN, VAR, X, BETA = np.array([4.0, -2.0]), np.array([2.0, 8.0]), np.array([8.0, 2.0]), np.array([1.0, -3.0])
PLACE = 2.0**-21  # 8u of float32


def single(kind="float32", parameters="float32", beta=BETA, name="one-value", momentum=0.25, x=X[None]):
    """A case of one value per channel: with momentum 1/4 the running mean moves from (4, -2) to (5, -1)."""
    situation = Situation(name, "", x.shape, momentum=momentum)
    return Case("made", "training", kind, parameters, situation, (x,), x, None, beta, MEAN, VAR)


def outcome(y=BETA, mean=(5.0, -1.0), var=VAR, **options):
    case = single(**options)
    values = (np.broadcast_to(y, case.x.shape), np.asarray(mean), np.asarray(var))
    return named(case, dict(zip(("y, training", "running mean", "running variance"), values, strict=True)))


def named(case, results=None, failed=None):
    return policy(case, TORCH, Answer(results=results or {}, failed=failed or {}), ()).policy


def test_a_policy_that_is_accepted_is_no_trouble_and_any_other_is_named():
    answer = Answer(failed={"train": Trouble(Kind.RAISED, "")})
    right = policy(single(), TORCH, answer, ("biased", "raises"))
    assert (right.policy, right.trouble, right.quantity) == ("raises", None, "one value per channel")
    wrong = policy(single(name="empty-batch"), TORCH, answer, ("biased",))
    assert (wrong.policy, wrong.quantity) == ("raises", "empty batch")
    assert wrong.trouble == Trouble(Kind.POLICY, "raises")


@pytest.mark.parametrize("kind", Kind)
def test_only_what_raises_is_said_to_raise(kind):
    expected = "raises" if kind.value in ("raised", "declined") else "other"
    assert named(single(), failed={"train": Trouble(kind, "")}) == expected


def test_every_policy_is_told_from_the_returned_values():
    assert outcome(var=VAR * 0.75) == "biased"
    assert outcome() == "variance left"
    assert outcome(mean=MEAN) == "statistics left"
    assert outcome(y=7.0, mean=MEAN) == "statistics left"
    assert outcome(mean=MEAN, var=VAR * 0.75) == "other"
    assert outcome(var=VAR * 0.5) == "other"


def test_complex_values_are_not_cut_to_their_real_parts():
    assert outcome(mean=MEAN + 0j) == outcome(y=BETA + 1j, mean=MEAN) == outcome(mean=MEAN, var=VAR + 1j) == "other"


def test_momentum_may_be_the_weight_of_either_value():
    """With the weights exchanged the mean goes from (4, -2) to 1/4 of that and 3/4 of (8, 2)."""
    assert outcome(mean=(7.0, 1.0), var=VAR * 0.25) == "biased"
    assert outcome(mean=(7.0, 1.0)) == "variance left"
    assert outcome(mean=(7.0, 1.0), var=VAR * 0.75) == "other"


def test_statistics_that_are_not_finite_are_so_called_each_by_itself():
    for bad in (np.nan, np.inf, -np.inf):
        assert outcome(mean=(bad, -1.0)) == "non-finite"
        assert outcome(var=(2.0, bad)) == "non-finite"
    assert outcome(y=np.nan) == "other"


def test_what_has_another_shape_or_is_no_array_follows_no_policy():
    right = {"y, training": BETA[None], "running mean": np.array([5.0, -1.0]), "running variance": 0.75 * VAR}
    assert named(single(), right) == "biased"
    for name, value in right.items():
        more, fewer = np.stack([value, value]), value[..., :1]
        for wrong in (value[..., None], fewer, more, None, NoArray("list"), NoArray("dict")):
            assert named(single(), right | {name: wrong}) == "other", name


def test_an_empty_batch_leaves_the_statistics_or_follows_no_policy():
    empty = {"name": "empty-batch", "x": np.zeros((0, 2)), "y": BETA}
    assert outcome(mean=MEAN, **empty) == "statistics left"
    assert outcome(mean=0.75 * MEAN, **empty) == "other"
    assert outcome(mean=0.75 * MEAN, var=0.75 * VAR, **empty) == "other"
    assert outcome(mean=(np.nan, 0.0), **empty) == "non-finite"


def test_without_beta_y_is_zero():
    assert outcome(y=0.0, beta=None) == "variance left"
    assert outcome(y=BETA, beta=None) == "other"
    one_for_both = {"y, training": np.zeros((1, 1)), "running mean": np.array([5.0, -1.0]), "running variance": VAR}
    assert named(single(beta=None), one_for_both) == "other"


@pytest.mark.parametrize("sign", [1, -1])
def test_values_may_be_off_by_eight_roundings_of_what_they_are_made_of(sign):
    """Of float32 that is 2^-21; here 1 and 4 + 1 with it, whose sum is 5, and 0.75 of 2."""
    for off, found in ((1, "biased"), (1 + 2.0**-20, "other")):
        move = 1 + sign * off * PLACE
        assert outcome(y=BETA * [move, 1], var=VAR * 0.75) == found
        assert outcome(mean=(5 * move, -1), var=VAR * 0.75) == found
        assert outcome(var=VAR * 0.75 * [1, move]) == found


def test_terms_that_cancel_leave_room_for_their_own_roundings():
    """-1.5 + 0.5 has terms of size 2: the second running mean may be off by 2^-20, which is not 2^-21 of itself."""
    for off, found in ((1, "biased"), (1 + 2.0**-20, "other")):
        assert outcome(mean=(5, -1 + 2 * off * PLACE), var=VAR * 0.75) == found


@pytest.mark.parametrize(("kind", "parameters"), [("float16", "float32"), ("float32", "float16")])
def test_the_coarser_of_the_two_formats_counts(kind, parameters):
    for off, found in ((2.0**-8, "variance left"), (2.0**-8 + 2.0**-20, "other")):
        assert outcome(y=BETA * (1 + off), kind=kind, parameters=parameters) == found


# NaN and inf.

SPOILT = {"nan": np.nan, "inf": np.inf, "nan-upstream": np.nan}


def spoilt(content, operation="training", gamma=None):
    """A case of three values in two channels, the second value of channel 0 spoilt."""
    x = np.arange(6.0).reshape(3, 2)
    dy = x.copy()
    (dy if content == "nan-upstream" else x)[1, 0] = SPOILT[content]
    situation = Situation("spoilt", "", x.shape, content=content)
    one = np.ones(2)
    return Case("made", operation, "float64", "float64", situation, (x,), dy, gamma, gamma, one, one)


def texts(case, **results):
    """What is said of results, whose names are written with underscores."""
    names = {"y": "y, training", "inference": "y, inference", "mean": "running mean"}
    answer = Answer(results={names.get(name, name.replace("_", " ")): value for name, value in results.items()})
    return [o.trouble.text if o.trouble else "" for o in poisoned(case, answer)]


def filled(*channels, at=None):
    """Three values of each channel; ``at`` puts them in channel 0 one by one."""
    values = np.repeat(np.array([channels]), 3, axis=0)
    if at is not None:
        values[:, 0] = at
    return values


N, INF = np.nan, np.inf


def test_what_is_as_it_should_be_is_one_observation_without_trouble():
    case = spoilt("nan")
    answer = Answer(results={"y, training": filled(N, 1.0), "running mean": np.array([N, 1.0])})
    (observation,) = poisoned(case, answer)
    assert (observation.quantity, observation.trouble, observation.passed) == ("NaN and inf", None, True)


@pytest.mark.parametrize("content", ["nan", "inf"])
def test_nan_and_inf_must_not_disappear(content):
    case = spoilt(content)
    said = f"{content} in x disappears: {{}} is finite where it should not be"
    assert texts(case, y=filled(1.0, 1.0)) == [said.format("y, training")]
    assert texts(case, y=filled(1.0, 1.0, at=[N, 1.0, N])) == [said.format("y, training")]
    assert texts(case, y=filled(1.0, 1.0, at=[1.0, INF, 1.0])) == [""]
    assert texts(case, mean=np.array([1.0, 1.0])) == [said.format("running mean")]
    assert texts(case, mean=np.array([-INF, 1.0])) == [""]


def test_nan_must_not_spread_to_other_channels():
    case = spoilt("nan")
    assert texts(case, y=filled(N, 1.0) * [[1, N], [1, 1], [1, 1]]) == [
        "nan in x spreads from channel 0 to others in y, training"
    ]
    assert texts(case, mean=np.array([N, INF])) == ["nan in x spreads from channel 0 to others in running mean"]


def test_maps_of_single_values_keep_nan_where_it_was():
    case = spoilt("nan", "inference")
    spread = "nan in x spreads from one value to others of {}"
    assert texts(case, inference=filled(N, 1.0)) == [spread.format("y, inference")]
    assert texts(case, frozen_y=filled(1.0, 1.0, at=[1.0, N, N])) == [spread.format("frozen y")]
    assert texts(case, inference=filled(1.0, 1.0, at=[1.0, N, 1.0])) == [""]
    assert texts(case, frozen_jvp=filled(N, 1.0)) == [spread.format("frozen jvp")]
    assert texts(case, frozen_dgamma=np.array([N, 1.0])) == [""]
    assert texts(spoilt("nan"), y=filled(N, 1.0)) == [""]


def test_everything_that_is_wrong_is_said():
    case = spoilt("inf", "inference")
    values = np.array([[N, 1.0], [1.0, 1.0], [1.0, N]])
    assert texts(case, inference=values, frozen_y=values) == [
        f"inf in x {what} {quantity}{rest}"
        for quantity in ("y, inference", "frozen y")
        for what, rest in (
            ("disappears:", " is finite where it should not be"),
            ("spreads from one value to others of", ""),
            ("spreads from channel 0 to others in", ""),
        )
    ]


def test_trouble_says_which_quantity_it_was_seen_in():
    (observation,) = poisoned(spoilt("nan"), Answer(results={"dx": filled(1.0, 1.0)}))
    assert observation.quantity == "NaN and inf"
    assert observation.trouble == Trouble(
        Kind.NON_FINITE, "nan in x disappears: dx is finite where it should not be", about="dx"
    )


FINITE, FINITES = filled(1.0, 1.0), np.array([1.0, 1.0])
ALWAYS_SEEN = {"dx": FINITE, "dgamma": FINITES, "frozen_dgamma": FINITES, "double_backward_dx": FINITE}
SEEN_IN_X = ALWAYS_SEEN | {"y": FINITE, "mean": FINITES, "running_variance": FINITES, "frozen_y": FINITE}
SEEN_IN_X |= {"inference": FINITE, "jvp": FINITE, "frozen_jvp": FINITE, "double_backward_ddy": FINITE}
NEVER_OF_X = {"dbeta": FINITES, "frozen_dbeta": FINITES, "frozen_dx": FINITE}
NEVER_OF_X |= {"frozen_double_backward_dx": FINITE, "frozen_double_backward_dgamma": FINITES}


@pytest.mark.parametrize(("name", "value"), SEEN_IN_X.items(), ids=SEEN_IN_X)
def test_what_depends_on_x_shows_nan_in_x(name, value):
    assert "nan in x disappears" in texts(spoilt("nan"), **{name: value})[0]


@pytest.mark.parametrize(("name", "value"), NEVER_OF_X.items(), ids=NEVER_OF_X)
def test_what_does_not_depend_on_x_need_not_show_nan_in_x(name, value):
    assert texts(spoilt("nan"), **{name: value}) == [""]


@pytest.mark.parametrize("name", [*ALWAYS_SEEN, *NEVER_OF_X])
def test_gradients_show_nan_in_dy(name):
    value = (ALWAYS_SEEN | NEVER_OF_X)[name]
    assert "nan in dy disappears" in texts(spoilt("nan-upstream"), **{name: value})[0]


@pytest.mark.parametrize("name", sorted(set(SEEN_IN_X) - set(ALWAYS_SEEN)))
def test_results_and_what_is_linear_in_the_directions_alone_need_not_show_nan_in_dy(name):
    assert texts(spoilt("nan-upstream"), **{name: SEEN_IN_X[name]}) == [""]


def test_where_nan_in_dy_is_looked_for_is_where_dy_has_it():
    case = spoilt("nan-upstream", "inference")
    assert texts(case, frozen_dx=filled(1.0, 1.0, at=[1.0, N, 1.0])) == [""]
    assert "nan in dy spreads from one value" in texts(case, frozen_dx=filled(1.0, 1.0, at=[1.0, N, N]))[0]


def test_what_cannot_be_compared_is_noted_and_the_rest_is_looked_at():
    case = spoilt("nan")
    assert texts(case, dx=None, y=filled(1.0, 1.0)) == [
        "dx is NoneType, expected a NumPy array",
        "nan in x disappears: y, training is finite where it should not be",
    ]
    (observation,) = poisoned(case, Answer(results={"running mean": np.array([N, 1.0], np.float32)}))
    assert observation.trouble.kind is Kind.DTYPE


def test_none_for_the_gradient_of_an_absent_parameter_is_no_trouble():
    assert texts(spoilt("nan"), dgamma=None, y=filled(1.0, 1.0))[0].startswith("nan in x disappears: y, training")
    assert texts(spoilt("nan"), dgamma=None) == [""]
    assert texts(spoilt("nan"), dgamma=FINITES)[0].startswith("nan in x disappears: dgamma")
    assert texts(spoilt("nan", gamma=np.ones(2)), dgamma=None) == ["dgamma is NoneType, expected a NumPy array"]


def test_what_failed_is_noted_once_for_each_function_and_nothing_is_said_to_be_right():
    trouble = {name: Trouble(Kind.RAISED, name) for name in ("train", "backward")}
    seen = list(poisoned(spoilt("nan"), Answer(failed=trouble)))
    assert [o.trouble for o in seen] == list(trouble.values())
    assert {o.quantity for o in seen} == {"NaN and inf"}
    both = list(poisoned(spoilt("nan"), Answer(failed=trouble, results={"y, training": filled(N, 1.0)})))
    assert len(both) == 2
