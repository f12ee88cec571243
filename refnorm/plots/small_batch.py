"""What few values per channel do to batch normalization: theory for Gaussian data, and refnorm's own outputs.

With m values of N(mean, sigma^2), m var / sigma^2 is chi-squared with m - 1 degrees of freedom, and x_hat^2 / (m - 1)
is a Beta(1/2, (m - 2)/2) variable that does not depend on it; all that follows is read off these two. eps is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refnorm.plots import BLUE, ORANGE, SKY, significant
from refnorm.reference.batch_norm import batch_norm_training, batch_norm_training_backward

COUNTS = (2, 3, 4, 6, 8, 16, 32, 64, 128)
LEVELS = (0.01, 0.25, 0.5, 0.75, 0.99)
AT_ONCE = 2**21  # numbers drawn at a time


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


def data(
    counts: Sequence[int] = COUNTS,
    samples: int = 20_000,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Simulate batches of each count, normalise them and carry random gradients back.

    Parameters
    ----------
    counts : values per channel, each at least 2.
    samples : batches of each count.
    seed : of the random numbers; each count has its own, whatever else is asked for.
    progress : called with the number of a count, how many there are, and the count.

    Returns
    -------
    dict
        ``batches``, one entry per count: ``quantiles`` of 1/s at ``levels``; ``inverse`` (mean of 1/s), ``kurtosis``
        and ``energy``, each with ``..._error``, its standard error (None where 1/s has no variance); and ``largest``,
        of |x_hat|.

    Examples
    --------
    >>> two, four = data([2, 4], samples=1000)["batches"]
    >>> two["kurtosis"], two["largest"], two["energy"], two["inverse_error"]
    (1.0, 1.0, 0.0, None)
    >>> abs(four["kurtosis"] - kurtosis(4)) < 4 * four["kurtosis_error"]
    True
    """
    if any(m < 2 for m in counts) or samples < 2:
        raise ValueError(
            f"counts {list(counts)} and samples {samples} must be 2 or more: a single value has no variance"
        )
    batches = []
    for number, m in enumerate(sorted(set(counts)), start=1):
        progress(number, len(set(counts)), f"m = {m}")
        batches.append(significant({"m": m} | _measured(m, samples, np.random.default_rng([seed, m])), 5))
    return {"samples": samples, "seed": seed, "levels": list(LEVELS), "batches": batches}


def _measured(m: int, samples: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return what is seen in batches of m values, each batch being a channel."""
    parts = []
    for channels in np.diff(np.append(np.arange(0, samples, max(1, AT_ONCE // m)), samples)):
        x, dy = rng.standard_normal((2, m, channels))
        x_hat, saved = batch_norm_training(x, eps=0.0)
        dx, _, _ = batch_norm_training_backward(dy, saved)
        var = saved.statistics.var
        share = (dx**2).sum(0) * var / (dy**2).sum(0)
        # at m = 2 nothing but rounding differs or survives, and machines do not agree on that
        seen = [1 / np.sqrt(var), (x_hat**4).mean(0).round(12), share.round(9), np.abs(x_hat).max(0)]
        parts.append(np.stack(seen))
    inverse, fourth, share, largest = np.concatenate(parts, axis=1)
    root = math.sqrt(samples)
    return {
        "quantiles": np.quantile(inverse, LEVELS),
        "inverse": inverse.mean(),
        "inverse_error": inverse_deviation(m) / root,
        "kurtosis": fourth.mean(),
        "kurtosis_error": fourth.std(ddof=1) / root,
        "energy": share.mean(),
        "energy_error": share.std(ddof=1) / root,
        "largest": largest.max(),
    }


def caption(data: dict[str, Any]) -> str:
    """Say what is seen at the smallest count."""
    b = data["batches"][0]
    m = b["m"]
    mean = f"{inverse_mean(m):.4g}" if m > 2 else "infinite"
    return (
        f"Gaussian data, m = {m} values per channel: the mean of sigma/s is {mean}, one batch in a hundred exceeds "
        f"{inverse_quantile(0.99, m):.3g} (seen: {b['quantiles'][-1]:.3g}); kurtosis of x_hat {kurtosis(m):.4g} "
        f"(seen: {b['kurtosis']:.4g}); |x_hat| at most {bound(m):.4g} (seen: {b['largest']:.4g}); "
        f"{100 * energy(m):.3g} % of the gradient's energy survives (seen: {100 * b['energy']:.3g} %)."
    )


def draw(data: dict[str, Any]) -> Any:
    """Draw four panels against m: lines are theory, dots are seen."""
    from matplotlib.figure import Figure

    batches = data["batches"]
    counts = np.array([b["m"] for b in batches])
    m = np.geomspace(2, max(8, counts[-1]), 200)
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    (inverse, fourth), (largest, gradient) = figure.subplots(2, 2)
    dots = {"marker": "o", "linestyle": "", "color": ORANGE, "markersize": 4, "zorder": 3}

    quantiles = [inverse_quantile(level, m) for level in LEVELS]
    inverse.fill_between(m, quantiles[0], quantiles[-1], color=SKY, alpha=0.35, lw=0, label="98 % of batches")
    inverse.fill_between(m, quantiles[1], quantiles[-2], color=SKY, lw=0, label="half of them")
    inverse.plot(m, quantiles[2], color=BLUE, label="median")
    inverse.plot(m[1:], inverse_mean(m[1:]), "--", color=BLUE, label="mean, infinite at m = 2")
    inverse.plot(counts[counts > 2], [b["inverse"] for b in batches if b["m"] > 2], "+", color=BLUE, markersize=7)
    for k in range(len(LEVELS)):
        inverse.plot(counts, [b["quantiles"][k] for b in batches], **dots)
    inverse.set(yscale="log", ylim=(0.4, 200), title="sigma/s, by which a batch is stretched")

    fourth.plot(m, kurtosis(m), color=BLUE, label="3 (m - 1)/(m + 1)")
    fourth.plot(counts, [b["kurtosis"] for b in batches], **dots)
    fourth.axhline(3, color="0.6", lw=0.8, ls=":")
    fourth.set(ylim=(0, 3.3), title="kurtosis of x_hat (Gaussian: 3)")

    largest.plot(m, bound(m), color=BLUE, label="bound sqrt(m - 1)")
    largest.plot(counts, [b["largest"] for b in batches], **dots, label=f"largest of {data['samples']:,} batches")
    largest.set(ylim=(0, None), title="largest |x_hat|")

    gradient.plot(m, energy(m), color=BLUE, label="(m - 2)/m")
    gradient.plot(counts, [b["energy"] for b in batches], **dots)
    gradient.set(ylim=(-0.03, 1), title="share of the gradient's energy that survives")
    ticks = [t for t in (2, 3, 4, 8, 16, 32, 64, 128, 256, 1024, 4096) if t <= m[-1]]
    for axes in (inverse, fourth, largest, gradient):
        axes.set(xscale="log", xlabel="values per channel, m")
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
    return figure
