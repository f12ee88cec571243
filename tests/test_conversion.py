"""A layer carried from one convention to another, held against the target's own arithmetic and real frameworks.

Two promises are tested apart: without a count inference gives the same output, with one the target stores what it would
have stored itself. Real frameworks: torch, onnx and onnxruntime, where installed (REFNORM_FRAMEWORKS makes them
required). Not verified here: frameworks that cannot share an environment.
"""

from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import numpy as np
import pytest
from installed import framework

from refnorm import State, convert
from refnorm.conventions import ROWS, differences
from refnorm.oracle.ask.target import load_target

# One row of each kind, as far as carrying goes.
KINDS = list({(row.momentum, row.correction, row.attributes): name for name, row in ROWS.items()}.values())
PAIRS = [(a, b) for a in KINDS for b in KINDS if a != b]
RNG = np.random.default_rng(20261121)


def state(row, weight=0.125):
    """Return a layer whose new batches weigh this much, in a row's own terms."""
    mean, var = RNG.normal(size=3), RNG.uniform(0.5, 2, size=3)
    gamma, beta = RNG.normal(size=3), RNG.normal(size=3)
    momentum = weight if ROWS[row].momentum == "new" else 1 - weight
    scale = 3.0 if ROWS[row].momentum == "sums" else 1.0
    return State(mean * scale, var * scale, momentum, 1e-3, gamma, beta, scale)


def infer(s, row, x):
    eps = ROWS[row].travelled(s.eps)
    return s.gamma * (x - s.running_mean / s.weight) / np.sqrt(s.running_var / s.weight + eps) + s.beta


def step(s, row, x):
    """Train for one step in plain NumPy, as the row says; return the layer afterwards."""
    m = len(x)
    var = x.var(axis=0) * (m / (m - 1) if ROWS[row].correction else 1)
    if ROWS[row].momentum == "sums":
        moved = [s.momentum * old + new for old, new in ((s.running_mean, x.mean(axis=0)), (s.running_var, var))]
        return State(*moved, s.momentum, s.eps, s.gamma, s.beta, s.momentum * s.weight + 1)
    a = ROWS[row].travelled(s.momentum)
    old, new = (1 - a, a) if ROWS[row].momentum == "new" else (a, 1 - a)
    moved = [old * r + new * b for r, b in ((s.running_mean, x.mean(axis=0)), (s.running_var, var))]
    return State(*moved, s.momentum, s.eps, s.gamma, s.beta)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_inference_is_the_same_to_rounding(source, target):
    before = state(source)
    after = convert(before, source, target)
    x = RNG.normal(size=(5, 3))
    np.testing.assert_allclose(infer(after, target, x), infer(before, source, x), rtol=0, atol=8 * 2**-52 * 16)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_training_goes_on_as_the_source_would_have(source, target):
    # Mean: the same recurrence in other terms. After its conversion each side trains on, and agrees again.
    start = state(source)
    if ROWS[source].momentum == "sums":  # averages of equal weight from here on: s = 1/(1 - f)
        settled = 1 / (1 - start.momentum)
        start = State(*(v * settled / 3 for v in (start.running_mean, start.running_var)), start.momentum, start.eps,
                      start.gamma, start.beta, settled)  # fmt: skip
    there, here = convert(start, source, target), start
    for _ in range(5):
        x = RNG.normal(size=(8, 3))
        there, here = step(there, target, x), step(here, source, x)
    rounding = 1e-7 if "float32" in (ROWS[source].attributes, ROWS[target].attributes) else 1e-14
    np.testing.assert_allclose(
        there.running_mean / there.weight, here.running_mean / here.weight, rtol=0, atol=rounding
    )


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_with_a_count_the_target_holds_what_it_would_have_stored(source, target):
    m = 4
    a, b = state(source), convert(state(source), source, target)
    zero = np.zeros(3)
    a = State(zero, zero, a.momentum, a.eps, a.gamma, a.beta, a.weight)
    b = State(zero, zero, b.momentum, b.eps, a.gamma, a.beta, 3.0 if ROWS[target].momentum == "sums" else 1.0)
    x = RNG.normal(size=(m, 3))
    a, b = step(a, source, x), step(b, target, x)  # from zero, so that nothing but the batch is in the variance
    carried = convert(a, source, target, count=m)
    ratio = (carried.running_var / carried.weight) / (b.running_var / b.weight)
    eps_lost = ROWS[source].travelled(a.eps) - ROWS[target].travelled(a.eps)
    means = (carried.running_mean / carried.weight) / (b.running_mean / b.weight)
    # The weights differ between sums and averages in the first steps; the statistics do not.
    np.testing.assert_allclose(ratio, means, rtol=1e-6 if eps_lost else 1e-12)


def test_there_and_back_is_the_same_layer():
    before = state("torch")
    for row in ROWS:
        after = convert(convert(before, "torch", row, count=8), row, "torch", count=8)
        for name in ("running_mean", "running_var", "momentum", "eps", "weight"):
            np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-14, err_msg=row)


def test_a_smaller_eps_goes_into_the_variance():
    before = state("keras")
    after = convert(before, "keras", "torch", eps=1e-5)
    x = RNG.normal(size=(4, 3))
    assert after.eps == 1e-5
    np.testing.assert_allclose(after.running_var - before.running_var, 1e-3 - 1e-5, rtol=1e-12)
    np.testing.assert_allclose(infer(after, "torch", x), infer(before, "keras", x), rtol=1e-13)


@pytest.mark.parametrize("weight", [0.125, 0.75, 1.0])
def test_the_weight_of_the_new_batch_is_the_same_in_the_targets_own_terms(weight):
    for source, target in PAIRS:
        expected = state(target, weight).momentum
        assert convert(state(source, weight), source, target).momentum == expected


def test_caffe_blobs_exactly():
    layer = State(np.array([0.5]), np.array([2.0]), 0.25, 2.0**-10)
    blobs = convert(layer, "torch", "caffe")
    assert (blobs.momentum, blobs.weight) == (0.75, 4.0)
    assert (blobs.running_mean.item(), blobs.running_var.item()) == (2.0, 8.0)
    batch = Fraction(3)  # f s + 1 = s, and the new batch weighs 1/s = 1/4, as in torch
    assert (Fraction(3, 4) * 2 + batch) / (Fraction(3, 4) * 4 + 1) == Fraction(3, 4) * Fraction(1, 2) + batch / 4


def test_nothing_is_written_to():
    before = state("caffe")
    kept = [np.copy(a) for a in (before.running_mean, before.running_var, before.gamma, before.beta)]
    for row in ROWS:
        convert(before, "caffe", row, count=3)
    for array, copy in zip((before.running_mean, before.running_var, before.gamma, before.beta), kept, strict=True):
        assert np.array_equal(array, copy)


@pytest.mark.parametrize(
    ("change", "source", "target", "options", "said"),
    [
        ({}, "torch", "nowhere", {}, "there is no convention 'nowhere'"),
        ({"momentum": 1.5}, "torch", "keras", {}, "momentum=1.5"),
        ({"momentum": -0.5}, "torch", "keras", {}, "momentum=-0.5"),
        ({"momentum": float("nan")}, "torch", "keras", {}, "momentum=nan"),
        ({"momentum": 0.0}, "torch", "caffe", {}, "no weight"),
        ({"momentum": 1.0}, "caffe", "torch", {}, "fraction 1"),
        ({"weight": 0.0}, "caffe", "torch", {}, "weight=0.0"),
        ({"weight": float("nan")}, "caffe", "torch", {}, "weight=nan"),
        ({"weight": 2.0}, "torch", "keras", {}, "keeps averages and no sums"),
        ({"weight": 0.5}, "torch", "keras", {}, "keeps averages and no sums"),
        ({}, "torch", "keras", {"count": 1}, "count=1"),
        ({}, "torch", "keras", {"eps": 1.5}, "negative variance, smallest -0.4999.*; use eps below 1$"),
        ({}, "torch", "keras", {"eps": 10.0}, "negative variance, smallest -8.99999; use eps below 1$"),
    ],
)
def test_what_cannot_be_carried_is_refused(change, source, target, options, said):
    layer = State(**{"running_mean": np.ones(2), "running_var": np.ones(2), "momentum": 0.5, "eps": 1e-5, **change})
    with pytest.raises(ValueError, match=said):
        convert(layer, source, target, **options)


def implementation(name):
    framework(name)
    return list(load_target(name).paths.values())[-1]


@pytest.mark.parametrize(("source", "target"), [("torch", "onnx"), ("torch", "onnxruntime"), ("onnx", "torch")])
def test_real_frameworks_infer_the_same_and_store_what_the_other_would(source, target):
    a, b = implementation(source), implementation(target)
    row_a, row_b = (load_target(name).convention for name in (source, target))
    m, momentum = 6, 0.25 if row_a == "torch" else 0.75
    dtype = np.float32  # what onnxruntime takes in training
    gamma, beta, zero = (v.astype(dtype) for v in (RNG.normal(size=2), RNG.normal(size=2), np.zeros(2)))
    x = (RNG.normal(size=(m, 2)) * 2 + 1).astype(dtype)
    _, mean, var, _ = a.train(x, gamma, beta, zero, zero, momentum, 1e-3)
    layer = State(mean, var, momentum, 1e-3, gamma, beta)

    same = convert(layer, row_a, row_b)
    one = a.infer(x, gamma, beta, mean, var, 1e-3)
    other = b.infer(x, gamma, beta, same.running_mean.astype(dtype), same.running_var.astype(dtype), 1e-3)
    scale = np.abs(gamma) * (np.max(np.abs(x)) + np.max(np.abs(mean))) / np.sqrt(np.min(var)) + np.abs(beta)
    assert np.max(np.abs(one - other) / scale) <= 8 * 2**-24  # roundings of x - mean, the root, and two products

    carried = convert(layer, row_a, row_b, count=m)
    _, mean_b, var_b, _ = b.train(x, gamma, beta, zero, zero, carried.momentum, 1e-3)
    # Sums of m values in float32, either order: m u of the magnitudes, which may cancel in the mean.
    assert np.max(np.abs(carried.running_mean - mean_b)) <= (m + 4) * 2**-24 * np.max(np.abs(x))
    np.testing.assert_allclose(carried.running_var, var_b, rtol=(m + 8) * 2**-24)
    assert np.max(np.abs(var / var_b - 1)) > 0.1  # m/(m - 1) = 1.2: what an unconverted variance would be off by


SAID = {
    "momentum": "momentum",
    "running variance": "correction",
    "one value per channel": "one_value",
    "empty batch": "empty",
    "momentum travels": "momentum_as",
    "eps and momentum": "attributes",
    "ranks of x": "ranks",
}


def test_the_text_says_every_difference():
    for a in ROWS.values():
        for b in ROWS.values():
            said = [line.split(":")[0] for line in differences(a, b)]
            assert said == [words for words, field in SAID.items() if getattr(a, field) != getattr(b, field)]


def test_rows_that_are_equal_do_not_differ():
    for row in ROWS.values():
        fields = {field: getattr(row, field) for field in SAID.values()}
        words = {field: "".join([*value]) for field, value in fields.items() if isinstance(value, str)}
        several = {field: (*value,) for field, value in fields.items() if isinstance(value, tuple)}
        same = replace(row, **words, **several)
        assert same.ranks is not row.ranks
        assert same.momentum is not row.momentum
        assert differences(row, same) == []


WORDS = {
    ("torch", "caffe"): [
        "momentum: torch weighs the new batch, caffe the old sums: pass f = 1 - momentum, the count s = 1/(1 - f), and "
        "s times the statistics",
        "one value per channel: torch raises; caffe biased",
        "eps and momentum: caffe rounds them to float32: add what eps loses to the variance",
    ],
    ("keras", "caffe"): [
        "momentum: keras weighs the old value, caffe the old sums: pass f = momentum, the count s = 1/(1 - f), and s "
        "times the statistics",
        "running variance: caffe stores m/(m - 1) times the biased one: carry it as it is for the same inference, or "
        "times m/(m - 1), 1.03226 at m = 32, to train on without a jump",
        "empty batch: keras raises or statistics left or non-finite; caffe raises or statistics left",
        "eps and momentum: caffe rounds them to float32: add what eps loses to the variance",
    ],
    ("caffe", "torch"): [
        "momentum: caffe weighs the old sums, torch the new batch: divide the sums by their count s; each new batch "
        "weighs 1 - f, pass 1 - f",
        "one value per channel: caffe biased; torch raises",
        "eps and momentum: caffe rounds them to float32",
    ],
    ("caffe", "keras"): [
        "momentum: caffe weighs the old sums, keras the old value: divide the sums by their count s; each new batch "
        "weighs 1 - f, pass f",
        "running variance: caffe stores m/(m - 1) times the biased one: carry it as it is for the same inference, or "
        "times (m - 1)/m, 0.96875 at m = 32, to train on without a jump",
        "empty batch: caffe raises or statistics left; keras raises or statistics left or non-finite",
        "eps and momentum: caffe rounds them to float32",
    ],
    ("keras", "mxnet"): [
        "empty batch: keras raises or statistics left or non-finite; mxnet raises",
        "momentum travels: keras as float64; mxnet as float32",
    ],
    ("mxnet", "keras"): [
        "empty batch: mxnet raises; keras raises or statistics left or non-finite",
        "momentum travels: mxnet as float32; keras as float64",
    ],
    ("keras", "cs231n"): ["ranks of x: keras 2, 3, 4, 5; cs231n 2"],
    ("torch", "keras"): [
        "momentum: torch weighs the new batch, keras the old value: pass 1 - momentum",
        "running variance: torch stores m/(m - 1) times the biased one: carry it as it is for the same inference, or "
        "times (m - 1)/m, 0.96875 at m = 32, to train on without a jump",
        "one value per channel: torch raises; keras biased",
        "empty batch: torch raises or statistics left; keras raises or statistics left or non-finite",
    ],
    ("keras", "keras"): [],
}


@pytest.mark.parametrize(("source", "target"), WORDS)
def test_what_changes_is_said_word_by_word(source, target):
    assert differences(ROWS[source], ROWS[target]) == WORDS[source, target]


def test_what_can_just_be_carried_is_carried():
    layer = State(np.array([1.0]), np.array([0.5]), momentum=0.25, eps=0.5)
    assert convert(layer, "torch", "keras", eps=1.0).running_var == [0.0]
    assert convert(layer, "torch", "keras", count=2).running_var == [0.25]
    assert convert(layer, "keras", "torch", count=2).running_var == [1.0]
    assert convert(layer, "torch", "keras", count=2, eps=1.0).running_var == [0.25]  # a count asks for no eps
    for momentum in (0.0, 1.0):
        moved = convert(State(np.ones(1), np.ones(1), momentum, 0.5), "torch", "keras")
        assert moved.momentum == 1 - momentum
    for momentum in (1.0, 0.4):
        assert convert(State(np.ones(1), np.ones(1), momentum, 0.5), "torch", "caffe").weight == 1 / momentum
    assert convert(State(np.ones(1), np.ones(1), 0.0, 0.5, weight=1e-3), "caffe", "torch").momentum == 1
    with pytest.raises(ValueError, match="there is no convention"):
        convert(layer, "nowhere", "torch")


def test_count_and_eps_are_named_where_a_layer_is_carried():
    layer = State(np.ones(2), np.ones(2), 0.5, 1e-5)
    assert convert(layer, source="torch", target="keras", eps=0.5).eps == 0.5
    with pytest.raises(TypeError, match="positional"):
        convert(layer, "torch", "keras", 4)


def test_a_layers_state_is_not_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        state("torch").eps = 1.0
