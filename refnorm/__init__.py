"""refnorm: the golden reference of batch normalization.

The reference, pure functions over arrays of any array API library:

    batch_norm_training, batch_norm_training_backward      normalise by the batch's statistics
    batch_norm_inference, batch_norm_inference_backward    normalise by given statistics
    batch_norm_..._backward_step_by_step                   the same gradients, the chain rule one step a line
    batch_norm_..._jvp, batch_norm_..._double_backward     forward mode; the gradient of the backward: second order
    Statistics                                             of a batch, merged, corrected
    update_running, cumulative_update, update_sums         running averages of statistics, running sums
    shard_statistics, batch_norm_synchronised, ...          one batch spread over workers
    population_statistics                                  of a data set, streamed, resumable, distributed
    fold_into_previous, fold_into_next                     absorb batch normalization into a linear map
    unfold_from_previous                                   and take it out again
    gradcheck                                              is any backward the derivative of its forward? a Verdict

The oracle, which judges any implementation against exact numbers (imported when first used):

    check(implementation, convention)                      a Report: conforms, findings, text, JSON
    reproduce(implementation, case, quantity)              one finding again
    convert(state, source, target), State                  a trained layer carried from one convention to another
    exact, conventions, golden                             the truth, the table of conventions, the cases
"""

from typing import Any

from refnorm.batch_norm import (
    batch_norm_inference,
    batch_norm_inference_backward,
    batch_norm_training,
    batch_norm_training_backward,
)
from refnorm.folding import fold_into_next, fold_into_previous, unfold_from_previous
from refnorm.gradcheck import gradcheck
from refnorm.population import population_statistics
from refnorm.running import cumulative_update, update_running, update_sums
from refnorm.second_order import (
    batch_norm_inference_double_backward,
    batch_norm_inference_jvp,
    batch_norm_training_double_backward,
    batch_norm_training_jvp,
)
from refnorm.statistics import Statistics
from refnorm.step_by_step import (
    batch_norm_inference_backward_step_by_step,
    batch_norm_training_backward_step_by_step,
)
from refnorm.synchronised import (
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
    "reproduce",
    "shard_statistics",
    "synchronised_gradients",
    "unfold_from_previous",
    "update_running",
    "update_sums",
]


def __getattr__(name: str) -> Any:
    """Import the oracle half, and with it FLINT, only when it is asked for."""
    import importlib

    if name in ("State", "convert"):
        return getattr(importlib.import_module("refnorm.conversion"), name)
    if name in ("check", "reproduce"):
        return getattr(importlib.import_module("refnorm.oracle"), name)
    if name in ("conventions", "exact", "golden", "oracle", "testing"):
        return importlib.import_module(f"refnorm.{name}")
    raise AttributeError(f"module 'refnorm' has no attribute {name!r}")
