"""refnorm: the golden reference of batch normalization.

The reference, pure functions over arrays of any array API library (``refnorm/reference``):

    batch_norm_training, batch_norm_training_backward      normalise by the batch's statistics
    batch_norm_inference, batch_norm_inference_backward    normalise by given statistics
    batch_norm_..._backward_step_by_step                   the same gradients, the chain rule one step a line
    batch_norm_..._jvp, batch_norm_..._double_backward     forward mode; the gradient of the backward: second order
    Statistics                                             of a batch, merged, corrected
    update_running, cumulative_update, update_sums         running averages of statistics, running sums
    shard_statistics, batch_norm_synchronised, ...         one batch spread over workers
    population_statistics                                  of a data set, streamed, resumable, distributed
    fold_into_previous, fold_into_next                     absorb batch normalization into a linear map
    unfold_from_previous                                   and take it out again
    gradcheck                                              is any backward the derivative of its forward? a Verdict

The oracle, which judges any implementation against exact numbers (imported when first used):

    check(implementation, convention)                      a Report: conforms, findings, text, JSON
    reproduce(implementation, case, quantity)              one finding again
    reading(thing, takes, gives)                           declare how something is called that cannot be read
    convert(state, source, target), State                  a trained layer carried from one convention to another

The wings, in the order in which data flow:

    reference, gradients        what a student reads, and a checker of any gradient
    conventions, exact, golden  the table of conventions, the truth, the frozen cases
    oracle, testing             the judge, and its place in a test suite
    frameworks, matrix          adapters, and all of them measured
    plots, cli                  pictures of your own numbers, and the commands
"""

from typing import Any

from refnorm.gradients.gradcheck import gradcheck
from refnorm.reference.batch_norm import (
    batch_norm_inference,
    batch_norm_inference_backward,
    batch_norm_training,
    batch_norm_training_backward,
)
from refnorm.reference.folding import fold_into_next, fold_into_previous, unfold_from_previous
from refnorm.reference.population import population_statistics
from refnorm.reference.running import cumulative_update, update_running, update_sums
from refnorm.reference.second_order import (
    batch_norm_inference_double_backward,
    batch_norm_inference_jvp,
    batch_norm_training_double_backward,
    batch_norm_training_jvp,
)
from refnorm.reference.statistics import Statistics
from refnorm.reference.step_by_step import (
    batch_norm_inference_backward_step_by_step,
    batch_norm_training_backward_step_by_step,
)
from refnorm.reference.synchronised import (
    batch_norm_synchronised,
    batch_norm_synchronised_backward,
    shard_statistics,
    synchronised_gradients,
)

__version__ = "0.1.0"

__all__ = [
    "State",
    "Statistics",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "batch_norm_inference_backward_step_by_step",
    "batch_norm_inference_double_backward",
    "batch_norm_inference_jvp",
    "batch_norm_synchronised",
    "batch_norm_synchronised_backward",
    "batch_norm_training",
    "batch_norm_training_backward",
    "batch_norm_training_backward_step_by_step",
    "batch_norm_training_double_backward",
    "batch_norm_training_jvp",
    "check",
    "convert",
    "cumulative_update",
    "fold_into_next",
    "fold_into_previous",
    "gradcheck",
    "population_statistics",
    "reading",
    "reproduce",
    "shard_statistics",
    "synchronised_gradients",
    "unfold_from_previous",
    "update_running",
    "update_sums",
]


LAZY = {  # name -> where it is; with it comes the oracle half, imported only when it is asked for
    "State": "refnorm.conventions",
    "check": "refnorm.oracle",
    "reading": "refnorm.oracle.ask.doors.declared",
    "convert": "refnorm.conventions",
    "reproduce": "refnorm.oracle",
}
WINGS = ("conventions", "exact", "golden", "oracle", "testing")


def __getattr__(name: str) -> Any:
    """Import what is used by few, and with it scipy or FLINT, only when it is asked for."""
    import importlib

    if name in LAZY:
        return getattr(importlib.import_module(LAZY[name]), name)
    if name in WINGS:
        return importlib.import_module(f"refnorm.{name}")
    raise AttributeError(f"module 'refnorm' has no attribute {name!r}")
