"""Deviations of the gradients alone, where the forward is right."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from refnorm.oracle.worlds import Deviation, Values, World, given, gradient, mean_and_var

EPS = "Outputs differ wherever the variance is not far above eps; with large variances the mistake is invisible."


def _batch(w: World) -> tuple[Values, Values]:
    return mean_and_var(w.x, w.axes)


def _world_of(w: World, statistics: tuple[Values, Values]) -> World:
    return replace(w, mean=statistics[0], var=statistics[1])


def _of_sample(which: int, times_x_hat: bool, w: World) -> Values:
    terms = w.upstream * w.x_hat if times_x_hat else w.upstream
    return terms[which].reshape(terms.shape[1], -1).sum(1)


GRADIENTS_DEVIATIONS: tuple[Deviation, ...] = (
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
    *(
        gradient(
            "parameter-gradients-of-one-sample",
            f"the parameters' gradients are those of the {name} sample alone: overwritten, not accumulated",
            "gamma and beta learn from one sample of the batch.",
            dgamma=partial(_of_sample, which, True),
            dbeta=partial(_of_sample, which, False),
            frozen_dgamma=partial(_of_sample, which, True),
            frozen_dbeta=partial(_of_sample, which, False),
        )
        for name, which in (("last", -1), ("first", 0))
    ),
    gradient(
        "parameter-gradients-sign",
        "the parameters' gradients have the wrong sign",
        "Descent ascends.",
        dgamma=lambda w: -(w.upstream * w.x_hat).sum(w.axes),
        dbeta=lambda w: -w.upstream.sum(w.axes),
    ),
)
