"""The running variance over 50 training steps in every convention: the same batches, the same number as momentum.

Batches of m = 8 values of variance 4, 20,000 channels, momentum = 0.1 for all, or the number that gives a new batch the
weight 0.1. Running variances begin at 1, running sums at 0.
"""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from refnorm.conventions import ROWS, Convention
from refnorm.plots import BLUE, COLOURS, GREEN, PURPLE, RED, label, label_ends, significant
from refnorm.reference.running import update_sums
from refnorm.reference.statistics import Statistics

STEPS, COUNT, CHANNELS, VARIANCE, MOMENTUM = 50, 8, 20_000, 4.0, 0.1
ALT = (
    "Mean running variance over 50 steps, batches of 8 values of variance 4, started at 1. With momentum = 0.1 in "
    "every framework: 3.98 where it weighs the new batch, 3.48 in TVM, which stores the biased one; about 3.5 or 4.0 "
    "from the second step on where it weighs the old value. With the number that gives the new batch the weight 0.1: "
    "3.98 where the unbiased variance is stored, 3.48, an eighth less, where the biased one is."
)


def trajectory(row: Convention, momentum: float, batches: list[Statistics]) -> list[float]:
    """Return the mean running variance after each step."""
    mean, var, path = np.zeros(CHANNELS), np.ones(CHANNELS), []
    sums = np.zeros(CHANNELS), np.zeros(CHANNELS), 0.0
    for batch in batches:
        if row.momentum == "sums":
            # update_sums adds the unbiased variance; a row that stores the biased one gets it from a smaller one
            biased = batch if row.correction else Statistics(COUNT, batch.mean, batch.var * (COUNT - 1) / COUNT)
            sums = update_sums(*sums, biased, fraction=momentum)
            var = sums[1] / sums[2]
        else:
            mean, var = row.update(mean, var, batch, momentum)
        path.append(float(var.mean()))
    return path


def data() -> dict[str, Any]:
    """Return the paths of the rows that behave alike, for the same number and for the same meaning."""
    rng = np.random.default_rng(0)
    batches = [Statistics.of(rng.normal(0, VARIANCE**0.5, (COUNT, CHANNELS))) for _ in range(STEPS)]
    groups: dict[tuple[str, int], list[str]] = {}
    for row in ROWS.values():
        groups.setdefault((row.momentum, row.correction), []).append(row.name)
    found = []
    for (sense, correction), names in groups.items():
        row, meant = ROWS[names[0]], MOMENTUM if sense == "new" else 1 - MOMENTUM
        paths = {"same number": trajectory(row, MOMENTUM, batches), "same meaning": trajectory(row, meant, batches)}
        found.append({"momentum": sense, "correction": correction, "names": names} | significant(paths, 5))
    return {"groups": found}


def draw(data: dict[str, Any]) -> Any:
    """Draw the same number on the left, the same meaning on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    meant = {"new": "new batch", "old": "old value", "sums": "sums"}
    for axes, which in zip(panels, ("same number", "same meaning"), strict=True):
        axes.axhline(VARIANCE, color="0.6", lw=0.8, ls=":")
        ends = []
        for colour, dash, group in zip(COLOURS, ("-", "--", "-", "--", "-.", ":"), data["groups"], strict=False):
            axes.plot([1, *range(2, STEPS + 1)], group[which], dash, color=colour, lw=1.4)
            stored = "unbiased" if group["correction"] else "biased"
            words = f"{meant[group['momentum']]}, {stored}: {', '.join(group['names'])}"
            ends.append((group[which][-1], "\n".join(textwrap.wrap(words, 42, break_on_hyphens=False)), colour))
        axes.set(xlabel="training steps", ylim=(0.9, 4.6))
    number, meaning = panels
    number.set(title="momentum = 0.1 passed to each; it weighs ...", ylabel="running variance, mean of 20,000 channels")
    meaning.set(title="the number that gives the new batch the weight 0.1")
    for axes, flat, rising in ((number, "old value or sums", "new batch"), (meaning, "sums", "new or old")):
        label(axes, 1, VARIANCE, f"{flat}, unbiased", GREEN, 0, 9)
        label(axes, 1, VARIANCE * (COUNT - 1) / COUNT, f"{flat}, biased", RED, 0, 8)
        label(axes, 29, VARIANCE, f"{rising}, unbiased", BLUE, 0, -15)
        label(axes, 12, 2.7, f"{rising}, biased", PURPLE)
    label_ends(meaning, STEPS, ends, gap=0.045)  # who they are, in the order of the ends
    return figure
