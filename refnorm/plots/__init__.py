"""What a user may want to draw from their own numbers; matplotlib is imported only when something is drawn.

``refnorm/plots/NAME.py`` has ``data(...)``, which measures and returns plain data; ``draw(data)``, which returns a
figure; ``caption(data)``, the numbers that the picture shows, in words; and ``table(data)``, the same numbers in rows.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

PLOTS: Mapping[str, str] = MappingProxyType(
    {
        "small-batch": "statistics of few values, or of your activations: sigma/s, kurtosis, |x_hat|, gradient left",
        "lag": "a running average's lag, noise and memory of its initial value at a chosen momentum",
        "conditioning": "error against mean/std of an implementation, between the bounds of known algorithms",
        "conformance": "worst error / bound of an implementation, quantity by format, from a trial or its JSON report",
    }
)
PICTURES = ("svg", "png", "pdf")
TABLES = ("csv", "json")
STYLE: Mapping[str, Any] = MappingProxyType(
    {
        "svg.hashsalt": "refnorm",  # the same bytes on every run
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)
# Okabe & Ito's palette, told apart without colour vision.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, PURPLE)


def module(name: str) -> Any:
    """Return the module that makes a plot of `PLOTS`."""
    return importlib.import_module(f"refnorm.plots.{name.replace('-', '_')}")


def file_format(output: Path | None, asked: str | None) -> str:
    """Return the format of what is written: the asked one, else that of the file's ending, else SVG.

    Raises
    ------
    ValueError
        The ending tells no format, or another one than was asked for.

    Examples
    --------
    >>> file_format(Path("lag.png"), None), file_format(Path("numbers.txt"), "csv"), file_format(None, None)
    ('png', 'csv', 'svg')
    """
    known = (*PICTURES, *TABLES)
    ending = output.suffix[1:] if output else ""
    if asked and ending in known and ending != asked:
        raise ValueError(f"{output} ends in .{ending}, and --format asks for {asked}; leave one of them out")
    if not asked and output and ending not in known:
        endings = ", ".join(f".{name}" for name in known)
        raise ValueError(f"cannot tell the format of {output} from its ending; use one of {endings}, or --format")
    return asked or ending or "svg"


def obstacle(output: Path | None, kind: str, replace: bool) -> str:
    """Say what stands in the way of a file, or of a picture, before anything is measured; empty if nothing does."""
    if output and (output.is_dir() or not output.parent.is_dir()):
        what = f"{output} is a directory" if output.is_dir() else f"there is no directory {output.parent}"
        return f"cannot write {output}: {what}"
    if output and output.exists() and not replace:
        return f"{output} exists and is left alone; --output {output} replaces it"
    try:
        importlib.import_module("matplotlib" if kind in PICTURES else "csv")
    except ImportError as error:
        return f"drawing needs matplotlib ({error}); pip install matplotlib, or refnorm with its extra plot"
    return ""


def file_content(plot: Any, data: Any, kind: str) -> bytes:
    """Return the table of a plot as CSV, all of its data and its caption as JSON, or its picture."""
    caption = plot.caption(data)
    if kind == "json":
        return (json.dumps({"caption": caption} | data, indent=1, allow_nan=False) + "\n").encode()
    if kind == "csv":
        rows = plot.table(data)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    return rendered(plot, data, kind, " ".join(caption.splitlines()))


def rendered(plot: Any, data: Any, kind: str, title: str) -> bytes:
    """Draw, and return the file: the same bytes for the same data and version of matplotlib."""
    matplotlib = importlib.import_module("matplotlib")
    dated = {"svg": "Date", "pdf": "CreationDate"}
    metadata = {"Title": title} | ({dated[kind]: None} if kind in dated else {})
    with matplotlib.rc_context(dict(STYLE)):
        file = io.BytesIO()
        plot.draw(data).savefig(file, format=kind, metadata=metadata, bbox_inches="tight", dpi=150)
    return file.getvalue()


def set_ticks(axes: Any, counts: Sequence[int] | Any, digit: float = 0.022) -> None:
    """Put a tick at each count of a logarithmic axis, and its number where that does not meet the one before it.

    Parameters
    ----------
    axes : whose limits are final.
    counts : in ascending order.
    digit : share of the axis that a digit takes; two fifths of that are left between numbers.
    """
    low, high = (math.log(limit) for limit in axes.get_xlim())
    labels, free = [], -math.inf
    for count in counts:
        place = (math.log(count) - low) / (high - low)
        half = digit * (len(str(count)) + 0.4) / 2
        labels.append(str(count) if place - half >= free else "")
        free = place + half if labels[-1] else free
    axes.set_xticks(list(counts), labels)
    axes.minorticks_off()


def label(axes: Any, x: float, y: float, words: str, colour: str, right: float = 4, up: float = 0, **how: Any) -> None:
    """Write at a point what its curve is, in the curve's colour, darker, as letters need more contrast than lines.

    Parameters
    ----------
    axes : what the curve is drawn in.
    x, y : the point, in data, or in ``xycoords``.
    words : what to write.
    colour : of the curve.
    right, up : where the words begin, in points from there.
    how : further arguments of matplotlib's ``annotate``.
    """
    shade = [0.68 * part for part in importlib.import_module("matplotlib.colors").to_rgb(colour)]
    how = {"fontsize": 7.5, "va": "center", "ha": "left" if right >= 0 else "right"} | how
    axes.annotate(words, (x, y), (right, up), textcoords="offset points", color=shade, annotation_clip=False, **how)


def label_ends(
    axes: Any, x: float, ends: Sequence[tuple[float, str, str]], right: float = 6, gap: float = 0.05
) -> None:
    """Write at the ends of curves what they are, and move apart what would meet.

    Parameters
    ----------
    axes : whose limits are final.
    x : where the curves end.
    ends : of each curve the last value, its name and its colour.
    right : of ``x``, in points; negative: to its left.
    gap : share of the axis that a line of words takes.
    """
    places = axes.transAxes.inverted().transform(axes.transData.transform([(x, value) for value, _, _ in ends]))[:, 1]
    order = sorted(range(len(ends)), key=lambda k: places[k])
    tall = [gap * (1 + ends[k][1].count("\n")) for k in order]
    centres = [sum(tall[:k]) + tall[k] / 2 for k in range(len(tall))]
    fitted = importlib.import_module("scipy.optimize").isotonic_regression
    moved = fitted([min(max(places[k], 0), 1) - centre for k, centre in zip(order, centres, strict=True)]).x
    room = max(1 - sum(tall), 0)  # all stay within the axis
    for k, start, centre in zip(order, moved, centres, strict=True):
        _, words, colour = ends[k]
        label(axes, x, min(max(start, 0), room) + centre, words, colour, right, xycoords=("data", "axes fraction"))


def significant(value: Any, digits: int = 6) -> Any:
    """Return plain data, numbers rounded so that machines agree on them; None where they are not finite.

    Examples
    --------
    >>> significant({"mean": (1 / 3, float("inf")), "m": 2})
    {'mean': [0.333333, None], 'm': 2}
    """
    if isinstance(value, Mapping):
        return {key: significant(v, digits) for key, v in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if hasattr(value, "tolist"):  # an array, or one of NumPy's numbers
        return significant(value.tolist(), digits)
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return [significant(v, digits) for v in value]
