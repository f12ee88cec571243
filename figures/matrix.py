"""The matrix as a heat map: conventions on the left, digits lost on the right, from figures/matrix/*.json."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from refnorm.matrix import GROUPS, read

HERE = Path(__file__).parent
SOURCE = "figures/matrix/*.json, which refnorm matrix writes"
ALT = (
    "One row per framework and path. Left: whose weight momentum is, biased or unbiased running variance, what one "
    "value per channel and an empty batch do, whether float16 sums overflow, whether y differs in a bit in another "
    "memory layout or on one core. Right: worst error of y in float32 as mean/std grows from 0 to a million."
)
WORDS = {
    "new": "new batch",
    "old": "old value",
    "sums": "sums",
    "raises": "raises",
    "statistics left": "left",
    "lost": "dies",
    "differ": "differs",
}
# Okabe & Ito's palette, told apart without colour vision; the words stand in the cells anyway.
COLOURS = {
    "new batch": "#56B4E9", "old value": "#E69F00", "sums": "#009E73", "biased": "#E69F00", "unbiased": "#56B4E9",
    "raises": "#56B4E9", "left": "#009E73", "non-finite": "#D55E00", "other": "#CC79A7",
    "survives": "#009E73", "same": "#009E73", "overflows": "#D55E00", "differs": "#D55E00",
    "dies": "#D55E00", "hangs": "#D55E00",
}  # fmt: skip
KEY = {
    "#56B4E9": "as PyTorch does, or an error",
    "#E69F00": "the other convention",
    "#009E73": "a third one, or harmless",
    "#CC79A7": "what no formula gives",
    "#D55E00": "a trap: NaN, overflow, a crash, or bits that depend on layout or cores",
    "#eeeeee": "not offered, or not measured",
}


def data(directory: Path = HERE / "matrix") -> dict[str, Any]:
    """Return names, four words per path, and log10 of the errors (NaN: no finite result)."""
    results = read(directory)
    found: dict[str, Any] = {"names": [], "groups": [], "words": [], "errors": [], "other": [], "ratios": []}
    for group, entry in ((group, entry) for group, entries in GROUPS.items() for entry in entries):
        for path, result in results.get(entry.name, {}).get("paths", {}).items():
            values = {m["name"]: _hung(m) or m["value"] for m in result["measurements"]}
            numbers = result["numerics"]
            errors = numbers.get("y") if any(numbers.get("y") or []) else numbers.get("inference")
            if not errors:
                continue
            k = values.get("running variance, k in m/(m - k)")
            words = [values.get("momentum"), {0: "biased", 1: "unbiased", None: None}.get(k, "other")]
            words += [values.get(name) for name in ("one value per channel", "empty batch")]
            pure = [v for name, v in values.items() if name.startswith("float16, statistics")]
            words.append(("overflows" if "overflows" in pure else "survives") if pure else "")
            words += ["differs" if numbers.get("layouts") else "same", numbers.get("threads")]
            divisors = [v for name, v in values.items() if name.startswith("divisor")]
            other = any(v != "sqrt(var + eps)" for v in divisors)  # y is another operation's
            found["names"].append(f"{entry.name} {path}".strip())
            found["groups"].append(group)
            found["words"].append([WORDS.get(word, word) or "" for word in words])
            found["other"].append(other)
            found["errors"].append([math.nan if other or e is None else math.log10(max(e, 0.1)) for e in errors])
            found["ratios"] = numbers["ratios"]
    return found


def _hung(measurement: dict[str, str]) -> str:
    return "hangs" if measurement["value"] == "lost" and measurement["note"].startswith("no answer") else ""


def draw(data: dict[str, Any]) -> Any:
    """Draw words on the left and errors on the right, each group under its name, and the key to the colours."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    lines: list[int | str] = []  # a row's number, or the name of a group that begins
    for k, group in enumerate(data["groups"]):
        lines += [k] if k and group == data["groups"][k - 1] else [group, k]
    count = len(lines)
    figure = Figure(figsize=(12, 1.8 + 0.22 * count), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.2))
    names = ["" if isinstance(line, str) else data["names"][line] for line in lines]
    left.set(xlim=(0, 7), ylim=(count, 0), yticks=[i + 0.5 for i in range(count)], yticklabels=names)
    heads = ["momentum\nweighs", "running\nvariance", "one\nvalue", "empty\nbatch"]
    heads += ["float16\nsums", "other\nlayout", "one core\nor all"]
    left.set_xticks([i + 0.5 for i in range(7)], heads)
    errors = [[math.nan] * 8 if isinstance(line, str) else data["errors"][line] for line in lines]
    image = right.imshow(errors, cmap="cividis", aspect="auto", vmin=-1, vmax=8, extent=(0, 8, count, 0))
    right.set_facecolor("#D55E00")  # NaN shows through
    for i, line in enumerate(lines):
        if isinstance(line, str):
            for ax, width in ((left, 7), (right, 8)):
                ax.fill([0, width, width, 0], [i, i, i + 1, i + 1], "white")
            left.text(0.05, i + 0.6, line, ha="left", va="center", fontsize=8, weight="bold")
            continue
        _draw_row(left, right, i, data["words"][line], data["errors"][line], data["other"][line])
    for ax in (left, right):
        ax.tick_params(length=0, labelsize=7)
        ax.spines[:].set_visible(False)
    exponents = ["0"] + [f"1e{round(math.log10(r))}" for r in data["ratios"][1:]]
    right.set_xticks([i + 0.5 for i in range(len(exponents))], exponents)
    right.set(yticks=[], xlabel="mean / std of a channel")
    right.set_title("worst error of y, float32, units of the last place (log10); red: NaN", fontsize=8)
    figure.colorbar(image, ax=right, fraction=0.04)
    patches = [Patch(facecolor=colour, alpha=0.75, label=said) for colour, said in KEY.items()]
    figure.legend(handles=patches, loc="outside upper left", ncols=3, fontsize=8, frameon=False)
    return figure


def _draw_row(left: Any, right: Any, i: int, words: list[str], errors: list[float], other: bool) -> None:
    """Draw the cells of one path."""
    for j, word in enumerate(words):
        left.fill([j, j + 1, j + 1, j], [i, i, i + 1, i + 1], COLOURS.get(word, "#eeeeee"), ec="white", alpha=0.75)
        left.text(j + 0.5, i + 0.5, word, ha="center", va="center", fontsize=6)
    if other:
        right.fill([0, 8, 8, 0], [i, i, i + 1, i + 1], "#eeeeee")
        right.text(4, i + 0.5, "normalises by something else", ha="center", va="center", fontsize=6)
        return
    for j, e in enumerate(errors):
        text, dark = ("NaN", False) if math.isnan(e) else (str(round(e)), e < 4)
        right.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
