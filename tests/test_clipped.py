"""What is cut off at a bound, and what weighs otherwise where y is negative: read off small cases, computed in NumPy.

Not verified here: what follows for gradients, and which explanation is chosen (`test_explain`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_terms import made

from refnorm.oracle.measure.activated import activated, through_activation
from refnorm.oracle.measure.clipped import Limits, clipped_maps, clipped_result, limits_of

WORLDS = [made(shape, eps=eps) for shape, eps in (((8, 3), 0.3), ((5, 4), 0.2), ((3, 2, 2, 4), 0.1))]
FROZEN = [
    replace(w, case=replace(w.case, operation="inference"), mean=w.running_mean, var=w.running_var) for w in WORLDS
]


def shrunk(w, by, **changed):
    """Return a world with x so many times smaller; std is as many times smaller."""
    return replace(w, x=w.x * by, mean=w.mean * by, var=w.var * by**2, eps=w.eps * by**2, **changed)


def near_mean(w):
    """Return a world in which one value is all but the mean: it tells nothing of what multiplies x - mean."""
    x = np.array(w.x)
    x[0] = w.mean[0] * (1 + 1e-9)
    mean = x.mean(w.axes, keepdims=True)
    x[0] = mean[0] * (1 + 1e-9)
    return replace(w, x=x, mean=mean, var=((x - mean) ** 2).mean(w.axes, keepdims=True))


NEAR = [near_mean(w) for w in WORLDS]


def seen(rule, worlds=WORLDS):
    return [(w, np.asarray(rule(w), float)) for w in worlds]


def right_y(w):
    return w.gamma * (w.x - w.mean) / np.sqrt(w.var + w.eps) + w.beta


# Bounds.


@pytest.mark.parametrize(
    ("cut", "low", "high"),
    [
        ([1, 3, 5, 5], -np.inf, 5),
        ([4, 4, 7, 9], 4, np.inf),
        ([4, 4, 5, 5], 4, 5),
        ([4, 4.5, 5, 5], None, None),  # two values stop at two places
        ([1, 3, 5, 6], None, None),
        ([1, 3, 7, 5], None, None),  # one value is no bound
        ([5, 5, 5, 5], None, None),  # nor are two bounds a range that are one
        ([1, 3, 7, 9], None, None),
        ([1 + 5e-7, 3 - 5e-7, 7, 9], None, None),  # rounding
        ([1, 3, 5, 5 * (1 + 5e-10)], -np.inf, 5),
        ([1, 3, 5, 5 * (1 + 2e-9)], None, None),
        ([np.nan, 3, 5, 5], -np.inf, 5),
        ([1, np.inf, 5, 5], -np.inf, 5),
    ],
)
def test_bounds_are_where_several_values_stop(cut, low, high):
    right = np.array([1.0, 3.0, 7.0, 9.0])
    found = limits_of(right, np.array(cut, float))
    assert found == (None if low is None else Limits(pytest.approx(low, rel=1e-8), pytest.approx(high, rel=1e-8)))
    large = limits_of(right * 2.0**20, np.array(cut, float) * 2.0**20)
    assert (large is None) == (low is None)
    if low is not None:
        assert large == Limits(pytest.approx(low * 2.0**20, rel=1e-8), pytest.approx(high * 2.0**20, rel=1e-8))
        signs = limits_of(-right, -np.array(cut, float))
        assert signs == Limits(pytest.approx(-high, rel=1e-8), pytest.approx(-low, rel=1e-8))


def test_what_is_no_number_where_it_should_be_one_is_passed_over():
    assert limits_of(np.array([1.0, np.nan, np.inf, 7.0, 9.0]), np.array([1.0, 2.0, 5.0, 5.0, 5.0])) == Limits(high=5.0)


def test_two_values_that_are_the_same_are_one():
    assert limits_of(np.array([1.0, 7.0, 7.0]), np.array([1.0, 5.0, 5.0])) is None


def test_bounds_are_said():
    assert str(Limits(high=5.0)) == "at most 5"
    assert str(Limits(low=-0.25)) == "at least -0.25"
    assert str(Limits(-1.0, 2.5)) == "kept within -1 .. 2.5"
    assert np.array_equal(Limits(-1.0, 2.5).cut(np.array([-3.0, 1.0, 3.0])), [-1, 1, 2.5])


def first(found):
    return next(iter(found), None)


@pytest.mark.parametrize(
    "worlds",
    [WORLDS, FROZEN, [shrunk(w, 2.0**-10) for w in WORLDS], NEAR],
    ids=["training", "inference", "small", "near the mean"],
)
def test_each_step_of_a_map_may_be_cut_off(worlds):
    def by(inverse):
        return lambda w: w.gamma * (w.x - w.mean) * inverse(w) + w.beta

    root = np.sort(np.concatenate([1 / np.sqrt(np.ravel(w.var) + w.eps) for w in worlds]))
    var = np.sort(np.concatenate([np.ravel(w.var) for w in worlds]))
    most, least = float(f"{np.median(root):.3g}"), float(f"{np.median(var):.3g}")
    steps = {
        "x_hat, kept within -1.25 .. 0.75": lambda w: (
            w.gamma * np.clip((w.x - w.mean) / np.sqrt(w.var + w.eps), -1.25, 0.75) + w.beta
        ),
        f"1/std, at most {most:.6g}": by(lambda w: np.minimum(1 / np.sqrt(w.var + w.eps), most)),
        f"the variance, at least {least:.6g}": by(lambda w: 1 / np.sqrt(np.maximum(w.var, least) + w.eps)),
    }
    names = ("x-hat-clipped", "inverse-std-clipped", "variance-clipped")
    for name, (words, rule) in zip(names, steps.items(), strict=True):
        if worlds is NEAR and name == "x-hat-clipped":
            continue  # x_hat itself is close to 0 there, and rounded
        offered = [found for found in clipped_maps(seen(rule, worlds)) if found[0].name == name]
        ((found, forward, change),) = offered
        assert (found.measured, found.kind) == (words, "wrong")
        assert found.title == words.replace(", ", " is cut off: ")
        assert found.formula == words.split(",")[0] + ", whatever it is"
        assert (forward is None) == (name == "x-hat-clipped")
        if forward is not None:
            assert str(forward.centre) == ("running mean" if worlds is FROZEN else "mean")
        for w in worlds:
            expected = np.asarray(rule(w), float)
            assert np.allclose(np.asarray(change(w).y, float), expected, rtol=1e-8, atol=1e-8)
            if forward is not None:  # where it is cut off, no gradient flows through the statistic
                arriving = np.asarray(forward.divisor.back(w, np.ones_like(w.x)), float)
                assert not np.any(arriving[:, (np.abs(expected - right_y(w)) > 1e-6).any((0, *range(2, w.x.ndim)))])


def test_a_map_that_is_right_is_cut_off_nowhere_and_gammas_of_0_do_not_speak():
    assert first(clipped_maps(seen(right_y))) is None
    assert first(clipped_maps(seen(lambda w: right_y(w) + w.x))) is None
    none = [replace(w, gamma=np.abs(w.gamma) * (np.arange(w.x.shape[1]) > 0).reshape(w.gamma.shape)) for w in WORLDS]
    found, _, _ = first(clipped_maps(seen(lambda w: w.gamma * np.minimum(w.x_hat, 0.75) + w.beta, none)))
    assert found.measured == "x_hat, at most 0.75"


def test_a_result_and_its_norm_may_be_cut_off():
    found, value = first(clipped_result("dx", right_y, seen(lambda w: np.minimum(right_y(w), 1.5))))
    assert (found.name, found.measured) == ("result-clipped", "dx, at most 1.5")
    for w in WORLDS:
        assert np.allclose(np.asarray(value(w), float), np.asarray(np.minimum(right_y(w), 1.5), float))

    def shortened(w):
        norm = np.linalg.norm(np.ravel(np.asarray(right_y(w), float)))
        return right_y(w) * (5 / norm if norm > 5 else 1)

    norms = [np.linalg.norm(np.ravel(y)) for _, y in seen(right_y)]
    longer = [*WORLDS, replace(WORLDS[0], gamma=WORLDS[0].gamma / 16, beta=WORLDS[0].beta / 16)]
    assert sum(norm > 5 for norm in norms) > 1
    found, value = first(clipped_result("dx", right_y, seen(shortened, longer)))
    assert (found.name, found.measured) == ("norm-clipped", "the norm of dx, at most 5")
    for w in longer:
        assert np.allclose(np.asarray(value(w), float), np.asarray(shortened(w), float))
    lengthened = seen(lambda w: right_y(w) * 9 / np.linalg.norm(np.ravel(np.asarray(right_y(w), float))))
    assert first(clipped_result("dx", right_y, lengthened)) is None


# Activations.


@pytest.mark.parametrize(
    ("above", "below", "measured", "elsewhere"),
    [
        (1, 0.25, "y = max(y, 0) + 0.25 min(y, 0)", ""),
        (1, -1, "y = max(y, 0) + -1 min(y, 0)", ""),
        (1, 0, "y = max(y, 0) + 0 min(y, 0)", ""),
        (2, 1, "y = 2 max(y, 0) + 1 min(y, 0)", ", and by 2 elsewhere"),
        (0, 1, "y = 0 max(y, 0) + 1 min(y, 0)", ", and by 0 elsewhere"),
    ],
)
def test_what_weighs_otherwise_where_y_is_negative_is_read(above, below, measured, elsewhere):
    def weight(w):
        return np.where(right_y(w) > 0, above, below)

    ((found, value, change),) = activated(right_y, seen(lambda w: right_y(w) * weight(w)))
    assert (found.name, found.measured) == ("activation-applied", measured)
    assert found.title == f"y is multiplied by {below} where it is negative{elsewhere}"

    def right_dx(w):
        return w.dx()

    ((of_dx, through),) = through_activation(
        right_dx, seen(lambda w: right_dx(replace(w, upstream=w.upstream * weight(w))))
    )
    assert (of_dx.name, of_dx.measured) == (
        "gradient-through-activation",
        f"dy weighs {above} where y > 0 and {below} elsewhere",
    )
    assert of_dx.title == f"dy is multiplied by {below} where y is negative{elsewhere}, as if an activation followed"
    still = replace(WORLDS[0], gamma=WORLDS[0].gamma * [[1, 0, 1]], beta=WORLDS[0].beta * [[1, 0, 1]])  # y is 0 there
    for w in [*WORLDS, still]:
        expected = np.asarray(right_y(w) * weight(w), float)
        assert np.allclose(np.asarray(value(w), float), expected)
        for world in (change(w), through(w)):
            assert np.allclose(np.asarray(world.upstream, float), np.asarray(w.upstream * weight(w), float))


def test_what_weighs_alike_is_no_activation_nor_is_what_is_off_by_more_than_rounding():
    def leaky(w):
        return np.where(right_y(w) > 0, right_y(w), 0.25 * right_y(w))

    assert first(activated(right_y, seen(lambda w: 2 * right_y(w)))) is None
    assert first(activated(right_y, seen(lambda w: 0 * right_y(w)))) is None
    assert first(activated(right_y, seen(lambda w: leaky(w) * np.nan))) is None
    assert first(activated(right_y, [])) is None
    rounded = seen(lambda w: leaky(w) * (1 + 1e-15 * np.cos(w.x)))
    nan = WORLDS[0], np.full(WORLDS[0].x.shape, np.nan)
    assert first(activated(right_y, [nan, *rounded]))[0].name == "activation-applied"
    for size in (1e-2, 1.0, 1e2):
        sized = [replace(w, gamma=w.gamma * size, beta=w.beta * size) for w in WORLDS]
        within = seen(lambda w: leaky(w) + 2e-14 * np.abs(w.y).max() * np.cos(w.x), sized)
        assert first(activated(right_y, within)) is not None
        off = seen(lambda w: leaky(w) + 1e-12 * np.abs(w.y).max() * np.cos(w.x), sized)
        assert first(activated(right_y, off)) is None


def test_where_nothing_comes_back_nothing_speaks_against_an_activation():
    def dx(w):
        return replace(w, upstream=w.upstream * (right_y(w) > 0)).dx()

    still = [(replace(w, upstream=0 * w.upstream), np.zeros(w.x.shape)) for w in WORLDS]
    found, _ = first(through_activation(lambda w: w.dx(), [*still, *seen(dx)]))
    assert found.measured == "dy weighs 1 where y > 0 and 0 elsewhere"
