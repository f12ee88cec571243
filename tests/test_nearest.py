"""Rounding many elements by integers against rounding each on its own, bit for bit; and how much is done for each.

Not verified here: how long it takes (``python tests/benchmarks/bench_exact.py`` prints ratios), and elements that the
filter decides (`test_exact`).
"""

from __future__ import annotations

import math
from fractions import Fraction

import fractions_road as road
import numpy as np
import pytest
from flint import fmpq
from hypothesis import given
from hypothesis import strategies as st
from test_exact import KINDS, differences, examples, fractions_of, middles

from refnorm import exact
from refnorm.exact import Number, rational
from refnorm.exact import nearest as by_integers
from refnorm.exact.nearest import _enclosed, roundings
from refnorm.formats import FORMATS

M = 400
SCALES = {"near 1": (-1, 1), "near 1e-290": (-300, -280), "wide": (-300, 300)}


def one_by_one(constant, terms, v, columns, kind):
    """Round each element by the arithmetic of fractions, which shares nothing with refnorm."""
    found = []
    for values in zip(*columns, strict=True):
        q = sum((f * (rational(float(x)) - c) for (f, c), x in zip(terms, values, strict=True)), fmpq(0))
        found.append(road.rounded(*fractions_of(Number(constant, q, v)), kind))
    return found


def hostile_exact(m):
    """Name results of which the filter decides nothing, or little."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, m, 1))
    wide, other = 10.0 ** rng.uniform(-300, 300, (2, m, 1)) * rng.choice([-1.0, 1.0], (2, m, 1))
    odd = np.ldexp(2.0 * rng.integers(2**23, 2**24, (m, 1)) + 1, -24)
    none, four = np.zeros(1), np.full(1, 4.0)
    return {
        "mean/std 1e15": exact.training(1e15 + np.rint(4 * x), eps=1e-5).y,
        "x wide": exact.training_gradients(dy, wide, eps=1e-5).dx,
        "all wide": exact.training_double_backward(other, None, None, dy, wide, eps=1e-5).dx,
        "constant": exact.training(np.full((m, 1), 3.0), eps=1e-5).y,
        "0/0": exact.training(np.full((m, 1), 3.0), eps=0.0).y,
        "dx = 0": exact.training_gradients(np.full((m, 1), 3.0), x, eps=1e-5).dx,
        "ties": exact.inference(odd, none, four, eps=0.0),
        "beside ties": exact.inference(odd, none, four, eps=1e-300),
        "masked": exact.training(1e15 + np.rint(4 * x), eps=1e-5, where=x > 0).y,
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", SCALES)
def test_many_elements_are_rounded_as_each_on_its_own(kind, scale):
    rng = np.random.default_rng(1)
    low, high = SCALES[scale]
    for v in (fmpq(2), fmpq(9, 4), fmpq(4) + fmpq(2) ** -1000, fmpq(1, 7), fmpq(2) ** -999, fmpq(0), fmpq(-1)):
        columns = list(10.0 ** rng.uniform(low, high, (2, 12)) * rng.choice([-1.0, 0.0, 1.0], (2, 12)))
        centre = rational(float(columns[0][3]))
        for constant, terms in [
            (fmpq(0), [(fmpq(3, 7), centre), (fmpq(0), fmpq(1, 3))]),
            (fmpq(5, 3), [(fmpq(-2), centre), (fmpq(2) ** -700, fmpq(0))]),
            (fmpq(2) ** -1080, [(fmpq(1), fmpq(0)), (fmpq(-1), fmpq(0))]),
        ]:
            got = roundings(constant, terms, v, columns, kind)
            assert not differences(got, one_by_one(constant, terms, v, columns, kind), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("v", [fmpq(1), fmpq(1) + fmpq(2) ** -900, fmpq(1) - fmpq(2) ** -3000], ids=["1", "+", "-"])
def test_ties_go_to_even_and_numbers_beside_them_to_their_side(kind, v):
    """Sums of two floats in the middle between two neighbours, exactly or but for 2^-900 or 2^-3000 of them."""
    high, low = (np.array(column) for column in zip(*middles(kind, np.random.default_rng(2)), strict=True))
    terms = [(fmpq(1), fmpq(0)), (fmpq(1), fmpq(0))]
    got = roundings(fmpq(0), terms, v, [high, low], kind)
    assert not differences(got, one_by_one(fmpq(0), terms, v, [high, low], kind), kind)


numbers = st.floats(allow_nan=False, allow_infinity=False)
rationals = st.builds(lambda a, b: fmpq(a, b), st.integers(-(2**70), 2**70), st.integers(1, 2**70))
shapes = st.integers(1, 4).flatmap(lambda m: st.tuples(*[st.lists(numbers, min_size=m, max_size=m)] * 2))


@examples(400)
@given(shapes, rationals, st.tuples(*[rationals] * 4), rationals, st.sampled_from(KINDS))
def test_any_map_is_rounded_as_its_exact_numbers(values, constant, parts, v, kind):
    columns, terms = [np.array(column) for column in values], [parts[:2], parts[2:]]
    got = roundings(constant, terms, v, columns, kind)
    assert not differences(got, one_by_one(constant, terms, v, columns, kind), kind)


@pytest.mark.parametrize("name", hostile_exact(2))
def test_what_the_filter_cannot_decide_is_decided_without_one_exact_number_an_element(name):
    """What would take milliseconds an element is done once for 4096 of them: no clock, but a count."""

    def number(i):
        raise AssertionError(f"element {i} was rounded on its own")

    result = hostile_exact(M)[name]
    for kind in KINDS:
        got = result._replace(number=number).rounded(kind)
        expected = [result.number(i).rounded(kind) for i in range(0, M, 7)]
        assert not differences(got.reshape(-1)[::7], expected, kind)


@pytest.mark.parametrize(("name", "kind"), [("mean/std 1e15", "float64"), ("x wide", "float64"), ("ties", "float32")])
def test_the_hostile_inputs_do_reach_the_integers(name, kind, monkeypatch):
    """A third at least of the elements of each is left by the filter to `roundings`, whose answer is then seen."""
    monkeypatch.setattr("refnorm.exact.affine.roundings", lambda *line: [math.pi] * line[-2][0].size)
    seen = hostile_exact(M)[name].rounded(kind) == math.pi
    assert np.mean(seen) > 1 / 3


def share_decided(integers, denominator, constant, v, bits, kind):
    """Return how many of the numbers an enclosure of so many bits decides; each is what the number rounds to."""
    decided = dict(_enclosed(integers, range(len(integers)), denominator, constant, v, bits, kind))
    numbers = {i: Number(constant, fmpq(integers[i], denominator), v) for i in decided}
    expected = [road.rounded(*fractions_of(number), kind) for number in numbers.values()]
    assert not differences([*decided.values()], expected, kind)
    return len(decided) / len(integers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("v", [fmpq(2), fmpq(1, 3), fmpq(7) ** 60])
def test_few_bits_decide_some_numbers_and_none_wrongly(kind, v):
    """With so few bits most enclosures hold a tie, or 0: what is decided in spite of it must be so for a reason."""
    rng, bits = np.random.default_rng(4), FORMATS[kind][0]
    unit = math.isqrt(int(v * 10**6)) * 2**bits  # of q: whatever v and the format
    integers = [int(q * unit) >> k for q, k in zip(rng.uniform(-1, 1, 200), [*range(bits)] * 200, strict=False)]
    for constant in (fmpq(0), fmpq(2) ** bits / 7, fmpq(-5, 2)):
        shares = [share_decided(integers, 3000, constant, v, bits + more, kind) for more in (0, 2, 4, 8)]
        assert shares[1] < 1
        assert shares[2] > 1 / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("v", [fmpq(2), fmpq(1, 3), fmpq(7)])
def test_few_bits_decide_nothing_wrongly_below_a_power_of_two_or_where_two_terms_are_alike(kind, v):
    bits = FORMATS[kind][0]
    one = math.isqrt(int(v * 9 * 4 ** (2 * bits)))  # divided by 3 * 2^(2 bits) sqrt(v): 1, or a little less
    below = [sign * (one - (one * t >> (bits + 4))) for t in range(50) for sign in (1, -1)]
    for more in range(6):
        share_decided(below, 3 << (2 * bits), fmpq(0), v, bits + more, kind)
        for constant in (fmpq(1, 7), fmpq(-1, 3), fmpq(9, 7), fmpq(-20, 7)):
            share_decided(range(-12, 13), 2, constant, v, bits + more, kind)


def test_a_number_that_may_be_0_stays_open():
    """The constant takes all of the lower end away, to the last bit."""
    v, q = fmpq(2), 3**60
    unit, low, _ = by_integers._inverse(1, v, 200)
    constant = fmpq(-low * q, 2**unit)
    assert list(_enclosed([q], [0], 1, constant, v, 200, "float64")) == []
    ((_, nearest),) = _enclosed([q], [0], 1, constant, v, 900, "float64")
    assert nearest == road.rounded(*fractions_of(Number(constant, fmpq(q), v)), "float64")
    unit, _, high = by_integers._inverse(1, v, 1200)
    assert list(_enclosed([1], [0], 1, fmpq(1 - 2 * high, 2 << unit), v, 1200, "float64")) == []  # -0 or 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("v", [fmpq(0), fmpq(2), fmpq(4)])
@pytest.mark.parametrize("constant", [fmpq(0), fmpq(1), fmpq(-1)])
def test_an_integer_of_1_is_a_number_like_others(sign, v, constant):
    """The factor is 2^53 and the centre 2^-53 away, so that the denominator is 1."""
    terms, zero = [(fmpq(2) ** 53, sign * -(fmpq(2) ** -53))], [np.zeros(1)]
    assert by_integers._integers(terms, zero) == ([sign], 1)
    got = roundings(constant, terms, v, zero, "float64")
    assert got == one_by_one(constant, terms, v, zero, "float64")


def test_numbers_are_moved_by_any_number_of_bits_and_rounded_down():
    for by in (-3, -1, 0, 1, 2):
        assert [by_integers._shifted(n, by) for n in (5, -5)] == [math.floor(5 * 2.0**by), math.floor(-5 * 2.0**by)]


def test_a_wrong_enclosure_is_noticed(monkeypatch):
    """A root that is off by 2^-300 of itself rounds numbers beside ties to the wrong side."""
    high, low = (np.array(column) for column in zip(*middles("float32", np.random.default_rng(3)), strict=True))
    terms, v = [(fmpq(1), fmpq(0)), (fmpq(1), fmpq(0))], fmpq(1) + fmpq(2) ** -900
    right = roundings(fmpq(0), terms, v, [high, low], "float32")
    genuine = by_integers._inverse

    def off(denominator, v, bits):
        unit, lower, upper = genuine(denominator, v, bits)
        return unit, lower + (lower >> 300), upper + (upper >> 300)

    monkeypatch.setattr(by_integers, "_inverse", off)
    assert roundings(fmpq(0), terms, v, [high, low], "float32") != right


def test_a_number_just_below_a_power_of_two_keeps_the_finer_spacing():
    """Below 1 float64 is twice as fine as above it, and a number that an enclosure leaves on both sides stays open."""
    for part in (Fraction(1, 4), Fraction(3, 8), Fraction(1, 2), Fraction(5, 8), Fraction(3, 4)):
        constant = rational(1 - part * Fraction(1, 2**53))
        for tiny in (fmpq(2) ** -190, -(fmpq(2) ** -190), fmpq(2) ** -400):
            terms = [(tiny, fmpq(0))]
            got = roundings(constant, terms, fmpq(2), [np.ones(1)], "float64")
            assert got == one_by_one(constant, terms, fmpq(2), [np.ones(1)], "float64")
