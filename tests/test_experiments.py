"""Do the experiments with networks say what the pages say of them, and do they give the same when run again?

Verified here: every claim against the committed data, over all seeds; that a short run of each experiment gives data
of the same kind, and a full run of its cheapest parts the same numbers; that runs which differ are told apart. Not
verified here: the long runs, which `python -m figures --check NAME` repeats, in a minute or so each.
"""

import copy
import math

import numpy as np
import pytest

from figures import collapse, segnet, small_batch, within_the_seeds
from figures.__main__ import agreed, stored
from refnorm import batch_norm_training

DIGITS, SEGNET, COLLAPSE = (stored(name) for name in ("small_batch", "segnet", "collapse"))


def mean(name, size):
    return float(np.mean(DIGITS["error"][name][DIGITS["batch"].index(size)]))


def test_batch_norm_is_better_than_group_norm_from_8_on_and_worse_from_4_down():
    for size in (8, 16, 32, 64, 128):
        assert max(mean("running average", size), mean("population", size)) < mean("group norm", size)
    for size in (1, 2, 4):
        assert min(mean("running average", size), mean("population", size)) > mean("group norm", size)


def test_a_batch_of_one_guesses():
    for name in ("batch statistics", "running average", "population"):
        assert mean(name, 1) == pytest.approx(90, abs=3)  # ten classes
    assert not np.any(batch_norm_training(np.random.default_rng(0).standard_normal((1, 5)))[0])


def test_a_batch_of_two_is_beyond_the_cure_of_better_statistics():
    assert min(DIGITS["error"]["population"][1]) > 4 * max(DIGITS["error"]["group norm"][1])


def test_statistics_of_the_test_batch_are_the_worst_below_32():
    for size in (2, 4, 8, 16):
        worst = min(DIGITS["error"]["batch statistics"][DIGITS["batch"].index(size)])
        assert worst > max(DIGITS["error"]["running average"][DIGITS["batch"].index(size)])


def test_what_needs_no_batch_stays_below_six_per_cent_at_every_size():
    for name in ("frozen", "group norm", "layer norm", "SELU"):
        assert max(mean(name, size) for size in DIGITS["batch"]) < 6


def test_the_published_crossover_lies_between_8_and_16_images():
    published = DIGITS["published"]
    differences = [bn - gn for bn, gn in zip(published["BN"], published["GN"], strict=True)]
    assert [d > 0 for d in differences] == [n < 16 for n in published["batch"]]


@pytest.mark.parametrize("method", small_batch.METHODS)
def test_a_batch_of_128_gives_what_is_committed(method):
    pytest.importorskip("sklearn")
    for name, errors in small_batch.trained(method, 128).items():
        assert within_the_seeds([errors], [DIGITS["error"][name][-1]]), name


def test_the_split_of_the_digits_leaves_nothing_out_and_uses_nothing_twice():
    pytest.importorskip("sklearn")
    x, labels, test, answers = small_batch.digits([0, 1])
    assert x.shape == (2, 1000, 64)
    assert test.shape == (2, 797, 64)
    for seed in range(2):
        together = np.concatenate([labels[seed], answers[seed]])
        assert np.bincount(together).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # of the data set


def overlap(setting, way):
    return np.array(SEGNET[setting][way])


@pytest.mark.parametrize("iterations", [2000, 5000])
def test_at_batch_one_learn_is_fine_and_inference_is_not(iterations):
    setting = f"exposures differ, batch 1, {iterations} iterations"
    for way in ("running average", "population"):
        assert np.all(overlap(setting, "LEARN") - overlap(setting, way) > 10)


@pytest.mark.parametrize("iterations", [2000, 5000])
def test_at_batch_four_all_ways_are_alike(iterations):
    setting = f"exposures differ, batch 4, {iterations} iterations"
    for way in ("running average", "population"):
        assert np.all(abs(overlap(setting, "LEARN") - overlap(setting, way)) < 5)


def test_at_batch_one_equal_exposures_leave_no_gap():
    setting = "exposures equal, batch 1, 2000 iterations"
    for way in ("running average", "population"):
        assert abs(overlap(setting, "LEARN") - overlap(setting, way)).max() < 6


def test_a_short_run_of_segnet_gives_data_of_the_same_kind():
    (short,) = segnet.trained(1, segnet.EXPOSURE, (20,), seed=0)
    assert len(short) == len(segnet.WAYS)
    assert all(0 <= value <= 100 for value in short)


def test_the_images_of_the_control_have_one_exposure():
    for exposure in (0.0, segnet.EXPOSURE):
        x, _ = segnet.scenes(400, np.random.default_rng(0), exposure)
        level = np.median(x, axis=(1, 2, 3))
        assert (level.std() > 0.3) == (exposure > 0)


def at(name, key, step):
    return np.array(COLLAPSE[name][key][COLLAPSE[name]["step"].index(step)])


def test_inference_collapses_while_training_mode_improves():
    assert np.all(at("adam", "training", 6000) < at("adam", "training", 1000))
    start, best, collapsed = (at("adam", "inference", step).mean() for step in (0, 500, 6000))
    assert best < start < collapsed
    assert collapsed > math.sqrt(math.pi) / 2  # the loss of a map of zeros: half the integral of exp(-d^2)
    assert np.all(at("adam", "inference", 6000) > 5 * at("adam", "training", 6000))
    assert np.all(at("adam", "population", 6000) < at("adam", "training", 6000))  # the network itself is sound


def test_a_shorter_average_cures_it():
    assert np.all(at("adam", "inference", 6500) < at("adam", "inference", 6000) / 2)
    assert np.all(at("adam", "inference", 12000) < at("adam", "training", 12000))


def test_it_is_the_movement_and_not_the_optimizer():
    assert np.all(at("sgd, more l2", "inference", 3000) > 5 * at("sgd, more l2", "training", 3000))
    assert np.all(at("sgd, more l2", "population", 3000) < at("sgd, more l2", "training", 3000))


@pytest.mark.parametrize("name", ["slower", "sgd", "no l2"])
def test_a_slower_step_momentum_sgd_or_no_l2_cures_it(name):
    assert at(name, "inference", 6000).mean() < at("adam", "inference", 6000).mean() / 2


def test_the_averages_lag_behind_the_parameters_by_what_their_decay_says():
    for step in (3000, 4000, 5000, 6000):
        predicted = at("adam", "moved", step).mean() * 0.997 / 0.003
        assert at("adam", "gap", step).mean() == pytest.approx(predicted, rel=0.05)


def test_with_frozen_parameters_the_averages_catch_up_as_the_decay_says():
    frozen = COLLAPSE["adam"]["frozen"]
    gap, loss = np.array(frozen["gap"]), np.array(frozen["inference"])
    noise = math.sqrt(0.003 / 1.997 / 8)  # of an average over (2 - a)/a batches of 8
    for k, step in enumerate(frozen["step"]):
        assert gap[k].mean() == pytest.approx(math.hypot(gap[0].mean() * 0.997**step, noise), rel=0.2)
    np.testing.assert_allclose(loss[-1], at("adam", "population", 6000), rtol=0.1)


def test_a_short_run_of_the_collapse_gives_what_is_committed_at_its_start():
    short = collapse.trained("sgd", steps=500)
    full = COLLAPSE["sgd"]
    for key in ("training", "inference", "population"):
        assert within_the_seeds(short[key], full[key][: len(short["step"])]), key


def test_the_gradient_of_the_heat_map_is_the_derivative_of_its_loss():
    from refnorm import gradcheck

    target = np.random.default_rng(1).random((3, 5))
    logits = np.random.default_rng(2).standard_normal((3, 5))

    def forward(logits):
        loss, dlogits, _ = collapse.heat(logits, target)
        return loss, dlogits

    assert gradcheck(forward, lambda dloss, dlogits: dloss * dlogits, logits).passed
    assert gradcheck(forward, lambda dloss, dlogits: 2 * dloss * dlogits, logits).status == "wrong"


@pytest.mark.parametrize(
    ("module", "data", "place"),
    [
        (small_batch, DIGITS, ("error", "group norm", 3)),
        (segnet, SEGNET, ("exposures equal, batch 1, 2000 iterations", "LEARN")),
        (collapse, COLLAPSE, ("adam", "training", 5)),
    ],
)
def test_runs_that_differ_are_told_apart(module, data, place):
    other = copy.deepcopy(data)
    values = other
    for key in place:
        values = values[key]
    assert module.same(data, other)
    values[:] = [value + 50 for value in values]
    assert not module.same(data, other)


def test_a_new_run_within_the_seeds_is_the_committed_one(monkeypatch):
    other = copy.deepcopy(SEGNET)
    ways = next(iter(other.values()))
    ways["LEARN"] = [value + 0.1 for value in ways["LEARN"]]
    monkeypatch.setattr(segnet, "data", lambda: other)
    assert agreed("segnet") == SEGNET
    ways["LEARN"] = [value - 50 for value in ways["LEARN"]]
    assert agreed("segnet") == other


def test_within_the_seeds_needs_the_same_shape_and_overlapping_seeds():
    assert within_the_seeds([[1.0, 3.0]], [[2.0, 4.0]])
    assert not within_the_seeds([[1.0, 3.0]], [[2.5, 9.0]])
    assert not within_the_seeds([[1.0, 3.0]], [[1.0, 3.0, 5.0]])
    assert not within_the_seeds([[math.nan, 3.0]], [[1.0, 3.0]])
