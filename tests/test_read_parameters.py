"""Formulas of dgamma and dbeta, read off what programs return: words here are arithmetic, computed in test_terms.

What was read must give what the program returns for inputs that the reading has not seen. Not verified here: names of
formulas (`test_naming`), and which explanation is chosen in a trial (`test_formulas`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_explain import INFERENCE, TRAINING, others
from test_terms import evaluated

from refnorm.conventions import ROWS
from refnorm.oracle.measure import products, read_parameters
from refnorm.oracle.measure.parts import parts
from refnorm.oracle.measure.read_parameters import read_parameter
from refnorm.oracle.worlds import world

TORCH = ROWS["torch"]
SAMPLED = True  # see conftest.py
GIVEN = [c for c in TRAINING if c.gamma is not None and c.beta is not None and len(c.batches) == 1]
U = 2.0**-53


def worlds(some):
    return [world(c, TORCH) for c in some]


def one_each(values, w):
    """Return one value a channel."""
    return np.asarray(np.broadcast_to(values, w.gamma.shape), float).reshape(-1)


def read(program, some=GIVEN):
    """Return what is read first of a program, which gives what it returns for other inputs as well; None if nothing."""
    found = next(read_parameter([(w, one_each(program(w), w)) for w in worlds(some)]), None)
    if found is not None:
        for w in worlds(others(some)):
            expected = one_each(program(w), w)
            assert np.allclose(
                np.asarray(found.value(w), float), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max()
            )
    return found


def said(words):
    return lambda w: evaluated(words, w)


ALIKE = {"sum dy x_hat": "sum dy (x - mean) / std", "sum dy (x - batch mean)": "sum dy (x - mean)"}  # in training


@pytest.mark.parametrize("words", read_parameters.SUMS)
def test_each_sum_is_read(words):
    assert read(said(words)).words() == ALIKE.get(words, words)
    assert read(lambda w: -3 * evaluated(words, w)).words() == f"-3 {ALIKE.get(words, words)}"


def test_sums_with_an_x_hat_that_is_cut_off_are_read():
    cut = [replace(w, limits=(-0.5, 0.75)) for w in worlds(GIVEN)]
    x_hats = [np.clip((w.x - evaluated("mean", w)) / evaluated("std", w), -0.5, 0.75) for w in cut]
    seen = [(w, (w.upstream * x_hat).sum(w.axes)) for w, x_hat in zip(cut, x_hats, strict=True)]
    assert [found.words() for found in read_parameter(seen)] == ["sum dy x_hat"]


@pytest.mark.parametrize("behind", [b for b in read_parameters.BEHIND if b not in ("", "var")])
@pytest.mark.parametrize("words", ["sum dy (x - mean)", "sum dy"])
def test_what_stands_behind_a_sum_is_read(words, behind):
    joined = f"{words} {behind}" if behind[0] == "/" else f"{words} * {behind}"
    by = {"std": "std", "std^2": "std^2"}.get(behind, behind)
    found = read(lambda w: evaluated(words, w) * evaluated(by, w))
    same = {f"{words} / sqrt(batch variance + eps)": f"{words} / std"}
    assert found.words() == same.get(joined, joined.replace(" * ", " "))


def test_the_variance_behind_a_sum_is_read():
    assert read(lambda w: evaluated("sum dy", w) * evaluated("var", w)).words() == "sum dy var"


@pytest.mark.parametrize("gamma", [g for g in products.GAMMAS if g != "1"])
def test_what_gamma_multiplies_a_sum_by_is_read(gamma):
    found = read(lambda w: evaluated("sum dy", w) * evaluated(gamma, w))
    assert found.words() == f"sum dy {gamma}"


@pytest.mark.parametrize("count", [c for c in products.COUNTS if c != "1"])
def test_counts_that_a_sum_is_multiplied_by_are_read(count):
    found = read(lambda w: evaluated("sum dy", w) * evaluated(count, w))
    assert found.words() == f"sum dy {count}"


@pytest.mark.parametrize("added", read_parameters.ADDED)
@pytest.mark.parametrize("own", ["sum dy (x - mean) / std", "sum dy x"])
def test_what_is_added_to_a_sum_is_read_with_its_constant(own, added):
    found = read(lambda w: 2 * evaluated(own, w) - 0.25 * evaluated(added, w))
    words = f"2 {own} - 0.25 {added}".removesuffix(" 1")
    same = {"2 sum dy x - 0.25 mean sum dy": "2 sum dy (x - mean) + 1.75 mean sum dy"}
    assert found.words() == same.get(words, words)


@pytest.mark.parametrize("sign", [1, -1])
def test_another_divisor_is_read(sign):
    def program(w):
        return sign * evaluated("sum dy (x - mean)", w) / np.sqrt(evaluated("var", w) + 3 * w.eps)

    found = read(program)
    assert found.words() == f"{'-' * (sign < 0)}sum dy (x - mean) / std"
    assert str(found.divisor) == "std^2 = var + 3 eps"
    small = [replace(w, upstream=w.upstream * 2.0**-20) for w in worlds(GIVEN)]
    (again, *_) = read_parameter([(w, one_each(program(w), w)) for w in small])
    assert (again.words(), str(again.divisor)) == (found.words(), str(found.divisor))


def along_x_hat(w, size, channels=slice(None)):
    """Return the world in which sum dy x_hat is so large, in noise, in some channels."""
    x_hat = (w.x - evaluated("mean", w)) / evaluated("std", w)
    level = w.upstream - x_hat * w.average(w.upstream * x_hat) / w.average(x_hat**2)
    noise = 512 * U * np.abs(level).sum(w.axes, keepdims=True) * (np.abs(w.x).max(w.axes, keepdims=True) * w.inv + 1)
    level += size * noise * x_hat / (x_hat**2).sum(w.axes, keepdims=True)
    upstream = w.upstream.copy()
    upstream[:, channels] = level[:, channels]
    return replace(w, upstream=upstream)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [5, -5])
def test_a_channel_that_is_hardly_above_noise_does_not_tell_a_divisor(sign, size):
    seen = [along_x_hat(w, size, 0) for w in worlds(GIVEN)]
    (found,) = read_parameter(
        [
            (w, one_each(sign * evaluated("sum dy (x - mean)", w) / np.sqrt(evaluated("var", w) + 3 * w.eps), w))
            for w in seen
        ]
    )
    assert found.words() == f"{'-' * (sign < 0)}sum dy (x - mean) / std"
    assert str(found.divisor) == "std^2 = var + 3 eps"


def test_what_is_right_though_hardly_above_noise_is_no_sum_over_some_values():
    seen = [along_x_hat(w, 5) for w in worlds(GIVEN)]
    assert not list(read_parameter([(w, one_each(evaluated("sum dy x_hat", w), w)) for w in seen]))


SOME = [p for p in parts() if "(none" not in p.words and p.along in ("samples", "places", "last axis")]
SOME = [p for p in SOME if any(np.any(p.weights(w) != 1) for w in worlds(GIVEN))]


@pytest.mark.parametrize("part", SOME[::4], ids=lambda part: part.words)
@pytest.mark.parametrize("times", ["(x - mean)", ""])
def test_sums_over_some_values_are_read(part, times):
    def program(w):
        values = w.upstream * (w.x - evaluated("mean", w)) / evaluated("std", w) if times else w.upstream
        return (part.weights(w) * values).sum(w.axes, keepdims=True)

    found = read(program)
    assert found.words().startswith(f"sum dy {times}".strip() + " of ")
    assert found.words().endswith(" / std") == bool(times)


def test_a_sum_over_some_values_is_read_if_it_meets_every_case():
    seen = [(w, w.upstream[: (len(w.x) + 1) // 2].sum(w.axes)) for w in worlds(GIVEN)]
    assert [found.words() for found in read_parameter(seen)] == ["sum dy of the first half of the samples"]
    seen[-1] = seen[-1][0], 1.25 * seen[-1][1]
    assert not list(read_parameter(seen))


@pytest.mark.parametrize("program", [lambda w: 0 * w.gamma, lambda w: 0.1 * U * w.gamma])
def test_nothing_is_read_as_0(program):
    (found,) = read_parameter([(w, one_each(program(w), w)) for w in worlds(GIVEN)])
    assert found.words() == "0"


@pytest.mark.parametrize(("off", "told"), [(0.45, True), (2.5, False)])
def test_sums_may_be_off_by_roundings_of_their_terms_and_no_further(off, told):
    signs = np.resize([1, -1, -1], 99)

    def program(w):
        far = np.abs(w.x).max(w.axes, keepdims=True) / evaluated("std", w) + 1
        noise = 512 * U * evaluated("sum |dy|", w) * far
        return evaluated("sum dy (x - mean) / std", w) + off * noise * signs[: w.gamma.size].reshape(w.gamma.shape)

    found = next(read_parameter([(w, one_each(program(w), w)) for w in worlds(GIVEN)]), None)
    assert (found is not None and found.words() == "sum dy (x - mean) / std") == told


def test_what_has_no_formula_is_not_read():
    assert read(lambda w: np.sin(evaluated("sum dy", w))) is None
    assert read(lambda w: evaluated("sum dy", w) + np.cos(w.gamma)) is None


def test_three_cases_are_needed_and_enough_and_what_is_not_finite_is_passed_over():
    seen = [(w, one_each(evaluated("sum dy", w), w)) for w in worlds(GIVEN)]
    assert not list(read_parameter(seen[:2]))
    assert next(read_parameter(seen[:3])).words() == "sum dy"
    spoilt = [(w, np.full_like(g, np.nan)) for w, g in seen[:1]]
    assert not list(read_parameter([*seen[:2], *spoilt]))
    assert next(read_parameter([*spoilt, *seen[1:]])).words() == "sum dy"


def test_in_inference_the_batchs_variance_and_mean_are_others():
    given = [c for c in INFERENCE if c.gamma is not None]

    def program(w):
        return (w.upstream * (w.x - evaluated("batch mean", w))).sum(w.axes, keepdims=True) / np.sqrt(
            evaluated("batch variance", w) + w.eps
        )

    assert read(program, given).words() == "sum dy (x - batch mean) / sqrt(batch variance + eps)"
