"""The smallest relative error that the oracle convicts, by quantity, format and condition: measured by injection.

A right batch normalization (`tests/injected.py`) gets one error of k u; k is doubled until the usual trial finds it.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

FORMATS = ("float64", "float32", "float16", "bfloat16")
MOST = 40  # doublings of u: nothing that is left of a number is larger
PARTS = {"one channel": ("everywhere", "one channel"), "one element": ("everywhere", "one element")}
ALT = "Table of the smallest relative error, in units of the roundoff u, that the usual trial convicts."


@cache
def _cases(kind: str) -> tuple[Any, ...]:
    """Return the cases of training of a format: those of the set, and those of sizes."""
    from refnorm.golden import cases
    from refnorm.golden.inputs import case
    from refnorm.golden.sized import sized_ids

    held = [c for c in cases("training", kind) if c.finite and not c.undefined]
    return (*held, *(case(id) for id in sized_ids(kind) if ".training." in id))


def convicts(place: str, condition: str, part: str, kind: str, error: float) -> bool:
    """Return whether the usual trial finds an error."""
    from injected import CONDITIONS, Injected

    from refnorm.conventions import CONVENTIONS
    from refnorm.oracle.observe import observed

    implementation = Injected(place, condition, part, error)
    concerned = [c for c in _cases(kind) if CONDITIONS[condition](c.x)]
    return any(not o.passed for c in concerned[::-1] for o in observed(implementation, CONVENTIONS["torch"], c))


def smallest(place: str, condition: str, part: str, kind: str) -> int | None:
    """Return the power of 2, in u, of the smallest error that is convicted; None if none is."""
    from refnorm.formats import unit_roundoff

    u = unit_roundoff(kind)
    low, high = -1, MOST if kind == "float64" else 24
    if not convicts(place, condition, part, kind, 2.0**high * u):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if convicts(place, condition, part, kind, 2.0**middle * u):
            high = middle
        else:
            low = middle
    return high


def data() -> dict[str, Any]:
    """Return, by format and condition, the power of 2 for each quantity."""
    from injected import CONDITIONS, PLACES

    found: dict[str, Any] = {}
    for kind in FORMATS:
        found[kind] = {}
        for name, (condition, part) in ({c: (c, "all") for c in CONDITIONS} | PARTS).items():
            if any(CONDITIONS[condition](c.x) for c in _cases(kind)):
                found[kind][name] = {place: smallest(place, condition, part, kind) for place in PLACES}
                print(kind, name, found[kind][name], file=sys.stderr, flush=True)
    return found


def draw(data: dict[str, Any]) -> Any:
    """Draw a table for each format: powers of 2 in units of u."""
    from matplotlib.figure import Figure

    from refnorm.plots import COLOURS  # noqa: F401 - the style

    rows = [(kind, name) for kind, found in data.items() for name in found]
    places = list(next(iter(next(iter(data.values())).values())))
    figure = Figure(figsize=(9, 0.24 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    grid = np.array([[np.nan if (v := data[k][n][p]) is None else v for p in places] for k, n in rows])
    axes.imshow(np.where(np.isnan(grid), 24, np.minimum(grid, 24)), aspect="auto", cmap="cividis_r", vmin=0, vmax=24)
    for i, (kind, name) in enumerate(rows):
        for j, place in enumerate(places):
            power = data[kind][name][place]
            text = "-" if power is None else f"{2**power}" if power < 10 else f"2^{power}"
            axes.text(j, i, text, ha="center", va="center", fontsize=6, color="white" if (power or 0) > 12 else "black")
    axes.set_xticks(range(len(places)), places, rotation=35, ha="left", fontsize=7)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), [f"{kind}, {name}" for kind, name in rows], fontsize=7)
    return figure
