"""Which of the values y was normalised by, and by how much a y that is right but for 1/std is off: small cases by hand.

y is computed in NumPy from values that are chosen by slices. Not verified here: that each part's statistics are what
its words say (`test_parts`), and what is said of the parts (`test_naming`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_terms import made

from refnorm.oracle.measure.parts import part_mean, part_variance, parts
from refnorm.oracle.measure.read_forward import Lines, lines_of
from refnorm.oracle.measure.read_parts import (
    Unsaid,
    _divided,
    _measured,
    other_inverse,
    read_parts,
    with_other_inverse,
)
from refnorm.oracle.measure.region import STANDARD

SHAPES = (8, 3), (5, 4), (6, 2, 3), (3, 2, 2, 4), (9, 3)


def named(w, name, **changed):
    return replace(w, case=replace(w.case, id=name, **changed))


WORLDS = [named(made(shape, eps=eps), str(shape)) for shape, eps in zip(SHAPES, (0.3, 0.2, 0.7, 0.1, 0.4), strict=True)]


def mean_of(values):
    return values.mean((0, *range(2, values.ndim)), keepdims=True)


def squares_of(values, centre):
    return ((values - centre) ** 2).sum((0, *range(2, values.ndim)), keepdims=True)


def of_half(w, centre=None, divided=len):
    """Return y by the mean, or another centre, and the variance of the first half of the samples."""
    some = w.x[: (len(w.x) + 1) // 2]
    centre = mean_of(some) if centre is None else centre
    var = squares_of(some, centre) / (divided(some) * some[0, 0].size)
    return w.gamma * (w.x - centre) / np.sqrt(var + w.eps) + w.beta


def read(y, worlds=WORLDS):
    found = list(read_parts([(w, np.asarray(y(w), float)) for w in worlds]))
    return found[0] if found else None


@pytest.mark.parametrize(
    ("y", "divisor"),
    [
        (of_half, "std^2 = var of {} + eps"),
        (lambda w: of_half(w, divided=lambda some: len(w.x)), "std^2 = sum (x - mean)^2 of {} / m + eps"),
        (lambda w: of_half(w, centre=w.mean), "std^2 = var of {} about the mean of all + eps"),
        (
            lambda w: of_half(w, centre=w.mean, divided=lambda some: len(w.x)),
            "std^2 = sum (x - mean)^2 of {} about the mean of all / m + eps",
        ),
        (lambda w: of_half(replace(w, eps=2 * w.eps)), "std^2 = var of {} + 2 eps"),
        (lambda w: of_half(replace(w, eps=w.eps**2)), "std^2 = var of {} + eps^2"),
    ],
)
def test_a_y_by_some_of_the_values_is_read(y, divisor):
    found = read(y)
    part = "the first half of the samples"
    assert found.part.words == part
    assert found.parts()["divisor"] == divisor.format(part)
    assert found.parts()["centre"] == ("mean" if "mean of all" in divisor else f"mean of {part}")
    assert (str(found.scale), str(found.shift)) == ("gamma", "beta")


def sized(w, by, eps):
    """Return a world with x and eps so many times as large, in float32."""
    w = replace(w, x=w.x * by, mean=w.mean * by, var=w.var * by**2, eps=w.eps * eps)
    return named(w, w.case.id, kind="float32")


def test_eps_may_stand_outside_of_the_root():
    def y(w):
        some = w.x[: (len(w.x) + 1) // 2]
        centre = mean_of(some)
        std = np.sqrt(squares_of(some, centre) / (len(some) * some[0, 0].size))
        return w.gamma * (w.x - centre) / (std + w.eps) + w.beta

    words = "std = sqrt(var of the first half of the samples) + eps"
    assert read(y).parts()["divisor"] == words
    for by in (2.0**-7, 2.0**14):
        narrow = [sized(w, by, by) for w in WORLDS]
        assert read(lambda w: np.asarray(y(w), "float32"), narrow).parts()["divisor"] == words


def test_digits_that_are_rounded_away_count_by_the_size_of_the_divisor():
    for by in (2.0**-7, 2.0**14):
        narrow = [sized(w, by, by**2) for w in WORLDS]
        divisor = read(lambda w: np.asarray(of_half(w), "float32"), narrow).parts()["divisor"]
        assert divisor == "std^2 = var of the first half of the samples + eps"


def test_the_digits_of_a_large_beta_hide_those_of_the_centre():
    wide = [replace(w, x=(w.x - w.mean) * 2.0**14, mean=0 * w.mean, beta=w.beta + 1000) for w in WORLDS]
    assert read(of_half, wide).part.words == "the first half of the samples"


def test_a_sum_of_some_values_may_be_divided_by_the_number_of_all():
    def y(w):
        some, m = w.x[: (len(w.x) + 1) // 2], w.x.size / w.x.shape[1]
        centre = some.sum((0, *range(2, some.ndim)), keepdims=True) / m
        return w.gamma * (w.x - centre) / np.sqrt(squares_of(some, centre) / m + w.eps) + w.beta

    parts = read(y).parts()
    assert parts["centre"] == "sum x of the first half of the samples / m"
    assert parts["divisor"] == "std^2 = sum (x - mean)^2 of the first half of the samples / m + eps"


@pytest.mark.parametrize("worlds", [WORLDS, WORLDS[:1]], ids=["five cases", "one case"])
def test_statistics_of_all_values_are_of_no_part_whatever_stands_beside_them(worlds):
    assert read(lambda w: w.gamma * (w.x - w.mean) / np.sqrt(w.var + 2 * w.eps) + w.beta, worlds) is None


@pytest.mark.parametrize("by", [2.0**-20, 2.0**20])
def test_the_centre_is_as_sure_as_values_are_small_beside_their_spread(by):
    """In float32, and with mean 0: what is not known of the slope is not known of the centre in units of x."""
    scaled = [sized(replace(w, x=w.x - w.mean, mean=0 * w.mean), by, by**2) for w in WORLDS]
    lines = lines_of([(w, np.asarray(of_half(w), "float32").astype(float)) for w in scaled], STANDARD)
    centre, unsure, *_ = _measured(lines)
    halves = [line.world.x[: (len(line.world.x) + 1) // 2] for line in lines]
    true = np.concatenate([mean_of(half).ravel() for half in halves])
    assert np.all(np.abs(centre - true) <= unsure)
    assert np.all(unsure < 1e-3 * by)


def test_a_mean_of_some_values_may_stand_over_a_variance_of_all():
    def y(w):
        centre = mean_of(w.x[:-1])
        return w.gamma * (w.x - centre) / np.sqrt(mean_of((w.x - centre) ** 2) + w.eps) + w.beta

    found = read(y)
    assert found.part.words == "all but the last sample"
    assert found.parts()["divisor"] == "std^2 = var of all values about the mean of all but the last sample + eps"


def test_a_part_is_read_behind_one_that_leaves_nothing_out():
    def y(w):  # of one sample the first half is all
        some = w.x[..., : (w.x.shape[-1] + 1) // 2]
        centre = mean_of(some)
        return w.gamma * (w.x - centre) / np.sqrt(mean_of((some - centre) ** 2) + w.eps) + w.beta

    one_sample = [named(made((1, *shape), eps=eps), str(shape)) for shape, eps in (((3, 7), 0.3), ((2, 9), 0.2))]
    assert read(y, one_sample).part.words == "the first half of the values"


def test_every_case_must_have_the_mean_of_the_part():
    worlds = WORLDS * 3
    last = worlds[-1] = replace(WORLDS[-1])
    assert read(of_half, worlds) is not None
    moved = 0.5 * last.gamma * last.inv
    assert read(lambda w: of_half(w) + (moved if w is last else 0), worlds) is None


def test_a_y_of_all_values_is_of_no_part_nor_is_one_that_no_part_gives():
    assert read(lambda w: w.y) is None
    assert read(lambda w: w.y, [made((2, 3)), made((2, 4))]) is None
    assert read(lambda w: np.tanh(w.y)) is None
    assert read(lambda w: w.gamma * (w.x - 1.01 * w.mean) * w.inv + w.beta) is None
    assert read(lambda w: w.gamma * (w.x - mean_of(w.x[:-1])) / np.cosh(w.var) + w.beta) is None
    assert read(of_half, [named(w, "", operation="inference") for w in WORLDS]) is None


def test_what_is_not_finite_and_what_gamma_hides_does_not_speak_against_a_part():
    w = WORLDS[0]
    without = replace(named(w, "0"), gamma=w.gamma * np.array([1, 0, 1]).reshape(w.gamma.shape))
    overflown = named(w, "inf")
    found = read(lambda w: of_half(w) * (np.inf if w is overflown else 1), [*WORLDS, overflown, without])
    assert found.part.words == "the first half of the samples"
    ignored = [replace(named(w, w.case.id, gamma=None, beta=None), gamma=1 + 0 * w.gamma) for w in WORLDS]
    assert read(of_half, ignored).part.words == "the first half of the samples"


def test_noise_is_what_an_error_of_the_slope_makes_of_the_centre_and_the_square():
    w = made((4, 1))
    w = replace(w, gamma=np.full((1, 1), -2.0), beta=np.full((1, 1), 1.0))

    def measured(noise):
        line = Lines(w, *(np.full((1, 1), value) for value in (-0.5, -2.0, 5.0, noise)))  # slope, means of x and y
        return np.ravel(_measured([line]))

    std = float(w.x.std())
    assert measured(1e-3) == pytest.approx([6, (2 + std) * 1e-3 / 0.5, 16, 2 * 16 * 1e-3 / 0.5], rel=1e-9)
    assert measured(0.0) == pytest.approx([6, (5 + 1) * 1e-15 / 0.5, 16, 1e-300], rel=1e-9, abs=0)
    assert measured(0.03)[[1, 3]] == pytest.approx([(2 + std) * 0.06, 1.92])
    assert np.all(np.isinf(measured(0.5 / 16)[[1, 3]]))


@pytest.mark.parametrize(
    ("divisor", "words"),
    [
        (lambda var, eps: np.sqrt(var + eps), "std^2 = var of the first half of the samples + eps"),
        (lambda var, eps: np.sqrt(var) + eps, "std = sqrt(var of the first half of the samples) + eps"),
    ],
)
def test_a_divisor_may_be_off_by_the_noise_of_its_square_but_no_further(divisor, words):
    half = next(part for part in parts() if part.words == "the first half of the samples")
    mean = part_mean(half, False)
    lines = [Lines(w, *[np.ones(w.gamma.shape)] * 4) for w in WORLDS]
    std = [divisor(part_variance(half, mean).value(w), w.eps) for w in WORLDS]
    square = np.concatenate([np.asarray(own, float).ravel() for own in std]) ** 2
    noise, signs = 1e-6 * square, np.resize([1, -1, -1], len(square))

    def off_by(times):
        found = _divided(half, mean, lines, square + times * noise * signs, noise, usual=False)
        return [f.parts()["divisor"] for f in found]

    assert off_by(0.5) == [words]
    assert not off_by(1.25)


# Another number in the place of 1/std.


def factors(w):
    """Return one number a channel, the farthest from 1 of all below it."""
    return (1 - 0.01 * (1 + np.arange(w.gamma.size) / (1 + w.gamma.size))).reshape(w.gamma.shape)


def off(w):
    return w.gamma * (w.x - w.mean) * w.inv * factors(w) + w.beta


def told(y, worlds=WORLDS):
    return other_inverse([(w, np.asarray(y(w), float)) for w in worlds])


def test_another_number_in_the_place_of_the_inverse_is_told_with_the_farthest():
    text, farthest = told(off)
    every = np.concatenate([np.ravel(factors(w)) for w in WORLDS])
    assert farthest == pytest.approx(1 - every.min(), rel=1e-9)
    assert text == (
        "y is right but for another number in each channel in the place of gamma/sqrt(var + eps): "
        f"{every.min():.9g} to {every.max():.9g} times it"
    )
    shift = np.array([-5.0, 0, 5.0]).reshape(1, 3)
    frozen = [
        named(replace(w, mean=w.mean + shift, var=2 * w.var), w.case.id, operation="inference")
        for w in WORLDS
        if w.gamma.size == 3 and w.x.ndim == 2
    ]
    frozen = [replace(w, state=(w.mean, w.var)) for w in frozen]
    assert "in the place of gamma/sqrt(running variance + eps): 0.98" in told(off, frozen)[0]


def test_one_channel_that_is_off_is_enough():
    def first(w):
        return np.where(np.arange(w.x.shape[1]).reshape(w.gamma.shape) == 0, off(w), w.y)

    text, farthest = told(first)
    assert farthest == pytest.approx(0.01, rel=1e-9)
    assert text.endswith("0.99 to 1 times it")


@pytest.mark.parametrize("by", [2.0**-10, 2.0**10])
def test_the_noise_of_the_inverse_is_relative_to_it(by):
    worlds = [replace(w, x=w.x * by, mean=w.mean * by, var=w.var * by**2, eps=w.eps * by**2) for w in WORLDS]
    assert told(lambda w: w.y, worlds) is None
    _, farthest = told(lambda w: w.gamma * (w.x - w.mean) * w.inv * (1 + 1e-9) + w.beta, worlds)
    assert farthest == pytest.approx(1e-9, rel=1e-3)


def test_of_a_y_that_is_right_or_off_elsewhere_nothing_is_told():
    assert told(lambda w: w.y) is None
    assert told(lambda w: off(w) + 0.01) is None
    assert told(lambda w: np.where(np.arange(w.x.shape[1]).reshape(w.gamma.shape) == 0, off(w) + 0.01, off(w))) is None
    assert told(lambda w: np.tanh(w.y)) is None
    assert told(lambda w: w.y * np.inf) is None
    assert told(lambda w: 0 * w.y) is None


def test_what_is_not_finite_and_what_gamma_hides_is_passed_over():
    w = WORLDS[0]
    without = replace(named(w, "0"), gamma=w.gamma * np.array([1, 0, 1]).reshape(w.gamma.shape))
    overflown = named(w, "inf")
    assert told(lambda w: off(w) * (np.inf if w is overflown else 1), [overflown, without, *WORLDS]) == told(off)
    assert told(lambda w: off(w) + w.x * (w.gamma == 0), [without, *WORLDS]) == told(off)
    one = np.array([1, np.inf, 1]).reshape(w.gamma.shape)
    assert told(lambda w: off(w) * one if w is overflown else w.y, [overflown, *WORLDS])[0].endswith("times it")


def measured(y, worlds=WORLDS):
    return with_other_inverse([(w, np.asarray(y(w), float)) for w in worlds])


def test_the_world_of_another_inverse_has_the_slope_of_y():
    change = measured(off)
    for w in WORLDS:
        assert np.allclose(np.asarray(change(w).inv, float), np.asarray(w.inv * factors(w), float), rtol=1e-12)
        assert np.allclose(np.asarray(change(w).y, float), np.asarray(off(w), float), rtol=1e-12, atol=1e-14)


def test_a_constant_channel_has_the_inverse_of_the_definition_there():
    w = WORLDS[0]
    still = np.array([1.0, 0, 1.0]).reshape(1, 3)
    w = replace(w, x=w.x * still + 0.5 * (1 - still), mean=w.mean * still + 0.5 * (1 - still), var=w.var * still)
    inverse = measured(off, [w])(w).inv
    assert np.allclose(np.asarray(inverse / w.inv / np.where(still, factors(w), 1), float), 1, rtol=1e-12)


@pytest.mark.parametrize("case", ["not seen", "gamma is 0", "y is far above gamma", "y is NaN"])
def test_of_what_is_not_told_nothing_is_said(case):
    w = seen = WORLDS[0]
    one = np.array([0, 1.0, 0]).reshape(1, 3)
    if case == "not seen":
        seen = WORLDS[1]
    elif case == "gamma is 0":
        w = seen = replace(w, gamma=w.gamma * (1 - one))
    elif case == "y is far above gamma":
        w = seen = replace(w, beta=w.beta + 70 * np.abs(w.gamma) * one)
    change = measured(lambda w: off(w) * (np.nan if case == "y is NaN" else 1), [seen])
    with pytest.raises(Unsaid):
        _ = change(w).inv


@pytest.mark.parametrize("size", [2.0**-8, 1, 2.0**8])
@pytest.mark.parametrize("w", WORLDS, ids=map(str, SHAPES))
def test_y_may_be_up_to_64_times_as_large_as_gamma(w, size):
    w = replace(w, gamma=w.gamma * size)

    def high(channel, times):
        """Return a world in which the largest y of one channel is so many times gamma, and beta is 0 elsewhere."""
        y = off(replace(w, beta=0 * w.beta))
        beta = times * np.abs(w.gamma) - y.max(w.axes, keepdims=True)
        return replace(w, beta=np.where(np.arange(w.gamma.size).reshape(w.gamma.shape) == channel, beta, 0))

    for channel in range(w.gamma.size):
        near, far = high(channel, 63.6), high(channel, 64.4)
        assert np.all(np.isfinite(np.asarray(measured(off, [near])(near).inv, float)))
        with pytest.raises(Unsaid):
            _ = measured(off, [far])(far).inv
