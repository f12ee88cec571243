"""How y is read: lines of y over x and their noise, what divides, scales and shifts; the gradients of a map.

Small worlds, computed in NumPy. Not verified here: which map explains a trial (`test_explain`), which divisors and
parts are read (`test_divisors`, `test_read_parts`).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from test_explain import INFERENCE, TRAINING
from test_terms import made

from refnorm.conventions import ROWS
from refnorm.oracle.measure.divisors import _divisor_terms
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
    with_other_eps,
)
from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.measure.terms import (
    BETA,
    EPS,
    GAMMA,
    MEAN,
    ONE,
    REGIONS,
    RUNNING_MEAN,
    SCALES,
    SHARDED,
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
    (line,) = lines_of(seen(lambda w: 3 * w.x + 40, [w]), STANDARD)
    mean, var = (np.asarray(a, float) for a in mean_and_var(w.x, (0,)))
    assert np.allclose(np.asarray(line.slope, float), 3, rtol=1e-12)
    assert np.allclose(np.asarray(line.x, float), mean)
    assert np.allclose(np.asarray(line.y, float), 3 * mean + 40)
    y_size, x_size = (np.abs(np.asarray(a, float)).mean(0, keepdims=True) for a in (3 * w.x + 40, w.x))
    assert np.allclose(np.asarray(line.noise, float), U * (y_size + 3 * x_size) / np.sqrt(var), rtol=1e-9, atol=0)


def test_y_may_be_off_a_line_by_its_noise_and_no_further():
    w = WORLDS[0]
    size = np.abs(right_y(w)).mean(0) + np.abs(w.gamma / np.sqrt(w.var + w.eps))[0] * np.abs(w.x).mean(0)
    bent = np.cos(9 * np.asarray(w.x, float))
    bent = bent / np.abs(bent - bent.mean(0)).mean(0)
    for channel in range(3):
        only = bent * (np.arange(3) == channel) * U * size
        assert len(lines_of([(w, np.asarray(right_y(w) + 6 * only, float))], STANDARD)) == 1
        assert lines_of([(w, np.asarray(right_y(w) + 16 * only, float))], STANDARD) == []


def test_two_values_are_always_a_line_and_tell_nothing_alone():
    two = made((2, 3))
    assert lines_of(seen(right_y, [two]), STANDARD) == []
    assert lines_of(seen(right_y, [two, made((1, 3))]), STANDARD) == []
    assert len(lines_of(seen(right_y, [made((3, 3))]), STANDARD)) == 1
    assert [line.world for line in lines_of(seen(right_y, [two, *WORLDS]), STANDARD)] == [
        WORLDS[2],
        two,
        *WORLDS[:2],
    ]  # the highest rank first


def test_a_world_of_constants_or_of_no_numbers_has_no_line():
    constant = still(WORLDS[0], [0, 1, 2])
    some = still(WORLDS[0], [1])
    assert lines_of(seen(right_y, [constant]), STANDARD) == []
    assert lines_of(seen(lambda w: w.beta + np.zeros(w.x.shape), [sized(WORLDS[0], np.nan)]), STANDARD) == []
    assert [line.world for line in lines_of(seen(right_y, [constant, some]), STANDARD)] == [some]


def test_lines_of_other_groups_are_of_what_gamma_and_beta_leave():
    region = Region("CSL")

    def y(w):
        return w.gamma * (2 * w.x - region.average(w.x)) + w.beta

    assert lines_of(seen(y), STANDARD) == []
    lines = lines_of(seen(y), region)
    assert len(lines) == 3
    for line in lines:
        assert line.slope.shape == (len(line.world.x),) + (1,) * (line.world.x.ndim - 1)
        assert np.allclose(np.asarray(line.slope, float), 2, rtol=1e-11)
    without = replace(WORLDS[0], gamma=WORLDS[0].gamma * [[1, 0, 1]])
    assert [line.world for line in lines_of(seen(y, [without, *WORLDS]), region)] == [
        WORLDS[2],
        *WORLDS[:2],
    ]


def test_the_noise_of_a_format():
    assert noise_in("float64") == 512 * 2.0**-53
    assert noise_in("float32") == 512 * 2.0**-24
    assert noise_in("float16") == 4 * 2.0**-11
    assert noise_in("bfloat16") == 4 * 2.0**-8


# Maps.


def in_inference(w):
    return world(replace(w.case, operation="inference"), TORCH)


def test_the_definition_is_read_and_nothing_else():
    (found,) = maps(right_y)
    assert found.parts() == BY_BATCH.parts()
    assert maps(right_y, []) == []


def test_the_definition_is_by_the_batch_in_training_and_by_running_statistics_in_inference():
    for w in WORLDS:
        of_batch = w.x.mean(w.axes, keepdims=True), w.x.var(w.axes, keepdims=True)
        running = (np.reshape(a, w.gamma.shape) for a in (w.case.running_mean, w.case.running_var))
        for own, (centre, var) in ((w, of_batch), (in_inference(w), running)):
            wanted = own.gamma * (own.x - centre) / np.sqrt(var + own.eps) + own.beta
            assert np.allclose(np.asarray(defined(own).y(own) - wanted, float), 0, atol=1e-14)


OTHERS = {
    "eps^2": lambda eps: eps**2,
    "sqrt(eps)": np.sqrt,
    "float16(eps)": np.float16,
    "min(eps, 1)": lambda eps: min(eps, 1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_value_may_stand_in_the_place_of_eps_alone(name):
    for w in (WORLDS[2], in_inference(WORLDS[2])):
        (found,) = (m for m in with_other_eps(w) if str(m.divisor).endswith(f" + {name}"))
        other = replace(w, eps=np.longdouble(OTHERS[name](w.eps)))
        assert np.allclose(np.asarray(found.y(w) - other.y, float), 0, atol=1e-14)


@pytest.mark.parametrize("by", [2.0**-20, 2.0**-10, 2.0**10, 2.0**20])
@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_a_centre_near_0_is_read_whatever_the_size_of_x(by, kind):
    def near(w, off=0.01):
        x = w.x - w.mean + w.running_mean * off
        mean, var = mean_and_var(x, w.axes)
        case = replace(w.case, kind=kind)
        return sized(replace(w, case=case, x=x, mean=mean, var=var, beta=w.beta / 1000), by)

    def y(centre):
        return lambda w: (w.gamma * (w.x - centre * w.mean) / np.sqrt(w.var + w.eps) + w.beta).astype(kind)

    worlds = [near(w) for w in WORLDS]
    assert first(y(1), worlds).parts() == BY_BATCH.parts()
    assert first(y(2), worlds).parts() == BY_BATCH.parts() | {"centre": "2 mean"}
    assert first(y(1), [near(w, 0) for w in WORLDS]).parts() == BY_BATCH.parts() | {"centre": "0"}


@pytest.mark.parametrize("size", [2.0**-10, 2.0**10])
def test_noise_counts_by_the_size_of_gamma(size):
    worlds = [replace(w, gamma=w.gamma * size, beta=w.beta * size) for w in WORLDS]

    def twice(w):
        return w.gamma * (w.x - w.mean) / np.sqrt(w.var + 2 * w.eps) + w.beta

    assert first(twice, worlds).parts() == BY_BATCH.parts() | {"divisor": "std^2 = var + 2 eps"}
    off = maps(lambda w: twice(replace(w, var=w.var * (1 + 1e-11 * np.cos(w.mean)))), worlds)
    assert not [found for found in off if "2 eps" in str(found.divisor)]


def test_of_scales_that_are_one_number_gamma_alone_is_told():
    ones = [replace(w, gamma=np.ones_like(w.gamma)) for w in WORLDS]
    found = maps(lambda w: (w.x - w.mean) / np.sqrt(w.var + 2 * w.eps) + w.beta, ones)
    assert {str(one.scale) for one in found} == {"gamma"}


def test_the_scale_is_read_where_gamma_is_given_if_it_is_anywhere():
    without = [made(w.x.shape, eps=w.eps, affine=()) for w in WORLDS]

    def y(w):
        return right_y(replace(w, eps=(3 if w.case.gamma is None else 2) * w.eps))

    mixed = [w for pair in zip(without, WORLDS, strict=True) for w in pair]
    assert first(y, mixed).parts() == BY_BATCH.parts() | {"divisor": "std^2 = var + 2 eps"}
    assert first(y, without).parts() == BY_BATCH.parts() | {"divisor": "std^2 = var + 3 eps"}


@pytest.mark.parametrize("constant", [-0.5, 4.0, -0.25, -1.0])
def test_a_constant_of_gamma_is_read_with_its_sign(constant):
    found = first(lambda w: constant * w.gamma * w.x_hat + w.beta)
    assert (found.scale.parts[0][0], found.scale.parts[0][1].words) == (constant, "gamma")
    assert found.parts()["divisor"] == "std^2 = var + eps"


@pytest.mark.parametrize(
    ("by", "scale", "divisor"), [(2, "|gamma|", "unbiased var + eps"), (2**0.5, "1", "0.5 unbiased var + 0.5 eps")]
)
def test_of_scales_alike_the_one_with_the_simplest_divisor_comes_first(by, scale, divisor):
    twos = [replace(w, gamma=2 * np.sign(w.gamma)) for w in WORLDS]
    found = first(lambda w: by * (w.x - w.mean) / np.sqrt(w.var * w.m / (w.m - 1) + w.eps) + w.beta, twos)
    assert (str(found.scale), str(found.divisor)) == (scale, divisor)


def test_an_unusual_scale_comes_before_what_costs_more():
    worlds = [replace(w, gamma=2 * np.sign(w.gamma)) for w in WORLDS]
    words = [str(found.scale) for found in maps(lambda w: w.gamma * np.abs(w.gamma) * w.x_hat + w.beta, worlds)]
    assert words[0] == "gamma |gamma|"
    assert "2 gamma" in words
    without = [replace(w, eps=0.0) for w in WORLDS]
    assert first(lambda w: w.x_hat + w.beta, without).parts() == BY_BATCH.parts() | {"scale": "1"}


TERMS = {
    "std^2 = var + running variance": lambda w: w.var + w.running_var,
    "std^2 = var + 2 eps": lambda w: w.var + 2 * w.eps,
    "std^2 = var + running variance + eps": lambda w: w.var + w.running_var + w.eps,
    "std^2 = var + running variance + eps + 1": lambda w: w.var + w.running_var + w.eps + 1,
}


@pytest.mark.parametrize("scale", [GAMMA, SCALES[2]], ids=lambda term: term.words)
@pytest.mark.parametrize("divisor", TERMS)
def test_a_divisor_has_three_terms_at_most_and_two_beside_another_scale_than_gamma(scale, divisor):
    found = maps(lambda w: scale.value(w) * (w.x - w.mean) / np.sqrt(TERMS[divisor](w)) + w.beta, most=1)
    few = divisor.count("+") < (3 if scale is GAMMA else 2)
    assert [(str(f.scale), f.parts()["divisor"]) for f in found] == [(scale.words, divisor)] * few


def test_values_that_are_no_numbers_are_passed_over():
    w = WORLDS[0]
    assert first(lambda v: right_y(v) * (np.nan if v is w else 1), [w, *WORLDS[1:]]).parts() == BY_BATCH.parts()


def test_a_y_that_does_not_depend_on_x_is_a_constant():
    for shift, said in ((lambda w: w.beta, "beta"), (lambda w: 0 * w.beta, "0")):
        (found,) = maps(lambda w, shift=shift: shift(w) + 0 * w.x)
        assert found.parts() == {"centre": "0", "divisor": "std^2 = 1", "scale": "0", "shift": said}
    assert maps(lambda w: 2 * w.beta + 0 * w.x) == []
    assert len(maps(lambda w: w.beta + 5e-13 * np.sign(w.gamma) + 0 * w.x)) == 1
    assert maps(lambda w: w.beta + 2e-12 + 0 * w.x) == []


def test_three_lines_beside_a_flat_one_tell_nothing():
    w = replace(made((5, 4)), gamma=made((5, 4)).gamma * np.array([1, 1, 1, 0]).reshape(1, 4, 1)[..., 0])
    assert maps(right_y, [w]) == []
    assert first(right_y, [made((5, 4))]).parts() == BY_BATCH.parts()


@pytest.mark.parametrize("by", [2.0**-8, 1.0, 2.0**8])
def test_a_scale_is_0_where_y_does_not_depend_on_x(by):
    def without(w):
        return replace(w, gamma=w.gamma * (np.arange(w.x.shape[1]) != 1).reshape(w.gamma.shape))

    worlds = [without(sized(w, by)) for w in WORLDS]
    assert first(right_y, worlds).parts() == BY_BATCH.parts()

    def alone(w):
        return np.where(w.gamma == 0, 0, (w.x - w.mean) / np.sqrt(w.var + w.eps)) + w.beta

    assert not [found for found in maps(alone, worlds) if str(found.scale) == "1"]

    def unusual(w):
        return np.where(w.gamma == 0, 0, np.exp(w.gamma) * (w.x - w.mean) / np.sqrt(w.var + w.eps)) + w.beta

    assert maps(unusual, worlds) == []


@pytest.mark.parametrize("by", [2.0**-10, 2.0**10])
@pytest.mark.parametrize(
    ("measured", "scale", "read"),
    [(5, 5, True), (-10, 5, True), (0, 25, True), (0, 40, False), (-20, 5, False)],
)
def test_a_slope_that_is_hidden_by_rounding_does_not_speak_against_a_scale(by, measured, scale, read):
    def y(w):
        return replace(w, gamma=np.where(second(w), w.gamma * measured / scale, w.gamma)).y

    def second(w):
        return (np.arange(w.x.shape[1]) == 1).reshape(w.gamma.shape)

    worlds = []
    for w in (sized(w, by) for w in WORLDS):
        noise = U * np.abs(w.beta) / np.sqrt(w.var)  # of a slope that is as good as 0
        worlds.append(replace(w, gamma=np.where(second(w), scale * noise * np.sqrt(w.var + w.eps), w.gamma)))
    found = maps(y, worlds, 1)
    assert [f.parts() for f in found] == [BY_BATCH.parts()] * read


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
        (Formula(((4.0, VAR), (16.0, EPS))), 2, (1.0, "4 var + 16 eps")),
        (Formula(((4.0, VAR),)), 2, (1.0, "4 var")),
        (Formula(((2.0, VAR), (2.0, EPS))), 2, (1.0, "2 var + 2 eps")),  # 1/sqrt(2) is no simpler
        (Formula(((1.001**-2, VAR), (1.001**-2, EPS))), 2, (1.0, "0.998003 var + 0.998003 eps")),  # no fraction
        (of(VAR, EPS), 2, (1.0, "var + eps")),
    ],
)
def test_a_factor_that_all_terms_of_a_divisor_share_goes_to_the_scale(divisor, power, expected):
    factor, plain = _common_factor(divisor, power)
    assert (factor, str(plain)) == expected


CUTS = {" (the larger first)": lambda n: [(n + 1) // 2], " (the larger last)": lambda n: [n // 2]}
CUTS |= {" (of four)": lambda n: [n // 4, n // 2, 3 * n // 4]}


def of_shards(w, cuts):
    """Return the mean of the means of some samples after the others."""
    shards = np.split(w.x, CUTS[cuts](len(w.x)))
    return sum(np.mean(shard, w.axes, keepdims=True) for shard in shards if shard.size) / sum(
        shard.size > 0 for shard in shards
    )


CENTRES = {
    "2 mean": lambda w: 2 * w.mean,
    "0": lambda w: 0 * w.mean,
    "mean + 0.25": lambda w: w.mean + 0.25,
    "mean + eps": lambda w: w.mean + w.eps,
    "sum x": lambda w: w.mean * w.x.size / w.x.shape[1],
    "mean + running mean": lambda w: w.mean + w.running_mean,
    "running mean": lambda w: w.running_mean,
    "(1 - a) mean + a running mean": lambda w: (1 - w.momentum) * w.mean + w.momentum * w.running_mean,
    **{f"mean of the shards' means{cuts}": (lambda w, cuts=cuts: of_shards(w, cuts)) for cuts in CUTS},
}


@pytest.mark.parametrize("name", CENTRES)
def test_each_centre_is_read(name):
    found = first(lambda w: w.gamma * (w.x - CENTRES[name](w)) / np.sqrt(w.var + w.eps) + w.beta)
    assert found.parts() == BY_BATCH.parts() | {"centre": name.split(" (the")[0].split(" (of")[0]}


def test_a_centre_may_be_off_by_its_noise_and_no_further():
    assert first(lambda w: right_y(w) + 2e-14 * np.sign(w.gamma)).parts() == BY_BATCH.parts()
    assert maps(lambda w: right_y(w) + 1e-11 * np.sign(w.gamma)) == []


def test_a_number_beside_the_mean_may_be_of_the_centre_or_of_the_shift():
    worlds = [replace(w, gamma=np.sqrt(w.var + w.eps)) for w in WORLDS]  # every slope is 1
    found = maps(lambda w: w.x - w.mean - 0.5 + w.beta, worlds)
    assert [(str(f.centre), str(f.shift)) for f in found] == [("mean + 0.5", "beta"), ("mean", "beta - 0.5")]


def test_of_what_is_added_to_beta_a_number_is_told():
    worlds = [replace(w, gamma=w.gamma * 0 + 0.5, beta=np.sign(w.beta) / 2) for w in WORLDS]
    assert str(first(lambda w: w.gamma * w.x_hat + w.beta + 0.5, worlds).shift) == "beta + 0.5"


STATISTICS = [r for r in (*REGIONS, *SHARDED) if r.axes and r.words]


@pytest.mark.parametrize("region", STATISTICS, ids=lambda region: f"{region.words} {region.split}")
def test_statistics_of_other_values_are_read_and_known_to_be_theirs(region):
    worlds = [made(shape) for shape in ((3, 2, 2, 4), (5, 3, 3, 2), (3, 4, 2, 3))]

    def y(w):
        x_hat = (w.x - region.average(w.x)) / np.sqrt(region.average(w.x**2) - region.average(w.x) ** 2 + w.eps)
        return w.gamma * x_hat + w.beta

    found = first(y, worlds)
    assert found.parts()["divisor"] == f"std^2 = var{region.words} + eps"
    assert found.parts()["centre"] == f"mean{region.words}"
    assert [r for r in found.regions() if r.words != region.words] == []
    assert region in found.regions()


def test_statistics_of_each_sample_are_read_where_a_sample_has_one_value_a_channel():
    def y(w):
        axes = tuple(range(1, w.x.ndim))
        return w.gamma * (w.x - w.x.mean(axes, keepdims=True)) / w.x.std(axes, keepdims=True) + w.beta

    words = {"centre": "mean of each sample", "divisor": "std^2 = var of each sample"}
    rank_2, few = [made((3, 4)), made((2, 5))], made((1, 3, 2, 2))  # three lines, if one looks at each channel alone
    assert first(y, rank_2).parts() == first(y, [*rank_2, few]).parts() == BY_BATCH.parts() | words
    assert maps(y, [few]) == []


def test_a_clamped_variance_is_known_to_be_of_its_values():
    (clamped,) = (t for t in _divisor_terms(2)[0] if t.words == "max(var of each sample and channel, eps)")
    assert [r.axes for r in replace(BY_BATCH, divisor=of(clamped)).regions()] == ["SL"]


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


IN_INFERENCE = {f"{t.words} shifts": replace(BY_RUNNING, shift=of(BETA, t)) for t in UNSCALED.values()}


@pytest.mark.parametrize(
    ("found", "cases"),
    [pytest.param(m, TRAINING, id=name) for name, m in ABOVE.items()]
    + [pytest.param(m, INFERENCE, id=f"{name}, inference") for name, m in IN_INFERENCE.items()],
)
def test_gradients_of_a_map_are_the_derivatives_of_its_y(found, cases):
    rng, h = np.random.default_rng(2), np.longdouble(1e-7)
    for c in [c for c in cases if c.gamma is not None and c.beta is not None][:3]:
        w = world(c, TORCH)
        towards = {n: rng.normal(size=getattr(w, n).shape).astype(np.longdouble) for n in ("x", "gamma", "beta")}
        gradients = {"x": found.dx(w), "gamma": found.dgamma(w), "beta": found.dbeta(w)}
        for n, direction in towards.items():

            def loss(t, w=w, n=n, direction=direction):
                values = {n: getattr(w, n) + t * direction}
                if n == "x" and cases is TRAINING:
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
