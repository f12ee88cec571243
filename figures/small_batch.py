"""Test error against batch size: batch normalization inferred in three ways, and what needs no batch.

Three linear layers learn scikit-learn's handwritten digits, 1000 to train and 797 to test: five seeds (split, start and
order), eight epochs of SGD with momentum 0.9, its rate in proportion to the batch as in Wu & He 2018. A batch of N has
m = N values per channel, so that N = 1 is m = 1: x_hat = 0, whatever the input. A minute of one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import within_the_seeds
from refnorm import update_running
from refnorm.plots import label, label_ends
from tutorials import network

SIZES, SEEDS, EPOCHS, TRAIN, WIDTH = (1, 2, 4, 8, 16, 32, 64, 128), range(5), 8, 1000, 64
RATE, MOMENTUM = 0.03, 0.1  # of SGD at batch 32; of the running average, the weight of the new batch
KEPT = (0, 2)  # of arrays (seed, sample, channel)
NORMS = {
    "batch norm": network.batch_norm(KEPT),
    "frozen": network.batch_norm(KEPT),  # replaced by population statistics before the first step
    "group norm": network.group_norm_layer(8, KEPT),
    "layer norm": network.group_norm_layer(1, KEPT),
}
METHODS = (*NORMS, "SELU")
# Wu & He 2018, "Group Normalization": ResNet-50, ImageNet, validation error in % by images per GPU
PUBLISHED = {"batch": [2, 4, 8, 16, 32], "BN": [34.7, 27.3, 24.8, 23.7, 23.6], "GN": [24.1, 24.2, 24.0, 24.2, 24.1]}
CURVES = {
    "batch statistics": ("batch norm, test batch", "#CC79A7", "v"),
    "running average": ("batch norm, running average", "#D55E00", "o"),
    "population": ("batch norm, population", "#E69F00", "s"),
    "frozen": ("frozen batch norm", "#000000", "D"),
    "group norm": ("group norm, 8 groups", "#0072B2", "^"),
    "layer norm": ("layer norm", "#56B4E9", "<"),
    "SELU": ("SELU, no normalization", "#009E73", ">"),
}  # Okabe & Ito's palette, told apart without colour vision
ALT = (
    "Test error against batch size, logarithmic. Batch norm is best from 8 on, crosses group norm between 8 and 4, and "
    "fails at 2 and 1. Group norm, layer norm, SELU and frozen batch norm are flat. Beside it Wu & He 2018: the same "
    "crossing on ImageNet."
)


def digits(seeds: Any) -> tuple[Any, Any, Any, Any]:
    """Return pixels and labels to train on, then to test on, split anew for each seed."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.stack([np.random.default_rng([seed, 0]).permutation(len(pixels)) for seed in seeds])
    pixels, labels = pixels[order] / 16, labels[order]
    return pixels[:, :TRAIN], labels[:, :TRAIN], pixels[:, TRAIN:], labels[:, TRAIN:]


def untrained(method: str, x: Any, seeds: Any) -> tuple[list[network.Layer], list[Any]]:
    """Return layers and parameters; variance 2 / fan-in for ReLU, 1 / fan-in for SELU."""
    generators = [np.random.default_rng([seed, 1]) for seed in seeds]
    gain = 1.0 if method == "SELU" else 2.0

    def linear(rows: int, columns: int) -> tuple[Any, Any]:
        weight = [g.standard_normal((rows, columns)) * np.sqrt(gain / rows) for g in generators]
        return np.stack(weight), np.zeros((len(seeds), columns))

    affine = np.ones((len(seeds), WIDTH)), np.zeros((len(seeds), WIDTH))
    if method == "SELU":
        layers = [network.LINEAR, network.SELU, network.LINEAR, network.SELU, network.LINEAR]
        return layers, [linear(64, WIDTH), (), linear(WIDTH, WIDTH), (), linear(WIDTH, 10)]
    block = [network.LINEAR, NORMS[method], network.RELU]
    layers = [*block, *block, network.LINEAR]
    parameters = [linear(64, WIDTH), affine, (), linear(WIDTH, WIDTH), affine, (), linear(WIDTH, 10)]
    if method == "frozen":
        layers = network.inference(layers, network.population(layers, parameters, [x]))
    return layers, parameters


def trained(method: str, size: int, seeds: Any = SEEDS, epochs: int = EPOCHS) -> dict[str, list[float]]:
    """Train with batches of a size; return the test error of every seed in %, by way of inference."""
    x, labels, test, answers = digits(seeds)
    layers, parameters = untrained(method, x, seeds)
    velocity, rows = network.start(parameters, 0.0), np.arange(len(seeds))[:, None]
    running = [(np.zeros((len(seeds), WIDTH)), np.ones((len(seeds), WIDTH)))] * 2
    generators = [np.random.default_rng([seed, 2]) for seed in seeds]
    for _ in range(epochs):
        order = np.stack([g.permutation(TRAIN) for g in generators])
        for k in range(0, TRAIN - size + 1, size):
            batch = rows, order[:, k : k + size]
            logits, saved = network.run(layers, parameters, x[batch])
            _, kept = network.softmax_cross_entropy(logits, labels[batch])
            (dlogits,) = network.softmax_cross_entropy_backward(np.ones(len(seeds)), kept)
            found = network.gradients(layers, dlogits, saved)
            parameters, velocity = network.step(network.sgd, parameters, found, velocity, rate=RATE * size / 32)
            running = [
                update_running(*old, new, momentum=MOMENTUM, correction=min(1, size - 1))  # m = 1 has no unbiased one
                for old, new in zip(running, network.batch_statistics(saved), strict=False)
            ]

    def error(layers: list[network.Layer], size: int) -> list[float]:
        ends = range(size, test.shape[1] + 1, size)
        logits = [network.run(layers, parameters, test[:, end - size : end])[0] for end in ends]
        guesses = np.concatenate(logits, axis=1).argmax(axis=-1)
        return [round(100 * float(e), 2) for e in (guesses != answers[:, : guesses.shape[1]]).mean(axis=1)]

    if method != "batch norm":
        return {method: error(layers, test.shape[1])}
    population = network.population(layers, parameters, [x])
    return {
        "batch statistics": error(layers, size),
        "running average": error(network.inference(layers, running), test.shape[1]),
        "population": error(network.inference(layers, population), test.shape[1]),
    }


def data() -> dict[str, Any]:
    """Return the test error of each seed in %, by method and batch size."""
    errors: dict[str, list[list[float]]] = {name: [] for name in CURVES}
    for size in SIZES:
        for method in METHODS:
            for name, values in trained(method, size).items():
                errors[name].append(values)
    return {"batch": list(SIZES), "error": errors, "published": PUBLISHED}


def same(committed: dict[str, Any], new: dict[str, Any]) -> bool:
    """Tell whether two runs agree, within the spread of the seeds."""
    values = [list(run["error"].values()) for run in (committed, new)]
    return list(committed["error"]) == list(new["error"]) and within_the_seeds(*values)


def draw(data: dict[str, Any]) -> Any:
    """Draw ours on the left, mean and range of the seeds; what was published on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    ours, theirs = figure.subplots(1, 2, width_ratios=(1.6, 1))
    ends = []
    for name, (words, colour, marker) in CURVES.items():
        errors = np.array(data["error"][name])
        ours.plot(data["batch"], errors.mean(axis=1), marker=marker, markersize=4, color=colour)
        ours.fill_between(data["batch"], errors.min(axis=1), errors.max(axis=1), color=colour, alpha=0.15, lw=0)
        ends.append((errors[-1].mean(), words, colour))
    at = data["batch"].index
    running, group = (np.array(data["error"][name]).mean(axis=1) for name in ("running average", "group norm"))
    ours.set_title(
        f"digits, 5 seeds: from batch 32 to 2 batch norm goes from {running[at(32)]:.1f} to {running[at(2)]:.1f} %,\n"
        f"group norm from {group[at(32)]:.1f} to {group[at(2)]:.1f} %",
        loc="left",
        fontsize=9,
    )
    ours.set(ylabel="test error, %", ylim=(1.5, 100))
    published = data["published"]
    for name, colour, marker in (("BN", "#D55E00", "o"), ("GN", "#0072B2", "^")):
        theirs.plot(published["batch"], published[name], marker=marker, markersize=4, color=colour)
    theirs.set_title(
        f"Wu & He 2018, ResNet-50, ImageNet:\n{published['BN'][-1]} to {published['BN'][0]} %, "
        f"{published['GN'][-1]} to {published['GN'][0]} %",
        loc="left",
        fontsize=9,
    )
    theirs.set(ylabel="validation error, %", ylim=(20, 40))
    for axes, batch, ticks in (
        (ours, data["batch"], (2, 5, 10, 20, 50, 100)),
        (theirs, published["batch"], (20, 30, 40)),
    ):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(batch, [str(n) for n in batch])
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("batch size" if axes is ours else "images per GPU")
    label_ends(ours, data["batch"][-1], ends)
    label(theirs, 4, published["BN"][1], "batch norm", "#D55E00", right=8, up=6)
    label(theirs, 4, published["GN"][1], "group norm", "#0072B2", right=0, up=-9)
    return figure
