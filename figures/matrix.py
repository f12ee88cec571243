"""The matrix as a heat map: conventions on the left, digits lost on the right, from figures/matrix/*.json."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from refnorm.matrix import ENTRIES, read

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


def data(directory: Path = HERE / "matrix") -> dict[str, Any]:
    """Return names, four words per path, and log10 of the errors (NaN: no finite result)."""
    results = read(directory)
    found: dict[str, Any] = {"names": [], "words": [], "errors": [], "other": [], "ratios": []}
    for entry in ENTRIES:
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
            found["words"].append([WORDS.get(word, word) or "" for word in words])
            found["other"].append(other)
            found["errors"].append([math.nan if other or e is None else math.log10(max(e, 0.1)) for e in errors])
            found["ratios"] = numbers["ratios"]
    return found


def _hung(measurement: dict[str, str]) -> str:
    return "hangs" if measurement["value"] == "lost" and measurement["note"].startswith("no answer") else ""


def draw(data: dict[str, Any]) -> Any:
    """Draw words on the left and errors on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 1.2 + 0.22 * len(data["names"])), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.2))
    names, rows = data["names"], len(data["names"])
    left.set(xlim=(0, 7), ylim=(rows, 0), yticks=[i + 0.5 for i in range(rows)], yticklabels=names)
    heads = ["momentum\nweighs", "running\nvariance", "one\nvalue", "empty\nbatch"]
    heads += ["float16\nsums", "other\nlayout", "one core\nor all"]
    left.set_xticks([i + 0.5 for i in range(7)], heads)
    for i, words in enumerate(data["words"]):
        for j, word in enumerate(words):
            left.fill([j, j + 1, j + 1, j], [i, i, i + 1, i + 1], COLOURS.get(word, "#eeeeee"), ec="white", alpha=0.75)
            left.text(j + 0.5, i + 0.5, word, ha="center", va="center", fontsize=6)
    image = right.imshow(data["errors"], cmap="cividis", aspect="auto", vmin=-1, vmax=8, extent=(0, 8, rows, 0))
    right.set_facecolor("#D55E00")  # NaN shows through
    exponents = ["0"] + [f"1e{round(math.log10(r))}" for r in data["ratios"][1:]]
    right.set_xticks([i + 0.5 for i in range(len(exponents))], exponents)
    right.set(yticks=[], xlabel="mean / std of a channel")
    right.set_title("worst error of y, float32, units of the last place (log10); red: NaN", fontsize=8)
    for i, errors in enumerate(data["errors"]):
        if data["other"][i]:
            right.fill([0, 8, 8, 0], [i, i, i + 1, i + 1], "#eeeeee")
            right.text(4, i + 0.5, "normalises by something else", ha="center", va="center", fontsize=6)
            continue
        for j, e in enumerate(errors):
            text, dark = ("NaN", False) if math.isnan(e) else (str(round(e)), e < 4)
            right.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
    figure.colorbar(image, ax=right, fraction=0.04)
    for ax in (left, right):
        ax.tick_params(length=0, labelsize=7)
    return figure
