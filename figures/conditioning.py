"""Error against mean/std: one pass, two passes, Welford and a folded map, every operation in float32 or in float16.

Measured as ``refnorm plot conditioning`` measures a user's implementation; the algorithms are those of the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from refnorm.plots import conditioning

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

RATIOS = {"float32": conditioning.RATIOS, "float16": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)}
ALT = (
    "Worst error in units of the last place (ulp) against mean/std, 256 values per channel. At mean/std 1000 in "
    "float32 y is off by 711,000 ulp, 8 % of its largest value, in one pass, by 1590 with Welford's updates, 734 "
    "where the map is folded, 472 in two passes; the variance by 1,750,000, 208 and 0.5. In float16 the squares of "
    "one pass overflow from 50 on, and y is 0."
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
    """Draw y and the variance, a row for each format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7.5), layout="constrained")
    rows = figure.subplots(2, 2, sharey="row", sharex="row")
    for row, dtype in zip(rows, data, strict=True):
        for axes, quantity in zip(row, ("y", "variance"), strict=True):
            conditioning.panel(axes, data[dtype], quantity)
            axes.set_title(f"{conditioning.QUANTITIES[quantity]}, {dtype}")
        row[0].set_ylabel("worst error, ulp of the largest value")
        row[0].set_ylim(top=1e8 if dtype == "float32" else 1e4)
    figure.legend(
        *rows[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=7
    )
    return figure
