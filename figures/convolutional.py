"""Test error of a small convolutional network against batch size: how many values of an image count.

Two 3x3 convolutions and a linear layer learn scikit-learn's handwritten digits, 1000 to train and 797 to test: five
seeds (split, start and order), eight epochs of SGD with momentum 0.9, its rate in proportion to the batch. The first
normalization has m = 64 N values per channel, the second m = 16 N. Six minutes of one core.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from figures import small_batch, within_the_seeds
from refnorm import Statistics, update_running
from refnorm.plots import label_ends
from tutorials import network

SIZES, SEEDS, EPOCHS, CHANNELS = (1, 2, 4, 8, 16, 32, 64, 128), range(5), 8, (8, 16)
RATE, MOMENTUM = 0.03, 0.1  # of SGD at batch 32; of the running average, the weight of the new batch
NORMS = {"batch norm": network.batch_norm(), "group norm": network.group_norm_layer(4)}
FLAT = network.Layer(lambda x: (x.reshape(len(x), -1), x.shape), lambda dy, shape: (dy.reshape(shape),))
WHOLE, HALVED = (
    network.Layer(partial(network.convolution, padding=1, stride=stride), network.convolution_backward)
    for stride in (1, 2)
)
CURVES = {
    "batch statistics": ("batch norm, test batch", "#CC79A7", "v"),
    "running average": ("batch norm, running average", "#D55E00", "o"),
    "population": ("batch norm, population", "#E69F00", "s"),
    "group norm": ("group norm", "#0072B2", "^"),
}
ALT = (
    "Test error of a small convolutional network against batch size, logarithmic, beside that of three linear layers. "
    "The convolutional one is flat, at 2 to 3 %, down to one image; the linear one rises from 8 on and guesses at 1."
)


def untrained(method: str, seed: int) -> tuple[list[network.Layer], list[Any]]:
    """Return layers and parameters; weights have variance 2 / fan-in."""
    draw = np.random.default_rng([seed, 1])
    first, second = CHANNELS

    def convolution(inputs: int, outputs: int) -> tuple[Any, Any]:
        return draw.standard_normal((outputs, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs)), np.zeros(outputs)

    layers = [
        WHOLE, NORMS[method], network.RELU,
        HALVED, NORMS[method], network.RELU, FLAT, network.LINEAR,
    ]  # fmt: skip
    rows = 16 * second
    last = draw.standard_normal((rows, 10)) * np.sqrt(2 / rows), np.zeros(10)
    affine = [(np.ones(n), np.zeros(n)) for n in CHANNELS]
    return layers, [convolution(1, first), affine[0], (), convolution(first, second), affine[1], (), (), last]


def trained(method: str, size: int, seed: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Train with batches of a size; return the test error in %, by way of inference."""
    x, labels, test, answers = (a[0] for a in small_batch.digits([seed]))
    x, test = (a.reshape(-1, 1, 8, 8) for a in (x, test))
    layers, parameters = untrained(method, seed)
    velocity, running = network.start(parameters, 0.0), [(np.zeros(n), np.ones(n)) for n in CHANNELS]
    order = np.random.default_rng([seed, 2])
    for _ in range(epochs):
        shuffled = order.permutation(len(x))
        for k in range(0, len(x) - size + 1, size):
            batch = shuffled[k : k + size]
            logits, saved = network.run(layers, parameters, x[batch])
            _, kept = network.softmax_cross_entropy(logits, labels[batch])
            (dlogits,) = network.softmax_cross_entropy_backward(1.0, kept)
            found = network.gradients(layers, dlogits, saved)
            parameters, velocity = network.step(network.sgd, parameters, found, velocity, rate=RATE * size / 32)
            new: list[Statistics] = network.batch_statistics(saved) if method == "batch norm" else []
            running = [update_running(*old, own, momentum=MOMENTUM) for old, own in zip(running, new, strict=False)]

    def error(layers: list[network.Layer], size: int) -> float:
        ends = range(size, len(test) + 1, size)
        logits = [network.run(layers, parameters, test[end - size : end])[0] for end in ends]
        guesses = np.concatenate(logits).argmax(axis=-1)
        return round(100 * float((guesses != answers[: len(guesses)]).mean()), 2)

    if method != "batch norm":
        return {method: error(layers, len(test))}
    population = network.population(layers, parameters, [x])
    return {
        "batch statistics": error(layers, size),
        "running average": error(network.inference(layers, running), len(test)),
        "population": error(network.inference(layers, population), len(test)),
    }


def data() -> dict[str, Any]:
    """Return the test error of each seed in %, by method and batch size."""
    errors: dict[str, list[list[float]]] = {name: [] for name in CURVES}
    for size in SIZES:
        for method in NORMS:
            runs = [trained(method, size, seed) for seed in SEEDS]
            for name in runs[0]:
                errors[name].append([run[name] for run in runs])
    return {"batch": list(SIZES), "error": errors}


def same(committed: dict[str, Any], new: dict[str, Any]) -> bool:
    """Tell whether two runs agree, within the spread of the seeds."""
    return within_the_seeds(*(list(run["error"].values()) for run in (committed, new)))


def draw(data: dict[str, Any]) -> Any:
    """Draw the convolutional network on the left, mean and range of the seeds; the linear layers' on the right."""
    from matplotlib.figure import Figure

    linear = json.loads(Path(small_batch.__file__).with_suffix(".json").read_text())
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, run, title in (
        (panels[0], data, "two convolutions: m = 64 N and 16 N values per channel"),
        (panels[1], linear, "linear layers: m = N"),
    ):
        ends = []
        for name, (words, colour, marker) in CURVES.items():
            errors = np.array(run["error"][name])
            axes.plot(run["batch"], errors.mean(axis=1), marker=marker, markersize=4, color=colour)
            ends.append((errors[-1].mean(), words, colour))
            axes.fill_between(run["batch"], errors.min(axis=1), errors.max(axis=1), color=colour, alpha=0.15, lw=0)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set(xlabel="batch size N", ylim=(1.5, 100))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(run["batch"], [str(n) for n in run["batch"]])
        axes.set_yticks((2, 5, 10, 20, 50, 100), ["2", "5", "10", "20", "50", "100"])
        axes.minorticks_off()
        label_ends(axes, run["batch"][-1], ends)
    panels[0].set_ylabel("test error, %")
    return figure
