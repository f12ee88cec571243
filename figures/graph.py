"""The computational graph of batch normalization: operations forward, gradients backward, and the three paths to dx.

Every formula of the picture is a Python expression; the test puts numbers in and compares with refnorm.
"""

from __future__ import annotations

from typing import Any

from refnorm.plots import BLUE, RED

ALT = (
    "Computational graph of batch normalization, forward in blue, gradients in red. Three paths lead from x_hat back "
    "to x: direct, through the variance and through the mean. For x = 1, 2, 6 and dy = 1, 0, 0 they carry 0.463, "
    "-0.132 and -0.154 to the first x, together 0.176: 62 % of the direct gradient are taken back."
)
# name: place, operation
NODES: dict[str, tuple[float, float, str]] = {
    "x": (0.0, 0.0, ""),
    "mean": (1.3, 1.6, "sum(x) / m"),
    "centred": (3.0, 0.0, "x - mean"),
    "var": (4.2, 1.6, "sum(centred**2) / m"),
    "inv_std": (6.8, 1.6, "(var + eps)**-0.5"),
    "x_hat": (7.1, 0.0, "centred * inv_std"),
    "gamma": (9.2, 1.6, ""),
    "scaled": (9.8, 0.0, "gamma * x_hat"),
    "beta": (11.8, 1.6, ""),
    "y": (12.4, 0.0, "scaled + beta"),
}
# from, to, what the gradient of the second gives to that of the first, and where that is written
EDGES: tuple[tuple[str, str, str, float, float], ...] = (
    ("scaled", "y", "dy", 11.1, 0.32),
    ("beta", "y", "sum(dy)", 12.75, 0.8),
    ("gamma", "scaled", "sum(dscaled * x_hat)", 10.65, 0.9),
    ("x_hat", "scaled", "dscaled * gamma", 8.45, 0.32),
    ("centred", "x_hat", "dx_hat * inv_std", 5.05, 0.37),
    ("inv_std", "x_hat", "sum(dx_hat * centred)", 8.25, 0.9),
    ("var", "inv_std", "-dinv_std * inv_std**3 / 2", 5.5, 1.27),
    ("centred", "var", "dvar * 2 * centred / m", 5.0, 0.75),
    ("x", "centred", "dcentred", 1.5, 0.32),
    ("mean", "centred", "-sum(dcentred)", 2.85, 1.1),
    ("x", "mean", "dmean / m", 0.05, 0.9),
)


def paths(x: Any, dy: Any, eps: float = 0.0) -> dict[str, Any]:
    """Return what each path from x_hat carries to dx: direct, through the variance, and through the mean."""
    m, centred = len(x), x - x.mean(axis=0)
    inv_std = ((centred**2).mean(axis=0) + eps) ** -0.5
    direct = dy * inv_std
    variance = -centred * (dy * centred).sum(axis=0) * inv_std**3 / m
    return {"direct": direct, "variance": variance, "mean": -(direct + variance).sum(axis=0) / m + 0 * x}


def data() -> dict[str, Any]:
    """Return nodes, edges, and the example's three paths."""
    import numpy as np

    example = paths(np.array([1.0, 2.0, 6.0]), np.array([1.0, 0.0, 0.0]))
    rounded = {name: [round(float(v), 6) + 0.0 for v in values] for name, values in example.items()}
    return {"nodes": {n: list(v) for n, v in NODES.items()}, "edges": [list(e) for e in EDGES], "paths": rounded}


def draw(data: dict[str, Any]) -> Any:
    """Draw names in circles, operations beside them, gradients along the arrows back."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for start, end, gradient, *at in data["edges"]:
        one, other = data["nodes"][start][:2], data["nodes"][end][:2]
        for colour, tail, head in ((BLUE, one, other), (RED, other, one)):
            arrow = {"arrowstyle": "-|>", "color": colour, "lw": 1.1, "connectionstyle": "arc3,rad=0.12"}
            axes.annotate("", head, tail, arrowprops=arrow | {"shrinkA": 21, "shrinkB": 21})
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        axes.text(*at, gradient, color=RED, fontsize=7, ha="center", va="center", family="monospace", bbox=box)
    for name, (x, y, operation) in data["nodes"].items():
        box = {"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": BLUE, "lw": 1.2}
        axes.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box, zorder=3)
        below = y - 0.42 if y == 0 else y + 0.42
        axes.text(x, below, operation, ha="center", va="center", fontsize=7.5, color=BLUE, family="monospace")
    parts = " ".join(f"{values[0]:+.3f} ({name})" for name, values in data["paths"].items())
    total = sum(values[0] for values in data["paths"].values())
    axes.text(0, -1.1, f"x = 1, 2, 6 and dy = 1, 0, 0: the first x gets {parts} = {total:.3f}", fontsize=9)
    axes.set(xlim=(-0.6, 13.2), ylim=(-1.3, 2.3))
    axes.axis("off")
    return figure
