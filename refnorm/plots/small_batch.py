"""What few values per channel do to batch normalization: refnorm's own outputs, against theory for Gaussian data.

The batches are simulated, or drawn of a user's own activations (`refnorm.plots.activations`); eps is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refnorm.plots import BLUE, GREEN, ORANGE, SKY, label, label_ends, set_ticks, significant
from refnorm.plots.activations import correlations, drawn, read_activations
from refnorm.plots.gaussian import bound, energy, inverse_deviation, inverse_mean, inverse_quantile, kurtosis
from refnorm.reference.batch_norm import batch_norm_training, batch_norm_training_backward

COUNTS = (2, 3, 4, 6, 8, 16, 32, 64, 128)
LEVELS = (0.01, 0.25, 0.5, 0.75, 0.99)
AT_ONCE = 2**21  # numbers drawn at a time
AT_MOST = 2**23  # numbers drawn of activations for one count: a second or two


def data(
    counts: Sequence[int] = COUNTS,
    samples: int = 20_000,
    seed: int = 0,
    activations: str | None = None,
    axis: int = 1,
    correlation: bool = False,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Simulate batches of each count, or draw them of activations; normalise them and carry random gradients back.

    Parameters
    ----------
    counts : values per channel, each at least 2; of activations, samples per batch.
    samples : batches of each count; of activations fewer, but 200, where that would be more than ``AT_MOST`` values.
    seed : of the random numbers; each count has its own, whatever else is asked for.
    activations : file of `refnorm.plots.activations.read_activations`; None for Gaussian values.
    axis : of the channels in it.
    correlation : whether to measure how alike the values of one sample are, too.
    progress : called with the number of a count, how many there are, and the count.

    Returns
    -------
    dict
        ``batches``, one entry per count: ``quantiles`` of sigma/s at ``levels``; ``inverse`` (mean of sigma/s),
        ``kurtosis`` and ``energy``, each with ``..._error``, its standard error (None where sigma/s has no variance);
        and ``largest``, of |x_hat|. Of activations also ``count`` and ``drawn``, samples in a batch and batches;
        ``variance``, the mean of s^2/sigma^2, with its error; ``constant``, the share of batches of one value, which
        count as an infinite sigma/s and for nothing else. ``source`` says what the activations are, and has what
        `refnorm.plots.activations.correlations` returns, if asked for.

    Raises
    ------
    ValueError
        A count or ``samples`` is below 2, there are not that many samples, or the activations cannot be taken.
    OSError
        The file cannot be read.

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
    if correlation and activations is None:
        raise ValueError("independent values have no correlation to measure; --correlation goes with --data")
    found: dict[str, Any] = {"samples": samples, "seed": seed, "levels": list(LEVELS), "batches": []}
    given = None if activations is None else read_activations(activations, axis)
    if given:
        channels, there = given.values.shape[:2]
        if max(counts) > there:
            raise ValueError(f"{given.name} has {there} samples, too few for a batch of {max(counts)}")
        found["source"] = {"name": given.name, "channels": channels, "left_out": given.left_out}
        found["source"] |= {"samples": there, "positions": list(given.positions)}
        found["source"] |= significant(correlations(given), 5) if correlation else {}
    for number, count in enumerate(sorted(set(counts)), start=1):
        progress(number, len(set(counts)), f"m = {count}")
        rng = np.random.default_rng([seed, count])
        if given is None:
            entry = {"m": count} | _measured(count, samples, rng, None)
        else:
            m = count * math.prod(given.positions)
            many = min(samples, max(200, AT_MOST // m))
            entry = {"m": m, "count": count, "drawn": many} | _measured(count, many, rng, given.values)
        found["batches"].append(significant(entry, 5))
    return found


def _measured(count: int, samples: int, rng: np.random.Generator, values: Any) -> dict[str, Any]:
    """Return what is seen in batches of Gaussian values, or of activations; each batch is a channel."""
    parts, gaussian = [], values is None
    size = count if gaussian else max(count * math.prod(values.shape[2:]), values.shape[1])
    for channels in np.diff(np.append(np.arange(0, samples, max(1, AT_ONCE // size)), samples)):
        if gaussian:
            x, dy = rng.standard_normal((2, count, channels))
        else:
            x = drawn(values, count, channels, rng)
            dy = rng.standard_normal(x.shape)
        x_hat, saved = batch_norm_training(x, eps=0.0)
        dx, _, _ = batch_norm_training_backward(dy, saved)
        var = np.where(np.ptp(x, axis=0) > 0, saved.statistics.var, 0.0)
        share = (dx**2).sum(0) * var / (dy**2).sum(0)
        # at m = 2 nothing but rounding differs or survives, and machines do not agree on that
        parts.append(np.stack([var, (x_hat**4).mean(0).round(12), share.round(9), np.abs(x_hat).max(0)]))
    var, fourth, share, largest = np.concatenate(parts, axis=1)
    varies = var > 0
    inverse = np.full_like(var, np.inf)
    inverse[varies] = 1 / np.sqrt(var[varies])
    fourth, share, largest = fourth[varies], share[varies], largest[varies]
    root = math.sqrt(samples)
    deviation = inverse_deviation(count) if gaussian else _deviation(inverse)
    found = {
        "quantiles": np.quantile(inverse, LEVELS, method="linear" if varies.all() else "nearest"),
        "inverse": inverse.mean(),
        "inverse_error": deviation / root,
        "kurtosis": _mean(fourth),
        "kurtosis_error": _deviation(fourth) / root,
        "energy": _mean(share),
        "energy_error": _deviation(share) / root,
        "largest": largest.max(initial=0.0),
    }
    if gaussian:
        return found
    return found | {"variance": var.mean(), "variance_error": _deviation(var) / root, "constant": 1 - varies.mean()}


def _mean(values: Any) -> float:
    return float(values.mean()) if len(values) else math.nan


def _deviation(values: Any) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 and np.isfinite(values).all() else math.nan


def expected_variance(source: dict[str, Any], count: int) -> float:
    """Return E[s_b^2]/sigma^2 of a batch of ``count`` samples; see `refnorm.plots.activations.correlations`."""
    there = source["samples"]
    return float(1 - source["rho"] / count * (there - count) / (there - 1))


def caption(data: dict[str, Any]) -> str:
    """Say what is seen at each count, a line each."""
    if "source" not in data:
        return "\n".join(_of_gaussian(b) for b in data["batches"])
    source = data["source"]
    shape = " x ".join(map(str, source["positions"])) + " values" if source["positions"] else "a single value"
    out = f", {source['left_out']} constant ones left out" if source["left_out"] else ""
    lines = [f"{source['name']}: {source['samples']} samples of {shape} in {source['channels']} channels{out}."]
    if "rho" in source:
        beside = " and ".join(f"{line[1]:.3g}" for line in source["along"] if len(line) > 1)
        lines.append(
            f"Neighbours are correlated by {beside}; the values of a sample count as {1 / source['rho']:.3g} "
            f"independent ones."
        )
    return "\n".join([*lines, *(_of_activations(b, source) for b in data["batches"])])


def _of_gaussian(b: dict[str, Any]) -> str:
    m = b["m"]
    mean = f"{inverse_mean(m):.4g}" if m > 2 else "infinite"
    return (
        f"Gaussian data, m = {m} values per channel: the mean of sigma/s is {mean}, one batch in a hundred exceeds "
        f"{inverse_quantile(0.99, m):.3g} (seen: {b['quantiles'][-1]:.3g}); kurtosis of x_hat {kurtosis(m):.4g} "
        f"(seen: {b['kurtosis']:.4g}); |x_hat| at most {bound(m):.4g} (seen: {b['largest']:.4g}); "
        f"{100 * energy(m):.3g} % of the gradient's energy survives (seen: {100 * b['energy']:.3g} %)."
    )


def _of_activations(b: dict[str, Any], source: dict[str, Any]) -> str:
    said = [f"{100 * b['constant']:.3g} % of the batches hold one value and are 0/0"] if b["constant"] else []
    high = b["quantiles"][-1]
    stretched = "without bound" if high is None else f"more than {high:.3g}-fold"
    said.append(f"one batch in a hundred is stretched {stretched}")
    small, error = 100 * (1 - b["variance"]), 100 * b["variance_error"]
    foretold = f" (foretold: {100 * (1 - expected_variance(source, b['count'])):.3g} %)" if "rho" in source else ""
    said.append(f"the variance is {small:.3g} +- {error:.2g} % too small on the mean{foretold}")
    said += [f"kurtosis of x_hat {b['kurtosis']:.4g}"] if b["kurtosis"] is not None else []
    said.append(f"largest |x_hat| {b['largest']:.4g} of at most {bound(b['m']):.4g}")
    said += [f"{100 * b['energy']:.3g} % of the gradient's energy survives"] if b["energy"] is not None else []
    return f"{b['count']} samples a batch, {b['m']} values per channel: {'; '.join(said)}."


def table(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each count."""
    rows = []
    for b in data["batches"]:
        levels = {f"quantile {level:g}": q for level, q in zip(data["levels"], b["quantiles"], strict=True)}
        rows.append({key: value for key, value in b.items() if key != "quantiles"} | levels)
    return rows


def draw(data: dict[str, Any]) -> Any:
    """Draw panels against the count: lines are theory of independent Gaussian values, dots are seen."""
    from matplotlib.figure import Figure

    batches, source = data["batches"], data.get("source")
    counts = np.array([b["count"] if source else b["m"] for b in batches])
    per = batches[0]["m"] / counts[0]  # values per channel and sample
    n = np.geomspace(2, max(8, counts[-1]), 200)
    m = per * n
    correlated = source is not None and "rho" in source
    figure = Figure(figsize=(13 if correlated else 9, 5.6), layout="constrained")
    panels = figure.subplots(2, 3 if correlated else 2)
    inverse, fourth, largest, gradient = panels[:, :2].flat
    dots = {"marker": "o", "linestyle": "", "color": ORANGE, "markersize": 4, "zorder": 3}

    quantiles = [inverse_quantile(level, m) for level in LEVELS]
    inverse.fill_between(n, quantiles[0], quantiles[-1], color=SKY, alpha=0.35, lw=0)
    inverse.fill_between(n, quantiles[1], quantiles[-2], color=SKY, lw=0)
    inverse.plot(n, quantiles[2], color=BLUE)
    inverse.plot(n[m > 2], inverse_mean(m[m > 2]), "--", color=BLUE)
    label(inverse, n[9], inverse_mean(m[9]), "mean", BLUE, up=4)
    means = np.array([b["inverse"] for b in batches], dtype=float)
    if per == 1:
        means[counts == 2] = np.nan
    inverse.plot(counts, means, "+", color=BLUE, markersize=7)
    for k in range(len(LEVELS)):
        inverse.plot(counts, np.array([b["quantiles"][k] for b in batches], dtype=float), **dots)
    inverse.set(yscale="log", title="sigma/s, by which a batch is stretched: quantiles and mean")
    inverse.set(xscale="log", xlim=(n[0] / 2, 1.2 * n[-1]), ylim=None if source else (0.4, 200))
    names = [f"{100 * level:g} %" if level != 0.5 else "median" for level in LEVELS]
    label_ends(inverse, n[0], [(q[0], name, BLUE) for q, name in zip(quantiles, names, strict=True)], right=-4)

    fourth.plot(n, kurtosis(m), color=BLUE)
    label(fourth, n[60], kurtosis(m[60]), "3 (m - 1)/(m + 1)", BLUE, right=8, up=-8)
    fourth.plot(counts, np.array([b["kurtosis"] for b in batches], dtype=float), **dots)
    fourth.axhline(3, color="0.6", lw=0.8, ls=":")
    fourth.set(ylim=(0, None if source else 3.3), title="kurtosis of x_hat (Gaussian: 3)")

    most = max(b.get("drawn", data["samples"]) for b in batches)
    largest.plot(n, bound(m), color=BLUE)
    largest.plot(counts, [b["largest"] for b in batches], **dots)
    label(largest, n[150], bound(m[150]), "bound sqrt(m - 1)", BLUE, right=-6, up=4)
    label(largest, counts[-1], batches[-1]["largest"], f"largest of {most:,} batches", ORANGE, up=-22, ha="right")
    largest.set(ylim=(0, None), title="largest |x_hat|")

    gradient.plot(n, energy(m), color=BLUE)
    label(gradient, n[60], energy(m[60]), "(m - 2)/m", BLUE, right=8, up=-8)
    gradient.plot(counts, np.array([b["energy"] for b in batches], dtype=float), **dots)
    gradient.set(ylim=(-0.03, 1.02), title="share of the gradient's energy that survives")
    against = [inverse, fourth, largest, gradient]
    if correlated:
        _draw_correlation(panels[0, 2], panels[1, 2], data, dots)
        against.append(panels[1, 2])
    words = f"samples per batch, {per:g} values per channel each" if source else "values per channel, m"
    for axes in against:
        axes.set(xscale="log", xlabel=words)
        set_ticks(axes, counts)
    return figure


def _draw_correlation(near: Any, bias: Any, data: dict[str, Any], dots: dict[str, Any]) -> None:
    source, batches = data["source"], data["batches"]
    for number, (line, style) in enumerate(zip(source["along"], ("-", "--", ":", "-.") * 9, strict=False), start=1):
        near.plot(line, style, color=GREEN, marker=".", label=f"along axis {number} of the positions")
    near.axhline(0, color="0.6", lw=0.8)
    near.set(xlabel="positions apart", title="correlation within a sample")
    near.legend(frameon=False, fontsize=8)
    counts = np.array([b["count"] for b in batches])
    n = np.arange(2, max(8, counts[-1]) + 1)
    n = n[n <= source["samples"]]
    bias.plot(n, [100 * (expected_variance(source, int(k)) - 1) for k in n], color=BLUE, label="foretold by rho")
    bias.plot(n, -100 / (n * batches[0]["m"] / counts[0]), "--", color="0.4", label="independent values, -1/m")
    bias.plot(counts, [100 * (b["variance"] - 1) for b in batches], **dots)
    bias.set(title="bias of a batch's variance, %")
    bias.legend(frameon=False, fontsize=8)
