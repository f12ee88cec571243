"""Formulas of running statistics, read off what plain NumPy programs store: each word that there is, and none too many.

A program is one line beside the words that must be read; what was read must give what the program stores after several
batches that the reading has not seen. Not verified here: the names of formulas (`test_naming`), whole trials.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.golden import cases
from refnorm.oracle.measure.read_running import Running, defined_update, read_update
from refnorm.oracle.worlds import world

SAMPLED = True  # see conftest.py

TORCH, KERAS = ROWS["torch"], ROWS["keras"]
U = 2.0**-53
ROOT = np.sqrt


class Step(NamedTuple):
    """What a program has at hand in a step: x as (values, channels), its statistics, the old ones, and arguments."""

    x: np.ndarray
    shape: tuple[int, ...]
    mean: np.ndarray
    var: np.ndarray
    old_mean: np.ndarray
    old_var: np.ndarray
    old: np.ndarray
    a: float
    eps: float

    @property
    def m(self):
        return len(self.x)

    @property
    def unbiased(self):
        return self.var * self.m / (self.m - 1)

    def shards(self, *cuts):
        """Return shards of the batch cut at these fractions of it, each as (values, channels)."""
        samples = self.x.reshape(self.shape[0], -1, self.shape[1])
        parts = np.split(samples, [int(self.shape[0] * f + up / 2) for f, up in cuts])
        return [p.reshape(-1, self.shape[1]) for p in parts if p.size]


def rows_of(x):
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def stored(case, which, rule, row=TORCH):
    """Return what a program stores after all batches; of the other statistic what the convention stores."""
    mean, var = case.running_mean, case.running_var
    old, new = (float(v) for v in row.weights(case.momentum))
    for batch in case.batches:
        x = rows_of(batch)
        own_mean, own_var = x.mean(0), ((x - x.mean(0)) ** 2).mean(0)
        before = mean if which == "mean" else var
        step = Step(x, batch.shape, own_mean, own_var, mean, var, before, case.momentum, case.eps)
        factor = len(x) / (len(x) - row.correction)
        mean, var = old * mean + new * own_mean, old * var + new * factor * own_var
        mean, var = (rule(step), var) if which == "mean" else (mean, rule(step))
    return mean if which == "mean" else var


ALL = [c for c in cases("running", "float64", convention="torch") if c.finite and not c.undefined and c.count > 3]
SMALL = [c for c in ALL if c.x.size <= 600 and c.situation.content != "constant" and c.momentum not in (0, 1)]
ONE_STEP = [c for c in SMALL if len(c.batches) == 1]
STEPS = [c for c in SMALL if len(c.batches) > 1]


def seen(which, rule, row=TORCH, given=None):
    return [(world(c, row), stored(c, which, rule, row)) for c in (ONE_STEP if given is None else given)]


def read(which, rule, row=TORCH):
    """Return what is read first; what it predicts is what the program stores, seen or not."""
    found = next(read_update(which, seen(which, rule, row)), None)
    if found is not None:
        for c in (*STEPS, *ONE_STEP[::4]):
            expected = stored(c, which, rule, row)
            assert found.value(world(c, row)) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    return found


WEIGHTS = {
    "(1 - a)": lambda a: 1 - a,
    "a": lambda a: a,
    "": lambda a: 1.0,
    "(1 - a)^2": lambda a: (1 - a) ** 2,
    "(1 - (1 - a)^2)": lambda a: 1 - (1 - a) ** 2,
    "a^2": lambda a: a * a,
    "(1 - a^2)": lambda a: 1 - a * a,
    "(1 - a) a": lambda a: (1 - a) * a,
    "(1 - a)^3": lambda a: (1 - a) ** 3,
    "(1 - (1 - a)^3)": lambda a: 1 - (1 - a) ** 3,
}
ROUNDED = {
    "float32(1 - a)": lambda a: float(np.float32(1 - a)),
    "float32(a)": lambda a: float(np.float32(a)),
    "(1 - float32(a))": lambda a: 1 - float(np.float32(a)),
}


def with_momentum(c, momentum):
    return replace(c, situation=replace(c.situation, momentum=momentum))


def scaled(c, by):
    """Return a case of x so many times as large."""
    means = replace(c, batches=tuple(by * b for b in c.batches), running_mean=by * c.running_mean)
    return replace(means, running_var=by**2 * c.running_var)


def test_there_are_cases_of_each_kind():
    assert len(ONE_STEP) > 20
    assert len(STEPS) > 1
    assert len({c.momentum for c in ONE_STEP}) > 2


@pytest.mark.parametrize("which", ["mean", "variance"])
@pytest.mark.parametrize("words", [*WEIGHTS, *ROUNDED])
def test_every_weight_of_the_old_value_and_of_the_new_one_is_read(which, words):
    weight = (WEIGHTS | ROUNDED)[words]
    new = "mean" if which == "mean" else "unbiased var"
    own = (lambda s: s.mean) if which == "mean" else (lambda s: s.unbiased)
    old = read(which, lambda s: weight(s.a) * s.old + s.a * own(s))
    assert old.words() == f"{words} running {which} + a {new}".strip()
    batch = read(which, lambda s: (1 - s.a) * s.old + weight(s.a) * own(s))
    assert batch.words() == " ".join(f"(1 - a) running {which} + {words} {new}".split())


@pytest.mark.parametrize("which", ["mean", "variance"])
def test_what_is_kept_replaced_or_grows_is_read(which):
    own = (lambda s: s.mean) if which == "mean" else (lambda s: s.unbiased)
    new = "mean" if which == "mean" else "unbiased var"
    assert read(which, lambda s: s.old).words() == f"running {which}"
    assert read(which, own).words() == new
    assert read(which, lambda s: (1 + s.a) * s.old + s.a * own(s)).words() == f"(1 + a) running {which} + a {new}"
    assert read(which, lambda s: 0.7 * s.old + 0.3 * own(s)).words() == f"0.7 running {which} + 0.3 {new}"
    assert read(which, lambda s: (1 - s.a) * s.old - s.a * own(s)).words() == f"(1 - a) running {which} - a {new}"


def test_the_old_variance_may_move_the_mean():
    found = read("mean", lambda s: (1 - s.a) * s.old_var + s.a * s.mean)
    assert found.words() == "(1 - a) running variance + a mean"


MEANS = {
    "sum x / (m - 1)": lambda s: s.x.sum(0) / (s.m - 1),
    "sum x / N": lambda s: s.x.sum(0) / s.shape[0],
    "sum x / HW": lambda s: s.x.sum(0) / (s.m / s.shape[0]),
    "sum x / C": lambda s: s.x.sum(0) / s.shape[1],
    "sum x": lambda s: s.x.sum(0),
    "sum x / (m + 1)": lambda s: s.x.sum(0) / (s.m + 1),
    "sum x / (m - 2)": lambda s: s.x.sum(0) / (s.m - 2),
    "sum x / (N - 1)": lambda s: s.x.sum(0) / max(s.shape[0] - 1, 1),
    "sum x / (m - 1.5)": lambda s: s.x.sum(0) / (s.m - 1.5),
    "sum x / (m - 3)": lambda s: s.x.sum(0) / (s.m - 3),
    "sum x / (NCHW - 1)": lambda s: s.x.sum(0) / (s.m * s.shape[1] - 1),
    "mean over all": lambda s: np.full(s.shape[1], s.x.mean()),
    "mean of the shards' means": lambda s: np.mean([p.mean(0) for p in s.shards((0.5, 1))], axis=0),
}


@pytest.mark.parametrize("words", MEANS)
def test_what_of_the_batch_moves_the_mean_is_read(words):
    for weight, by in (("a", lambda a: a), ("(1 - a)", lambda a: 1 - a), ("(1 - a)^2", lambda a: (1 - a) ** 2)):
        found = read("mean", lambda s, by=by: (1 - s.a) * s.old + by(s.a) * MEANS[words](s))
        assert found.words() == f"(1 - a) running mean + {weight} {words}"


def test_shards_that_are_cut_otherwise_are_read():
    for cuts in ([(0.5, 0)], [(0.25, 0), (0.5, 0), (0.75, 0)]):
        means = read("mean", lambda s, c=cuts: (1 - s.a) * s.old + s.a * np.mean([p.mean(0) for p in s.shards(*c)], 0))
        assert means.words() == "(1 - a) running mean + a mean of the shards' means"
        own = read("variance", lambda s, c=cuts: (1 - s.a) * s.old + s.a * np.mean([p.var(0) for p in s.shards(*c)], 0))
        assert own.words() == "(1 - a) running variance + a mean of the shards' variances, counts aside"


def test_what_is_added_to_the_mean_is_read():
    assert read("mean", lambda s: (1 - s.a) * s.old + s.a * s.mean + s.eps).words().endswith(" + a mean + eps")
    assert read("mean", lambda s: (1 - s.a) * s.old + s.a * s.mean - 0.25).words().endswith(" + a mean - 0.25")


def by_counts(s):
    return sum(len(p) * p.var(0) for p in s.shards((0.5, 1))) / s.m


def own_shard(s, all_of_it):
    parts = 2 if s.shape[0] > 1 else 1
    m = (parts if all_of_it else 1) * -(-s.shape[0] // parts) * (s.m // s.shape[0])
    return s.var * m / (m - 1)


VARIANCES = {
    "var": lambda s: s.var,
    "sum (x - mean)^2 / N": lambda s: s.var * s.m / s.shape[0],
    "sum (x - mean)^2 / HW": lambda s: s.var * s.shape[0],
    "sum (x - mean)^2 / C": lambda s: s.var * s.m / s.shape[1],
    "sum (x - mean)^2": lambda s: s.var * s.m,
    "sum (x - mean)^2 / (m + 1)": lambda s: s.var * s.m / (s.m + 1),
    "sum (x - mean)^2 / (m - 2)": lambda s: s.var * s.m / (s.m - 2),
    "sum (x - mean)^2 / (N - 1)": lambda s: s.var * s.m / max(s.shape[0] - 1, 1),
    "sum (x - mean)^2 / (m - 1.5)": lambda s: s.var * s.m / (s.m - 1.5),
    "sum (x - mean)^2 / (m - 3)": lambda s: s.var * s.m / (s.m - 3),
    "sum (x - mean)^2 / (NCHW - 1)": lambda s: s.var * s.m / (s.m * s.shape[1] - 1),
    "sum (x - mean)^2 / ((m - 1)^2/m)": lambda s: s.unbiased * s.m / (s.m - 1),
    "sum (x - mean)^2 / (m^2/(m - 1))": lambda s: s.var * (s.m - 1) / s.m,
    "sum (x - mean)^2 / (m - 1 + eps/C)": lambda s: s.var * s.m / (s.m - 1 + s.eps / s.shape[1]),
    "sum (x - mean)^2 / (m (N - 1)/N)": lambda s: s.var * s.shape[0] / max(s.shape[0] - 1, 1),
    "mean of x^2": lambda s: (s.x**2).mean(0),
    "sum x^2 / (m - 1)": lambda s: (s.x**2).sum(0) / (s.m - 1),
    "var over all": lambda s: np.full(s.shape[1], s.x.var()),
    "mean of the shards' variances": by_counts,
    "std": lambda s: ROOT(s.var),
    "sqrt(unbiased var)": lambda s: ROOT(s.unbiased),
    "1/sqrt(var + eps)": lambda s: 1 / ROOT(s.var + s.eps),
    "sqrt(var + eps)": lambda s: ROOT(s.var + s.eps),
    "var^2": lambda s: s.var**2,
    "(std + eps)^2": lambda s: (ROOT(s.var) + s.eps) ** 2,
    "(sqrt(unbiased var) + eps)^2": lambda s: (ROOT(s.unbiased) + s.eps) ** 2,
    "m/(m - 1) (std + eps)^2": lambda s: (ROOT(s.var) + s.eps) ** 2 * s.m / (s.m - 1),
}


@pytest.mark.parametrize("words", VARIANCES)
def test_what_of_the_batch_moves_the_variance_is_read(words):
    found = read("variance", lambda s: (1 - s.a) * s.old + s.a * VARIANCES[words](s))
    assert found.words() == f"(1 - a) running variance + a {words}"


@pytest.mark.parametrize("all_of_it", [True, False])
def test_a_correction_by_a_shards_count_is_read(all_of_it):
    found = read("variance", lambda s: (1 - s.a) * s.old + s.a * own_shard(s, all_of_it))
    assert found.words() == "(1 - a) running variance + a var corrected by a shard's count"


def distance(s):
    return (s.mean - s.old_mean) ** 2


FURTHER = {
    "eps": lambda s: s.eps,
    "m/(m - 1) eps": lambda s: s.eps * s.m / (s.m - 1),
    "0.3": lambda s: 0.3,
    "(mean - running mean)^2": distance,
    "m/(m - 1) (mean - running mean)^2": lambda s: distance(s) * s.m / (s.m - 1),
    "mean^2": lambda s: s.mean**2,
}
THEIR_WEIGHTS = {
    "a": lambda a: a,
    "": lambda a: 1.0,
    "(1 - a)": lambda a: 1 - a,
    "(1 - a) a": lambda a: (1 - a) * a,
    "(1 - a)^2 a": lambda a: (1 - a) ** 2 * a,
    "(1 - a) a^2": lambda a: (1 - a) * a * a,
}


@pytest.mark.parametrize("weight", THEIR_WEIGHTS)
@pytest.mark.parametrize("words", FURTHER)
def test_what_else_enters_the_variance_is_read_with_its_weight(words, weight):
    by = THEIR_WEIGHTS[weight]
    found = read("variance", lambda s: (1 - s.a) * s.old + s.a * s.unbiased + by(s.a) * FURTHER[words](s))
    own = f"0.3 {weight}" if words == "0.3" else f"{weight} {words}"
    own = own.strip() if words != "0.3" or not weight else f"{own} 1"
    assert found.words() == f"(1 - a) running variance + a unbiased var + {own}"


def test_other_things_in_the_old_variances_place_are_read():
    found = read("variance", lambda s: (1 - s.a) * s.old_mean**2 + s.a * s.unbiased)
    assert found.words() == "(1 - a) running mean^2 + a unbiased var"


ROOTS = {
    "(1 - a) running std + a std": lambda s: ((1 - s.a) * ROOT(s.old) + s.a * ROOT(s.var)) ** 2,
    "(1 - a) running std + a sqrt(unbiased var)": lambda s: ((1 - s.a) * ROOT(s.old) + s.a * ROOT(s.unbiased)) ** 2,
    "a running std + (1 - a) m/(m - 1) std": (
        lambda s: (s.a * ROOT(s.old) + (1 - s.a) * ROOT(s.var) * s.m / (s.m - 1)) ** 2
    ),
}


@pytest.mark.parametrize("words", ROOTS)
def test_averages_of_standard_deviations_are_read(words):
    found = read("variance", ROOTS[words])
    assert found.words() == f"({words})^2"
    assert found.power == 0.5


def test_a_row_of_other_weights_is_read_as_it_is():
    found = read("variance", lambda s: s.a * s.old + (1 - s.a) * s.var + s.eps, KERAS)
    assert found.words() == "a running variance + (1 - a) var + eps"
    mean = read("mean", lambda s: s.a * s.old + (1 - s.a) * s.mean, KERAS)
    assert mean.words() == "a running mean + (1 - a) mean"


ARRIVES = {  # rows, what they make of momentum on its way, and by what words it weighs then
    "onnx": (lambda a: float(np.float32(a)), "a running {} + (1 - a) {}"),
    "tensorflow": (lambda a: float(np.float32(a)), "(1 - a) running {} + a {}"),
    "tf-keras": (lambda a: 1 - float(np.float32(1 - a)), "a running {} + (1 - a) {}"),
    "haiku": (lambda a: a, "a/(1 + a) running {} + 1/(1 + a) {}"),
    "caffe": (lambda a: float(np.float32(a)), "a/(1 + a) running {} + 1/(1 + a) {}"),
}


@pytest.mark.parametrize("name", ARRIVES)
def test_momentum_is_what_arrives_of_it_by_the_row_and_weighs_as_the_row_says(name):
    arrives, words = ARRIVES[name]

    def mixed(s, new):
        a = arrives(s.a)
        old = {"(": 1 - a, "a": a}[words[0]] if "/" not in words else a / (1 + a)
        return old * s.old + (1 - old) * new

    row = ROWS[name]
    stored_var = "unbiased var" if row.correction else "var"
    for which, new, rule in (
        ("mean", "mean", lambda s: s.mean),
        ("variance", stored_var, lambda s: s.unbiased if row.correction else s.var),
        ("variance", "var over all", lambda s: np.full(s.shape[1], s.x.var())),
    ):
        found = read(which, lambda s, rule=rule: mixed(s, rule(s)), row)
        assert found.words() == words.format(which, new)
        assert (found.words() == str(defined_update(row, which))) == (new != "var over all")
    eps = read("variance", lambda s: mixed(s, s.var) + mixed(s._replace(old=0.0), row.travelled(s.eps)), row)
    assert eps.words() == words.format("variance", "var") + f" + {words.split('} + ', 1)[1].removesuffix(' {}')} eps"


@pytest.mark.parametrize("row", [TORCH, KERAS], ids=["torch", "keras"])
@pytest.mark.parametrize("which", ["mean", "variance"])
def test_at_a_momentum_of_one_half_weights_have_the_words_of_the_convention(which, row):
    half = [with_momentum(c, 0.5) for c in ONE_STEP]
    old, new = ("(1 - a)", "a") if row is TORCH else ("a", "(1 - a)")
    for weights, words in (((1 / 2, 1 / 2), (old, new)), ((1 / 3, 2 / 3), ("a/(1 + a)", "1/(1 + a)"))):

        def rule(s, weights=weights):
            return weights[0] * s.old + weights[1] * (s.mean if which == "mean" else s.var)

        found = next(read_update(which, seen(which, rule, row, half)))
        assert found.words() == f"{words[0]} running {which} + {words[1]} {'mean' if which == 'mean' else 'var'}"


def test_momentum_that_is_rounded_on_the_way_is_read_where_the_row_does_not_round_it():
    def complement(s):
        new = float(np.float32(1 - s.a))
        return (1 - new) * s.old + new * s.mean

    def factor(s):
        a = float(np.float32(s.a))
        return (a * s.old + s.mean) / (1 + a)

    assert read("mean", complement, KERAS).words() == "(1 - float32(1 - a)) running mean + float32(1 - a) mean"
    assert read("mean", factor).words() == "float32(a)/(1 + float32(a)) running mean + 1/(1 + float32(a)) mean"
    assert read("mean", factor, ROWS["caffe"]).words() == "a/(1 + a) running mean + 1/(1 + a) mean"


def test_what_has_no_formula_is_not_read():
    assert read("variance", lambda s: (1 - s.a) * s.old + s.a * np.median(s.x, axis=0) ** 2) is None
    assert read("mean", lambda s: (1 - s.a) * s.old + s.a * np.median(s.x, axis=0)) is None
    assert read("mean", lambda s: -np.tanh((1 - s.a) * s.old + s.a * s.mean)) is None
    assert read("mean", lambda s: ((1 - s.a) * s.old_var + s.a * s.var) ** 2) is None  # means are no squares
    assert read("mean", lambda s: (1 - s.a) * s.old + (1 - s.a**2) * s.var) is None  # nor have variances any weight


def torch_mean(s):
    return (1 - s.a) * s.old + s.a * s.mean


def test_three_cases_of_one_batch_are_enough_and_two_are_not():
    given = [c for c in ONE_STEP if c.x.shape[1] > 2][:3]
    assert next(read_update("mean", seen("mean", torch_mean, given=given))).words() == "(1 - a) running mean + a mean"
    assert not list(read_update("mean", seen("mean", torch_mean, given=given[:2])))
    assert not list(read_update("mean", seen("mean", torch_mean, given=given[:2] + STEPS * 2)))


def test_cases_that_are_not_finite_or_of_several_batches_are_passed_over():
    spoilt = [(world(c, TORCH), np.full(c.x.shape[1], np.nan)) for c in ONE_STEP[:2]]
    several = [(world(c, TORCH), 0 * c.running_mean) for c in STEPS]
    found = list(read_update("mean", [*spoilt, *several, *seen("mean", torch_mean)]))
    assert [f.words() for f in found] == ["(1 - a) running mean + a mean"]


def test_roots_are_not_taken_of_what_is_negative():
    assert read("variance", lambda s: -((ROOT(s.old) + s.a * ROOT(s.var)) ** 2)) is None


@pytest.mark.parametrize("part", ["what is stored", "the old value", "the batch's"])
def test_the_mean_may_be_off_by_roundings_of_any_of_its_terms_but_no_further(part):
    size = {"what is stored": torch_mean, "the old value": lambda s: s.old, "the batch's": lambda s: s.mean}
    near = list(read_update("mean", seen("mean", lambda s: torch_mean(s) + 400 * U * np.abs(size[part](s)))))
    assert [f.words() for f in near] == ["(1 - a) running mean + a mean"]
    signs = np.resize([1, -1, -1], 99)

    def far(s):
        total = sum(np.abs(of(s)) for of in size.values())
        return torch_mean(s) + 700 * U * total * signs[: len(s.old)]

    assert not list(read_update("mean", seen("mean", far)))


def torch_variance(s):
    return (1 - s.a) * s.old + s.a * s.unbiased


VARIANCE_PARTS = {
    "what is stored": torch_variance,
    "the old value": lambda s: s.old,
    "the batch's": lambda s: s.var,
    "the means' square": lambda s: (np.abs(s.old_mean) + np.abs(s.mean)) ** 2,
}


@pytest.mark.parametrize("part", VARIANCE_PARTS)
def test_the_variance_may_be_off_by_roundings_of_any_of_its_terms_but_no_further(part):
    own = VARIANCE_PARTS[part]
    near = list(read_update("variance", seen("variance", lambda s: torch_variance(s) + 400 * U * own(s))))
    assert [f.words() for f in near] == ["(1 - a) running variance + a unbiased var"]
    signs = np.resize([1, -1, -1], 99)

    def far(s):
        return torch_variance(s) + 700 * U * sum(of(s) for of in VARIANCE_PARTS.values()) * signs[: len(s.old)]

    assert not list(read_update("variance", seen("variance", far)))


@pytest.mark.parametrize("by", [2.0**-7, 2.0**7])
def test_an_average_of_standard_deviations_may_be_off_by_roundings_of_the_roots_of_its_terms(by):
    given = [scaled(c, by) for c in ONE_STEP]
    signs = np.resize([1, -1, -1], 99)

    def off(times, signs):
        def rule(s):
            root = (1 - s.a) * ROOT(s.old) + s.a * ROOT(s.var)
            size = root**2 + s.old + s.var + (np.abs(s.old_mean) + np.abs(s.mean)) ** 2
            return (root + times * U * ROOT(size) * signs[: len(root)]) ** 2

        return [found.words() for found in read_update("variance", seen("variance", rule, given=given))]

    assert off(400, np.ones(99)) == ["((1 - a) running std + a std)^2"]
    assert not off(700, signs)


@pytest.mark.parametrize("which", ["mean", "variance"])
def test_statistics_in_half_precision_are_read_as_well(which):
    narrow = [
        c for c in cases("running", "float16", convention="torch") if c.finite and not c.undefined and c.count > 3
    ]
    narrow = [c for c in narrow if c.parameters == "float16" and c.x.size <= 600 and len(c.batches) == 1]
    narrow = [c for c in narrow if c.situation.content != "constant" and c.situation.name != "overflow"]
    rule = torch_mean if which == "mean" else torch_variance
    pairs = [(world(c, TORCH), stored(c, which, rule).astype(np.float16)) for c in narrow]
    assert len(pairs) > 2
    new = "mean" if which == "mean" else "unbiased var"
    assert next(read_update(which, pairs)).words() == f"(1 - a) running {which} + a {new}"


def test_what_a_convention_says_is_a_formula():
    rows = {momentum: replace(TORCH, momentum=momentum) for momentum in ("new", "old", "sums")}
    words = {m: (str(defined_update(row, "mean")), str(defined_update(row, "variance"))) for m, row in rows.items()}
    assert words["new"] == ("(1 - a) running mean + a mean", "(1 - a) running variance + a unbiased var")
    assert words["old"] == ("a running mean + (1 - a) mean", "a running variance + (1 - a) unbiased var")
    sums = "a/(1 + a) running {0} + 1/(1 + a) {1}"
    assert words["sums"] == (sums.format("mean", "mean"), sums.format("variance", "unbiased var"))
    assert str(defined_update(KERAS, "variance")) == "a running variance + (1 - a) var"


@pytest.mark.parametrize("row", [TORCH, KERAS], ids=["torch", "keras"])
@pytest.mark.parametrize("which", ["mean", "variance"])
def test_the_update_of_a_convention_stores_what_the_convention_says(which, row):
    def rule(s):
        old, new = map(float, row.weights(s.a))
        return old * s.old + new * (s.mean if which == "mean" else s.unbiased if row.correction else s.var)

    moved = Running(which, defined_update(row, which))
    for c in (*STEPS, *ONE_STEP):
        assert moved.value(world(c, row)) == pytest.approx(stored(c, which, rule, row), rel=1e-9, abs=1e-12)
