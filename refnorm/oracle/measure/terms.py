"""The vocabulary of formulas: means, variances, eps, parameters, counts; written once, for every map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refnorm.oracle.measure.formula import STANDARD, Region, Term, Value, shards
from refnorm.oracle.worlds import Values, World

LETTERS = ["NSL", "N", "NCS", "NCSL", "SL", "CSL", "NS", "NL", "NC", "C", "S", "L", "CS", "CL", "NCL", ""]
REGIONS = tuple(map(Region, LETTERS))
SHARDED = tuple(Region("NSL", split) for split in (1, 2, 4))


@np.errstate(all="ignore")
def sizes(w: World, m: Values) -> dict[str, Values]:
    """Return what a sum over m values may be divided by, by the words for it."""
    n, c = w.x.shape[:2]
    m = np.longdouble(m)
    return {
        "m": m,
        "(m - 1)": np.fmax(m - 1, 1),
        "N": n,
        "HW": w.m / n,
        "C": c,
        "1": 1,
        "(m + 1)": m + 1,
        "(m - 2)": np.fmax(m - 2, 1),
        "(N - 1)": max(n - 1, 1),
        "m (N - 1)/N": m * max(n - 1, 1) / n,
        "(m - 1.5)": np.fmax(m - 1.5, 0.5),
        "(m - 3)": np.fmax(m - 3, 1),
        "(NCHW - 1)": m * c - 1,
        "m (NCHW - 1)/NCHW": m * (w.x.size - 1) / w.x.size,
        "C m": m * c,
        "m^2": m * m,
        "(m - 1)^2/m": np.fmax(m - 1, 1) ** 2 / m,
        "m^2/(m - 1)": m * m / np.fmax(m - 1, 1),
        "m^2/(m + 1)": m * m / (m + 1),
        "(m - 1 + eps/C)": m - 1 + w.eps / c,
    }


# The divisors and weights by name, the usual ones first: what is read off is tried in this order.
DIVISORS = (
    "m", "(m - 1)", "N", "HW", "C", "1", "(m + 1)", "(m - 2)", "(N - 1)", "(m - 1.5)", "(m - 3)", "(NCHW - 1)", "C m",
    "m^2", "(m - 1)^2/m", "m^2/(m - 1)", "m^2/(m + 1)", "(m - 1 + eps/C)", "m (N - 1)/N", "m (NCHW - 1)/NCHW",
)  # fmt: skip
FACTORS = ("1", "1/m", "m", "m/(m - 1)", "(m - 1)/m", "m/N", "N/m", "1/N", "N", "1/C", "C", "m/(m + 1)", "m/(m - 2)")


def factor(w: World, words: str) -> Values:
    """Return a factor of counts.

    Examples
    --------
    >>> from refnorm.golden.inputs import case
    >>> from refnorm.conventions import CONVENTIONS
    >>> from refnorm.oracle.worlds import world
    >>> float(factor(world(case("bn.training.float64.rank-2.1"), CONVENTIONS["torch"]), "(m - 1)/m"))
    0.8571428571428571
    """
    above, _, below = words.partition("/")
    known = once(w, "sizes", lambda: sizes(w, np.longdouble(w.m)))
    return np.longdouble(known[above]) / np.longdouble(known[below] if below else 1)


def once(w: World, key: object, value: Callable[[], Any]) -> Any:
    """Return a statistic of a world, computed once."""
    if key not in w.known:
        w.known[key] = value()
    return w.known[key]


@np.errstate(all="ignore")
def share(w: World, region: Region, divisor: str) -> Values:
    """Return how many means a sum divided by a count is."""

    def all_of_them() -> dict[str, Values]:
        m = region.count(w.x)
        return {words: m / size for words, size in sizes(w, m).items()}

    of_all: Any = once(w, ("shares", region), all_of_them)
    return of_all[divisor]


def mean(region: Region = STANDARD, divisor: str = "m") -> Term:
    """Return the sum of x over a region, divided by a count."""

    def scale(w: World) -> Values:
        return share(w, region, divisor)

    def value(w: World) -> Values:
        own = region == STANDARD and w.case.operation == "training"
        known = w.mean if own else once(w, ("mean", region), lambda: region.average(w.x))
        return known if divisor == "m" else known * scale(w)

    def back(w: World, upstream: Values) -> Values:
        return region.average(upstream) * scale(w)

    words = f"mean{region.words}" if divisor == "m" else f"sum{region.words} x / {divisor}"
    return Term(words.removesuffix(" / 1"), value, back)


def variance(region: Region = STANDARD, divisor: str = "m", about: Region | None = None) -> Term:
    """Return squared deviations over a region, divided by a count; about the mean of another region, if it is given."""

    def centred(w: World) -> Values:
        return w.x - mean(about or region).value(w)

    def scale(w: World) -> Values:
        return share(w, region, divisor)

    def value(w: World) -> Values:
        known = region == STANDARD and about is None and w.case.operation == "training"
        var = w.var if known else once(w, ("var", region, about), lambda: region.average(centred(w) ** 2))
        return var if divisor == "m" else var * scale(w)

    def back(w: World, upstream: Values) -> Values:
        return 2 * centred(w) * region.average(upstream) * scale(w)

    own = "" if about is None or about == region else f" about the mean{about.words or ' of its channel'}"
    plain = f"var{region.words}{own}"
    words = {"m": plain, "(m - 1)": f"unbiased {plain}"}.get(
        divisor, f"sum{region.words} (x - mean)^2{own} / {divisor}"
    )
    return Term(words.removesuffix(" / 1"), value, back)


def second_moment(region: Region = STANDARD, divisor: str = "m") -> Term:
    """Return squares over a region, divided by a count."""

    def scale(w: World) -> Values:
        return share(w, region, divisor)

    words = f"mean{region.words} of x^2" if divisor == "m" else f"sum{region.words} x^2 / {divisor}"
    return Term(
        words.removesuffix(" / 1"),
        lambda w: once(w, ("squares", region), lambda: region.average(w.x**2)) * scale(w),
        lambda w, upstream: 2 * w.x * region.average(upstream) * scale(w),
    )


def _shard_weights(w: World, split: int, equal: bool) -> list[tuple[float, Values]]:
    parts = shards(w.x, split)
    return [(1 / len(parts) if equal else len(p) / len(w.x), p) for p in parts]


def shard_means(split: int) -> Term:
    """Return the mean of the shards' means, whatever their counts."""

    def back(w: World, upstream: Values) -> Values:
        total = STANDARD.average(upstream) * w.m
        parts = _shard_weights(w, split, True)
        return np.concatenate(
            [np.broadcast_to(total * share / (w.m * len(p) / len(w.x)), p.shape) for share, p in parts]
        )

    def value(w: World) -> Values:
        return sum(share * STANDARD.average(p) for share, p in _shard_weights(w, split, True))

    return Term("mean of the shards' means", value, back)


def shard_variances(split: int, equal: bool) -> Term:
    """Return the mean of the shards' variances, by their counts or equally."""

    def value(w: World) -> Values:
        parts = _shard_weights(w, split, equal)
        return sum(share * STANDARD.average((p - STANDARD.average(p)) ** 2) for share, p in parts)

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


def scaled(words: str, by: Value, term: Term) -> Term:
    """Return a term times what is no function of x."""
    back = term.back
    through = None if back is None else (lambda w, upstream: back(w, upstream * by(w)))
    return Term(f"{words} {term.words}" if words != "1" else term.words, lambda w: by(w) * term.value(w), through)


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
SHIFTS = (
    BETA,
    constant("gamma beta", lambda w: w.gamma * w.beta),
    constant("gamma", lambda w: w.beta if w.case.gamma is None or w.case.beta is None else w.gamma),
    constant("1", _shifted(lambda w: np.ones_like(w.beta))),
    constant("|beta|", lambda w: np.abs(w.beta)),
    constant("beta of the first channel", lambda w: np.broadcast_to(w.beta[:, :1], w.beta.shape)),
    constant("beta^2", lambda w: w.beta**2),
    constant("eps", _shifted(lambda w: np.full_like(w.beta, w.eps))),
)


def weights(w: World) -> dict[str, Values]:
    """Return what old or new values may weigh, by the words for it; a is momentum."""
    a = np.longdouble(w.case.momentum)
    return {
        "(1 - a)": 1 - a,
        "a": a,
        "1": np.longdouble(1),
        "(1 - a)^2": (1 - a) ** 2,
        "(1 - (1 - a)^2)": 1 - (1 - a) ** 2,
        "a^2": a * a,
        "(1 - a^2)": 1 - a * a,
        "(1 - a) a": a * (1 - a),
        "(1 - a)^3": (1 - a) ** 3,
        "(1 - (1 - a)^3)": 1 - (1 - a) ** 3,
        "float32(1 - a)": np.longdouble(np.float32(1 - float(a))),
        "float32(a)": np.longdouble(np.float32(a)),
        "(1 - float32(a))": 1 - np.longdouble(np.float32(a)),
        "(1 - a)^2 a": (1 - a) ** 2 * a,
        "(1 - a) a^2": (1 - a) * a**2,
        "sqrt(1 - a)": np.sqrt(1 - a),
        "sqrt(a)": np.sqrt(a),
    }


WEIGHTS = (
    "(1 - a)", "a", "1", "(1 - a)^2", "(1 - (1 - a)^2)", "a^2", "(1 - a^2)", "(1 - a) a", "(1 - a)^3",
    "(1 - (1 - a)^3)", "float32(1 - a)", "float32(a)", "(1 - float32(a))", "(1 - a)^2 a", "(1 - a) a^2", "sqrt(1 - a)",
    "sqrt(a)",
)  # fmt: skip


def weighed(term: Term, names: Sequence[str]) -> list[Term]:
    """Return a term with each weight."""
    return [scaled(name, weight(name), term) for name in names]


def weight(words: str) -> Value:
    """Return a weight of `weights`."""
    return lambda w: once(w, "weights", lambda: weights(w))[words]


def counted(words: str) -> Value:
    """Return a factor of counts (see `factor`)."""
    return lambda w: factor(w, words)
