"""Channels and affine maps, one property at a time: how values are gathered, how near two floats come, how far off.

Expected values come from fractions, by hand. Whole layers, of hard values, are in test_exact.py.
"""

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq

from refnorm.exact import affine as module
from refnorm.exact.affine import Affine, affine, channels_of, kept_axes, parameters, rationals
from refnorm.exact.number import Number, rational

RNG = np.random.default_rng(20261127)


def fraction(r):
    return Fraction(int(r.p), int(r.q))


def values_of(channel):
    return [channel.unit * i for i in channel.integers]


def test_kept_axes_ascend_and_count_from_the_front():
    assert kept_axes((2, -4), 4) == (0, 2)
    assert kept_axes(-1, 3) == (2,)
    assert kept_axes((), 3) == ()


def test_channels_are_split_row_major_over_the_kept_axes():
    x = np.arange(12.0).reshape(2, 3, 2)
    first, second, third = channels_of(x, 1, None)
    assert first.index.tolist() == [0, 1, 6, 7]
    assert third.index.tolist() == [4, 5, 10, 11]
    assert values_of(second) == [2, 3, 8, 9]
    assert [c.index.tolist() for c in channels_of(x, (2, 1), None)] == [[k, k + 6] for k in range(6)]


def test_a_channel_holds_its_values_as_integers_over_one_power_of_two():
    x = np.array([0.75, -3.0, 0.0, 2.0**40, 5e-324])[:, None]
    (channel,) = channels_of(x, 1, None)
    assert values_of(channel) == [rational(value) for value in x.ravel().tolist()]
    (channel,) = channels_of(x[:4], 1, None)  # the unit is that of the smallest of 53 digits: the zero has none
    assert channel.unit == fmpq(1, 2**53)
    assert channel.integers == [3 * 2**51, -3 * 2**53, 0, 2**93]
    (zeros,) = channels_of(np.zeros((2, 1)), 1, None)
    assert zeros.integers == [0, 0]
    (large,) = channels_of(np.array([[3 * 2.0**900], [0.0]]), 1, None)
    assert (large.integers, large.unit) == ([3 * 2**51, 0], fmpq(2) ** 849)


def test_a_channel_is_not_changed_afterwards():
    (channel,) = channels_of(np.ones((2, 1)), 1, None)
    with pytest.raises(FrozenInstanceError):
        channel.unit = fmpq(2)


def test_sums_of_a_channel_are_exact():
    x, other = np.array([[1.5], [-2.0], [2.0**-30]]), np.array([[4.0], [0.25], [3.0]])
    (channel,), (second,) = channels_of(x, 1, None), channels_of(other, 1, None)
    assert channel.total == fmpq(-1, 2) + fmpq(1, 2**30)
    assert channel.squares == fmpq(25, 4) + fmpq(1, 2**60)
    assert channel.dot(second) == fmpq(11, 2) + fmpq(3, 2**30)


def test_masked_values_enter_no_channel_and_may_be_anything():
    x = np.array([[1.0, np.nan], [np.inf, 2.0]])
    one, two = channels_of(x, 1, np.array([[True, False], [False, True]]))
    assert (one.index.tolist(), values_of(one)) == ([0], [1])
    assert (two.index.tolist(), values_of(two)) == ([3], [2])
    one, two = channels_of(np.arange(4.0).reshape(2, 2), 1, np.array([[True], [False]]))
    assert (one.index.tolist(), two.index.tolist()) == ([0], [1])


def test_what_has_no_channels_is_refused():
    x = np.ones((2, 2))
    for where in (x, x.astype("datetime64[s]"), x.astype(object)):
        with pytest.raises(TypeError, match=f"where must be a boolean array, got {where.dtype}".replace("[", r"\[")):
            channels_of(x, 1, where)
    with pytest.raises(ValueError, match="exact arithmetic needs finite values"):
        channels_of(np.array([[1.0, np.inf]]), 1, None)
    with pytest.raises(ValueError, match=r"a channel of shape \(2, 2\) kept along \(1,\) has no values"):
        channels_of(x, 1, np.array([[True, False]]))


def test_parameters_are_one_rational_a_channel():
    assert parameters(None, 3, 7) == [fmpq(7)] * 3
    assert parameters(np.array([[0.5], [-2.0]]), 2, 7) == [fmpq(1, 2), fmpq(-2)]
    with pytest.raises(TypeError, match="got None"):
        parameters(None, 3)
    with pytest.raises(ValueError, match="has 2 values, expected one for each of 3 channels"):
        parameters(np.ones(2), 3, 0)


def test_rationals_are_numbers_without_a_root():
    gathered = rationals((2, 1), [fmpq(1, 3), fmpq(-2)])
    assert gathered.number(0) == Number(fmpq(1, 3), fmpq(0), fmpq(1))
    assert gathered.rounded().tolist() == [[1 / 3], [-2.0]]


def line(constant, terms, v):
    return Affine(rational(constant), tuple((rational(f), rational(c)) for f, c in terms), rational(v))


def test_a_map_is_its_constant_and_factors_times_what_is_beyond_the_centres():
    number = line(Fraction(1, 3), [(2.0, 0.5), (Fraction(-1, 7), 3.0)], 5.0).number([4.0, 1.0])
    assert number == Number(fmpq(1, 3), fmpq(7) + fmpq(2, 7), fmpq(5))


SQUARES = (1.0, 2.25, 2.0**-40)  # of which the root is a float, so that fractions say what a map is


def maps(scale=1.0):
    """Three channels of seven values in two arrays, the last of the values masked, and their maps."""
    x, other = RNG.normal(size=(2, 7, 3)) * scale
    where = np.arange(7)[:, None] < np.array([7, 7, 6])
    lines = [line(RNG.normal() * scale, [(RNG.normal(), RNG.normal() * scale) for _ in range(2)], v) for v in SQUARES]
    return x, other, where, lines


def true(lines, x, other):
    """Return the maps' values, and the sums of magnitudes and of partners of which the bound is made."""
    value, size, partners = (np.empty(x.shape, object) for _ in range(3))
    for i, c in np.ndindex(x.shape):
        (constant, terms), root = lines[c][:2], Fraction(math.sqrt(SQUARES[c]))
        pairs = [
            (fraction(f) / root, fraction(m), Fraction(a[i, c])) for (f, m), a in zip(terms, (x, other), strict=True)
        ]
        value[i, c] = fraction(constant) + sum(f * (a - m) for f, m, a in pairs)
        size[i, c] = abs(fraction(constant)) + sum(abs(f) * (abs(a) + abs(m)) for f, m, a in pairs)
        partners[i, c] = sum(abs(f) + abs(a) + abs(m) for f, m, a in pairs)
    return value.ravel(), size.ravel(), partners.ravel()


@pytest.mark.parametrize("scale", [1.0, 2.0**200])
def test_two_floats_come_as_near_as_the_bound_says_and_the_bound_is_the_proven_one(scale):
    """Within 2^-99 of the magnitudes, of which the bound is 2^-98, and no more than that."""
    x, other, where, lines = maps(scale)
    got = affine(x.shape, channels_of(x, 1, where), lines, x, other)
    value, size, _ = true(lines, x, other)
    for i in np.flatnonzero(where):
        off = abs(Fraction(got.hi[i]) + Fraction(got.lo[i]) - value[i])
        assert off <= size[i] / 2**99
        assert abs(got.lo[i]) <= math.ulp(got.hi[i]) / 2
        assert got.bound[i] == pytest.approx(float(size[i]) * 2.0**-98, rel=1e-12, abs=0)
    assert got.shape == (7, 3)


def test_of_subnormal_numbers_the_bound_is_that_of_partners_and_of_products():
    x, other, where, lines = maps(2.0**-1060)
    got = affine(x.shape, channels_of(x, 1, where), lines, x, other)
    value, size, partners = true(lines, x, other)
    for i in np.flatnonzero(where):
        expected = size[i] / 2**98 + partners[i] / 2**1073 + Fraction(1, 2**1070)
        assert abs(Fraction(got.bound[i]) - expected) <= Fraction(1, 2**1073)
        assert abs(Fraction(got.hi[i]) + Fraction(got.lo[i]) - value[i]) <= expected


def test_a_masked_value_is_zero_and_so_is_what_has_only_zero_terms():
    x, other, where, lines = maps()
    got = affine(x.shape, channels_of(x, 1, where), lines, x, other)
    assert (got.hi[20], got.lo[20], got.bound[20]) == (0, 0, 0)
    assert got.number(20) == Number(fmpq(0), fmpq(0), fmpq(1))
    assert got.nearest(np.array([20, 0]), "float32").tolist() == [0.0, got.number(0).rounded("float32")]
    one = np.ones((1, 1))
    for constant, terms, v, values, zero in (
        (0, [(2, 0), (3, 0)], 1, (0, 0), True),
        (0, [(2, 0), (3, 0)], 1, (0, 1), False),
        (0, [(2, 0), (3, 0)], 1, (1, 0), False),
        (0, [(2, 0), (3, 0)], 1, (-1, 0), False),
        (0, [(2, 0), (3, 0)], 1, (0, -1), False),
        (0, [(2, 1), (3, 0)], 1, (0, 0), False),
        (0, [(2, 0), (3, 1)], 1, (0, 0), False),
        (0, [(2, -1), (3, 0)], 1, (0, 0), False),
        (-1, [(2, 0), (3, 0)], 1, (0, 0), False),
        (1, [(2, 0), (3, 0)], 1, (0, 0), False),
        (0, [(2, 0), (3, 0)], 0, (0, 0), False),  # 0/0
        (0, [(2, 0), (3, 0)], -1, (0, 0), False),
    ):
        arrays = [value * one for value in values]
        got = affine((1, 1), channels_of(one, 1, None), [line(constant, terms, v)], *arrays)
        assert bool(got.bound[0] == 0) is zero, (constant, terms, v, values)
        assert got.number(0) == line(constant, terms, v).number(values)


def test_a_map_may_be_of_one_array_or_of_three():
    x = np.array([[2.0], [-1.0]])
    for terms in ([(0.5, 1.0)], [(0.5, 1.0), (2.0, 0.0), (-1.0, 3.0)]):
        arrays = [x] * len(terms)
        got = affine(x.shape, channels_of(x, 1, None), [line(0.25, terms, 4.0)], *arrays)
        expected = [0.25 + sum(f * (value - c) / 2 for f, c in terms) for value in (2.0, -1.0)]
        assert got.rounded().ravel().tolist() == expected
        assert got.bound.size == 2


def test_what_the_filter_leaves_is_rounded_in_parts_each_by_its_own_channel(monkeypatch):
    x, other, where, lines = maps()
    seen = []
    genuine = module.roundings

    def spy(constant, terms, v, columns, kind):
        seen.append((v, [column.size for column in columns]))
        return genuine(constant, terms, v, columns, kind)

    monkeypatch.setattr(module, "roundings", spy)
    monkeypatch.setattr(module, "SOME", 3)
    got = affine(x.shape, channels_of(x, 1, where), lines, x, other)
    indices = RNG.permutation(21)
    expected = [got.number(int(i)).rounded("float32") for i in indices]
    assert got.nearest(indices, "float32").tolist() == expected
    sizes = {SQUARES[0]: [3, 3, 1], SQUARES[1]: [3, 3, 1], SQUARES[2]: [3, 3]}
    assert seen == [(rational(v), [size] * 2) for v in SQUARES for size in sizes[v]]


def test_a_product_of_two_floats_is_kept_whole():
    a, b = RNG.normal(size=(2, 500))
    a[::50] = 0
    zero = np.zeros(500)
    hi, lo = module._times((a, zero), (b, zero))
    for k in range(500):
        assert Fraction(hi[k]) + Fraction(lo[k]) == Fraction(a[k]) * Fraction(b[k])


def test_a_sum_of_two_floats_is_kept_whole_whichever_is_larger():
    for scale in (1.0, 2.0**60, 2.0**-60):
        a, b = RNG.normal(size=(2, 50))
        hi, lo = module._two_sum(a, b * scale)
        for k in range(50):
            assert Fraction(hi[k]) + Fraction(lo[k]) == Fraction(a[k]) + Fraction(b[k] * scale)


def pairs(n=200):
    hi = RNG.normal(size=n)
    return hi, hi * RNG.uniform(-1, 1, size=n) * 2.0**-53


@pytest.mark.parametrize("name", ["_times", "_plus", "_minus"])
def test_an_operation_on_pairs_of_floats_loses_what_its_analysis_says(name):
    """At most 2^-102 of the magnitudes that enter (Joldes, Muller & Popescu 2017)."""
    a, b = pairs(), pairs()
    if name == "_minus":
        a = (a[0], np.zeros(200))
        hi, lo = module._minus(a[0], b)
    else:
        hi, lo = getattr(module, name)(a, b)
    for k in range(200):
        one, two = (Fraction(p[0][k]) + Fraction(p[1][k]) for p in (a, b))
        exact, size = {
            "_times": (one * two, abs(one * two)),
            "_plus": (one + two, abs(one) + abs(two)),
            "_minus": (one - two, abs(one) + abs(two)),
        }[name]
        assert abs(Fraction(hi[k]) + Fraction(lo[k]) - exact) <= size / 2**102
