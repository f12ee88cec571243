"""Running statistics: a weighted average with each batch, rounded once.

Verified: against fractions computed here by hand, for momentum 0, 0.1 and 1, both corrections, several steps and every
format; equal weights; errors; that nothing is written to.

The bound: C u of the magnitudes of the two terms for what is computed in float64, and half an ulp of the format for the
one rounding on the way out; several steps add theirs up, each times (1 - momentum) per later step.

Not verified here: which convention a framework follows (`refnorm.conventions`), other libraries (`test_arrays`).
"""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from flint import fmpq

from refnorm import Statistics, cumulative_update, exact, update_running, update_sums
from refnorm.conventions import CONVENTIONS
from refnorm.formats import FORMATS

U = Fraction(1, 2**53)
C = 4
DTYPES = {kind: np.dtype(getattr(ml_dtypes, kind) if kind == "bfloat16" else kind) for kind in FORMATS}
every_format = pytest.mark.parametrize("kind", DTYPES)


def batches(count: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.standard_normal((5 + i, 3)) * [0.1, 1.0, 30.0] + [5.0, -2.0, 0.1] for i in range(count)]


def by_hand(x: np.ndarray, correction: int) -> list[tuple[Fraction, Fraction]]:
    """Return the mean and the corrected variance of each column."""
    columns = [[Fraction(v) for v in column] for column in x.T.tolist()]
    means = [sum(column) / len(column) for column in columns]
    return [
        (mean, sum((v - mean) ** 2 for v in column) / (len(column) - correction))
        for mean, column in zip(means, columns, strict=True)
    ]


def half_ulp(value: Fraction, kind: str) -> Fraction:
    bits, smallest = FORMATS[kind]
    _, exponent = np.frexp(float(value))
    return Fraction(2) ** (max(int(exponent) - 1, smallest) - bits)


def start(kind: str) -> tuple[np.ndarray, np.ndarray]:
    return np.array([0.3, -7.0, 1e-3]).astype(DTYPES[kind]), np.array([2.0, 0.1, 900.0]).astype(DTYPES[kind])


@every_format
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("momentum", [0, 0.1, 0.5, 1])
def test_a_step_is_the_weighted_average_rounded_once(momentum, correction, kind):
    (x,) = batches()
    old = start(kind)
    new = update_running(*old, Statistics.of(x), momentum=momentum, correction=correction)
    weight = Fraction(momentum)
    for c, batch in enumerate(by_hand(x, correction)):
        for running, updated, value in zip(old, new, batch, strict=True):
            terms = (1 - weight) * Fraction(float(running[c])), weight * value
            allowed = C * U * sum(map(abs, terms)) + (half_ulp(sum(terms), kind) if kind != "float64" else 0)
            assert updated.dtype == DTYPES[kind]
            assert abs(Fraction(float(updated[c])) - sum(terms)) <= allowed


@every_format
@pytest.mark.parametrize("correction", [0, 1])
def test_several_steps_add_up(correction, kind):
    running, momentum = start(kind), 0.1
    expected = [[Fraction(float(v)) for v in array] for array in running]
    allowed = [[Fraction(0)] * 3, [Fraction(0)] * 3]
    for x in batches(6):
        running = update_running(*running, Statistics.of(x), momentum=momentum, correction=correction)
        for c, batch in enumerate(by_hand(x, correction)):
            for which, value in enumerate(batch):
                terms = (1 - Fraction(momentum)) * expected[which][c], Fraction(momentum) * value
                step = C * U * sum(map(abs, terms)) + half_ulp(sum(terms) + allowed[which][c], kind)
                expected[which][c] = sum(terms)
                allowed[which][c] = allowed[which][c] + step
    for array, values, bounds in zip(running, expected, allowed, strict=True):
        for got, value, bound in zip(array.tolist(), values, bounds, strict=True):
            assert abs(Fraction(float(got)) - value) <= bound


@every_format
def test_momentum_zero_keeps_the_running_statistics_bit_for_bit(kind):
    old = start(kind)
    new = update_running(*old, Statistics.of(batches()[0]), momentum=0)
    assert [a.tobytes() for a in new] == [a.tobytes() for a in old]


def test_momentum_one_takes_over_the_batch():
    statistics = Statistics.of(batches()[0])
    mean, var = update_running(*start("float64"), statistics, momentum=1)
    assert mean.tolist() == statistics.mean.tolist()
    assert var.tolist() == statistics.corrected(1).tolist()


def test_the_default_is_a_tenth_of_an_unbiased_variance():
    statistics = Statistics.of(np.array([[1.0], [3.0]]))
    mean, var = update_running(np.array([0.0]), np.array([1.0]), statistics)
    assert (mean.tolist(), var.tolist()) == ([pytest.approx(0.2)], [pytest.approx(0.9 + 0.1 * 2.0)])


def test_running_mean_and_variance_may_have_formats_of_their_own():
    mean, var = start("float64")
    new = update_running(mean.astype(np.float16), var.astype(np.float32), Statistics.of(batches()[0]))
    assert [a.dtype for a in new] == [np.float16, np.float32]


def test_masked_batches_correct_each_channel_by_its_own_count():
    x = np.array([[1.0, 1.0], [3.0, 2.0], [8.0, 6.0]])
    mask = np.array([[True, True], [True, True], [False, True]])
    _, var = update_running(np.zeros(2), np.zeros(2), Statistics.of(x, where=mask), momentum=1)
    assert var.tolist() == pytest.approx([2.0, 7.0], rel=1e-15)


@pytest.mark.parametrize("correction", [0, 1])
def test_cumulative_updates_are_the_plain_mean_over_batches(correction):
    inputs = batches(7)
    running = np.full(3, 123.0), np.full(3, 456.0)  # forgotten at the first batch
    for n, x in enumerate(inputs):
        running = cumulative_update(*running, Statistics.of(x), batches=n, correction=correction)
    exact = [by_hand(x, correction) for x in inputs]
    for c in range(3):
        for which, array in enumerate(running):
            values = [batch[c][which] for batch in exact]
            mean, size = sum(values) / len(values), sum(map(abs, values)) / len(values)
            assert abs(Fraction(float(array[c])) - mean) <= C * len(values) * U * size


@pytest.mark.parametrize("momentum", [-0.1, 1.0000001, 2, float("nan"), float("inf")])
def test_momentum_outside_0_to_1_is_an_error(momentum):
    with pytest.raises(ValueError, match=rf"momentum={momentum!r} "):
        update_running(*start("float64"), Statistics.of(batches()[0]), momentum=momentum)


def test_a_momentum_above_1_is_told_about_decay():
    with pytest.raises(
        ValueError, match=r"weight of the new batch and must be in 0\.\.1; a framework's `decay` is 1 minus"
    ):
        update_running(*start("float64"), Statistics.of(batches()[0]), momentum=1.5)


def test_a_momentum_that_is_no_number_is_an_error():
    with pytest.raises(TypeError, match="momentum must be a real number, got None"):
        update_running(*start("float64"), Statistics.of(batches()[0]), momentum=None)


def test_a_negative_number_of_batches_is_an_error():
    with pytest.raises(ValueError, match="batches=-1 counts the batches already averaged and cannot be negative"):
        cumulative_update(*start("float64"), Statistics.of(batches()[0]), batches=-1)


def test_one_value_per_channel_has_no_unbiased_variance():
    statistics = Statistics.of(batches()[0][:1])
    with pytest.raises(ValueError, match=r"more than 1 values per channel, got count=1; use correction=0, or a larger"):
        update_running(*start("float64"), statistics)
    _, var = update_running(*start("float64"), statistics, momentum=1, correction=0)
    assert var.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("which", [0, 1])
def test_running_statistics_of_other_channels_are_an_error(which, channels):
    running = list(start("float64"))
    running[which] = np.zeros(channels)
    name = ("running_mean", "running_var")[which]
    with pytest.raises(ValueError, match=rf"{name} has shape \({channels},\), the batch's statistics \(3,\)"):
        update_running(*running, Statistics.of(batches()[0]))


@pytest.mark.parametrize("wrong", [np.zeros(3, int), np.zeros(3, np.longdouble), np.zeros(3, complex)])
def test_running_statistics_of_another_type_are_an_error(wrong):
    with pytest.raises(TypeError, match=rf"running_mean is {wrong.dtype.name}, expected a floating-point array"):
        update_running(wrong, np.zeros(3), Statistics.of(batches()[0]))


def test_statistics_in_integers_are_refused_and_not_the_running_mean_truncated():
    whole = Statistics(2, np.array([3]), np.array([1]))
    with pytest.raises(TypeError, match="the batch's statistics are int64, expected floating-point arrays"):
        update_running(np.array([0.5]), np.array([1.0]), whole)


def test_a_list_of_running_statistics_is_an_error():
    with pytest.raises(TypeError, match=r"running_mean must be an array .*, got list; numpy.asarray makes one"):
        update_running([0.0] * 3, np.ones(3), Statistics.of(batches()[0]))


def test_nothing_is_written_to():
    running, statistics = start("float32"), Statistics.of(batches()[0])
    arguments = (*running, statistics.mean, statistics.var)
    before = [a.tobytes() for a in arguments]
    for a in arguments:
        a.flags.writeable = False
    new = update_running(*running, statistics, momentum=1)
    cumulative_update(*running, statistics, batches=3)
    assert [a.tobytes() for a in arguments] == before
    assert not any(np.shares_memory(a, b) for a in new for b in arguments)


@pytest.mark.parametrize("row", CONVENTIONS.values(), ids=lambda row: row.name)
def test_every_convention_moves_as_exact_arithmetic_says(row):
    rng = np.random.default_rng(5)
    x, mean, var = rng.normal(3, 2, (6, 4)), rng.normal(size=4), rng.uniform(1, 2, 4)
    moved = row.update(mean, var, Statistics.of(x), 0.1)
    forward = exact.training(x, eps=0.0)
    old, new = (fmpq(w.numerator, w.denominator) for w in row.weights(0.1))
    factor = fmpq(row.factor(6).numerator, row.factor(6).denominator)
    for value, expected in zip(
        moved,
        (exact.blend(mean, old, forward.mean, new), exact.blend(var, old, forward.var, new * factor)),
        strict=True,
    ):
        assert np.all(np.abs(expected.error_of(value)) <= 8 * 2.0**-53 * (np.abs(expected.hi) + 2))


def test_running_sums_are_caffes_and_forget_nothing_wrong():
    rng = np.random.default_rng(6)
    batches = [rng.normal(size=(5, 3)) for _ in range(7)]
    fraction = Fraction(3, 4)
    mean_sum, var_sum, count = np.zeros(3), np.zeros(3), 0.0
    for x in batches:
        mean_sum, var_sum, count = update_sums(mean_sum, var_sum, count, Statistics.of(x), fraction=float(fraction))
    weights = [fraction**k for k in range(len(batches))][::-1]
    assert count == float(sum(weights))
    for c in range(3):
        columns = [[Fraction(float(v)) for v in x[:, c]] for x in batches]
        means = [sum(v) / 5 for v in columns]
        variances = [sum((a - m) ** 2 for a in v) / 4 for v, m in zip(columns, means, strict=True)]
        mean = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
        var = sum(w * v for w, v in zip(weights, variances, strict=True)) / sum(weights)
        assert abs(mean_sum[c] / count - float(mean)) < 1e-15
        assert abs(var_sum[c] / count - float(var)) < 4e-15


def test_running_sums_take_a_single_value_with_variance_0():
    _, var_sum, _ = update_sums(np.zeros(2), np.ones(2), 1.0, Statistics.of(np.ones((1, 2))), fraction=0.5)
    assert var_sum.tolist() == [0.5, 0.5]


def test_a_fraction_outside_0_to_1_is_an_error():
    with pytest.raises(ValueError, match=r"fraction=1\.5 is the weight of the old sums"):
        update_sums(np.zeros(1), np.zeros(1), 0.0, Statistics.of(np.ones((2, 1))), fraction=1.5)


def test_a_fraction_of_one_keeps_all_of_the_sums():
    batch = Statistics.of(batches()[0])
    mean_sum, _, count = update_sums(*start("float64"), 2.0, batch, fraction=1)
    np.testing.assert_array_equal(mean_sum, start("float64")[0] + batch.mean)
    assert count == 3.0
