"""The definition and its gradients on a few values, against the second road in fractions, number by number.

Hard values, every format and the rounding are in test_exact.py.
"""

from dataclasses import FrozenInstanceError
from fractions import Fraction

import fractions_road as road
import numpy as np
import pytest
from flint import fmpq

from refnorm import exact
from refnorm.exact.definition import like

RNG = np.random.default_rng(20261127)
EPS = 0.375
X, DY = RNG.normal(size=(2, 4, 3, 2))
GAMMA, BETA, MEAN, VAR = *RNG.normal(size=(3, 3)), RNG.uniform(0.5, 2, size=3)
WHERE = RNG.random(X.shape) < 0.7
WHERE[0] = True


def triples(result):
    """Return (p, q, v) of every element, v where there is a root."""
    numbers = [result.number(i) for i in range(result.hi.size)]
    return [tuple(Fraction(int(r.p), int(r.q)) for r in (n.p, n.q, n.v if n.q else fmpq(1))) for n in numbers]


def told(expected):
    return [(p, q, v if q else Fraction(1)) for p, q, v in expected]


def by_channel(where=None):
    """Return, for each channel, where its values stand, and x and dy there."""
    for c, indices in enumerate(road.channels(X.shape, 1, where)):
        yield c, indices, *([Fraction(a[index]) for index in indices] for a in (X, DY))


def placed(found):
    """Return one list, in the order of the array, of what each channel has at its indices; elsewhere 0."""
    whole = dict.fromkeys(np.ndindex(X.shape), (Fraction(0), Fraction(0), Fraction(1)))
    for indices, values in found:
        whole.update(zip(indices, told(values), strict=True))
    return list(whole.values())


def value(parameter, c, default):
    return Fraction(default) if parameter is None else Fraction(parameter[c])


every_parameter = pytest.mark.parametrize(
    ("gamma", "beta"), [(None, None), (GAMMA, None), (None, BETA), (GAMMA, BETA)], ids=["none", "gamma", "beta", "both"]
)
every_mask = pytest.mark.parametrize("where", [None, WHERE], ids=["all", "masked"])


@every_mask
@every_parameter
def test_training_is_algorithm_1(gamma, beta, where):
    got = exact.training(X, gamma, beta, eps=EPS, where=where)
    found, means, variances = [], [], []
    for c, indices, x, _ in by_channel(where):
        y, mean, var = road.forward(x, value(gamma, c, 1), value(beta, c, 0), Fraction(EPS))
        found.append((indices, y))
        means.append(mean)
        variances.append(var)
    assert triples(got.y) == placed(found)
    assert (triples(got.mean), triples(got.var)) == (told(means), told(variances))
    assert got.count == [len(indices) for _, indices, *_ in by_channel(where)]
    moments = exact.statistics(X, where=where)
    assert (triples(moments.mean), triples(moments.var)) == (told(means), told(variances))
    assert moments.count == got.count
    assert got.mean.shape == got.var.shape == moments.mean.shape == (3,)


@every_mask
@pytest.mark.parametrize("gamma", [None, GAMMA], ids=["no gamma", "gamma"])
@pytest.mark.parametrize("way", [exact.training_gradients, exact.training_gradients_mechanical])
def test_gradients_of_training_are_those_of_dual_numbers(gamma, where, way):
    got = way(DY, X, gamma, eps=EPS, where=where)
    found, dgammas, dbetas = [], [], []
    for c, indices, x, dy in by_channel(where):
        dx, dgamma, dbeta = road.gradients(dy, x, value(gamma, c, 1), Fraction(EPS))
        found.append((indices, dx))
        dgammas.append(dgamma)
        dbetas.append(dbeta)
    assert triples(got.dx) == placed(found)
    assert np.isfinite(got.dx.rounded()).all()
    assert (triples(got.dgamma), triples(got.dbeta)) == (told(dgammas), told(dbetas))
    assert got.dgamma.shape == got.dbeta.shape == (3,)


@every_parameter
def test_inference_is_algorithm_2(gamma, beta):
    got = exact.inference(X, MEAN, VAR, gamma, beta, eps=EPS)
    found = []
    for c, indices, x, _ in by_channel():
        given = Fraction(MEAN[c]), Fraction(VAR[c])
        found.append((indices, road.forward(x, value(gamma, c, 1), value(beta, c, 0), Fraction(EPS), given)[0]))
    assert triples(got) == placed(found)


@pytest.mark.parametrize("gamma", [None, GAMMA], ids=["no gamma", "gamma"])
def test_gradients_of_inference_hold_the_statistics_constant(gamma):
    got = exact.inference_gradients(DY, X, MEAN, VAR, gamma, eps=EPS)
    found, dgammas, dbetas = [], [], []
    for c, indices, x, dy in by_channel():
        given = Fraction(MEAN[c]), Fraction(VAR[c])
        dx, dgamma, dbeta = road.gradients(dy, x, value(gamma, c, 1), Fraction(EPS), given)
        found.append((indices, dx))
        dgammas.append(dgamma)
        dbetas.append(dbeta)
    assert triples(got.dx) == placed(found)
    assert (triples(got.dgamma), triples(got.dbeta)) == (told(dgammas), told(dbetas))


def test_channels_may_be_any_axes():
    last = np.moveaxis(X, 1, -1)
    dy = np.moveaxis(DY, 1, -1)
    expected = exact.training_gradients(DY, X, GAMMA, eps=EPS)
    for way in (exact.training_gradients, exact.training_gradients_mechanical):
        got = way(dy, last, GAMMA, eps=EPS, axis=-1)
        assert np.array_equal(got.dx.rounded(), np.moveaxis(expected.dx.rounded(), 1, -1))
        assert triples(got.dgamma) == triples(expected.dgamma)
    frozen = exact.inference_gradients(dy, last, MEAN, VAR, GAMMA, eps=EPS, axis=-1)
    assert triples(frozen.dgamma) == triples(exact.inference_gradients(DY, X, MEAN, VAR, GAMMA, eps=EPS).dgamma)
    per_element = exact.training(X, eps=EPS, axis=(0, 1, 2))
    assert (per_element.mean.shape, per_element.count) == (X.shape, [1] * X.size)
    assert exact.statistics(X, axis=(2, 0)).mean.shape == (4, 2)
    assert np.array_equal(exact.inference(last, MEAN, VAR, eps=EPS, axis=-1).rounded(),
                          np.moveaxis(exact.inference(X, MEAN, VAR, eps=EPS).rounded(), 1, -1))  # fmt: skip


def test_no_variance_and_no_eps_leaves_no_gradient():
    x, dy = np.full((3, 1), 0.1), np.array([[1.0], [2.0], [4.0]])
    got = exact.training_gradients(dy, x, eps=0.0)
    assert not np.isfinite(got.dx.rounded()).any()
    assert np.isnan(got.dgamma.rounded()).all()
    assert got.dbeta.rounded() == [7.0]


def test_running_statistics_are_weighed_exactly_again_and_again():
    batch = exact.statistics(X).mean
    old, new = Fraction(0.9), Fraction(1, 3)
    once = exact.blend(MEAN, old, batch, new)
    means = [road.variance_of(x)[0] for _, _, x, _ in by_channel()]
    expected = [old * Fraction(m) + new * b for m, b in zip(MEAN, means, strict=True)]
    assert [p for p, _, _ in triples(once)] == expected
    twice = exact.blend(once, fmpq(1, 2), batch, fmpq(2))
    assert [p for p, _, _ in triples(twice)] == [e / 2 + 2 * b for e, b in zip(expected, means, strict=True)]
    assert once.shape == twice.shape == (3,)


def test_an_upstream_gradient_has_the_shape_of_x():
    assert like(X, DY) is DY
    for short in (DY[:2], DY[..., 0], DY[None]):
        with pytest.raises(ValueError, match=r"dy has shape .*, expected \(4, 3, 2\): the shape of x"):
            like(X, short)
    with pytest.raises(ValueError, match="one for each of 3 channels"):
        exact.inference(X, MEAN[:2], VAR, eps=EPS)


def test_statistics_that_are_none_are_refused_and_not_taken_for_0_and_1():
    batch = exact.statistics(X).mean
    for call in (
        lambda: exact.inference(X, None, VAR, eps=EPS),
        lambda: exact.inference(X, MEAN, None, eps=EPS),
        lambda: exact.inference_gradients(DY, X, None, VAR, eps=EPS),
        lambda: exact.inference_gradients(DY, X, MEAN, None, eps=EPS),
        lambda: exact.inference_jvp(DY, None, None, X, None, VAR, eps=EPS),
        lambda: exact.inference_double_backward(DY, None, None, DY, X, MEAN, None, eps=EPS),
        lambda: exact.blend(None, Fraction(1), batch, Fraction(1)),
    ):
        with pytest.raises(TypeError, match="a mean or a variance must be an array of one value per channel, got None"):
            call()


def test_what_was_computed_is_not_changed_afterwards():
    for result, name in ((exact.training(X, eps=EPS), "y"), (exact.statistics(X), "mean")):
        with pytest.raises(FrozenInstanceError):
            setattr(result, name, None)
