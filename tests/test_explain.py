"""What explains a quantity: a formula of its own, or what follows from the map that y was found to be.

Programs are plain NumPy, their exact gradients complex steps through the forward. What explains must give what the
program returns for inputs that were not seen. Not verified here: which explanation is chosen in a trial, in words and
with its neighbours (`test_mutants`, `test_formulas`), second-order quantities (`test_oracle_second_order`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.golden import cases
from refnorm.golden.directions import directions
from refnorm.golden.inputs import built
from refnorm.oracle.circumstances import Circumstance
from refnorm.oracle.measure.explain import explanations
from refnorm.oracle.worlds import world

SAMPLED = True  # see conftest.py

TORCH, KERAS = ROWS["torch"], ROWS["keras"]


class Inputs(NamedTuple):
    """What a program is given: parameters and running statistics with axes of size 1."""

    x: np.ndarray
    dy: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    running_mean: np.ndarray
    running_var: np.ndarray
    momentum: float
    eps: float

    def average(self, values):
        return values.mean((0, *range(2, self.x.ndim)), keepdims=True)

    def total(self, values):
        return values.sum((0, *range(2, self.x.ndim)))

    @property
    def m(self):
        return self.x.size // self.x.shape[1]

    @property
    def mean(self):
        return self.average(self.x)

    @property
    def var(self):
        return self.average((self.x - self.mean) ** 2)


def inputs_of(case):
    shape = (1, -1) + (1,) * (case.x.ndim - 2)
    gamma = np.ones(case.x.shape[1]) if case.gamma is None else case.gamma
    beta = np.zeros(case.x.shape[1]) if case.beta is None else case.beta
    wide = (a.reshape(shape) for a in (gamma, beta, case.running_mean, case.running_var))
    return Inputs(case.x, case.dy, *wide, case.momentum, case.eps)


def small(operation, kind="float64"):
    every = [c for c in cases(operation, kind, convention="torch") if c.finite and not c.undefined]
    plain = [c for c in every if c.situation.content not in ("constant", "integers") and c.eps > 0 and c.count > 3]
    usual = [c for c in plain if c.x.size <= 200 and c.situation.gamma in ("signed", "absent")]
    return [c for c in usual if abs(c.situation.centre) < 100 and 0.1 < c.situation.spread < 10]


def others(some):
    """Return some cases with other numbers."""
    return [replace(built(c.id, c.operation, c.kind, c.situation, c.seed // 100 + 900), held=False) for c in some]


TRAINING, INFERENCE = small("training"), small("inference")
STEPS = [c for c in TRAINING if len(c.batches) > 1]


def stepped(case, rule, batches=None):
    """Return running mean and variance after all batches, or these, by a rule of one step."""
    own = inputs_of(case)
    for batch in case.batches if batches is None else batches:
        own = own._replace(x=batch)
        mean, var = rule(own)
        shape = own.running_mean.shape
        own = own._replace(running_mean=mean.reshape(shape), running_var=var.reshape(shape))
    return own.running_mean.reshape(-1), own.running_var.reshape(-1)


def returned(case, rule):
    return np.asarray(rule(inputs_of(case)), float)


def meets(explanation, case, expected, row=TORCH):
    with np.errstate(all="ignore"):
        try:
            value = np.broadcast_to(np.asarray(explanation.value(world(case, row)), float), expected.shape)
        except ValueError:
            return False
        return bool(np.all(np.abs(value - expected) <= 1e-9 * (np.abs(expected).max() + 1e-12)))


def explained(quantity, rule, given=(), row=TORCH, result=returned):
    """Return the first explanation that gives what a program returns; it does so for other inputs, too."""
    inference = quantity.startswith("frozen") or quantity == "y, inference"
    chosen = [c for c in (INFERENCE if inference else TRAINING) if c.undefined == ""]
    pairs = [(c, result(c, rule)) for c in chosen]
    seen = [(world(c, row), value) for c, value in pairs]
    with np.errstate(all="ignore"):
        found = next(
            (e for e in explanations(quantity, seen, row, given) if all(meets(e, *p, row) for p in pairs)), None
        )
    if found is not None:
        for c in others(chosen):
            assert meets(found, c, result(c, rule), row), c.id
    return found


def names(explanation):
    return [c.name for c in explanation.causes]


def offered(quantity, rule, given=(), result=returned):
    """Return all that is offered to explain what a program returns, and the cases."""
    inference = quantity.startswith("frozen") or quantity == "y, inference"
    pairs = [(c, result(c, rule)) for c in (INFERENCE if inference else TRAINING)]
    with np.errstate(all="ignore"):
        found = list(explanations(quantity, [(world(c, TORCH), value) for c, value in pairs], TORCH, given))
    return found, pairs


def unbiased(s):
    return s.mean, s.var * s.m / (s.m - 1) + s.eps


def twice(s):
    return s.mean, s.var + 2 * s.eps


def layer(s):
    axes = tuple(range(1, s.x.ndim))
    mean = s.x.mean(axes, keepdims=True)
    return mean, ((s.x - mean) ** 2).mean(axes, keepdims=True) + s.eps


def half(s):
    some = s._replace(x=s.x[: (len(s.x) + 1) // 2])
    return some.mean, some.var + s.eps


def of_running(s):
    return s.running_mean, s.running_var + s.eps


def absolute(s):
    return np.sqrt(s.gamma * s.gamma)


def y_of(statistics, scale=lambda s: s.gamma, shift=lambda s: s.beta):
    """Return a program of y by the centre and the square of the divisor."""

    def y(s):
        centre, square = statistics(s)
        return scale(s) * (s.x - centre) / np.sqrt(square) + shift(s)

    return y


def gradient(y, name):
    """Return sum dy dy/dx, or for a parameter, by a complex step in each of its values."""

    def derivative(s):
        values = getattr(s, name)
        found = np.zeros(values.shape)
        for i in np.ndindex(values.shape):
            moved = values.astype(complex)
            moved[i] += 1e-30j
            found[i] = np.sum(s.dy * y(s._replace(**{name: moved})).imag) / 1e-30
        return found if name == "x" else found.reshape(-1)

    return derivative


def usual_dx(statistics, average=lambda s, values: s.average(values), inverse=None):
    """Return a program of dx by the usual formula, with the statistics of a map."""

    def dx(s):
        centre, square = statistics(s)
        inv = 1 / np.sqrt(square)
        x_hat = (s.x - centre) * inv
        front = inv if inverse is None else inverse(s)
        return s.gamma * front * (s.dy - average(s, s.dy) - x_hat * average(s, s.dy * x_hat))

    return dx


MAPS = {
    "normalised-by-unbiased-variance": unbiased,
    "eps-twice": twice,
    "layer-statistics": layer,
    "statistics-of-some-values": half,
}


def found_map(name):
    return explained("y, training", y_of(MAPS[name]))


def test_there_are_cases_of_each_kind():
    assert len(TRAINING) > 10
    assert len(INFERENCE) > 5
    assert STEPS
    assert any(not np.array_equal(a.x, b.x) for a, b in zip(TRAINING, others(TRAINING), strict=True))


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_read_off_y(name):
    found = found_map(name)
    assert names(found) == [name]
    assert found.forward is not None
    assert not found.frozen
    assert found.circumstance is None
    assert (found.forward.part is not None) == (name == "statistics-of-some-values")


@pytest.mark.parametrize("quantity", ["y, inference", "frozen y"])
def test_a_map_of_inference_is_frozen(quantity):
    found = explained(quantity, y_of(lambda s: (s.running_mean, s.running_var + 2 * s.eps)))
    assert names(found) == ["eps-twice"]
    assert found.forward is not None
    assert found.frozen


@pytest.mark.parametrize("name", MAPS)
def test_dx_and_dgamma_follow_as_derivatives_of_the_map(name):
    given = [found_map(name)]
    y = y_of(MAPS[name])
    assert names(explained("dx", gradient(y, "x"), given)) == [name]
    assert names(explained("dgamma", gradient(y, "gamma"), given)) == [name]
    alone = explained("dx", gradient(y, "x"))
    expected = {
        "eps-twice": ["eps-twice"],
        "normalised-by-unbiased-variance": ["normalised-by-unbiased-variance", "dx-unbiased-variance-term"],
    }
    assert (alone and names(alone)) == expected.get(name)


@pytest.mark.parametrize("name", ["eps-twice", "normalised-by-unbiased-variance"])
def test_dx_follows_by_the_usual_formula(name):
    assert names(explained("dx", usual_dx(MAPS[name]), [found_map(name)])) == [name]


def test_dx_follows_with_means_over_what_the_maps_statistics_are_of():
    def of_samples(s, values):
        return values.mean(tuple(range(1, s.x.ndim)), keepdims=True)

    def of_half(s, values):
        return s.average(np.broadcast_to(values, s.x.shape)[: (len(s.x) + 1) // 2])

    assert names(explained("dx", usual_dx(layer, of_samples), [found_map("layer-statistics")])) == ["layer-statistics"]
    given = [found_map("statistics-of-some-values")]
    assert names(explained("dx", usual_dx(half, of_half), given)) == ["statistics-of-some-values"]


def test_dx_follows_where_x_hat_alone_is_the_maps():
    name = "normalised-by-unbiased-variance"
    dx = usual_dx(unbiased, inverse=lambda s: 1 / np.sqrt(s.var + s.eps))
    assert names(explained("dx", dx, [found_map(name)])) == [name]


def test_gradients_of_parameters_follow_from_scale_and_shift():
    def plain(s):
        return s.mean, s.var + s.eps

    y = y_of(plain, absolute)
    given = [explained("y, training", y)]
    assert names(given[0]) == ["gamma-absolute"]
    assert names(explained("dgamma", gradient(y, "gamma"), given)) == ["gamma-absolute"]
    scaled = y_of(plain, shift=lambda s: s.gamma * s.beta)
    given = [explained("y, training", scaled)]
    assert names(given[0]) == ["beta-scaled"]
    assert names(explained("dbeta", gradient(scaled, "beta"), given)) == ["beta-scaled"]
    assert names(explained("dgamma", gradient(scaled, "gamma"), given)) == ["beta-scaled"]


def stored(statistics, row):
    """Return a program that stores a map's own mean, and its variance as the row corrects it."""

    def step(s):
        old, new = (float(w) for w in row.weights(s.momentum))
        centre, square = statistics(s)
        var = (square - (2 if statistics is twice else 1) * s.eps) * s.m / (s.m - row.correction)
        mean = s.average(np.broadcast_to(centre, s.x.shape))
        return old * s.running_mean + new * mean, old * s.running_var + new * s.average(0 * s.x + var)

    return step


@pytest.mark.parametrize("row", [TORCH, KERAS], ids=lambda row: row.name)
@pytest.mark.parametrize("name", ["normalised-by-unbiased-variance", "layer-statistics", "statistics-of-some-values"])
def test_running_statistics_follow_from_the_maps_own(name, row):
    given = [explained("y, training", y_of(MAPS[name]), row=row)]
    for i, quantity in enumerate(("running mean", "running variance")):
        found = explained(quantity, stored(MAPS[name], row), given, row, lambda c, rule, i=i: stepped(c, rule)[i])
        if name != "normalised-by-unbiased-variance" or quantity != "running mean":  # else it is right
            assert names(found) == [name]


def test_what_a_map_of_moving_statistics_stores_follows_through_all_steps():
    def updated(s):
        a = s.momentum
        return (1 - a) * s.running_mean + a * s.mean, (1 - a) * s.running_var + a * s.var * s.m / (s.m - 1) + s.eps

    def last(c, rule):
        before = [arrays.reshape(inputs_of(c).running_mean.shape) for arrays in stepped(c, moved, c.batches[:-1])]
        return np.asarray(rule(inputs_of(c)._replace(running_mean=before[0], running_var=before[1])), float)

    def moved(s):
        a = s.momentum
        return (1 - a) * s.running_mean + a * s.mean, (1 - a) * s.running_var + a * s.var * s.m / (s.m - 1)

    def twice_moved(s):
        mean, var = moved(s)
        return (1 - s.momentum) * s.running_mean + s.momentum * mean, var

    given = [explained("y, training", y_of(updated), result=last)]
    assert names(given[0]) == ["updated-statistics-in-training"]
    found = explained("running mean", twice_moved, given, result=lambda c, rule: stepped(c, rule)[0])
    assert names(found) == ["updated-statistics-in-training"]


def test_another_y_of_the_same_kind_follows_from_the_map():
    y = y_of(twice)
    again = explained("y, training", y, [found_map("eps-twice")])
    assert names(again) == ["eps-twice"]
    assert again.forward is None
    stored_twice = y_of(lambda s: (s.running_mean, s.running_var + 2 * s.eps))
    given = [explained("y, inference", stored_twice)]
    for quantity in ("y, inference", "frozen y"):
        follows = explained(quantity, stored_twice, given)
        assert names(follows) == ["eps-twice"]
        assert follows.forward is None
    assert explained("frozen y", stored_twice, [found_map("eps-twice")]).forward is not None
    assert explained("y, training", y, given).forward is not None


def test_frozen_gradients_follow_from_the_map_of_inference():
    def stored_twice(s):
        return s.running_mean, s.running_var + 2 * s.eps

    y = y_of(stored_twice)
    given = [explained("frozen y", y)]
    assert names(explained("frozen dx", gradient(y, "x"), given)) == ["eps-twice"]
    assert names(explained("frozen dgamma", gradient(y, "gamma"), given)) == ["eps-twice"]
    trained = [found_map("eps-twice")]
    assert "eps-twice" not in names(explained("frozen dx", lambda s: 2 * gradient(y, "x")(s), trained))


def along(case, y):
    """Return the derivative of y along the directions of a case, by a complex step."""
    own, towards = inputs_of(case), directions(case)
    for name, step in {"x": towards.dx, "gamma": towards.dgamma, "beta": towards.dbeta}.items():
        if step is not None:
            values = getattr(own, name)
            own = own._replace(**{name: values + 1e-30j * np.reshape(step, values.shape)})
    return y(own).imag / 1e-30


def stored_twice(s):
    return s.running_mean, s.running_var + 2 * s.eps


def of_directions(times=1):
    """Return what the double backward of dgamma is where eps is added twice to the running variance."""
    return lambda c, statistics: (
        times * inputs_of(c).total(directions(c).dx * c.dy) / np.sqrt(statistics(inputs_of(c))[1]).reshape(-1)
    )


@pytest.mark.parametrize(
    ("quantity", "rule", "result"),
    [
        ("dx", usual_dx(twice), returned),
        ("jvp", y_of(twice), along),
        ("frozen dx", gradient(y_of(stored_twice), "x"), returned),
        ("frozen jvp", y_of(stored_twice), along),
        ("frozen double backward dgamma", stored_twice, of_directions()),
    ],
)
def test_what_follows_from_a_map_by_the_usual_formula_is_offered_first(quantity, rule, result):
    frozen = quantity.startswith("frozen")
    given = [explained("frozen y", y_of(stored_twice)) if frozen else found_map("eps-twice")]
    (first, *_), pairs = offered(quantity, rule, given, result)
    assert names(first) == ["eps-twice"]
    assert all(meets(first, *pair) for pair in pairs)


def test_second_order_is_read_on_top_of_a_map_and_alone():
    quantity, given = "frozen double backward dgamma", [explained("frozen y", y_of(stored_twice))]
    for statistics, before in ((stored_twice, given), (of_running, [])):
        found, pairs = offered(quantity, statistics, before, of_directions(3))
        (tripled,) = (e for e in found if all(meets(e, *pair) for pair in pairs))
        assert "3" in tripled.causes[0].measured


def test_a_dbeta_that_is_right_does_not_follow_from_a_shift_that_is_wrong():
    scaled = y_of(lambda s: (s.mean, s.var + s.eps), shift=lambda s: s.gamma * s.beta)
    assert explained("dbeta", lambda s: s.total(s.dy), [explained("y, training", scaled)]) is None


@pytest.mark.parametrize("quantity", ["y, training", "y, inference", "frozen y"])
def test_another_value_in_the_place_of_eps_is_told_by_a_single_case(quantity):
    training = quantity == "y, training"
    case = next(c for c in (TRAINING if training else INFERENCE) if c.x.shape[1] < 4)

    def statistics(s):
        mean, var = (s.mean, s.var) if training else (s.running_mean, s.running_var)
        return mean, var + np.sqrt(s.eps)

    y = y_of(statistics)
    with np.errstate(all="ignore"):
        read = explanations(quantity, [(world(case, TORCH), returned(case, y))], TORCH, [])
        found = next(e for e in read if "+ sqrt(eps)" in e.causes[0].measured)
    assert meets(found, case, returned(case, y))
    assert (found.forward, found.frozen) == (None, not training)
    assert np.allclose(np.asarray(found.change(world(case, TORCH)).y, float), returned(case, y))


def test_of_no_case_nothing_is_read():
    assert all(e.forward is None for e in explanations("y, training", [], TORCH, []))
    assert list(explanations("dgamma", [], TORCH, [])) == []
    assert list(explanations("frozen dx", [], TORCH, [])) == []  # no batch moves what it is by


def test_frozen_gradients_do_not_follow_from_the_map_of_training():
    scaled = y_of(lambda s: (s.mean, s.var + s.eps), shift=lambda s: s.gamma * s.beta)
    given = [explained("y, training", scaled)]
    assert names(given[0]) == ["beta-scaled"]
    assert names(explained("frozen dbeta", gradient(scaled, "beta"), given)) == ["dbeta-times-gamma"]


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_products_of_the_double_backward_that_are_rounded_before_they_are_summed_are_named(kind):
    chosen = [c for c in small("inference", kind) if c.parameters == kind]
    assert len(chosen) > 4
    seen = []
    for c in chosen:
        products = np.asarray(directions(c).dx).astype(kind) * c.dy.astype(kind)
        seen.append((c, inputs_of(c).total(products.astype(float)) / np.sqrt(c.running_var + c.eps)))
    quantity = "frozen double backward dgamma"
    offered = explanations(quantity, [(world(c, TORCH), value) for c, value in seen], TORCH, [])
    found = [names(e) for e in offered if all(meets(e, *pair) for pair in seen)]
    assert found == [["double-backward-products-rounded"]]


def test_what_is_wrong_in_dx_is_read_in_the_world_of_the_map():
    def dx(s):
        centre, square = layer(s)
        x_hat = (s.x - centre) / np.sqrt(square)
        means = (s.dy * x_hat).mean(tuple(range(1, s.x.ndim)), keepdims=True)
        return s.gamma / np.sqrt(square) * (s.dy - x_hat * means)

    found = explained("dx", dx, [found_map("layer-statistics")])
    assert names(found) == ["other-dx"]
    assert found.causes[0].measured == "dx = gamma / std (dy - x_hat mean of each sample (dy x_hat))"
    assert explained("dx", dx) is None


@pytest.mark.parametrize(
    ("shift", "name", "words"),
    [(lambda s: 0 * s.beta, "returns-zeros", "y = 0"), (lambda s: s.beta, "other-scale", "y = beta")],
)
def test_beside_a_y_that_does_not_depend_on_x_gradients_are_read(shift, name, words):
    constant = explained("y, training", lambda s: shift(s) + 0 * s.x)
    assert names(constant) == [name]
    assert constant.causes[0].measured == words
    assert explained("dx", lambda s: 3 * s.dy, [constant]).causes[0].measured == "dx = 3 dy"
    assert names(explained("dbeta", lambda s: -s.total(s.dy), [constant])) == ["parameter-gradients-sign"]
    assert explained("dx", lambda s: np.sin(s.gamma) * s.dy, [constant]) is None  # every term is tried


def test_what_is_wrong_in_frozen_gradients_is_read_in_the_world_of_the_map():
    def doubled(s):
        return 2 * s.running_mean, s.running_var + s.eps

    def dgamma(s):
        centre, square = doubled(s)
        return -s.total(s.dy * (s.x - centre) / np.sqrt(square))

    given = [explained("frozen y", y_of(doubled))]
    assert names(given[0]) == ["other-centre"]
    seen = [(world(c, TORCH), returned(c, dgamma)) for c in INFERENCE]
    with np.errstate(all="ignore"):
        offered = {tuple(names(e)) for e in explanations("frozen dgamma", seen, TORCH, given)}
        alone = {tuple(names(e)) for e in explanations("frozen dgamma", seen, TORCH, [])}
    assert ("parameter-gradients-sign",) in offered - alone


def test_a_wrong_dx_beside_a_wrong_divisor_is_told_with_it():
    def dx(s):
        centre, square = twice(s)
        return s.gamma / np.sqrt(square) * (s.dy - (s.x - centre) / square * s.average(s.dy * (s.x - centre)))

    assert names(explained("dx", dx, [found_map("eps-twice")])) == ["eps-twice", "dx-mean-term-missing"]


def test_statistics_of_updated_or_old_running_values_in_dx_are_named():
    def by(mean_and_var):
        return usual_dx(lambda s: (mean_and_var(s)[0], mean_and_var(s)[1] + s.eps))

    def updated(s):
        a = s.momentum
        mean = (1 - a) * s.running_mean + a * s.mean
        return mean, (1 - a) * s.running_var + a * s.var * s.m / (s.m - 1)

    one_step = [c for c in TRAINING if len(c.batches) == 1]
    assert len(one_step) < len(TRAINING)

    def of_last(c, rule):
        if len(c.batches) == 1:
            return returned(c, rule)
        kept = stepped(c, updated, c.batches[:-1])
        shape = (1, -1) + (1,) * (c.x.ndim - 2)
        own = inputs_of(c)._replace(running_mean=kept[0].reshape(shape), running_var=kept[1].reshape(shape))
        return rule(own)

    found = explained("dx", by(updated), result=of_last)
    assert names(found) == ["backward-uses-updated-statistics"]
    usual = "dx = gamma / std (dy - mean(dy) - x_hat mean(dy x_hat))"
    assert found.causes[0].measured == f"{usual}, mean and variance those of updated running statistics"
    assert found.causes[0].formula == usual

    def dgamma(s):
        mean, var = updated(s)
        return s.total(s.dy * (s.x - mean) / np.sqrt(var + s.eps))

    follows = explained("dgamma", dgamma, [found], result=of_last)
    assert names(follows) == ["backward-uses-updated-statistics"]
    old = explained("dx", by(lambda s: (s.running_mean, s.running_var)), result=of_last)
    assert names(old) == ["backward-uses-running-statistics"]
    assert "those of old running statistics" in old.causes[0].measured


def test_parameters_along_the_last_axis_are_named():
    def y(s):
        def along(values):
            return np.resize(values.reshape(-1), s.x.size).reshape(s.x.shape)

        return along(s.gamma / np.sqrt(s.var + s.eps)) * (s.x - along(s.mean)) + along(s.beta)

    assert names(explained("y, training", y)) == ["parameters-along-last-axis"]


def rows(values):
    return values.reshape(-1, values.shape[1])


def x_hat_of_rows(s):
    off = rows(s.x) - rows(s.x).mean(0)
    return (off / np.sqrt((off**2).mean(0) + s.eps)).reshape(s.x.shape)


def y_of_rows(s):
    return (rows(x_hat_of_rows(s)) * s.gamma.reshape(-1) + s.beta.reshape(-1)).reshape(s.x.shape)


def test_maps_that_are_flattened_across_channels_are_named():
    found = explained("y, training", y_of_rows)
    assert names(found) == ["maps-flattened-across-channels"]

    def moved(s):
        old, new = 1 - s.momentum, s.momentum
        mean, var = rows(s.x).mean(0), rows(s.x).var(0, ddof=1)
        return old * s.running_mean.ravel() + new * mean, old * s.running_var.ravel() + new * var

    for quantity, rule, result in (
        ("dgamma", lambda s: rows(s.dy * x_hat_of_rows(s)).sum(0), returned),
        ("dbeta", lambda s: rows(s.dy).sum(0), returned),
        ("running mean", moved, lambda c, rule: stepped(c, rule)[0]),
        ("running variance", moved, lambda c, rule: stepped(c, rule)[1]),
    ):
        assert names(explained(quantity, rule, [found], result=result)) == ["maps-flattened-across-channels"], quantity


@pytest.mark.parametrize("quantity", ["running mean", "running variance", "y, inference", "frozen y", "dx", "dgamma"])
def test_flattened_maps_are_offered_where_y_was_flattened_alone(quantity):
    whole = quantity == "dx" or "y" in quantity
    flat, other = explained("y, training", y_of_rows), found_map("normalised-by-unbiased-variance")
    for given, told in (([], False), ([other], False), ([flat], True)):
        every, _ = offered(quantity, lambda s: 0 * (s.x if whole else s.gamma.reshape(-1)), given)
        assert any(names(e) == names(flat) for e in every) == told


def test_what_is_right_within_bounds_is_read():
    found = explained("y, training", lambda s: np.clip(y_of(lambda s: (s.mean, s.var + s.eps))(s), -1.5, 1.5))
    assert names(found) == ["result-clipped"]
    assert found.causes[0].measured == "y, training, kept within -1.5 .. 1.5"
    assert not found.frozen
    dbeta = explained("dbeta", lambda s: np.clip(s.total(s.dy), -2, 2))
    assert dbeta.causes[0].measured == "dbeta, kept within -2 .. 2"
    assert dbeta.world is None
    stored = explained("y, inference", lambda s: np.clip(y_of(of_running)(s), -1.5, 1.5))
    assert names(stored) == ["result-clipped"]
    dx = explained("frozen dx", lambda s: np.clip(s.gamma * s.dy / np.sqrt(s.running_var + s.eps), -1, 1))
    assert dx.causes[0].measured == "frozen dx, kept within -1 .. 1"


@pytest.mark.parametrize("frozen", [False, True])
def test_no_gradient_flows_through_what_is_cut_off(frozen):
    def y(s):
        plain = y_of(of_running if frozen else lambda s: (s.mean, s.var + s.eps))(s)
        return np.where(np.abs(plain.real) < 1.5, plain, 1.5 * np.sign(plain.real))

    found = explained("frozen y" if frozen else "y, training", y)
    for name, parameter in {"dx": "x", "dgamma": "gamma", "dbeta": "beta"}.items():
        follows = explained("frozen " * frozen + name, gradient(y, parameter), [found])
        assert names(follows) == ["result-clipped"]


def test_x_hat_within_bounds_is_a_map_that_gradients_follow():
    for quantity, statistics, frozen in (
        ("y, training", lambda s: (s.mean, s.var + s.eps), False),
        ("frozen y", of_running, True),
    ):

        def y(s, statistics=statistics):
            centre, square = statistics(s)
            return s.gamma * np.clip((s.x - centre) / np.sqrt(square), -0.75, 0.75) + s.beta

        found = explained(quantity, y)
        assert "-0.75 .. 0.75" in found.causes[0].measured
        assert found.frozen == frozen

        def dgamma(s, statistics=statistics):
            centre, square = statistics(s)
            return s.total(s.dy * np.clip((s.x - centre) / np.sqrt(square), -0.75, 0.75))

        follows = explained("frozen dgamma" if frozen else "dgamma", dgamma, [found])
        assert names(follows) == names(found)


def test_an_activation_is_read_off_y_and_off_gradients_that_went_through_one():
    below = 0.1
    for quantity, statistics, frozen, parameters in (
        ("y, training", lambda s: (s.mean, s.var + s.eps), False, {"dx": "x", "dbeta": "beta"}),
        ("frozen y", of_running, True, {"dgamma": "gamma"}),
    ):

        def y(s, statistics=statistics):
            plain = y_of(statistics)(s)
            return np.where(plain.real > 0, plain, below * plain)

        found = explained(quantity, y)
        assert names(found) == ["activation-applied"]
        assert found.causes[0].measured == f"y = max(y, 0) + {below:g} min(y, 0)"
        for name, parameter in parameters.items():
            through = explained("frozen " * frozen + name, gradient(y, parameter))
            assert names(through) == ["gradient-through-activation"]
            assert through.causes[0].measured == f"dy weighs 1 where y > 0 and {below:g} elsewhere"
            assert through.frozen == frozen


def test_an_update_is_read():
    def swapped(s):
        return s.momentum * s.running_mean + (1 - s.momentum) * s.mean, s.running_var

    for i, (quantity, cause) in enumerate(
        (("running mean", "momentum-sense"), ("running variance", "running-not-updated"))
    ):
        found = explained(quantity, swapped, result=lambda c, rule, i=i: stepped(c, rule)[i])
        assert names(found) == [cause]


def test_one_case_of_many_channels_is_enough():
    (case,) = cases("training", "float64", "many-channels", "torch")
    seen = [(world(case, TORCH), returned(case, y_of(twice)))]
    with np.errstate(all="ignore"):
        found = next(explanations("y, training", seen, TORCH, []))
    assert names(found) == ["eps-twice"]


def test_what_has_no_formula_is_not_explained():
    assert explained("y, training", lambda s: np.tanh(s.x)) is None
    assert explained("dgamma", lambda s: np.median(s.dy) * s.gamma.reshape(-1)) is None


def test_the_definition_needs_no_explanation():
    plain = y_of(lambda s: (s.mean, s.var + s.eps))
    assert explained("dx", gradient(plain, "x")) is None
    seen = [(world(c, TORCH), returned(c, plain)) for c in TRAINING]
    with np.errstate(all="ignore"):
        read = [e for e in explanations("y, training", seen, TORCH, []) if e.forward is not None]
    assert not read


def test_an_explanation_holds_in_its_circumstance_alone():
    found = found_map("eps-twice")
    rank_2 = Circumstance("only-rank-2", "only for x of rank 2", lambda c: c.x.ndim == 2)
    some = replace(found, circumstance=rank_2)
    inside = next(world(c, TORCH) for c in TRAINING if c.x.ndim == 2)
    outside = next(world(c, TORCH) for c in TRAINING if c.x.ndim == 4)
    right = some.guarded(lambda w: 1, lambda w: 2)
    assert (right(inside), right(outside)) == (1, 2)
    assert found.guarded(lambda w: 1, lambda w: 2)(outside) == 1
    assert some.change(outside) is outside
    assert found.change(outside) is not outside
    assert np.allclose(
        np.asarray(some.change(inside).inv, float) ** -2.0, np.asarray(inside.var + 2 * inside.eps, float)
    )
    bare = replace(found, forward=None)
    assert bare.change(inside) is inside
    assert replace(bare, world=lambda w: outside).change(inside) is outside
