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
FEWER = ("everywhere", "m > 64", "m > 2^14")  # conditions, in formats for which fewer sizes are tried
ALT = (
    "Table, by format, condition and quantity: the smallest relative error, in units of the roundoff u, that the usual "
    "trial convicts. Dark cells are coarse."
)


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
        asked = CONDITIONS if kind in ("float32", "float16") else FEWER
        for name, (condition, part) in ({c: (c, "all") for c in asked} | PARTS).items():
            if any(CONDITIONS[condition](c.x) for c in _cases(kind)):
                found[kind][name] = {place: smallest(place, condition, part, kind) for place in PLACES}
    return found


def worst(data: dict[str, Any], kind: str) -> tuple[int, str, str]:
    """Return the coarsest power of 2 of a format that is known, its condition and its quantity."""
    cells = [(v, name, place) for name, row in data[kind].items() for place, v in row.items() if v is not None]
    return max(cells)


def pages(data: dict[str, Any]) -> dict[str, str]:
    """Return the page that tells what shows, and from what size on."""
    lines = PAGE.splitlines()
    for kind, found in data.items():
        places = list(next(iter(found.values())))
        power, name, place = worst(data, kind)
        lines += ["", f"## {kind}", "", f"The coarsest entry is 2^{power} u: {place}, {name}.", ""]
        lines += ["| condition | " + " | ".join(places) + " |", "|---" * (len(places) + 1) + "|"]
        for condition, row in found.items():
            cells = ["-" if row[p] is None else f"2^{row[p]}" for p in places]
            lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    return {"resolution.md": "\n".join(lines) + "\n"}


PAGE = """\
# What shows, and from what size on

A judge that allows for rounding can be blind: the bound of a sum of m values grows with m, and above some m it is
larger than the sum itself. So we put errors into a right implementation and look from what size on `refnorm check`
finds them. Each number below is the smallest relative error, in units of the roundoff u of the format, that the
usual trial convicts; the error is put into one quantity on the way, or one result, where the condition holds, and
everything else stays right. A dash says that nothing is convicted: the mean of dy, for example, plays no part where
the batch has none.

Three things keep these numbers small whatever m is.

- **Sums that are exact in any order.** The cases of sizes (`refnorm/golden/sized.py`) have a few small integers in
  each channel. Every partial sum of x, of its squares and of dy is then a number of the format, so that no order of
  addition rounds anything, and the bound needs no term in m. In some channels nearly all values are 0: a sum of
  eight values that are not 0 is rounded seven times, among a million zeros or none.
- **Who adds up, and who updates.** Welford's updates divide on the way and are right to round. They do not come
  back to a mean of exactly 0 after thousands of values that add up to 0; a sum does. Whoever comes back is held to
  the bound of sums.
- **Half precision is added up in float32.** No kernel that people ship adds up in half, so float16 and bfloat16 are
  judged by sums in float32, with every other operation rounded to the format. What adds up in half itself is named.

What is not resolved is said: a cell of the report reads "not resolved" where every bound is above a tenth of the
result, and the row "resolution" gives the smallest relative error that would have been found in every quantity
that is right.
`refnorm check --thorough` tries more sizes, and shapes that no one has chosen; `--seed` draws others. Beyond 2^31
values an index of 32 bits is too small, and whoever counts with one writes to the wrong place or not at all. Such a
case takes some 100 bytes for each value of x, 215 GB, and is tried only by who asks for it:
`python tests/huge.py TARGET` puts 2^31 + 64 values on trial if the memory is there, and says so if it is not; it
takes a number of samples, of channels, and a format, so that any size below can be tried too.

Made by `python -m figures resolution` (about ten minutes on two cores); the picture is `figures/resolution.svg`.
That nobody right is convicted is shown by `pytest -n 0 -s -m slow tests/test_resolution.py`, which composes 1,500
right implementations in four formats at random.
"""


def draw(data: dict[str, Any]) -> Any:
    """Draw a table for each format: powers of 2 in units of u."""
    from matplotlib.figure import Figure

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
