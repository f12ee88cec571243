"""Is `refnorm.exact` the definition, and is every result rounded correctly?

Verified here:

- every output (y, mean, var, running statistics, dx, dgamma, dbeta, in training and frozen) against `fractions_road`,
  an independent road in plain fractions: the rationals themselves and, bit for bit, their roundings to four formats;
- the closed-form gradients equal the mechanical ones, as rationals;
- the double-double filter never decides wrongly, on inputs built to lie on, or next to, the ties of every format, and
  on subnormal, overflowing and zero results;
- rounding to a format against NumPy's and ml_dtypes' casts; undefined results; errors; the imports; the speed.

Not verified here:

- that the definition is the one people mean: both roads follow Ioffe & Szegedy 2015 and one reading of ``where``;
- gradients where var + eps = 0: there is no derivative, and the mechanical road has no answer;
- the proof of the filter's error bound; the inputs only try to break it;
- channels of more than a thousand values against the road of fractions, which is too slow for them.
"""

import math
import sys
from fractions import Fraction
from pathlib import Path

import fractions_road as road
import house
import ml_dtypes
import numpy as np
import pytest
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from refnorm import exact
from refnorm.exact.number import Exact, Number, rational, to_format

SAMPLED = True  # see conftest.py

KINDS = ["float64", "float32", "bfloat16", "float16"]
DTYPES = {"float64": np.float64, "float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
LARGEST = {"float64": sys.float_info.max, "float32": 3.4028234663852886e38, "bfloat16": 3.3895313892515355e38}
LARGEST["float16"] = 65504.0


def examples(count):
    return settings(max_examples=count, derandomize=True, deadline=None, database=None)


# What agreement means: the same bits, the sign of a zero included; every NaN is the same NaN.


def differences(got, expected, kind):
    """Return a sentence per element in which two lists of float64 values differ."""
    got, expected = np.asarray(got, np.float64).reshape(-1), np.asarray(expected, np.float64).reshape(-1)
    assert got.shape == expected.shape
    same = (got.view(np.int64) == expected.view(np.int64)) | (np.isnan(got) & np.isnan(expected))
    return [f"{kind}, element {i}: {got[i]!r}, expected {expected[i]!r}" for i in np.flatnonzero(~same)]


def disagreements(result, triples):
    """Return a sentence per element in which an `Exact` differs from (p, q, v) of the road, or in its roundings."""
    found = []
    for i, (p, q, v) in enumerate(triples):
        number = fractions_of(result.number(i))
        if number[:2] != (p, q) or (q and number[2] != v):
            found.append(f"element {i} is {number}, expected {(p, q, v)}")
    for kind in KINDS:
        found += differences(result.rounded(kind), [road.rounded(*triple, kind) for triple in triples], kind)
    return found


def filter_errors(result):
    """Return a sentence per element that is not rounded as its exact number is."""
    numbers = [result.number(i) for i in range(result.hi.size)]
    return [
        sentence
        for kind in KINDS
        for sentence in differences(result.rounded(kind), [n.rounded(kind) for n in numbers], kind)
    ]


def fractions_of(number):
    return tuple(Fraction(int(r.p), int(r.q)) for r in number)


def fractions(values):
    return [Fraction(float(value)) for value in np.asarray(values).reshape(-1)]


# Inputs: small shapes, hard values.

LAYOUTS = [  # shape, axis
    ((3, 2), 1),
    ((1, 3), 1),  # one value per channel
    ((2, 3), -1),
    ((2, 5), 0),
    ((4,), ()),  # nothing kept: one channel
    ((2, 2), (0, 1)),  # everything kept
    ((2, 3, 1), 1),
    ((3, 2, 2), (2, 1)),  # kept axes count in ascending order, as given or not
    ((2, 2, 1, 3), 1),
    ((2, 1, 3, 2), -1),
    ((3, 1, 2, 2), (1, 2, 3)),  # per activation
    ((2, 2, 1, 2, 1), (-4,)),
    ((1, 2, 1, 2, 2), (1, -1)),
]


def ordinary(rng, shape, largest):
    return rng.normal(size=shape) * 3


def far_from_zero(rng, shape, largest):
    return 1000 + rng.normal(size=shape)


def integers(rng, shape, largest):
    return rng.integers(-2, 3, size=shape) * 1.0  # many squares, constant channels and zeros


def subnormal(rng, shape, largest):
    smallest = {65504.0: 2.0**-24, sys.float_info.max: 2.0**-1074}.get(largest, 2.0**-133)
    return rng.integers(-9, 10, size=shape) * smallest


def huge(rng, shape, largest):
    return rng.choice([-1.0, -0.75, 0.75, 1.0], size=shape) * largest


def of_all_magnitudes(rng, shape, largest):
    top = int(math.log2(largest)) - 1
    return np.ldexp(rng.normal(size=shape) / 4, rng.integers(-top, top, size=shape))


VALUES = [ordinary, far_from_zero, integers, subnormal, huge, of_all_magnitudes]


class Case:
    """One input of every operation; arrays cannot be written to, and where masked they hold NaN."""

    def __init__(self, rng, shape, axis, draw, dtype):
        def array(of_shape, drawn=draw):
            values = drawn(rng, of_shape, LARGEST[dtype]).astype(DTYPES[dtype])
            values.setflags(write=False)
            return values

        self.axis = axis
        self.channels = road.channels(shape, axis)
        kept = sorted(a % len(shape) for a in ([axis] if isinstance(axis, int) else axis))
        self.kept = tuple(shape[a] for a in kept)
        self.x, self.dy = array(shape), array(shape, ordinary if rng.random() < 0.5 else draw)
        self.gamma = None if rng.random() < 0.3 else array(self.kept, rng.choice([ordinary, integers, draw]))
        self.beta = None if rng.random() < 0.3 else array(self.kept, rng.choice([ordinary, integers, draw]))
        self.mean, self.var = array(self.kept), np.abs(array(self.kept))
        self.eps = float(rng.choice([0.0, 2.0**-1074, 1e-300, 1e-5, 0.1, 3.0, 1e30]))
        self.where = None
        if rng.random() < 0.4:
            self.where = rng.random(shape) < 0.7
            for indices in self.channels:
                self.where[indices[0]] = True
            self.channels = road.channels(shape, axis, self.where)
            self.x, self.dy = (np.where(self.where, a, a.dtype.type(np.nan)) for a in (self.x, self.dy))

    def parameters(self, array, default):
        return fractions(np.full(self.kept, default) if array is None else array)

    def options(self):
        return {"eps": self.eps, "axis": self.axis}

    def gather(self, per_channel):
        """Put lists of triples, one per channel, where they stand in the array; masked elements are 0."""
        triples = {index: (Fraction(0), Fraction(0), Fraction(1)) for index in np.ndindex(self.x.shape)}
        for indices, found in zip(self.channels, per_channel, strict=True):
            triples.update(zip(indices, found, strict=True))
        return list(triples.values())

    def values(self, array):
        return [[Fraction(float(array[index])) for index in indices] for indices in self.channels]

    def forward(self, statistics=None, **road_options):
        """Run the road's forward per channel."""
        gamma, beta = self.parameters(self.gamma, 1), self.parameters(self.beta, 0)
        return [
            road.forward(x, g, b, Fraction(self.eps), given, **road_options)
            for x, g, b, given in zip(self.values(self.x), gamma, beta, statistics or [None] * len(gamma), strict=True)
        ]

    def gradients(self, statistics=None):
        """Run the road's gradients per channel."""
        gamma = self.parameters(self.gamma, 1)
        return [
            road.gradients(dy, x, g, Fraction(self.eps), given)
            for dy, x, g, given in zip(
                self.values(self.dy), self.values(self.x), gamma, statistics or [None] * len(gamma), strict=True
            )
        ]

    def has_derivative(self):
        return self.eps > 0 or all(road.variance_of(x)[1] for x in self.values(self.x))


def cases(draw, dtype, layouts=LAYOUTS):
    rng = np.random.default_rng([KINDS.index(dtype), VALUES.index(draw), 2015])
    return [Case(rng, shape, axis, draw, dtype) for shape, axis in layouts]


every_input = pytest.mark.parametrize("draw", VALUES, ids=lambda draw: draw.__name__)
every_dtype = pytest.mark.parametrize("dtype", KINDS)


# The definition, against the second road.


@every_input
@every_dtype
def test_training_agrees_with_fractions_bit_for_bit(draw, dtype):
    for case in cases(draw, dtype):
        forward = exact.training(case.x, case.gamma, case.beta, where=case.where, **case.options())
        expected = case.forward()
        assert not disagreements(forward.y, case.gather([y for y, _, _ in expected]))
        assert not disagreements(forward.mean, [mean for _, mean, _ in expected])
        assert not disagreements(forward.var, [var for _, _, var in expected])
        assert forward.y.shape == case.x.shape
        assert forward.mean.shape == forward.var.shape == case.kept
        assert forward.count == [len(indices) for indices in case.channels]


@every_input
@every_dtype
def test_running_statistics_agree_with_fractions_bit_for_bit(draw, dtype):
    momentum = 0.1
    for case in cases(draw, dtype):
        batch = exact.training(case.x, where=case.where, **case.options())
        correction = 1 if len(set(batch.count)) == 1 < batch.count[0] else 0  # masks: one weight serves all channels
        keep, take = 1 - rational(momentum), rational(momentum)
        take_var = take * batch.count[0] / (batch.count[0] - 1) if correction else take
        mean, var = case.mean, case.var
        expected = list(zip(fractions(mean), fractions(var), strict=True))
        for _ in range(2):  # two steps: from an array, and from the exact statistics of the first
            mean = exact.blend(mean, keep, batch.mean, take)
            var = exact.blend(var, keep, batch.var, take_var)
            for c, x in enumerate(case.values(case.x)):
                news = road.variance_of(x, correction)
                old_and_new = zip(expected[c], news, strict=True)
                expected[c] = [(1 - Fraction(momentum)) * old + Fraction(momentum) * new for old, new in old_and_new]
            for result, values in zip((mean, var), zip(*expected, strict=True), strict=True):
                assert not disagreements(result, [(value, Fraction(0), Fraction(1)) for value in values])


@every_input
@every_dtype
def test_inference_agrees_with_fractions_bit_for_bit(draw, dtype):
    for case in cases(draw, dtype):
        if case.where is None:
            statistics = list(zip(fractions(case.mean), fractions(case.var), strict=True))
            y = exact.inference(case.x, case.mean, case.var, case.gamma, case.beta, **case.options())
            assert not disagreements(y, case.gather([y for y, _, _ in case.forward(statistics)]))


@every_input
@every_dtype
def test_training_gradients_agree_with_dual_numbers_bit_for_bit(draw, dtype):
    for case in cases(draw, dtype):
        if case.has_derivative():
            arrays = case.dy, case.x, case.gamma
            dx, dgamma, dbeta = exact.training_gradients(*arrays, where=case.where, **case.options())
            expected = case.gradients()
            assert not disagreements(dx, case.gather([dx for dx, _, _ in expected]))
            assert not disagreements(dgamma, [dgamma for _, dgamma, _ in expected])
            assert not disagreements(dbeta, [(p, q, Fraction(1)) for _, _, (p, q, _) in expected])  # q = 0
            assert dx.shape == case.x.shape
            assert dgamma.shape == dbeta.shape == case.kept


@every_input
@every_dtype
def test_frozen_gradients_agree_with_dual_numbers_bit_for_bit(draw, dtype):
    for case in cases(draw, dtype):
        if case.where is None:
            arrays = case.dy, case.x, case.mean, case.var, case.gamma
            dx, dgamma, dbeta = exact.inference_gradients(*arrays, **case.options())
            expected = case.gradients(list(zip(fractions(case.mean), fractions(case.var), strict=True)))
            assert not disagreements(dx, case.gather([dx for dx, _, _ in expected]))
            assert not disagreements(dgamma, [dgamma for _, dgamma, _ in expected])
            assert not disagreements(dbeta, [(p, q, Fraction(1)) for _, _, (p, q, _) in expected])  # q = 0


@every_input
@every_dtype
def test_closed_form_gradients_equal_mechanical_ones_as_rationals(draw, dtype):
    proved = 0
    for case in cases(draw, dtype):
        if case.has_derivative():
            arrays = case.dy, case.x, case.gamma
            closed = exact.training_gradients(*arrays, where=case.where, **case.options())
            mechanical = exact.training_gradients_mechanical(*arrays, where=case.where, **case.options())
            for one, other in zip(closed, mechanical, strict=True):
                for i in range(one.hi.size):
                    a, b = one.number(i), other.number(i)
                    assert a.p == b.p
                    assert a.q == b.q
                    assert a.v == b.v or a.q == 0
                    proved += 1
                assert not filter_errors(other)
    assert proved > 100


def test_a_thousand_values_far_from_zero_agree_with_fractions():
    x = np.random.default_rng(11).normal(1e4, 1.0, size=1000).astype(np.float32)
    forward = exact.training(x, np.array(3.0), np.array(-0.1), eps=1e-5, axis=())
    y, mean, var = road.forward(fractions(x), Fraction(3), Fraction(-0.1), Fraction(1e-5))
    assert not disagreements(forward.y, y)
    assert not disagreements(forward.mean, [mean])
    assert not disagreements(forward.var, [var])


def test_memory_layout_does_not_matter():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4, 3, 5))
    expected = exact.training(x, eps=0.1).y.rounded()
    strided = np.zeros((8, 3, 10))[::2, :, ::2]
    strided[...] = x
    for view in (np.asfortranarray(x), strided, x[::-1].copy()[::-1], x.astype(">f8")):
        assert not differences(exact.training(view, eps=0.1).y.rounded(), expected, "float64")


# The checker can fail.


def test_one_wrong_bit_is_noticed():
    (case, *_) = cases(ordinary, "float32")
    y = exact.training(case.x, case.gamma, case.beta, where=case.where, **case.options()).y
    triples = case.gather([y for y, _, _ in case.forward()])
    for kind in KINDS:
        values = y.rounded(kind)
        expected = [road.rounded(*triple, kind) for triple in triples]
        bits, smallest = road.FORMATS[kind]
        for i in range(values.size):
            wrong = values.copy().reshape(-1)
            wrong[i] += math.ldexp(1.0, max(math.frexp(wrong[i])[1] - bits, smallest - bits + 1))
            assert len(differences(wrong, expected, kind)) == 1
    assert differences([-0.0], [0.0], "float64")
    assert differences([math.nan], [0.0], "float64")
    assert not differences([math.nan], [-math.nan], "float64")


def test_a_number_that_is_off_by_a_rational_is_noticed():
    (case, *_) = cases(ordinary, "float64")
    y = exact.training(case.x, where=case.where, **case.options()).y
    triples = case.gather([road.forward(x, 1, 0, Fraction(case.eps))[0] for x in case.values(case.x)])
    assert not disagreements(y, triples)
    p, q, v = triples[0]
    assert disagreements(y, [(p + Fraction(1, 10**400), q, v), *triples[1:]])
    assert disagreements(y, [(p, q, v + Fraction(1, 10**400)), *triples[1:]])


def test_an_unbiased_variance_in_the_second_road_is_noticed():
    for case in cases(ordinary, "float64", [((3, 2), 1), ((2, 3, 2), 1)]):
        forward = exact.training(case.x, case.gamma, case.beta, where=case.where, **case.options())
        wrong = case.forward(correction=1) if min(map(len, case.channels)) > 1 else case.forward()
        assert disagreements(forward.y, case.gather([y for y, _, _ in wrong]))
        assert disagreements(forward.var, [var for _, _, var in wrong])


def test_statistics_held_constant_in_the_second_road_are_noticed():
    (case, *_) = cases(ordinary, "float64")
    dx = exact.training_gradients(case.dy, case.x, case.gamma, where=case.where, **case.options()).dx
    constant = case.gradients([road.variance_of(x) for x in case.values(case.x)])
    assert disagreements(dx, case.gather([dx for dx, _, _ in constant]))


# The filter.


def middles(kind, rng, many=40):
    """Return pairs of floats whose sum lies in the middle between two neighbours of a format, one pair per middle."""
    bits, smallest = road.FORMATS[kind]
    top = 1 - smallest
    exponents = [*rng.integers(smallest, top, size=many).tolist(), 0, 0, smallest, top, top]
    units = [*rng.integers(2 ** (bits - 1), 2**bits, size=many).tolist(), 2**bits - 1, 2 ** (bits - 1)]
    units += [2 ** (bits - 1), 2**bits - 1, 2**bits - 2]  # the last but one: where overflow begins
    pairs = [(math.ldexp(u, e - bits + 1), math.ldexp(1.0, e - bits)) for u, e in zip(units, exponents, strict=True)]
    if kind != "float64":  # there a half of the smallest subnormal is no float: see the test of that
        half = math.ldexp(1.0, smallest - bits)
        pairs += [(2 * half * u, half) for u in [0, 1, 2, 2 ** (bits - 1) - 1]]
    return [(sign * a, sign * b) for a, b in pairs for sign in (1, -1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "eps",
    [0.0, 2.0**-60, *(pytest.param(eps, marks=pytest.mark.slow) for eps in (2.0**-1074, 2.0**-200, 2.0**-90))],
    ids=lambda eps: f"eps={eps:.0e}",
)
def test_inference_at_and_beside_ties_is_rounded_correctly(kind, eps):
    """y = beta + (x - mean) / sqrt(1 + eps) is a tie for eps = mean = 0, and next to one for tiny eps or mean."""
    rng = np.random.default_rng(len(kind))
    pairs = middles(kind, rng)
    for shift in (0.0, 2.0**-30, 2.0**-52, 2.0**-100, 5e-324):
        beta, x = (np.array(column) for column in zip(*pairs, strict=True))
        mean = rng.choice([-1, 1], size=beta.size) * (shift * np.abs(x) if shift > 1e-300 else shift)
        y = exact.inference(x[None], mean, np.ones(beta.size), None, beta, eps=eps)
        assert not filter_errors(y)
        for i in range(0, beta.size, 3):
            expected = road.rounded(*fractions_of(y.number(i)), kind)
            assert not differences([y.rounded(kind)[0, i]], [expected], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_ties_rounds_to_even(kind):
    """With x = -1, 1 and eps = 0, y = beta - gamma, beta + gamma: a tie, of which the even neighbour is known."""
    beta, gamma = (np.array(column) for column in zip(*middles(kind, np.random.default_rng(1)), strict=True))
    x = np.broadcast_to([[-1.0], [1.0]], (2, beta.size))
    y = exact.training(x, gamma, beta, eps=0.0).y
    assert not filter_errors(y)
    last = np.ldexp(1.0, np.maximum(np.frexp(beta)[1] - 1, road.FORMATS[kind][1]) - road.FORMATS[kind][0] + 1)
    odd = np.fmod(np.abs(beta) / last, 2) == 1
    with np.errstate(over="ignore"):
        even = np.where(odd, beta + np.copysign(last, gamma), beta)
    even = np.where(np.abs(even) > LARGEST[kind], np.copysign(np.inf, even), even)
    assert not differences(y.rounded(kind)[1], even, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [0.0, 2.0**-200, 2.0**-60], ids=lambda eps: f"eps={eps:.0e}")
def test_gradients_at_and_beside_ties_are_rounded_correctly(kind, eps):
    """With x = -1, -1, 1, 1 every dx is a small integer combination of dy, divided by 4."""
    rng = np.random.default_rng(2)
    high, low = (np.array(column) for column in zip(*middles(kind, rng, 20), strict=True))
    x = np.broadcast_to([[-1.0], [-1.0], [1.0], [1.0]], (4, high.size))
    with np.errstate(over="ignore"):
        pairs = [(2 * high, 2 * low), (2 * low, 2 * high), (high, -low), (2 * (high + low), 0 * low)]
    for one, two in pairs:
        usable = np.isfinite(one) & np.isfinite(two)
        noise = rng.choice([0.0, 2.0**-60, 2.0**-1000], size=high.size) * low
        dy = np.stack([one, two, noise, -noise])[:, usable]
        dx, dgamma, dbeta = exact.training_gradients(dy, x[:, usable], eps=eps)
        assert not filter_errors(dx)
        assert not filter_errors(dgamma)
        assert not filter_errors(dbeta)


def test_half_of_the_smallest_subnormal_rounds_to_zero_and_a_hair_more_to_the_subnormal():
    x = np.array([[1.0, 3.0, -1.0, 1.0, 1.0]]) * 2.0**-1074
    mean = np.array([0.0, 0.0, 0.0, -(2.0**-1074), 0.0])
    y = exact.inference(x, mean, np.array([4.0, 4.0, 4.0, 4.0, 3.99]), eps=0.0)
    assert not differences(y.rounded(), np.array([0.0, 2.0, -0.0, 1.0, 1.0]) * 2.0**-1074, "float64")
    assert not filter_errors(y)


def test_zero_is_positive_and_underflow_keeps_its_sign():
    x = np.array([[3.0, 3.0, 3.0]])
    y = exact.inference(x, np.array([3.0, np.nextafter(3, 4), np.nextafter(3, 2)]), np.array([1e300] * 3), eps=0.0)
    assert not filter_errors(y)
    for kind in ("float32", "bfloat16", "float16"):
        assert not differences(y.rounded(kind), [0.0, -0.0, 0.0], kind)
    where = np.array([[True], [False]])
    masked = exact.training(np.array([[1.0], [2.0]]), eps=1.0, where=where).y
    for kind in KINDS:
        assert not differences(masked.rounded(kind), [0.0, 0.0], kind)


def beta_beside_tie(computed, true):
    """Return the float that moves the two sides of a gap to the two sides of a tie of float64."""
    last = Fraction(2) ** (math.frexp(true)[1] - 53)
    tie = (math.floor(true / last) + Fraction(1, 2)) * last
    return float(tie - (computed + true) / 2)


@pytest.mark.parametrize("eps", [1.0, 2.0, 1e-3, 1e-9, 1e-12])
def test_the_filter_knows_what_a_tiny_slope_loses(eps):
    """A slope near 2^-1000 is no double-double: its second half underflows, and x near 2^990 makes that visible."""
    gamma, x = 2.0**-1000, 2.0**990
    slope = Number(fmpq(0), rational(gamma), rational(1.0) + rational(eps))
    hi = slope.rounded()
    true = fractions_of(slope.enclosure(2000))[0]
    stored = Fraction(hi) + Fraction(slope.minus(hi).rounded())
    assert 2**-1078 < abs(true - stored) < 2**-1074
    beta = beta_beside_tie(stored * Fraction(x), true * Fraction(x))
    one = np.ones(1)
    assert not filter_errors(exact.inference(x * one[None], 0 * one, one, gamma * one, beta * one, eps=eps))


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [1.0, 5.0, 7.0], [3.0, 3.0, 8.0]])
def test_the_filter_knows_what_a_tiny_mean_loses(values):
    """A mean near 2^-990 is no double-double, and a slope near 2^990 makes that visible."""
    x = (np.array(values) + 2.0**-52) * 2.0**-990
    y = exact.training(x[:, None], eps=0.0).y
    mean = Fraction(sum(fractions(x)), 3)
    stored = Fraction(float(mean)) + Fraction(float(mean - Fraction(float(mean))))
    for i in range(3):
        true = fractions_of(y.number(i).enclosure(2000))[0]
        computed = true / (Fraction(x[i]) - mean) * (Fraction(x[i]) - stored)
        beta = np.array([beta_beside_tie(computed, true)])
        assert not filter_errors(exact.training(x[:, None], None, beta, eps=0.0).y)


def test_a_wrong_filter_is_noticed():
    """The same near-ties, with a second half that is off by 2^-56 of the number: the inputs do bite."""
    beta, x = (np.array(column) for column in zip(*middles("float64", np.random.default_rng(3)), strict=True))
    y = exact.inference(x[None], np.zeros(beta.size), np.ones(beta.size), None, beta, eps=2.0**-90)
    assert not filter_errors(y)
    assert filter_errors(y._replace(lo=y.lo + y.hi * 2.0**-56))


def test_the_filter_decides_ordinary_and_masked_elements_without_exact_numbers():
    def number(i):
        raise AssertionError(f"element {i} was not decided")

    rng = np.random.default_rng(4)
    x, dy = rng.normal(size=(2, 500, 20)).astype(np.float32)
    where = rng.random(x.shape) < 0.9
    y = exact.training(x, rng.normal(size=20), rng.normal(size=20), eps=1e-5, where=where).y
    dx = exact.training_gradients(dy, x, eps=1e-5).dx
    for result in (y, dx):
        for kind in KINDS:
            expected = [result.number(i).rounded(kind) for i in range(0, result.hi.size, 50)]
            assert not differences(result._replace(number=number).rounded(kind).reshape(-1)[::50], expected, kind)


def test_hi_and_lo_lie_within_the_bound_of_the_exact_number():
    for draw in VALUES:
        for case in cases(draw, "float64", LAYOUTS[:4]):
            if case.has_derivative():
                y = exact.training(case.x, case.gamma, case.beta, where=case.where, **case.options()).y
                dx, dgamma, _ = exact.training_gradients(
                    case.dy, case.x, case.gamma, where=case.where, **case.options()
                )
                for result in (y, dx, dgamma):
                    for i in np.flatnonzero(np.isfinite(result.hi + result.lo + result.bound)).tolist():
                        p, q, v = fractions_of(result.number(i))
                        p -= Fraction(float(result.hi[i])) + Fraction(float(result.lo[i]))
                        bound = Fraction(float(result.bound[i]))
                        assert road.sign(p - bound, q, v) <= 0 <= road.sign(p + bound, q, v)


floats = st.floats(allow_nan=False, allow_infinity=False)
columns = st.integers(1, 5).flatmap(lambda m: st.tuples(*[st.lists(floats, min_size=m, max_size=m)] * 2))


@pytest.mark.rest  # see conftest.py
@examples(250)
@given(columns, floats, floats, floats.map(abs), st.sampled_from(KINDS))
def test_any_floats_are_rounded_as_their_exact_numbers(column, gamma, beta, eps, kind):
    x, dy = (np.array(values)[:, None] for values in column)
    results = [exact.training(x, np.array([gamma]), np.array([beta]), eps=eps).y]
    results += [exact.inference(x, x[0], np.abs(dy[0]), np.array([gamma]), np.array([beta]), eps=eps)]
    results += exact.training_gradients(dy, x, np.array([gamma]), eps=eps)
    for result in results:
        assert not filter_errors(result)
        triples = [fractions_of(result.number(i)) for i in range(result.hi.size)]
        assert not differences(result.rounded(kind), [road.rounded(*triple, kind) for triple in triples], kind)


# Numbers.

integers_of_any_size = st.integers(-(2**1100), 2**1100) | st.integers(-50, 50)
rationals = st.builds(Fraction, integers_of_any_size, integers_of_any_size.map(lambda d: abs(d) + 1))


def number_of(p, q, v):
    return Number(*(fmpq(r.numerator, r.denominator) for r in map(Fraction, (p, q, v))))


@examples(400)
@given(rationals, rationals, rationals, st.sampled_from(KINDS))
def test_any_number_is_rounded_as_integer_roots_round_it(p, q, v, kind):
    assert not differences([number_of(p, q, v).rounded(kind)], [road.rounded(p, q, v, kind)], kind)
    assert not differences([number_of(p, q, v * v).rounded(kind)], [road.rounded(p, q, v * v, kind)], kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distance", [10, 70, 200, 1100, 3000])
def test_irrational_numbers_beside_ties_are_decided(kind, distance):
    """p + 1 / sqrt(2) with p = tie - (1 / sqrt(2) cut off after so many bits): just above the tie, or just below."""
    cut = Fraction(math.isqrt(2 ** (2 * distance - 1)), 2**distance)
    for high, low in [(0.0, 0.0), *middles(kind, np.random.default_rng(6), 10)]:
        for hair in (Fraction(0), Fraction(1, 2**distance)):
            p = Fraction(high) + Fraction(low) - cut - hair
            assert not differences([number_of(p, 1, 2).rounded(kind)], [road.rounded(p, Fraction(1), 2, kind)], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_undefined_numbers_follow_ieee(kind):
    cases = [(1, 2, 0), (1, -2, 0), (1, 0, 0), (1, 2, -1), (1, 0, -1), (0, 0, 4)]
    expected = [math.inf, -math.inf, math.nan, math.nan, math.nan, 0.0]
    assert not differences([number_of(*case).rounded(kind) for case in cases], expected, kind)
    gathered = Exact.of((len(cases),), [number_of(*case) for case in cases])
    assert not differences(gathered.rounded(kind), expected, kind)


def test_a_constant_channel_without_eps_is_undefined():
    x = np.array([[1.0, 0.0], [1.0, 1.0]])
    y = exact.training(x, eps=0.0).y.rounded()
    assert not differences(y, [math.nan, -1.0, math.nan, 1.0], "float64")
    y = exact.inference(x, np.array([1.0, 0.5]), np.array([0.0, 0.0]), eps=0.0).rounded()
    assert not differences(y, [math.nan, -math.inf, math.nan, math.inf], "float64")
    assert np.isnan(exact.inference(x, np.zeros(2), np.full(2, -1.0), eps=0.5).rounded()).all()


@examples(100)
@given(rationals, rationals, rationals.filter(lambda v: v > 0), st.sampled_from([64, 256, 2048]))
def test_an_enclosure_encloses(p, q, v, bits):
    lower, upper = fractions_of(number_of(p, q, v).enclosure(bits))
    assert road.sign(p - upper, q, v) <= 0 <= road.sign(p - lower, q, v)
    assert upper - lower <= (abs(p) + abs(q) * (1 + 1 / v)) * Fraction(1, 2 ** (bits - 8))


def test_decimal_digits_are_correct():
    for digits in (5, 50, 500):  # of sqrt(2) = 2 / sqrt(2)
        root = str(math.isqrt(2 * 100**digits))
        written = number_of(0, 2, 2).decimal(digits)
        assert len(written) == digits + 1
        assert abs(int(written.replace(".", "")) - int(root[:digits])) <= 1
        assert abs(Fraction(written) - Fraction(int(root), 10**digits)) <= Fraction(1, 10 ** (digits - 1))


def test_error_of_is_the_error():
    rng = np.random.default_rng(7)
    y = exact.training(rng.normal(size=(6, 3)), eps=1e-5).y
    values = y.rounded("float32") * (1 + 2.0**-30)
    for i, error in enumerate(y.error_of(values).reshape(-1).tolist()):
        p, q, v = fractions_of(y.number(i))
        p -= Fraction(float(values.reshape(-1)[i]))  # now p + q / sqrt(v) = -error
        slack = abs(Fraction(error)) / 2**50 + Fraction(1, 2**100)
        assert road.sign(p + Fraction(error) - slack, q, v) <= 0 <= road.sign(p + Fraction(error) + slack, q, v)
    with pytest.raises(ValueError, match=r"\(3, 6\).*\(6, 3\)"):
        y.error_of(values.T)


# Rounding of floats.


def hard_floats(kind):
    """Return float64 of any bits; floats of a format (all of a short one), their middles, and what is beside those."""
    rng = np.random.default_rng(8)
    anything = rng.integers(-(2**63), 2**63, size=20_000).view(np.float64)
    if kind == "float32":
        grid = np.concatenate([rng.integers(0, 0x7F800000, size=30_000), np.arange(50), [0x7F7FFFFF]]).astype(np.uint32)
    else:
        grid = np.arange({"bfloat16": 0x7F80, "float16": 0x7C00}[kind]).astype(np.uint16)
    lower, upper = (bits.view(DTYPES[kind]).astype(np.float64) for bits in (grid, grid + grid.dtype.type(1)))
    upper[np.isinf(upper)] = 2.0 ** (2 - road.FORMATS[kind][1])  # the number in whose place infinity stands
    middle = (lower + upper) / 2
    beside = np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)
    values = np.concatenate([anything[~np.isnan(anything)], lower, middle, *beside])
    return np.concatenate([values, -values])


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_to_format_agrees_with_numpy(kind):
    values = hard_floats(kind)
    assert not differences(to_format(values, kind), values.astype(kind).astype(np.float64), kind)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_to_format_agrees_with_ml_dtypes_where_its_cast_rounds_once():
    """ml_dtypes rounds float64 by way of float32, so only float32 values are a fair test; all middles are such."""
    values = hard_floats("bfloat16")
    values = values[values.astype(np.float32) == values]
    assert values.size > 130_000
    assert not differences(to_format(values, "bfloat16"), values.astype(ml_dtypes.bfloat16), "bfloat16")


@pytest.mark.parametrize("kind", KINDS)
def test_to_format_agrees_with_integer_rounding(kind):
    values = hard_floats("bfloat16" if kind == "float64" else kind)
    values = np.random.default_rng(9).choice(values[np.isfinite(values)], 6000)
    expected = [road.rounded(Fraction(value), Fraction(0), Fraction(1), kind) for value in values.tolist()]
    expected = np.copysign(expected, values)  # a Fraction has no negative zero
    assert not differences(to_format(values, kind), expected, kind)


def test_to_format_keeps_nan_infinity_and_its_argument():
    values = np.array([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300])
    values.setflags(write=False)
    for kind in KINDS:
        expected = [*values[:5].tolist(), 1e300 if kind == "float64" else math.inf]
        assert not differences(to_format(values, kind), expected, kind)


# Errors.


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad):
    x = np.ones((3, 2))
    broken, parameter = np.where(np.eye(3, 2) > 0, bad, x), np.array([1.0, bad])
    for call in (
        lambda: exact.training(broken, eps=0.1),
        lambda: exact.training_gradients(broken, x, eps=0.1),
        lambda: exact.training_gradients_mechanical(x, broken, eps=0.1),
        lambda: exact.inference(broken, np.ones(2), np.ones(2), eps=0.1),
        lambda: exact.training(x, parameter, eps=0.1),
        lambda: exact.training(x, None, parameter, eps=0.1),
        lambda: exact.inference(x, parameter, np.ones(2), eps=0.1),
        lambda: exact.inference_gradients(x, x, np.ones(2), parameter, eps=0.1),
        lambda: exact.training(x, eps=bad),
        lambda: rational(bad),
    ):
        with pytest.raises(ValueError, match="finite"):
            call()


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0)])
def test_an_empty_batch_is_refused(shape):
    with pytest.raises(ValueError, match="no values"):
        exact.training(np.zeros(shape), eps=0.1)


def test_a_mask_that_empties_a_channel_is_refused():
    with pytest.raises(ValueError, match="no values"):
        exact.training(np.ones((2, 2)), eps=0.1, where=np.array([[True, False], [True, False]]))


def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(TypeError, match=r"boolean.*int64"):
        exact.training(np.ones((2, 2)), eps=0.1, where=np.array([[1, 0], [1, 1]]))


def test_shapes_that_do_not_fit_are_refused():
    x = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"2 values.*each of 3 channels"):
        exact.training(x, np.ones(2), eps=0.1)
    for gradients in (exact.training_gradients, exact.training_gradients_mechanical):
        with pytest.raises(ValueError, match=r"dy.*\(5, 3\).*\(4, 3\)"):
            gradients(np.ones((5, 3)), x, eps=0.1)
    with pytest.raises(ValueError, match=r"dy.*\(3, 4\).*\(4, 3\)"):
        exact.inference_gradients(np.ones((3, 4)), x, np.ones(3), np.ones(3), eps=0.1)


# Independence and speed.


def test_the_second_road_imports_nothing_of_refnorm():
    assert not house.imported_wings(Path(road.__file__))


def calls_of(work):
    """Count the calls of functions, C's among them, that a piece of work makes: its cost by no clock."""
    calls = 0

    def count(frame, event, _):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_a_value_costs_is_no_call_of_its_own(dtype):
    """Values are rounded by array operations: what is called is called for a channel, or for a rare value."""
    gamma = beta = np.linspace(0.5, 1.5, 8)
    few, many = (np.random.default_rng(10).normal(size=(m, 8)).astype(dtype) for m in (2**9, 2**13))
    costs = [calls_of(lambda x=x: exact.training(x, gamma, beta, eps=1e-5).y.rounded(dtype)) for x in (few, many)]
    assert costs[1] - costs[0] < (many.size - few.size) / 20
