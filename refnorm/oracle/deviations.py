"""The vocabulary of causes: every single deviation that the oracle can recognise from the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from refnorm.oracle.worlds import (
    FORWARD,
    Deviation,
    Step,
    Values,
    World,
    forward,
    given,
    gradient,
    inverse_std,
    moments,
    running_update,
    statistics_of,
)


def _shards(w: World) -> list[tuple[float, Values, Values, Values]]:
    """Return share, mean, variance and values of two halves of the batch."""
    parts = [part for part in np.array_split(w.x, 2) if part.size]
    return [(len(part) / len(w.x), *moments(part, w.axes), part) for part in parts]


def _halves(w: World) -> tuple[Values, Values]:
    shards = _shards(w)
    return sum(s[1] for s in shards) / len(shards), sum(s[2] for s in shards) / len(shards)


def _weighted_halves(w: World) -> tuple[Values, Values]:
    return w.mean, sum(s[0] * s[2] for s in _shards(w))


def _dx_through_own_shard(w: World) -> Values:
    mean, var = _weighted_halves(w)
    changed = replace(w, mean=mean, var=var)
    own = np.concatenate([s[3] - s[1] for s in _shards(w)]) * changed.inv
    return w.gamma * changed.inv * (w.upstream - w.mean_dy - own * changed.mean_dy_x_hat)


def _dx_by_shards(w: World) -> Values:
    """Average the two means of dx over shards with equal weights, whatever their sizes."""
    pairs = list(zip(np.array_split(w.upstream, 2), np.array_split(w.x_hat, 2), strict=True))
    first = sum(w.average(g) for g, _ in pairs if g.size) / 2
    second = sum(w.average(g * h) for g, h in pairs if g.size) / 2
    return w.gamma * w.inv * (w.upstream - first - w.x_hat * second)


def _merged_mean_averaged_variance(w: World) -> tuple[Values, Values]:
    return w.mean, _halves(w)[1]


def _batch(w: World) -> tuple[Values, Values]:
    return moments(w.x, w.axes)


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
    return lambda w: moments(w.x, axes(w.x.ndim))


def _eps_minimum(w: World) -> Values:
    return 1 / np.sqrt(w.var + max(w.eps, 1.001e-5))


def _divided_by(k: float) -> Callable[[Step, float], Values]:
    return lambda s, f: s.var * (s.m / (s.m - k)) if s.m != k else s.var * np.inf


def _first_shard(replicas: int) -> Callable[[Step, float], Values]:
    def value(s: Step, f: float) -> Values:
        samples = len(np.array_split(s.x, 2)[0])
        m = replicas * samples * (s.m // len(s.x))
        return s.var * (m / (m - 1) if m > 1 else np.inf)

    return value


def _std_averaged(power: float) -> Callable[[World], Values]:
    """Average standard deviations, each corrected by a power of m/(m - 1), and report the square."""

    def value(w: World) -> Values:
        old, new = (float(v) for v in w.convention.weights(w.case.momentum))
        std = np.sqrt(np.asarray(w.case.running_var, dtype=np.longdouble))
        for batch in w.case.batches:
            batch_var = moments(np.asarray(batch, dtype=np.longdouble), w.axes)[1].reshape(-1)
            std = old * std + new * np.sqrt(batch_var) * float(w.convention.factor(w.m)) ** power
        return std**2

    return value


def _world_of(w: World, statistics: tuple[Values, Values]) -> World:
    return replace(w, mean=statistics[0], var=statistics[1])


EPS = "Outputs differ wherever the variance is not far above eps; with large variances the mistake is invisible."
SCALE = "Every layer's output has the wrong scale; training may still converge and then not match other code."
FAR = "Inference after training does not match what training computed."

DEVIATIONS: tuple[Deviation, ...] = (
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
    *inverse_std(
        "running-variance-taken-for-std",
        "inference divides by the running variance, as if it were a standard deviation",
        FAR,
        lambda w: 1 / (w.var + w.eps),
        ("y, inference", "frozen y"),
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
            "the variance is the mean of two shards' variances: the spread of their means is lost",
            "The variance is too small whenever shards differ; y is too large.",
            moments_of,
            ("y, training",),
        )
        for moments_of in (_weighted_halves, _merged_mean_averaged_variance)
    ),
    gradient(
        "shard-variances-averaged",
        "the variance is the mean of two shards' variances: the spread of their means is lost",
        "The variance is too small whenever shards differ; y is too large.",
        dx=_dx_through_own_shard,
    ),
    gradient(
        "dx-shard-means-averaged",
        "the two means in dx are averages of two shards', whatever their sizes",
        "dx is wrong whenever shards differ in size.",
        dx=_dx_by_shards,
    ),
    statistics_of(
        "shard-statistics-averaged",
        "mean and variance are averages of two shards', whatever their counts",
        "Statistics are wrong whenever shards differ in size or mean.",
        _halves,
        ("y, training",),
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
        {n: lambda w: np.zeros_like(w.x) for n in (*FORWARD, "dx", "frozen dx")}
        | {
            n: lambda w: np.zeros(w.x.shape[1])
            for n in ("running mean", "running variance", "dgamma", "dbeta", "frozen dgamma", "frozen dbeta")
        },
    ),
    running_update(
        "momentum-sense",
        "momentum weighs the other one: old and new value change places",
        "The running statistics follow too fast or too slowly; weights ported between frameworks need 1 - momentum.",
        weights=lambda old, new: (new, old),
        kind="convention",
    ),
    running_update(
        "running-variance-biased",
        "running variance is the biased one: it matches m, not m - 1",
        "Inference divides by a standard deviation too small by sqrt((m - 1)/m): 13 % at m = 4, 1.6 % at m = 32.",
        lambda s, f: s.var,
        mean=False,
        kind="convention",
    ),
    running_update(
        "running-variance-unbiased",
        "running variance is the unbiased one: it matches m - 1, not m",
        "Inference divides by a standard deviation too large by sqrt(m/(m - 1)): 15 % at m = 4, 1.6 % at m = 32.",
        lambda s, f: s.var * (s.m / (s.m - 1)) if s.m > 1 else s.var,
        mean=False,
        kind="convention",
    ),
    running_update(
        "momentum-sense+running-variance-biased",
        "momentum weighs the other one, and the variance stored is the biased one",
        "Both: see momentum-sense and running-variance-biased.",
        lambda s, f: s.var,
        lambda o, n: (n, o),
        "convention",
        mean=False,
    ),
    running_update(
        "momentum-sense+running-variance-unbiased",
        "momentum weighs the other one, and the variance stored is the unbiased one",
        "Both: see momentum-sense and running-variance-unbiased.",
        lambda s, f: s.var * (s.m / max(s.m - 1, 1)),
        lambda o, n: (n, o),
        "convention",
        mean=False,
    ),
    running_update(
        "running-not-updated",
        "running statistics are not updated: they come back as they went in",
        FAR,
        weights=lambda o, n: (1, 0),
    ),
    running_update(
        "running-replaced",
        "running statistics are replaced by the batch's: momentum is ignored",
        FAR,
        weights=lambda o, n: (0, 1),
    ),
    running_update(
        "running-updated-twice",
        "running statistics are updated twice per step",
        "They follow almost twice as fast as asked (recomputed forwards do this).",
        weights=lambda o, n: (o * o, n + o * n),
    ),
    running_update(
        "running-sum",
        "running statistics are sums, old weight times old plus batch, with the divisor left out",
        "What inference reads is too large by the accumulated count.",
        weights=lambda o, n: (o, 1),
    ),
    running_update(
        "running-sum",
        "running statistics are sums, momentum times old plus batch, with the divisor left out",
        "What inference reads is too large by the accumulated count.",
        weights=lambda o, n: (n, 1),
    ),
    running_update(
        "momentum-fixed-0.1",
        "the new batch weighs 0.1, whatever momentum is passed",
        FAR,
        weights=lambda o, n: (0.9, 0.1),
    ),
    running_update(
        "momentum-fixed-0.01",
        "the new batch weighs 0.01, whatever momentum is passed",
        FAR,
        weights=lambda o, n: (0.99, 0.01),
    ),
    running_update(
        "momentum-rounded-to-float32",
        "momentum, or 1 - momentum, is rounded to float32 before it weighs float64 statistics",
        "Running statistics in float64 have float32's accuracy: relative errors of 1e-8.",
        weights=lambda o, n: (float(np.float32(o)), float(np.float32(n))),
        kind="numerics",
    ),
    running_update(
        "momentum-rounded-to-float32",
        "momentum is rounded to float32 before it weighs float64 statistics",
        "Running statistics in float64 have float32's accuracy: relative errors of 1e-8.",
        weights=lambda o, n: (1 - float(np.float32(n)), float(np.float32(n))),
        kind="numerics",
    ),
    running_update(
        "running-inverse-std",
        "running variance accumulates 1/sqrt(var + eps)",
        "Inference divides by the wrong thing altogether.",
        lambda s, f: 1 / np.sqrt(s.var + s.eps),
        mean=False,
    ),
    *(
        running_update(
            "running-variance-with-eps",
            "eps is added to what is stored as running variance",
            "eps counts twice in inference.",
            new_var,
            mean=False,
        )
        for new_var in (
            lambda s, f: s.var * f + s.eps,
            lambda s, f: (s.var + s.eps) * f,
            lambda s, f: (np.sqrt(s.var * f) + s.eps) ** 2,
            lambda s, f: (np.sqrt(s.var) + s.eps) ** 2 * f,
        )
    ),
    *(
        running_update(
            "running-variance-correction-count",
            f"the correction divides by m {'-' if k > 0 else '+'} {abs(k)}, not by m - 1",
            "The stored variance is wrong for small batches.",
            _divided_by(k),
            mean=False,
        )
        for k in (2, -1, 1.5, 3)
    ),
    running_update(
        "running-mean-corrected",
        "the running mean is multiplied by m/(m - 1) like the variance",
        "Inference subtracts too much.",
        new_mean=lambda s: s.mean * (s.m / max(s.m - 1, 1)),
    ),
    *(
        Deviation(
            "running-std-averaged",
            "standard deviations are averaged, not variances",
            "The stored variance is too small while the batches' variances differ.",
            {"running variance": _std_averaged(power)},
        )
        for power in (0.5, 1.0, 0.0)
    ),
    *(
        running_update(
            "correction-by-own-shard",
            "m/(m - 1) is taken with a shard's own count, not with the count of the whole batch",
            "The stored variance depends on how the batch is split.",
            new_var,
            mean=False,
        )
        for new_var in (_first_shard(1), _first_shard(2))
    ),
    running_update(
        "running-std",
        "running variance accumulates the standard deviation",
        "Inference divides by the root of a root.",
        lambda s, f: np.sqrt(s.var),
        mean=False,
    ),
    running_update(
        "running-variance-count-of-samples",
        "the correction uses the number of samples N, not of values per channel N*H*W",
        "The stored variance is too large wherever there are spatial axes.",
        lambda s, f: s.var * (s.x.shape[0] / max(s.x.shape[0] - 1, 1)),
        mean=False,
    ),
    running_update(
        "running-variance-count-of-all",
        "the correction counts all values of x, channels included",
        "The correction is too small.",
        lambda s, f: s.var * (s.x.size / (s.x.size - 1)),
        mean=False,
    ),
    running_update(
        "running-variance-corrected-twice",
        "the correction m/(m - 1) is applied twice",
        "The stored variance is too large.",
        lambda s, f: s.var * (s.m / max(s.m - 1, 1)) ** 2,
        mean=False,
    ),
    running_update(
        "running-variance-corrected-inversely",
        "the correction is (m - 1)/m instead of m/(m - 1)",
        "The stored variance is too small.",
        lambda s, f: s.var * ((s.m - 1) / s.m),
        mean=False,
    ),
    running_update(
        "running-mean-is-sum", "the sum of the batch is stored, not its mean", FAR, new_mean=lambda s: s.mean * s.m
    ),
    gradient(
        "dx-gamma-missing",
        "gamma is missing in dx",
        "Gradients have the wrong size, or sign, in every layer below; with gamma = 1 nothing shows.",
        dx=lambda w: replace(w, gamma=np.ones_like(w.gamma)).dx(),
        frozen_dx=lambda w: replace(w, gamma=np.ones_like(w.gamma)).dx(1, 0, 0),
    ),
    gradient(
        "dx-gamma-absolute",
        "dx uses |gamma|",
        "The gradient has the wrong sign where gamma is negative.",
        dx=lambda w: replace(w, gamma=np.abs(w.gamma)).dx(),
        frozen_dx=lambda w: replace(w, gamma=np.abs(w.gamma)).dx(1, 0, 0),
    ),
    gradient(
        "dx-variance-term-missing",
        "no gradient flows through the variance: x_hat mean(dy x_hat) is missing in dx",
        "The gradient pushes along directions that cannot change y.",
        dx=lambda w: w.dx(1, 1, 0),
    ),
    gradient(
        "dx-mean-term-missing",
        "no gradient flows through the mean: mean(dy) is missing in dx",
        "The gradient pushes along directions that cannot change y.",
        dx=lambda w: w.dx(1, 0, 1),
    ),
    gradient(
        "dx-statistics-constant",
        "dx treats the batch's statistics as constants: the frozen formula in training",
        "Training follows another loss; steps grow the activations.",
        dx=lambda w: w.dx(1, 0, 0),
    ),
    gradient(
        "dx-mean-term-not-divided",
        "the sum over dy in dx's mean term is not divided by m",
        "dx is far too large.",
        dx=lambda w: w.dx(1, w.m, 1),
    ),
    gradient(
        "dx-variance-term-not-divided",
        "the sum over dy x_hat in dx is not divided by m",
        "dx is far too large.",
        dx=lambda w: w.dx(1, 1, w.m),
    ),
    gradient(
        "dx-terms-not-divided",
        "neither sum in dx is divided by m",
        "dx is far too large.",
        dx=lambda w: w.dx(1, w.m, w.m),
    ),
    gradient(
        "dx-direct-term-divided",
        "the direct term of dx is divided by m as well",
        "dx is too small.",
        dx=lambda w: w.dx(1 / w.m, 1, 1),
    ),
    gradient(
        "dx-divided-by-m",
        "dx is divided by m",
        "dx is too small by the batch.",
        dx=lambda w: w.dx() / w.m,
        frozen_dx=lambda w: w.dx(1, 0, 0) / w.m,
    ),
    gradient(
        "dx-times-m",
        "dx is not divided by m: m times too large",
        "dx is too large by the batch.",
        dx=lambda w: w.dx() * w.m,
    ),
    gradient(
        "dx-variance-term-sign",
        "the variance term of dx has the wrong sign",
        "The gradient is wrong.",
        dx=lambda w: w.dx(1, 1, -1),
    ),
    gradient(
        "dx-mean-term-sign",
        "the mean term of dx has the wrong sign",
        "The gradient is wrong.",
        dx=lambda w: w.dx(1, -1, 1),
    ),
    gradient(
        "dx-sign", "dx has the wrong sign", "Descent ascends.", dx=lambda w: -w.dx(), frozen_dx=lambda w: -w.dx(1, 0, 0)
    ),
    gradient(
        "dx-variance-term-factor",
        "the variance term of dx is twice too large: the 1/2 of the root's derivative is lost",
        "The gradient is wrong.",
        dx=lambda w: w.dx(1, 1, 2),
    ),
    gradient(
        "dx-variance-term-factor",
        "the variance term of dx is half of what it should be",
        "The gradient is wrong.",
        dx=lambda w: w.dx(1, 1, 0.5),
    ),
    gradient(
        "dx-unbiased-variance-term",
        "the variance term of dx divides by m - 1",
        "The gradient is wrong for small batches.",
        dx=lambda w: w.dx(1, 1, w.m / max(w.m - 1, 1)),
    ),
    gradient(
        "dx-std-twice",
        "1 / sqrt(var + eps) is applied twice in dx",
        "Gradients have the wrong size in every layer below.",
        dx=lambda w: w.dx() * w.inv,
        frozen_dx=lambda w: w.dx(1, 0, 0) * w.inv,
    ),
    gradient(
        "dx-std-missing",
        "1 / sqrt(var + eps) is missing in dx",
        "Gradients have the wrong size in every layer below.",
        dx=lambda w: w.dx() / w.inv,
        frozen_dx=lambda w: w.dx(1, 0, 0) / w.inv,
    ),
    gradient(
        "saved-variance-used-as-inverse-std",
        "backward uses the variance where 1 / sqrt(var + eps) belongs",
        "Gradients have the wrong size wherever the variance is not 1.",
        dx=lambda w: replace(w, inverse=lambda v: v.var).dx(),
        dgamma=lambda w: (w.upstream * (w.x - w.mean) * w.var).sum(w.axes),
        frozen_dx=lambda w: replace(w, inverse=lambda v: v.var).dx(1, 0, 0),
        frozen_dgamma=lambda w: (w.upstream * (w.x - w.mean) * w.var).sum(w.axes),
    ),
    gradient(
        "backward-eps-missing",
        "backward uses 1 / sqrt(var), without eps",
        EPS,
        dx=lambda w: replace(w, inverse=lambda v: 1 / np.sqrt(v.var)).dx(),
    ),
    gradient(
        "returns-upstream",
        "dy is returned as dx",
        "Nothing is computed.",
        dx=lambda w: w.upstream,
        frozen_dx=lambda w: w.upstream,
    ),
    gradient(
        "training-gradient-in-frozen",
        "the frozen backward lets gradients flow through the statistics, which are constants there",
        "Fine-tuning with frozen statistics follows the wrong gradient.",
        frozen_dx=lambda w: w.dx(),
    ),
    gradient(
        "dgamma-multiplies-std",
        "dgamma multiplies by the standard deviation where it should divide",
        "gamma learns at a rate that grows with the variance.",
        dgamma=lambda w: (w.upstream * (w.x - w.mean) / w.inv).sum(w.axes),
        frozen_dgamma=lambda w: (w.upstream * (w.x - w.mean) / w.inv).sum(w.axes),
    ),
    gradient(
        "dgamma-std-missing",
        "dgamma uses x - mean in place of x_hat",
        "gamma learns at a rate that grows with the standard deviation.",
        dgamma=lambda w: (w.upstream * (w.x - w.mean)).sum(w.axes),
        frozen_dgamma=lambda w: (w.upstream * (w.x - w.mean)).sum(w.axes),
    ),
    gradient(
        "dgamma-uses-x",
        "dgamma uses x in place of x_hat",
        "gamma learns from the mean.",
        dgamma=lambda w: (w.upstream * w.x).sum(w.axes),
        frozen_dgamma=lambda w: (w.upstream * w.x).sum(w.axes),
    ),
    gradient(
        "dgamma-uses-y",
        "dgamma uses y in place of x_hat",
        "gamma learns from beta.",
        dgamma=lambda w: (w.upstream * w.y).sum(w.axes),
        frozen_dgamma=lambda w: (w.upstream * w.y).sum(w.axes),
    ),
    gradient(
        "dgamma-times-gamma",
        "dgamma is multiplied by gamma",
        "gamma learns at the wrong rate.",
        dgamma=lambda w: (w.upstream * w.x_hat * w.gamma).sum(w.axes),
        frozen_dgamma=lambda w: (w.upstream * w.x_hat * w.gamma).sum(w.axes),
    ),
    gradient(
        "dbeta-times-gamma",
        "dbeta is multiplied by gamma",
        "beta learns at the wrong rate.",
        dbeta=lambda w: (w.upstream * w.gamma).sum(w.axes),
        frozen_dbeta=lambda w: (w.upstream * w.gamma).sum(w.axes),
    ),
    gradient(
        "parameter-gradients-swapped",
        "dgamma and dbeta change places",
        "gamma learns beta's gradient and beta gamma's.",
        dgamma=lambda w: w.upstream.sum(w.axes),
        dbeta=lambda w: w.dgamma,
        frozen_dgamma=lambda w: w.upstream.sum(w.axes),
        frozen_dbeta=lambda w: w.dgamma,
    ),
    gradient(
        "dgamma-from-running-statistics",
        "dgamma normalises x by the running statistics, not by the batch's",
        "gamma learns from another x_hat than the one that it scales.",
        dgamma=lambda w: _world_of(w, given(w)).dgamma,
    ),
    gradient(
        "dgamma-from-batch-statistics",
        "the frozen dgamma normalises x by the batch's statistics, not by the running ones",
        "gamma learns from another x_hat than the one that it scales.",
        frozen_dgamma=lambda w: _world_of(w, _batch(w)).dgamma,
    ),
    gradient(
        "parameter-gradients-averaged",
        "the parameters' gradients are means over the batch, not sums",
        "gamma and beta learn m times too slowly.",
        dgamma=lambda w: (w.upstream * w.x_hat).mean(w.axes),
        dbeta=lambda w: w.upstream.mean(w.axes),
        frozen_dgamma=lambda w: (w.upstream * w.x_hat).mean(w.axes),
        frozen_dbeta=lambda w: w.upstream.mean(w.axes),
    ),
    gradient(
        "parameter-gradients-sign",
        "the parameters' gradients have the wrong sign",
        "Descent ascends.",
        dgamma=lambda w: -(w.upstream * w.x_hat).sum(w.axes),
        dbeta=lambda w: -w.upstream.sum(w.axes),
    ),
)


def candidates(quantity: str) -> Iterator[Deviation]:
    """Yield the deviations that say something about a quantity."""
    return (d for d in DEVIATIONS if quantity in d.values)
