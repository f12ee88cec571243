"""Error against mean/std: one pass, two passes, Welford and a folded map, every operation in float32 or in float16.

Measured as ``refnorm plot conditioning`` measures a user's implementation; the algorithms are those of the tests.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.plots import BLUE, GREEN, ORANGE, RED, conditioning

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

RATIOS = {"float32": conditioning.RATIOS, "float16": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)}
ALT = (
    "Worst error in units of the last place (ulp) against mean/std, 256 values per channel. At mean/std 1000 in "
    "float32 y is off by 711,000 ulp, 8 % of its largest value, in one pass, by 1590 with Welford's updates, 734 "
    "where the map is folded, 472 in two passes; the variance by 1,750,000, 208 and 0.5. In float16 the squares of "
    "one pass overflow from 50 on, and y is 0. A cross is no finite result."
)


def data() -> dict[str, Any]:
    """Measure each algorithm in each format."""
    from algorithms import Algorithm, by_halves, folded, one_pass, welford

    from refnorm.oracle.ask.target import Target
    from refnorm.oracle.measure.numerics import numerics

    paths = {
        "one pass": Algorithm("one pass", "", by_halves, one_pass),
        "two passes": Algorithm("two passes", "", by_halves),
        "Welford": Algorithm("Welford", "", moments=welford),
        "two passes, folded map": Algorithm("two passes, folded map", "", by_halves, y=folded),
    }
    target = Target("algorithms", "torch", "", paths)
    return {d: conditioning.collected(numerics(target, dtype=d, ratios=r), d, r, d) for d, r in RATIOS.items()}


def draw(data: dict[str, Any]) -> Any:
    """Draw y and the variance, a row for each format; what is above the grey edge does not conform."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7.6), layout="constrained")
    rows = figure.subplots(2, 2, sharey="row", sharex="row")
    for row, (dtype, found) in zip(rows, data.items(), strict=True):
        top = 1e10 if dtype == "float32" else 1e5
        for axes, quantity in zip(row, ("y", "variance"), strict=True):
            axes.set(xscale="log", yscale="log", ylim=(0.1, top), xlabel="mean / std of a channel")
            axes.set_title(f"{conditioning.QUANTITIES[quantity]}, {dtype}", fontweight="bold")
            _panel(axes, found, quantity, top)
        row[0].set_ylabel(f"worst error, {dtype} ulp of the largest value")
    return figure


def _panel(axes: Any, found: dict[str, Any], quantity: str, top: float) -> None:
    """Draw the lines of one quantity, named at their ends."""
    from refnorm.formats import unit_roundoff
    from refnorm.oracle.tiers import WORST

    ratios, ends = np.array(found["ratios"], dtype=float), []
    allowed = np.array(found["guides"][WORST.name][quantity], dtype=float)
    axes.fill_between(ratios, allowed, top, color="0.92", lw=0)
    axes.annotate("does not conform", (ratios[0], top / 3), fontsize=8, color="0.4", va="top")
    lost = 1 / unit_roundoff(found["dtype"])
    axes.axhline(lost, color="0.6", lw=0.8, ls=":")
    axes.annotate("no digit is right", (ratios[0], lost), fontsize=7, color="0.4", va="bottom")
    lines = {name: np.array(line[quantity], dtype=float) for name, line in found["lines"].items()}
    if quantity == "variance":  # a folded map takes the same variance
        del lines["two passes, folded map"]
    for colour, mark, (name, values) in zip((RED, BLUE, GREEN, ORANGE), "os^D", lines.items(), strict=False):
        axes.plot(ratios, np.clip(values, None, top), color=colour, marker=mark, markersize=3.5, lw=1.6)
        last = int(np.flatnonzero(np.isfinite(values))[-1])
        axes.plot(ratios[np.isnan(values)], np.full(np.isnan(values).sum(), top / 1.6), "x", color=colour, markersize=5)
        ends.append((values[last], ratios[last], name, colour))
    place = -math.inf
    for value, ratio, name, colour in sorted(ends):
        place = max(place + 0.06, math.log(min(value, top) / 0.1) / math.log(top / 0.1))
        where = {"xy": (ratio, min(value, top)), "xytext": (1.03, place), "textcoords": axes.transAxes}
        arrow = {"arrowstyle": "-", "color": colour, "lw": 0.5}
        axes.annotate(name.replace(", ", ",\n"), **where, color=colour, fontsize=8, va="center", arrowprops=arrow)
