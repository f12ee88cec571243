"""Error of y and of the variance against mean/std of an implementation, between the bounds of known algorithms.

The data and the exact results are those of `refnorm.oracle.measure.numerics`, 256 values per channel; the guide lines
are the bounds of the tiers of `refnorm.oracle.bounds` for the same data. The target runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from refnorm.plots import COLOURS

RATIOS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
QUANTITIES = {"y": "y, training", "variance": "variance of the batch", "inference": "y, inference"}


def data(
    target: str,
    dtype: str = "float32",
    timeout: float = 60.0,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Measure a target in a process of its own, as `refnorm matrix` does.

    Parameters
    ----------
    target : as for `refnorm check`.
    dtype : the format to measure in.
    timeout : seconds that the import, or a path, may take.
    progress : called with the number of a path, how many there are, and the path.

    Returns
    -------
    dict
        What `collected` returns.

    Raises
    ------
    refnorm.oracle.ask.target.TargetError
        It cannot be loaded, hangs or dies, or does not take the format.
    """
    from refnorm.oracle.apart import numerics_apart
    from refnorm.oracle.ask.target import TargetError

    paths = numerics_apart(target, timeout, progress, {"dtype": dtype, "ratios": RATIOS})
    whole = {name or target: path for name, path in paths.items() if path.get("dtype") == dtype}
    lines = collected(whole, dtype)
    if not any(line[quantity] for line in lines["lines"].values() for quantity in QUANTITIES):
        said = "; ".join(path.get("lost") or f"it takes {path['dtype']}" for path in paths.values())
        raise TargetError(f"{target} gave nothing to draw in {dtype} ({said}); --dtype names another format")
    return {"target": target} | lines


def collected(
    paths: dict[str, Any], dtype: str, ratios: Iterable[float] = RATIOS, accumulate: str = "float32"
) -> dict[str, Any]:
    """Return what `refnorm.oracle.measure.numerics` measured, with guide lines for sums in a format, or that of x.

    Returns
    -------
    dict
        ``lines`` by path and ``guides`` by tier: worst error, or bound, of ``y``, ``variance`` and ``inference`` at
        each of ``ratios``, in units of the last place of the largest value; None where there is no finite one; empty
        lists where nothing was measured.
    """
    lines = {
        name: {quantity: path[quantity] if any(path[quantity]) else [] for quantity in QUANTITIES}
        for name, path in paths.items()
    }
    return {"dtype": dtype, "ratios": list(ratios), "lines": lines, "guides": guides(dtype, ratios, accumulate)}


def guides(
    dtype: str, ratios: Iterable[float] = RATIOS, accumulate: str = "float32"
) -> dict[str, dict[str, list[float | None]]]:
    """Return the bounds of each tier in units of the last place of the largest value.

    Examples
    --------
    >>> bound = guides("float32", [1, 1000])
    >>> [round(b) for b in bound["wide accumulation"]["y"]], [round(b) for b in bound["folded y = x a + b"]["y"]]
    ([7, 868], [22, 8695])
    """
    from refnorm.oracle.ask.box import EPS
    from refnorm.oracle.bounds import Normalised, Sums, bounded_moments
    from refnorm.oracle.measure.numerics import batch
    from refnorm.oracle.tiers import TIERS

    tiers = [replace(tier, accumulate=accumulate) for tier in TIERS[:-1]]
    found: dict[str, dict[str, list[float | None]]] = {t.name: {q: [] for q in QUANTITIES} for t in tiers}
    one, zero = np.ones(1), np.zeros(1)
    for ratio in ratios:
        x = batch((256, 1), ratio, dtype)
        for tier in tiers:
            sums = Sums(tier, tier.sums_in(dtype), len(x))
            with np.errstate(all="ignore"):
                centred, trained = bounded_moments(x, sums)
                given = (trained[0], trained[1], zero, zero)
                for quantity, four in (("y", trained), ("inference", given)):
                    n = Normalised.of(x, centred, four, EPS, dtype, sums)
                    found[tier.name][quantity].append(_units(n.d_y(one, zero), n.x_hat, dtype))
                found[tier.name]["variance"].append(_units(trained[3], trained[1], dtype))
    return found


def _units(bound: Any, value: Any, dtype: str) -> float | None:
    from refnorm.formats import unit_roundoff

    worst = float(np.max(bound) / (2 * unit_roundoff(dtype) * np.max(np.abs(value))))
    return float(f"{worst:.4g}") if np.isfinite(worst) else None


def at(data: dict[str, Any], ratio: float, quantity: str = "y") -> dict[str, float | None]:
    """Return the error of each path at one mean/std."""
    k = data["ratios"].index(ratio)
    return {name: line[quantity][k] for name, line in data["lines"].items() if line[quantity]}


def caption(data: dict[str, Any]) -> str:
    """Say how many units of the last place each path loses at mean/std 1 and 1000."""
    quantity = next(q for q in ("y", "inference", "variance") if any(line[q] for line in data["lines"].values()))
    near, far = at(data, 1, quantity), at(data, 1000, quantity)
    words = {
        name: [f"{e:.3g}" if e is not None else "no finite result" for e in (near[name], far[name])] for name in near
    }
    said = "; ".join(f"{name}: {' and '.join(pair)}" for name, pair in words.items())
    return f"Worst error of {QUANTITIES[quantity]}, in {data['dtype']} ulp at mean/std 1 and 1000: {said}."


def table(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each mean/std of each quantity: errors of the paths, and bounds of the tiers."""
    rows = []
    for kind in ("lines", "guides"):
        for name, line in data[kind].items():
            for quantity, values in line.items():
                for ratio, value in zip(data["ratios"], values, strict=False):
                    row = {"quantity": QUANTITIES[quantity], "mean/std": ratio, "ulp": value}
                    rows.append({"what": "error" if kind == "lines" else "bound", "of": name} | row)
    return rows


def draw(data: dict[str, Any]) -> Any:
    """Draw one panel for each quantity that was measured."""
    from matplotlib.figure import Figure

    shown = [q for q in QUANTITIES if any(line[q] for line in data["lines"].values())]
    figure = Figure(figsize=(1.2 + 3.9 * len(shown), 4.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    for axes, quantity in zip(panels, shown, strict=True):
        panel(axes, data, quantity)
    panels[0].set_ylabel(f"worst error, {data['dtype']} ulp of the largest value")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def panel(axes: Any, data: dict[str, Any], quantity: str) -> None:
    """Draw lines and guides of one quantity; a line ends where no result is finite."""
    from refnorm.oracle.tiers import FOLDED, TIERS, WIDE, WORST

    dashes = ((1, 1), (1, 3), (3, 1), (3, 1, 1, 1), (6, 2), None, (6, 1, 1, 1), (6, 2, 1, 2))
    for tier, dash in zip(TIERS[:-1], dashes, strict=True):
        if quantity == "inference" and tier not in (WIDE, FOLDED):  # the others differ in how moments are taken
            continue
        values = np.array(data["guides"][tier.name][quantity], dtype=float)
        label = f"bound, {tier.name}" + (": what conforms" if tier is WORST else "")
        axes.plot(data["ratios"], values, linestyle=(0, dash or ()), color="0.45", lw=0.9, label=label)
    for colour, mark, (name, line) in zip(COLOURS * 9, "osD^v<>pP*" * 9, data["lines"].items(), strict=False):
        if line[quantity]:
            values = np.maximum(np.array(line[quantity], dtype=float), 0.05)
            axes.plot(data["ratios"], values, color=colour, marker=mark, markersize=3, lw=1.4, label=name)
    axes.set(xscale="log", yscale="log", ylim=(0.04, 1e8), xlabel="mean / std of a channel")
    axes.set_title(QUANTITIES[quantity])
