"""Laws of batch normalization that hold for any input: property-based tests.

Inputs are drawn by hypothesis: shapes of rank 1 to 4, every axis, masks, scales from 2^-20 to 2^20, means up to 2^20
standard deviations, eps from 0 to 2^10 variances. A law is stated with what rounding does to it, and no stricter: T is
the sum of the magnitudes of the terms (see `test_accuracy`), u = 2^-53, C = 8 the promise of precision; a sum of m
terms rounds by log2(m) u more.

Each law is shown something that breaks it: `test_the_laws_object_to_what_breaks_them`.

Not verified: that the laws are enough to determine batch normalization; that hypothesis finds the worst inputs.
"""

from __future__ import annotations

import numpy as np
import pytest
import test_accuracy as accuracy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import refnorm
from refnorm import exact
from refnorm.reference._layout import kept_axes

C, U = accuracy.C, accuracy.U64
examples = settings(max_examples=60, derandomize=True, deadline=None, database=None)


@st.composite
def cases(draw, masked=True, channels=False, least=2):
    """Draw a case with at least so many values in every channel, of which not all are alike."""
    shape = tuple(draw(st.lists(st.integers(1 + channels, 4), min_size=1 + channels, max_size=4)))
    axis = tuple(draw(st.sets(st.integers(0, len(shape) - 1), min_size=int(channels), max_size=len(shape) - 1)))
    ratio = draw(st.sampled_from([0.0, 1.0, 2.0**10, 2.0**20]))
    eps = draw(st.sampled_from([0.0, 1e-5, 1.0, 2.0**10]))
    scale = 2.0 ** draw(st.integers(-20, 20))
    case = accuracy.case(
        "float64",
        ratio,
        draw(st.integers(0, 2**16)),
        shape,
        axis,
        eps * scale**2,
        masked=masked and draw(st.booleans()),
    )
    case = case._replace(x=case.x * scale)
    kept = kept_axes(axis, shape)
    reduced = tuple(a for a in range(len(shape)) if a not in kept)
    counted = np.ones(shape, bool) if case.where is None else case.where
    assume(np.all(counted.sum(axis=reduced) >= least))
    spread = np.max(np.where(counted, case.x, -np.inf), axis=reduced) - np.min(
        np.where(counted, case.x, np.inf), axis=reduced
    )
    assume(np.all(spread > 2.0**-24 * np.max(np.abs(case.x))))
    return case


def run(case, **changes):
    case = case._replace(**changes)
    return accuracy.training(case)


def terms(case):
    return {name: truth.terms for name, truth in accuracy.training_truth(case).items()}


def tools(case):
    """Return: one value per channel against x; the sum over a channel; the mask; the count."""
    along, total, _, count = accuracy._bookkeeping(case)
    return along, total, np.ones(case.x.shape, bool) if case.where is None else case.where, count


def rounding(count):
    return (4 * C + np.log2(count + 1)) * U


def normalised(case):
    return run(case, gamma=None, beta=None)["y"]


# Each law returns what should be 0, and what rounding allows it to be.


def sum_of_dx(case, results):
    """sum dx = 0 over a channel: moving all x together changes nothing."""
    _, total, _, count = tools(case)
    return total(results["dx"]), rounding(count) * total(terms(case)["dx"])


def x_hat_dot_dx(case, results):
    """<x_hat, dx> = gamma inv_std (1 - mean x_hat^2) dgamma: stretching all x changes y by eps/(var + eps) only."""
    _, total, _, count = tools(case)
    x_hat, inv_std = normalised(case), 1 / np.sqrt(results["var"] + case.eps)
    gamma = 1 if case.gamma is None else case.gamma
    left = case.eps * inv_std**2
    size = total((1 + np.abs(x_hat)) * terms(case)["dx"]) * (1 + np.max(np.abs(x_hat), initial=0))
    return total(x_hat * results["dx"]) - gamma * inv_std * left * results["dgamma"], rounding(count) * size


def dbeta_is_the_sum(case, results):
    """Dbeta = sum dy, whatever x is."""
    _, total, mask, count = tools(case)
    return results["dbeta"] - total(np.where(mask, case.dy, 0)), rounding(count) * terms(case)["dbeta"]


def two_values(case, results):
    """With two values dx = +- gamma inv_std eps/(var + eps) (dy_0 - dy_1) / 2: nothing, up to eps."""
    _, total, mask, count = tools(case)
    inv_std = 1 / np.sqrt(results["var"] + case.eps)
    gamma = 1 if case.gamma is None else np.abs(case.gamma)
    most = gamma * inv_std * case.eps * inv_std**2 * total(np.abs(np.where(mask, case.dy, 0)))
    return np.where(count == 2, np.maximum(total(np.abs(results["dx"])) - most, 0), 0), rounding(count) * total(
        terms(case)["dx"]
    )


LAWS = {law.__name__: law for law in (sum_of_dx, x_hat_dot_dx, dbeta_is_the_sum, two_values)}


def breaks(law, case, results):
    left, allowed = law(case, results)
    return bool(np.any(np.abs(left) > allowed))


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@examples
@given(case=cases())
def test_of_one_backward(law, case):
    assert not breaks(law, case, run(case))


@examples
@given(case=cases(), power=st.integers(-30, 30))
def test_scale_by_a_power_of_two_changes_no_bit(case, power):
    """y(s x, s^2 eps) = y(x, eps) and dx = dx / s, exactly: nothing but exponents moves."""
    scale = 2.0**power
    one, other = run(case), run(case, x=case.x * scale, eps=case.eps * scale**2)
    np.testing.assert_array_equal(other["y"], one["y"])
    np.testing.assert_array_equal(other["dx"] * scale, one["dx"])
    np.testing.assert_array_equal(other["dgamma"], one["dgamma"])


@examples
@given(case=cases(), sign=st.just(-1.0))
def test_the_sign_of_x_is_that_of_x_hat(case, sign):
    one, other = run(case, beta=None), run(case, beta=None, x=sign * case.x)
    np.testing.assert_array_equal(other["y"], -one["y"])
    np.testing.assert_array_equal(other["mean"], -one["mean"])
    np.testing.assert_array_equal(other["dbeta"], one["dbeta"])


@examples
@given(case=cases(), shift=st.integers(-(2**12), 2**12))
def test_shift_changes_nothing_but_the_mean(case, shift):
    """Of x that are multiples of one unit, so that x + shift is exact."""
    unit = 2.0 ** np.floor(np.log2(np.max(np.abs(case.x)))) * 2.0**-30
    x = np.round(case.x / unit) * unit
    moved = x + shift * unit * 2.0**10
    assume(np.array_equal(moved - shift * unit * 2.0**10, x))
    case = case._replace(x=x)
    with np.errstate(all="ignore"):
        one, other = run(case), run(case, x=moved)
    assume(np.all(one["var"] > 0))
    size = terms(case)
    for name in ("y", "dx", "dgamma", "var"):
        assert np.all(np.abs(other[name] - one[name]) <= 2 * C * U * size[name]), name


@examples
@given(case=cases(), seed=st.integers(0, 2**16))
def test_gradients_are_linear_in_dy(case, seed):
    rng = np.random.default_rng(seed)
    other = case._replace(dy=rng.standard_normal(case.x.shape))
    both = case._replace(dy=case.dy + other.dy)
    one, two, three = run(case), run(other), run(both)
    a, b, c = terms(case), terms(other), terms(both)
    for name in ("dx", "dgamma", "dbeta"):
        allowed = 2 * C * U * (a[name] + b[name] + c[name])
        assert np.all(np.abs(three[name] - one[name] - two[name]) <= allowed), name


@examples
@given(case=cases(), power=st.integers(-30, 30))
def test_gradients_scale_with_dy_exactly(case, power):
    one, other = run(case), run(case, dy=case.dy * 2.0**power)
    for name in ("dx", "dgamma", "dbeta"):
        np.testing.assert_array_equal(other[name], one[name] * 2.0**power)


@examples
@given(case=cases())
def test_the_gradient_of_a_bias_before_normalisation_is_zero(case):
    """BN(x + b) does not depend on b: its jvp along a bias is 0 in exact arithmetic, and 0 but for rounding here."""
    along, total, _, count = tools(case)
    _, saved = refnorm.batch_norm_training(case.x, case.gamma, eps=case.eps, axis=case.axis, where=case.where)
    bias = along(np.asarray(np.random.default_rng(1).standard_normal(case.mean.shape))) * np.ones(case.x.shape)
    truth = exact.training_jvp(bias, None, None, case.x, case.gamma, eps=case.eps, axis=case.axis, where=case.where)
    numbers = [truth.number(i) for i in range(truth.hi.size)]
    assert all(n.p == n.q == 0 for n in numbers)
    dy = refnorm.batch_norm_training_jvp(bias, None, None, saved)
    inv_std = 1 / np.sqrt(saved.statistics.var + case.eps)
    gamma = 1 if case.gamma is None else np.abs(case.gamma)
    x_hat = 1 + np.abs(normalised(case))
    allowed = 2 * C * U * along(gamma * inv_std) * np.abs(bias) * x_hat * (1 + along(total(x_hat) / count))
    assert np.all(np.abs(dy) <= allowed)


@examples
@given(case=cases(masked=False))
def test_the_order_of_samples_does_not_matter(case):
    """Only the order of sums changes: within twice the promise."""
    back = tuple(slice(None, None, -1) for _ in case.x.shape)
    kept = kept_axes(case.axis, case.x.shape)
    only = tuple(slice(None) if a in kept else s for a, s in enumerate(back))
    one, other, size = run(case), run(case, x=case.x[only], dy=case.dy[only]), terms(case)
    for name in ("y", "dx"):
        assert np.all(np.abs(other[name][only] - one[name]) <= 2 * C * U * size[name]), name
    for name in ("dgamma", "dbeta", "var"):
        assert np.all(np.abs(other[name] - one[name]) <= 2 * C * U * size[name]), name


@examples
@given(case=cases(channels=True))
def test_channels_do_not_see_each_other(case):
    """Scaling one channel's x and dy changes no bit of another's results."""
    along, _, _, _ = tools(case)
    factor = np.ones(case.mean.shape)
    factor.reshape(-1)[0] = 4.0
    one, other = run(case), run(case, x=case.x * along(factor), dy=case.dy * along(factor))
    rest = factor == 1
    for name in ("dgamma", "dbeta", "mean", "var"):
        np.testing.assert_array_equal(other[name][rest], one[name][rest])
    same = np.broadcast_to(along(rest), case.x.shape)
    for name in ("y", "dx"):
        np.testing.assert_array_equal(other[name][same], one[name][same])


BROKEN = {
    "sum_of_dx": lambda case, r: {**r, "dx": r["dx"] + 1e-6 * np.abs(case.dy)},
    "x_hat_dot_dx": lambda case, r: {**r, "dx": r["dx"] + 1e-6 * normalised(case)},
    "dbeta_is_the_sum": lambda case, r: {**r, "dbeta": r["dbeta"] * (1 + 1e-9)},
    "two_values": lambda case, r: {**r, "dx": r["dx"] + 1e-6 * normalised(case)},
}


@pytest.mark.parametrize("name", LAWS)
def test_the_laws_object_to_what_breaks_them(name):
    case = accuracy.case("float64", 1, 3, (2, 5) if name == "two_values" else (7, 5), 1, 1e-12)._replace(gamma=None)
    results = run(case)
    assert not breaks(LAWS[name], case, results)
    assert breaks(LAWS[name], case, BROKEN[name](case, results))
