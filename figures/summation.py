"""Error of a sum against the count, by the order of summation, every addition in float32 or in float16.

The terms are uniform in 0..1, as squares of deviations are positive. The exact sum is `math.fsum`'s, the orders are
those of the tests, the bounds those of `refnorm.oracle.bounds`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.plots import COLOURS, label_ends, significant

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

COUNTS = {"float32": [2**k for k in range(3, 21)], "float16": [2**k for k in range(3, 17)]}
CHANNELS = 8
ORDERS = {
    "row by row": "row_by_row",
    "in blocks of 128, as NumPy": "in_blocks",
    "by halves": "by_halves",
    "wide": "wide",
}
ALT = (
    "Largest relative error of eight sums in units of the roundoff u, against the count. A million float32 terms, row "
    "by row: 461 u; in NumPy's blocks of 128: 1.3 u; by halves: 1.3 u; in float64, rounded once: 0.3 u. In float16 a "
    "sum row by row stands still: of 65,536 terms 1920 u, 94 % of the sum, are lost."
)


def data() -> dict[str, Any]:
    """Sum; return the root mean square and the largest error of each order at each count, in u of the sum."""
    import algorithms

    found: dict[str, Any] = {}
    for dtype, counts in COUNTS.items():
        u = float(np.finfo(dtype).eps) / 2
        errors: dict[str, list[float]] = {name: [] for name in ORDERS}
        for m in counts:
            terms = np.random.default_rng([m]).random((m, CHANNELS)).astype(dtype)
            exact = np.array([math.fsum(column) for column in terms.T.astype(float)])
            for name, order in ORDERS.items():
                computed = getattr(algorithms, order)(terms).astype(float)
                errors[name].append(float(np.max(np.abs(computed - exact) / exact) / u))
        found[dtype] = {"counts": counts, "u": u, "errors": significant(errors, 4)}
    return found


def bounds(m: int, dtype: str) -> dict[str, float]:
    """Return the bound of each order in units of u and the sum."""
    from refnorm.formats import unit_roundoff
    from refnorm.oracle.tiers import PAIRWISE, ROW_BY_ROW, WIDE

    u = unit_roundoff(dtype)
    in_any, halves, wide = (tier.h(m, u) for tier in (ROW_BY_ROW, PAIRWISE, WIDE))
    return dict(zip(ORDERS, (max(in_any, m - 1), halves, halves, wide), strict=True))


def draw(data: dict[str, Any]) -> Any:
    """Draw a panel for each format: lines are seen, dotted ones the bounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for axes, (dtype, found) in zip(figure.subplots(1, 2, sharey=True), data.items(), strict=True):
        counts = found["counts"]
        ends = []
        for colour, mark, (name, errors) in zip(COLOURS, "osD^", found["errors"].items(), strict=False):
            axes.plot(counts, np.maximum(errors, 0.05), color=colour, marker=mark, markersize=3, lw=1.4)
            ends.append((errors[-1], name.split(",")[0], colour))
        for name in ("row by row", "by halves", "wide"):
            limits = [bounds(m, dtype)[name] for m in counts]
            axes.plot(counts, limits, ":", color="0.5", lw=0.9)
            ends.append((limits[-1], f"bound, {name}", "0.5"))
        axes.hlines(1 / found["u"], counts[0], counts[-1], color="0.8", lw=0.8)
        axes.annotate("all digits lost", (counts[0], 1 / found["u"]), va="bottom", fontsize=7.5, color="0.4")
        axes.set(
            xscale="log", yscale="log", xlabel="number of terms", title=f"{dtype}, u = 2^{math.log2(found['u']):.0f}"
        )
        axes.set_ylim(0.04, 5e7)
        label_ends(axes, counts[-1], ends)
    figure.axes[0].set_ylabel("largest relative error of eight sums, in u")
    return figure
