"""Averages of variances over batches, which are no population statistics: for comparison, with what they lack."""

from __future__ import annotations

from collections.abc import Iterable

from refnorm.formats import Array
from refnorm.reference.statistics import Statistics


def average_of_variances(batches: Iterable[Statistics], correction: float = 1) -> tuple[Array, Array]:
    """Average means and variances over batches, as SegNet's compute_bn_statistics does: no population statistics.

    The variance of all values is the average of the batches' variances plus the variance of their means
    (`Statistics.merge`). The average alone lacks that spread. With correction 1 it is right on average where batches
    are drawn at random, which the paper's Algorithm 2 supposes; where they differ, by class, time or worker, it is too
    small by all that they differ. Batches of unequal size weigh the same, which skews the mean as well.

    Parameters
    ----------
    batches : statistics of each.
    correction : 1 averages the unbiased variances, 0 the biased ones.

    Returns
    -------
    mean, var : arrays of the kept shape.

    Examples
    --------
    >>> import numpy as np
    >>> sorted_values = np.arange(8.0)[:, None]
    >>> batches = [Statistics.of(part) for part in np.split(sorted_values, 2)]
    >>> average_of_variances(batches), Statistics.of(sorted_values).corrected()     # 5/3 for 6: 72 % are lost
    ((array([3.5]), array([1.66666667])), array([6.]))
    """
    means, variances = zip(*((batch.mean, batch.corrected(correction)) for batch in batches), strict=True)
    return sum(means) / len(means), sum(variances) / len(variances)
