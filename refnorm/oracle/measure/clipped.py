"""Read off what is cut off: x_hat, 1/std, the variance or a result that stops at a bound and is right within."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from refnorm.oracle.finding import Cause
from refnorm.oracle.measure.formula import Value, of
from refnorm.oracle.measure.read_forward import BY_BATCH, BY_RUNNING, ForwardMap, Seen
from refnorm.oracle.measure.terms import EPS, RUNNING_VAR, VAR, function
from refnorm.oracle.worlds import Values, World

OFF = 1e-6  # relative: more is cut off, less is rounding
SEVERAL = 2  # different values must stop before a bound is seen
SAME = 1e-9  # relative: of what stops at one bound
EFFECT = "What lies beyond comes out wrong, and no gradient should flow through it."


@dataclass(frozen=True)
class Limits:
    """Where a value stops, infinite where it does not."""

    low: float = -np.inf
    high: float = np.inf

    def cut(self, values: Values) -> Values:
        """Return values within the bounds."""
        return np.clip(values, self.low, self.high)

    def __str__(self) -> str:
        if np.isinf(self.low):
            return f"at most {self.high:.6g}"
        return f"at least {self.low:.6g}" if np.isinf(self.high) else f"kept within {self.low:.6g} .. {self.high:.6g}"


def limits_of(right: Values, got: Values) -> Limits | None:
    """Return the bounds that values stop at, if what is off stops at one bound above, or one below, or both.

    Examples
    --------
    >>> limits_of(np.array([1.0, 7.0, 9.0]), np.array([1.0, 5.0, 5.0]))
    Limits(low=-inf, high=5.0)
    """
    told = np.isfinite(right) & np.isfinite(got)
    right, got = right[told], got[told]
    off = np.abs(got - right) > OFF * np.abs(right)
    if len(np.unique(right[off])) < SEVERAL:
        return None
    limits = {"low": -np.inf, "high": np.inf}
    for name, beyond in (("low", right < got), ("high", right > got)):
        stopped = got[off & beyond]
        if len(stopped) and np.ptp(stopped) > SAME * np.abs(stopped).max():
            return None
        if len(stopped):
            limits[name] = float(f"{float(np.median(stopped)):.9g}")
    return Limits(**limits) if limits["low"] < limits["high"] else None  # one value alone is no range


def clipped_maps(seen: Sequence[Seen]) -> Iterator[tuple[Cause, ForwardMap | None, Callable[[World], World]]]:
    """Yield y's whose x_hat, 1/std or variance is cut off: the cause, the map if it is one, and the world of it."""
    training = seen[0][0].case.operation == "training"
    own = BY_BATCH if training else BY_RUNNING
    var = VAR if training else RUNNING_VAR
    pairs = [(w, (np.asarray(y, np.longdouble) - w.beta) / np.where(w.gamma == 0, np.nan, w.gamma)) for w, y in seen]

    def found(right: Value, got: Callable[[World, Values], Values]) -> Limits | None:
        both = [np.broadcast_arrays(np.asarray(right(w), float), np.asarray(got(w, h), float)) for w, h in pairs]
        return limits_of(*(np.concatenate([b[k].ravel() for b in both]) for k in (0, 1)))

    if bounds := found(lambda w: w.x_hat, lambda _, h: h):
        yield _cause("x-hat-clipped", "x_hat", bounds), None, _limited(bounds)

    def inverse(w: World, x_hat: Values) -> Values:
        centred = w.x - w.mean
        spread = np.abs(centred) > 0.1 * np.abs(centred).max(w.axes, keepdims=True)
        return np.where(spread, x_hat / np.where(spread, centred, 1), np.nan)

    if bounds := found(lambda w: w.inv, inverse):
        limits, words = bounds, f"1/sqrt(var + eps), {bounds}"
        cut = function(words, var, lambda w, v: limits.cut(1 / np.sqrt(v + w.eps)), _flat)
        yield _mapped("inverse-std-clipped", "1/std", bounds, replace(own, power=-1, divisor=of(cut)))
    if bounds := found(lambda w: w.inv**-2.0 - w.eps, lambda w, h: inverse(w, h) ** -2.0 - w.eps):
        kept = bounds
        cut = function(f"var, {bounds}", var, lambda _, v: kept.cut(v), _flat)
        yield _mapped("variance-clipped", "the variance", bounds, replace(own, divisor=of(cut, EPS)))


def _flat(_: World, values: Values) -> Values:
    """Return no slope at all: of what is cut off no gradient is asked for."""
    return np.zeros_like(values)


def clipped_result(quantity: str, right: Value, seen: Sequence[Seen]) -> Iterator[tuple[Cause, Value]]:
    """Yield a result that is right but for what is cut off."""
    flat = [(np.ravel(np.asarray(right(w), float)), np.ravel(np.asarray(got, float))) for w, got in seen]
    bounds = limits_of(*(np.concatenate([pair[k] for pair in flat]) for k in (0, 1)))
    if bounds is not None:
        limits = bounds
        yield _cause("result-clipped", quantity, bounds), lambda w: limits.cut(right(w))
        return
    norm = limits_of(*np.array([[np.sqrt((a * a).sum()) for a in pair] for pair in flat]).T)
    if norm is not None and np.isinf(norm.low):
        most = norm.high
        yield _cause("norm-clipped", f"the norm of {quantity}", norm), lambda w: _shortened(right(w), most)


def _shortened(values: Values, most: float) -> Values:
    return values * np.fmin(1, most / np.sqrt((values * values).sum()))


def _cause(name: str, what: str, bounds: Limits) -> Cause:
    words = f"{what}, {bounds}"
    return Cause("wrong", name, f"{what} is cut off: {bounds}", EFFECT, words, f"{what}, whatever it is")


def _mapped(
    name: str, what: str, bounds: Limits, found: ForwardMap
) -> tuple[Cause, ForwardMap, Callable[[World], World]]:
    return _cause(name, what, bounds), found, found.change


def _limited(bounds: Limits) -> Callable[[World], World]:
    return lambda w: replace(w, limits=(bounds.low, bounds.high))
