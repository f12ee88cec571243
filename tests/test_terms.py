"""The vocabulary of measured formulas: each term is what its words say, and what flows back is its derivative.

Words are read as arithmetic here, and computed with NumPy; derivatives are differences of values. Not verified here:
which terms are read off which numbers (`test_formulas`, `test_explain`, `test_read_running`).
"""

from __future__ import annotations

import re
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.golden.directions import directions
from refnorm.golden.inputs import Case
from refnorm.golden.situations import Situation
from refnorm.oracle.measure import (
    divisors,
    formula,
    products,
    read_forward,
    read_parameters,
    read_running,
    second_terms,
    terms,
)
from refnorm.oracle.measure.counts import DIVISORS, FACTORS, Counts, ratio
from refnorm.oracle.measure.formula import BETA_SLOPES, GAMMA_SLOPES, Formula, Table, channels
from refnorm.oracle.measure.parts import DIVIDED, part_mean, part_variance, parts
from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.worlds import mean_and_var, world

TORCH = ROWS["torch"]
SHAPES = {"rank 2": (5, 3), "rank 4": (3, 2, 2, 4), "rank 5": (2, 3, 2, 1, 2)}


def made(shape, eps=0.3, affine=("gamma", "beta"), momentum=0.2, operation="training"):
    """Return a world of numbers that are in no simple relation, with the parameters that are named."""
    rng = np.random.default_rng(7)
    x, dy, (gamma, beta, mean, var) = (
        rng.normal(1, 2, shape),
        rng.normal(size=shape),
        rng.uniform(0.6, 1.7, (4, shape[1])),
    )
    gamma[::2] *= -1
    situation = Situation("made", "", shape, eps=eps, momentum=momentum)
    given = (gamma if "gamma" in affine else None, beta if "beta" in affine else None)
    return world(Case("made", operation, "float64", "float64", situation, (x,), dy, *given, mean, var), TORCH)


WORLDS = {name: made(shape) for name, shape in SHAPES.items()}


def moved(w, x):
    mean, var = mean_and_var(x, w.axes)
    return replace(w, x=x, mean=mean, var=var)


# Words as arithmetic.

NAMES = {
    "running variance": "rvar",
    "batch variance": "var",
    "running mean": "rmean",
    "batch mean": "mean",
    "running std": "sqrt(rvar)",
    "unbiased var": "(var * m / (m - 1))",
    "NCHW": "(N * C * HW)",
    **{
        f"{p} of the {words}": f"{function}({p})"
        for p in ("gamma", "beta")
        for words, function in {
            "first channel": "first",
            "last channel": "last",
            "channel before": "before",
            "channel behind": "behind",
            "channels in reverse order": "backwards",
        }.items()
    },
}


def evaluated(words, w, **others):
    """Return what words say as arithmetic."""
    of_sample = re.search(" of the (first|last) sample$", words) if words.startswith("sum") else None
    text = words[: of_sample.start()] if of_sample else words
    for name, short in NAMES.items():
        text = text.replace(name, short)
    text = re.sub(r"sum ([^/]+?)(?= / |$)", r"total(\1)", text)
    text = re.sub(r"\|([^|]+)\|", r"abs(\1)", text).replace("^", "**")
    text = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", re.sub(r"^/ ", "1 / ", text))
    x, n, long = np.asarray(w.x), len(w.x), np.longdouble
    spatial = tuple(range(2, x.ndim))

    def total(values):
        if of_sample:
            return values[[0 if of_sample[1] == "first" else -1]].sum(spatial, keepdims=True)
        return values.sum((0, *spatial), keepdims=True)

    m = x.size // x.shape[1]
    names = {
        "x": x,
        "dy": w.upstream,
        "y": w.y,
        "gamma": w.gamma,
        "beta": w.beta,
        "eps": long(w.eps),
        "mean": x.mean((0, *spatial), keepdims=True),
        "var": x.var((0, *spatial), keepdims=True),
        "rmean": w.running_mean,
        "rvar": w.running_var,
        "a": long(w.case.momentum),
        "total": total,
        "sum": total,
        "m": long(m),
        "N": long(n),
        "C": long(x.shape[1]),
        "HW": long(m) / n,
        "abs": np.abs,
        "sqrt": np.sqrt,
        "sign": np.sign,
        "exp": np.exp,
        "log": np.log,
        "tanh": np.tanh,
        "max": np.maximum,
        "min": np.minimum,
        "first": lambda p: p[:, :1],
        "last": lambda p: p[:, -1:],
        "before": lambda p: np.roll(p, 1, 1),
        "behind": lambda p: np.roll(p, -1, 1),
        "backwards": lambda p: p[:, ::-1],
        **{kind: lambda v, kind=kind: long(np.dtype(kind).type(float(v))) for kind in ("float32", "float16")},
        "bfloat16": lambda v: long(float(ml_dtypes.bfloat16(float(v)))),
    }
    names["std"] = np.sqrt(names["var"] + w.eps)
    names["x_hat"] = (x - names["mean"]) / names["std"]
    return eval(text, {"__builtins__": {}}, names | others)


def agree(value, expected, w):
    found, wanted = (np.broadcast_to(np.asarray(v, float), w.x.shape) for v in (value, expected))
    return np.allclose(found, wanted, rtol=1e-11, atol=0)


def by_name(found):
    return [pytest.param(words, value, id=words or "nothing") for words, value in found.items()]


VALUES = {
    "what scales": {t.words: t.value for t in (*terms.SCALES, *terms.UNUSUAL_SCALES)},
    "what shifts": {t.words: t.value for t in terms.SHIFTS},
    "what is subtracted from what is scaled": {t.words: t.value for t in read_forward._unscaled()},
    "gammas": products.GAMMAS,
    "stds": {words: value for words, value in products.INVERSES.items() if words},
    "counts": products.COUNTS,
    "sums": read_parameters.SUMS,
    "own sums": read_parameters.OWN,
    "added": read_parameters.ADDED,
    "behind": {words: value for words, value in read_parameters.BEHIND.items() if words},
    "fronts": {words: value for words, value in second_terms.FRONTS.items() if words},
    "weights": {words: terms.weight(words) for words in terms.WEIGHTS},
}


@pytest.mark.parametrize("table", VALUES)
@pytest.mark.parametrize("w", [pytest.param(w, id=name) for name, w in WORLDS.items()])
def test_each_term_is_what_its_words_say(table, w):
    seconds = {"ddgamma": w.ddgamma, "ddbeta": w.ddbeta}
    for words, value in VALUES[table].items():
        assert agree(value(w), evaluated(words, w, **seconds), w), words


def test_directions_are_those_of_the_set():
    w = WORLDS["rank 4"]
    for name in ("dx", "dgamma", "dbeta"):
        own = np.asarray(getattr(w, f"d{name}"), float).ravel()
        assert np.array_equal(own, np.ravel(getattr(directions(w.case), name)))


@pytest.mark.parametrize("w", [pytest.param(w, id=name) for name, w in WORLDS.items()])
def test_inverses_without_words_are_1_and_of_second_order_they_are_of_what_is_said(w):
    for table in (products.INVERSES, read_parameters.BEHIND, second_terms.FRONTS):
        assert agree(table[""](w), 1, w)
    for words, value in second_terms.STDS.items():
        assert agree(1 / value(w), evaluated(words, w), w), words


@pytest.mark.parametrize("shape", SHAPES.values())
def test_without_gamma_each_scale_is_1_and_without_beta_each_shift_is_0(shape):
    w = made(shape, affine=())
    for term in (*terms.SCALES, *terms.UNUSUAL_SCALES):
        assert agree(term.value(w), 1, w), term.words
    for term in terms.SHIFTS:
        assert agree(term.value(w), 0, w), term.words
    assert all(agree(value(w), 1, w) for value in products.GAMMAS.values())


@pytest.mark.parametrize("shape", SHAPES.values())
@pytest.mark.parametrize("given", ["gamma", "beta"])
def test_where_one_parameter_is_absent_it_is_not_taken_for_the_other(given, shape):
    w = made(shape, affine=(given,))
    scales = {t.words: t.value for t in (*terms.SCALES, *terms.UNUSUAL_SCALES)}
    for table in (scales, products.GAMMAS):
        for words, value in table.items():
            said = 1 if given == "beta" else evaluated(words.replace("beta", "gamma"), w)
            assert agree(value(w), said, w), words
    for term in terms.SHIFTS:
        said = 0 if given == "gamma" else evaluated("beta" if term.words == "gamma" else term.words, w)
        assert agree(term.value(w), said, w), term.words


NO_WORDS = re.compile(" of | over |sum|mean of|max x|shard|position")  # words of regions: below
BY_HAND = {
    "(eps, and 1e-12 if it is small)": lambda w: w.eps + 1e-12 * (w.eps < 1.001e-5),
    "(eps, or 1e-5 if it is 0)": lambda w: w.eps or 1e-5,
}


@pytest.mark.parametrize("power", divisors.POWERS)
@pytest.mark.parametrize("eps", [0.3, 2.5, 1e-5, 1e-6, 1.2e-5, 0.0])
def test_what_a_divisor_is_made_of_is_what_its_words_say(power, eps):
    w = made((3, 2, 2, 4), eps)
    plain = {t.words: t for family in divisors._divisor_terms(power) for t in family if not NO_WORDS.search(t.words)}
    assert len(plain) > 30
    for words, term in plain.items():
        with np.errstate(divide="ignore"):
            expected = BY_HAND[words](w) if words in BY_HAND else evaluated(words, w)
            assert agree(term.value(w), expected, w), words


@pytest.mark.parametrize("power", [1, 0.5])
def test_what_a_running_variance_is_made_of_is_what_its_words_say(power):
    w = WORLDS["rank 4"]
    std = np.sqrt(evaluated("var", w))  # of running statistics, it is the root of the variance alone
    plain = {t.words: t for f in read_running._terms("variance", power, "new", False) for t in f}
    plain = {words: t for words, t in plain.items() if not NO_WORDS.search(words) and "count" not in words}
    assert len(plain) > 60
    for words, term in plain.items():
        assert agree(term.value(w), evaluated(words, w, std=std), w), words


# Counts, regions, shards.


def counted(words, **numbers):
    """Return a count by its words; what is subtracted from m or N leaves 1 at least, or 1/2."""
    floored = re.sub(r"(m - 1\.5)", r"max(\1, 0.5)", re.sub(r"([mN] - [123])\b(?![.])", r"max(\1, 1)", words))
    floored = floored if "eps" not in words else words
    return evaluated(floored, WORLDS["rank 4"], **numbers)


@pytest.mark.parametrize("m", [1, 2, 3, 12])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_counts_are_what_their_words_say(samples, m):
    counts = Counts(np.longdouble(samples), np.longdouble(5), np.longdouble(7), np.longdouble(0.25))
    numbers = {"m": m, "N": samples, "C": 5, "HW": 7 / samples, "eps": 0.25}
    for below in DIVISORS:
        whole = 7 * 5 if below == "(m (NCHW - 1)/NCHW)" else m * 5  # that of x, and that of the region
        said = counted(below, **(numbers | ({"HW": whole / 5 / samples} if "NCHW" in below else {})))
        assert float(ratio(f"m/{below}").of(counts, np.longdouble(m))) == pytest.approx(m / said, rel=1e-14), below
    for words in FACTORS:
        above, _, under = words.partition("/")
        said = counted(above, **numbers) / counted(under or "1", **numbers)
        assert float(ratio(words).of(counts, np.longdouble(m))) == pytest.approx(said, rel=1e-14), words


def test_a_count_of_0_divides_to_infinity_without_a_warning():
    one = np.longdouble(1)
    assert np.isposinf(ratio("m/(NCHW - 1)").of(Counts(one, one, one, one), one))


def axes_of(letters, ndim):
    """Return axes of x by their letters; S are those between the channels and the last."""
    where = {"N": (0,), "C": (1,), "S": tuple(range(2, ndim - 1)), "L": (ndim - 1,) if ndim > 2 else ()}
    if ndim == 2 and letters in ("CS", "NCS"):  # all but the last axis, and channels are last
        return (0,) if "N" in letters else ()
    return tuple(sorted(a for letter in letters for a in where[letter]))


@pytest.mark.parametrize("words", terms.WEIGHTS)
@pytest.mark.parametrize("momentum", [0.3, 0.7])
def test_weights_are_what_their_words_say_of_any_momentum(words, momentum):
    w = made((4, 2), momentum=momentum)
    assert agree(terms.weight(words)(w), evaluated(words, w), w)


@pytest.mark.parametrize("w", [pytest.param(w, id=name) for name, w in WORLDS.items()])
@pytest.mark.parametrize("letters", terms.LETTERS)
def test_means_and_variances_are_over_the_axes_that_are_said(letters, w):
    region, axes = Region(letters), axes_of(letters, w.x.ndim)
    assert region.per_channel is ("C" not in letters)
    m = int(np.prod([w.x.shape[a] for a in axes]))
    mean = w.x.mean(axes, keepdims=True)
    of_channel = w.x.mean(axes_of("NSL", w.x.ndim), keepdims=True)
    assert agree(terms.mean(region).value(w), mean, w)
    assert agree(terms.variance(region).value(w), ((w.x - mean) ** 2).mean(axes, keepdims=True), w)
    about = ((w.x - of_channel) ** 2).mean(axes, keepdims=True)
    assert agree(terms.variance(region, about=STANDARD).value(w), about, w)
    assert agree(terms.second_moment(region).value(w), (w.x**2).mean(axes, keepdims=True), w)
    assert float(region.count(w.x)) == m
    table = Table([w], [w.x.shape])
    for divisor in ("(m - 1)", "N", "1", "m^2"):
        by = {"(m - 1)": max(m - 1, 1), "N": len(w.x), "1": 1, "m^2": m * m}[divisor]
        for term, total in (
            (terms.mean(region, divisor), w.x.sum(axes, keepdims=True)),
            (terms.variance(region, divisor), ((w.x - mean) ** 2).sum(axes, keepdims=True)),
            (terms.second_moment(region, divisor), (w.x**2).sum(axes, keepdims=True)),
        ):
            assert agree(term.value(w), total / by, w), term.words
            assert agree(table(term).reshape(w.x.shape), total / by, w), term.words


@pytest.mark.parametrize("shape", SHAPES.values())
def test_in_inference_mean_and_variance_are_those_of_x_and_not_of_the_world(shape):
    w = made(shape, operation="inference")
    mean, var = mean_and_var(w.x, w.axes)
    assert agree(terms.MEAN.value(w), mean, w)
    assert agree(terms.VAR.value(w), var, w)


def test_a_variance_may_be_about_the_mean_of_other_values():
    for w in WORLDS.values():
        other = w.x.mean(0, keepdims=True)
        expected = ((w.x - other) ** 2).mean(axes_of("NSL", w.x.ndim), keepdims=True)
        assert agree(terms.variance(STANDARD, about=Region("N")).value(w), expected, w)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (terms.mean(), "mean"),
        (terms.mean(Region("N"), "(m - 1)"), "sum over N x / (m - 1)"),
        (terms.mean(STANDARD, "1"), "sum x"),
        (terms.second_moment(STANDARD, "(m - 1)"), "sum x^2 / (m - 1)"),
        (terms.variance(STANDARD, "(m - 1)"), "unbiased var"),
        (terms.variance(Region("CSL"), "(m - 1)"), "unbiased var of each sample"),
        (terms.variance(STANDARD, "N"), "sum (x - mean)^2 / N"),
        (terms.variance(Region("N"), about=Region("N")), "var over N"),
        (terms.variance(Region("N"), about=STANDARD), "var over N about the mean of its channel"),
        (terms.variance(Region("N"), about=Region("CSL")), "var over N about the mean of each sample"),
        (terms.shard_variances(2, True), "mean of the shards' variances, counts aside"),
        (terms.shard_variances(2, False), "mean of the shards' variances"),
    ],
)
def test_statistics_have_their_words(term, words):
    assert term.words == words


def test_neighbours_are_the_channels_of_these_places():
    places = {words: of(np.arange(4), 4).tolist() for words, of in terms.NEIGHBOURS.items()}
    assert places == {
        "the channel before": [3, 0, 1, 2],
        "the channel behind": [1, 2, 3, 0],
        "the last channel": [3, 3, 3, 3],
        "the channels in reverse order": [3, 2, 1, 0],
    }


CUTS = {  # how many samples each shard has
    5: {1: (3, 2), 2: (2, 3), 4: (1, 1, 1, 2)},
    8: {1: (4, 4), 2: (4, 4), 4: (2, 2, 2, 2)},
    7: {1: (4, 3), 2: (3, 4), 4: (1, 2, 2, 2)},
    3: {1: (2, 1), 2: (1, 2), 4: (1, 1, 1)},
    1: {1: (1,), 2: (1,), 4: (1,)},
}


@pytest.mark.parametrize("split", [1, 2, 4])
@pytest.mark.parametrize("samples", CUTS)
def test_shards_are_cut_as_it_is_said(samples, split):
    w = made((samples, 3, 2))
    sizes = CUTS[samples][split]
    shards = [w.x[sum(sizes[:i]) :][:size] for i, size in enumerate(sizes)]
    means = [s.mean((0, 2), keepdims=True) for s in shards]
    spreads = [s.var((0, 2), keepdims=True) for s in shards]
    share = [len(s) / samples for s in shards]
    assert agree(terms.shard_means(split).value(w), sum(means) / len(shards), w)
    assert agree(terms.shard_variances(split, True).value(w), sum(spreads) / len(shards), w)
    assert agree(
        terms.shard_variances(split, False).value(w), sum(f * v for f, v in zip(share, spreads, strict=True)), w
    )
    each = np.concatenate([np.broadcast_to(v, s.shape) for v, s in zip(spreads, shards, strict=True)])
    assert agree(terms.variance(Region("NSL", split)).value(w), each, w)
    counts = np.concatenate([np.full(s.shape, 2 * len(s)) for s in shards])
    assert agree(Region("NSL", split).count(w.x), counts, w)
    assert agree(Region("SL", split).count(w.x), 2, w)


def test_distances_extents_and_samples_means():
    for w in WORLDS.values():
        axes, spatial = axes_of("NSL", w.x.ndim), tuple(range(2, w.x.ndim))
        mean = w.x.mean(axes, keepdims=True)
        assert agree(terms.mean_distance().value(w), np.abs(w.x - mean).mean(axes, keepdims=True), w)
        assert agree(terms.extent().value(w), np.ptp(w.x, axis=axes, keepdims=True), w)
        samples = w.x.mean(spatial, keepdims=True)
        assert agree(divisors._of_position_means().value(w), samples.var(0, keepdims=True), w)


# Derivatives.


def all_terms():
    families = [f for power in divisors.POWERS for f in divisors._divisor_terms(power)]
    families += [read_forward._centres()[0], read_forward._unscaled()]
    return list({t.words: t for f in families for t in f}.values())


def flows_back_as_it_grows(term, w):
    """Whether what reaches x of random gradients is how the term grows with x."""
    rng = np.random.default_rng(3)
    upstream, direction = rng.normal(size=(2, *w.x.shape)).astype(np.longdouble)
    h = np.longdouble(1e-7)

    def loss(t):
        return np.sum(upstream * term.value(moved(w, w.x + t * direction)))

    grows = (loss(h) - loss(-h)) / (2 * h)
    back = 0 if term.back is None else np.sum(term.back(w, upstream) * direction)
    return abs(grows - back) <= 1e-9 * (abs(grows) + 1)


@pytest.mark.parametrize("w", [pytest.param(w, id=name) for name, w in WORLDS.items()])
def test_what_flows_back_through_each_term_is_its_derivative(w):
    every = all_terms()
    assert len(every) > 500
    wrong = [t.words for t in every if not flows_back_as_it_grows(t, w)]
    assert wrong == []


def test_what_flows_back_through_a_sum_is_the_sum_of_it():
    several = Formula(((2.5, terms.VAR), (-1.0, terms.MEAN), (3.0, terms.RUNNING_MEAN), (1.0, terms.EPS)))
    assert all(flows_back_as_it_grows(several, w) for w in WORLDS.values())


@pytest.mark.parametrize("shape", [(8, 3), (4, 2, 3, 4), (3, 3)])
def test_what_flows_back_through_statistics_of_some_values_is_their_derivative(shape):
    w = made(shape)
    wrong = []
    for part in parts()[::3]:
        centre = part_mean(part, False)
        found = [part_mean(part, True), centre, part_variance(part, terms.MEAN)]
        found += [part_variance(part, centre, divided) for divided in DIVIDED]
        with np.errstate(invalid="ignore", divide="ignore"):  # of no value
            found = [t for t in found if np.all(np.isfinite(t.value(w)))]
        wrong += [t.words for t in found if not flows_back_as_it_grows(t, w)]
    assert wrong == []


@pytest.mark.parametrize(("slopes", "name"), [(GAMMA_SLOPES, "gamma"), (BETA_SLOPES, "beta")])
@pytest.mark.parametrize("w", [pytest.param(w, id=name) for name, w in WORLDS.items()])
def test_slopes_by_a_parameter_are_derivatives(w, slopes, name):
    h = np.longdouble(1e-7)
    known = {t.words: t for t in (*terms.SCALES, *terms.SHIFTS, *read_forward._unscaled())}
    for words, slope in slopes.items():
        up, down = (known[words].value(replace(w, **{name: getattr(w, name) + s * h})) for s in (1, -1))
        found = np.broadcast_to(slope(w), w.gamma.shape)
        assert np.allclose(np.asarray((up - down) / (2 * h), float), np.asarray(found, float), atol=1e-9), words
        assert agree(Formula(((3.0, known[words]),)).slope(w, name), 3 * found, w)


# Second order.


@pytest.mark.parametrize("quantity", second_terms.DEFINED)
@pytest.mark.parametrize("letters", ["NSL", *second_terms.AXES])
def test_terms_of_second_order_are_what_their_words_say(quantity, letters):
    for w in WORLDS.values():
        axes = axes_of(letters, w.x.ndim)

        def average(values, axes=axes):
            return values.mean(axes, keepdims=True) if axes else values

        for term in second_terms.DEFINED[quantity]:
            changed = replace(term, region=Region(letters))
            words = term.words.format("", "") or "1"
            assert agree(changed.follows(w), evaluated(words, w, mean=average, ddx=w.ddx), w), words


def test_regions_and_shards_have_their_words():
    assert [Region(letters).words for letters in ("NSL", "N", "NCSL", "CSL", "SL", "CS", "")] == [
        "",
        " over N",
        " over all",
        " of each sample",
        " of each sample and channel",
        " over C S",
        " over nothing",
    ]
    assert [Region("NSL", split).words for split in (1, 2, 4)] == [f" of each of {n} shards" for n in (2, 2, 4)]
    assert Region("CSL", 4).words == " of each sample of each of 4 shards"
    assert [region.split for region in terms.SHARDED] == [1, 2, 4]


@pytest.mark.parametrize("power", [2, 1, 0.5, -1, -2, 3])
def test_another_divisor_is_a_power_of_std(power):
    w = WORLDS["rank 4"]
    other = products.Divisor(power, Formula(((2.0, terms.VAR), (1.0, terms.EPS))))
    std = 1 / other.change(w).inv
    assert agree(std**power, 2 * w.var + w.eps, w)
    assert (
        str(other)
        == f"{ {2: 'std^2', 1: 'std', 0.5: 'std^(1/2)', -1: '1/std', -2: '1/std^2', 3: 'std^3'}[power] } = 2 var + eps"
    )


BRACKET = "gamma / std (ddx - mean(ddx) - x_hat mean(ddx x_hat))"
SECOND = {
    "jvp": f"jvp = {BRACKET} + ddgamma x_hat + ddbeta",
    "double backward ddy": f"ddy = {BRACKET} + ddgamma x_hat + ddbeta",
    "frozen jvp": "jvp = gamma / std ddx + ddgamma x_hat + ddbeta",
    "frozen double backward dgamma": "dgamma = 1 / std sum(dy ddx)",
    "frozen double backward ddy": "ddy = gamma / std ddx + ddgamma x_hat + ddbeta",
    "frozen double backward dx": "dx = ddgamma / std dy",
    "double backward dgamma": "dgamma = 1 / std (sum(dy ddx) - sum(dy) mean(ddx) - sum(dy x_hat) mean(ddx x_hat))",
    "double backward dx": (
        "dx = ddgamma / std (dy - mean(dy) - x_hat mean(dy x_hat)) - gamma / std^2 (dy mean(ddx x_hat)"
        " - mean(dy) mean(ddx x_hat) + ddx mean(dy x_hat) - mean(ddx) mean(dy x_hat) + x_hat mean(dy ddx)"
        " - x_hat mean(dy) mean(ddx) - 3 x_hat mean(dy x_hat) mean(ddx x_hat))"
    ),
}


@pytest.mark.parametrize("quantity", SECOND)
def test_quantities_of_second_order_are_written(quantity):
    assert second_terms.defined_second(quantity).words() == SECOND[quantity]
    for w in WORLDS.values():
        value = second_terms.RIGHT[quantity](w)
        assert value.shape == (w.x.shape[1:2] if quantity.endswith("dgamma") else w.x.shape)
        seconds = {"ddx": w.ddx, "ddgamma": w.ddgamma, "ddbeta": w.ddbeta, "mean": w.average}
        expected = evaluated(SECOND[quantity].split(" = ")[1], w, **seconds)
        assert agree(value.reshape(w.gamma.shape) if value.ndim == 1 else value, expected, w)


@pytest.mark.parametrize("quantity", second_terms.DEFINED)
def test_each_variation_changes_a_term_by_what_its_name_says(quantity):
    w, changes = WORLDS["rank 4"], dict(second_terms.variations())
    for term in second_terms.DEFINED[quantity]:
        plain, own = term.times(w), term.front == "gamma"
        factors = {name: evaluated(name, w) for name in (*second_terms.POWERS, *products.COUNTS)}
        factors |= {"no gamma": 1 / w.gamma if own else 1, "gamma": w.gamma, "|gamma|": np.sign(w.gamma) if own else 1}
        normal = term.words == "x_hat"
        factors |= {"x for x_hat": w.x / w.x_hat if normal else 1}
        factors |= {"x - mean for x_hat": 1 / w.inv if normal else 1}
        for name, factor in factors.items():
            assert agree(changes[name](term).times(w), plain * factor, w), (term.words, name)


@pytest.mark.parametrize("m", [1, 2])
def test_the_unbiased_variance_of_one_value_is_0_and_of_two_is_twice_the_biased_one(m):
    w = made((m, 3))
    expected = np.sqrt(2 * w.x.var(0, keepdims=True) + w.eps)
    assert agree(1 / second_terms.STDS["sqrt(unbiased var + eps)"](w), expected, w)


def summand(front, power, words, **changed):
    return second_terms.Summand(front, power, words, lambda w, avg: w.x, **changed)


@pytest.mark.parametrize(
    ("parts_of", "text"),
    [
        ([(1, "gamma", 1, "dy"), (-1, "gamma", 2, "mean{}(ddx)")], "gamma / std dy - gamma / std^2 mean(ddx)"),
        ([(-1, "gamma", 1, "dy"), (-2, "gamma", 1, "ddx"), (1, "gamma", 1, "x")], "-gamma / std (dy + 2 ddx - x)"),
        ([(0.5, "gamma", 1, "dy"), (-1, "gamma", 1, "ddx")], "gamma / std (0.5 dy - ddx)"),
        ([(0.5, "", 0, "dy"), (-0.5, "", 0, "ddx")], "0.5 dy - 0.5 ddx"),
        ([(-0.5, "", 0, "dy"), (-1, "", -1, "ddx"), (-3, "", -2, "x")], "-0.5 dy - std ddx - 3 std^2 x"),
        ([(1, "gamma", 0, "dy"), (-0.25, "", 0, "ddx"), (1, "", 0, "x")], "gamma dy - 0.25 ddx + x"),
        ([(-0.5, "", 1, "dy")], "-0.5 / std dy"),
        ([(-1, "", 1, "dy")], "-1 / std dy"),
        ([(2, "", 1, "dy"), (4, "", 1, "ddx")], "1 / std (2 dy + 4 ddx)"),
        ([], "0"),
    ],
)  # fmt: skip
def test_a_sum_of_second_order_is_written(parts_of, text):
    written = tuple((float(c), summand(*t)) for c, *t in parts_of)
    assert second_terms.Combination("jvp", written).words() == f"jvp = {text}"


def test_counts_regions_and_stds_are_written():
    other = summand("gamma", -2, "mean{}(dy) x mean{}(ddx)", count="1/m", region=Region("N"), std="sqrt(var)")
    words = second_terms.Combination("frozen jvp", ((1.0, other),)).words()
    assert words == "jvp = 1/m gamma sqrt(var)^2 mean over N (dy) x mean over N (ddx)"


def test_each_variation_changes_the_words_and_the_value_alike():
    w = WORLDS["rank 4"]
    defined = second_terms.defined_second("jvp")
    for name, change in second_terms.variations():
        parts_of = [(c, change(t)) for c, t in defined.parts]
        for c, t in parts_of:
            words = second_terms.Combination("jvp", ((c, t),)).words().removeprefix("jvp = ")
            region = t.region

            def average(values, region=region):
                axes = axes_of(region.axes, values.ndim)
                return values.mean(axes, keepdims=True)

            text = words.replace(region.words + " (", "(") if region.words else words
            seconds = {"ddx": w.ddx, "ddgamma": w.ddgamma, "ddbeta": w.ddbeta}
            # x_hat is made with the other std where one is named
            named = {"x_hat": (w.x - w.mean) / evaluated(t.std, w)} if t.std != "std" else {}
            own = {"std": np.sqrt(w.var + w.eps), "var": w.var, "mean": average, **seconds, **named}
            if "(x - mean)" in text:
                own["mean"] = w.mean
            minus = -1 if text.startswith("-") else 1
            assert agree(c * t.times(w), minus * evaluated(text.lstrip("-"), w, **own), w), (name, words)


# Products, sums, and tables of them.


def factor(kind, words):
    return kind, words, lambda w: np.longdouble(2)


@pytest.mark.parametrize(
    ("constant", "words", "text"),
    [
        (1.0, ["sum dy", "/ std"], "sum dy / std"),
        (-1.0, ["sum dy", "/ std", "gamma"], "-sum dy gamma / std"),
        (2.5, ["gamma", "1", ""], "2.5 gamma"),
        (1.0, ["/ std", "1"], "1 / std"),
        (-1.0, [""], "-1"),
        (1 / 3, ["/ std"], "0.3333333 / std"),
        (0.0, ["gamma"], "0"),
    ],
)
def test_a_product_is_written_and_computed(constant, words, text):
    product = products.Product(constant, tuple(factor(str(i), word) for i, word in enumerate(words)))
    assert str(product) == text
    assert float(product.value(WORLDS["rank 2"])) == constant * 2 ** len(words)
    assert product.words() == {str(i): word for i, word in enumerate(words)}
    assert str(products.ZERO) == "0"
    assert float(products.ZERO.value(WORLDS["rank 2"])) == 0


def test_how_far_x_lies_and_the_sign_of_a_gamma_that_is_0():
    for w in WORLDS.values():
        most = np.abs(w.x).max(axes_of("NSL", w.x.ndim), keepdims=True)
        assert agree(products.far(w), most / np.sqrt(w.var + w.eps) + 1, w)
        zero = replace(w, gamma=0 * w.gamma)
        assert agree(products.GAMMAS["sign(gamma)"](zero), 1, w)
        assert np.isnan(products.GAMMAS["1/gamma"](zero)).all()
        assert all(np.isposinf(t.value(zero)).all() for t in terms.SCALES if t.words == "1/gamma")


def test_a_product_by_numbers():
    families = {"gamma": products.GAMMAS, "inverse": products.INVERSES}
    found = products.product_of([(3, 2.0), (0, -1.5)], families)
    assert (found.constant, found.words()) == (-3.0, {"gamma": "gamma^2", "inverse": "/ std"})


@pytest.mark.parametrize(
    ("constants", "text"),
    [
        ((1, 1), "mean + eps"),
        ((-1, 2), "-mean + 2 eps"),
        ((0.5, -1), "0.5 mean - eps"),
        ((1 / 3, -2.5), "0.3333333 mean - 2.5 eps"),
    ],
)
def test_a_sum_is_written_and_computed_in_tables_and_by_itself(constants, text):
    found = Formula(tuple(zip(map(float, constants), (terms.MEAN, terms.EPS), strict=True)))
    assert str(found) == text
    assert str(Formula(((0.25, terms.ONE),))) == "0.25"
    assert str(Formula()) == "0"
    several = [WORLDS["rank 4"], WORLDS["rank 2"]]
    expected = [np.broadcast_to(constants[0] * w.mean + constants[1] * w.eps, channels(w)) for w in several]
    assert all(agree(found.value(w), e, w) for w, e in zip(several, expected, strict=True))
    row = Table(several, [channels(w) for w in several])(found)
    assert np.allclose(row, np.concatenate([np.asarray(e, float).ravel() for e in expected]), rtol=1e-12)


def test_a_sum_of_terms_has_each_of_them_once():
    w = WORLDS["rank 4"]
    assert str(formula.of(terms.VAR, terms.EPS)) == "var + eps"
    assert agree(formula.of(terms.VAR, terms.EPS).value(w), w.var + w.eps, w)


def test_a_table_has_no_numbers_of_what_does_not_fit():
    several = list(WORLDS.values())
    table = Table(several, [channels(w) for w in several])
    assert np.isnan(table(lambda w: w.x)).all()
    assert np.isnan(table(lambda w: w.x[None])).all()
    product = terms.counted("m/(m - 1)", terms.VAR)
    expected = [np.ravel(w.var * w.m / (w.m - 1)) for w in several]
    assert np.allclose(table(product), np.concatenate(expected).astype(float), rtol=1e-12)
    assert table(product) is table(product)
    given = terms.weighed(terms.VAR, ["a"])[0]
    assert np.allclose(table(given), np.concatenate([np.ravel(w.var) * 0.2 for w in several]).astype(float), rtol=1e-12)
    assert [channels(w) for w in several] == [(1, 3), (1, 2, 1, 1), (1, 3, 1, 1, 1)]


def test_a_scale_that_is_left_alone_where_gamma_is_absent_is_1_there_and_another_is_not():
    scale = Formula(((3.0, terms.GAMMA),), if_given=True)
    absent = made((5, 3), affine=())
    assert agree(scale.value(absent), 1, absent)
    assert agree(Formula(scale.parts).value(absent), 3, absent)
    assert agree(scale.value(WORLDS["rank 2"]), 3 * WORLDS["rank 2"].gamma, WORLDS["rank 2"])
