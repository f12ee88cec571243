"""Forward mode and second order of fixed statistics, and of what is refused: by formulas, in fractions.

With given statistics y = gamma (x - mean) / s + beta is linear in each of x, gamma and beta, so its derivatives are
written down by hand. Those of training have no such formula here: in test_second_order.py they are held against dual
numbers and against the definition, differentiated twice.
"""

from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq

from refnorm import exact
from refnorm.exact import Number, rational

RNG = np.random.default_rng(20261127)
EPS = 0.375
MEAN, GAMMA, DGAMMA, DBETA, VAR = *RNG.normal(size=(4, 2)), RNG.uniform(0.5, 2, size=2)
X, DX, DY = RNG.normal(size=(3, 3, 2, 2))


def root(c):
    return rational(VAR[c]) + rational(EPS)


def with_root(index, q, p=0):
    """p + q / sqrt(var + eps) of the channel of an element."""
    return Number(rational(p), rational(q), root(index[1]))


def same(result, expected):
    numbers = [result.number(i) for i in range(result.hi.size)]
    return numbers == expected


@pytest.mark.parametrize("gamma", [None, GAMMA], ids=["no gamma", "gamma"])
@pytest.mark.parametrize("dgamma", [None, DGAMMA], ids=["no dgamma", "dgamma"])
@pytest.mark.parametrize("dbeta", [None, DBETA], ids=["no dbeta", "dbeta"])
def test_the_jvp_of_inference_is_that_of_a_linear_map(gamma, dgamma, dbeta):
    g, dg, db = (np.full(2, d) if p is None else p for p, d in ((gamma, 1.0), (dgamma, 0.0), (dbeta, 0.0)))
    got = exact.inference_jvp(DX, dgamma, dbeta, X, MEAN, VAR, gamma, eps=EPS)
    expected = []
    for index in np.ndindex(X.shape):
        c = index[1]
        q = rational(dg[c]) * (rational(X[index]) - rational(MEAN[c])) + rational(g[c]) * rational(DX[index])
        expected.append(with_root(index, q, db[c]))
    assert same(got, expected)
    assert got.shape == X.shape


@pytest.mark.parametrize("gamma", [None, GAMMA], ids=["no gamma", "gamma"])
@pytest.mark.parametrize("ddgamma", [None, DGAMMA], ids=["no ddgamma", "ddgamma"])
def test_the_double_backward_of_inference_is_that_of_a_linear_map(gamma, ddgamma):
    dg = np.zeros(2) if ddgamma is None else ddgamma
    got = exact.inference_double_backward(DX, ddgamma, DBETA, DY, X, MEAN, VAR, gamma, eps=EPS)
    jvp = exact.inference_jvp(DX, ddgamma, DBETA, X, MEAN, VAR, gamma, eps=EPS)
    assert same(got.ddy, [jvp.number(i) for i in range(X.size)])
    everywhere = list(np.ndindex(X.shape))
    assert same(got.dx, [with_root(i, rational(dg[i[1]]) * rational(DY[i])) for i in everywhere])
    sums = [sum((rational(DX[i]) * rational(DY[i]) for i in everywhere if i[1] == c), fmpq(0)) for c in range(2)]
    assert same(got.dgamma, [Number(fmpq(0), total, root(c)) for c, total in enumerate(sums)])


def test_kept_axes_are_taken_as_they_are_given():
    dx, dy, x = (np.moveaxis(a, 1, -1) for a in (DX, DY, X))
    got = exact.inference_double_backward(dx, DGAMMA, None, dy, x, MEAN, VAR, GAMMA, eps=EPS, axis=-1)
    expected = exact.inference_double_backward(DX, DGAMMA, None, DY, X, MEAN, VAR, GAMMA, eps=EPS)
    for one, other in zip(got[:2], expected[:2], strict=True):
        assert np.array_equal(one.rounded(), np.moveaxis(other.rounded(), 1, -1))
    assert np.array_equal(got.dgamma.rounded(), expected.dgamma.rounded())


def test_no_variance_and_no_eps_leaves_no_derivative_whether_the_statistics_are_given_or_not():
    zero, one = np.zeros(1), np.ones((3, 1))
    dy = np.array([[1.0], [2.0], [4.0]])
    second = exact.training_double_backward(dy, np.ones(1), None, dy, one, eps=0.0)
    assert np.isnan(second.dx.rounded()).all()
    assert np.isnan(second.ddy.rounded()).all()
    assert np.isnan(second.dgamma.rounded()).all()
    frozen = exact.inference_double_backward(dy, np.ones(1), None, dy, one, one[0], zero, eps=0.0)
    assert not np.isfinite(frozen.dx.rounded()).any()
    assert not np.isfinite(frozen.dgamma.rounded()).any()


def test_a_channel_of_two_values_by_hand():
    """x = -1, 1 with eps = 3: v = 4, so that everything is rational: x_hat = -1/2, 1/2."""
    x, dx, dy = np.array([[-1.0], [1.0]]), np.array([[1.0], [3.0]]), np.array([[2.0], [5.0]])
    jvp = exact.training_jvp(dx, np.array([0.5]), np.array([10.0]), x, np.array([2.0]), eps=3.0)
    # mean moves by 2, var by 2 (-1 (-1) + 1 (1)) / 2 = 2; y = 2 (x - mean) / sqrt(v) + beta
    # dy = 0.5 x_hat + 2 ((dx - 2) / 2 - x 2 / (2 8)) + 10
    expected = [0.5 * x_hat + 2 * ((d - 2) / 2 - value / 8) + 10 for x_hat, d, value in ((-0.5, 1, -1), (0.5, 3, 1))]
    assert jvp.rounded().ravel().tolist() == expected
    second = exact.training_double_backward(dx, None, None, dy, x, np.array([2.0]), eps=3.0)
    # dgamma = sum dy x_hat moves with x alone: by sum dy ((dx - 2) / 2 - x / 8)
    assert second.dgamma.rounded().tolist() == [2 * (-0.5 + 1 / 8) + 5 * (0.5 - 1 / 8)]


@pytest.mark.parametrize("gamma", [None, GAMMA], ids=["no gamma", "gamma"])
@pytest.mark.parametrize("move", [(None, None), (DGAMMA, None), (None, DBETA)], ids=["x", "x, gamma", "x, beta"])
def test_what_is_absent_is_gamma_1_and_does_not_move_in_the_definition_differentiated_twice_either(gamma, move):
    mechanical = exact.training_double_backward_mechanical(DX, *move, DY, X, gamma, eps=EPS)
    quick = exact.training_double_backward(DX, *move, DY, X, gamma, eps=EPS)
    for one, other in zip(mechanical, quick, strict=True):
        assert np.array_equal(one.rounded(), other.rounded())


def test_arrays_of_another_shape_are_refused():
    short, one = X[:2], np.ones(2)
    for call in (
        lambda: exact.training_jvp(short, None, None, X, eps=EPS),
        lambda: exact.training_double_backward(short, None, None, DY, X, eps=EPS),
        lambda: exact.training_double_backward(DX, None, None, short, X, eps=EPS),
        lambda: exact.training_double_backward_mechanical(DX, None, None, short, X, eps=EPS),
        lambda: exact.training_double_backward_mechanical(short, None, None, DY, X, eps=EPS),
        lambda: exact.inference_jvp(short, None, None, X, one, one, eps=EPS),
        lambda: exact.inference_double_backward(DX, None, None, short, X, one, one, eps=EPS),
    ):
        with pytest.raises(ValueError, match=r"dy has shape \(2, 2, 2\), expected \(3, 2, 2\)"):
            call()


def test_the_mechanical_second_derivative_leaves_masked_elements_zero():
    where = np.array([True, False, True])[:, None, None] & np.ones(X.shape, bool)
    got = exact.training_double_backward_mechanical(DX, DGAMMA, DBETA, DY, X, GAMMA, eps=EPS, where=where)
    fast = exact.training_double_backward(DX, DGAMMA, DBETA, DY, X, GAMMA, eps=EPS, where=where)
    for one, other in zip(got, fast, strict=True):
        assert np.array_equal(one.rounded(), other.rounded())
    assert not np.any(got.dx.rounded()[1])
    assert not np.any(got.ddy.rounded()[1])
    assert got.dx.number(4) == Number(fmpq(0), fmpq(0), fmpq(1))
    assert Fraction(got.dx.rounded()[0, 0, 0]) != 0
