"""How far a running average is behind, and how much it trembles, at a chosen momentum.

running = (1 - a) running + a batch gives weight a (1 - a)^k to the batch k steps ago: their mean age is (1 - a)/a, the
sum of their squares a/(2 - a), and (1 - a)^t of the initial value is left after t steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refnorm.plots import COLOURS, label, label_ends, significant
from refnorm.reference.running import update_running
from refnorm.reference.statistics import Statistics

MOMENTUM = (0.1, 0.01)
SMALLEST = 0.001  # below, what is simulated takes more than ten thousand steps
DRIFT = 0.01  # of the mean, per batch, in standard deviations
POINTS = 120


def lag(a: Any) -> Any:
    """Return (1 - a)/a, how many batches the average of a drifting mean is behind.

    Examples
    --------
    >>> round(lag(0.1), 12), round(effective(0.1), 12), memory(0.1)
    (9.0, 19.0, 44)
    """
    return (1 - a) / a


def effective(a: Any) -> Any:
    """Return (2 - a)/a, how many batches averaged with equal weights tremble as little."""
    return (2 - a) / a


def memory(a: float, left: float = 0.01) -> int:
    """Return after how many steps less than a share ``left`` of the initial value remains."""
    return math.floor(math.log(left) / math.log1p(-a)) + 1 if a < 1 else 1


def data(
    momentum: Sequence[float] = MOMENTUM,
    count: int = 32,
    replicas: int = 4000,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Average the statistics of Gaussian batches whose mean drifts, many channels at once.

    Parameters
    ----------
    momentum : weights of the new batch, each in 0.001..1.
    count : values per channel in a batch.
    replicas : channels.
    seed : of the random numbers; each momentum has its own.
    progress : called with the number of a momentum, how many there are, and the momentum.

    Returns
    -------
    dict
        ``averages``, one entry per momentum: ``lag``, ``mean_noise`` and ``var_noise`` (variances of running_mean and
        running_var), each with ``..._error``, its standard error; ``memory``, steps until 1 % of the initial value is
        left; ``steps``, ``path`` and ``deviation``: one channel's running mean, and its standard deviation.

    Examples
    --------
    >>> (found,) = data([0.5], replicas=500)["averages"]
    >>> abs(found["lag"] - lag(0.5)) < 4 * found["lag_error"], found["memory"]
    (True, 7)
    """
    if count < 2 or replicas < 2:
        raise ValueError(f"count {count} and replicas {replicas} must be 2 or more: a single value has no variance")
    for a in momentum:
        if not SMALLEST <= a <= 1:
            raise ValueError(
                f"momentum {a} is the weight of the new batch, from {SMALLEST} to 1; a decay is 1 minus it"
            )
    averages, shown = [], 3 * round(lag(min(momentum))) + 20
    for number, a in enumerate(momentum, start=1):
        progress(number, len(momentum), f"momentum {a}")
        averages.append(significant({"momentum": a} | _averaged(a, count, replicas, seed, shown), 5))
    return {"count": count, "replicas": replicas, "seed": seed, "drift": DRIFT, "averages": averages}


def _averaged(a: float, count: int, replicas: int, seed: int, shown: int) -> dict[str, Any]:
    """Return what is seen once the initial value is forgotten, and the path of the first ``shown`` steps."""
    rng = np.random.default_rng([seed, round(1e9 * a)])
    mean, var = np.zeros(replicas), np.ones(replicas)
    steps = max(memory(a, 1e-4), shown)
    kept = set(np.linspace(1, shown, POINTS).round().astype(int).tolist())
    seen = []
    for t in range(1, steps + 1):
        batch = rng.standard_normal(replicas) / math.sqrt(count) + DRIFT * t
        biased = rng.chisquare(count - 1, replicas) / count
        mean, var = update_running(mean, var, Statistics(count, batch, biased), momentum=a)
        if t in kept:
            seen.append((t, mean[0], mean.std()))
    value, forgotten = np.ones(1), 0
    while value[0] >= 0.01:
        zero = Statistics(count, np.zeros(1), np.zeros(1))
        value, _ = update_running(value, np.ones(1), zero, momentum=a)
        forgotten += 1
    behind, spread = steps - mean / DRIFT, math.sqrt(2 / (replicas - 1))
    # the fourth moment of a weighted sum of chi-squares: excess kurtosis 12/(count - 1) sum w^4 / (sum w^2)^2
    excess = 12 / (count - 1) * (a * (2 - a)) ** 2 / (1 - (1 - a) ** 4)
    return {
        "lag": behind.mean(),
        "lag_error": behind.std(ddof=1) / math.sqrt(replicas),
        "mean_noise": mean.var(ddof=1),
        "mean_noise_error": a / (2 - a) / count * spread,
        "var_noise": var.var(ddof=1),
        "var_noise_error": a / (2 - a) * 2 / (count - 1) * math.sqrt(spread**2 + excess / replicas),
        "memory": forgotten,
        "steps": [t for t, _, _ in seen],
        "path": [path for _, path, _ in seen],
        "deviation": [deviation for _, _, deviation in seen],
    }


def caption(data: dict[str, Any]) -> str:
    """Say what each momentum does."""
    lines = [
        f"momentum {b['momentum']:g} is {lag(b['momentum']):.4g} batches behind (seen: {b['lag']:.4g}), trembles like "
        f"an average over {effective(b['momentum']):.4g} (seen: {1 / (data['count'] * b['mean_noise']):.4g}), and has "
        f"less than 1 % of its initial value left after {memory(b['momentum'])} steps (seen: {b['memory']})"
        for b in data["averages"]
    ]
    return f"A running average with {'; with '.join(lines)}."


def table(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each momentum, theory beside what was seen."""
    series = ("steps", "path", "deviation")
    rows = []
    for b in data["averages"]:
        a = b["momentum"]
        theory = {"lag in theory": lag(a), "effective batches in theory": effective(a), "memory in theory": memory(a)}
        rows.append({key: value for key, value in b.items() if key not in series} | significant(theory))
    return rows


def draw(data: dict[str, Any]) -> Any:
    """Draw a drifting mean followed, the initial value forgotten, and lag and noise against momentum."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    follow, forget, trade = figure.subplots(1, 3)
    end = data["averages"][0]["steps"][-1]
    follow.plot([0, end], [0, data["drift"] * end], color="0.4", lw=1)
    ends = [(data["drift"] * end, "mean of the data", "0.4")]
    for colour, b in zip(COLOURS * len(data["averages"]), data["averages"], strict=False):
        a = b["momentum"]
        t, path, deviation = (np.array(b[name]) for name in ("steps", "path", "deviation"))
        follow.plot(t, path, color=colour, lw=1)
        ends.append((path[-1], f"momentum {a:g}:\n{lag(a):.3g} behind", colour))
        centre = data["drift"] * (t - lag(a) * (1 - (1 - a) ** t))
        follow.fill_between(t, centre - 2 * deviation, centre + 2 * deviation, color=colour, alpha=0.25, lw=0)
        steps = np.unique(np.geomspace(1, 2 * memory(a), 60).round())
        forget.plot(steps, (1 - a) ** steps, color=colour)
        forget.plot(b["memory"], 0.01, "o", color=colour, markersize=4)
        label(forget, b["memory"], 0.01, f"{b['memory']}", colour, up=6)
        trade.plot(a, b["lag"], "o", color=colour, markersize=4)
        trade.plot(a, 1 / (data["count"] * b["mean_noise"]), "s", color=colour, markersize=4)
    follow.set(xlabel="batches", title=f"a mean that drifts by {data['drift']} sigma a batch", xlim=(0, end))
    label_ends(follow, end, ends)
    forget.axhline(0.01, color="0.6", lw=0.8, ls=":")
    forget.set(xscale="log", yscale="log", ylim=(1e-3, 1.2), xlabel="batches", title="initial value left")
    a = np.geomspace(min(SMALLEST * 5, *(b["momentum"] for b in data["averages"])), 0.9, 100)
    trade.plot(a, effective(a), "--", color="0.4", lw=1)
    trade.plot(a, lag(a), color="0.4", lw=1)
    label(trade, a[40], effective(a[40]), "effective batches, (2 - a)/a", "0.4", up=5)
    label(trade, a[40], lag(a[40]), "lag, (1 - a)/a", "0.4", right=-4, up=-5)
    trade.set(xscale="log", yscale="log", xlabel="momentum, weight a of the new batch")
    trade.set_title("steady or prompt (squares, dots: seen)")
    return figure
