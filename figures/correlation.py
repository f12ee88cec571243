"""How correlated neighbouring units are, layer by layer, on photographs, and what it does to both corrections.

Six convolutions, each followed by batch normalization and ReLU, see crops of five photographs of scikit-image (they
ship with it, nothing is downloaded), halved in size. The weights are random, or trained a little to tell from which
photograph a crop is; training sees the left halves, everything measured is of the right halves. Measured is what
enters each batch normalization. Batches are drawn with replacement from the crops, so that their images, though not
their pixels, are independent. Then, with rho the mean correlation of two pixels of an image, one with itself included,

    E[s_b^2] = sigma^2 (1 - rho/N) = sigma^2 (1 - 1/n_eff),   n_eff = N/rho,

since the mean of a batch has the variance sigma^2 rho/N. rho is the autocorrelation, averaged over all pairs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from refnorm import population_statistics
from refnorm.plots import BLUE, GREEN, ORANGE, RED, label, significant

sys.path.insert(0, str(Path(__file__).parent.parent / "tutorials"))

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "stereo_motorcycle")
CHANNELS, STRIDES = (3, 12, 12, 24, 24, 48, 48), (1, 2, 1, 2, 1, 2)
SIZE, TRAINED_SIZE, EVERY, IMAGES = 64, 32, 16, 8
STEPS, BATCH, RATE, DRAWS, SEEDS = 120, 20, 0.05, 4000, (0, 1, 2)
ALT = (
    "Six convolutions on crops of photographs, three seeds. Neighbouring pixels are correlated by 0.955; what enters "
    "batch norm 1 to 6 falls from 0.856 to 0.882 down to 0.308 to 0.375 with random weights, and stays at 0.895 to "
    "0.968 with weights trained to name the photograph; nowhere is it 0.05 to 0.1. An image of 64 to 4096 pixels "
    "counts as 1.6 to 7.8 independent values. In batches of 8 images m = N leaves the trained variances 5.1 to 9.0 % "
    "too large, m = N H W 4.6 to 7.8 % too small."
)


def photographs() -> list[Any]:
    """Return five photographs as channels, height, width in 0..1, halved in size."""
    from skimage import data

    found = []
    for name in PHOTOGRAPHS:
        photograph = getattr(data, name)()
        photograph = photograph[0] if isinstance(photograph, tuple) else photograph
        even = photograph[: photograph.shape[0] // 2 * 2, : photograph.shape[1] // 2 * 2].astype(float) / 255
        halved = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
        found.append(np.moveaxis(halved, 2, 0))
    return found


def crops(photograph: Any, size: int, every: int) -> Any:
    """Return all square crops of a photograph at places that are multiples of ``every``."""
    _, height, width = photograph.shape
    places = [(i, j) for i in range(0, height - size + 1, every) for j in range(0, width - size + 1, every)]
    return np.stack([photograph[:, i : i + size, j : j + size] for i, j in places])


def stack(seed: int) -> tuple[list[Any], list[Any]]:
    """Return the layers and random weights (He et al. 2015); a convolution before batch norm needs no bias."""
    from network import RELU, Layer, batch_norm, convolution, convolution_backward

    rng, layers, parameters = np.random.default_rng([0, seed]), [], []
    for inputs, outputs, stride in zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False):
        convolve = Layer(lambda x, w, s=stride: convolution(x, w, 0.0, stride=s, padding=1), None)
        back = Layer(convolve.forward, lambda dy, saved: convolution_backward(dy, saved)[:2])
        layers += [back, batch_norm(), RELU]
        weight = rng.standard_normal((outputs, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs))
        parameters += [(weight,), (np.ones(outputs), np.zeros(outputs)), ()]
    return layers, parameters


def trained(layers: list[Any], parameters: list[Any], halves: list[Any], seed: int) -> tuple[list[Any], list[float]]:
    """Train the stack, with means over each channel and a linear map on top, to name a crop's photograph."""
    import network as n

    def spread(dy: Any, shape: tuple[int, ...]) -> tuple[Any]:
        return (np.broadcast_to(dy[:, :, None, None] / (shape[2] * shape[3]), shape),)

    mean = n.Layer(lambda x: (x.mean(axis=(2, 3)), x.shape), spread)
    rng = np.random.default_rng([1, seed])
    whole = [*layers, mean, n.LINEAR]
    top = rng.standard_normal((CHANNELS[-1], len(halves))) / CHANNELS[-1] ** 0.5
    parameters = [*parameters, (), (top, np.zeros(len(halves)))]
    states, losses = n.start(parameters, 0.0), []
    for _ in range(STEPS):
        labels = rng.integers(len(halves), size=BATCH)
        x = np.stack([_anywhere(halves[k], rng) for k in labels])
        logits, saved = n.run(whole, parameters, x)
        loss, kept = n.softmax_cross_entropy(logits, labels)
        losses.append(float(loss))
        (dlogits,) = n.softmax_cross_entropy_backward(1.0, kept)
        parameters, states = n.step(n.sgd, parameters, n.gradients(whole, dlogits, saved), states, rate=RATE)
    return parameters[:-2], losses


def _anywhere(photograph: Any, rng: np.random.Generator) -> Any:
    i, j = (rng.integers(n - TRAINED_SIZE + 1) for n in photograph.shape[1:])
    return photograph[:, i : i + TRAINED_SIZE, j : j + TRAINED_SIZE]


def measured(x: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Return correlations of x (images, channels, height, width), and the bias of three estimators of its variance.

    Everything is relative to the variance of its channel, and averaged over channels.
    """
    d = x - x.mean(axis=(0, 2, 3), keepdims=True)
    var = (d**2).mean(axis=(0, 2, 3))
    beside = ((d[:, :, :, 1:] * d[:, :, :, :-1]).mean(axis=(0, 2, 3)) / var).mean()
    below = ((d[:, :, 1:] * d[:, :, :-1]).mean(axis=(0, 2, 3)) / var).mean()
    mean, square = d.mean(axis=(2, 3)), (d**2).mean(axis=(2, 3))
    rho = ((mean**2).mean(axis=0) / var).mean()
    drawn = rng.integers(len(x), size=(DRAWS, IMAGES))
    biased = (square[drawn].mean(axis=1) - mean[drawn].mean(axis=1) ** 2) / var
    seen, error = biased.mean(), biased.mean(axis=1).std(ddof=1) / DRAWS**0.5
    return {
        "pixels": x.shape[2] * x.shape[3],
        "neighbours": (beside + below) / 2,
        "rho": rho,
        "biased": seen - 1,
        "error": error,
    }


def corrected(layer: dict[str, Any], m: int) -> float:
    """Return the bias, relative to sigma^2, that is left after s_b^2 m/(m - 1)."""
    return (1 + layer["biased"]) * m / (m - 1) - 1


def layer_by_layer(layers: list[Any], parameters: list[Any], images: Any) -> list[dict[str, Any]]:
    """Run all images through the stack, statistics being those of all of them; measure what each layer is fed with."""
    from network import inference

    rng = np.random.default_rng(2)
    found = [{"layer": "photographs"} | measured(images, rng)]
    batches = np.array_split(images, max(1, len(images) // 25))
    for number, (layer, own) in enumerate(zip(layers, parameters, strict=True)):
        if number % 3 == 1:
            found.append({"layer": f"convolution {number // 3 + 1}"} | measured(np.concatenate(batches), rng))
            statistics = population_statistics(batches, axis=1)
            layer = inference([layer], [(statistics.mean, statistics.var)])[0]
        batches = [layer.forward(x, *own)[0] for x in batches]
        if number % 3 == 2:
            found[-1]["after ReLU"] = measured(np.concatenate(batches), rng)["neighbours"]
    return found


def data() -> dict[str, Any]:
    """Measure with random weights and after a little training."""
    seen = photographs()
    images = np.concatenate([crops(p[:, :, p.shape[2] // 2 :], SIZE, EVERY) for p in seen])
    left = [p[:, :, : p.shape[2] // 2] for p in seen]
    found: dict[str, Any] = {"images": len(images), "batch": IMAGES, "draws": DRAWS, "loss": []}
    found |= {"random": [], "trained": []}
    for seed in SEEDS:
        layers, parameters = stack(seed)
        learned, losses = trained(layers, parameters, left, seed)
        found["loss"].append([losses[0], float(np.mean(losses[-10:]))])
        found["random"].append(layer_by_layer(layers, parameters, images))
        found["trained"].append(layer_by_layer(layers, learned, images))
    return significant(found, 3)


def across(runs: list[list[dict[str, Any]]], value: Any) -> Any:
    """Return a value of every layer for every seed, as an array (seeds, layers)."""
    return np.array([[value(row) for row in rows] for rows in runs])


def draw(data: dict[str, Any]) -> Any:
    """Draw neighbours' correlation, independent values per image, and the bias of three estimators."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    near, free, bias = figure.subplots(1, 3)
    n, pixels = data["batch"], [row["pixels"] for row in data["random"][0]]
    places = np.arange(len(pixels))
    near.axhspan(0.05, 0.1, color="0.85", lw=0)
    near.annotate("0.05 to 0.1, remembered in 2015", (0, 0.11), fontsize=7, color="0.4")
    for colour, which in ((BLUE, "random"), (ORANGE, "trained")):
        runs = data[which]
        beside = across(runs, lambda row: row["neighbours"])
        _spread(near, places, beside, "o-", colour)
        after = across([rows[1:] for rows in runs], lambda row: row["after ReLU"])
        _spread(near, places[1:], after, "s:", colour)
        independent = across(runs, lambda row: 1 / row["rho"])
        _spread(free, places, independent, "o-", colour)
        label(near, places[1], beside[:, 1].mean(), f"{which} weights", colour, 14, 12 if which == "trained" else 4)
        label(free, places[4], independent[:, 4].mean(), f"{which} weights", colour, right=-10, up=12)
    label(near, places[3], 0.52, "dotted: after ReLU", "0.4", right=-4)
    free.plot(places, pixels, "--", color="0.4")
    label(free, places[2], pixels[2], "pixels, H W", "0.4", up=8)
    free.set(yscale="log", title="independent values per image, 1/rho")
    near.set(ylim=(-0.05, 1.05), title="correlation of neighbouring units")
    for colour, mark, value in (
        (RED, "^", lambda row: corrected(row, n)),
        (GREEN, "D", lambda row: corrected(row, n * row["pixels"])),
        (BLUE, ".", lambda row: row["biased"]),
    ):
        _spread(bias, places, 100 * across(data["trained"], value), mark, colour)
    label(bias, 0, 4.5, f"corrected with m = N = {n}", RED, 0)
    label(bias, 0, -3.4, "corrected with m = N H W; dots: biased; line: -rho/N", GREEN, 0)
    rho = across(data["trained"], lambda row: row["rho"]).mean(axis=0)
    bias.plot(places, -100 * rho / n, "-", color="0.6", lw=0.9)
    bias.axhline(0, color="0.4", lw=0.8)
    bias.set(title=f"bias of {n} images' variance, %, trained")
    for axes in (near, free, bias):
        axes.set_xticks(places, ["photo", *(f"conv{k}" for k in places[1:])], fontsize=7, rotation=45)
    return figure


def _spread(axes: Any, places: Any, values: Any, style: str, colour: str) -> None:
    """Draw the mean over seeds, and a band from the least to the largest."""
    axes.plot(places, values.mean(axis=0), style, color=colour, markersize=4, lw=1.2)
    axes.fill_between(places, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0)
