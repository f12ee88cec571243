"""Statistics of a batch, merged and corrected: the one idea that everything in batch normalization is built on."""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import array_api_compat

from refnorm.formats import Array
from refnorm.reference._channels import average, sums
from refnorm.reference._layout import Axes, Layout, at_least_one, ieee, namespace


@dataclass(frozen=True, eq=False)
class Statistics:
    """Count, mean and variance per channel.

    Attributes
    ----------
    count : int, or array of the kept shape
        Values per channel; an array where a mask makes it differ between channels.
    mean, var : arrays of the kept shape, float64 (or the library's widest)
        The mean and the *biased* variance, mean of squared deviations: the one that normalises.

    Examples
    --------
    >>> import numpy as np
    >>> batch = Statistics.of(np.array([[1.0, 10.0], [3.0, 10.0]]))
    >>> batch.count, batch.mean, batch.var
    (2, array([ 2., 10.]), array([1., 0.]))
    """

    count: int | Array
    mean: Array
    var: Array

    @classmethod
    def of(cls, x: Array, *, axis: Axes = 1, where: Array | None = None) -> Statistics:
        """Take the statistics of one batch.

        mean = sum(x) / m,  var = sum((x - mean)^2) / m      (Ioffe & Szegedy 2015, Algorithm 1)

        Parameters
        ----------
        x : floating-point array of any rank.
        axis : the axis, or axes, that keep their own statistics.
        where : boolean, broadcast against x; only values where it is True count.

        Raises
        ------
        TypeError
            ``x`` is no floating-point array, ``where`` is not boolean.
        ValueError
            An axis is out of range, or a channel has no values (with a mask: raised on NumPy arrays, NaN elsewhere).
        """
        return moments(Layout.of(x, axis, where), x)[0]

    @ieee
    def merge(self, other: Statistics) -> Statistics:
        """Merge with the statistics of other values of the same channels, as if all had been one batch.

        With delta the difference of the means: mean = mean_a + delta n_b/n and
        n var = n_a var_a + n_b var_b + delta^2 n_a n_b/n (Chan, Golub & LeVeque 1983, equation 2.1). The last term,
        the spread of the means, is what an average of variances forgets. Where neither has a value, nor has the result.

        Examples
        --------
        >>> import numpy as np
        >>> x = np.array([[1.0], [2.0], [6.0]])
        >>> merged = Statistics.of(x[:1]).merge(Statistics.of(x[1:]))      # variances 0 and 4, means 1 and 4
        >>> merged.count, merged.mean, merged.var.round(12)                # 14/3
        (3, array([3.]), array([4.66666667]))
        """
        if not isinstance(other, Statistics):
            raise TypeError(f"only Statistics can be merged with Statistics, got {type(other).__name__}")
        if namespace(self.mean, "mean") is not namespace(other.mean, "mean"):
            raise TypeError(
                f"cannot merge statistics of {type(self.mean).__name__} with statistics of "
                f"{type(other.mean).__name__}; convert one to the library of the other"
            )
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"cannot merge statistics of {tuple(self.mean.shape)} with statistics of "
                f"{tuple(other.mean.shape)}; they must be of the same channels"
            )
        count = self.count + other.count
        divisor = at_least_one(count)
        rest, share = self.count / divisor, other.count / divisor
        delta = other.mean - self.mean
        mean = self.mean + delta * share
        var = self.var * rest + other.var * share + delta * delta * (rest * share)  # no difference: nothing cancels
        return Statistics(count, mean, var)

    @ieee
    def corrected(self, correction: float = 1) -> Array:
        """Return the variance with m - correction in place of m: 1 is Bessel's, 0 the biased one.

        Raises
        ------
        ValueError
            If count <= correction (where counts are an array on another library than NumPy: NaN or inf instead).

        Examples
        --------
        >>> import numpy as np
        >>> Statistics.of(np.array([[1.0], [3.0]])).corrected(1)      # biased: 1.0
        array([2.])
        """
        if not isinstance(correction, numbers.Real):
            raise TypeError(f"correction must be a real number, got {correction!r}")
        known = isinstance(self.count, int) or array_api_compat.is_numpy_array(self.count)
        if known and not (self.count > correction if isinstance(self.count, int) else (self.count > correction).all()):
            raise ValueError(
                f"variance with correction={correction} needs more than {correction} values per channel, "
                f"got count={self.count}; use correction=0, or a larger batch"
            )
        return self.var * (self.count / (self.count - correction))


@ieee
def moments(layout: Layout, x: Array) -> tuple[Statistics, Array]:
    """Take statistics of x, and the tail of the mean: what one float64 cannot hold of it.

    The rounded mean is off by up to u |mean|, which is many standard deviations' worth of u when mean/std is large. The
    mean of x - mean measures exactly that rest; removed from the mean and from the variance, it leaves an error that
    does not grow with mean/std (the corrected two-pass algorithm, Chan, Golub & LeVeque 1983, equation 1.7).
    """
    layout.require_values()
    first = average(layout, x)
    rest, square = (part / layout.count for part in sums(layout, x, first))
    mean = first + rest
    return Statistics(layout.count, mean, square - rest * rest), (first - mean) + rest


def deviation(layout: Layout, x: Array, mean: Array, tail: Array) -> Array:
    """Return x - (mean + tail) in the wide dtype, 0 where masked."""
    return layout.select(layout.widen(x, "x") - layout.along(mean) - layout.along(tail))
