"""The vocabulary of formulas: means, variances, eps, parameters, counts; written once, for every map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from refnorm.oracle.measure.counts import Ratio, ratio
from refnorm.oracle.measure.formula import Term, Value, times
from refnorm.oracle.measure.region import STANDARD, Region, shards
from refnorm.oracle.worlds import Values, World

LETTERS = ["NSL", "N", "NCS", "NCSL", "SL", "CSL", "NS", "NL", "NC", "C", "S", "L", "CS", "CL", "NCL", ""]
REGIONS = tuple(map(Region, LETTERS))
SHARDED = tuple(Region("NSL", split) for split in (1, 2, 4))


def once(w: World, key: object, value: Callable[[], Any]) -> Any:
    """Return a statistic of a world, computed once."""
    if key not in w.known:
        w.known[key] = value()
    return w.known[key]


@cache
def mean(region: Region = STANDARD, divisor: str = "m") -> Term:
    """Return the sum of x over a region, divided by a count."""

    def value(w: World) -> Values:
        own = region == STANDARD and w.case.operation == "training"
        return w.mean if own else once(w, ("mean", region), lambda: region.average(w.x))

    if divisor != "m":
        return _divided(mean(region), f"sum{region.words} x", region, divisor)
    return Term(f"mean{region.words}", value, lambda w, upstream: region.average(upstream))


def _divided(plain: Term, total: str, region: Region, divisor: str) -> Term:
    """Return a sum over a region, divided by another count than the mean's."""
    words = f"unbiased {plain.words}" if total.endswith("(x - mean)^2") and divisor == "(m - 1)" else None
    return times(words or f"{total} / {divisor}".removesuffix(" / 1"), Ratio("m", divisor, region), plain)


@cache
def variance(region: Region = STANDARD, divisor: str = "m", about: Region | None = None) -> Term:
    """Return squared deviations over a region, divided by a count; over m, the mean may be of another region."""

    def centred(w: World) -> Values:
        return w.x - mean(about or region).value(w)

    def value(w: World) -> Values:
        known = region == STANDARD and about is None and w.case.operation == "training"
        return w.var if known else once(w, ("var", region, about), lambda: region.average(centred(w) ** 2))

    def back(w: World, upstream: Values) -> Values:
        own = 2 * centred(w) * region.average(upstream)
        return own if about is None else own - about.average(own)  # about its own mean there is nothing left

    if divisor != "m":
        return _divided(variance(region), f"sum{region.words} (x - mean)^2", region, divisor)
    own = "" if about is None or about == region else f" about the mean{about.words or ' of its channel'}"
    return Term(f"var{region.words}{own}", value, back)


@cache
def second_moment(region: Region = STANDARD, divisor: str = "m") -> Term:
    """Return squares over a region, divided by a count."""

    def value(w: World) -> Values:
        return once(w, ("squares", region), lambda: region.average(w.x**2))

    if divisor != "m":
        return _divided(second_moment(region), f"sum{region.words} x^2", region, divisor)
    return Term(f"mean{region.words} of x^2", value, lambda w, upstream: 2 * w.x * region.average(upstream))


@cache
def mean_distance() -> Term:
    """Return the mean distance from the mean."""

    def value(w: World) -> Values:
        return once(w, "mean distance", lambda: STANDARD.average(np.abs(w.x - MEAN.value(w))))

    def back(w: World, upstream: Values) -> Values:
        signs = np.sign(w.x - MEAN.value(w))
        return (signs - STANDARD.average(signs)) * STANDARD.average(upstream)

    return Term("mean of |x - mean|", value, back)


@cache
def extent() -> Term:
    """Return the difference between the largest value and the smallest."""

    def value(w: World) -> Values:
        return once(w, "extent", lambda: w.x.max(w.axes, keepdims=True) - w.x.min(w.axes, keepdims=True))

    def back(w: World, upstream: Values) -> Values:
        ends = (w.x == w.x.max(w.axes, keepdims=True)) * 1 - (w.x == w.x.min(w.axes, keepdims=True)) * 1
        return ends * STANDARD.average(upstream) * w.m

    return Term("(max x - min x)", value, back)


def _shard_weights(w: World, split: int, equal: bool) -> list[tuple[float, Values]]:
    parts = shards(w.x, split)
    return [(1 / len(parts) if equal else len(p) / len(w.x), p) for p in parts]


@cache
def shard_means(split: int) -> Term:
    """Return the mean of the shards' means, whatever their counts."""

    def back(w: World, upstream: Values) -> Values:
        total = STANDARD.average(upstream) * w.m
        parts = _shard_weights(w, split, True)
        return np.concatenate(
            [np.broadcast_to(total * share / (w.m * len(p) / len(w.x)), p.shape) for share, p in parts]
        )

    def of_all(w: World) -> Values:
        return sum(share * STANDARD.average(p) for share, p in _shard_weights(w, split, True))

    return Term("mean of the shards' means", lambda w: once(w, ("shard means", split), lambda: of_all(w)), back)


@cache
def shard_variances(split: int, equal: bool) -> Term:
    """Return the mean of the shards' variances, by their counts or equally."""

    def of_all(w: World) -> Values:
        parts = _shard_weights(w, split, equal)
        return sum(share * STANDARD.average((p - STANDARD.average(p)) ** 2) for share, p in parts)

    def value(w: World) -> Values:
        return once(w, ("shard variances", split, equal), lambda: of_all(w))

    def back(w: World, upstream: Values) -> Values:
        total = STANDARD.average(upstream) * w.m
        parts = _shard_weights(w, split, equal)
        own = [2 * share * (p - STANDARD.average(p)) / (w.m * len(p) / len(w.x)) for share, p in parts]
        return total * np.concatenate(own)

    return Term(f"mean of the shards' variances{', counts aside' if equal else ''}", value, back)


def function(
    words: str, of: Term, value: Callable[[World, Values], Values], slope: Callable[[World, Values], Values]
) -> Term:
    """Return a function of one term, with its derivative."""
    back = of.back

    def through(w: World, upstream: Values) -> Values:
        assert back is not None
        return back(w, upstream * slope(w, of.value(w)))

    return Term(words, lambda w: value(w, of.value(w)), None if back is None else through)


def constant(words: str, value: Value) -> Term:
    """Return a term that is no function of x."""
    return Term(words, value)


def _affine(value: Value) -> Value:
    """Return a value that is 1 where gamma is absent."""
    return lambda w: np.ones_like(w.gamma) if w.case.gamma is None else value(w)


def _shifted(value: Value) -> Value:
    """Return a value that is 0 where beta is absent."""
    return lambda w: np.zeros_like(w.beta) if w.case.beta is None else value(w)


ONE = constant("1", lambda w: np.longdouble(1))
EPS = constant("eps", lambda w: np.longdouble(w.eps))
RUNNING_MEAN = constant("running mean", lambda w: w.running_mean)
RUNNING_VAR = constant("running variance", lambda w: w.running_var)
MEAN, VAR = mean(), variance()
GAMMA = constant("gamma", lambda w: w.gamma)
BETA = constant("beta", lambda w: w.beta)

NEIGHBOURS: dict[str, Callable[[Any, int], Any]] = {  # of channel c among n, other than the first
    "the channel before": lambda c, n: (c - 1) % n,
    "the channel behind": lambda c, n: (c + 1) % n,
    "the last channel": lambda c, n: 0 * c + n - 1,
    "the channels in reverse order": lambda c, n: n - 1 - c,
}


def of_neighbours(parameter: str, of: Callable[[Any, int], Any]) -> Value:
    """Return gamma or beta with the channels in another order."""

    def value(w: World) -> Values:
        values = w.gamma if parameter == "gamma" else w.beta
        return values[:, of(np.arange(values.shape[1]), values.shape[1])]

    return value


SCALES = (
    GAMMA,
    constant("1", lambda w: np.ones_like(w.gamma)),
    constant("|gamma|", lambda w: np.abs(w.gamma)),
    constant("gamma^2", lambda w: w.gamma**2),
    constant("(1 + gamma)", _affine(lambda w: 1 + w.gamma)),
    constant("max(gamma, 0)", lambda w: np.maximum(w.gamma, 0)),
    constant("(|gamma| + eps)", _affine(lambda w: np.abs(w.gamma) + w.eps)),
    constant("gamma of the first channel", lambda w: np.broadcast_to(w.gamma[:, :1], w.gamma.shape)),
    constant("beta", lambda w: w.gamma if w.case.gamma is None or w.case.beta is None else w.beta),
    constant("sqrt(|gamma|)", lambda w: np.sqrt(np.abs(w.gamma))),
    constant("1/gamma", lambda w: np.where(w.gamma == 0, np.inf, 1 / np.where(w.gamma == 0, 1, w.gamma))),
)
UNUSUAL_SCALES = (  # over the usual divisor alone
    *(constant(f"gamma of {words}", of_neighbours("gamma", of)) for words, of in NEIGHBOURS.items()),
    constant("gamma |gamma|", lambda w: w.gamma * np.abs(w.gamma)),
    constant("exp(gamma)", _affine(lambda w: np.exp(w.gamma))),
    constant("log(1 + exp(gamma))", _affine(lambda w: np.logaddexp(np.zeros_like(w.gamma), w.gamma))),
    constant("1/(1 + exp(-gamma))", _affine(lambda w: 1 / (1 + np.exp(-w.gamma)))),
    constant("tanh(gamma)", _affine(lambda w: np.tanh(w.gamma))),
)
SHIFTS = (
    BETA,
    constant("gamma beta", lambda w: w.gamma * w.beta),
    constant("gamma", lambda w: w.beta if w.case.gamma is None or w.case.beta is None else w.gamma),
    constant("1", _shifted(lambda w: np.ones_like(w.beta))),
    constant("|beta|", lambda w: np.abs(w.beta)),
    constant("beta of the first channel", lambda w: np.broadcast_to(w.beta[:, :1], w.beta.shape)),
    *(constant(f"beta of {words}", of_neighbours("beta", of)) for words, of in NEIGHBOURS.items()),
    constant("beta^2", lambda w: w.beta**2),
    constant("beta / std", lambda w: w.beta * w.inv),
    constant("eps", _shifted(lambda w: np.full_like(w.beta, w.eps))),
)


WEIGHTS: dict[str, Callable[[Values], Values]] = {  # what old or new values may weigh; a is momentum, as it is received
    "(1 - a)": lambda a: 1 - a,
    "a": lambda a: a,
    "1": lambda a: np.longdouble(1),
    "(1 - a)^2": lambda a: (1 - a) ** 2,
    "(1 - (1 - a)^2)": lambda a: 1 - (1 - a) ** 2,
    "a^2": lambda a: a * a,
    "(1 - a^2)": lambda a: 1 - a * a,
    "(1 - a) a": lambda a: a * (1 - a),
    "(1 - a)^3": lambda a: (1 - a) ** 3,
    "(1 - (1 - a)^3)": lambda a: 1 - (1 - a) ** 3,
    "float32(1 - a)": lambda a: np.longdouble(np.float32(1 - float(a))),
    "float32(a)": lambda a: np.longdouble(np.float32(a)),
    "(1 - float32(a))": lambda a: 1 - np.longdouble(np.float32(a)),
    "(1 - float32(1 - a))": lambda a: 1 - np.longdouble(np.float32(1 - float(a))),
    "a/(1 + a)": lambda a: a / (1 + a),
    "1/(1 + a)": lambda a: 1 / (1 + a),
    "float32(a)/(1 + float32(a))": lambda a: np.longdouble(np.float32(a)) / (1 + np.longdouble(np.float32(a))),
    "1/(1 + float32(a))": lambda a: 1 / (1 + np.longdouble(np.float32(a))),
    "(1 - a)^2 a": lambda a: (1 - a) ** 2 * a,
    "(1 - a) a^2": lambda a: (1 - a) * a**2,
    "sqrt(1 - a)": lambda a: np.sqrt(1 - a),
    "sqrt(a)": lambda a: np.sqrt(a),
    "(1 + a)": lambda a: 1 + a,
}


def weighed(term: Term, names: Sequence[str]) -> list[Term]:
    """Return a term with each weight."""
    return [term if name == "1" else times(f"{name} {term.words}", weight(name), term) for name in names]


@cache
def weight(words: str) -> Value:
    """Return one of WEIGHTS."""
    return lambda w: WEIGHTS[words](w.momentum)


def counted(words: str, term: Term) -> Term:
    """Return a term times one of FACTORS."""
    return term if words == "1" else times(f"{words} {term.words}", ratio(words), term)
