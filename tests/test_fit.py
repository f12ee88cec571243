"""The solver of sums and products alone, on rows made here: what is found, what is passed over, what counts as simple.

Constants, terms and limits are those by which the rows were made. Not verified here: what formulas are made of
(`test_formulas`), and how long it takes.
"""

import numpy as np
import pytest

from refnorm.oracle.measure.fit import Weighed, exactly, multiplied, nice, snapped, solved, summed

TIGHT = 1e-10


def rows(n, equations=30, seed=0):
    """Return rows of which none is a multiple of another, or a short sum of others."""
    return np.random.default_rng(seed).uniform(1, 2, (n, equations))


def tight(target):
    return np.full(len(target), TIGHT)


# Constants.


@pytest.mark.parametrize(
    ("constants", "expected"),
    [
        ((1.0,), 0),
        ((-1.0,), 0.5),
        ((2.0, 1 / 12, 7 / 11, -64 / 11, 64.0, 1 / 3 * (1 + 5e-13)), 1),  # simple fractions
        ((0.17, 65.0, 0.0011, -0.099, 6500.0, 0.0), 1),  # two digits
        ((0.173, 0.12345, -0.0012345, 101.0, 1.0001), 2),  # up to five
        ((1 / 13, 67 / 11, -65 / 11, 1 / 3 * (1 + 2e-12), 0.123456, 1.0000001), 3),
    ],
)
def test_constants_are_as_simple_as_they_are_short(constants, expected):
    assert [nice(c) for c in constants] == [expected] * len(constants)


@pytest.mark.parametrize(
    ("constant", "expected"),
    [
        (1.0004, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        (-0.9996, [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -0.9996]),
        (1.0023, [1.0, 1.0, 1.0, 1.002]),
        (0.33334, [1 / 3, 1 / 3, 0.3, 0.33, 0.333, 0.3333]),
        (-0.75002, [-3 / 4, -3 / 4, -0.8, -0.75, -0.75, -0.75]),
        (0.20001, [1 / 5, 0.2, 0.2, 0.2, 0.2]),
        (0.28573, [2 / 7, 0.3, 0.29, 0.286, 0.2857]),
        (-0.083334, [-1 / 12, -0.08, -0.083, -0.0833, -0.08333]),
        (0.0768, [0.08, 0.077, 0.0768, 0.0768]),
        (0.07692, [0.08, 0.077, 0.0769, 0.07692]),  # 1/13 is not simple
        (0.00034567, [0.0003, 0.00035, 0.000346, 0.0003457]),
        (731.26, [731.25, 700.0, 730.0, 731.0, 731.3]),
    ],
)
def test_simpler_constants_nearby_come_from_the_simplest_on(constant, expected):
    found = list(snapped(constant))
    if constant == 731.26:  # of halves, thirds and quarters, and of twelfths
        assert found[:2] == [731.25, 731.25]
        found = found[1:]
    assert found == expected


# Sums.


def test_what_is_within_its_noise_is_a_sum_of_nothing():
    target = np.array([1.0, -2.0, 3.0])
    assert summed(target, np.abs(target), [[target]]) == Weighed((), 0)
    assert summed(target, np.array([1.0, 2.0, 2.9]), [[target]]) == Weighed(((0, 1.0),), 0)
    assert summed(np.zeros(3), np.full(3, TIGHT), []) == Weighed((), 0)


def test_without_terms_there_is_no_sum():
    assert summed(np.ones(3), np.full(3, TIGHT), []) is None
    assert summed(np.ones(3), np.full(3, TIGHT), [[], []]) is None


def test_a_sum_has_at_most_so_many_terms_and_three_if_nothing_is_said():
    a = rows(4)
    three, four = a[0] + 2 * a[1] - a[2], a.sum(axis=0)
    families = [[row] for row in a]
    assert summed(three, tight(three), families).terms == ((0, 1.0), (1, 2.0), (2, -1.0))
    assert summed(three, tight(three), families, 2) is None
    assert summed(four, tight(four), families) is None
    assert summed(four, tight(four), families, 4).terms == tuple((i, 1.0) for i in range(4))


def test_of_a_family_one_term_is_taken():
    a, b = rows(2)
    assert summed(a + b, tight(a), [[a, b]]) is None
    assert summed(a + b, tight(a), [[a, b], [a, b]]).terms in (((0, 1.0), (3, 1.0)), ((1, 1.0), (2, 1.0)))


def test_fewer_terms_are_believed_before_more():
    a, c = rows(2)
    total = 0.123 * c
    assert summed(total, tight(a), [[a], [total - a], [c]]).terms == ((2, 0.123),)


def test_of_sums_as_long_the_simplest_is_believed_and_of_these_the_first():
    a, b, c = rows(3)
    assert summed(2 * a, tight(a), [[b, a, 2 * a]]).terms == ((2, 1.0),)
    assert summed(2 * a + b, tight(a), [[b], [a, 2 * a]]).terms == ((0, 1.0), (2, 1.0))
    assert summed(a, tight(a), [[b, a, a.copy()]]).terms == ((1, 1.0),)
    assert summed(-a, tight(a), [[2 * a], [a]]).terms == ((1, -1.0),)
    assert summed(a + c, tight(a), [[b, a, a.copy()], [b, c, c.copy()]]).terms == ((1, 1.0), (4, 1.0))
    assert summed(a, np.full(len(a), 1e-6), [[b, a + 3e-7 * b, a]]).terms == ((1, 1.0),)


def test_what_a_sum_costs_is_how_far_its_constants_are_from_none():
    a, b = rows(2)
    plain, third, odd = (summed(target, tight(a), [[a], [b]]) for target in (a, a / 3 - b, np.pi * a + 0.173 * b))
    assert plain.cost == 0
    assert 1.5 <= third.cost < 1.501
    assert 5 <= odd.cost < 5.001


def test_terms_that_are_not_finite_or_zero_throughout_are_passed_over():
    a, b = rows(2)
    broken = np.where(np.arange(30) == 7, np.nan, a)
    endless = np.where(np.arange(30) == 3, np.inf, a)
    assert summed(a - b, tight(a), [[broken, endless, 0 * a, a], [0 * b, b]]).terms == ((3, 1.0), (5, -1.0))
    assert summed(a, tight(a), [[broken, 0 * a], [endless]]) is None


def test_terms_that_cannot_be_told_apart_make_no_sum():
    a, b = rows(2)
    assert summed(a + 2 * b, tight(a), [[a], [3 * a]]) is None
    assert summed(a + 2 * b, tight(a), [[a], [a * (1 + 1e-9)], [b]]).terms == ((0, 1.0), (2, 2.0))


def test_terms_may_be_negative():
    a, b = rows(2)
    assert summed(a + b, tight(a), [[-a], [-b]]).terms == ((0, -1.0), (1, -1.0))


def test_terms_of_very_different_size_are_weighed_alike():
    a, b = rows(2)
    (first, c), (second, d) = summed(3 * a + 5 * b, tight(a), [[1e-90 * a], [1e90 * b]]).terms
    assert (first, second, c, d) == (0, 1, pytest.approx(3e90), pytest.approx(5e-90, abs=0))


def test_every_equation_is_met_within_its_own_noise():
    a = rows(1)[0]
    noise = np.where(np.arange(30) == 4, 0.1, TIGHT)
    off = np.where(np.arange(30) == 4, 1.0, 0.0)
    assert summed(a + 0.099 * off, noise, [[a]]).terms == ((0, 1.0),)
    assert summed(a + 0.101 * off, noise, [[a]]) is None
    assert summed(a - 0.099 * off, noise, [[a]]).terms == ((0, 1.0),)
    assert summed(a - 0.101 * off, noise, [[a]]) is None


@pytest.mark.parametrize("level", [1e-4, 1e-2])
def test_coarse_numbers_have_formulas_as_well(level):
    a, b = rows(2)
    rounding = level * np.where(np.arange(30) % 2, 0.6, -0.6)
    for sign in (1, -1):
        found = summed(sign * (a + 0.5 * b + rounding), np.full(30, level), [[b, a], [b]]).terms
        assert [i for i, _ in found] == [1, 2]
        assert [sign * c for _, c in found] == pytest.approx([1, 0.5], abs=level)


def test_sums_that_miss_do_not_crowd_out_the_one_that_meets():
    """A hundred rows of which each, times 1, comes as near to the target as it can, which is not near."""
    rng = np.random.default_rng(3)
    own = rng.uniform(1, 2, 30)
    target = 0.3 * own
    sides = rng.standard_normal((100, 30))
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)
    near = target / 2 + np.linalg.norm(target) / 2 * sides
    assert summed(target, tight(target), [[*near, own]]).terms == ((100, 0.3),)


def test_sixty_sums_are_looked_at():
    """One more misses each time, with the constant 1 and by too little for a screening to tell."""
    own = rows(1)[0]
    misses = [0.3 * own + 1e-7 * np.sin(np.arange(30.0) * k) for k in range(1, 60)]
    assert summed(0.3 * own, tight(own), [[*misses, own]]).terms == ((59, 0.3),)


def test_a_sum_is_met_that_leaves_its_noise_everywhere_and_no_more():
    own, left = np.array([1.0, 1.0, 1.0, 1.0] + [0.0] * 8), np.array([1.0, -1.0] * 6)
    assert own @ left == 0
    assert summed(own + left, np.ones(12), [[own]]).terms == ((0, 1.0),)


def test_of_many_sums_alike_those_with_plain_constants_are_looked_at_first():
    """So many multiples of one row that only some are solved again."""
    a = rows(1)[0]
    multiples = [a / k for k in range(2, 150)]
    assert summed(a, tight(a), [[*multiples, a]]).terms == ((148, 1.0),)
    assert summed(-a, tight(a), [[*multiples, a]]).terms == ((148, -1.0),)
    for seed in range(6):  # so it is for those that are larger, however the constant 1 comes out
        a = rows(1, seed=seed)[0]
        assert summed(a, tight(a), [[*(a * k for k in range(2, 150)), a]]).terms == ((148, 1.0),)


# Exact constants.


def test_a_column_of_zeros_weighs_nothing():
    assert solved(np.array([[2.0, 0.0], [4.0, 0.0]]), np.array([1.0, 2.0])) == pytest.approx([0.5, 0.0])


def test_constants_are_made_as_simple_as_the_noise_allows():
    a, b = rows(2)
    for noise, expected in ((1e-3, 1.0), (5e-6, 1.0), (1e-10, 1.0000012)):
        wanted = 1.0000012 * a + b / 3
        ((_, first), (_, second)) = next(exactly(np.array([0, 1]), np.stack([a, b]) / noise, wanted / noise)).terms
        assert first == pytest.approx(expected, abs=1e-9)
        assert second == pytest.approx(1 / 3, abs=1e-9 if noise < 1e-6 else 0)


def test_constants_that_are_not_simple_need_six_equations_each():
    for equations in (4, 5, 6, 7, 11, 12, 13):
        a, b = rows(2, equations)
        scaled = np.stack([a, b]) / TIGHT
        assert bool(list(exactly(np.array([0]), scaled, np.pi * a / TIGHT))) == (equations >= 6)
        both = (np.pi * a + np.sqrt(7) * b) / TIGHT
        assert bool(list(exactly(np.array([0, 1]), scaled, both))) == (equations >= 12)
        assert list(exactly(np.array([0, 1]), scaled, (0.173 * a - b) / TIGHT))  # simple enough for any number


def test_a_sum_that_misses_one_equation_is_none():
    a = rows(1)[0]
    off = np.where(np.arange(30) == 9, 1, 0)
    scaled = a[None] / TIGHT
    assert list(exactly(np.array([0]), scaled, scaled[0] + 0.9 * off))
    assert not list(exactly(np.array([0]), scaled, scaled[0] + 2 * off))
    assert not list(exactly(np.array([0]), scaled, scaled[0] - 2 * off))


# Products.


def signed(n, equations=60, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(1, 2, (n, equations)) * rng.choice([-1, 1], (n, equations))


def test_a_product_has_a_factor_of_each_family_and_its_constant_first():
    a, b, c = signed(3)
    families = [[a, abs(a)], [b, 1 / b, b**2], [c, 1 / c]]
    assert multiplied(a * b * c, tight(a), families).terms == ((0, 1.0), (0, 1.0), (0, 1.0))
    assert multiplied(-0.25 * abs(a) * b**2 / c, tight(a), families).terms == ((1, -0.25), (2, 1.0), (1, 1.0))
    assert multiplied(np.pi * a * b * c, tight(a), families).terms[0] == (0, pytest.approx(np.pi, rel=1e-12))


def test_signs_must_agree_in_every_equation():
    a, b = signed(2)
    assert multiplied(abs(a) * b, tight(a), [[a], [b]]) is None
    assert multiplied(np.where(np.arange(60) == 59, -1, 1) * a * b, tight(a), [[a], [b]]) is None
    assert multiplied(-a * b, tight(a), [[a], [b]]).terms == ((0, -1.0), (0, 1.0))


def test_the_usual_factors_are_believed_first_and_a_plain_constant_before_them():
    a, b = signed(2)
    assert multiplied(a * b, tight(a), [[a, a.copy()], [b, b.copy()]]).terms == ((0, 1.0), (0, 1.0))
    assert multiplied(2 * a * b, tight(a), [[a, 2 * a], [b]]).terms == ((1, 1.0), (0, 1.0))
    many = [a, *[np.ones_like(a)] * 3, 2 * a]  # so far down that the constant is the lesser evil
    assert multiplied(2 * a * b, tight(a), [many, [b]]).terms == ((0, 2.0), (0, 1.0))


def test_what_is_hardly_above_its_noise_is_passed_over():
    a, b = signed(2)
    noise = np.where(np.arange(60) == 5, 1.0, TIGHT)
    lost = np.where(np.arange(60) == 5, 15.0, a * b)  # 16 times its noise would count
    assert multiplied(lost, noise, [[a], [b]]).terms == ((0, 1.0), (0, 1.0))
    assert multiplied(np.where(np.arange(60) == 5, 17.0, a * b), noise, [[a], [b]]) is None
    assert multiplied(np.where(np.arange(60) == 5, -15.0, a * b), noise, [[a], [b]]).terms == ((0, 1.0), (0, 1.0))
    assert multiplied(a, np.abs(a), [[a]]) is None


def test_every_clear_equation_counts_the_most_uncertain_ones_too():
    a, b = signed(2)
    noise = np.where(np.arange(60) < 5, 1e-3, TIGHT)
    off = np.where(np.arange(60) == 2, 1.0, 0.0)
    assert multiplied(a * b + 9e-4 * off, noise, [[a], [b]]).terms == ((0, 1.0), (0, 1.0))
    assert multiplied(a * b + 2e-3 * off, noise, [[a], [b]]) is None
    assert multiplied(a * b - 2e-3 * off, noise, [[a], [b]]) is None


def test_an_equation_is_met_that_leaves_its_noise_and_no_more():
    a, b = np.ones(60), np.exp2(np.arange(60) % 5)
    noise = np.full(60, 2.0**-20)
    for times, expected in ((1.0, ((0, 1.0), (0, 1.0))), (1.0 + 2.0**-20, None)):
        found = multiplied(a * b + np.where(np.arange(60) == 7, times * noise, 0), noise, [[a], [b]])
        assert (found and found.terms) == expected


def test_factors_that_are_zero_or_not_finite_are_passed_over():
    a, b = signed(2)
    for spoilt in (0.0, np.nan, np.inf):
        broken = np.where(np.arange(60) == 7, spoilt, a)
        assert multiplied(a * b, tight(a), [[broken, a], [b]]).terms == ((1, 1.0), (0, 1.0))
        assert multiplied(a * b, tight(a), [[broken], [b]]) is None


def test_coarse_products_are_found_with_plain_constants():
    a, b = signed(2)
    rounded = a * b * np.where(np.arange(60) % 2, 1.0009, 0.9991)
    assert multiplied(rounded, 1e-3 * np.abs(rounded), [[a], [b]]).terms == ((0, 1.0), (0, 1.0))
    for size in (1e-6, 1e6):
        assert multiplied(size * rounded, 1e-3 * np.abs(size * rounded), [[size * a], [b]]).terms == (
            (0, 1.0),
            (0, 1.0),
        )
    assert multiplied(rounded / 3, 1e-3 * np.abs(rounded), [[a], [b]]).terms == ((0, 1 / 3), (0, 1.0))


def test_a_product_has_the_constant_that_a_sum_has():
    a = signed(1)[0]
    for constant in (731.26, 1.0004, 0.28573):
        for noise in (5e-2, 1e-3, 1e-4, 1e-5):
            coarse = noise * np.abs(constant * a)
            ((_, one),), ((_, other),) = (f(constant * a, coarse, [[a]]).terms for f in (multiplied, summed))
            assert one == pytest.approx(other, rel=1e-12)


def test_two_alike_rows_do_not_tell_a_product_from_a_sum():
    a, b = signed(2)
    assert multiplied(a + b, tight(a), [[a, abs(a)], [b, 1 / b]]) is None
