"""refnorm: the golden reference of batch normalization.

The reference, pure functions over arrays of any array API library:

    batch_norm_training, batch_norm_training_backward      normalise by the batch's statistics
    batch_norm_inference, batch_norm_inference_backward    normalise by given statistics
    Statistics                                             of a batch, merged, corrected
    update_running, cumulative_update, update_sums         running averages of statistics, running sums
    population_statistics                                  of a data set, streamed, resumable, distributed
    fold_into_previous, fold_into_next                     absorb batch normalization into a linear map
    unfold_from_previous                                   and take it out again

The oracle, which judges any implementation against exact numbers (imported when first used):

    check(implementation, convention)                      a Report: conforms, findings, text, JSON
    reproduce(implementation, case, quantity)              one finding again
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
from refnorm.population import population_statistics
from refnorm.running import cumulative_update, update_running, update_sums
from refnorm.statistics import Statistics

__version__ = "0.1.0"

__all__ = [
    "Statistics",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "batch_norm_training",
    "batch_norm_training_backward",
    "check",
    "cumulative_update",
    "fold_into_next",
    "fold_into_previous",
    "population_statistics",
    "reproduce",
    "unfold_from_previous",
    "update_running",
    "update_sums",
]


def __getattr__(name: str) -> Any:
    """Import the oracle half, and with it FLINT, only when it is asked for."""
    import importlib

    if name in ("check", "reproduce"):
        return getattr(importlib.import_module("refnorm.oracle"), name)
    if name in ("conventions", "exact", "golden", "oracle"):
        return importlib.import_module(f"refnorm.{name}")
    raise AttributeError(f"module 'refnorm' has no attribute {name!r}")
