"""Deviations of the running statistics: momentum, correction, what is stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refnorm.oracle.worlds import Deviation, Step, Values, World, mean_and_var, running_update

FAR = "Inference after training does not match what training computed."


def _divided_by(k: float) -> Callable[[Step, float], Values]:
    return lambda s, f: s.var * (s.m / (s.m - k)) if s.m != k else s.var * np.inf


def _first_shard(all_of_its_size: bool) -> Callable[[Step, float], Values]:
    """Correct with the count of the first of two shards, or with twice that."""

    def value(s: Step, f: float) -> Values:
        shards = [part for part in np.array_split(s.x, 2) if part.size]
        m = (len(shards) if all_of_its_size else 1) * len(shards[0]) * (s.m // len(s.x))
        return s.var * (m / (m - 1) if m > 1 else np.inf)

    return value


def _about_running_mean(w: World) -> Values:
    """Take the batch's variance about the updated running mean."""
    old, new = (float(v) for v in w.convention.weights(w.case.momentum))
    mean, var = (np.asarray(a, dtype=np.longdouble) for a in (w.case.running_mean, w.case.running_var))
    for batch in w.case.batches:
        batch_mean, batch_var = (a.reshape(-1) for a in mean_and_var(np.asarray(batch, dtype=np.longdouble), w.axes))
        mean = old * mean + new * batch_mean
        var = old * var + new * float(w.convention.factor(w.m)) * (batch_var + (batch_mean - mean) ** 2)
    return var


def _mixture(w: World) -> Values:
    """Add the spread between the running mean and the batch's: the variance of a mixture of both."""
    old, new = (float(v) for v in w.convention.weights(w.case.momentum))
    mean, var = (np.asarray(a, dtype=np.longdouble) for a in (w.case.running_mean, w.case.running_var))
    for batch in w.case.batches:
        batch_mean, batch_var = (a.reshape(-1) for a in mean_and_var(np.asarray(batch, dtype=np.longdouble), w.axes))
        var = old * var + new * float(w.convention.factor(w.m)) * batch_var + old * new * (batch_mean - mean) ** 2
        mean = old * mean + new * batch_mean
    return var


def _std_averaged(power: float) -> Callable[[World], Values]:
    """Average standard deviations, each corrected by a power of m/(m - 1), and report the square."""

    def value(w: World) -> Values:
        old, new = (float(v) for v in w.convention.weights(w.case.momentum))
        std = np.sqrt(np.asarray(w.case.running_var, dtype=np.longdouble))
        for batch in w.case.batches:
            batch_var = mean_and_var(np.asarray(batch, dtype=np.longdouble), w.axes)[1].reshape(-1)
            std = old * std + new * np.sqrt(batch_var) * float(w.convention.factor(w.m)) ** power
        return std**2

    return value


RUNNING_DEVIATIONS: tuple[Deviation, ...] = (
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
        "running-variance-correction-count",
        "the correction is (m + 1)/m, not m/(m - 1)",
        "The stored variance is wrong for small batches.",
        lambda s, f: s.var * ((s.m + 1) / s.m),
        mean=False,
    ),
    Deviation(
        "running-variance-about-running-mean",
        "the batch's variance that is stored is taken about the updated running mean, not about the batch's own",
        "The stored variance is too large while the running mean is on its way.",
        {"running variance": _about_running_mean},
    ),
    Deviation(
        "running-variance-of-mixture",
        "the running variance gains the spread between running mean and batch mean: a merge, not an average",
        "The stored variance is too large while means differ.",
        {"running variance": _mixture},
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
        for new_var in (_first_shard(False), _first_shard(True))
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
)
