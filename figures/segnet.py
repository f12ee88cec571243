"""SegNet's puzzle in miniature: training mode fine, inference weird, and a larger batch makes both alike.

A net of three convolutions tells bright discs from their background in images of 12x12 pixels, each with an exposure of
its own: batch 1 and batch 4, judged after 2000 and 5000 iterations of momentum SGD, four seeds. LEARN is the statistics
of the test batch, INFERENCE the running average or SegNet's own way: population statistics, computed after training.
The control has images of equal exposure. A minute and a half of one core.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from figures import within_the_seeds
from refnorm import update_running
from tutorials import network

SIDE, CHANNELS, TRAIN, TEST, SEEDS, RATE, MOMENTUM = 12, 6, 64, 100, range(4), 0.05, 0.01
EXPOSURE = 0.3  # standard deviation of the logarithm of an image's gain; twice that, of its shift
SETTINGS = {
    "exposures differ, batch 1": (1, EXPOSURE, (2000, 5000)),
    "exposures differ, batch 4": (4, EXPOSURE, (2000, 5000)),
    "exposures equal, batch 1": (1, 0.0, (2000,)),
}
WAYS = {
    "LEARN": ("LEARN: statistics of the test batch", "#CC79A7"),
    "LEARN, one by one": ("LEARN, images one by one", "#009E73"),
    "running average": ("INFERENCE: running average", "#D55E00"),
    "population": ("INFERENCE: population statistics, recomputed", "#E69F00"),
}
CONVOLUTION = network.Layer(partial(network.convolution, padding=1), network.convolution_backward)
BLOCK = [CONVOLUTION, network.batch_norm(), network.RELU]
LAYERS = [*BLOCK, *BLOCK, CONVOLUTION]
ALT = (
    "Bars of intersection over union. Batch 1, exposures differ: LEARN high, both kinds of INFERENCE far lower, after "
    "2000 iterations and after 5000. Batch 4: all alike. Exposures equal: all alike at batch 1, too."
)


def scenes(count: int, rng: np.random.Generator, exposure: float) -> tuple[Any, Any]:
    """Return images (count, 1, SIDE, SIDE) of a bright disc before a dark one, and where the bright one is."""
    i, j = np.indices((SIDE, SIDE))

    def disc() -> Any:
        centre, radius = rng.uniform(2, SIDE - 2, (2, count, 1, 1)), rng.uniform(2, 4, (count, 1, 1))
        return (i - centre[0]) ** 2 + (j - centre[1]) ** 2 < radius**2

    dark, bright = disc(), disc()
    image = np.where(bright, 2.0, 0.0) - np.where(dark, 2.0, 0.0) + 0.5 * rng.standard_normal(dark.shape)
    gain, shift = exposure * rng.standard_normal((2, count, 1, 1))
    return (image * np.exp(gain) + 2 * shift)[:, None], bright.astype(int)


def untrained(rng: np.random.Generator) -> list[Any]:
    """Return parameters, weights of variance 2 / fan-in."""

    def weight(into: int, outof: int) -> tuple[Any, Any]:
        return rng.standard_normal((into, outof, 3, 3)) * np.sqrt(2 / (9 * outof)), np.zeros(into)

    affine = np.ones(CHANNELS), np.zeros(CHANNELS)
    return [weight(CHANNELS, 1), affine, (), weight(CHANNELS, CHANNELS), affine, (), weight(2, CHANNELS)]


def overlap(layers: list[network.Layer], parameters: list[Any], x: Any, mask: Any, size: int) -> float:
    """Return the intersection over union of discs found and discs that are there, in %, in batches of a size."""
    logits = [network.run(layers, parameters, x[k : k + size])[0] for k in range(0, len(x), size)]
    found = np.concatenate(logits).argmax(axis=1)
    return round(100 * float((found & mask).sum() / (found | mask).sum()), 1)


def trained(size: int, exposure: float, stops: tuple[int, ...], seed: int) -> list[list[float]]:
    """Train with batches of a size; return at each stop the overlap on test images, in the order of `WAYS`."""
    rng = np.random.default_rng(seed)
    (x, mask), (test, answer) = scenes(TRAIN, rng, exposure), scenes(TEST, rng, exposure)
    parameters = untrained(rng)
    velocity, found = network.start(parameters, 0.0), []
    running = [(np.zeros(CHANNELS), np.ones(CHANNELS))] * 2
    for iteration in range(1, max(stops) + 1):
        batch = rng.choice(TRAIN, size, replace=False)
        logits, saved = network.run(LAYERS, parameters, x[batch])
        pixels = np.moveaxis(logits, 1, -1)
        _, kept = network.softmax_cross_entropy(pixels.reshape(-1, 2), mask[batch].ravel())
        (dpixels,) = network.softmax_cross_entropy_backward(1.0, kept)
        gradients = network.gradients(LAYERS, np.moveaxis(dpixels.reshape(pixels.shape), -1, 1), saved)
        parameters, velocity = network.step(network.sgd, parameters, gradients, velocity, rate=RATE)
        news = network.batch_statistics(saved)
        running = [update_running(*old, new, momentum=MOMENTUM) for old, new in zip(running, news, strict=True)]
        if iteration in stops:
            population = network.inference(LAYERS, network.population(LAYERS, parameters, [x]))
            ways = (LAYERS, size), (LAYERS, 1), (network.inference(LAYERS, running), TEST), (population, TEST)
            found.append([overlap(layers, parameters, test, answer, count) for layers, count in ways])
    return found


def data() -> dict[str, Any]:
    """Return the overlap in %, by setting and iterations: for each way of inference, a number for each seed."""
    found: dict[str, Any] = {}
    for setting, (size, exposure, stops) in SETTINGS.items():
        results = np.array([trained(size, exposure, stops, seed) for seed in SEEDS])  # (seed, stop, way)
        for k, stop in enumerate(stops):
            found[f"{setting}, {stop} iterations"] = dict(zip(WAYS, results[:, k].T.tolist(), strict=True))
    return found


def same(committed: dict[str, Any], new: dict[str, Any]) -> bool:
    """Tell whether two runs agree, within the spread of the seeds."""
    values = [[list(ways.values()) for ways in run.values()] for run in (committed, new)]
    return list(committed) == list(new) and within_the_seeds(*values)


def draw(data: dict[str, Any]) -> Any:
    """Draw a group of bars for each setting, the mean, with a dot for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    for k, (way, (label, colour)) in enumerate(WAYS.items()):
        values = np.array([data[setting][way] for setting in data])
        at = np.arange(len(data)) + 0.2 * (k - 1.5)
        axes.bar(at, values.mean(axis=1), width=0.18, color=colour, alpha=0.6, label=label)
        axes.plot(np.broadcast_to(at[:, None], values.shape), values, ".", color=colour, markersize=5)
    axes.set_xticks(range(len(data)), [setting.replace(", ", "\n") for setting in data])
    axes.set(ylabel="intersection over union, %", ylim=(0, 100))
    first, last = (data[f"exposures differ, batch {s}, {n} iterations"] for s, n in ((1, 2000), (4, 5000)))
    means = [np.mean(run[way]) for run in (first, last) for way in ("LEARN", "population")]
    axes.set_title(
        "LEARN against INFERENCE with population statistics: "
        f"{means[0]:.0f} and {means[1]:.0f} % at batch 1, {means[2]:.0f} and {means[3]:.0f} % at batch 4",
        loc="left",
        fontsize=9,
    )
    axes.legend(frameon=False, fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, -0.32))
    return figure
