"""Statistics of small batches for m = 2 to 128, simulated with refnorm, against theory for Gaussian data.

The picture and the theory are those of ``refnorm plot small-batch``.
"""

from __future__ import annotations

from typing import Any

from refnorm.plots import small_batch
from refnorm.plots.small_batch import draw as draw

COUNTS = (2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
ALT = (
    "Batches of m = 2 to 128 Gaussian values, theory as lines, 40,000 simulated batches each as dots. At m = 2 one "
    "batch in a hundred is stretched more than 113-fold, the kurtosis of x_hat is 1, |x_hat| is 1 and no gradient is "
    "left. At m = 32 the mean of sigma/s is 1.041, the kurtosis 2.82, and 93.8 % of the gradient's energy survives."
)


def data() -> dict[str, Any]:
    """Simulate; see `refnorm.plots.small_batch.data`."""
    return small_batch.data(COUNTS, samples=40_000)
