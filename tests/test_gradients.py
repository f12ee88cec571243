"""Every gradient by four roads that agree: closed form, chain rule step by step, exact, numerical.

The loss is sum(dy * y) with a random dy. The *exact* road differentiates Algorithm 1 mechanically, on power series with
rational coefficients, and is the judge of the others. The *closed form* must agree with it to C u T, as in
`test_accuracy`, with T the sum of the magnitudes of a gradient's terms and C = 8 roundings; *step by step*, where a
gradient passes through twice as many operations, to 2 C u T. *Numerical* is two roads. Central differences come from
`scipy.differentiate.derivative`, one entry of x, gamma or beta after the other, and may differ by the error that scipy
estimates plus the rounding of the loss, which is derived in `rounding_of`. The complex step, imag(loss(x + ih)) / h,
subtracts nothing and so has no truncation error: it must agree to 4 C u T = 4e-15 T; one C is the gradient's, the
others are there because a complex product rounds up to three times.

Each check is shown wrong derivatives, one term scaled by 1.001, and must object to every one of them.

Run ``python tests/test_gradients.py`` for the table of errors, and the largest disagreement.

Not verified here: where the gradient does not exist (var + eps = 0).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import test_accuracy as accuracy
from arrays import on_every_format
from scipy.differentiate import derivative

import refnorm
from refnorm import batch_norm_inference, batch_norm_training, exact
from refnorm.formats import FORMATS
from refnorm.reference._layout import kept_axes

SAMPLED = True  # see conftest.py

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

    scale = spread(case.x, case.axis) if name == "dx" else 1.0
    first = 0.1 * float(scale)
    result = derivative(along, np.zeros(argument.size), args=(np.arange(argument.size),), initial_step=first)
    smallest_step = first / 2.0 ** (result.nit + 3)  # halved each iteration, and the innermost of four is 1/8 of it
    error = result.error + rounding_of(case, magnitudes(case, which), smallest_step)
    return result.df.reshape(argument.shape), error.reshape(argument.shape)


def spread(x: np.ndarray, axis: Any) -> float:
    """Return the smallest standard deviation of a channel: what steps are measured by."""
    kept = kept_axes(axis, x.shape)
    deviations = x.std(axis=tuple(a for a in range(x.ndim) if a not in kept))
    return float(np.min(deviations)) or float(np.std(x))


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


# The four roads, over every configuration


ROADS = ("closed form", "step by step", "complex step", "differences")
SHAPE = (3, 2, 4)
AXES = [axes for n in range(len(SHAPE) + 1) for axes in itertools.combinations(range(len(SHAPE)), n)]


def configurations() -> Iterator[tuple[str, accuracy.Case, str]]:
    """Yield a name, a case and the map: every axis, with a mask and without, and every other situation of `CASES`."""
    for which, axes, masked in itertools.product(MAPS, AXES, (False, True)):
        if not masked or which == "training":
            case = accuracy.case("float64", 1, 40 + len(axes), SHAPE, axes, 1e-3, masked=masked)
            if masked:  # every channel keeps a value
                case.where[tuple(slice(None) if a in axes else 0 for a in range(len(SHAPE)))] = True
            yield f"axis {axes}{', masked' if masked else ''}", case, which
    for name, case in CASES.items():
        for which in MAPS:
            yield name, present(case if which == "training" else case._replace(where=None)), which
    for eps in (1e-9, 1e-5, 1.0):
        yield f"two values, eps {eps:g}", accuracy.case("float64", 1, 5, (2, 4), 1, eps), "training"
    for ratio in (1e4, 1e8):
        yield f"mean/std {ratio:g}", accuracy.case("float64", ratio, 6, (5, 3), 1, 1e-5), "training"


def exact_gradients(case: accuracy.Case, which: str) -> dict[str, exact.Exact]:
    """Differentiate the definition: mechanically in training; in inference it is affine."""
    if which == "inference":
        given = (case.dy, case.x, case.mean, case.var, case.gamma)
        return exact.inference_gradients(*given, eps=case.eps, axis=case.axis)._asdict()
    options = {"eps": case.eps, "axis": case.axis, "where": case.where}
    return exact.training_gradients_mechanical(case.dy, case.x, case.gamma, **options)._asdict()


def step_by_step(case: accuracy.Case, which: str) -> dict[str, Any]:
    if which == "inference":
        given, options = (case.x, case.mean, case.var, case.gamma), {"eps": case.eps, "axis": case.axis}
        gradients = refnorm.batch_norm_inference_backward_step_by_step(case.dy, *given, **options)
    else:
        _, saved = batch_norm_training(case.x, case.gamma, eps=case.eps, axis=case.axis, where=case.where)
        gradients = refnorm.batch_norm_training_backward_step_by_step(case.dy, saved)
    return dict(zip(PARAMETERS, gradients, strict=True))


def by_road(case: accuracy.Case, which: str, road: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each gradient by one road, and what it may be off by."""
    terms = magnitudes(case, which)
    if road in ("closed form", "step by step"):
        values, factor = (gradients(case, which), 1) if road == "closed form" else (step_by_step(case, which), 2)
        return {name: (value, factor * accuracy.C * accuracy.U64 * terms[name]) for name, value in values.items()}
    check = complex_step if road == "complex step" else finite_differences
    return {name: check(case, which, name) for name in PARAMETERS}


def natural(case: accuracy.Case, which: str) -> dict[str, np.ndarray]:
    """Return what errors are measured in: |gamma| inv_std max|dy| for dx, m max|dy| for dgamma and dbeta."""
    kept = kept_axes(case.axis, case.x.shape)
    reduced = tuple(a for a in range(case.x.ndim) if a not in kept)
    mask = True if case.where is None else case.where
    counted = np.broadcast_to(mask, case.x.shape)
    var = case.x.var(axis=reduced, where=mask) if which == "training" else case.var.astype(float)
    largest = np.max(np.abs(case.dy), axis=reduced, where=mask, initial=0)
    dx = np.expand_dims(np.abs(case.gamma) / np.sqrt(var + case.eps) * largest, reduced)
    return {"dx": dx, "dgamma": counted.sum(axis=reduced) * largest, "dbeta": counted.sum(axis=reduced) * largest}


class Errors(NamedTuple):
    """The largest error of a road against the exact one: in units of its bound, and of the natural size."""

    of_bound: float
    natural: float


def errors(case: accuracy.Case, which: str, road: str) -> Errors:
    truth, sizes, worst = exact_gradients(case, which), natural(case, which), Errors(0, 0)
    for name, (values, allowed) in by_road(case, which, road).items():
        error = np.abs(truth[name].error_of(values))
        size = np.broadcast_to(sizes[name], error.shape)
        with np.errstate(divide="ignore", invalid="ignore"):  # an error of 0 is 0 of anything
            ratios = [np.max(np.where(error > 0, error / allowed, 0))]
            ratios += [np.max(np.where(size > 0, error / size, 0))]  # where gamma is 0, only the bound judges
        worst = Errors(*np.maximum(worst, ratios).tolist())
    return worst


CONFIGURATIONS = list(configurations())
every_configuration = pytest.mark.parametrize(
    ("case", "which"),
    [(case, which) for _, case, which in CONFIGURATIONS],
    ids=[f"{which}-{name}" for name, _, which in CONFIGURATIONS],
)


@every_configuration
def test_the_four_roads_agree(case, which):
    case = present(case)
    for road in ROADS:
        found = errors(case, which, road)
        assert found.of_bound <= 1, road
        assert road == "differences" or found.natural < 1e-12, road


@pytest.mark.parametrize("road", ROADS)
def test_the_comparison_of_roads_objects_to_a_gradient_off_by_a_thousandth(road, monkeypatch):
    case = present(CASES["channels-last-masked"])
    right = by_road(case, "training", road)
    for name in PARAMETERS:
        wrong = right | {name: (right[name][0] * 1.001, right[name][1])}
        monkeypatch.setitem(globals(), "by_road", lambda *_, wrong=wrong: wrong)
        assert errors(case, "training", road).of_bound > 1, name


@accuracy.every_condition
def test_step_by_step_keeps_twice_the_promise(kind, ratio):
    for case in accuracy.cases(kind, ratio):
        for which in MAPS:
            case = case if which == "training" else case._replace(where=None)
            truths = accuracy.training_truth(case) if which == "training" else accuracy.inference_truth(case)
            for name, result in step_by_step(case, which).items():
                own = kind if name == "dx" else "float64"
                measured = accuracy.measure(result, truths[name], own)
                assert measured.c <= 2 * accuracy.C, (which, name)
                assert kind == "float64" or name != "dx" or measured.ulps <= 0.51, which


@on_every_format
def test_step_by_step_runs_on_every_library(library, kind):
    case = accuracy.case(kind, 4, 2, (6, 4, 2, 5), -1, 1e-3, masked=True)
    unit = 2.0 ** -FORMATS[library.wide][0]
    wide = "float64" if unit == accuracy.U64 else "float32"
    names = ("x", "dy", "gamma", "beta", "mean", "var", "where")
    carried = case._replace(**{name: library.optional(getattr(case, name)) for name in names})
    for which, truths in (("training", accuracy.training_truth(case)), ("inference", accuracy.inference_truth(case))):
        for name, result in step_by_step(carried, which).items():
            own = kind if name == "dx" else wide
            assert accuracy.measure(library.to_numpy(result), truths[name], own, unit).c <= 2 * accuracy.C, (
                which,
                name,
            )


def test_masked_values_do_not_enter_step_by_step():
    case = accuracy.case("float64", 1, 2, (5, 2, 3), -1, 1e-3, masked=True)
    expected = step_by_step(case, "training")
    x, dy = (np.where(case.where, array, np.nan) for array in (case.x, case.dy))
    for name, result in step_by_step(case._replace(x=x, dy=dy), "training").items():
        np.testing.assert_array_equal(result, expected[name])
    assert np.all(expected["dx"][~case.where] == 0)


def table() -> Iterator[str]:
    """Yield the lines of the table of errors."""
    yield "Errors against the exact gradients, the worst of dx, dgamma and dbeta: in units of |gamma| inv_std max|dy|"
    yield "(of m max|dy| for the parameters), and in units of the derived bound, which must not exceed 1."
    yield ""
    yield f"{'map':<10} {'configuration':<24}" + "".join(f"{road:>20}" for road in ROADS)
    largest = dict.fromkeys(ROADS, Errors(0, 0))
    for name, case, which in CONFIGURATIONS:
        cells = ""
        for road in ROADS:
            found = errors(present(case), which, road)
            largest[road] = Errors(*np.maximum(largest[road], found).tolist())
            cells += f"{found.natural:>12.1e} ({found.of_bound:4.2f})"
        yield f"{which:<10} {name:<24}{cells}"
    yield ""
    yield f"{'largest':<35}" + "".join(f"{e.natural:>12.1e} ({e.of_bound:4.2f})" for e in largest.values())


if __name__ == "__main__":
    for line in table():
        print(line)
