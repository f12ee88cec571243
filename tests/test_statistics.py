"""Statistics: of a batch, merged, corrected.

Verified: merging equals the whole batch, for uneven splits, any order and masks, with the error bounded against the
exact rational mean and variance; what merging must not be (an average of variances); corrections; empty statistics.

The bound. A merge rounds its mean to float64, which is off by up to u |mean|, so the spread of the means that it adds
to the variance is off by 2 |delta| u |mean|. Hence C u (var + |mean| std) per merge: the one place where mean/std
enters, because `Statistics` keeps one float64 per mean. And `merge` adds to the mean of its first argument, so its own
mean is off by C u times the largest mean of a part, which is at most the largest |x|.

Not verified here: statistics of one batch to their bound (`test_accuracy`), other libraries than NumPy (`test_arrays`).
"""

from __future__ import annotations

import functools
import itertools
from fractions import Fraction

import numpy as np
import pytest

from refnorm import Statistics, exact

U = 2.0**-53
C = 8


def batch(seed: int, shape: tuple[int, ...] = (60, 3, 4), ratio: float = 3.0) -> np.ndarray:
    """Draw channels of different mean and scale; rows drift, so that parts of the batch have different means."""
    rng = np.random.default_rng(seed)
    scale = np.array([0.01, 1.0, 50.0])[:, None]
    drift = np.linspace(-1, 1, shape[0])[:, None, None]
    return scale * (rng.standard_normal(shape) + drift + ratio)


def merge_all(parts: list[Statistics]) -> Statistics:
    return functools.reduce(Statistics.merge, parts)


def assert_close(merged: Statistics, x: np.ndarray, merges: int, where: np.ndarray | None = None) -> None:
    """Compare with the exact statistics of the whole batch, to the bound at the head of this file."""
    truth = exact.training(x, eps=0.0, where=where)
    mean, var = truth.mean.rounded(), truth.var.rounded()
    largest = np.abs(x).max(axis=(0, 2))
    assert np.all(np.asarray(merged.count) == truth.count)
    assert np.all(np.abs(truth.mean.error_of(merged.mean)) <= C * merges * U * largest)
    assert np.all(np.abs(truth.var.error_of(merged.var)) <= C * merges * U * (var + np.abs(mean) * np.sqrt(var)))


@pytest.mark.parametrize("rows", [1, 2, 7, 30, 53, 59])
def test_two_uneven_parts_merge_to_the_whole(rows):
    x = batch(1)
    assert_close(Statistics.of(x[:rows]).merge(Statistics.of(x[rows:])), x, 1)
    assert_close(Statistics.of(x[rows:]).merge(Statistics.of(x[:rows])), x, 1)


@pytest.mark.parametrize("seed", range(8))
def test_any_chunking_merges_to_the_whole_in_any_order(seed):
    rng = np.random.default_rng(seed)
    x = batch(2)
    cuts = [0, *sorted(rng.choice(np.arange(1, len(x)), rng.integers(1, 30), replace=False).tolist()), len(x)]
    parts = [Statistics.of(x[a:b]) for a, b in itertools.pairwise(cuts)]
    rng.shuffle(parts)
    assert_close(merge_all(parts), x, len(parts) - 1)


def test_values_one_by_one_merge_to_the_whole():
    x = batch(3)
    assert_close(merge_all([Statistics.of(row[None]) for row in x]), x, len(x) - 1)


def test_a_tree_of_merges_equals_the_whole():
    x = batch(4, (64, 3, 4))
    parts = [Statistics.of(part) for part in np.split(x, 16)]
    while len(parts) > 1:
        parts = [parts[i].merge(parts[i + 1]) for i in range(0, len(parts), 2)]
    assert_close(parts[0], x, 4)


@pytest.mark.parametrize("ratio", [1e4, 1e8])
def test_the_error_of_a_merge_grows_with_mean_over_std_and_not_with_its_square(ratio):
    x = batch(5, ratio=ratio)
    assert_close(merge_all([Statistics.of(part) for part in np.split(x, 6)]), x, 5)


def test_masked_parts_merge_with_a_count_per_channel():
    x = batch(6)
    mask = np.random.default_rng(6).random(x.shape) < [[0.9], [0.5], [0.2]]
    parts = [Statistics.of(x[a:b], where=mask[a:b]) for a, b in [(0, 11), (11, 20), (20, 60)]]
    assert len(set(parts[0].count.tolist())) > 1
    assert_close(merge_all(parts), x, 2, mask)


def test_a_masked_part_merges_with_an_unmasked_one():
    x = batch(7)
    mask = np.random.default_rng(7).random(x.shape) < 0.6
    mask[30:] = True
    assert_close(Statistics.of(x[:30], where=mask[:30]).merge(Statistics.of(x[30:])), x, 1, mask)
    assert_close(Statistics.of(x[30:]).merge(Statistics.of(x[:30], where=mask[:30])), x, 1, mask)


def test_the_variance_of_few_loud_values_merged_with_many_quiet_ones_keeps_its_digits():
    """A weighted difference of the variances, a + (b - a) n_b/n, would lose six digits here."""
    loud, quiet = (
        Statistics(2, np.array([0.0]), np.array([1e20])),
        Statistics(2 * 10**6, np.array([0.0]), np.array([1.0])),
    )
    expected = (2 * Fraction(10**20) + 2 * 10**6) / (2 * 10**6 + 2)
    for merged in (loud.merge(quiet), quiet.merge(loud)):
        assert abs(Fraction(float(merged.var[0])) - expected) <= C * Fraction(U) * expected


def test_an_average_of_variances_is_not_the_variance_and_the_bound_tells():
    x = batch(8)
    a, b = Statistics.of(x[:20]), Statistics.of(x[20:])
    merged = a.merge(b)
    averaged = Statistics(merged.count, merged.mean, (20 * a.var + 40 * b.var) / 60)
    assert_close(merged, x, 1)
    with pytest.raises(AssertionError):
        assert_close(averaged, x, 1)


def test_merging_equal_constants_gives_that_constant_and_no_variance():
    parts = [Statistics.of(np.full((n, 1), 0.1)) for n in (1, 2, 4, 7)]
    merged = merge_all(parts)
    assert (merged.count, merged.mean.tolist(), merged.var.tolist()) == (14, [0.1], [0.0])


def test_empty_statistics_change_nothing():
    some = Statistics.of(batch(9))
    empty = Statistics(0, np.zeros(3), np.zeros(3))
    for merged in (some.merge(empty), empty.merge(some)):
        assert merged.count == some.count
        assert np.array_equal(merged.mean, some.mean)
        assert np.array_equal(merged.var, some.var)


def test_merging_writes_to_neither():
    a, b = Statistics.of(batch(10)), Statistics.of(batch(11))
    before = [v.copy() for v in (a.mean, a.var, b.mean, b.var)]
    for v in (a.mean, a.var, b.mean, b.var):
        v.flags.writeable = False
    a.merge(b)
    assert all(np.array_equal(v, w) for v, w in zip((a.mean, a.var, b.mean, b.var), before, strict=True))


def test_statistics_of_other_channels_do_not_merge():
    x = batch(12)
    with pytest.raises(ValueError, match=r"cannot merge statistics of \(3,\) with statistics of \(4,\)"):
        Statistics.of(x).merge(Statistics.of(x, axis=2))


def test_the_mean_and_the_biased_variance_of_small_integers_are_the_rationals_rounded():
    values = [3, -1, 4, 1, -5, 9]
    statistics = Statistics.of(np.array(values, np.float32)[:, None])
    mean = Fraction(sum(values), 6)
    var = sum((v - mean) ** 2 for v in values) / 6
    assert (statistics.count, statistics.mean.dtype, statistics.var.dtype) == (6, np.float64, np.float64)
    assert abs(Fraction(float(statistics.mean[0])) - mean) <= 2 * Fraction(U) * abs(mean)
    assert abs(Fraction(float(statistics.var[0])) - var) <= 4 * Fraction(U) * var


@pytest.mark.parametrize("correction", [0, 1, 1.5])
def test_corrected_variance_divides_by_count_minus_correction(correction):
    x = batch(13)
    statistics = Statistics.of(x)
    m = statistics.count
    expected = statistics.var * (m / (m - correction))
    assert np.all(np.abs(statistics.corrected(correction) - expected) <= 4 * U * expected)
    assert np.allclose(statistics.corrected(1), x.var(axis=(0, 2), ddof=1), rtol=1e-12)


def test_correction_is_per_channel_where_a_mask_makes_counts_differ():
    x = np.array([[1.0, 1.0], [3.0, 2.0], [8.0, 6.0]])
    mask = np.array([[True, True], [True, True], [False, True]])
    assert Statistics.of(x, where=mask).corrected(1).tolist() == pytest.approx([2.0, 7.0], rel=4 * U)


@pytest.mark.parametrize(("count", "correction"), [(1, 1), (2, 2), (2, 3)])
def test_a_count_not_above_the_correction_is_an_error(count, correction):
    statistics = Statistics.of(batch(14)[:count, :, 0])
    with pytest.raises(
        ValueError, match=rf"correction={correction} needs more than {correction} values .* got count={count}; use"
    ):
        statistics.corrected(correction)


def test_one_channel_with_too_few_masked_values_is_an_error():
    mask = np.array([[True, True], [False, True]])
    statistics = Statistics.of(np.array([[1.0, 2.0], [3.0, 4.0]]), where=mask)
    with pytest.raises(ValueError, match=r"got count=\[1\. 2\.\]; use correction=0, or a larger batch"):
        statistics.corrected(1)


def test_an_empty_batch_has_no_statistics():
    with pytest.raises(ValueError, match=r"x of shape \(0, 3\) has no values to average over axes \(0,\)"):
        Statistics.of(np.zeros((0, 3)))


def test_statistics_cannot_be_changed():
    statistics = Statistics.of(np.array([[1.0], [3.0]]))
    with pytest.raises(AttributeError):
        statistics.count = 3
    assert statistics != Statistics(
        2, statistics.mean, statistics.var
    )  # arrays have no one truth: compare them yourself
    assert len({statistics, statistics}) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_more_channels_do_not_merge_nor_do_fewer(channels):
    with pytest.raises(ValueError, match="cannot merge statistics of"):
        Statistics.of(np.ones((4, 2))).merge(Statistics.of(np.ones((4, channels))))


def test_a_correction_above_every_count_is_an_error():
    with pytest.raises(ValueError, match="more than 5 values"):
        Statistics(np.array([2.0, 3.0]), np.zeros(2), np.ones(2)).corrected(5)
