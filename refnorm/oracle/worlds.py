"""What batch normalization would compute if one thing in it were different: the deviations that the oracle can name."""

from __future__ import annotations

from collections.abc import Callable
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

    @cached_property
    def running_mean(self) -> Values:
        """The running mean that the last batch meets."""
        return given(self)[0] if self.state is None else self.state[0]

    @cached_property
    def running_var(self) -> Values:
        """The running variance that the last batch meets."""
        return given(self)[1] if self.state is None else self.state[1]

    @cached_property
    def known(self) -> dict[object, Values]:
        """Statistics that were taken of this world's x before."""
        return {}

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes that are averaged over."""
        return tuple(a for a in range(self.x.ndim) if a != 1)

    @property
    def m(self) -> int:
        """Values per channel."""
        return self.case.count

    def affine(self, gamma: Values | None = None, beta: Values | None = None) -> World:
        """Return the world with other parameters; one that is absent in the case stays so."""
        case = self.case
        gamma = self.gamma if gamma is None or case.gamma is None else gamma
        return replace(self, gamma=gamma, beta=self.beta if beta is None or case.beta is None else beta)

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
        return (self.x - self.mean) * self.inv

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

    def derived_dx(self) -> Values:
        """Gradient with respect to x as the derivative of this world's forward, by the complex step through var."""
        step = np.longdouble(2.0**-200)
        slope = self.inverse(replace(self, var=self.var + 1j * step)).imag / step
        centred = self.x - self.mean
        direct = self.inv * (self.upstream - self.mean_dy)
        return self.gamma * (direct + 2 * slope * centred * self.average(self.upstream * centred))

    @cached_property
    def dgamma(self) -> Values:
        """Gradient with respect to gamma."""
        return (self.upstream * self.x_hat).sum(self.axes)


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


FORWARD = ("y, training", "y, inference", "frozen y")


@dataclass(frozen=True)
class Deviation:
    """One way to differ.

    Attributes
    ----------
    name : stable, for machines. sentence, effect : for people.
    values : quantity -> what it would be.
    kind : "wrong", "convention" where some framework means it so, "numerics" where only digits are lost.
    change : the world in which it happens, for deviations of the forward maps.
    """

    name: str
    sentence: str
    effect: str
    values: dict[str, Callable[[World], Values]]
    kind: str = "wrong"
    change: Callable[[World], World] | None = None


def forward(
    name: str, sentence: str, effect: str, change: Callable[[World], World], names: tuple[str, ...] = FORWARD
) -> Deviation:
    """Deviate in the forward maps, and in the gradients that follow from it."""
    values: dict[str, Callable[[World], Values]] = {n: lambda w: change(w).y for n in names}
    if "y, training" in names:
        values["dx"] = lambda w: change(w).dx()
        values["dgamma"] = lambda w: change(w).dgamma
    if "frozen y" in names:
        values["frozen dx"] = lambda w: change(w).dx(1, 0, 0)
        values["frozen dgamma"] = lambda w: change(w).dgamma
    return Deviation(name, sentence, effect, values, change=change)


def inverse_std(
    name: str, sentence: str, effect: str, inverse: Callable[[World], Values], names: tuple[str, ...] = FORWARD
) -> tuple[Deviation, ...]:
    """Deviate in what x - mean is multiplied by.

    dx then follows the usual formula, or is the derivative of that forward, or takes over only its x_hat.
    """

    def change(w: World) -> World:
        return replace(w, inverse=inverse)

    def taken_over(w: World) -> Values:
        x_hat = change(w).x_hat
        return w.gamma * w.inv * (w.upstream - w.mean_dy - x_hat * w.average(w.upstream * x_hat))

    derived = Deviation(name, sentence, effect, {"dx": lambda w: change(w).derived_dx()})
    return forward(name, sentence, effect, change, names), derived, replace(derived, values={"dx": taken_over})


def statistics_of(
    name: str,
    sentence: str,
    effect: str,
    moments_of: Callable[[World], tuple[Values, Values]],
    names: tuple[str, ...] = FORWARD,
) -> Deviation:
    """Deviate in the statistics that some maps normalise by, and in what is stored of them."""

    def change(w: World) -> World:
        mean, var = moments_of(w)
        return replace(w, mean=mean, var=var)

    deviation = forward(name, sentence, effect, change, names)
    if "y, training" in names:
        deviation.values["running mean"] = lambda w: running(
            w, lambda s: (s.m_old, _flat(moments_of(_at(w, s))[0], w)), "mean"
        )
        deviation.values["running variance"] = lambda w: running(
            w, lambda s: (s.v_old, _flat(moments_of(_at(w, s))[1], w) * float(w.convention.factor(w.m))), "var"
        )
    return deviation


def _flat(values: Values, w: World) -> Values:
    return np.broadcast_to(values, (1, w.x.shape[1]) + (1,) * (w.x.ndim - 2)).reshape(-1)


def given(w: World) -> tuple[Values, Values]:
    """Return the running statistics that the last batch meets: those of the case, moved by the batches before it."""
    shape = (1, -1) + (1,) * (w.x.ndim - 2)
    mean, var = (np.asarray(a, dtype=np.longdouble) for a in (w.case.running_mean, w.case.running_var))
    old, new = (float(v) for v in w.convention.weights(w.case.momentum))
    for batch in w.case.batches[:-1]:
        batch_mean, batch_var = mean_and_var(np.asarray(batch, dtype=np.longdouble), w.axes)
        mean = old * mean + new * batch_mean.reshape(-1)
        var = old * var + new * float(w.convention.factor(w.m)) * batch_var.reshape(-1)
    return mean.reshape(shape), var.reshape(shape)


@dataclass(frozen=True, eq=False)
class Step:
    """One update of running statistics: old values, the batch and its mean, biased variance and count."""

    x: Values
    m_old: Values
    v_old: Values
    mean: Values
    var: Values
    m: int
    eps: float


def _at(w: World, step: Step) -> World:
    mean, var = mean_and_var(step.x, w.axes)
    return replace(w, x=step.x, mean=mean, var=var)


def running(
    w: World, parts: Callable[[Step], tuple[Values, Values]], which: str, weights: tuple[float, float] | None = None
) -> Values:
    """Run a case's batches through old_weight * old + new_weight * new, with the parts that a deviation chooses."""
    case, convention = w.case, w.convention
    old_weight, new_weight = weights or tuple(float(v) for v in convention.weights(case.momentum))
    m_old, v_old = (np.asarray(a, dtype=np.longdouble) for a in (case.running_mean, case.running_var))
    for batch in case.batches:
        x = np.asarray(batch, dtype=np.longdouble)
        mean, var = mean_and_var(x, w.axes)
        step = Step(x, m_old, v_old, mean.reshape(-1), var.reshape(-1), w.m, w.eps)
        old, new = parts(step)
        result = old_weight * old + new_weight * new
        m_old, v_old = (result, v_old) if which == "mean" else (m_old, result)
    return result


def running_update(
    name: str,
    sentence: str,
    effect: str,
    new_var: Callable[[Step, float], Values] = lambda s, f: s.var * f,
    weights: Callable[[float, float], tuple[float, float]] | None = None,
    kind: str = "wrong",
    mean: bool = True,
    new_mean: Callable[[Step], Values] = lambda s: s.mean,
) -> Deviation:
    """Deviate in how running statistics move: weights, or what of the batch is stored."""

    def of(which: str) -> Callable[[World], Values]:
        def value(w: World) -> Values:
            old, new = (float(v) for v in w.convention.weights(w.case.momentum))
            changed = (old, new) if weights is None else weights(old, new)
            factor = float(w.convention.factor(w.m))
            if which == "mean":
                return running(w, lambda s: (s.m_old, new_mean(s)), "mean", changed)
            return running(w, lambda s: (s.v_old, new_var(s, factor)), "var", changed)

        return value

    values = {"running variance": of("var")} | ({"running mean": of("mean")} if mean else {})
    return Deviation(name, sentence, effect, values, kind)


def gradient(name: str, sentence: str, effect: str, **values: Callable[[World], Values]) -> Deviation:
    """Deviate in gradients only; keywords are quantities with _ for the space."""
    return Deviation(name, sentence, effect, {k.replace("_", " "): v for k, v in values.items()})
