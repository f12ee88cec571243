"""Deviations of the forward maps: eps, root, statistics, axes, gamma and beta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from refnorm.oracle.quantities import FURTHER, QUANTITIES, elementwise
from refnorm.oracle.worlds import (
    FORWARD,
    Deviation,
    Values,
    World,
    forward,
    given,
    gradient,
    inverse_std,
    mean_and_var,
    statistics_of,
)

EPS = "Outputs differ wherever the variance is not far above eps; with large variances the mistake is invisible."
SCALE = "Every layer's output has the wrong scale; training may still converge and then not match other code."
FAR = "Inference after training does not match what training computed."


def _parts(values: Values, split: int) -> list[Values]:
    """Return the shards of a batch: two, the larger one first or last, or four; fewer where samples are."""
    n = len(values)
    cuts = {1: [(n + 1) // 2], 2: [n // 2], 4: [n // 4, n // 2, 3 * n // 4]}[split]
    return [part for part in np.split(values, cuts) if part.size]


SPLITS = (1, 2, 4)


def _shards(w: World, split: int) -> list[tuple[float, Values, Values, Values]]:
    """Return share, mean, variance and values of the shards."""
    return [(len(part) / len(w.x), *mean_and_var(part, w.axes), part) for part in _parts(w.x, split)]


def _equally(split: int) -> Callable[[World], tuple[Values, Values]]:
    def statistics(w: World) -> tuple[Values, Values]:
        shards = _shards(w, split)
        return sum(s[1] for s in shards) / len(shards), sum(s[2] for s in shards) / len(shards)

    return statistics


def _weighted(split: int) -> Callable[[World], tuple[Values, Values]]:
    return lambda w: (w.mean, sum(s[0] * s[2] for s in _shards(w, split)))


def _merged_mean(split: int) -> Callable[[World], tuple[Values, Values]]:
    return lambda w: (w.mean, _equally(split)(w)[1])


def _dx_through_own_shard(split: int) -> Callable[[World], Values]:
    def dx(w: World) -> Values:
        mean, var = _weighted(split)(w)
        changed = replace(w, mean=mean, var=var)
        own = np.concatenate([s[3] - s[1] for s in _shards(w, split)]) * changed.inv
        return w.gamma * changed.inv * (w.upstream - w.mean_dy - own * changed.mean_dy_x_hat)

    return dx


def _dx_by_shards(split: int) -> Callable[[World], Values]:
    """Average the two means of dx over shards with equal weights, whatever their sizes."""

    def dx(w: World) -> Values:
        pairs = list(zip(_parts(w.upstream, split), _parts(w.x_hat, split), strict=True))
        first = sum(w.average(g) for g, _ in pairs) / len(pairs)
        second = sum(w.average(g * h) for g, h in pairs) / len(pairs)
        return w.gamma * w.inv * (w.upstream - first - w.x_hat * second)

    return dx


def _cycling(w: World) -> Values:
    """Apply what is per channel along the last axis, over and over: as memory is read, channels taken for last."""

    def spread(values: Values) -> Values:
        per_channel = np.broadcast_to(values, (1, w.x.shape[1]) + (1,) * (w.x.ndim - 2)).reshape(-1)
        return np.resize(per_channel, w.x.size).reshape(w.x.shape)

    return spread(w.gamma * w.inv) * (w.x - spread(w.mean)) + spread(w.beta)


def _batch(w: World) -> tuple[Values, Values]:
    return mean_and_var(w.x, w.axes)


def _updated(correction: float | None) -> Callable[[World], tuple[Values, Values]]:
    def value(w: World) -> tuple[Values, Values]:
        (mean, var), (old_mean, old_var) = _batch(w), given(w)
        old, new = (float(v) for v in w.convention.weights(w.case.momentum))
        factor = float(w.convention.factor(w.m)) if correction is None else w.m / (w.m - correction)
        return old * old_mean + new * mean, old * old_var + new * factor * var

    return value


def _moved(old: float) -> Callable[[World], tuple[Values, Values]]:
    def value(w: World) -> tuple[Values, Values]:
        (mean, var), (old_mean, old_var) = _batch(w), given(w)
        return old * old_mean + (1 - old) * mean, old * old_var + (1 - old) * var

    return value


def _over(axes: Callable[[int], tuple[int, ...]]) -> Callable[[World], tuple[Values, Values]]:
    return lambda w: mean_and_var(w.x, axes(w.x.ndim))


def _eps_minimum(w: World) -> Values:
    return 1 / np.sqrt(w.var + max(w.eps, 1.001e-5))


FORWARD_DEVIATIONS: tuple[Deviation, ...] = (
    *inverse_std(
        "eps-outside-root",
        "eps is added outside the root: 1 / (sqrt(var) + eps)",
        EPS,
        lambda w: 1 / (np.sqrt(w.var) + w.eps),
    ),
    *inverse_std(
        "eps-missing",
        "eps is missing: 1 / sqrt(var)",
        "A constant channel divides by zero. " + EPS,
        lambda w: 1 / np.sqrt(w.var),
    ),
    *inverse_std(
        "eps-clamped",
        "the variance is clamped at eps, sqrt(max(var, eps)), instead of increased by it",
        EPS,
        lambda w: 1 / np.sqrt(np.maximum(w.var, w.eps)),
    ),
    *inverse_std(
        "eps-raised-to-minimum", "eps below 1.001e-5 is raised to it (the minimum of old cuDNN)", EPS, _eps_minimum
    ),
    *inverse_std(
        "eps-twice", "eps is added twice: 1 / sqrt(var + 2 eps)", EPS, lambda w: 1 / np.sqrt(w.var + 2 * w.eps)
    ),
    *inverse_std(
        "eps-twice-outside",
        "eps is added inside and outside the root",
        EPS,
        lambda w: 1 / (np.sqrt(w.var + w.eps) + w.eps),
    ),
    *inverse_std(
        "eps-fixed-1e-5", "eps is fixed at 1e-5, whatever is passed", EPS, lambda w: 1 / np.sqrt(w.var + 1e-5)
    ),
    *inverse_std(
        "eps-fixed-1e-3", "eps is fixed at 1e-3, whatever is passed", EPS, lambda w: 1 / np.sqrt(w.var + 1e-3)
    ),
    *inverse_std(
        "eps-fixed-1e-8", "eps is fixed at 1e-8, whatever is passed", EPS, lambda w: 1 / np.sqrt(w.var + 1e-8)
    ),
    *inverse_std(
        "eps-root", "the root of eps is added to the variance", EPS, lambda w: 1 / np.sqrt(w.var + np.sqrt(w.eps))
    ),
    *inverse_std(
        "eps-rounded-to-float32",
        "eps is rounded to float32",
        "Results in float64 have float32's accuracy where the variance is close to eps.",
        lambda w: 1 / np.sqrt(w.var + float(np.float32(w.eps))),
    ),
    *inverse_std("eps-squared", "eps is squared before it is added", EPS, lambda w: 1 / np.sqrt(w.var + w.eps**2)),
    *inverse_std(
        "eps-nudged",
        "1e-12 is added to a small eps",
        EPS,
        lambda w: 1 / np.sqrt(w.var + w.eps + (1e-12 if w.eps <= 1.0001e-5 else 0)),
    ),
    *inverse_std("root-missing", "the root is missing: 1 / (var + eps)", SCALE, lambda w: 1 / (w.var + w.eps)),
    *inverse_std(
        "square-instead-of-root",
        "the square is taken instead of the root: 1 / (var + eps)^2",
        SCALE,
        lambda w: 1 / (w.var + w.eps) ** 2,
    ),
    *inverse_std(
        "multiplied-by-std",
        "x - mean is multiplied by the standard deviation instead of divided",
        SCALE,
        lambda w: np.sqrt(w.var + w.eps),
    ),
    *inverse_std(
        "not-scaled", "x - mean is not divided by the standard deviation", SCALE, lambda w: np.ones_like(w.var)
    ),
    *inverse_std(
        "normalised-by-unbiased-variance",
        "the unbiased variance, m/(m - 1), normalises where the biased one belongs",
        "y is too small by sqrt((m - 1)/m): 29 % at m = 2, 2 % at m = 32.",
        lambda w: 1 / np.sqrt(w.var * (w.m / max(w.m - 1, 1)) + w.eps),
        ("y, training",),
    ),
    statistics_of(
        "running-statistics-in-training",
        "training normalises by the running statistics, not by the batch's",
        "The batch is not normalised, and gradients through the statistics are missing.",
        given,
        ("y, training",),
    ),
    statistics_of(
        "updated-statistics-in-training",
        "training normalises by the updated running statistics, not by the batch's",
        "The batch is not normalised: y mixes the batch with history.",
        _updated(None),
        ("y, training",),
    ),
    statistics_of(
        "updated-statistics-in-training",
        "training normalises by the updated running statistics, not by the batch's",
        "The batch is not normalised: y mixes the batch with history.",
        _updated(1),
        ("y, training",),
    ),
    statistics_of(
        "batch-statistics-in-inference",
        "inference normalises by the batch's own statistics, not by the running ones",
        "A prediction depends on what else is in the batch.",
        _batch,
        ("y, inference",),
    ),
    statistics_of(
        "batch-statistics-in-inference",
        "the frozen map normalises by the batch's own statistics",
        "A frozen layer is not frozen.",
        _batch,
        ("frozen y",),
    ),
    *(
        statistics_of(
            "updated-statistics-in-inference",
            "inference moves the running statistics towards the batch first, and normalises by the result",
            "A prediction depends on what else is in the batch.",
            _moved(weight),
            ("y, inference",),
        )
        for weight in (0.8999999761581421, 0.9, 0.99, 0.1)
    ),
    *(
        deviation
        for inverse in (lambda w: 1 / (w.var + w.eps), lambda w: 1 / np.sqrt(w.var**2 + w.eps), lambda w: 1 / w.var)
        for deviation in inverse_std(
            "running-variance-taken-for-std",
            "inference divides by the running variance, as if it were a standard deviation",
            FAR,
            inverse,
            ("y, inference", "frozen y"),
        )
    ),
    *inverse_std(
        "correction-in-inference",
        "inference corrects the running variance by m/(m - 1) of its own batch",
        "A prediction depends on the batch size.",
        lambda w: 1 / np.sqrt(w.var * (w.m / max(w.m - 1, 1)) + w.eps),
        ("y, inference", "frozen y"),
    ),
    statistics_of(
        "initial-statistics-in-inference",
        "inference uses mean 0 and variance 1, not the running statistics",
        FAR,
        lambda w: (np.zeros_like(w.mean), np.ones_like(w.var)),
        ("y, inference",),
    ),
    statistics_of(
        "initial-statistics-in-inference",
        "the frozen map uses mean 0 and variance 1, not the running statistics",
        FAR,
        lambda w: (np.zeros_like(w.mean), np.ones_like(w.var)),
        ("frozen y",),
    ),
    statistics_of("mean-not-subtracted", "the mean is not subtracted", SCALE, lambda w: (np.zeros_like(w.mean), w.var)),
    statistics_of("mean-added", "the mean is added instead of subtracted", SCALE, lambda w: (-w.mean, w.var)),
    statistics_of(
        "second-moment-as-variance",
        "the mean of x^2 is used as variance, the mean not subtracted from it",
        SCALE,
        lambda w: (w.mean, (w.x**2).mean(w.axes, keepdims=True)),
        ("y, training",),
    ),
    statistics_of(
        "spatial-axes-not-reduced",
        "statistics are taken over the batch axis alone, spatial axes are not averaged",
        "Each position is normalised on its own; with small batches y is nearly +-1.",
        _over(lambda n: (0,)),
        ("y, training",),
    ),
    statistics_of(
        "last-axis-kept",
        "statistics keep the last axis, as if channels were last",
        "Channels are mixed and positions kept apart.",
        _over(lambda n: tuple(range(n - 1))),
        ("y, training",),
    ),
    statistics_of(
        "all-axes-reduced",
        "statistics are taken over all axes, channels included",
        "Channels share one mean and variance (layer statistics of the batch).",
        _over(lambda n: tuple(range(n))),
        ("y, training",),
    ),
    statistics_of(
        "one-variance-for-all-channels",
        "one variance is taken over all channels, each about its own mean",
        "Channels keep their proportions: none is normalised by its own spread.",
        lambda w: (w.mean, np.broadcast_to(((w.x - w.mean) ** 2).mean(), w.var.shape)),
        ("y, training",),
    ),
    statistics_of(
        "per-sample-statistics",
        "statistics are taken within each sample: that is instance normalization",
        "The batch does not matter at all.",
        _over(lambda n: tuple(range(2, n))),
        ("y, training",),
    ),
    statistics_of(
        "layer-statistics",
        "statistics are taken over each sample's channels: that is layer normalization",
        "The batch does not matter at all.",
        _over(lambda n: tuple(range(1, n))),
        ("y, training",),
    ),
    *(
        statistics_of(
            "shard-variances-averaged",
            "the variance is the mean of the shards' variances: the spread of their means is lost",
            "The variance is too small whenever shards differ; y is too large.",
            moments_of(split),
            ("y, training",),
        )
        for split in SPLITS
        for moments_of in (_weighted, _merged_mean)
    ),
    *(
        gradient(
            "shard-variances-averaged",
            "the variance is the mean of the shards' variances: the spread of their means is lost",
            "The variance is too small whenever shards differ; y is too large.",
            dx=_dx_through_own_shard(split),
        )
        for split in SPLITS
    ),
    *(
        gradient(
            "dx-shard-means-averaged",
            "the two means in dx are averages of the shards', whatever their sizes",
            "dx is wrong whenever shards differ in size.",
            dx=_dx_by_shards(split),
        )
        for split in SPLITS
    ),
    *(
        statistics_of(
            "shard-statistics-averaged",
            "mean and variance are averages of the shards', whatever their counts",
            "Statistics are wrong whenever shards differ in size or mean.",
            _equally(split),
            ("y, training",),
        )
        for split in SPLITS
    ),
    Deviation(
        "parameters-along-last-axis",
        "what is per channel is applied along the last axis, over and over, as if channels were last",
        "Wrong numbers in the right shape for x with spatial axes; nothing raises.",
        dict.fromkeys(("y, training", "y, inference", "frozen y"), _cycling),
    ),
    forward(
        "gamma-absolute",
        "the scale is |gamma|",
        "Channels with negative gamma come out with the wrong sign.",
        lambda w: w.affine(np.abs(w.gamma)),
    ),
    forward(
        "gamma-absolute-plus-eps",
        "the scale is |gamma| + eps",
        "Channels with negative gamma come out with the wrong sign.",
        lambda w: w.affine(np.abs(w.gamma) + w.eps),
    ),
    gradient(
        "gamma-absolute-plus-eps",
        "the scale is |gamma| + eps",
        "Channels with negative gamma come out with the wrong sign.",
        dgamma=lambda w: w.dgamma * (1.0 if w.case.gamma is None else np.where(w.case.gamma < 0, -1, 1)),
        frozen_dgamma=lambda w: w.dgamma * (1.0 if w.case.gamma is None else np.where(w.case.gamma < 0, -1, 1)),
    ),
    forward(
        "gamma-clipped",
        "negative gamma is clipped to 0",
        "Channels with negative gamma are dead.",
        lambda w: w.affine(np.maximum(w.gamma, 0)),
    ),
    forward(
        "first-channel-for-all",
        "the first channel's gamma and beta serve all channels",
        SCALE,
        lambda w: w.affine(
            np.broadcast_to(w.gamma[:, :1], w.gamma.shape), np.broadcast_to(w.beta[:, :1], w.beta.shape)
        ),
    ),
    forward(
        "first-channel-for-all",
        "the first channel's gamma serves all channels",
        SCALE,
        lambda w: w.affine(np.broadcast_to(w.gamma[:, :1], w.gamma.shape)),
    ),
    forward(
        "gamma-ignored",
        "gamma is ignored, or fixed at 1",
        SCALE,
        lambda w: replace(w, gamma=np.ones_like(w.gamma)),
    ),
    forward("gamma-plus-one", "the scale is 1 + gamma", SCALE, lambda w: w.affine(1 + w.gamma)),
    forward("gamma-squared", "gamma is applied twice", SCALE, lambda w: w.affine(w.gamma**2)),
    forward(
        "beta-ignored",
        "beta is ignored, or fixed at 0",
        "Every output is shifted.",
        lambda w: replace(w, beta=np.zeros_like(w.beta)),
    ),
    forward(
        "beta-subtracted",
        "beta is subtracted",
        "Every output is shifted.",
        lambda w: w.affine(beta=-w.beta),
    ),
    forward(
        "beta-scaled",
        "beta is added before gamma scales: gamma (x_hat + beta)",
        "Every output is shifted.",
        lambda w: replace(w, beta=w.gamma * w.beta),
    ),
    forward(
        "gamma-beta-swapped",
        "gamma and beta are swapped",
        SCALE,
        lambda w: w if w.case.gamma is None or w.case.beta is None else w.affine(w.beta, w.gamma),
    ),
    Deviation("returns-input", "x is returned as it is", "Nothing is normalised.", {n: lambda w: w.x for n in FORWARD}),
    Deviation(
        "returns-zeros",
        "zeros are returned",
        "Nothing is computed.",
        {n: lambda w: np.zeros_like(w.x) for n in (*QUANTITIES, *FURTHER) if elementwise(n)}
        | {n: lambda w: np.zeros(w.x.shape[1]) for n in (*QUANTITIES, *FURTHER) if not elementwise(n)},
    ),
)
