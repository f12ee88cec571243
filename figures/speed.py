"""How fast refnorm is: ratios to others, and time per value from 10^3 to 10^8 values, from figures/speed.json."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import geometric_mean
from typing import Any

SOURCE = "figures/speed.json, which tests/benchmarks write with --record"
ALT = (
    "Left: time of refnorm over that of other implementations, one dot per shape and a bar at the geometric mean, for "
    "training and inference in float64 and float32; left of 1 refnorm is faster. Hollow: the operations of refnorm "
    "alone, with Python for nothing. Right: nanoseconds per value against the number of values; lowest, one product."
)
PANELS = ("training, float64", "training, float32", "inference, float64", "inference, float32")
COLOURS = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
)  # of Okabe & Ito
MARKERS = "osD^vP"
FLOOR = "plain NumPy, floor"
TICKS = (0.25, 0.5, 1, 2, 4, 8, 16, 32)


def data(path: Path = Path(__file__).parent / "speed.json") -> dict[str, Any]:
    """Return for each panel ratios by contestant and shape, at equal numbers of threads; and the times of the scale."""
    recorded = json.loads(path.read_text())
    ratios: dict[str, dict[str, dict[str, float]]] = {}
    for panel in PANELS:
        times = recorded["seconds"].get(panel, {})
        for name, theirs in times.items():
            if not name.startswith("refnorm"):
                ours = times["refnorm, 2 threads" if "2 threads" in name else "refnorm, 1 thread"]
                ratios.setdefault(panel, {})[name] = {shape: ours[shape] / theirs[shape] for shape in theirs}
    for key, profile in recorded.get("profile", {}).items():
        dtype, shape = key.split(", ")
        ratios.setdefault(f"training, {dtype}", {}).setdefault(FLOOR, {})[shape] = profile["floor"]
    scale = {what: {int(n): s for n, s in times.items()} for what, times in recorded.get("scale", {}).items()}
    return {"ratios": ratios, "scale": scale, "versions": recorded["versions"]}


def draw(data: dict[str, Any]) -> Any:
    """Draw ratios as dots, and times per value as lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    grid = figure.subplots(2, 3, width_ratios=(1, 1, 0.9))
    for axes, panel in zip(grid[:, :2].flat, PANELS, strict=True):
        ratios = data["ratios"].get(panel, {})
        for row, (name, by_shape) in enumerate(ratios.items()):
            fill = {"markerfacecolor": "none"} if name == FLOOR else {"alpha": 0.85}
            for (shape, ratio), colour, marker in zip(by_shape.items(), COLOURS, MARKERS, strict=False):
                label = shape.replace("x", " × ") if row == 0 else None
                axes.plot(ratio, row, marker, color=colour, markersize=5, label=label, **fill)
            mean = geometric_mean(by_shape.values())
            axes.plot([mean, mean], [row - 0.35, row + 0.35], color="black", linewidth=1.5)
            axes.annotate(f"{mean:.2f}", (mean, row - 0.4), ha="center", va="bottom", fontsize=7)
        axes.axvline(1, color="#999999", linewidth=0.8, zorder=0)
        axes.set(
            xscale="log",
            xlim=(0.2, 40),
            ylim=(len(ratios) - 0.4, -0.8),
            title=panel,
            xlabel="time of refnorm / time of the other",
        )
        axes.set_yticks(range(len(ratios)), list(ratios))
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.set_xticks([], minor=True)
    shapes, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(shapes, labels, fontsize=7, frameon=False, loc="outside lower left", ncols=len(labels))
    for axes, dtype in zip(grid[:, 2], ("float64", "float32"), strict=True):
        chosen = [(what.split(",")[0], times) for what, times in data["scale"].items() if what.endswith(dtype)]
        for (what, times), colour, marker in zip(chosen, COLOURS, MARKERS, strict=False):
            axes.plot(list(times), [1e9 * s / n for n, s in times.items()], color=colour, marker=marker, label=what)
        axes.set(xscale="log", yscale="log", xlabel="values", ylabel="ns per value", title=f"scale, {dtype}, 1 thread")
    if data["scale"]:
        grid[0, 2].legend(fontsize=7, frameon=False)
    return figure
