"""refnorm: the golden reference of batch normalization.

The reference, pure functions over arrays of any array API library:

    batch_norm_training, batch_norm_training_backward      normalise by the batch's statistics
    batch_norm_inference, batch_norm_inference_backward    normalise by given statistics
    Statistics                                             of a batch, merged, corrected
    update_running, cumulative_update, update_sums         running averages of statistics, running sums

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
from refnorm.conversion import State, convert
from refnorm.running import cumulative_update, update_running, update_sums
from refnorm.statistics import Statistics

__version__ = "0.1.0"

__all__ = [
    "State",
    "Statistics",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "batch_norm_training",
    "batch_norm_training_backward",
    "check",
    "convert",
    "cumulative_update",
    "reproduce",
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
