"""Draw curves, points and histograms as SVG, with NumPy alone: in notebooks, in the book, and in its live cells.

Letters and axes have the colour of the text around them, light or dark; the name of each curve stands at its end.
"""

from __future__ import annotations

import textwrap
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

import numpy as np

COLOURS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "currentColor"  # of Okabe & Ito, seen on white and on black
WIDTH, HEIGHT, LINE, LETTER = 440, 200, 17, 8.5  # of the picture, of its axes; of a line of text, of a letter, about


class Drawing(NamedTuple):
    """A picture, which notebooks show; `svg` is the whole of it."""

    title: str
    svg: str

    def __repr__(self):
        return f"<Drawing: {self.title}>"

    def _repr_svg_(self):
        return self.svg

    def _repr_html_(self):  # what notebooks prefer: within the page, letters have its colour
        return self.svg


def ticks(low, high, logarithmic=False):
    """Return round numbers, some five of them, the first at low or below it, the last not above high.

    >>> ticks(0, 47), ticks(3, 128, logarithmic=True), ticks(1e-15, 0.2, logarithmic=True)
    ([0.0, 10.0, 20.0, 30.0, 40.0], [2.0, 5.0, 10.0, 20.0, 50.0, 100.0], [1e-15, 1e-12, 1e-09, 1e-06, 0.001])
    """
    if logarithmic:
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        digits = (1, 2, 5) if len(powers) < 5 else (1,)
        found = [k * 10.0**p for p in powers[:: ceil(len(powers) / 7)] for k in digits]
    else:
        size = 10.0 ** floor(log10((high - low) / 3))
        step = next(k * size for k in (1, 2, 5, 10) if (high - low) / (k * size) <= 6)
        found = [k * step for k in range(floor(low / step + 1e-9), floor(high / step) + 1)]  # but for noise
    first = max((tick for tick in found if tick <= low), default=low)
    return [tick for tick in found if first <= tick <= high]


def axis(values, name, logarithmic, first, last, whole=False):
    """Return a function from values to places between two, and its ticks in words; a whole axis begins at a tick."""
    low, high = float(values.min()), float(values.max())
    if logarithmic and low <= 0:
        raise ValueError(f"{name}: {low:g} has no place on a logarithmic axis, which begins above 0")
    if low == high:  # a single value stands in the middle
        low, high = (low / 2, high * 2) if logarithmic else (low - (abs(low) or 1), high + (abs(high) or 1))
    found = ticks(low, high, logarithmic)
    low = min(low, found[0]) if whole else low
    change = np.log if logarithmic else np.asarray
    scale = (last - first) / (change(high) - change(low))
    words = {tick: f"{tick:.{4 if logarithmic else 6}g}".replace("e+", "e").replace("e0", "e") for tick in found}
    words = {tick: word.replace("e-0", "e-") for tick, word in words.items() if tick >= low}
    return lambda value: first + (change(value) - change(low)) * scale, words


def arrays(series):
    """Return across and up of each series, float (n,) both, and the names of those that are histograms."""
    found, bars = {}, []
    for name, (across, up) in series.items():
        across, up = np.asarray(across, dtype=float), np.asarray(up, dtype=float)
        if across.ndim == 1 and up.shape == (len(across) + 1,):  # counts and edges: go around the bars
            bars.append(name)
            across, up = np.repeat(up, 2), np.concatenate([[0], np.repeat(across, 2), [0]])
        if across.ndim != 1 or across.shape != up.shape or not across.size:
            raise ValueError(f"{name}: {across.shape} values across and {up.shape} up; give two sequences of n numbers")
        if lost := np.sum(~(np.isfinite(across) & np.isfinite(up))):
            raise ValueError(f"{name}: {lost} of {up.size} points are NaN or infinite and cannot be drawn")
        found[name] = across, up
    if not found:
        raise ValueError("there is nothing to draw: series is empty")
    return found, bars


def apart(levels, last):
    """Return ascending levels moved so far that they are a line of text apart, and none is beyond the last.

    >>> apart([0, 3, 100, 101], 100)
    [0, 17, 83, 100]
    """
    for k in range(1, len(levels)):
        levels[k] = max(levels[k], levels[k - 1] + LINE)
    for k in range(len(levels) - 1, -1, -1):
        levels[k] = min(levels[k], levels[k + 1] - LINE if k + 1 < len(levels) else last)
    return levels


def draw(title, series, *, x, y="", log="", points=()):
    """Return a picture of curves, points and histograms.

    Parameters
    ----------
    title : what is to be seen, which is also said to those who do not see it.
    series : of each name its values across and up, (n,) both; or counts (n,) and edges (n + 1,), as of np.histogram.
    x, y : what is across, what is up.
    log : the axes that are logarithmic, "x", "y" or "xy".
    points : names of series that are drawn as points, not as a line.

    Raises
    ------
    ValueError : nothing to draw; other than as many values up as across; NaN or infinity; 0 or less on a logarithmic
        axis; points of a series that there is not.

    Examples
    --------
    >>> picture = draw("Squares", {"x²": ([0, 1, 2], [0, 1, 4])}, x="x")
    >>> picture
    <Drawing: Squares>
    >>> print(picture.svg.split("<title>")[1].split("<g")[0])  # what is read aloud
    Squares</title><desc>Against x: x² from 0 at 0 to 4 at 2</desc>
    """
    found, bars = arrays(series)
    if unknown := set(points) - set(found):
        raise ValueError(f"points: there is no series {min(unknown)!r}; there are {', '.join(found)}")
    heading = textwrap.wrap(title, 54)
    all_x, all_y = (np.concatenate(values) for values in zip(*found.values(), strict=True))
    top = LINE * (len(heading) + bool(y) + 0.5)
    bottom = top + HEIGHT
    place_y, ticks_y = axis(all_y, y, "y" in log, bottom, top + 8, whole=True)
    left = 8 + LETTER * max(map(len, ticks_y.values()))
    right = WIDTH - 16 - LETTER * max((len(name) for name in found if name not in bars), default=0)
    place_x, ticks_x = axis(all_x, x, "x" in log, left, right)

    def text(across, up, words, more=""):
        return f'<text x="{across:.1f}" y="{up:.1f}" fill="currentColor"{more}>{escape(words)}</text>'

    parts = [text(0, LINE * (k + 0.8), line, ' font-weight="bold"') for k, line in enumerate(heading)]
    parts += [text(0, LINE * (len(heading) + 0.8), y)] if y else []
    for tick, words in ticks_y.items():
        level = place_y(tick)
        parts.append(f'<path d="M{left:.1f},{level:.1f}H{right:.1f}" stroke="currentColor" stroke-opacity="0.2"/>')
        parts.append(text(left - 6, level + 5, words, ' text-anchor="end"'))
    parts.append(f'<path d="M{left:.1f},{bottom:.1f}H{right:.1f}" stroke="currentColor"/>')
    for tick, words in ticks_x.items():
        parts.append(f'<path d="M{place_x(tick):.1f},{bottom:.1f}v5" stroke="currentColor"/>')
        parts.append(text(place_x(tick), bottom + 19, words, ' text-anchor="middle"'))
    ends = []
    for k, (name, (across, up)) in enumerate(found.items()):
        colour, places = COLOURS[k % len(COLOURS)], list(zip(place_x(across), place_y(up), strict=True))
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        if name in points or len(places) == 1:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}"/>' for a, b in places]
        else:
            filled = f'"{colour}" fill-opacity="0.25"' if name in bars else '"none"'
            parts.append(f'<polyline points="{line}" stroke="{colour}" stroke-width="2" fill={filled}/>')
        if name in bars:
            a, b = min(places, key=lambda place: place[1])
            parts.append(text(a, b - 4, name, f' text-anchor="{"end" if a > WIDTH / 2 else "start"}"'))
        else:
            a, b = max(places)
            ends.append((b, a, name, colour))
    levels = apart(sorted(b for b, *_ in ends), bottom)
    for level, (b, a, name, colour) in zip(levels, sorted(ends), strict=True):
        parts.append(f'<path d="M{a:.1f},{b:.1f}L{right + 9:.1f},{level:.1f}" stroke="{colour}"/>')
        parts.append(text(right + 12, level + 5, name))
    parts.append(text(right, bottom + 36, x, ' text-anchor="end"'))
    said = [f"{n} from {u[0]:.3g} at {a[0]:.3g} to {u[-1]:.3g} at {a[-1]:.3g}" for n, (a, u) in found.items()]
    size = f'width="{WIDTH}" height="{bottom + 44:.0f}" viewBox="0 0 {WIDTH} {bottom + 44:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title>'
    about = f"<desc>{escape(f'Against {x}: ' + '; '.join(said))}</desc>"
    body = f'<g font-family="system-ui, sans-serif" font-size="14">{"".join(parts)}</g></svg>'
    return Drawing(title, head + about + body)
