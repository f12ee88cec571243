"""A verdict as a heat map: worst error in units of its bound, quantity by format, one panel for each path."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refnorm.plots import significant

if TYPE_CHECKING:
    from refnorm.oracle.report import Report

BAD = ("WRONG", "CONVENTION", "NUMERICS")
END = 4  # of the colours: ten thousand times the bound


def data(
    target: str,
    convention: str | None = None,
    dtypes: Sequence[str] = ("float64", "float32", "float16"),
    timeout: float = 60.0,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Put a target on trial in a process of its own, or read the report of a trial.

    Parameters
    ----------
    target : as for `refnorm check`, or a file NAME.json that ``refnorm check --format json`` wrote.
    convention, dtypes, timeout, progress : as for `refnorm.oracle.apart.check_apart`; a report has its own.

    Returns
    -------
    dict
        What `collected` returns.

    Raises
    ------
    refnorm.oracle.ask.target.TargetError
        The target cannot be judged.
    ValueError
        The file holds no report.
    OSError
        The file cannot be read.
    """
    from refnorm.oracle.apart import check_apart
    from refnorm.oracle.report import Report

    if not target.endswith(".json"):
        return collected(check_apart(target, convention, dtypes=dtypes, timeout=timeout, progress=progress))
    try:
        report = Report.from_dict(json.loads(Path(target).read_text(encoding="utf-8")))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        made = f"refnorm check TARGET --format json --output {target}"
        raise ValueError(f"{target} is no report; make one with: {made}") from error
    return collected(report)


def collected(report: Report) -> dict[str, Any]:
    """Return what is drawn of a report.

    Returns
    -------
    dict
        ``target``, ``convention``, ``conforms``, ``dtypes``; ``paths``, each with its ``name`` and ``cells``: by
        quantity and format, ``worst`` error / bound (None where it is infinite or not a number) and ``state``.

    Examples
    --------
    >>> import refnorm
    >>> found = collected(refnorm.check("refnorm", dtypes=["float64"]))
    >>> found["conforms"], found["paths"][0]["cells"]["running mean"]["float64"]["state"]
    (True, 'ok')
    """
    paths = []
    for path in report.paths:
        cells: dict[str, dict[str, Any]] = {}
        for cell in path.cells:
            cells.setdefault(cell.quantity, {})[cell.dtype] = {"worst": significant(cell.worst, 3), "state": cell.state}
        paths.append({"name": path.name, "cells": cells})
    return {
        "target": report.target,
        "convention": report.convention,
        "conforms": report.conforms,
        "dtypes": list(report.dtypes),
        "paths": paths,
    }


def caption(data: dict[str, Any]) -> str:
    """Say the verdict, and how near its bound the worst quantity that passes comes."""
    cells = [(q, d, c) for p in data["paths"] for q, row in p["cells"].items() for d, c in row.items()]
    bad = [f"{quantity} in {dtype}" for quantity, dtype, cell in cells if cell["state"] in BAD]
    good = [(cell["worst"], quantity, dtype) for quantity, dtype, cell in cells if cell["state"] not in BAD]
    verdict = "conforms to" if data["conforms"] else "deviates from"
    lines = [f"{data['target']} {verdict} {data['convention']}: {len(bad)} of {len(cells)} squares deviate"]
    lines += [f"the first is {bad[0]}"] if bad else []
    if good:
        worst, quantity, dtype = max(good, key=lambda g: g[0] or 0)
        lines.append(f"of the others the worst error is {worst:.3g} of its bound ({quantity}, {dtype})")
    return f"{'; '.join(lines)}."


def table(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each square."""
    return [
        {"path": path["name"], "quantity": quantity, "dtype": dtype} | cell
        for path in data["paths"]
        for quantity, row in path["cells"].items()
        for dtype, cell in row.items()
    ]


def draw(data: dict[str, Any]) -> Any:
    """Draw a square for each quantity and format: blue within its bound, orange beyond, words where it deviates."""
    import matplotlib
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    paths, dtypes = data["paths"], data["dtypes"]
    quantities = list(dict.fromkeys(quantity for path in paths for quantity in path["cells"]))
    figure = Figure(figsize=(2.6 + 1.0 * len(dtypes) * len(paths), 1.6 + 0.26 * len(quantities)), layout="constrained")
    colours, norm = matplotlib.colormaps["PuOr_r"], TwoSlopeNorm(0, vmin=-3 * END, vmax=END)
    panels = figure.subplots(1, len(paths), squeeze=False, sharey=True)[0]
    for axes, path in zip(panels, paths, strict=True):
        for row, quantity in enumerate(quantities):
            for column, dtype in enumerate(dtypes):
                _square(axes, column, row, path["cells"].get(quantity, {}).get(dtype), colours, norm)
        axes.set(xlim=(0, len(dtypes)), ylim=(len(quantities), 0))
        axes.set_xticks([k + 0.5 for k in range(len(dtypes))], dtypes)
        axes.set_yticks([k + 0.5 for k in range(len(quantities))], quantities)
        axes.tick_params(length=0, labelsize=7)
        axes.set_title(path["name"], fontsize=8)
    bar = figure.colorbar(matplotlib.cm.ScalarMappable(norm, colours), ax=panels, aspect=30)
    bar.set_label("log10 of worst error / bound; above 0 it deviates")
    bar.ax.set(ylim=(-END, END))
    verdict = "conforms to" if data["conforms"] else "deviates from"
    figure.suptitle(f"{data['target']} {verdict} {data['convention']}", fontsize=9)
    return figure


def _square(axes: Any, column: int, row: int, cell: dict[str, Any] | None, colours: Any, norm: Any) -> None:
    corners = [column, column + 1, column + 1, column], [row, row, row + 1, row + 1]
    if cell is None:
        axes.fill(*corners, "#f4f4f4", ec="white")
        axes.text(column + 0.5, row + 0.5, "not judged", ha="center", va="center", fontsize=6, color="0.6")
        return
    worst, bad = cell["worst"], cell["state"] in BAD
    level = END if worst is None or (bad and worst <= 1) else math.log10(min(max(worst, 10.0**-END), 10.0**END))
    axes.fill(*corners, fc=colours(norm(level)), ec="white")
    number = "not finite" if worst is None else f"{worst:.2g}" if worst else ""
    words = " ".join(filter(None, (cell["state"].lower() if bad or not number else "", number)))
    ink = "white" if level > END / 2 else "black"
    axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", fontsize=6, color=ink)
