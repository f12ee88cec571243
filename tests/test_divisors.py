"""What x - mean is divided by, read off slopes that are made here: powers, signs, and how much noise is let through.

Not verified here: what each term is (`test_terms`), how slopes are found in y (`test_explain`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from test_explain import INFERENCE, TRAINING
from test_terms import BY_HAND, evaluated, flows_back_as_it_grows, made, moved
from test_terms import WORLDS as SMALL

from refnorm.conventions import ROWS
from refnorm.oracle.measure.divisors import OTHER_EPS, POWERS, _divisor_terms, divisors, power_words
from refnorm.oracle.measure.formula import Table, channels
from refnorm.oracle.worlds import world

SAMPLED = 4  # one in so many; see conftest.py
WORLDS = [world(c, ROWS["torch"]) for c in TRAINING if len(c.batches) == 1]
FROZEN = [world(c, ROWS["torch"]) for c in INFERENCE]


@cache
def table(*worlds):
    return Table(worlds, [channels(w) for w in worlds])


def read(slope, worlds=WORLDS, noise=1e-12, off=0.0):
    """Return what is read of slopes, each off by a part of itself in one sense or the other, first to last."""
    row = table(*worlds)
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
    for scale in (2.0, 4.0):
        (found,) = read(slope, [*spread(1.0), *spread(scale)])
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


@pytest.mark.parametrize("power", [3.0, 4 / 3, 8.0, 0.8, 0.1, 1 / 0.6123456])
@pytest.mark.parametrize("worlds", [WORLDS, FROZEN], ids=["training", "inference"])
def test_other_powers_are_read_of_var_and_eps_alone(power, worlds):
    words = "var + eps" if worlds is WORLDS else "running variance + eps"
    found = read(lambda w: -((w.var + w.eps) ** (-1 / power)), worlds)
    assert [(sign, text) for _, sign, text in found] == [(-1.0, words)]
    assert found[0][0] == pytest.approx(power, rel=1e-12)
    assert read(lambda w: (w.var + 3 * w.eps) ** (-1 / power), worlds) == []
    assert read(lambda w: (w.var + w.eps) ** 0.3, worlds) == []  # what multiplies is no divisor


def test_other_powers_are_told_where_slopes_are_known_to_eight_digits():
    def slope(w):
        return (w.var + w.eps) ** -0.75

    assert len(read(slope, noise=0.9e-8)) == 1
    assert read(slope, noise=1.1e-8) == []
    assert len(read(slope, noise=1e-10, off=1.9e-10)) == 1
    assert read(slope, noise=1e-10, off=2.2e-10) == []
    assert len(read(slope, noise=0.0, off=0.8e-13)) == 1  # rounding of what is exact
    assert read(slope, noise=0.0, off=1.2e-13) == []


@pytest.mark.parametrize("power", [2, 1, -1, -2])
def test_a_slope_may_be_off_by_its_noise_and_no_further(power):
    def slope(w):
        return (w.var + 2 * w.eps) ** (-1 / power)

    words = [text for p, _, text in read(slope, noise=1e-9, off=0.5e-9) if p == power]
    assert words[:1] == ["var + 2 eps"]
    assert not [text for p, _, text in read(slope, noise=1e-9, off=1.5e-9) if p == power]


MADE = [
    *(made((5, 3), eps=0.3), made((3, 2, 2, 4), eps=9.0, momentum=0.3), made((2, 4, 2, 1, 2), eps=1e-6, momentum=0.7)),
    made((7, 2, 3), eps=0.0, momentum=0.6),
]
ROOTS = ["sqrt(var)", "sqrt(unbiased var)", "sqrt(var + eps)", "sqrt(running variance)", "sqrt(running variance + eps)"]
VARIANCES = ["var", "unbiased var", "max(var, eps)", "var^2"]
VARIANCES += [f"{a} {words}" for a in ("(1 - a)", "a") for words in ("var", "unbiased var")]
VARIANCES += ["running variance", "running variance^2", "max(running variance, eps)"]
VARIANCES += [f"{a} running variance" for a in ("(1 - a)", "a", "m/(m - 1)", "(m - 1)/m")]
ADDED = ["eps", "eps^2", "sqrt(eps)", "max(eps, 1.001e-5)", "min(eps, 1)", "(eps, or 1e-5 if it is 0)", "eps/m"]
ADDED += [f"{kind}(eps)" for kind in ("float32", "float16", "bfloat16")]
ADDED += [f"{k} eps" for k in ("m", "N", "1/N", "C", "1/C", "m/(m - 1)", "(m - 1)/m")]
BESIDE = [(words, "eps") for words in VARIANCES] + [("var", words) for words in (*ADDED, "eps var")]
BESIDE += [("|var - eps|", "1"), ("|running variance - eps|", "1"), ("eps running variance", "1")]


def said(words, w):
    return BY_HAND[words](w) if words in BY_HAND else evaluated(words, w)


@pytest.mark.parametrize("power", POWERS)
def test_each_variance_and_each_eps_is_read_in_each_power(power):
    roots = [(words, "eps") for words in ROOTS if abs(power) == 1]
    roots += [(f"1/{words}", "eps") for words, _ in roots if power == -1]
    squares = {("var", "eps"), ("running variance", "eps")} if power == -2 else set()  # roots of power -1
    for several in (*roots, *(each for each in BESIDE if each not in squares)):
        (found, *_) = read(lambda w, several=several: sum(said(s, w) for s in several) ** (-1 / power), MADE)
        assert found == (power, 1.0, " + ".join(several))


@pytest.mark.parametrize("eps", [0.3, 2.5, 1e-5, 1e-6, 1.2e-5, 0.0])
def test_what_stands_in_the_place_of_eps_is_what_its_words_say(eps):
    w = made((5, 3), eps)
    for term in OTHER_EPS:
        assert np.allclose(float(term.value(w)), float(said(term.words, w)), rtol=1e-11, atol=0), term.words


def of_shards(w, cuts, equal):
    parts = [part for part in np.split(w.x, cuts(len(w.x))) if len(part)]
    shares = [1 / len(parts) if equal else len(part) / len(w.x) for part in parts]
    return sum(share * part.var(w.axes, keepdims=True) for share, part in zip(shares, parts, strict=True))


SHARDS = [lambda n: [(n + 1) // 2], lambda n: [n // 2], lambda n: [n // 4, n // 2, 3 * n // 4]]
OTHER = {  # of x and the axes of a channel
    "var of the samples' means": lambda x, axes: x.mean(axes[1:], keepdims=True).var(0, keepdims=True),
    "(mean of |x - mean|)^2": lambda x, axes: np.abs(x - x.mean(axes, keepdims=True)).mean(axes, keepdims=True) ** 2,
    "(max x - min x)^2": lambda x, axes: np.ptp(x, axis=axes, keepdims=True) ** 2,
    "sum (x - mean)^2 / N": lambda x, axes: x.var(axes, keepdims=True) * x[0, 0].size,
    "C var": lambda x, axes: x.var(axes, keepdims=True) * x.shape[1],
    "1/N var": lambda x, axes: x.var(axes, keepdims=True) / len(x),
    "unbiased var over all": lambda x, axes: x.var(keepdims=True, ddof=1),
    "mean over all of x^2": lambda x, axes: (x**2).mean(keepdims=True),
    "sum x^2 / C": lambda x, axes: (x**2).sum(axes, keepdims=True) / x.shape[1],
    "var over all about the mean of its channel": lambda x, axes: x.var(axes, keepdims=True).mean(keepdims=True),
}


def test_other_squares_are_read():
    for words, of in OTHER.items():
        (found, *_) = read(lambda w, of=of: 1 / np.sqrt(of(w.x, w.axes) + w.eps), MADE)
        assert found == (2, 1.0, f"{words} + eps")
    for cuts in SHARDS:
        for equal, words in ((False, ""), (True, ", counts aside")):
            (found, *_) = read(lambda w, of=(cuts, equal): 1 / np.sqrt(of_shards(w, *of) + w.eps), MADE)
            assert found == (2, 1.0, f"mean of the shards' variances{words} + eps")


@pytest.mark.parametrize("power", POWERS)
def test_x_squared_is_divided_by_the_usual_counts_alone_and_other_regions_count_for_std_squared_alone(power):
    every = [t.words for t in _divisor_terms(power)[0]]
    assert ("C var over all" in every) == (power == 2)
    words = [words for words in every if words.endswith("x^2") or "x^2 / " in words]
    usual = ["mean of x^2", "sum x^2 / (m - 1)", "sum x^2 / N", "sum x^2", "sum x^2 / HW", "sum x^2 / C"]
    regions = 16 if power == 2 else 1
    assert words[::regions] == usual
    assert len(words) == len(set(words)) == regions * len(usual)


def test_what_multiplies_in_the_place_of_a_divisor_is_a_std():
    inverses = [words for t in _divisor_terms(-1)[0] if (words := t.words).startswith("1/")]
    assert inverses == ["1/sqrt(var)", "1/sqrt(unbiased var)", "1/sqrt(mean of x^2)", "1/sqrt(var + eps)"]


@pytest.mark.parametrize("power", POWERS)
def test_what_flows_back_through_what_a_divisor_is_made_of_is_its_derivative(power):
    own = {t.words: t for t in _divisor_terms(power)[0] if not t.words.startswith("sum")}
    assert len(own) > 40
    for w in (SMALL["rank 4"], MADE[1]):  # var is above eps, and below
        assert [words for words, t in own.items() if not flows_back_as_it_grows(t, w)] == []


def test_a_channel_of_hardly_any_variance_says_nothing():
    w = made((5, 3), eps=0.0)
    tiny = moved(w, w.x * 1e-160)
    assert read(lambda w: 1 / np.sqrt(w.var + w.eps), [*MADE, tiny]) == [(2, 1.0, "var + eps")]


def test_what_has_two_signs_no_formula_or_too_few_values_is_not_read():
    assert (
        read(lambda w: np.where(np.arange(w.var.size).reshape(w.var.shape) % 2, -1, 1) / np.sqrt(w.var + w.eps)) == []
    )
    assert read(lambda w: np.sin(3 * w.var) + 2) == []
    few = [w for w in WORLDS if w.var.size == 2][:1]
    assert read(lambda w: 1 / np.sqrt(w.var + w.eps), few) == []


def test_what_is_0_or_no_number_is_left_out():
    row = table(*WORLDS)
    values = np.concatenate([np.ravel(1 / np.sqrt(w.var + w.eps)) for w in WORLDS]).astype(float)
    values[0], values[3], values[5] = 0, np.nan, np.inf
    with np.errstate(all="ignore"):
        (found, *_) = divisors(values, np.abs(values) * 1e-12, row)
    assert (found[1], str(found[2][1])) == (2, "var + eps")


def test_the_simplest_comes_first_and_ends_the_search():
    assert len(read(lambda w: 1 / np.sqrt(w.var + w.eps))) == 1
    row = table(*WORLDS)
    values = np.concatenate([np.ravel(1 / (np.sqrt(w.var) + w.eps)) for w in WORLDS]).astype(float)
    with np.errstate(all="ignore"):
        found = list(divisors(values, values * 1e-12, row))
    assert [(power, str(formula)) for _, power, (_, formula) in found] == [(1, "sqrt(var) + eps")]
    assert 1 <= found[0][0] < 2  # the second power that is tried


def test_another_power_costs_as_much_as_the_last_of_those_that_are_tried():
    values = np.concatenate([np.ravel((w.var + w.eps) ** -0.75) for w in WORLDS]).astype(float)
    with np.errstate(all="ignore"):
        ((cost, *_),) = divisors(values, values * 1e-12, table(*WORLDS))
    assert cost == list(POWERS).index(-2)


def test_powers_are_written():
    words = {2: "std^2", 1: "std", 0.5: "std^(1/2)", -1: "1/std", -2: "1/std^2", 3: "std^3", 0.7: "std^0.7"}
    assert {power: power_words(power) for power in words} == words
