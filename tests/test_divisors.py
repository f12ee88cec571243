"""What x - mean is divided by, read off slopes that are made here: powers, signs, and how much noise is let through.

Not verified here: what each term is (`test_terms`), how slopes are found in y (`test_explain`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_explain import INFERENCE, TRAINING
from test_terms import WORLDS as SMALL
from test_terms import moved

from refnorm.conventions import ROWS
from refnorm.oracle.measure.divisors import divisors, power_words
from refnorm.oracle.measure.formula import Table, channels
from refnorm.oracle.worlds import world

SAMPLED = 4  # one in so many; see conftest.py
WORLDS = [world(c, ROWS["torch"]) for c in TRAINING if len(c.batches) == 1]
FROZEN = [world(c, ROWS["torch"]) for c in INFERENCE]


def read(slope, worlds=WORLDS, noise=1e-12, off=0.0):
    """Return what is read of slopes, each off by a part of itself in one sense or the other, first to last."""
    row = Table(worlds, [channels(w) for w in worlds])
    values = np.concatenate([np.asarray(np.broadcast_to(slope(w), channels(w)), float).ravel() for w in worlds])
    values = values * (1 + off * np.resize([1, -1, -1], len(values)))
    with np.errstate(all="ignore"):
        found = list(divisors(values, np.abs(values) * noise, row))
    return [(power, sign, str(formula)) for _, power, (sign, formula) in found]


SQUARES = {
    "var + eps": lambda w: w.var + w.eps,
    "var + 3 eps": lambda w: w.var + 3 * w.eps,
    "0.5 var + eps": lambda w: 0.5 * w.var + w.eps,
    "unbiased var + eps": lambda w: w.var * w.m / (w.m - 1) + w.eps,
}


def test_counts_weigh_variances_of_other_regions():
    several = [w for w in WORLDS if w.x.ndim > 2]
    (found, *_) = read(lambda w: 1 / np.sqrt(w.x.var() / w.m + w.eps), several)
    assert found == (2, 1.0, "1/m var over all + eps")


def spread(scale):
    """Return worlds whose variances are about the square of a scale, in each channel another."""
    each = [scale * (0.8 + 0.1 * np.arange(w.var.size) + 0.01 * w.x.ndim).reshape(w.var.shape) for w in SMALL.values()]
    return [moved(w, (w.x - w.mean) / np.sqrt(w.var) * s) for w, s in zip(SMALL.values(), each, strict=True)]


def test_another_power_is_told_where_one_over_std_is_far_from_1():
    def slope(w):
        return (w.var + w.eps) ** -0.75

    assert read(slope, spread(1.0)) == []
    (found,) = read(slope, [*spread(1.0), *spread(4.0)])
    assert found[1:] == (1.0, "var + eps")


def test_another_power_of_the_running_variance_is_told_where_the_batchs_has_none():
    other = [replace(w, state=(w.running_mean, w.running_var / 20)) for w in spread(4.0)]
    (found,) = read(lambda w: (w.running_var + w.eps) ** -0.75, [replace(w, eps=1e-3) for w in other])
    assert found[1:] == (1.0, "running variance + eps")


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("power", [2, 1, 0.5, -1, -2])
@pytest.mark.parametrize("words", SQUARES)
def test_a_power_of_std_that_is_a_sum_is_read_with_its_sign(words, power, sign):
    (found, *_) = read(lambda w: sign * SQUARES[words](w) ** (-1 / power))
    assert found == ((power, sign, words) if (power, words) != (-2, "var + eps") else (-1, sign, "sqrt(var + eps)"))


@pytest.mark.parametrize("power", [3.0, 4 / 3, 8.0, 0.8, 0.1])
@pytest.mark.parametrize("worlds", [WORLDS, FROZEN], ids=["training", "inference"])
def test_other_powers_are_read_of_var_and_eps_alone(power, worlds):
    words = "var + eps" if worlds is WORLDS else "running variance + eps"
    found = read(lambda w: -((w.var + w.eps) ** (-1 / power)), worlds)
    assert [(sign, text) for _, sign, text in found] == [(-1.0, words)]
    assert found[0][0] == pytest.approx(power, rel=1e-12)
    assert read(lambda w: (w.var + 3 * w.eps) ** (-1 / power), worlds) == []


def test_other_powers_are_told_where_slopes_are_known_to_eight_digits():
    def slope(w):
        return (w.var + w.eps) ** -0.75

    assert len(read(slope, noise=0.9e-8)) == 1
    assert read(slope, noise=1.1e-8) == []
    assert len(read(slope, noise=1e-10, off=1.9e-10)) == 1
    assert read(slope, noise=1e-10, off=2.2e-10) == []


@pytest.mark.parametrize("power", [2, 1, -1, -2])
def test_a_slope_may_be_off_by_its_noise_and_no_further(power):
    def slope(w):
        return (w.var + 2 * w.eps) ** (-1 / power)

    words = [text for p, _, text in read(slope, noise=1e-9, off=0.5e-9) if p == power]
    assert words[:1] == ["var + 2 eps"]
    assert not [text for p, _, text in read(slope, noise=1e-9, off=1.5e-9) if p == power]


def test_what_has_two_signs_no_formula_or_too_few_values_is_not_read():
    assert (
        read(lambda w: np.where(np.arange(w.var.size).reshape(w.var.shape) % 2, -1, 1) / np.sqrt(w.var + w.eps)) == []
    )
    assert read(lambda w: np.sin(3 * w.var) + 2) == []
    few = [w for w in WORLDS if w.var.size == 2][:1]
    assert read(lambda w: 1 / np.sqrt(w.var + w.eps), few) == []


def test_what_is_0_or_no_number_is_left_out():
    row = Table(WORLDS, [channels(w) for w in WORLDS])
    values = np.concatenate([np.ravel(1 / np.sqrt(w.var + w.eps)) for w in WORLDS]).astype(float)
    values[0], values[3], values[5] = 0, np.nan, np.inf
    with np.errstate(all="ignore"):
        (found, *_) = divisors(values, np.abs(values) * 1e-12, row)
    assert (found[1], str(found[2][1])) == (2, "var + eps")


def test_the_simplest_comes_first_and_ends_the_search():
    assert len(read(lambda w: 1 / np.sqrt(w.var + w.eps))) == 1
    row = Table(WORLDS, [channels(w) for w in WORLDS])
    values = np.concatenate([np.ravel(1 / (np.sqrt(w.var) + w.eps)) for w in WORLDS]).astype(float)
    with np.errstate(all="ignore"):
        found = list(divisors(values, values * 1e-12, row))
    assert [(power, str(formula)) for _, power, (_, formula) in found] == [(1, "sqrt(var) + eps")]
    assert 1 <= found[0][0] < 2  # the second power that is tried


def test_powers_are_written():
    words = {2: "std^2", 1: "std", 0.5: "std^(1/2)", -1: "1/std", -2: "1/std^2", 3: "std^3", 0.7: "std^0.7"}
    assert {power: power_words(power) for power in words} == words
