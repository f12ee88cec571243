"""Every gradient is the derivative of its forward, by two independent numerical derivatives.

The loss is sum(dy * y) with a random dy. Finite differences come from `scipy.differentiate.derivative`, one entry of x,
gamma or beta after the other, and may differ by the error that scipy estimates plus the rounding of the loss, which is
derived in `rounding_of`. The complex step, imag(loss(x + ih)) / h, subtracts nothing and so has no truncation error: it
must agree to 4 C u T = 4e-15 T, with T the sum of the magnitudes of a gradient's terms and C u T the promise of
`test_accuracy`; one C is the gradient's, the others are there because a complex product rounds up to three times.

Each check is shown wrong derivatives, one term scaled by 1.001, and must object to every one of them.

Not verified here: the last digits of gradients (`test_accuracy`, against derivatives that are exact), float32 and
narrower (the same code, rounded), where the gradient does not exist (var + eps = 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import test_accuracy as accuracy
from scipy.differentiate import derivative

from refnorm import batch_norm_inference, batch_norm_training
from refnorm._array import kept_axes

CASES = {
    "channels-first": accuracy.case("float64", 1, 1, (3, 2, 2, 2), 1, 1e-5),
    "channels-last-masked": accuracy.case("float64", 1, 2, (5, 2, 3), -1, 1e-3, masked=True),
    "two-axes-kept": accuracy.case("float64", 1, 3, (6, 2, 2), (1, 2), 1.0),
    "per-tensor": accuracy.case("float64", 1, 4, (3, 4), (), 1e-2),
    "per-tensor-masked": accuracy.case("float64", 1, 5, (4, 4), (), 1e-5, masked=True),
    "eps-zero": accuracy.case("float64", 1, 6, (6, 2), 1, 0.0),
    "no-gamma-no-beta": accuracy.case("float64", 1, 7, (5, 2), 1, 1e-5, no_gamma=True, no_beta=True),
    "eps-large": accuracy.case("float64", 1, 8, (4, 2, 2), 1, 100.0),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
MAPS = ("training", "inference")
every_map = pytest.mark.parametrize("which", MAPS)
PARAMETERS = {"dx": "x", "dgamma": "gamma", "dbeta": "beta"}


class Terms(NamedTuple):
    """The terms that a gradient is the sum of; each scaled by 1.001 makes a wrong derivative."""

    dx: list[np.ndarray]
    dgamma: list[np.ndarray]
    dbeta: list[np.ndarray]


def loss(case: accuracy.Case, which: str) -> complex | float:
    if which == "inference":
        y = batch_norm_inference(case.x, case.mean, case.var, case.gamma, case.beta, eps=case.eps, axis=case.axis)
    else:
        y, _ = batch_norm_training(case.x, case.gamma, case.beta, eps=case.eps, axis=case.axis, where=case.where)
    return np.sum(case.dy * y)


def gradients(case: accuracy.Case, which: str) -> dict[str, np.ndarray]:
    results = accuracy.training(case) if which == "training" else accuracy.inference(case)
    return {name: results[name] for name in PARAMETERS}


def magnitudes(case: accuracy.Case, which: str) -> dict[str, np.ndarray]:
    truth = accuracy.training_truth(case) if which == "training" else accuracy.inference_truth(case)
    return {name: truth[name].terms for name in truth}


def present(case: accuracy.Case) -> accuracy.Case:
    """Give a case the parameters that it lacks: a derivative needs something to move."""
    channels = [case.x.shape[a] for a in kept_axes(case.axis, case.x.shape)]
    gamma = np.ones(channels) if case.gamma is None else case.gamma
    return case._replace(gamma=gamma, beta=np.zeros(channels) if case.beta is None else case.beta)


def moved(case: accuracy.Case, name: str, entry: int, step: complex | float) -> accuracy.Case:
    """Move one entry of x, gamma or beta."""
    changed = {}
    for argument in ("x", "gamma", "beta") if isinstance(step, complex) else (name,):
        changed[argument] = getattr(case, argument).astype(type(step), copy=True)
    changed[name].reshape(-1)[entry] += step
    return case._replace(**changed)


def rounding_of(case: accuracy.Case, terms: dict[str, np.ndarray], smallest_step: np.ndarray) -> np.ndarray:
    """Bound what rounding does to a finite difference.

    Each y carries an error of at most C u T (see `test_accuracy`), the loss adds |dy| of these and a product and a sum
    each, and a difference of two losses is divided by the step. scipy's weights of order 8 add up to less than 4.
    """
    y = 1.01 * terms["y"] + np.abs(case.dy)
    return 4 * (accuracy.C + 2 * np.log2(y.size + 2)) * accuracy.U64 * np.sum(np.abs(case.dy) * y) / smallest_step


def finite_differences(case: accuracy.Case, which: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return derivatives of the loss towards every entry of an argument, and what they may be off by."""
    argument = getattr(case, PARAMETERS[name])

    def along(steps: np.ndarray, entry: np.ndarray) -> np.ndarray:
        entries = np.broadcast_to(entry, steps.shape)
        values = [
            loss(moved(case, PARAMETERS[name], i, t), which) for i, t in zip(entries.flat, steps.flat, strict=True)
        ]
        return np.reshape(values, steps.shape)

    deviation = np.std(case.x) if name == "dx" else 1.0
    first = 0.1 * float(deviation)
    result = derivative(along, np.zeros(argument.size), args=(np.arange(argument.size),), initial_step=first)
    smallest_step = first / 2.0 ** (result.nit + 3)  # halved each iteration, and the innermost of four is 1/8 of it
    error = result.error + rounding_of(case, magnitudes(case, which), smallest_step)
    return result.df.reshape(argument.shape), error.reshape(argument.shape)


def complex_step(case: accuracy.Case, which: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return derivatives of the loss towards every entry of an argument, and what they may be off by."""
    argument = getattr(case, PARAMETERS[name])
    h = 1e-40
    values = [loss(moved(case, PARAMETERS[name], i, h * 1j), which).imag / h for i in range(argument.size)]
    return np.reshape(values, argument.shape), 4 * accuracy.C * accuracy.U64 * magnitudes(case, which)[name]


CHECKS: dict[str, Callable] = {"finite-differences": finite_differences, "complex-step": complex_step}
every_check = pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)


def agrees(gradient: np.ndarray, derivatives: tuple[np.ndarray, np.ndarray]) -> bool:
    values, allowed = derivatives
    return bool(np.all(np.abs(gradient - values) <= allowed))


@every_check
@every_map
@every_case
def test_gradients_are_the_derivatives_of_the_forward(case, which, check):
    case = present(case)
    if which == "inference":
        case = case._replace(where=None)
    for name, gradient in gradients(case, which).items():
        assert agrees(gradient, check(case, which, name)), name


def terms_of(case: accuracy.Case, which: str) -> Terms:
    """Write the gradients as sums of their terms."""
    kept = kept_axes(case.axis, case.x.shape)
    reduced = tuple(a for a in range(case.x.ndim) if a not in kept)

    def along(values: np.ndarray) -> np.ndarray:
        return np.expand_dims(values, reduced)

    mask = np.ones(case.x.shape, bool) if case.where is None else case.where
    count, dy = mask.sum(axis=reduced), np.where(mask, case.dy, 0)
    mean, var = case.mean.astype(float), case.var.astype(float)
    if which == "training":
        mean, var = case.x.mean(axis=reduced, where=mask), case.x.var(axis=reduced, where=mask)
    inv_std = 1 / np.sqrt(var + case.eps)
    x_hat = np.where(mask, (case.x - along(mean)) * along(inv_std), 0)
    dbeta, dgamma = dy.sum(axis=reduced), (dy * x_hat).sum(axis=reduced)
    slope = along(case.gamma * inv_std) * mask
    dx = [slope * dy]
    if which == "training":
        dx += [-slope * along(dbeta / count), -slope * x_hat * along(dgamma / count)]
    return Terms(dx, [dgamma], [dbeta])


WRONG = [("training", "dx", 0), ("training", "dx", 1), ("training", "dx", 2), ("inference", "dx", 0)]
WRONG += [(which, name, 0) for which in MAPS for name in ("dgamma", "dbeta")]


@every_check
@pytest.mark.parametrize(("which", "name", "term"), WRONG)
@pytest.mark.parametrize("case", ["channels-first", "channels-last-masked", "two-axes-kept"])
def test_the_check_objects_to_one_term_off_by_a_thousandth(case, which, name, term, check):
    case = present(CASES[case])
    if which == "inference":
        case = case._replace(where=None)
    terms = getattr(terms_of(case, which), name)
    derivatives = check(case, which, name)
    assert agrees(sum(terms), derivatives)
    assert not agrees(sum(terms) + 0.001 * terms[term], derivatives)


@every_check
def test_a_constant_upstream_proves_nothing(check):
    """Batch normalization annihilates a constant: dx is 0 with or without the path through the variance."""
    case = present(CASES["channels-first"])
    case = case._replace(dy=np.full(case.x.shape, 0.7))
    derivatives = check(case, "training", "dx")
    through_dy, through_mean, through_variance = terms_of(case, "training").dx
    assert agrees(through_dy + through_mean + through_variance, derivatives)
    assert agrees(through_dy + through_mean, derivatives)  # wrong, and it passes
    assert agrees(np.zeros(case.x.shape), derivatives)


@pytest.mark.parametrize("case", ["channels-last-masked", "per-tensor-masked"])
def test_masked_entries_of_x_have_no_influence(case):
    case = CASES[case]
    derivatives, _ = complex_step(case, "training", "dx")
    assert np.all(derivatives[~case.where] == 0)
