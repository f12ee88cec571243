"""What theory says of batches of m values of N(mean, sigma^2), normalised with eps = 0.

m var / sigma^2 is chi-squared with m - 1 degrees of freedom, and x_hat^2 / (m - 1) is a Beta(1/2, (m - 2)/2) variable
that does not depend on it; all that follows is read off these two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def inverse_quantile(level: float, m: Any) -> Any:
    """Return the quantile of sigma/s, s being the square root of the biased variance.

    Examples
    --------
    >>> [float(round(inverse_quantile(0.99, m), 2)) for m in (2, 4, 32)]      # one batch of two in a hundred: 113-fold
    [112.83, 5.9, 1.43]
    """
    from scipy.stats import chi2

    return np.sqrt(m / chi2.ppf(1 - level, np.asarray(m) - 1))


def inverse_mean(m: Any) -> Any:
    """Return E[sigma/s] = sqrt(m/2) Gamma((m - 2)/2) / Gamma((m - 1)/2); infinite at m = 2.

    Examples
    --------
    >>> inverse_mean(np.array([2, 3, 4, 8, 32])).round(3)
    array([  inf, 2.171, 1.596, 1.204, 1.041])
    """
    from scipy.special import gammaln

    m = np.asarray(m, dtype=float)
    return np.sqrt(m / 2) * np.exp(gammaln((m - 2) / 2) - gammaln((m - 1) / 2))


def inverse_deviation(m: int) -> float:
    """Return the standard deviation of sigma/s: E[sigma^2/s^2] = m/(m - 3), infinite up to m = 3."""
    return math.sqrt(m / (m - 3) - float(inverse_mean(m)) ** 2) if m > 3 else math.inf


def kurtosis(m: Any) -> Any:
    """Return E[x_hat^4] = 3 (m - 1)/(m + 1): 1 at m = 2, where x_hat is +1 or -1; 3 for many."""
    return 3 * (m - 1) / (m + 1)


def bound(m: Any) -> Any:
    """Return sqrt(m - 1), which |x_hat| never exceeds, whatever the data: x_hat has m squares that sum up to m."""
    return np.sqrt(m - 1)


def energy(m: Any) -> Any:
    """Return (m - 2)/m, the share of |dy|^2 that reaches s dx.

    Of m directions the mean takes one and x_hat another.
    """
    return (m - 2) / m
