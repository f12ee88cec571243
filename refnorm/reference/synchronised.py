"""Synchronised batch normalization: workers that hold shards of one batch normalise by the statistics of all of it.

The one idea again. Each worker takes the statistics of its shard; they are merged; the rest is a map of each value on
its own. Backward, the two sums dgamma and dbeta are added up over the workers. These functions do what a worker does on
its own. Between them the results travel by whatever the workers have (MPI, torch.distributed, a pipe)::

    own = shard_statistics(x)                                         # each on its own
    statistics = functools.reduce(Statistics.merge, gather(own))      # all together, in the same order on each
    y, saved = batch_norm_synchronised(x, statistics, gamma, beta)
    running_mean, running_var = update_running(running_mean, running_var, statistics)

    dgamma, dbeta = synchronised_gradients(dy, saved)
    dgamma, dbeta = sum_over_workers(dgamma), sum_over_workers(dbeta)
    dx = batch_norm_synchronised_backward(dy, saved, dgamma, dbeta)

An average of the shards' variances in place of the merge lacks the spread of their means
(`refnorm.conventions.average_of_variances`); averages that forget the counts are wrong for uneven shards as well.
"""

from __future__ import annotations

from dataclasses import replace

import array_api_compat
import numpy as np

from refnorm.formats import Array
from refnorm.reference._channels import affine
from refnorm.reference._layout import Axes, Layout, at_least_one, ieee, non_negative
from refnorm.reference.batch_norm import Saved, input_gradient, layout_of, parameter_gradients
from refnorm.reference.statistics import Statistics, moments


def shard_statistics(x: Array, *, axis: Axes = 1, where: Array | None = None) -> Statistics:
    """Take the statistics of one worker's shard, which may be empty: then they have count 0, and merging ignores them.

    Parameters
    ----------
    x, axis, where : as `Statistics.of`, which raises where there is no value.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> merged = shard_statistics(x).merge(shard_statistics(x[:0]))
    >>> merged.count, merged.mean
    (3, array([3.]))
    """
    layout = Layout.of(x, axis, where)
    statistics, _ = moments(replace(layout, count=at_least_one(layout.count)), x)
    return replace(statistics, count=layout.count)


@ieee
def batch_norm_synchronised(
    x: Array,
    statistics: Statistics,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
    axis: Axes = 1,
    where: Array | None = None,
) -> tuple[Array, Saved]:
    """Normalise a shard by the statistics of the whole batch.

    Parameters
    ----------
    x : floating-point array, the shard; may be empty.
    statistics : merged over all workers, the same on each.
    gamma, beta, eps, axis, where : as in `batch_norm_training`.

    Returns
    -------
    y : array, shape and dtype of x.
    saved : for `synchronised_gradients` and `batch_norm_synchronised_backward`.

    Raises
    ------
    TypeError, ValueError
        As `batch_norm_training`; no shard has a value (in some channel: raised on NumPy arrays; elsewhere the count,
        mean and variance of that channel are 0).

    Notes
    -----
    `batch_norm_training` knows the mean to twice float64. `Statistics` hold one float64, so here x_hat is off by
    up to 8 u (1 + merges) max|x| / std more: invisible in y of float32 unless mean/std is near its limit.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> shards = [x[:1], x[1:]]
    >>> first, second = (shard_statistics(shard) for shard in shards)
    >>> statistics = first.merge(second)                                        # of all three: mean 3, variance 14/3
    >>> y, saved = batch_norm_synchronised(shards[0], statistics, eps=1 / 3)
    >>> y.round(12)                                                             # (1 - 3) / sqrt(14/3 + 1/3)
    array([[-0.89442719]])
    """
    eps = non_negative(eps, "eps")
    layout = Layout.of(x, axis, where)
    _require_values(statistics)
    mean, var = layout.parameter(statistics.mean, "statistics.mean"), layout.parameter(statistics.var, "statistics.var")
    scale, shift = layout.parameter(gamma, "gamma", 1.0), layout.parameter(beta, "beta", 0.0)

    y = affine(layout, [(scale / layout.xp.sqrt(var + eps), x, mean)], shift)
    return y, Saved(x, gamma, where, statistics, layout.xp.zeros_like(mean), eps, axis)


@ieee
def synchronised_gradients(dy: Array, saved: Saved) -> tuple[Array, Array]:
    """Return what a shard contributes to dgamma = sum dy x_hat and dbeta = sum dy.

    Added up over the workers they are the gradients of gamma and beta. (Frameworks that average gradients over workers
    divide them by their number, as they do with the gradients of every other parameter.)

    Parameters
    ----------
    dy : array, shape of the shard
        Gradient of the loss, one loss for all workers, with respect to y; ignored where masked.
    saved : what `batch_norm_synchronised` returned.

    Returns
    -------
    dgamma, dbeta : arrays of the kept shape, wide; 0 for an empty shard.
    """
    layout = layout_of(saved)
    layout.check(dy, "dy")
    return parameter_gradients(layout, dy, saved)


@ieee
def batch_norm_synchronised_backward(dy: Array, saved: Saved, dgamma: Array, dbeta: Array) -> Array:
    """Carry the gradient of a loss back to a shard, through the mean and variance that all shards share.

    dx = gamma / sqrt(var + eps) (dy - dbeta/m - x_hat dgamma/m), with m, dgamma and dbeta of the whole batch

    Parameters
    ----------
    dy, saved : as in `synchronised_gradients`.
    dgamma, dbeta : its results, added up over all workers.

    Returns
    -------
    dx : array, shape and dtype of the shard; 0 where masked.

    Examples
    --------
    >>> import numpy as np
    >>> x, dy = np.array([[1.0], [2.0], [6.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> statistics = shard_statistics(x[:1]).merge(shard_statistics(x[1:]))
    >>> saved = [batch_norm_synchronised(part, statistics, eps=0.0)[1] for part in (x[:1], x[1:])]
    >>> sums = [synchronised_gradients(*pair) for pair in ((dy[:1], saved[0]), (dy[1:], saved[1]))]
    >>> dgamma, dbeta = (sum(parts) for parts in zip(*sums))
    >>> batch_norm_synchronised_backward(dy[1:], saved[1], dgamma, dbeta).round(6)      # dy is 0 here, dx is not
    array([[-0.220433],
           [ 0.044087]])
    """
    layout = layout_of(saved)
    layout.check(dy, "dy")
    dgamma, dbeta = layout.parameter(dgamma, "dgamma"), layout.parameter(dbeta, "dbeta")
    return input_gradient(layout, dy, saved, dgamma, dbeta)


def _require_values(statistics: Statistics) -> None:
    """Raise if no shard has a value, as far as that is known without a transfer."""
    count = statistics.count
    if (isinstance(count, int) or array_api_compat.is_numpy_array(count)) and not np.all(np.asarray(count)):
        raise ValueError(
            f"statistics.count={count}: no shard has a value to average over; skip the batch on every worker"
        )
