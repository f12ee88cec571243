"""Numbers p + q / sqrt(v), one property at a time: what a number is, where its rounding is decided, and how it is told.

Expected values come from integers and fractions, by hand or on the second road. Whole layers, of hard values of any
size, are in test_exact.py.
"""

import math
from fractions import Fraction

import fractions_road as road
import numpy as np
import pytest
from flint import fmpq

from refnorm.exact.number import Exact, Number, rational

KINDS = ("float64", "float32", "bfloat16", "float16")
SMALL = [Fraction(n, d) for n, d in ((0, 1), (1, 1), (-1, 1), (1, 3), (-7, 5))]
PARTS = [*SMALL, *(Fraction(n, d) for n, d in ((2**70 + 1, 2**60), (2**400, 3), (-5, 2**80), (1, 7**50)))]


def number(p, q=0, v=1):
    return Number(*(fmpq(r.numerator, r.denominator) for r in map(Fraction, (p, q, v))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("v", [Fraction(2), Fraction(4, 9), Fraction(1, 3), Fraction(7**60, 2**90)])
def test_numbers_of_every_sign_are_rounded_as_integer_roots_round_them(v, kind):
    for p in PARTS:
        for q in PARTS:
            assert number(p, q, v).rounded(kind) == road.rounded(p, q, v, kind), (p, q)


@pytest.mark.parametrize("place", [-20, -3, -2, -1, 0, 1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_ties_go_to_the_even_neighbour_and_thirds_to_the_nearer_one(kind, place):
    least = 2 ** (road.FORMATS[kind][0] - 1)
    for units in (*range(least, least + 4), 2 * least - 2, 2 * least - 1):
        halves, thirds = (
            {0: units, Fraction(1, 2): units + units % 2},
            {Fraction(1, 3): units, Fraction(2, 3): units + 1},
        )
        for part, nearest in (halves | thirds).items():
            for sign in (1, -1):
                given = number(sign * (units + part) * Fraction(2) ** place)
                assert given.rounded(kind) == sign * float(nearest * Fraction(2) ** place), (units, part)


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_largest_number_there_is_infinity_and_below_the_smallest_zero(kind):
    bits, exponent = road.FORMATS[kind]
    beyond, smallest = Fraction(2) ** (2 - exponent), Fraction(2) ** (exponent - bits + 1)
    tie = beyond - Fraction(2) ** (1 - exponent - bits)  # with the largest number, whose last place is twice that
    largest = 2 * tie - beyond
    for sign in (1, -1):
        assert number(sign * largest).rounded(kind) == sign * float(largest)
        assert number(sign * (tie - 1)).rounded(kind) == sign * float(largest)
        assert number(sign * tie).rounded(kind) == sign * math.inf
        assert number(sign * smallest).rounded(kind) == sign * float(smallest)
        assert number(sign * smallest * Fraction(3, 2)).rounded(kind) == sign * 2 * float(smallest)
        assert number(sign * smallest * Fraction(5, 2)).rounded(kind) == sign * 2 * float(smallest)
        assert number(sign * smallest / 2).rounded(kind) == 0
        assert number(sign * smallest * Fraction(9, 16)).rounded(kind) == sign * float(smallest)


@pytest.mark.parametrize("v", [Fraction(2), Fraction(4, 9), Fraction(1, 3), Fraction(7**60, 2**90)])
def test_two_floats_tell_a_number_to_twice_the_digits(v):
    for p in PARTS:
        for q in PARTS:
            hi, lo = number(p, q, v).double_double()
            assert hi == road.rounded(p, q, v, "float64")
            rest = p - Fraction(hi)
            off = Fraction(lo) * Fraction(1, 2**53) if lo else Fraction(1, 2**1074)
            assert (
                road.sign(rest - Fraction(lo) - abs(off), q, v) <= 0 <= road.sign(rest - Fraction(lo) + abs(off), q, v)
            )


def test_two_floats_tell_numbers_that_cancel():
    """p is 1 / sqrt(2) cut off after so many bits, so that most of what is computed with 256 bits is gone."""
    for distance in (20, 100, 190, 197, 198, 199, 200, 201, 203, 210, 256, 400, 900):
        p = -Fraction(math.isqrt(2 ** (2 * distance - 1)), 2**distance)
        hi, lo = number(p, 1, 2).double_double()
        assert hi == road.rounded(p, Fraction(1), Fraction(2), "float64")
        assert lo == road.rounded(p - Fraction(hi), Fraction(1), Fraction(2), "float64")
        assert number(-p, -1, 2).double_double() == (-hi, -lo)


def test_two_floats_tell_what_is_left_of_parts_that_no_float_holds():
    """p alone overflows, and q / sqrt(v) takes all but 1 of it away; and the other way round."""
    for q in (-2 * (2**1030 - 1), 2 * (2**1030 + 1)):
        p = 1 - q // 2
        assert number(p, q, 4).double_double() == (1.0, 0.0)
        assert number(p, q, 4).rounded() == 1.0


def test_a_rational_number_is_told_from_all_of_its_digits():
    for hair in (Fraction(1, 2**400), -Fraction(1, 2**400)):
        hi, lo = number(1 + Fraction(1, 2**53) + hair).double_double()
        assert (hi, lo) == ((1 + 2.0**-52, -(2.0**-53)) if hair > 0 else (1.0, 2.0**-53))


def test_floats_are_told_with_nothing_left():
    for value in (0.0, 1.5, -3.0, 2.0**-1074, 1.7976931348623157e308):
        assert number(value).double_double() == (value, 0.0)
        assert number(0, 3 * Fraction(value), 9).double_double() == (value, 0.0)


def test_what_overflows_or_is_undefined_has_no_second_float():
    for undefined, first in (
        (number(2**1024), math.inf),
        (number(-(2**1024)), -math.inf),
        (number(0, 2**1030, 2), math.inf),
        (number(1, 1, 0), math.inf),
        (number(1, -1, 0), -math.inf),
    ):
        hi, lo = undefined.double_double()
        assert (hi, math.isnan(lo)) == (first, True)
        gathered = Exact.of((1,), [undefined])
        assert (gathered.hi[0], gathered.lo[0]) == (first, 0.0)
    for undefined in (number(1, 0, 0), number(1, 1, -1), number(1, 0, -4)):
        assert np.isnan(undefined.double_double()).all()


def test_a_number_less_a_float_is_exact():
    assert number(1, 2, 3).minus(0.75) == number(Fraction(1, 4), 2, 3)


@pytest.mark.parametrize("digits", [5, 30, 200, 600])
def test_decimal_digits_are_those_of_the_integer_root(digits):
    """Of sqrt(2) = 2 / sqrt(2); the last digit is rounded."""
    written = number(0, 2, 2).decimal(digits).replace(".", "")
    assert len(written) == digits
    assert written[:-1] == str(math.isqrt(2 * 100 ** (digits - 1)))[:-1]


def test_thirty_decimal_digits_are_told_unless_others_are_asked_for():
    assert number(0, 2, 2).decimal() == "1.41421356237309504880168872421"


def test_gathered_numbers_have_a_bound_of_what_two_floats_lose():
    third, five = number(Fraction(1, 3)), number(5)
    gathered = Exact.of((2, 1), [third, five])
    assert gathered.shape == (2, 1)
    assert gathered.hi.tolist() == [1 / 3, 5.0]
    assert gathered.lo.tolist() == [float(Fraction(1, 3) - Fraction(1 / 3)), 0.0]
    assert gathered.bound.tolist() == [gathered.lo[0] * 2.0**-52, 2.0**-1074]
    assert gathered.number(1) == five
    assert gathered.rounded("float16").tolist() == [[0.333251953125], [5.0]]


def held(hi, lo, bound, decides):
    """One number of which hi + lo is known, and the exact one that is asked where that does not decide."""
    return Exact((1,), np.array([hi]), np.array([lo]), np.array([bound]), lambda i: decides)


def asked(i):
    raise AssertionError("it was decided")


def test_a_bound_too_small_to_be_added_to_the_second_float_still_counts():
    """1 + 2^-53 is a tie; what lies a hair above it is rounded up, though both floats end at the tie."""
    above = number(Fraction(1) + Fraction(1, 2**53) + Fraction(1, 2**300))
    assert held(1.0, 2.0**-53, 2.0**-200, above).rounded()[0] == 1 + 2.0**-52
    below = number(-Fraction(1) - Fraction(1, 2**52) - Fraction(1, 2**53) + Fraction(1, 2**300))
    assert held(-1.0 - 2.0**-52, -(2.0**-53), 2.0**-200, below).rounded()[0] == -1 - 2.0**-52


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("sign", [1, -1])
def test_beside_a_tie_of_a_narrow_format_the_exact_number_decides(kind, sign):
    place = Fraction(2) ** (1 - road.FORMATS[kind][0])
    for units, hair in ((1, Fraction(1, 2**150)), (2, -Fraction(1, 2**150))):  # to odd: the tie itself goes to even
        tie, nearest = 1 + (units - Fraction(1, 2)) * place, 1 + place
        near = held(sign * float(tie), sign * float(hair), 2.0**-250, number(sign * (tie + hair)))
        assert near.rounded(kind)[0] == sign * float(nearest)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bound", [2.0**-105, 2.0**-107, 2.0**-200])
@pytest.mark.parametrize("hair", [Fraction(1, 2**210), -Fraction(1, 2**210)])
def test_beside_a_tie_the_exact_number_decides_from_wherever_the_first_float_stands(sign, hair, bound):
    tie = 1 + Fraction(1, 2**53)
    for first in (1.0, 1 + 2.0**-52):
        second = float(tie - Fraction(first))
        near = held(sign * first, sign * second, bound, number(sign * (tie + hair)))
        assert near.rounded()[0] == sign * (1 + 2.0**-52 if hair > 0 else 1)


@pytest.mark.parametrize("bound", [2.0**-1074, 2.0**-1070, 2.0**-1069])
def test_of_the_smallest_numbers_the_exact_one_decides_within_the_bound(bound):
    place = Fraction(1, 2**1074)
    for units in (-1, 1):
        near = held(100 * 2.0**-1074, 0.0, bound, number((100 + units) * place))
        assert near.rounded()[0] == (100 + units) * 2.0**-1074


def test_what_is_far_from_a_tie_is_decided_without_the_exact_number():
    for kind in KINDS:
        far = Exact((1,), np.array([1.3]), np.array([2.0**-60]), np.array([2.0**-100]), asked)
        assert far.rounded(kind)[0] == road.rounded(Fraction(1.3), Fraction(0), Fraction(1), kind)


def test_a_bound_of_zero_says_that_the_number_is_zero():
    masked = Exact((1,), np.array([-7.0]), np.array([1.0]), np.array([0.0]), asked)
    for kind in KINDS:
        assert masked.rounded(kind).tolist() == [0.0]
        assert not np.signbit(masked.rounded(kind))[0]


def test_an_error_is_taken_from_both_floats():
    near = Exact((2,), np.array([1.0, 4.0]), np.array([2.0**-50, -(2.0**-50)]), np.zeros(2), asked)
    assert near.error_of([3.5, 3.0]).tolist() == [2.5 - 2.0**-50, -1.0 + 2.0**-50]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_zero_takes_the_sign_of_a_number_that_no_bound_tells(sign):
    near = held(0.0, 0.0, 2.0**-1074, number(Fraction(sign, 2**2000)))
    for kind in KINDS:
        assert near.rounded(kind)[0] == 0
        assert np.signbit(near.rounded(kind)[0]) == (sign < 0)


def test_values_of_another_shape_have_no_error():
    near = Exact((2,), np.ones(2), np.zeros(2), np.zeros(2), asked)
    for shape in ((1,), (3,), (2, 1), (1, 2), ()):
        with pytest.raises(ValueError, match=r"values have shape .*, the exact result \(2,\)"):
            near.error_of(np.ones(shape))


def test_fractions_are_taken_exactly():
    assert rational(0.1) == fmpq(3602879701896397, 36028797018963968)
    assert rational(Fraction(-2, 6)) == fmpq(-1, 3)
    assert rational(fmpq(2, 3)) == fmpq(2, 3)
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="exact arithmetic needs finite values"):
            rational(bad)
