"""How y is read: lines of y over x and their noise, what divides, scales and shifts; the gradients of a map.

Small worlds, computed in NumPy. Not verified here: which map explains a trial (`test_explain`), which divisors and
parts are read (`test_divisors`, `test_read_parts`).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from test_explain import TRAINING
from test_terms import made

from refnorm.conventions import ROWS
from refnorm.oracle.measure.formula import Formula, of
from refnorm.oracle.measure.parts import part_mean, part_variance, parts
from refnorm.oracle.measure.read_forward import (
    BY_BATCH,
    BY_RUNNING,
    ForwardMap,
    _common_factor,
    _unscaled,
    defined,
    lines_of,
    noise_in,
    read_y,
)
from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.measure.terms import (
    BETA,
    EPS,
    GAMMA,
    MEAN,
    ONE,
    RUNNING_MEAN,
    SCALES,
    SHIFTS,
    UNUSUAL_SCALES,
    VAR,
    mean,
    variance,
)
from refnorm.oracle.worlds import mean_and_var, world

SAMPLED = True  # see conftest.py

TORCH = ROWS["torch"]
WORLDS = [made(shape, eps=eps) for shape, eps in (((8, 3), 0.3), ((5, 4), 0.2), ((3, 2, 2, 4), 0.1))]
WORLDS = [replace(w, beta=w.beta * np.where(np.arange(w.beta.size) == 1, -1, 1).reshape(w.beta.shape)) for w in WORLDS]
UNSCALED = {t.words: t for t in _unscaled()}
U = 512 * 2.0**-53  # of a result in float64


# Lines.


def sized(w, by):
    """Return a world with x so many times as large, and std with it."""
    state = w.running_mean * by, w.running_var * by**2
    return replace(w, x=w.x * by, mean=w.mean * by, var=w.var * by**2, eps=w.eps * by**2, state=state)


def still(w, channels):
    """Return a world in which some channels of x are constant."""
    x = np.array(w.x)
    x[:, channels] = 0.5
    mean, var = mean_and_var(x, w.axes)
    return replace(w, x=x, mean=mean, var=var)


def right_y(w):
    return w.gamma * (w.x - w.mean) / np.sqrt(w.var + w.eps) + w.beta


def seen(rule, worlds=WORLDS):
    return [(w, np.asarray(rule(w), float)) for w in worlds]


def maps(rule, worlds=WORLDS, most=None):
    with np.errstate(all="ignore"):
        return list(islice(read_y(seen(rule, worlds)), most))


def first(rule, worlds=WORLDS):
    (found,) = maps(rule, worlds, 1)
    return found


def test_a_line_has_its_slope_the_means_and_the_noise_of_both():
    w = sized(WORLDS[0], 8.0)
    (line,) = lines_of(seen(lambda w: 3 * w.x + 40, [w]), STANDARD, True)
    mean, var = (np.asarray(a, float) for a in mean_and_var(w.x, (0,)))
    assert np.allclose(np.asarray(line.slope, float), 3, rtol=1e-12)
    assert np.allclose(np.asarray(line.x, float), mean)
    assert np.allclose(np.asarray(line.y, float), 3 * mean + 40)
    y_size, x_size = (np.abs(np.asarray(a, float)).mean(0, keepdims=True) for a in (3 * w.x + 40, w.x))
    assert np.allclose(np.asarray(line.noise, float), U * (y_size + 3 * x_size) / np.sqrt(var), rtol=1e-9)


def test_y_may_be_off_a_line_by_its_noise_and_no_further():
    w = WORLDS[0]
    size = np.abs(right_y(w)).mean(0) + np.abs(w.gamma / np.sqrt(w.var + w.eps))[0] * np.abs(w.x).mean(0)
    bent = np.cos(9 * np.asarray(w.x, float))
    bent = bent / np.abs(bent - bent.mean(0)).mean(0)
    for channel in range(3):
        only = bent * (np.arange(3) == channel) * U * size
        assert len(lines_of([(w, np.asarray(right_y(w) + 6 * only, float))], STANDARD, True)) == 1
        assert lines_of([(w, np.asarray(right_y(w) + 16 * only, float))], STANDARD, True) == []


def test_two_values_are_always_a_line_and_tell_nothing_alone():
    two = made((2, 3))
    assert lines_of(seen(right_y, [two]), STANDARD, True) == []
    assert [line.world for line in lines_of(seen(right_y, [two, *WORLDS]), STANDARD, True)] == [
        WORLDS[2],
        two,
        *WORLDS[:2],
    ]  # the highest rank first


def test_a_world_of_constants_has_no_line():
    constant = still(WORLDS[0], [0, 1, 2])
    some = still(WORLDS[0], [1])
    assert lines_of(seen(right_y, [constant]), STANDARD, True) == []
    assert [line.world for line in lines_of(seen(right_y, [constant, some]), STANDARD, True)] == [some]


def test_lines_of_other_groups_are_of_what_gamma_and_beta_leave():
    region = Region("CSL")

    def y(w):
        return w.gamma * (2 * w.x - region.average(w.x)) + w.beta

    assert lines_of(seen(y), STANDARD, True) == []
    lines = lines_of(seen(y), region, False)
    assert len(lines) == 3
    for line in lines:
        assert line.slope.shape == (len(line.world.x),) + (1,) * (line.world.x.ndim - 1)
        assert np.allclose(np.asarray(line.slope, float), 2, rtol=1e-11)
    without = replace(WORLDS[0], gamma=WORLDS[0].gamma * [[1, 0, 1]])
    assert [line.world for line in lines_of(seen(y, [without, *WORLDS]), region, False)] == [
        WORLDS[2],
        *WORLDS[:2],
    ]


def test_the_noise_of_a_format():
    assert noise_in("float64") == 512 * 2.0**-53
    assert noise_in("float32") == 512 * 2.0**-24
    assert noise_in("float16") == 4 * 2.0**-11
    assert noise_in("bfloat16") == 4 * 2.0**-8


# Maps.


def test_the_definition_is_read():
    assert first(right_y).parts() == BY_BATCH.parts() == defined(WORLDS[0]).parts()
    inference = replace(WORLDS[0], case=replace(WORLDS[0].case, operation="inference"))
    assert defined(inference) is BY_RUNNING
    assert maps(right_y, []) == []


@pytest.mark.parametrize("size", [2.0**-6, 2.0**6])
def test_noise_counts_by_the_size_of_gamma(size):
    worlds = [replace(w, gamma=w.gamma * size) for w in WORLDS]

    def twice(w):
        return w.gamma * (w.x - w.mean) / np.sqrt(w.var + 2 * w.eps) + w.beta

    assert first(twice, worlds).parts() == BY_BATCH.parts() | {"divisor": "std^2 = var + 2 eps"}
    off = maps(lambda w: twice(replace(w, var=w.var * (1 + 1e-10 * np.cos(w.mean)))), worlds)
    assert not [found for found in off if "2 eps" in str(found.divisor)]


def test_of_scales_that_are_one_number_gamma_alone_is_told():
    ones = [replace(w, gamma=np.ones_like(w.gamma)) for w in WORLDS]
    found = maps(lambda w: (w.x - w.mean) / np.sqrt(w.var + 2 * w.eps) + w.beta, ones)
    assert {str(one.scale) for one in found} == {"gamma"}


def test_values_that_are_no_numbers_are_passed_over():
    w = WORLDS[0]
    assert first(lambda v: right_y(v) * (np.nan if v is w else 1), [w, *WORLDS[1:]]).parts() == BY_BATCH.parts()


def test_a_y_that_does_not_depend_on_x_is_a_constant():
    for shift, said in ((lambda w: w.beta, "beta"), (lambda w: 0 * w.beta, "0")):
        (found,) = maps(lambda w, shift=shift: shift(w) + 0 * w.x)
        assert found.parts() == {"centre": "0", "divisor": "std^2 = 1", "scale": "0", "shift": said}
    assert maps(lambda w: 2 * w.beta + 0 * w.x) == []
    assert maps(lambda w: w.beta + 2e-12 + 0 * w.x) == []


def test_three_lines_beside_a_flat_one_tell_nothing():
    w = replace(made((5, 4)), gamma=made((5, 4)).gamma * np.array([1, 1, 1, 0]).reshape(1, 4, 1)[..., 0])
    assert maps(right_y, [w]) == []
    assert first(right_y, [made((5, 4))]).parts() == BY_BATCH.parts()


def test_a_scale_is_0_where_y_does_not_depend_on_x():
    def without(w):
        return replace(w, gamma=w.gamma * (np.arange(w.x.shape[1]) != 1).reshape(w.gamma.shape))

    worlds = [without(w) for w in WORLDS]
    assert first(right_y, worlds).parts() == BY_BATCH.parts()

    def alone(w):
        return np.where(w.gamma == 0, 0, (w.x - w.mean) / np.sqrt(w.var + w.eps)) + w.beta

    assert not [found for found in maps(alone, worlds) if str(found.scale) == "1"]

    def unusual(w):
        return np.where(w.gamma == 0, 0, np.exp(w.gamma) * (w.x - w.mean) / np.sqrt(w.var + w.eps)) + w.beta

    assert maps(unusual, worlds) == []


@pytest.mark.parametrize("by", [2.0**-10, 2.0**10])
def test_a_slope_that_is_hidden_by_rounding_does_not_speak_against_a_scale(by):
    worlds = []
    for w in (sized(w, by) for w in WORLDS):
        hidden = 5 * U * np.abs(w.beta) / np.sqrt(w.var) * np.sqrt(w.var + w.eps)  # gamma / std is five times its noise
        second = (np.arange(w.x.shape[1]) == 1).reshape(w.gamma.shape)
        worlds.append(replace(w, gamma=np.where(second, hidden, w.gamma)))
    assert first(right_y, worlds).parts() == BY_BATCH.parts()


@pytest.mark.parametrize("by", [2.0**-8, 2.0**8])
def test_an_unusual_scale_has_its_constant_whatever_the_size_of_std(by):
    worlds = [sized(w, by) for w in WORLDS]
    assert str(first(lambda w: 1.001 * np.tanh(w.gamma) * w.x_hat + w.beta, worlds).scale) == "1.001 tanh(gamma)"
    assert str(first(lambda w: (np.exp(w.gamma) + 1.001) * w.x_hat + w.beta, worlds).scale) == "exp(gamma) + 1.001"


def test_a_scale_of_an_absent_gamma_may_be_left_alone():
    found = maps(lambda w: np.abs(w.gamma) * w.x_hat + w.beta, most=2)
    assert [(str(f.scale), f.scale.if_given) for f in found] == [("|gamma|", False), ("|gamma|", True)]
    one_more = maps(lambda w: (1 + w.gamma) * w.x_hat + w.beta, most=3)
    assert [(str(f.scale), f.scale.if_given) for f in one_more] == [
        ("(1 + gamma)", False),
        ("(1 + gamma)", True),
        ("gamma + 1", False),
    ]


@pytest.mark.parametrize(
    ("divisor", "power", "expected"),
    [
        (Formula(((4.0, VAR), (4.0, EPS))), 2, (0.5, "var + eps")),
        (Formula(((0.25, VAR), (0.25, EPS))), 2, (2.0, "var + eps")),
        (Formula(((0.25, VAR), (0.25, EPS))), 1, (4.0, "var + eps")),
        (Formula(((4.0, VAR), (4.0, EPS), (4.0, ONE))), 2, (0.5, "var + eps + 1")),
        (Formula(((4.0, VAR), (4.0, EPS))), -2, (2.0, "var + eps")),
        (Formula(((4.0, VAR), (3.0, EPS))), 2, (1.0, "4 var + 3 eps")),
        (Formula(((4.0, VAR),)), 2, (1.0, "4 var")),
        (Formula(((2.0, VAR), (2.0, EPS))), 2, (1.0, "2 var + 2 eps")),  # 1/sqrt(2) is no simpler
        (of(VAR, EPS), 2, (1.0, "var + eps")),
    ],
)
def test_a_factor_that_all_terms_of_a_divisor_share_goes_to_the_scale(divisor, power, expected):
    factor, plain = _common_factor(divisor, power)
    assert (factor, str(plain)) == expected


CENTRES = {
    "2 mean": lambda w: 2 * w.mean,
    "0": lambda w: 0 * w.mean,
    "mean + 0.25": lambda w: w.mean + 0.25,
    "mean + eps": lambda w: w.mean + w.eps,
    "sum x": lambda w: w.mean * w.x.size / w.x.shape[1],
    "mean + running mean": lambda w: w.mean + w.running_mean,
    "running mean": lambda w: w.running_mean,
    "(1 - a) mean + a running mean": lambda w: (1 - w.momentum) * w.mean + w.momentum * w.running_mean,
    "mean of the shards' means": lambda w: (
        (
            w.x[: (len(w.x) + 1) // 2].mean(w.axes, keepdims=True)
            + w.x[(len(w.x) + 1) // 2 :].mean(w.axes, keepdims=True)
        )
        / 2
    ),
}


@pytest.mark.parametrize("name", CENTRES)
def test_each_centre_is_read(name):
    found = first(lambda w: w.gamma * (w.x - CENTRES[name](w)) / np.sqrt(w.var + w.eps) + w.beta)
    assert found.parts() == BY_BATCH.parts() | {"centre": name}


def test_a_centre_may_be_off_by_its_noise_and_no_further():
    assert first(lambda w: right_y(w) + 2e-14 * np.sign(w.gamma)).parts() == BY_BATCH.parts()
    assert maps(lambda w: right_y(w) + 1e-11 * np.sign(w.gamma)) == []


@pytest.mark.parametrize("term", [*SCALES[2:], *UNUSUAL_SCALES], ids=lambda term: term.words)
def test_each_scale_is_read(term):
    found = first(lambda w: term.value(w) * w.x_hat + w.beta)
    assert (str(found.scale), str(found.shift)) == (term.words, "beta")


@pytest.mark.parametrize("term", [*SHIFTS[1:], *UNSCALED.values()], ids=lambda term: term.words)
def test_each_shift_is_read(term):
    found = first(lambda w: w.gamma * w.x_hat + 2 * term.value(w))
    assert (str(found.scale), str(found.centre), str(found.shift)) == (
        "gamma",
        "mean",
        f"2 {term.words}".removesuffix(" 1"),
    )


# Gradients of a map.

HALF = next(p for p in parts() if p.words == "the first half of the samples")
ABOVE = {
    "the definition": BY_BATCH,
    "std is a sum": replace(BY_BATCH, power=1),
    "1/std^2 is a sum": replace(BY_BATCH, power=-2),
    "std^(1/2) is a sum": replace(BY_BATCH, power=0.5, divisor=of(VAR, ONE)),
    "constants": ForwardMap(
        Formula(((0.5, MEAN), (2.0, EPS))), 2, Formula(((3.0, VAR), (0.25, ONE))), of(GAMMA), of(BETA)
    ),
    "each sample": replace(BY_BATCH, centre=of(mean(Region("CSL"))), divisor=of(variance(Region("CSL")), EPS)),
    "the running mean": replace(BY_BATCH, centre=of(RUNNING_MEAN)),
    "half": replace(
        BY_BATCH,
        centre=of(part_mean(HALF, False)),
        divisor=of(part_variance(HALF, part_mean(HALF, False)), EPS),
        part=HALF,
    ),
    **{f"{t.words} scales": replace(BY_BATCH, scale=of(t)) for t in SCALES[:6] if t.words != "1"},
    **{f"{t.words} shifts": replace(BY_BATCH, shift=of(BETA, t)) for t in (*SHIFTS[:2], SHIFTS[4], *UNSCALED.values())},
}


@pytest.mark.parametrize("name", ABOVE)
def test_gradients_of_a_map_are_the_derivatives_of_its_y(name):
    found = ABOVE[name]
    rng, h = np.random.default_rng(2), np.longdouble(1e-7)
    for c in [c for c in TRAINING if c.gamma is not None and c.beta is not None][:3]:
        w = world(c, TORCH)
        towards = {n: rng.normal(size=getattr(w, n).shape).astype(np.longdouble) for n in ("x", "gamma", "beta")}
        gradients = {"x": found.dx(w), "gamma": found.dgamma(w), "beta": found.dbeta(w)}
        for n, direction in towards.items():

            def loss(t, w=w, n=n, direction=direction):
                values = {n: getattr(w, n) + t * direction}
                if n == "x":
                    values["mean"], values["var"] = mean_and_var(values["x"], w.axes)
                return np.sum(w.upstream * found.y(replace(w, **values)))

            grows = float((loss(h) - loss(-h)) / (2 * h))
            flows = float(np.sum(np.ravel(gradients[n]) * np.ravel(direction)))
            assert flows == pytest.approx(grows, rel=1e-8, abs=1e-9), (n, c.id)


def test_what_of_a_divisor_is_a_variance_and_over_which_values_a_map_goes():
    assert str(ABOVE["constants"].variance()) == "3 var"
    assert str(BY_RUNNING.variance()) == "0"
    assert BY_BATCH.regions() == ABOVE["half"].regions() == []
    assert [r.axes for r in ABOVE["each sample"].regions()] == ["CSL"]
    assert ABOVE["constants"].parts() == {
        "centre": "0.5 mean + 2 eps",
        "divisor": "std^2 = 3 var + 0.25",
        "scale": "gamma",
        "shift": "beta",
    }
    assert ABOVE["constants"].coefficients() == {
        "centre: mean": 0.5,
        "centre: eps": 2.0,
        "std^2: var": 3.0,
        "std^2: 1": 0.25,
        "scale: gamma": 1.0,
        "shift: beta": 1.0,
    }
