"""refnorm: the golden reference of batch normalization.

The reference, pure functions over arrays of any array API library:

    batch_norm_training, batch_norm_training_backward      normalise by the batch's statistics
    batch_norm_inference, batch_norm_inference_backward    normalise by given statistics
    Statistics                                             of a batch, merged, corrected
    update_running, cumulative_update                      running averages of statistics
"""

from refnorm.batch_norm import (
    batch_norm_inference,
    batch_norm_inference_backward,
    batch_norm_training,
    batch_norm_training_backward,
)
from refnorm.running import cumulative_update, update_running
from refnorm.statistics import Statistics

__version__ = "0.1.0"

__all__ = [
    "Statistics",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "batch_norm_training",
    "batch_norm_training_backward",
    "cumulative_update",
    "update_running",
]
