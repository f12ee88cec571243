"""Formulas of dx, read off what plain NumPy programs return: each factor that there is, and none where there is none.

A program is one line beside the words that must be read; what was read must give what the program returns for inputs
that the reading has not seen. Not verified here: the names of formulas (`test_naming`, `test_mutants`), whole trials.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from test_terms import made

from refnorm.conventions import ROWS
from refnorm.golden import cases
from refnorm.golden.inputs import built
from refnorm.oracle.measure.read_dx import _read, _solved, read_dx
from refnorm.oracle.measure.read_forward import noise_in
from refnorm.oracle.measure.region import STANDARD, Region
from refnorm.oracle.worlds import world

SAMPLED = True  # see conftest.py

TORCH = ROWS["torch"]


class Seen(NamedTuple):
    """What a backward has at hand, statistics and parameters with axes of size 1."""

    x: np.ndarray
    g: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    eps: float

    @property
    def axes(self):
        return (0, *range(2, self.x.ndim))

    @property
    def m(self):
        return self.x.size // self.x.shape[1]

    @property
    def inv(self):
        return 1 / np.sqrt(self.var + self.eps)

    @property
    def d(self):
        return self.x - self.mean

    def average(self, values, axes=None):
        return values.mean(self.axes if axes is None else axes, keepdims=True)


def program(rule, w):
    """Return what a rule makes of a world's inputs, in float64."""
    own = (w.x, w.upstream, w.gamma, w.beta, w.mean, w.var)
    return rule(Seen(*(np.asarray(a, float) for a in own), w.eps))


def small(kind="float64"):
    every = [c for c in cases("backward", kind, convention="torch") if c.finite and not c.undefined and c.count > 3]
    usual = [c for c in every if c.situation.content not in ("constant", "integers") and c.eps > 0]
    return [c for c in usual if c.x.size <= 600 and c.situation.gamma not in ("zero", "all-zero", "tiny", "huge")]


CASES = [c for c in small() if abs(c.situation.centre) < 100 and 1e-3 < c.situation.spread < 1e3]
OTHERS = [replace(built(c.id, c.operation, c.kind, c.situation, c.seed // 100 + 500), held=False) for c in CASES[::3]]


def read(rule, regions=(), change=lambda w: w):
    """Return what is read first, which is what the program returns for other inputs."""
    worlds = [change(world(c, TORCH)) for c in CASES]
    with np.errstate(all="ignore"):  # as the oracle asks
        found = next(read_dx([(w, program(rule, w)) for w in worlds], regions), None)
    if found is not None:
        for w in (change(world(c, TORCH)) for c in OTHERS):
            expected = program(rule, w)
            scale = np.abs(expected).max() + 1e-300
            assert np.abs(np.asarray(found.value(w), float) - expected).max() <= 1e-9 * scale
    return found


def usual(s, own=1.0, first=1.0, second=1.0, gamma=lambda s: s.gamma, inverse=lambda s: s.inv):
    x_hat = s.d * s.inv
    return gamma(s) * inverse(s) * (own * s.g - first * s.average(s.g) - second * x_hat * s.average(s.g * x_hat))


DY, MEAN, X_HAT = "gamma / std dy", "mean dy gamma / std", "mean dy (x - mean) gamma / std^3 (x - mean)"


def test_there_are_cases_of_each_kind():
    assert len(CASES) > 15
    assert len(OTHERS) > 5
    assert {c.x.ndim for c in CASES} >= {2, 3, 4}
    assert any(not np.array_equal(a.x, b.x) for a, b in zip(CASES[::3], OTHERS, strict=True))


def test_the_definition_is_read():
    assert read(usual).words() == f"{DY} - {MEAN} - {X_HAT}"


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ((1, 1, 0), f"{DY} - {MEAN}"),
        ((1, 0, 1), f"{DY} - {X_HAT}"),
        ((0, 1, 1), f"-{MEAN} - {X_HAT}"),
        ((1, 0, 0), DY),
        ((0, 0, 0), "0"),
        ((-1, -1, -1), f"-{DY} + {MEAN} + {X_HAT}"),
        ((1, -1, 2), f"{DY} + {MEAN} - 2 {X_HAT}"),
        ((0.5, 1, 0.3), f"0.5 {DY} - {MEAN} - 0.3 {X_HAT}"),
    ],
)
def test_each_term_has_its_constant(factors, words):
    assert read(lambda s: usual(s, *factors)).words() == words


COUNTS = {
    "1/m": lambda s: 1 / s.m,
    "m": lambda s: s.m,
    "m/(m - 1)": lambda s: s.m / (s.m - 1),
    "m/N": lambda s: s.m / len(s.x),
    "1/C": lambda s: 1 / s.x.shape[1],
    "N": lambda s: len(s.x),
}


@pytest.mark.parametrize("words", COUNTS)
def test_each_term_has_its_counts(words):
    by = COUNTS[words]
    own, mean, x_hat = (f"gamma {words} / std dy", f"mean dy gamma {words} / std", X_HAT.replace("/", f"{words} /", 1))
    assert read(lambda s: usual(s, own=by(s))).words() == f"{own} - {MEAN} - {X_HAT}"
    assert read(lambda s: usual(s, first=by(s))).words() == f"{DY} - {mean} - {X_HAT}"
    assert read(lambda s: usual(s, second=by(s))).words() == f"{DY} - {MEAN} - {x_hat}"


GAMMAS = {
    "": lambda s: 1 + 0 * s.gamma,
    "|gamma|": lambda s: np.abs(s.gamma),
    "gamma^2": lambda s: s.gamma**2,
    "sign(gamma)": lambda s: np.sign(s.gamma),
    "1/gamma": lambda s: 1 / s.gamma,
}


@pytest.mark.parametrize("words", GAMMAS)
def test_what_stands_in_gammas_place_is_read(words):
    expected = f"{DY} - {MEAN} - {X_HAT}".replace("gamma ", f"{words} " if words else "")
    assert read(lambda s: usual(s, gamma=GAMMAS[words])).words() == ("1 " if not words else "") + expected


INVERSES = {
    "": (lambda s: 1 + 0 * s.inv, "gamma", " (/ std)^2"),
    "/ std^2": (lambda s: s.inv**2, "gamma / std^2", "/ std^2 (/ std)^2"),
    "std": (lambda s: 1 / s.inv, "std gamma", "/ std"),  # times 1/std^2
    "var": (lambda s: s.var, "var gamma", "var (/ std)^2"),
}


@pytest.mark.parametrize("words", INVERSES)
def test_what_stands_in_the_place_of_the_inverse_is_read(words):
    inverse, front, square = INVERSES[words]
    found = read(lambda s: usual(s, inverse=inverse))
    assert str(found.own) == front
    assert str(found.of_mean) == f"-mean dy {front}"
    assert found.of_x_hat.words()["squares"] == square


@pytest.mark.parametrize("words", INVERSES)
def test_what_stands_in_the_place_of_the_inverse_in_x_hat_is_read(words):
    inverse = INVERSES[words][0]

    def rule(s):
        x_hat = s.d * inverse(s)
        return s.gamma * s.inv * (s.g - s.average(s.g) - x_hat * s.average(s.g * x_hat))

    squares = {"": "/ std", "/ std^2": "/ std (/ std^2)^2", "std": "std", "var": "/ std (var)^2"}
    assert read(rule).of_x_hat.words()["squares"] == squares[words]


AXES = {
    " over N": lambda n: (0,),
    " over all": lambda n: tuple(range(n)),
    " of each sample": lambda n: tuple(range(1, n)),
    " of each sample and channel": lambda n: tuple(range(2, n)),
}


@pytest.mark.parametrize("words", AXES)
def test_means_over_other_axes_are_read(words):
    def rule(s):
        def over(values):
            axes = AXES[words](s.x.ndim)
            return values.mean(axes, keepdims=True) if axes else values

        return s.gamma * s.inv * (s.g - over(s.g)) - s.gamma * s.inv**3 * s.d * over(s.g * s.d)

    assert read(rule).words() == f"{DY} - {MEAN} - {X_HAT}".replace("mean dy", f"mean{words} dy")


ACROSS = {  # sums over several channels, in which it matters what is applied before them
    "dy": (lambda s: s.g, lambda s: 1),
    "gamma dy": (lambda s: s.gamma * s.g, lambda s: 1 / s.gamma),
}


@pytest.mark.parametrize(("divided", "factor"), [("mean", ""), ("by samples", "C/N "), ("sum", "C ")])
@pytest.mark.parametrize("words", ACROSS)
def test_sums_over_channels_are_read(words, divided, factor):
    before, behind = ACROSS[words]

    def rule(s):
        def over(values):
            count = {"mean": s.x.shape[1], "by samples": len(s.x), "sum": 1}[divided]
            return behind(s) * values.sum(1, keepdims=True) / count

        x_hat = s.d * s.inv
        return s.gamma * s.inv * (s.g - over(before(s)) - x_hat * over(before(s) * x_hat))

    found, scale = read(rule), "gamma " if words == "dy" else ""
    assert str(found.of_mean) == f"-mean over C {words} {scale}{factor}/ std"
    assert str(found.of_x_hat) == f"-mean over C {words} x_hat {scale}{factor}/ std^2"


def across(s):
    """Return a dx whose sums run over channels."""
    return s.gamma * s.inv * (s.g - s.average(s.g, 1) - s.d * s.inv * s.average(s.g * s.d * s.inv, 1))


ACROSS_WORDS = f"{DY} - mean over C dy gamma / std - mean over C dy x_hat gamma / std^2 (x - mean)"


@pytest.mark.parametrize("times", [0.97, 1.03])
def test_sums_over_channels_may_leave_eight_times_the_noise_of_a_value(times):
    worlds = [world(c, TORCH) for c in CASES]

    def row(rule):
        return np.concatenate([np.ravel(program(rule, w)) for w in worlds])

    def noise(s):
        far = np.abs(s.x).max(s.axes, keepdims=True) * s.inv + 1
        return 8 * noise_in("float64") * np.abs(s.gamma * s.inv) * np.abs(s.g).max() * far**2 + 0 * s.x

    of_mean = row(lambda s: s.gamma * s.inv * s.average(s.g, 1) + 0 * s.x)
    of_x_hat = row(lambda s: s.gamma * s.inv * s.g - across(s)) - of_mean
    columns = np.stack([of_mean, of_x_hat], axis=1) / row(noise)[:, None]
    rest = np.random.default_rng(0).choice([1.0, -1.0], len(columns))
    rest -= columns @ np.linalg.lstsq(columns, rest)[0]
    off = np.split(row(across) + times * row(noise) * rest / np.abs(rest).max(), np.cumsum([w.x.size for w in worlds]))
    seen = [(w, dx.reshape(w.x.shape)) for w, dx in zip(worlds, off[:-1], strict=True)]
    assert [found.words() for found in read_dx(seen)] == [ACROSS_WORDS] * (times < 1)


@pytest.mark.parametrize(("rule", "words"), [(usual, f"{DY} - {MEAN} - {X_HAT}"), (across, ACROSS_WORDS)])
def test_a_channel_of_gamma_0_says_nothing(rule, words):
    zero = [c for c in cases("backward", "float64") if c.situation.gamma == "zero" and c.x.size <= 600]
    worlds = [world(c, TORCH) for c in [*CASES, *zero]]
    assert any(np.any(w.gamma == 0) for w in worlds)
    assert [found.words() for found in read_dx([(w, program(rule, w)) for w in worlds])] == [words]


def test_means_of_shards_are_read():
    def equally(s, values):
        cut = (len(values) + 1) // 2
        return np.mean([s.average(p) for p in (values[:cut], values[cut:]) if len(p)], axis=0)

    def rule(s):
        x_hat = s.d * s.inv
        return s.gamma * s.inv * (s.g - equally(s, s.g) - x_hat * equally(s, s.g * x_hat))

    expected = f"{DY} - {MEAN} - {X_HAT}".replace("mean dy", "mean of the shards' means of dy")
    assert read(rule).words() == expected


def test_another_divisor_of_the_backward_is_read():
    twice = read(lambda s: usual(s._replace(eps=2 * s.eps)))
    assert str(twice.divisor) == "std^2 = var + 2 eps"
    assert twice.words() == f"{DY} - {MEAN} - {X_HAT}"
    missing = read(lambda s: usual(s._replace(eps=0), gamma=lambda s: 1))
    assert str(missing.divisor) == "std^2 = var"
    assert missing.words() == "1 " + f"{DY} - {MEAN} - {X_HAT}".replace("gamma ", "")


def level(w):
    """Return the world in whose first channel dy does not go with x: mean dy (x - mean) is a rounding away from 0."""
    d = w.x - w.mean
    upstream = w.upstream - d * w.average(w.upstream * d) / w.average(d * d)
    return replace(w, upstream=np.where(np.arange(w.gamma.size).reshape(w.gamma.shape) == 0, upstream, w.upstream))


WITHIN = {
    "/ std / (var + 3 eps)": lambda s: s.var + 3 * s.eps,
    "/ std / (sqrt(var) + eps)^2": lambda s: (np.sqrt(s.var) + s.eps) ** 2,
    "/ std / (var + eps)^0.666667": lambda s: np.cbrt(s.var + s.eps) ** 2,
}


@pytest.mark.parametrize("words", WITHIN)
@pytest.mark.parametrize("sign", [1, -1])
def test_another_variance_within_x_hat_is_read(words, sign):
    def rule(s):
        return s.gamma * s.inv * (s.g - s.average(s.g) - sign * s.d * s.average(s.g * s.d) / WITHIN[words](s))

    expected = f"{DY} - {MEAN} {'-' if sign > 0 else '+'} {X_HAT}".replace("/ std^3", words)
    found = read(rule)
    assert found.words() == expected
    assert found.divisor is None
    assert read(rule, change=level).words() == expected


def test_a_variance_within_x_hat_of_three_terms_is_not_read():
    def rule(s):
        return s.gamma * s.inv * (s.g - s.average(s.g) - s.d * s.average(s.g * s.d) / (s.var + 3 * s.eps + 0.5))

    assert read(rule) is None


SECOND = {  # beside the mean of dy, or beside x - mean: what it is, and a program of it
    f"{DY} - {MEAN} + 0.5 mean dy (x - mean) mean gamma / std^3 - {X_HAT}": lambda s: (
        usual(s) + 0.5 * s.mean * s.gamma * s.inv**3 * s.average(s.g * s.d)
    ),
    f"{DY} - {MEAN.replace('gamma', 'gamma 1/m')} - 2 mean dy x gamma / std^3 - {X_HAT}": lambda s: (
        usual(s, first=1 / s.m) - 2 * s.gamma * s.inv**3 * s.average(s.g * s.x)
    ),
    f"{DY} - {MEAN} - {X_HAT} + mean dy gamma / std^2 (x - mean)": lambda s: (
        usual(s) + s.d * s.gamma * s.inv**2 * s.average(s.g)
    ),
    f"{DY} - {MEAN.replace('gamma', 'gamma 1/m')} - {MEAN} - {X_HAT}": lambda s: usual(s, first=1 + 1 / s.m),
}


@pytest.mark.parametrize("words", SECOND)
def test_a_second_product_is_read(words):
    assert read(SECOND[words]).words() == words


def test_sums_of_some_values_are_read():
    def half(values):
        return values[: (len(values) + 1) // 2]

    def rule(s):
        x_hat = s.d * s.inv
        return s.gamma * s.inv * (s.g - s.average(half(s.g)) - x_hat * s.average(half(s.g * x_hat)))

    found = read(rule)
    assert found.of_mean.words()["part"] == "mean dy of the first half of the samples"
    assert found.of_x_hat.words()["part"] == "mean dy (x - mean) of the first half of the samples"

    def of_all(s):
        total = half(s.g).sum(s.axes, keepdims=True) / s.m
        return s.gamma * s.inv * (s.g - total - s.d * s.inv * s.average(s.g * s.d * s.inv))

    assert read(of_all).of_mean.words()["part"] == "sum dy of the first half of the samples / m"


def test_what_has_no_formula_is_not_read():
    assert read(lambda s: usual(s) * np.cos(s.x)) is None
    assert read(lambda s: usual(s, gamma=lambda s: np.cos(s.gamma))) is None
    assert read(lambda s: np.tanh(usual(s))) is None
    assert read(lambda s: usual(s) + np.median(s.x)) is None


def instance(w):
    """Return the world whose statistics are those of each sample and channel."""
    axes = tuple(range(2, w.x.ndim))
    mean = w.x.mean(axes, keepdims=True) if axes else w.x
    var = ((w.x - mean) ** 2).mean(axes, keepdims=True) if axes else 0 * w.x
    return replace(w, mean=mean, var=var)


def test_a_divisor_is_read_where_every_gamma_is_negative():
    found = read(lambda s: usual(s._replace(eps=2 * s.eps)), change=lambda w: replace(w, gamma=-np.abs(w.gamma)))
    assert str(found.divisor) == "std^2 = var + 2 eps"
    assert found.words() == f"{DY} - {MEAN} - {X_HAT}"


def test_in_a_world_of_another_centre_x_hat_is_about_that_one():
    found = read(usual, change=lambda w: replace(w, mean=w.mean + 0.75))
    assert found.words() == f"{DY} - {MEAN} - {X_HAT}"


@pytest.mark.parametrize("by", [2.0**60, 2.0**-60])
def test_x_may_be_of_any_size_beside_dy(by):
    def scaled(w):
        return replace(w, x=w.x * by, mean=w.mean * by, var=w.var * by * by, eps=w.eps * by * by)

    assert read(lambda s: usual(s, own=0.5), change=scaled).words() == f"0.5 {DY} - {MEAN} - {X_HAT}"


def test_groups_that_share_statistics_have_their_own_means():
    def rule(s):
        def over(values):
            axes = tuple(range(2, s.x.ndim))
            return values.mean(axes, keepdims=True) if axes else values

        x_hat = s.d * s.inv
        return s.gamma * s.inv * (s.g - over(s.g) - x_hat * over(s.g * x_hat))

    found = read(rule, (Region("SL"),), instance)
    assert found.words() == f"{DY} - {MEAN} - {X_HAT}".replace("mean dy", "mean of each sample and channel dy")


@pytest.mark.parametrize(("rule", "words"), [(usual, f"{DY} - {MEAN} - {X_HAT}"), (across, ACROSS_WORDS)])
def test_cases_that_are_not_finite_or_of_few_values_are_passed_over(rule, words):
    worlds = [world(c, TORCH) for c in CASES]
    spoilt = [(w, np.full(w.x.shape, np.nan)) for w in worlds[:3]]
    names = ("one-value", "two-values", "three-values")
    few = [world(c, TORCH) for name in names for c in cases("backward", "float64", name, "torch")]
    assert {w.m for w in few} == {1, 2, 3}
    wrong = [(w, 0 * w.x + 7) for w in few]
    right = [(w, program(rule, w)) for w in worlds]
    assert [found.words() for found in read_dx([*spoilt, *wrong, *right])] == [words]
    assert not list(read_dx([*right, (worlds[0], program(rule, worlds[0]) + np.cos(7 * worlds[0].x))]))
    assert not list(read_dx([]))
    assert not list(read_dx(right[:1]))


def test_two_cases_tell_means_of_channels_but_not_sums_over_them():
    worlds = [world(c, TORCH) for c in CASES[:2]]
    found = read_dx([(w, program(usual, w)) for w in worlds])
    assert [dx.words() for dx in found] == [f"{DY} - {MEAN} - {X_HAT}"]
    assert not list(read_dx([(w, program(across, w)) for w in worlds]))


@pytest.mark.parametrize("samples", [3, 4])
def test_four_values_tell_what_dy_and_x_are_multiplied_by_and_three_do_not(samples):
    w = made((samples, 5))
    found, noise = _solved(w, w.gamma * (2 * w.upstream - 3 + 4 * w.x), STANDARD)
    expected = np.asarray(np.stack([2 * w.gamma[0], (4 * w.mean - 3)[0] * w.gamma[0], 4 * w.gamma[0]]), float)
    assert bool(found.size) == bool(noise.size) == (samples == 4)
    assert samples == 3 or np.all(np.abs(found - expected) <= noise)


@pytest.mark.parametrize("value", [0.0, 3.0, 1e200])
def test_a_constant_channel_tells_nothing_and_hides_nothing(value):
    def still(w):
        first = np.arange(w.gamma.size).reshape(w.gamma.shape) == 0
        x, mean, var = (np.where(first, v, own) for v, own in ((value, w.x), (value, w.mean), (0.0, w.var)))
        return replace(w, x=x, mean=mean, var=var)

    assert read(lambda s: usual(s, second=0), change=still).words() == f"{DY} - {MEAN}"
    assert read(lambda s: usual(s, 0, 0), change=still).words() == f"-{X_HAT}"
    words = next(words for words in SECOND if words.endswith(" + mean dy gamma / std^2 (x - mean)"))
    assert read(SECOND[words], change=still).words() == words


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_narrow_formats_are_read_as_well(kind):
    chosen = [c for c in small(kind) if abs(c.situation.centre) < 10 and 0.1 < c.situation.spread < 10]
    worlds = [world(c, TORCH) for c in chosen if c.parameters == kind]
    dtype = np.dtype(kind)
    found = next(read_dx([(w, program(usual, w).astype(dtype)) for w in worlds]))
    assert found.words() == f"{DY} - {MEAN} - {X_HAT}"


def test_results_may_be_off_by_roundings_but_no_further():
    worlds = [world(c, TORCH) for c in CASES]
    right = [(w, program(usual, w)) for w in worlds]
    for ulps, expected in ((30, 1), (1e5, 0)):
        rng = np.random.default_rng(0)
        off = [(w, dx + ulps * 2.0**-53 * np.abs(dx).max() * rng.uniform(-1, 1, dx.shape)) for w, dx in right]
        found = [f.words() for f in read_dx(off)]
        assert found == [f"{DY} - {MEAN} - {X_HAT}"] * expected


@pytest.mark.parametrize("times", [7.99, 8.01])
def test_what_is_left_in_a_channel_may_be_eight_times_its_noise(times):
    rng = np.random.default_rng(1)
    for w in [world(c, TORCH) for c in CASES if c.count > 7]:
        w = replace(w, x=w.x + 100, mean=w.mean + 100)
        others = tuple(a for a in range(w.x.ndim) if a != 1)
        dx = usual(Seen(w.x, w.upstream, w.gamma, w.beta, w.mean, w.var, w.eps)).astype(float)
        g, d = (np.moveaxis(np.asarray(a, float), 1, 0).reshape(len(dx[0]), -1) for a in (w.upstream, w.x - w.mean))
        columns = np.stack([g, np.ones_like(g), d], axis=-1)
        rest = rng.standard_normal(g.shape)
        rest -= np.stack([c @ np.linalg.lstsq(c, r)[0] for c, r in zip(columns, rest, strict=True)])
        front = np.abs(np.asarray(w.gamma * w.inv, float).reshape(-1))
        x_hat = np.abs(np.asarray(w.inv**2, float).reshape(-1) * np.mean(g * d, axis=1)) * np.abs(d).max(axis=1)
        largest = front * np.max([np.abs(g).max(axis=1), np.abs(g.mean(axis=1)), x_hat], axis=0)
        far = np.abs(np.asarray(w.x, float)).max(others) / np.abs(d).max(axis=1)
        noise = noise_in("float64") * (1 + far / 64) * (np.abs(dx).max(others) + largest)
        off = rest / np.abs(rest).max(axis=1, keepdims=True) * times * noise[:, None]
        moved = np.moveaxis(off.reshape(np.moveaxis(dx, 1, 0).shape), 0, 1)
        assert (_solved(w, np.asarray(dx + moved, np.longdouble), STANDARD) is not None) == (times < 8)


def first_half(values):
    return values[: (len(values) + 1) // 2]


def of(w, values, square=None):
    """Return what x - mean is multiplied by, from the mean of some values of dy (x - mean)."""
    return w.gamma * w.inv / (w.var + w.eps if square is None else square) * values.mean(w.axes, keepdims=True)


COEFFICIENTS = {  # of dy, of 1, or of x - mean: what is read, and what it is
    DY: (0, lambda w: w.gamma * w.inv),
    f"|{DY[:5]}|{DY[5:]}": (0, lambda w: np.abs(w.gamma) / np.sqrt(w.var + 2 * w.eps)),
    MEAN: (1, lambda w: w.gamma * w.inv * w.upstream.mean(w.axes, keepdims=True)),
    f"{MEAN[:7]} of the first half of the samples{MEAN[7:]}": (
        1,
        lambda w: w.gamma * w.inv * first_half(w.upstream).mean(w.axes, keepdims=True),
    ),
    X_HAT: (2, lambda w: of(w, w.upstream * (w.x - w.mean))),
    X_HAT.replace(") ", ") of the first half of the samples ", 1): (
        2,
        lambda w: of(w, first_half(w.upstream * (w.x - w.mean))),
    ),
    X_HAT.replace("/ std^3", "/ std / (var + 3 eps)"): (
        2,
        lambda w: of(w, w.upstream * (w.x - w.mean), w.var + 3 * w.eps),
    ),
    f"{MEAN} + 0.5 mean dy (x - mean) mean gamma / std^3": (
        1,
        lambda w: (
            w.gamma * w.inv * w.upstream.mean(w.axes, keepdims=True) + 0.5 * w.mean * of(w, w.upstream * (w.x - w.mean))
        ),
    ),
}


@pytest.mark.parametrize("words", COEFFICIENTS)
@pytest.mark.parametrize("times", [0.7, 1.3])
def test_what_dy_1_and_x_are_multiplied_by_may_each_be_off_by_its_own_noise(words, times):
    row, of_world = COEFFICIENTS[words]
    rng, off = np.random.default_rng(0), []
    for w in (replace(world(c, TORCH), eps=rng.uniform(0.3, 2)) for c in CASES):  # eps tells in every case
        found, noise = np.zeros((2, 3, w.gamma.size))
        found[row] = of_world(w).reshape(-1)
        noise[row] = 1e-7 * np.abs(found[row])
        off.append((w, found + times * noise * rng.choice([1, -1], w.gamma.size), noise))
    with np.errstate(all="ignore"):
        read = [(found.words(), str(found.divisor)) for found in _read(off, STANDARD)]
    divisor = "std^2 = var + 2 eps" if words.startswith("|") else "None"
    assert read == [(words, divisor)] * (times < 1)
