"""What callers rely on beside numbers: names, order, kind and defaults of arguments, and that nothing warns.

Undefined operations follow IEEE 754 in silence: NumPy's warnings are switched off inside, whatever a caller's settings.
"""

import inspect

import numpy as np
import pytest

import refnorm

SIGNATURES = {
    "batch_norm_training": "(x, gamma=None, beta=None, *, eps=1e-05, axis=1, where=None)",
    "batch_norm_training_backward": "(dy, saved)",
    "batch_norm_inference": "(x, running_mean, running_var, gamma=None, beta=None, *, eps=1e-05, axis=1)",
    "batch_norm_inference_backward": "(dy, x, running_mean, running_var, gamma=None, *, eps=1e-05, axis=1)",
    "batch_norm_training_jvp": "(dx, dgamma, dbeta, saved)",
    "batch_norm_training_double_backward": "(ddx, ddgamma, ddbeta, dy, saved)",
    "shard_statistics": "(x, *, axis=1, where=None)",
    "batch_norm_synchronised": "(x, statistics, gamma=None, beta=None, *, eps=1e-05, axis=1, where=None)",
    "synchronised_gradients": "(dy, saved)",
    "batch_norm_synchronised_backward": "(dy, saved, dgamma, dbeta)",
    "update_running": "(running_mean, running_var, statistics, *, momentum=0.1, correction=1)",
    "cumulative_update": "(running_mean, running_var, statistics, *, batches, correction=1)",
    "update_sums": "(mean_sum, var_sum, count, statistics, *, fraction=0.999)",
    "Statistics.of": "(x, *, axis=1, where=None)",
    "Statistics.merge": "(self, other)",
    "Statistics.corrected": "(self, correction=1)",
}


def named(name):
    value = refnorm
    for part in name.split("."):
        value = getattr(value, part)
    return value


def bare(function):
    """Return a signature without its annotations."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signature_is_the_promised_one(name):
    assert bare(named(name)) == SIGNATURES[name]


HUGE = np.full((2, 1), np.finfo(float).max) * [[1.0], [-1.0]]  # squares overflow; constant columns give 0/0
FLAT = np.zeros((2, 1))
NONE = np.zeros(1)


def trained(x):
    return refnorm.batch_norm_training(x, eps=0.0)[1]


@pytest.mark.parametrize("x", [HUGE, FLAT, HUGE * np.inf], ids=["huge", "constant", "infinite"])
@pytest.mark.parametrize(
    "call",
    [
        lambda x: refnorm.batch_norm_training(x, eps=0.0),
        lambda x: refnorm.batch_norm_training_backward(x, trained(x)),
        lambda x: refnorm.batch_norm_inference(x, NONE, NONE, eps=0.0),
        lambda x: refnorm.batch_norm_inference_backward(x, x, NONE, NONE, eps=0.0),
        lambda x: refnorm.batch_norm_synchronised(x, refnorm.shard_statistics(x), eps=0.0),
        lambda x: refnorm.batch_norm_synchronised_backward(
            x, trained(x), *refnorm.synchronised_gradients(x, trained(x))
        ),
        lambda x: refnorm.Statistics.of(x).merge(refnorm.Statistics.of(-x)),
        lambda x: refnorm.Statistics(2, x[0], np.abs(x[0])).corrected(1),
        lambda x: refnorm.Statistics.of(x).corrected(1),
        lambda x: refnorm.update_running(x[0], np.abs(x[0]), refnorm.Statistics.of(x), momentum=0.5),
        lambda x: refnorm.cumulative_update(x[0], np.abs(x[0]), refnorm.Statistics.of(x), batches=1),
        lambda x: refnorm.update_sums(x[0], np.abs(x[0]), 1.0, refnorm.Statistics.of(x)),
    ],
)
def test_undefined_operations_are_silent(call, x):
    with np.errstate(all="raise"):
        call(x)


def test_infinities_that_meet_are_silent():
    infinite = np.array([np.inf])
    batch = refnorm.Statistics(2, -infinite, np.ones(1))
    with np.errstate(all="raise"):
        assert np.isnan(refnorm.update_running(infinite, np.ones(1), batch, momentum=0.5)[0])
        assert np.isnan(refnorm.cumulative_update(infinite, np.ones(1), batch, batches=1)[0])
        assert np.isnan(refnorm.update_sums(infinite, np.ones(1), 1.0, batch)[0])
        assert np.isnan(batch.merge(batch).mean)


def test_silence_can_be_broken():
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        HUGE * HUGE
