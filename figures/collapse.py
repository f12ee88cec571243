"""Inference that collapses while training mode goes on improving: running averages that parameters outrun.

The smallest network found: 16 pixels, one batch normalization, ReLU, 16 outputs, which finds a spot and draws its heat
map (a one-dimensional pose). Batch 8, L2 of 1e-3 (TF-Slim's MobileNet has 4e-5, and 60000 steps), decay of the running
averages 0.997, in one run switched to 0.9 and to 0.5. Adam and momentum SGD with two rates each, Adam without L2; four
seeds. Half a minute of one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figures import within_the_seeds
from refnorm import update_running
from refnorm.plots import label, label_ends
from tutorials import network

PIXELS, HIDDEN, BATCH, SEEDS, STEPS, EVERY = 16, 16, 8, range(4), 12000, 500
BRIGHTNESS = 14.0  # of all pixels, where the spot adds 1: what nobody subtracted
START = 16.0  # times the usual first weights: room to shrink, as in a network that comes trained
DECAYS = {0: 0.997, 6000: 0.9, 9000: 0.5}  # by step
RUNS = {
    "adam": ("Adam 1e-3, decay switched", network.adam, 1e-3, 1e-3, DECAYS),
    "slower": ("Adam 1e-4", network.adam, 1e-4, 1e-3, {0: 0.997}),
    "sgd": ("SGD 3e-3", network.sgd, 3e-3, 1e-3, {0: 0.997}),
    "sgd, more l2": ("SGD 1e-2, ten times the L2", network.sgd, 1e-2, 1e-2, {0: 0.997}),
    "no l2": ("Adam 1e-3, no L2", network.adam, 1e-3, 0.0, {0: 0.997}),
}  # label, optimizer, rate, L2, decays
COLOURS = dict(zip(RUNS, ("#D55E00", "#0072B2", "#009E73", "#000000", "#CC79A7"), strict=True))
KEPT = (0, 2)  # of arrays (seed, sample, channel)
LAYERS = [network.LINEAR, network.batch_norm(KEPT), network.RELU, network.LINEAR]
WAIT = 2000  # steps with the parameters frozen
MEASURED = ("training", "inference", "hits", "population", "gap", "moved", "weight")
Running = list[tuple[Any, Any]]
ALT = (
    "Four panels against step. With Adam at rate 1e-3 the loss in training mode falls while that of inference rises, "
    "until the decay is switched to 0.9. The running mean is behind by what its lag predicts. Rate 1e-4, momentum SGD "
    "or no L2: no collapse; SGD with more L2: worse. With the parameters frozen the averages catch up."
)


def spots(count: int, seed: int) -> tuple[Any, Any, Any]:
    """Return images (count, PIXELS), heat maps and positions."""
    rng, grid = np.random.default_rng(seed), np.arange(PIXELS)
    position = rng.uniform(2, PIXELS - 3, count)
    distance = (grid - position[:, None]) ** 2 / 2
    spot = rng.uniform(0.5, 1.5, (count, 1)) * np.exp(-distance / 1.5**2)
    return BRIGHTNESS + spot + 0.1 * rng.standard_normal(spot.shape), np.exp(-distance), position


def heat(logits: Any, target: Any) -> tuple[Any, Any, Any]:
    """Return the loss, half the squared error of sigmoid(logits) summed over the map, dlogits, and the map."""
    y = 1 / (1 + np.exp(-logits))
    error = y - target
    return (error**2).sum(axis=-1).mean(axis=-1) / 2, error * y * (1 - y) / logits.shape[-2], y


def untrained(seeds: Any) -> list[Any]:
    """Return parameters, one network for each seed side by side."""
    generators = [np.random.default_rng([seed, 1]) for seed in seeds]

    def normal(rows: int, columns: int, std: float) -> Any:
        return np.stack([std * g.standard_normal((rows, columns)) for g in generators])

    zeros, first = np.zeros((len(seeds), HIDDEN)), START * np.sqrt(2 / PIXELS)
    last = normal(HIDDEN, PIXELS, 0.1 * np.sqrt(2 / HIDDEN)), np.full((len(seeds), PIXELS), -2.0)
    return [(normal(PIXELS, HIDDEN, first), zeros), (zeros + 1, zeros), (), last]


def update(running: Running, saved: list[Any], decay: float) -> Running:
    """Move the running averages towards the statistics of a batch."""
    news = network.batch_statistics(saved)
    return [update_running(*old, new, momentum=1 - decay) for old, new in zip(running, news, strict=True)]


def distance(mean: Any, population: Running) -> Any:
    """Return the root mean square over the channels of mean - population mean, in standard deviations."""
    return np.sqrt(((mean - population[0][0]) ** 2 / population[0][1]).mean(axis=-1))


def rounded(values: Any) -> list[float]:
    """Return four significant digits for each seed."""
    return [float(f"{value:.4g}") for value in values]


def frozen(parameters: list[Any], running: Running, population: Running, x: Any, batches: Any, judge: Any) -> Any:
    """Leave the parameters as they are, and let the running averages catch up with the population."""
    found: dict[str, list[Any]] = {"step": [], "gap": [], "inference": []}
    for k in range(WAIT + 1):
        if k % (WAIT // 8) == 0:
            found["step"].append(k)
            found["gap"].append(rounded(distance(running[0][0], population)))
            found["inference"].append(rounded(judge(network.inference(LAYERS, running), parameters)[0]))
        _, saved = network.run(LAYERS, parameters, x[batches()])
        running = update(running, saved, DECAYS[0])
    return found


def trained(name: str, steps: int = STEPS, every: int = EVERY, seeds: Any = SEEDS) -> dict[str, Any]:
    """Train; return what is measured every so many steps, a list over the seeds, and what a freeze shows."""
    _, optimizer, rate, l2, decays = RUNS[name]
    x, target, _ = spots(512, seed=1)
    test, answer, position = spots(400, seed=2)
    x, test = (np.stack([images] * len(seeds)) for images in (x, test))
    rows, generators = np.arange(len(seeds))[:, None], [np.random.default_rng([seed, 2]) for seed in seeds]
    parameters = untrained(seeds)
    states = network.start(parameters, 0.0 if optimizer is network.sgd else (0, 0.0, 0.0))
    population = running = network.population(LAYERS, parameters, [x])
    found: dict[str, Any] = {key: [] for key in ("step", *MEASURED)}

    def batches() -> tuple[Any, Any]:
        return rows, np.stack([g.integers(x.shape[1], size=BATCH) for g in generators])

    def judge(layers: list[network.Layer], parameters: list[Any], size: int = 400) -> tuple[Any, Any]:
        parts = [network.run(layers, parameters, test[:, k : k + size])[0] for k in range(0, 400, size)]
        loss, _, y = heat(np.concatenate(parts, axis=1), answer)
        return loss, 100 * (abs(y.argmax(axis=-1) - position) <= 1.5).mean(axis=-1)

    for k in range(steps + 1):
        if k % every == 0:
            before, population = population, network.population(LAYERS, parameters, [x])
            values = [judge(LAYERS, parameters, BATCH)[0], *judge(network.inference(LAYERS, running), parameters)]
            values += [judge(network.inference(LAYERS, population), parameters)[0]]
            values += [distance(running[0][0], population), distance(before[0][0], population) / every]
            values += [np.sqrt((parameters[0][0] ** 2).mean(axis=(1, 2)))]
            found["step"].append(k)
            for key, value in zip(MEASURED, values, strict=True):
                found[key].append(rounded(value))
        if k in decays:
            if k and "frozen" not in found:
                found["frozen"] = frozen(parameters, running, population, x, batches, judge)
            decay = decays[k]
        batch = batches()
        logits, saved = network.run(LAYERS, parameters, x[batch])
        gradients = network.gradients(LAYERS, heat(logits, target[batch[1]])[1], saved)
        for layer in (0, 3):  # L2 is for the weights alone
            dweight, dbias = gradients[layer]
            gradients[layer] = dweight + l2 * parameters[layer][0], dbias
        parameters, states = network.step(optimizer, parameters, gradients, states, rate=rate)
        running = update(running, saved, decay)
    return found


def data() -> dict[str, Any]:
    """Return what was measured, by run."""
    return {name: trained(name) for name in RUNS}


def same(committed: dict[str, Any], new: dict[str, Any]) -> bool:
    """Tell whether two runs agree in their losses, within the spread of the seeds."""
    return all(
        committed[name]["step"] == new[name]["step"] and within_the_seeds(committed[name][key], new[name][key])
        for name in RUNS
        for key in ("training", "inference", "population")
    )


def draw(data: dict[str, Any]) -> Any:
    """Draw losses of the first run, inference of all, and the gap with what the lag predicts; means over the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    (losses, cures), (gaps, freeze) = figure.subplots(2, 2)
    adam = data["adam"]
    step, mean = adam["step"], {key: np.array(adam[key]).mean(axis=1) for key in MEASURED}
    for key, colour in (("inference", "#D55E00"), ("training", "#CC79A7"), ("population", "#000000")):
        losses.plot(step, mean[key], color=colour)
        losses.fill_between(step, *np.quantile(adam[key], [0, 1], axis=1), color=colour, alpha=0.15, lw=0)
    at = step.index(6000)
    losses.set_title(
        f"Adam 1e-3, L2: at step 6000 the loss is {mean['training'][at]:.2f} in training mode,\n"
        f"{mean['inference'][at]:.2f} in inference, {mean['population'][at]:.2f} with population statistics",
        loc="left",
        fontsize=9,
        pad=14,
    )
    ends = []
    for name, (words, *_) in RUNS.items():
        path = np.array(data[name]["inference"]).mean(axis=1)
        cures.plot(data[name]["step"], path, color=COLOURS[name])
        ends.append((path[-1], words, COLOURS[name]))
    cures.set_title("inference: what cures it, and what does not", loc="left", fontsize=9)
    for axes in (losses, cures):
        axes.set(ylabel="loss", ylim=(0, None))
    label_ends(cures, step[-1], ends, gap=0.06)
    on_white = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6}}
    label(losses, 6400, 0.6, "inference, running averages", "#D55E00", **on_white)
    label(losses, 1500, mean["training"][3], "training mode", "#CC79A7", 0, 9)
    label(losses, 6400, 0.25, "inference, population statistics", "#000000", **on_white)
    decay = np.array([DECAYS[max(start for start in DECAYS if start < max(k, 1))] for k in step])
    lag, noise = decay / (1 - decay), np.sqrt((1 - decay) / (1 + decay) / BATCH)
    expected = np.hypot(mean["moved"] * lag, noise)
    gaps.plot(step[1:], mean["gap"][1:], color="#D55E00")
    gaps.plot(step[1:], expected[1:], "--", color="#000000")
    gaps.set(ylabel="standard deviations", ylim=(0, None))
    label(gaps, step[8], mean["gap"][8], "measured", "#D55E00", 0, 12, ha="right")
    label(gaps, 6400, 1.6, "dashed: its movement\nin a step x lag, and noise", "#000000", **on_white)
    gaps.set_title(
        f"the running mean is {mean['gap'][at]:.1f} standard deviations behind", loc="left", fontsize=9, pad=14
    )
    for axes in (losses, gaps):
        for start in (6000, 9000):
            axes.axvline(start, color="#999999", lw=0.8)
            axes.text(start, axes.get_ylim()[1], f" decay {DECAYS[start]}", fontsize=7, va="bottom")
    waited = adam["frozen"]
    caught = np.array(waited["gap"]).mean(axis=1)
    freeze.plot(waited["step"], caught, "o", color="#D55E00")
    expected = np.hypot(caught[0] * DECAYS[0] ** np.array(waited["step"]), noise[0])
    freeze.plot(waited["step"], expected, "--", color="#000000")
    label(freeze, waited["step"][2], caught[2], "running mean", "#D55E00", 8, 6)
    label(freeze, waited["step"][5], expected[5], "0.997^k, and noise", "#000000", -8, -6)
    freeze.set(ylabel="standard deviations", yscale="log")
    freeze.set_title("parameters frozen at step 6000: the averages catch up", loc="left", fontsize=9)
    for axes in (losses, cures, gaps, freeze):
        axes.set_xlabel("step")
    return figure
