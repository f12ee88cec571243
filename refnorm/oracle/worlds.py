"""Batch normalization of a case with every piece replaceable: what a formula would give in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from refnorm.conventions import Convention
from refnorm.golden.directions import directions
from refnorm.golden.inputs import Case

Values = Any  # np.longdouble arrays


@dataclass(frozen=True, eq=False)
class World:
    """Batch normalization of one case, with every piece replaceable: the definition unless a deviation says otherwise.

    Everything is computed in NumPy's longest float from the case's inputs; channels stay on axis 1, size-1 axes kept.
    """

    case: Case
    convention: Convention
    x: Values
    mean: Values
    var: Values
    eps: float
    gamma: Values
    beta: Values
    upstream: Values
    inverse: Callable[[World], Values] = lambda w: 1 / np.sqrt(w.var + w.eps)
    state: tuple[Values, Values] | None = None
    limits: tuple[float, float] = (-np.inf, np.inf)

    @cached_property
    def met(self) -> tuple[Values, Values]:
        """The running statistics that the last batch meets: those of the case, moved by the batches before it."""
        return self.state or after_batches(self, self.case.batches[:-1])

    @property
    def running_mean(self) -> Values:
        """The running mean that the last batch meets."""
        return self.met[0]

    @property
    def running_var(self) -> Values:
        """The running variance that the last batch meets."""
        return self.met[1]

    @cached_property
    def known(self) -> dict[object, Values]:
        """Statistics that were taken of this world's x before."""
        return {}

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """Axes that are averaged over."""
        return tuple(a for a in range(self.x.ndim) if a != 1)

    @cached_property
    def momentum(self) -> Values:
        """Momentum as the convention receives it, like eps."""
        return np.longdouble(self.convention.received(self.case.momentum))

    @cached_property
    def m(self) -> int:
        """Values per channel."""
        return self.case.count

    @cached_property
    def ddx(self) -> Values:
        """Direction of x (see `refnorm.golden.directions`)."""
        return np.asarray(directions(self.case).dx, dtype=np.longdouble)

    @cached_property
    def ddgamma(self) -> Values:
        """Direction of gamma; 0 where it is absent."""
        return self._along(directions(self.case).dgamma)

    @cached_property
    def ddbeta(self) -> Values:
        """Direction of beta; 0 where it is absent."""
        return self._along(directions(self.case).dbeta)

    def _along(self, values: Values | None) -> Values:
        wide = np.zeros(self.x.shape[1]) if values is None else values
        return np.asarray(wide, dtype=np.longdouble).reshape((1, -1) + (1,) * (self.x.ndim - 2))

    @cached_property
    def inv(self) -> Values:
        """What x - mean is multiplied by."""
        return self.inverse(self)

    @cached_property
    def x_hat(self) -> Values:
        """Normalised x."""
        return np.clip((self.x - self.mean) * self.inv, *self.limits)

    @cached_property
    def y(self) -> Values:
        """The result."""
        return self.gamma * self.x_hat + self.beta

    @cached_property
    def mean_dy(self) -> Values:
        """First of the two means in dx."""
        return self.average(self.upstream)

    @cached_property
    def mean_dy_x_hat(self) -> Values:
        """Second of the two means in dx."""
        return self.average(self.upstream * self.x_hat)

    def average(self, values: Values) -> Values:
        """Mean over the reduced axes, kept as size 1."""
        return values.mean(self.axes, keepdims=True)

    def dx(self, direct: float = 1, first: float = 1, second: float = 1) -> Values:
        """Gradient with respect to x, each of its three terms scaled."""
        terms = direct * self.upstream - first * self.mean_dy - second * self.x_hat * self.mean_dy_x_hat
        return self.gamma * self.inv * terms

    @cached_property
    def dgamma(self) -> Values:
        """Gradient with respect to gamma."""
        return (self.upstream * self.x_hat).sum(self.axes)

    @cached_property
    def dbeta(self) -> Values:
        """Gradient with respect to beta."""
        return self.upstream.sum(self.axes)


@lru_cache(maxsize=1024)
def world(case: Case, convention: Convention) -> World:
    """Return the definition's world of a case: batch statistics in training, running ones in inference."""
    x = np.asarray(case.x, dtype=np.longdouble)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var = mean_and_var(x, tuple(a for a in range(x.ndim) if a != 1))
    if case.operation == "inference":
        mean, var = (np.asarray(a, dtype=np.longdouble).reshape(shape) for a in (case.running_mean, case.running_var))
    gamma = np.ones(x.shape[1]) if case.gamma is None else case.gamma
    beta = np.zeros(x.shape[1]) if case.beta is None else case.beta
    gamma, beta = (np.asarray(a, dtype=np.longdouble).reshape(shape) for a in (gamma, beta))
    upstream = np.asarray(case.dy, dtype=np.longdouble)
    return World(case, convention, x, mean, var, convention.travelled(case.eps), gamma, beta, upstream)


def mean_and_var(x: Values, axes: tuple[int, ...]) -> tuple[Values, Values]:
    """Return mean and biased variance over axes, kept as size 1."""
    mean = x.mean(axes, keepdims=True)
    mean = mean + (x - mean).mean(axes, keepdims=True)
    return mean, ((x - mean) ** 2).mean(axes, keepdims=True)


def after_batch(w: World) -> tuple[Values, Values]:
    """Return the running statistics that the last batch leaves, as the convention says."""
    old, new = (np.longdouble(float(v)) for v in w.convention.weights(w.case.momentum))
    unbiased = float(w.convention.factor(w.m))
    return old * w.running_mean + new * w.mean, old * w.running_var + new * unbiased * w.var


def after_batches(
    w: World, batches: Iterable[Values], move: Callable[[World], tuple[Values, Values]] = after_batch
) -> tuple[Values, Values]:
    """Return the running statistics after some batches, each of which moves those of the case in its own world."""
    shape = (1, -1) + (1,) * (w.x.ndim - 2)
    mean, var = (np.asarray(a, np.longdouble).reshape(shape) for a in (w.case.running_mean, w.case.running_var))
    for batch in batches:
        x = np.asarray(batch, np.longdouble)
        own_mean, own_var = mean_and_var(x, w.axes)
        mean, var = move(replace(w, x=x, mean=own_mean, var=own_var, state=(mean, var)))
    return mean, var
