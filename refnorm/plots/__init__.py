"""What a user may want to draw from their own numbers; matplotlib is imported only when something is drawn.

``refnorm/plots/NAME.py`` has ``data(...)``, which measures and returns plain data; ``draw(data)``, which returns a
figure; and ``caption(data)``, the numbers that the picture shows, in words.
"""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

PLOTS: Mapping[str, str] = MappingProxyType(
    {
        "small-batch": "statistics of few values: 1/s, kurtosis, largest |x_hat|, surviving gradient, against theory",
        "lag": "a running average's lag, noise and memory of its initial value at a chosen momentum",
        "conditioning": "error against mean/std of an implementation, between the bounds of known algorithms",
        "conformance": "worst error / bound of an implementation, quantity by format, from a trial or its JSON report",
    }
)
FORMATS = ("svg", "png", "pdf")
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


def obstacle(output: Path, replace: bool) -> str:
    """Say what stands in the way of a picture, before anything is measured; empty if nothing does."""
    if output.suffix[1:] not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        return f"cannot tell the format of {output} from its ending; use one of {endings}"
    if output.is_dir() or not output.parent.is_dir():
        what = f"{output} is a directory" if output.is_dir() else f"there is no directory {output.parent}"
        return f"cannot write {output}: {what}"
    if output.exists() and not replace:
        return f"{output} exists and is left alone; --output {output} replaces it"
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        return f"drawing needs matplotlib ({error}); pip install matplotlib, or refnorm with its extra plot"
    return ""


def rendered(plot: Any, data: Any, kind: str, title: str) -> bytes:
    """Draw, and return the file: the same bytes for the same data and version of matplotlib."""
    matplotlib = importlib.import_module("matplotlib")
    dated = {"svg": "Date", "pdf": "CreationDate"}
    metadata = {"Title": title} | ({dated[kind]: None} if kind in dated else {})
    with matplotlib.rc_context(dict(STYLE)):
        file = io.BytesIO()
        plot.draw(data).savefig(file, format=kind, metadata=metadata, bbox_inches="tight", dpi=150)
    return file.getvalue()


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
