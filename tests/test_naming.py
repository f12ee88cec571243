"""From a formula of y, or of running statistics, to its causes: each part that deviates is named, and nothing else.

The formulas are put together here; names, kinds and words are written by hand. Not verified here: that a formula is
read off numbers (`test_read_running`, `test_formulas`), gradients' names (`test_mutants`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.golden.inputs import case
from refnorm.oracle.measure.divisors import root_of
from refnorm.oracle.measure.formula import Formula, of
from refnorm.oracle.measure.known import Known
from refnorm.oracle.measure.naming import cause, forward_causes, running_causes, written
from refnorm.oracle.measure.parts import part_mean, part_variance, parts
from refnorm.oracle.measure.read_forward import BY_BATCH, BY_RUNNING, _unscaled
from refnorm.oracle.measure.read_running import Running
from refnorm.oracle.measure.region import Region
from refnorm.oracle.measure.terms import (
    BETA,
    EPS,
    GAMMA,
    MEAN,
    ONE,
    RUNNING_MEAN,
    RUNNING_VAR,
    SCALES,
    VAR,
    constant,
    counted,
    mean,
    second_moment,
    variance,
    weighed,
)
from refnorm.oracle.worlds import world

TORCH, KERAS = ROWS["torch"], ROWS["keras"]
TRAINING = world(case("bn.training.float64.rank-4.1"), TORCH)
INFERENCE = world(case("bn.inference.float64.rank-4.1"), TORCH)
UNBIASED = variance(Region(), "(m - 1)")
ABSOLUTE = SCALES[2]
OVER_N, OVER_S, OVER_ALL = Region("N"), Region("S"), Region("NCSL")


def linear(*parts):
    return Formula(tuple(parts))


def in_training(**changed):
    return forward_causes(replace(BY_BATCH, **changed), TRAINING)


def in_inference(**changed):
    return forward_causes(replace(BY_RUNNING, **changed), INFERENCE)


def names(causes):
    return [c.name for c in causes]


MOVED_MEAN = of(*weighed(RUNNING_MEAN, ["(1 - a)"]), *weighed(MEAN, ["a"]))
MOVED_VAR = of(*weighed(RUNNING_VAR, ["(1 - a)"]), *weighed(UNBIASED, ["a"]), EPS)


def test_the_definition_has_no_cause():
    assert in_training() == []
    assert in_inference() == []


def test_a_cause_has_all_that_is_known_of_it():
    (found,) = in_training(divisor=of(VAR))
    assert (found.kind, found.name) == ("wrong", "eps-missing")
    assert found.title == "eps is missing: 1 / sqrt(var)"
    assert found.effect.startswith("A constant channel divides by zero.")
    assert found.measured == "y = gamma (x - mean) / std + beta, std^2 = var"
    assert found.formula == "y = gamma (x - mean) / std + beta, std^2 = var + eps"
    assert found.coefficients == {"centre: mean": 1, "std^2: var": 1, "scale: gamma": 1, "shift: beta": 1}


def test_what_has_no_name_is_told_as_it_was_measured():
    (found,) = in_inference(divisor=linear((1, RUNNING_VAR), (3, EPS)))
    assert (found.kind, found.name) == ("wrong", "other-divisor")
    assert found.title == "y divides by another value: std^2 = running variance + 3 eps"
    assert found.effect == "It is a formula without a name, read off the numbers."
    assert found.formula == "y = gamma (x - running mean) / std + beta, std^2 = running variance + eps"
    untitled = cause(Known("other-thing", "a sentence", "an effect", "numerics"), "as measured", "as expected")
    assert (untitled.title, untitled.kind, untitled.coefficients) == ("as measured", "numerics", {})
    titled = cause(Known("a-name", "a sentence", "an effect"), "as measured", "as expected", "another title", {"a": 2})
    assert (titled.title, titled.effect, titled.coefficients) == ("a sentence", "an effect", {"a": 2})


ONE_PART = [
    ({"centre": Formula()}, "mean-not-subtracted", ""),
    ({"centre": linear((-1, MEAN))}, "mean-added", ""),
    ({"centre": linear((2, MEAN))}, "other-centre", "x is centred by another value: 2 mean"),
    ({"scale": of(ABSOLUTE)}, "gamma-absolute", ""),
    ({"scale": linear((2, GAMMA))}, "other-scale", "another scale stands in gamma's place: 2 gamma"),
    ({"shift": Formula()}, "beta-ignored", ""),
    ({"shift": linear((3, BETA))}, "other-shift", "another shift stands in beta's place: 3 beta"),
    ({"divisor": linear((1, VAR), (2, EPS))}, "eps-twice", ""),
    ({"divisor": linear((1, VAR), (1e-5, ONE))}, "eps-fixed-1e-5", ""),
    ({"divisor": linear((1, VAR), (0.001, ONE))}, "eps-fixed-1e-3", ""),
    ({"divisor": linear((1, VAR), (0.25, ONE))}, "eps-ignored", ""),
    ({"divisor": linear((1, VAR), (1, EPS), (0.25, ONE))}, "other-divisor", ""),
    ({"divisor": linear((2, VAR), (0.25, ONE))}, "other-divisor", ""),
    ({"divisor": of(VAR, EPS), "power": 1}, "root-missing", ""),
    ({"divisor": of(root_of(VAR), EPS), "power": 1}, "eps-outside-root", ""),
    ({"divisor": of(UNBIASED, EPS)}, "normalised-by-unbiased-variance", ""),
    ({"divisor": of(counted("m/(m - 1)", VAR), EPS)}, "correction-in-inference", ""),
    ({"divisor": of(second_moment(), EPS)}, "second-moment-as-variance", ""),
]


@pytest.mark.parametrize(("changed", "name", "title"), ONE_PART)
def test_one_part_that_deviates_is_one_cause(changed, name, title):
    (found,) = in_training(**changed)
    assert found.name == name
    assert found.title.startswith(title)


def test_beside_a_scale_other_than_0_each_part_shows_and_beside_0_none_does():
    for scale, name in ((linear((-1, GAMMA)), "gamma-sign"), (of(SCALES[4]), "gamma-plus-one")):
        assert names(in_training(divisor=of(VAR), scale=scale)) == ["eps-missing", name]
    (found,) = in_training(centre=Formula(), divisor=of(ONE), scale=Formula(), shift=Formula())
    assert (found.name, found.measured) == ("returns-zeros", "y = 0")


def test_in_inference_the_running_statistics_are_the_usual_ones():
    def stored(*others):
        return linear((1, RUNNING_VAR), *others)

    assert names(in_inference(divisor=stored())) == ["eps-missing"]
    assert names(in_inference(divisor=stored((2, EPS)))) == ["eps-twice"]
    assert names(in_inference(divisor=stored((1e-5, ONE)))) == ["eps-fixed-1e-5"]
    assert names(in_inference(centre=linear((-1, RUNNING_MEAN)))) == ["mean-added"]
    assert names(in_inference(divisor=stored((1, EPS)), power=1)) == ["running-variance-taken-for-std"]
    assert names(in_inference(divisor=stored(), power=1)) == ["running-variance-taken-for-std"]
    squared = constant("running variance^2", lambda w: w.running_var**2)
    assert names(in_inference(divisor=of(squared, EPS))) == ["running-variance-taken-for-std"]
    assert names(in_training(divisor=of(VAR, EPS), power=1)) == ["root-missing"]


def test_statistics_of_the_other_kind_are_named_together_and_apart():
    assert names(in_training(centre=BY_RUNNING.centre, divisor=BY_RUNNING.divisor)) == [
        "running-statistics-in-training"
    ]
    assert names(in_inference(centre=BY_BATCH.centre, divisor=BY_BATCH.divisor)) == ["batch-statistics-in-inference"]
    assert names(in_inference(centre=Formula(), divisor=of(ONE, EPS))) == ["initial-statistics-in-inference"]
    trained = in_training(centre=BY_RUNNING.centre, divisor=of(RUNNING_VAR), scale=of(ABSOLUTE))
    assert names(trained) == ["running-statistics-in-training", "eps-missing", "gamma-absolute"]
    doubled = in_inference(centre=linear((2, MEAN)), divisor=linear((1, VAR), (2, EPS)))
    assert names(doubled) == ["batch-statistics-in-inference", "other-centre", "eps-twice"]
    for causes in (in_training(centre=BY_RUNNING.centre), in_inference(centre=BY_BATCH.centre)):
        assert names(causes) == ["other-centre"]
    for causes in (in_training(divisor=BY_RUNNING.divisor), in_inference(divisor=BY_BATCH.divisor)):
        assert names(causes) == ["other-divisor"]


def test_parts_that_are_known_together_are_one_cause():
    assert names(in_training(scale=of(BETA), shift=of(GAMMA))) == ["gamma-beta-swapped"]
    assert names(in_training(scale=Formula(), shift=Formula())) == ["returns-zeros"]
    (found,) = in_inference(centre=Formula(), divisor=of(ONE), scale=of(ONE), shift=Formula())
    assert found.name == "returns-input"
    assert found.measured == "y = x / std, std^2 = 1"
    assert found.coefficients == {"std^2: 1": 1, "scale: 1": 1}


@pytest.mark.parametrize("words", ["mean", "mean / std", "gamma mean"])
def test_a_mean_that_the_shift_subtracts_is_missing_at_no_other_place(words):
    (term,) = (t for t in _unscaled() if t.words == words)
    folded = linear((1, BETA), (-1, term))
    (found,) = in_training(centre=Formula(), shift=folded)
    assert (found.name, found.title) == ("other-shift", f"another shift stands in beta's place: beta - {words}")
    assert names(in_training(centre=Formula(), divisor=of(VAR), scale=of(ABSOLUTE), shift=folded)) == [
        "eps-missing",
        "gamma-absolute",
        "other-shift",
    ]
    assert names(in_training(shift=folded)) == ["other-shift"]
    for centre, name in ((linear((2, MEAN)), "other-centre"), (linear((-1, MEAN)), "mean-added")):
        assert names(in_training(centre=centre, shift=folded)) == [name, "other-shift"]
    assert names(in_training(centre=Formula(), shift=Formula())) == ["mean-not-subtracted", "beta-ignored"]


def test_updated_statistics_are_one_cause_beside_what_else_deviates():
    trained = in_training(centre=MOVED_MEAN, divisor=MOVED_VAR, scale=of(ABSOLUTE))
    assert names(trained) == ["updated-statistics-in-training", "gamma-absolute"]
    inferred = in_inference(centre=MOVED_MEAN, divisor=MOVED_VAR, shift=Formula())
    assert names(inferred) == ["updated-statistics-in-inference", "beta-ignored"]
    assert "(1 - a) running mean + a mean" in trained[0].measured
    assert trained[0].formula.endswith("std^2 = var + eps")
    assert inferred[0].formula.endswith("std^2 = running variance + eps")
    assert trained[0].coefficients["centre: a mean"] == 1
    for causes in (in_training(centre=MOVED_MEAN), in_inference(centre=MOVED_MEAN)):
        assert names(causes) == ["other-centre"]
    for causes in (in_training(divisor=MOVED_VAR), in_inference(divisor=MOVED_VAR)):
        assert names(causes) == ["other-divisor"]
    half = in_training(centre=MOVED_MEAN, divisor=BY_RUNNING.divisor)  # neither the running ones nor the updated
    assert names(half) == ["other-centre", "other-divisor"]


# Regions.


def test_a_region_is_named_once_for_both_statistics():
    (found,) = in_training(centre=of(mean(OVER_N)), divisor=of(variance(OVER_N), EPS))
    assert found.name == "spatial-axes-not-reduced"
    assert found.measured == "y = gamma (x - mean over N) / std + beta, std^2 = var over N + eps"
    assert found.formula == "y = gamma (x - mean) / std + beta, std^2 = var + eps"
    assert found.coefficients["std^2: var over N"] == 1
    assert names(in_training(centre=of(mean(OVER_ALL)))) == ["all-axes-reduced"]
    assert names(in_training(divisor=of(variance(OVER_ALL), EPS))) == ["all-axes-reduced"]


def test_two_regions_are_two_causes():
    causes = in_training(centre=of(mean(OVER_ALL)), divisor=of(variance(OVER_N), EPS))
    assert names(causes) == ["all-axes-reduced", "spatial-axes-not-reduced"]


def test_a_region_without_a_name_is_told_in_words():
    (found,) = in_training(centre=of(mean(OVER_S)), divisor=of(variance(OVER_S), EPS))
    assert (found.kind, found.name) == ("wrong", "other-axes")
    assert found.title == "statistics are taken over S, not over every axis but the channels'"
    assert found.effect == "Statistics are of other values than the channel's."
    assert found.measured.endswith("std^2 = var over S + eps")
    assert found.formula.endswith("std^2 = var + eps")
    assert found.coefficients["centre: mean over S"] == 1


def test_what_else_deviates_is_named_behind_the_region():
    causes = in_training(centre=of(mean(OVER_N)), divisor=of(variance(OVER_N)), scale=of(ABSOLUTE))
    assert names(causes) == ["spatial-axes-not-reduced", "eps-missing", "gamma-absolute"]
    other = in_training(centre=linear((2, mean(OVER_N))), divisor=of(variance(OVER_N), EPS))
    assert names(other) == ["spatial-axes-not-reduced", "other-centre"]
    assert other[1].title == "x is centred by another value: 2 mean over N"


def test_a_variance_about_another_mean_is_no_region():
    about = variance(OVER_ALL, about=Region())
    assert names(in_training(divisor=of(about, EPS))) == ["one-variance-for-all-channels"]
    sample = variance(Region("SL"), about=Region())
    assert names(in_training(divisor=of(sample, EPS))) == ["other-divisor"]
    assert names(in_training(divisor=of(variance(OVER_S, about=Region()), EPS))) == ["other-divisor"]


def test_batch_statistics_of_a_region_in_inference_are_named_as_both():
    def over(region):
        return names(in_inference(centre=of(mean(region)), divisor=of(variance(region), EPS)))

    assert over(OVER_ALL) == ["batch-statistics-in-inference", "all-axes-reduced"]
    assert over(OVER_N) == ["batch-statistics-in-inference", "spatial-axes-not-reduced"]
    assert over(Region("NL"))[0] == "batch-statistics-in-inference"
    for of_one_sample in (Region("SL"), Region("CSL"), OVER_S, Region("C")):  # nothing else in the batch matters
        assert "batch-statistics-in-inference" not in over(of_one_sample)
    assert over(Region("SL"))[0] == "per-sample-statistics"


# Some of the values.

PARTS = {part.words: part for part in parts()}


def of_part(words, divided="", *more, **changed):
    part = PARTS[words]
    about = part_mean(part, bool(divided))
    divisor = linear((1, part_variance(part, about, divided)), *(more or [(1, EPS)]))
    return in_training(**{"centre": of(about), "divisor": divisor, "part": part} | changed)


def test_which_values_statistics_are_of_is_said():
    (found,) = of_part("the first half of the samples")
    assert found.name == "statistics-of-some-values"
    assert found.title == "mean and variance are taken of the first half of the samples"
    (other,) = of_part("the first half of the samples", " / m")
    assert other.title == (
        "mean and variance are taken of the first half of the samples: sum x of the first half of the samples / m"
        " and std^2 = sum (x - mean)^2 of the first half of the samples / m + eps"
    )


def test_of_the_variance_alone_it_is_said_with_the_formula():
    part = PARTS["all but the last value"]
    (found,) = in_training(divisor=of(part_variance(part, MEAN), EPS), part=part)
    assert found.title == (
        "the variance is taken of all but the last value: "
        "std^2 = var of all but the last value about the mean of all + eps"
    )


@pytest.mark.parametrize(
    "words",
    ["the first channel", "the channel before", "channel c mod 4", "sample c for channel c, where N = C"],
)
def test_other_channels_are_told_from_some_values(words):
    (found,) = of_part(words)
    assert found.name == "statistics-of-other-channels"
    assert words in found.title
    assert words in found.measured


@pytest.mark.parametrize(
    ("divided", "more", "left"),
    [
        ("", [(0.25, ONE)], ["eps-ignored"]),
        ("", [(2, EPS)], ["eps-twice"]),
        (" / m", [(2, EPS)], ["eps-twice"]),
        (" / m", [(1e-5, ONE)], ["eps-fixed-1e-5"]),
        ("", [(1, EPS), (1, ONE)], ["other-divisor"]),
    ],
)
def test_an_eps_that_deviates_beside_a_part_is_named(divided, more, left):
    assert names(of_part("the first half of the values", divided, *more)) == ["statistics-of-some-values", *left]


# How a formula is written.


def test_y_is_written_with_what_it_has():
    def y(**changed):
        return written(replace(BY_BATCH, **changed))

    tail = ", std^2 = var + eps"
    assert y() == "y = gamma (x - mean) / std + beta" + tail
    assert y(centre=Formula()) == "y = gamma x / std + beta" + tail
    assert y(centre=linear((-1, MEAN))) == "y = gamma (x + mean) / std + beta" + tail
    assert y(centre=linear((1, MEAN), (2, EPS))) == "y = gamma (x - (mean + 2 eps)) / std + beta" + tail
    assert y(centre=linear((1, MEAN), (-2, EPS))) == "y = gamma (x - (mean - 2 eps)) / std + beta" + tail
    assert y(scale=of(ONE)) == "y = (x - mean) / std + beta" + tail
    assert y(scale=of(GAMMA, ONE)) == "y = (gamma + 1) (x - mean) / std + beta" + tail
    assert y(scale=of(SCALES[4])) == "y = (1 + gamma) (x - mean) / std + beta" + tail
    assert y(scale=Formula()) == "y = beta"
    assert y(scale=Formula(), shift=Formula()) == "y = 0"
    assert y(shift=Formula()) == "y = gamma (x - mean) / std" + tail
    assert y(shift=linear((-1, BETA))) == "y = gamma (x - mean) / std - beta" + tail
    assert y(shift=linear((2, BETA))) == "y = gamma (x - mean) / std + 2 beta" + tail
    assert y(power=-1) == "y = gamma (x - mean) / std + beta, 1/std = var + eps"
    assert y(power=3) == "y = gamma (x - mean) / std + beta, std^3 = var + eps"


# Running statistics.


def moved(which, *terms, power=1, row=TORCH):
    """Return the causes of an update: terms are (weight, term), or (constant, weight, term)."""
    wide = [(1.0, *t) if len(t) == 2 else t for t in terms]
    formula = Formula(tuple((c, weighed(term, [name])[0]) for c, name, term in wide))
    return running_causes(Running(which, formula, power), row)


OLD, NEW = ("(1 - a)", RUNNING_VAR), ("a", UNBIASED)


def test_the_rows_own_update_has_no_cause():
    assert moved("variance", OLD, NEW) == []
    assert moved("mean", ("(1 - a)", RUNNING_MEAN), ("a", MEAN)) == []
    assert moved("variance", ("a", RUNNING_VAR), ("(1 - a)", VAR), row=KERAS) == []
    assert moved("mean", ("a", RUNNING_MEAN), ("(1 - a)", MEAN), row=KERAS) == []


def test_an_update_is_told_with_its_formula():
    (found,) = moved("variance", OLD, ("a", VAR))
    assert (found.kind, found.name) == ("convention", "running-variance-biased")
    assert found.measured == "running variance = (1 - a) running variance + a var"
    assert found.formula == "running variance = (1 - a) running variance + a unbiased var"
    assert found.coefficients == {"(1 - a) running variance": 1, "a var": 1}
    (other,) = moved("mean", ("(1 - a)", RUNNING_MEAN), (0.5, "a", MEAN))
    assert (other.name, other.title) == ("other-running-mean", "running mean = (1 - a) running mean + 0.5 a mean")
    assert other.coefficients == {"(1 - a) running mean": 1, "a mean": 0.5}


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        (("a",), ("(1 - a)",), "momentum-sense"),
        (("1",), ("a",), "running-not-decayed"),
        (("(1 - a)",), ("1",), "running-sum"),
        (("a",), ("1",), "running-sum"),
        (("(1 - a)^2",), ("(1 - (1 - a)^2)",), "running-updated-twice"),
        (("(1 - a)^3",), ("(1 - (1 - a)^3)",), "running-updated-thrice"),
        (("(1 - a^2)",), ("a^2",), "momentum-squared"),
        (("(1 - a)",), ("a^2",), "momentum-squared"),
        ((0.9, "1"), (0.1, "1"), "momentum-fixed-0.1"),
        ((0.99, "1"), (0.01, "1"), "momentum-fixed-0.01"),
        (("float32(1 - a)",), ("a",), "momentum-rounded-to-float32"),
        (("(1 - a)",), ("float32(a)",), "momentum-rounded-to-float32"),
        (("(1 - float32(a))",), ("float32(a)",), "momentum-rounded-to-float32"),
        (("float32(a)",), ("(1 - float32(a))",), "momentum-sense"),
        (("1",), ("float32(a)",), "running-not-decayed"),
        (("a",), ("a",), "other-running-mean"),
        (("a^2",), ("(1 - a^2)",), "other-running-mean"),
        (("(1 - (1 - a)^2)",), ("(1 - a)^2",), "other-running-mean"),
        ((0.5, "(1 - a)"), ("a",), "other-running-mean"),
        ((0.9, "(1 - a)"), (0.1, "(1 - a)"), "other-running-mean"),
        ((0.9, "a"), (0.1, "a"), "other-running-mean"),
        (("(1 - a)",), (-1.0, "a"), "other-running-mean"),
        ((0.7, "1"), (0.3, "1"), "other-running-mean"),
    ],
)
def test_weights_are_named(old, new, name):
    (found,) = moved("mean", (*old, RUNNING_MEAN), (*new, MEAN))
    assert found.name == name
    (again,) = moved("variance", (*old, RUNNING_VAR), (*new, UNBIASED))
    assert again.name == name.replace("running-mean", "running-variance")


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("(1 - a)", "a", "momentum-sense"),
        ("1", "(1 - a)", "running-not-decayed"),
        ("a", "1", "running-sum"),
        ("(1 - a)", "1", "running-sum"),
        ("a^2", "(1 - a^2)", "running-updated-twice"),
        ("a", "(1 - a)^2", "momentum-squared"),
        ("(1 - (1 - a)^2)", "(1 - a)^2", "momentum-squared"),
        ("(1 - a)^2", "(1 - (1 - a)^2)", "other-running-mean"),
        ("float32(a)", "(1 - a)", "momentum-rounded-to-float32"),
        ("a", "float32(1 - a)", "momentum-rounded-to-float32"),
        ("float32(1 - a)", "float32(a)", "momentum-sense"),
    ],
)
def test_weights_are_those_of_a_row_whose_momentum_weighs_the_old_value(old, new, name):
    (found,) = moved("mean", (old, RUNNING_MEAN), (new, MEAN), row=KERAS)
    assert found.name == name


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("1/(1 + a)", "a/(1 + a)", "momentum-sense"),
        ("a", "(1 - a)", "other-running-mean"),
        ("(1 - a)", "a", "other-running-mean"),
        ("a", "1", "running-sum"),
        ("a/(1 + a)", "1", "running-sum"),
        ("1", "1/(1 + a)", "running-not-decayed"),
        ("float32(a)/(1 + float32(a))", "1/(1 + float32(a))", "momentum-rounded-to-float32"),
        ("1/(1 + float32(a))", "float32(a)/(1 + float32(a))", "momentum-sense"),
    ],
)
def test_weights_are_those_of_a_row_whose_momentum_is_a_factor_on_sums(old, new, name):
    (found,) = moved("mean", (old, RUNNING_MEAN), (new, MEAN), row=ROWS["haiku"])
    assert found.name == name
    assert found.formula == "running mean = a/(1 + a) running mean + 1/(1 + a) mean"
    assert found.measured != found.formula


def test_the_own_update_of_such_a_row_has_no_cause_and_momentum_that_is_rounded_as_a_complement_is_named():
    assert moved("mean", ("a/(1 + a)", RUNNING_MEAN), ("1/(1 + a)", MEAN), row=ROWS["haiku"]) == []
    (found,) = moved("mean", ("(1 - float32(1 - a))", RUNNING_MEAN), ("float32(1 - a)", MEAN), row=KERAS)
    assert found.name == "momentum-rounded-to-float32"
    further = ("(1 - a)^2 a", constant("(mean - running mean)^2", lambda w: w.var))
    (other,) = moved("variance", ("a/(1 + a)", RUNNING_VAR), ("1/(1 + a)", VAR), further, row=ROWS["haiku"])
    assert other.name == "other-running-variance"  # by (1 - a)^2 a the updated mean lies off in another sense


def test_what_is_kept_or_replaced_is_named():
    assert names(moved("mean", ("1", RUNNING_MEAN))) == ["running-not-updated"]
    assert names(moved("variance", ("1", RUNNING_VAR))) == ["running-not-updated"]
    assert names(moved("mean", ("1", MEAN))) == ["running-replaced"]
    assert names(moved("variance", ("1", UNBIASED))) == ["running-replaced"]
    assert names(moved("mean", ("(1 - a)", RUNNING_MEAN))) == ["other-running-mean"]
    assert names(moved("variance", (0.5, "1", RUNNING_VAR))) == ["other-running-variance"]
    assert names(moved("mean")) == ["other-running-mean"]


def test_what_goes_into_the_other_statistic_is_named_alone():
    for causes in (
        moved("mean", ("(1 - a)", RUNNING_MEAN), ("a", VAR)),
        moved("mean", ("a", RUNNING_VAR), ("(1 - a)", MEAN)),
        moved("variance", ("(1 - a)", RUNNING_MEAN), ("a", VAR)),
        moved("variance", OLD, ("a", MEAN)),
        moved("variance", OLD, NEW, ("a", MEAN)),
    ):
        assert names(causes) == ["running-statistics-crossed"]


def test_which_variance_is_stored_is_named():
    assert names(moved("variance", OLD, ("a", VAR))) == ["running-variance-biased"]
    assert names(moved("variance", ("a", RUNNING_VAR), ("(1 - a)", UNBIASED), row=KERAS)) == [
        "running-variance-unbiased"
    ]
    assert names(moved("variance", OLD, ("a", second_moment()))) == ["second-moment-as-variance"]
    assert names(moved("variance", OLD, ("a", variance(Region(), "1")))) == ["running-variance-is-sum"]
    assert names(moved("variance", OLD, ("a", variance(Region(), "C")))) == ["other-running-variance"]
    assert names(moved("mean", ("(1 - a)", RUNNING_MEAN), ("a", mean(Region(), "(m - 1)")))) == [
        "running-mean-corrected"
    ]
    assert names(moved("mean", ("(1 - a)", RUNNING_MEAN), ("a", mean(Region(), "C")))) == ["other-running-mean"]


def test_weights_and_variance_of_another_row_are_one_cause_and_of_none_two():
    sense = ("a", RUNNING_VAR), ("(1 - a)", VAR)
    assert names(moved("variance", *sense)) == ["momentum-sense+running-variance-biased"]
    other = ("(1 - a)", RUNNING_VAR), ("a", UNBIASED)
    assert names(moved("variance", *other, row=KERAS)) == ["momentum-sense+running-variance-unbiased"]
    assert names(moved("variance", ("1", RUNNING_VAR), ("a", VAR))) == [
        "running-not-decayed",
        "running-variance-biased",
    ]
    moments = ("a", RUNNING_VAR), ("(1 - a)", second_moment())
    assert names(moved("variance", *moments)) == ["momentum-sense", "second-moment-as-variance"]
    assert names(moved("mean", ("a", RUNNING_MEAN), ("(1 - a)", mean(Region(), "(m - 1)")))) == [
        "momentum-sense",
        "running-mean-corrected",
    ]


DISTANCE = constant("(mean - running mean)^2", lambda w: (MEAN.value(w) - w.running_mean) ** 2)
UPDATED, MET = "running-variance-about-running-mean", "running-variance-about-old-mean"


@pytest.mark.parametrize(
    ("weight", "term", "name"),
    [
        ("a", EPS, "running-variance-with-eps"),
        ("(1 - a) a", EPS, "running-variance-with-eps"),
        ("1", counted("m/(m - 1)", EPS), "running-variance-with-eps"),
        ("(1 - a) a", DISTANCE, "running-variance-of-mixture"),
        ("a", DISTANCE, MET),
        ("a", counted("m/(m - 1)", DISTANCE), MET),
        ("(1 - a)^2 a", DISTANCE, UPDATED),
        ("(1 - a)^2 a", counted("m/(m - 1)", DISTANCE), UPDATED),
        ("(1 - a) a^2", DISTANCE, "other-running-variance"),
        ("1", DISTANCE, "other-running-variance"),
        ("(1 - a)", DISTANCE, "other-running-variance"),
        ("a", ONE, "other-running-variance"),
    ],
)
def test_what_else_enters_the_variance_is_named(weight, term, name):
    assert names(moved("variance", OLD, NEW, (weight, term))) == [name]
    assert names(moved("variance", OLD, ("a", VAR), (weight, term))) == ["running-variance-biased", name]


def test_what_else_enters_counts_with_its_constant_and_by_the_rows_weights():
    assert names(moved("variance", OLD, NEW, (2.0, "a", DISTANCE))) == ["other-running-variance"]
    assert names(moved("variance", OLD, NEW, (-1.0, "a", DISTANCE))) == ["other-running-variance"]
    assert names(moved("variance", OLD, NEW, (-1.0, "a", EPS))) == ["other-running-variance"]
    assert names(moved("variance", OLD, NEW, (2.0, "a", EPS))) == ["running-variance-with-eps"]
    by_keras = {"(1 - a)": MET, "(1 - a) a^2": UPDATED, "(1 - a)^2 a": "other-running-variance"}
    for weight, name in by_keras.items():
        old_first = ("a", RUNNING_VAR), ("(1 - a)", VAR), (weight, DISTANCE)
        assert names(moved("variance", *old_first, row=KERAS)) == [name]


def test_standard_deviations_that_are_averaged_are_one_cause():
    std, stored = constant("std", lambda w: np.sqrt(w.var)), constant("running std", lambda w: np.sqrt(w.running_var))
    assert names(moved("variance", ("a", stored), ("a", std), power=0.5)) == ["running-std-averaged"]
    (found,) = moved("variance", ("(1 - a)", stored), ("a", std), power=0.5)
    assert found.measured == "running variance = ((1 - a) running std + a std)^2"
    assert names(moved("variance", OLD, ("a", std))) == ["running-std"]


def test_no_two_parts_have_the_same_words():
    words = [part.words for part in parts()]
    assert len(set(words)) == len(words)  # what is computed of a part is kept by them
