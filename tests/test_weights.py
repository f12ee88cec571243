"""How running statistics are measured to move: each word and number of it, on boxes whose update is written here.

Expected numbers follow by hand from the updates. Not verified here: which row has them (`test_identify`), and what
else is measured (`test_probes`).
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from refnorm.oracle.ask.box import Box
from refnorm.oracle.measure.measurement import Key, Measurement, by_rank
from refnorm.oracle.measure.weights import Update, running_statistics, sense_and_correction, sense_of, update_of

ALL = (2, 3, 4, 5)


class Stores:
    """Running statistics that are what an update says of old one, batch's own, counts and momentum; y is x."""

    dtypes = ("float64",)

    def __init__(self, var, mean=None, ranks=ALL):
        self.var, self.ranks = var, ranks
        self.mean = mean or (lambda old, new, a: (1 - a) * old + a * new)

    def train(self, x, gamma, beta, running_mean, running_var, momentum, eps):
        if x.ndim not in self.ranks:
            raise ValueError("rank")
        axes = (0, *range(2, x.ndim))
        var = self.var(running_var, x.var(axes), x.size // x.shape[1], momentum, x)
        return x, self.mean(running_mean, x.mean(axes), momentum), var


def unbiased(old, var, m, a, x):
    return (1 - a) * old + a * var * m / (m - 1)


def biased(old, var, m, a, x):
    return (1 - a) * old + a * var


def measured(box):
    with np.errstate(all="ignore"):
        return [replace(m, value=round(m.value, 12)) if isinstance(m.value, float) else m for m in _raw(box)]


def _raw(box):
    return list(running_statistics(Box(box)))


FACTORS = "times the biased one 2 at m = 2, 1.5 at m = 3, 1.25 at m = 5, 1.14286 at m = 8"
SAME = "times the biased one 1 at m = 2, 1 at m = 3, 1 at m = 5, 1 at m = 8"
K = "running variance, k in m/(m - k)"
NEW = Measurement(Key.NEW_WEIGHT, "weight of the new batch", 0.25, "0.25 at 0.25, 0.75 at 0.75, 0.9 at 0.9")
OLD = Measurement(Key.OLD_WEIGHT, "weight of the old value", 0.75, "at momentum 0.25")
SENSE = Measurement(Key.MOMENTUM, "momentum", "new", "weight of the new batch")
UNBIASED = Measurement(Key.CORRECTION, K, 1.0, FACTORS)


def test_everything_is_said_of_the_unbiased_variance():
    counts = Measurement(Key.COUNTS, "m counts", "all values", "rank 2, 3, 4, 5", ALL)
    assert measured(Stores(unbiased)) == [NEW, OLD, SENSE, UNBIASED, counts]


def test_of_the_biased_variance_nothing_is_counted():
    found = measured(Stores(biased))
    assert found == [NEW, OLD, SENSE, Measurement(Key.CORRECTION, K, 0.0, SAME)]
    assert str(found[-1]).startswith("0: ")  # not -0


@pytest.mark.parametrize(
    ("weights", "sense", "shown", "meaning"),
    [
        (lambda a: (a, 1 - a), "old", "0.75 at 0.25, 0.25 at 0.75, 0.1 at 0.9", "weight of the old value"),
        (
            lambda a: (a / (1 + a), 1 / (1 + a)),
            "sums",
            "0.8 at 0.25, 0.571429 at 0.75, 0.526316 at 0.9",
            "factor on running sums",
        ),
        (lambda a: (1 - a, a / 2), "other", "0.125 at 0.25, 0.375 at 0.75, 0.45 at 0.9", "no known rule"),
    ],
)
def test_each_sense_of_momentum_has_its_words(weights, sense, shown, meaning):
    def mean(old, new, a):
        return weights(a)[0] * old + weights(a)[1] * new

    box = Stores(lambda old, var, m, a, x: mean(old, var * m / (m - 1), a), mean)
    new, old, momentum, *_ = measured(box)
    assert (new.value, new.note) == (weights(0.25)[1], shown)
    assert old.value == weights(0.25)[0]
    assert (momentum.value, momentum.note) == (sense, meaning)


@pytest.mark.parametrize(("off", "said"), [(4e-7, False), (6e-7, True), (-6e-7, True)])
def test_an_old_variance_that_weighs_otherwise_than_the_old_mean_is_said_so(off, said):
    box = Stores(lambda old, var, m, a, x: unbiased(old, var, m, a, x) + off * old)
    found = [m for m in measured(box) if m.key is Key.OLD_VARIANCE_WEIGHT]
    name, note = "weight of the old variance", "at momentum 0.9, not that of the old mean"
    assert found == ([Measurement(Key.OLD_VARIANCE_WEIGHT, name, round(0.1 + off, 12), note)] if said else [])


def with_k(k):
    """Return an update that corrects with m - k, and takes 1 where there is nothing to divide by."""
    return lambda old, var, m, a, x: (1 - a) * old + a * var * m / ((m - k) or 1)


@pytest.mark.parametrize("k", [0.5, 1.0, -1.0, 1.5, 0.1234, 0.12343])
def test_k_is_measured_to_four_digits(k):
    assert {m.key: m.value for m in measured(Stores(with_k(k)))}[Key.CORRECTION] == round(k, 4)


@pytest.mark.parametrize(("off", "k"), [(4e-5, 0.0), (-4e-5, 0.0), (6e-5, "other")])
def test_a_k_that_depends_on_m_is_no_k(off, k):
    def update(old, var, m, a, x):
        return (1 - a) * old + a * var * m / (m - off * {2: -1, 3: 0, 5: 1}.get(m, 0))

    (found,) = (m.value for m in measured(Stores(update)) if m.key is Key.CORRECTION)
    assert found == pytest.approx(k, abs=1e-4)


def nothing_of_three(old, var, m, a, x):
    return unbiased(old, var, m, a, x) if m != 3 else (1 - a) * old


@pytest.mark.parametrize(
    "update", [lambda old, var, m, a, x: old, lambda old, var, m, a, x: (1 - a) * old, nothing_of_three]
)
def test_a_variance_that_takes_nothing_of_the_batch_has_no_k(update):
    found = {m.key: m for m in measured(Stores(update))}
    assert found[Key.CORRECTION].value == "other"
    assert Key.COUNTS not in found


def each_rank(rules, common=None):
    """Return an update that counts what a rule of its rank says."""

    def update(old, var, m, a, x):
        counted = rules.get(x.ndim, common)
        return (1 - a) * old + a * var * counted(x, m)

    return update


def of_all(x, m):
    return m / (m - 1)


def of_samples(x, m):
    return len(x) / (len(x) - 1)


def test_what_is_counted_is_said_rank_by_rank():
    rules = {2: lambda x, m: 1.0, 3: of_samples, 4: of_all, 5: lambda x, m: 3.0 if m == 12 else 1.0}
    found = [(m.value, m.note, m.ranks) for m in measured(Stores(each_rank(rules))) if m.key is Key.COUNTS]
    assert found == [
        ("nothing: it is biased", "rank 2", (2,)),
        ("samples", "rank 3", (3,)),
        ("all values", "rank 4", (4,)),
        ("other, 3", "rank 5", (5,)),
    ]


@pytest.mark.parametrize(("off", "word"), [(1.9e-4, "samples"), (-1.9e-4, "samples"), (2.1e-4, "other, 2.00021")])
def test_counts_are_told_to_four_digits(off, word):
    rules = {3: lambda x, m: of_samples(x, m) + off}
    found = {m.ranks: m.value for m in measured(Stores(each_rank(rules, of_all))) if m.key is Key.COUNTS}
    assert found == {(2, 4, 5): "all values", (3,): word}


@pytest.mark.parametrize(
    ("of_others", "value"),
    [(lambda m: 1.0, "other, 1 to 1.09091"), (lambda m: (m - 2) / (m - 1), "other, 0.909091 to 1.09091")],
    ids=["biased", "the mean of both channels is"],
)
def test_what_is_counted_in_one_channel_alone_is_no_count_of_all(of_others, value):
    def update(old, var, m, a, x):
        return (1 - a) * old + a * var * np.where(np.arange(len(var)) == 0, m / (m - 1), of_others(m))

    (found,) = (m for m in measured(Stores(update)) if m.key is Key.COUNTS)
    assert (found.value, found.ranks) == (value, ALL)


def test_ranks_that_are_not_taken_are_not_asked():
    found = measured(Stores(unbiased, ranks=(2, 3)))[-1]
    assert (found.value, found.note, found.ranks) == ("all values", "rank 2, 3", (2, 3))


def test_what_counts_where_k_is_2_is_measured_as_well():
    def guarded(old, var, m, a, x):
        return (1 - a) * old + a * var * m / max(m - 2, 1e-9)

    found = {m.key: m for m in measured(Stores(guarded))}
    assert found[Key.CORRECTION].value == 2.0
    assert (found[Key.COUNTS].value, found[Key.COUNTS].ranks) == ("all values", ALL)


class KeepsNothing(Stores):
    without = ("running mean", "running variance")


def test_a_box_that_keeps_no_statistics_is_not_measured():
    assert measured(KeepsNothing(unbiased)) == []
    assert sense_and_correction(Box(KeepsNothing(unbiased))) == ("other", -1)


# Senses.


def test_a_sense_is_that_of_both_weights_at_every_momentum():
    assert sense_of([(0.25, 0.75, 0.25), (0.9, 0.1, 0.9)]) == "new"
    assert sense_of([(0.25, 0.25, 0.75), (0.9, 0.9, 0.1)]) == "old"
    assert sense_of([(0.25, 0.2, 0.8), (1.0, 0.5, 0.5)]) == "sums"
    assert sense_of([(0.25, 0.75, 0.25), (0.9, 0.9, 0.1)]) == "other"
    assert sense_of([(0.25, 0.75, 0.26)]) == sense_of([(0.25, 0.76, 0.25)]) == "other"


@pytest.mark.parametrize("digits", [5e-7, 1e-2])
def test_weights_are_told_apart_to_so_many_digits(digits):
    given = () if digits == 5e-7 else (digits,)
    for sign in (1, -1):
        assert sense_of([(0.25, 0.75 + 0.9 * digits * sign, 0.25 - 0.9 * digits)], *given) == "new"
        assert sense_of([(0.25, 0.75, 0.25 + 1.1 * digits * sign)], *given) == "other"
        assert sense_of([(0.25, 0.75 + 1.1 * digits * sign, 0.25)], *given) == "other"


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (unbiased, ("new", 1)),
        (biased, ("new", 0)),
        (lambda old, var, m, a, x: (1 - a) * old + a * var * m / (m - 0.9994), ("new", 1)),
        (with_k(0.998), ("new", -1)),
        (with_k(0.5), ("new", -1)),
        (lambda old, var, m, a, x: old, ("new", -1)),
        (nothing_of_three, ("new", -1)),
    ],
)
def test_sense_and_correction_in_short(update, expected):
    assert sense_and_correction(Box(Stores(update))) == expected


@pytest.mark.parametrize(("counted", "samples"), [(of_all, False), (of_samples, True)])
def test_whether_samples_count_alone_is_said_in_short(counted, samples):
    def mean(old, new, a):
        return (a * old + new) / (1 + a)

    box = Stores(lambda old, var, m, a, x: mean(old, var * counted(x, m), a), mean)
    assert update_of(Box(box)) == Update("sums", 1, samples)


@pytest.mark.parametrize("error", [RuntimeError, ZeroDivisionError, ValueError, IndexError])
def test_what_raises_has_neither_sense_nor_correction(error):
    calls = []

    def later(old, new, a):
        calls.append(a)
        if len(calls) > 4:  # each rank was tried before
            raise error
        return (1 - a) * old + a * new

    assert update_of(Box(Stores(unbiased, later))) == Update("other", -1, False)


# Measurements.


def test_a_measurement_is_a_line_and_plain_data():
    whole = Measurement(Key.COUNTS, "m counts", "samples", "rank 3", (3, 4), "s", True)
    plain = {
        "key": "counts",
        "name": "m counts",
        "value": "samples",
        "note": "rank 3",
        "ranks": [3, 4],
        "short": "s",
        "killed": True,
    }
    assert whole.to_dict() == plain
    assert Measurement.from_dict(json.loads(json.dumps(plain))) == whole
    assert str(whole) == "samples: rank 3"
    bare = Measurement(Key.MOMENTUM, "momentum", 0)
    assert bare.to_dict() == {"key": "momentum", "name": "momentum", "value": 0, "note": ""}
    assert Measurement.from_dict(bare.to_dict()) == bare
    assert str(bare) == "0"
    assert str(replace(bare, value=2 / 3)) == "0.666667"
    found = by_rank(Key.COUNTS, "m counts", [(2, "samples"), (3, "all values"), (5, "samples"), (5, "samples")])
    assert list(found) == [
        Measurement(Key.COUNTS, "m counts", "samples", "rank 2, 5", (2, 5)),
        Measurement(Key.COUNTS, "m counts", "all values", "rank 3", (3,)),
    ]


def test_a_measurement_cannot_be_changed():
    with pytest.raises(AttributeError):
        Measurement(Key.MOMENTUM, "momentum", 0).value = 1
