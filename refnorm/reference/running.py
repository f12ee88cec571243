"""Running averages of batch statistics: what training stores for inference."""

from __future__ import annotations

from refnorm.formats import FORMATS, Array, dtype_name, round_once
from refnorm.reference._layout import ieee, namespace, non_negative
from refnorm.reference.statistics import Statistics


@ieee
def update_running(
    running_mean: Array,
    running_var: Array,
    statistics: Statistics,
    *,
    momentum: float = 0.1,
    correction: float = 1,
) -> tuple[Array, Array]:
    """Move running statistics towards those of a batch.

    running = (1 - momentum) running + momentum batch, where the batch's variance is m/(m - correction) times the biased
    one: with correction = 1 an unbiased estimate, as Algorithm 2 of Ioffe & Szegedy 2015 asks. Nothing is written to.

    Parameters
    ----------
    running_mean, running_var : arrays of the kept shape.
    statistics : of the batch, ``saved.statistics`` of `batch_norm_training`.
    momentum : weight of the *new* batch, in 0..1, as in PyTorch. (Keras, ONNX and others give the weight of the old.)
    correction : 1 or 0; which variance is stored is a convention, see `refnorm.conventions`.

    Returns
    -------
    running_mean, running_var : arrays in the dtypes of the given ones, computed wide and rounded once.

    Raises
    ------
    ValueError
        momentum outside 0..1, shapes that differ, or one value per channel with correction = 1.

    Examples
    --------
    >>> import numpy as np
    >>> batch = Statistics.of(np.array([[1.0], [3.0]]))           # mean 2, biased variance 1, unbiased 2
    >>> update_running(np.array([0.0]), np.array([1.0]), batch, momentum=0.5)
    (array([1.]), array([1.5]))
    """
    _require(statistics)
    weight = non_negative(momentum, "momentum")
    if weight > 1:
        raise ValueError(
            f"momentum={momentum!r} is the weight of the new batch and must be in 0..1; "
            "a framework's `decay` is 1 minus it"
        )
    return (
        _blend(running_mean, statistics.mean, 1 - weight, weight, "running_mean"),
        _blend(running_var, statistics.corrected(correction), 1 - weight, weight, "running_var"),
    )


def cumulative_update(
    running_mean: Array, running_var: Array, statistics: Statistics, *, batches: int, correction: float = 1
) -> tuple[Array, Array]:
    """Average over all batches so far with equal weights, PyTorch's ``momentum=None``.

    Parameters
    ----------
    running_mean, running_var, statistics, correction : as in `update_running`.
    batches : how many batches the running statistics already hold; 0 at the start, when their values have no weight.

    Raises
    ------
    ValueError
        If batches is negative, or as `update_running`.

    Examples
    --------
    >>> import numpy as np
    >>> batch = Statistics.of(np.array([[1.0], [3.0]]))
    >>> cumulative_update(np.array([8.0]), np.array([5.0]), batch, batches=2)      # (8 + 8 + 2) / 3, (5 + 5 + 2) / 3
    (array([6.]), array([4.]))
    """
    if batches < 0:
        raise ValueError(f"batches={batches} counts the batches already averaged and cannot be negative")
    return update_running(running_mean, running_var, statistics, momentum=1 / (batches + 1), correction=correction)


@ieee
def update_sums(
    mean_sum: Array, var_sum: Array, count: float, statistics: Statistics, *, fraction: float = 0.999
) -> tuple[Array, Array, float]:
    """Move running sums as Caffe's three blobs do: each is multiplied by a fraction, then the batch is added.

    What inference uses is mean_sum / count and var_sum / count. From zeros and count 0 the first batch is taken as it
    is, so no initial value has to be forgotten. The variance added is m/(m - 1) times the biased one, the biased one
    itself where there is a single value (Caffe, batch_norm_layer.cpp).

    Parameters
    ----------
    mean_sum, var_sum : arrays of the kept shape; the first two blobs.
    count : the third blob, Caffe's scale factor.
    statistics : of the batch.
    fraction : Caffe's moving_average_fraction, in 0..1.

    Returns
    -------
    mean_sum, var_sum, count

    Examples
    --------
    >>> import numpy as np
    >>> batch = Statistics.of(np.array([[1.0], [3.0]]))
    >>> mean_sum, var_sum, count = update_sums(np.zeros(1), np.zeros(1), 0.0, batch, fraction=0.5)
    >>> mean_sum, var_sum, count = update_sums(mean_sum, var_sum, count, batch, fraction=0.5)
    >>> count, mean_sum / count, var_sum / count
    (1.5, array([2.]), array([2.]))
    """
    if non_negative(fraction, "fraction") > 1:
        raise ValueError(f"fraction={fraction!r} is the weight of the old sums and must be in 0..1")
    _require(statistics)
    single = isinstance(statistics.count, int) and statistics.count == 1
    var = statistics.corrected(0 if single else 1)
    sums = (_blend(mean_sum, statistics.mean, fraction, 1, "mean_sum"), _blend(var_sum, var, fraction, 1, "var_sum"))
    return *sums, fraction * count + 1


def _require(statistics: Statistics) -> None:
    if not isinstance(statistics, Statistics):
        raise TypeError(f"statistics must be Statistics, saved.statistics for one, got {type(statistics).__name__}")


def _blend(running: Array, batch: Array, old_weight: float, new_weight: float, name: str) -> Array:
    """Return old_weight running + new_weight batch, computed wide and rounded once to the dtype of running."""
    xp = namespace(running, name)
    if dtype_name(running.dtype) not in FORMATS:
        raise TypeError(f"{name} is {dtype_name(running.dtype)}, expected a floating-point array")
    if namespace(batch, "the batch's statistics") is not xp:
        raise TypeError(
            f"{name} is of {xp.__name__}, the batch's statistics are {type(batch).__name__}; convert one to the other"
        )
    if dtype_name(batch.dtype) not in FORMATS:
        raise TypeError(f"the batch's statistics are {dtype_name(batch.dtype)}, expected floating-point arrays")
    if tuple(running.shape) != tuple(batch.shape):
        raise ValueError(
            f"{name} has shape {tuple(running.shape)}, the batch's statistics {tuple(batch.shape)}; "
            "they must be of the same channels"
        )
    return round_once(xp, old_weight * xp.astype(running, batch.dtype) + new_weight * batch, running.dtype)
