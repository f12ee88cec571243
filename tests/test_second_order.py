"""Forward mode and second order: jvp and double backward of both maps, in every format, against exact values.

Verified here:

- the exact road: the series along a direction equal the mechanical second derivative of the definition, as rationals;
  the jvp equals `fractions_road`'s dual numbers; the rounding of each;
- the precision that `test_accuracy` asks for, of jvp and double backward: 0.51 ulp in narrow formats where
  |result| >= 2^-20 T, C u T otherwise, with C = 8 (3.9 is met, on these inputs);
- every array library of `arrays`; masks, also over NaN; every axis; two values, one value, eps = 0, absent gamma and
  directions; NaN and inf in x, dy and every direction;
- the same derivatives by the complex step through `batch_norm_*` and `batch_norm_*_backward`, and the adjoint identity;
- that each of these checks objects to one term off by a thousandth.

Not verified: third derivatives; second order in eps or in given statistics; speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import fractions_road as road
import numpy as np
import pytest
import test_accuracy as accuracy
from arrays import on_every_format

import refnorm
from refnorm import exact
from refnorm.formats import FORMATS
from refnorm.reference._layout import kept_axes

SAMPLED = True  # see conftest.py

C = accuracy.C
MAPS = ("training", "inference")
every_map = pytest.mark.parametrize("which", MAPS)


class Direction(NamedTuple):
    """Directions for the jvp, which are the upstream gradients of the double backward."""

    dx: np.ndarray
    dgamma: np.ndarray | None
    dbeta: np.ndarray | None


def direction(case: accuracy.Case, seed: int) -> Direction:
    rng = np.random.default_rng(seed)
    channels, dtype = case.mean.shape, case.x.dtype
    dx = (rng.standard_normal(case.x.shape) + 0.5).astype(dtype)
    return Direction(dx, *(np.asarray(rng.standard_normal(channels)).astype(dtype) for _ in range(2)))


def cases(kind: str, ratio: float) -> Iterator[tuple[accuracy.Case, Direction]]:
    for seed, case in enumerate(accuracy.cases(kind, ratio)):
        if case.x.size < 10_000:
            yield case, direction(case, seed)
    some = accuracy.case(kind, ratio, 21, (6, 4, 3), 1, 1e-5, no_gamma=True)
    yield some, direction(some, 22)._replace(dgamma=None)
    yield some, direction(some, 23)._replace(dbeta=None)
    yield some, direction(some, 24)._replace(dgamma=None, dbeta=None)


def ours(case: accuracy.Case, moves: Direction, which: str) -> dict[str, Any]:
    if which == "training":
        _, saved = refnorm.batch_norm_training(case.x, case.gamma, eps=case.eps, axis=case.axis, where=case.where)
        jvp = refnorm.batch_norm_training_jvp(*moves, saved)
        second = refnorm.batch_norm_training_double_backward(*moves, case.dy, saved)
    else:
        rest, options = (case.x, case.mean, case.var, case.gamma), {"eps": case.eps, "axis": case.axis}
        jvp = refnorm.batch_norm_inference_jvp(*moves, *rest, **options)
        second = refnorm.batch_norm_inference_double_backward(*moves, case.dy, *rest, **options)
    return {"jvp": jvp} | dict(zip(("ddy", "dx", "dgamma"), second, strict=True))


def truth(case: accuracy.Case, moves: Direction, which: str) -> dict[str, accuracy.Truth]:
    options = {"eps": case.eps, "axis": case.axis}
    if which == "training":
        options["where"] = case.where
        jvp = exact.training_jvp(*moves, case.x, case.gamma, **options)
        second = exact.training_double_backward(*moves, case.dy, case.x, case.gamma, **options)
    else:
        rest = (case.x, case.mean, case.var, case.gamma)
        jvp = exact.inference_jvp(*moves, *rest, **options)
        second = exact.inference_double_backward(*moves, case.dy, *rest, **options)
    terms = terms_of(case, moves, which)
    return {name: accuracy.Truth(e, terms[name]) for name, e in {"jvp": jvp, **second._asdict()}.items()}


def terms_of(case: accuracy.Case, moves: Direction, which: str) -> dict[str, np.ndarray]:
    """Sum up the magnitudes of terms, with a = 1 + |x_hat| for x_hat and R(v) = |v| + mean|v| + a mean(|v| a) for P.

    jvp, ddy  |gamma|/s R(ddx) + |ddgamma| a + |ddbeta|           dgamma  sum |ddx| R(dy) / s
    dx        (|ddgamma| R(dy) + |gamma|/s (mean(|ddx| a) R(dy) + mean(|dy| a) R(ddx) + mean(|ddx| R(dy)) a)) / s

    In inference a = |x_hat| and R(v) = |v|, and of dx the first term is all there is.
    """
    training = which == "training"
    if not training:
        case = case._replace(where=None)
    along, total, dy, count = accuracy._bookkeeping(case)
    _, _, ddx, _ = accuracy._bookkeeping(case._replace(dy=moves.dx))
    mean, var = case.mean.astype(float), case.var.astype(float)
    centred = case.x.astype(float) - along(mean)
    if training:
        forward = exact.training(case.x, eps=case.eps, axis=case.axis, where=case.where)
        mean, var = (e.hi.reshape(mean.shape) for e in (forward.mean, forward.var))
        centred = (case.x.astype(float) - along(mean)) - along(forward.mean.lo.reshape(mean.shape))
    inv_std = 1 / np.sqrt(var + case.eps)
    a = float(training) + np.abs(centred) * along(inv_std)
    gamma = accuracy._magnitude(case.gamma, inv_std, 1)
    ddgamma, ddbeta = (accuracy._magnitude(d, inv_std, 0) for d in (moves.dgamma, moves.dbeta))

    def rest(v: np.ndarray) -> np.ndarray:
        return v + along(total(v) / count) + a * along(total(v * a) / count) if training else v

    jvp = along(gamma * inv_std) * rest(ddx) + along(ddgamma) * a + along(ddbeta)
    dx = along(ddgamma) * rest(dy)
    if training:
        crossed = along(total(ddx * a) / count) * rest(dy) + along(total(dy * a) / count) * rest(ddx)
        dx = dx + along(gamma * inv_std) * (crossed + along(total(ddx * rest(dy)) / count) * a)
    return {"jvp": jvp, "ddy": jvp, "dx": along(inv_std) * dx, "dgamma": inv_std * total(ddx * rest(dy))}


def broken(results: dict[str, Any], truths: dict[str, accuracy.Truth], kind: str, u: float = accuracy.U64) -> set[str]:
    """Return the results that break the promise."""
    found, wide = set(), "float64" if u == accuracy.U64 else "float32"
    for name, result in results.items():
        own = wide if name == "dgamma" else kind
        errors = accuracy.measure(result, truths[name], own, u)
        if errors.c > C or (2 ** -FORMATS[own][0] > u and errors.ulps > 0.51):
            found.add(name)
    return found


@every_map
@accuracy.every_condition
def test_jvp_and_double_backward_keep_the_promise(kind, ratio, which):
    for case, moves in cases(kind, ratio):
        assert broken(ours(case, moves, which), truth(case, moves, which), kind) == set()


@every_map
@on_every_format
def test_they_keep_it_on_every_library(library, kind, which):
    for case, moves in list(cases(kind, 4))[:4]:
        carried = case._replace(
            **{n: library.optional(getattr(case, n)) for n in ("x", "dy", "gamma", "mean", "var", "where")}
        )
        results = ours(carried, Direction(*map(library.optional, moves)), which)
        results = {name: library.to_numpy(value) for name, value in results.items()}
        assert broken(results, truth(case, moves, which), kind, 2.0 ** -FORMATS[library.wide][0]) == set()


@every_map
@pytest.mark.parametrize("name", ["jvp", "ddy", "dx", "dgamma"])
def test_the_checker_objects_to_three_times_the_promise(which, name):
    case = accuracy.case("float64", 0, 18, (6, 4), 1, 1e-5)
    moves = direction(case, 1)
    results, truths = ours(case, moves, which), truth(case, moves, which)
    wrong = results[name].copy()
    wrong.reshape(-1)[0] += 24 * accuracy.U64 * truths[name].terms.reshape(-1)[0]
    assert broken({**results, name: wrong}, truths, "float64") == {name}


# The exact road


SMALL = {
    "channels-first": accuracy.case("float64", 1, 1, (2, 2, 2), 1, 1e-5),
    "channels-last-masked": accuracy.case("float32", 1, 2, (4, 2, 3), -1, 1e-3, masked=True),
    "two-axes-kept": accuracy.case("float16", 1, 3, (3, 2, 2), (1, 2), 1.0),
    "per-tensor": accuracy.case("float64", 1e8, 4, (2, 3), (), 1e-2),
    "two-values": accuracy.case("float64", 1, 5, (2, 3), 1, 1e-9),
    "eps-zero": accuracy.case("float64", 1, 6, (4, 2), 1, 0.0, no_gamma=True),
}
every_small_case = pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)


def options_of(case: accuracy.Case) -> dict[str, Any]:
    return {"eps": case.eps, "axis": case.axis, "where": case.where}


def differing(a: exact.Exact, b: exact.Exact) -> list[int]:
    """Return where two exact results are not the same number."""
    return [i for i in range(a.hi.size) if (a.number(i).p, a.number(i).q) != (b.number(i).p, b.number(i).q)]


@every_small_case
def test_series_along_a_direction_equal_the_second_derivative_of_the_definition(case):
    arguments = (*direction(case, 7), case.dy, case.x, case.gamma)
    fast = exact.training_double_backward(*arguments, **options_of(case))
    slow = exact.training_double_backward_mechanical(*arguments, **options_of(case))
    for name, a, b in zip(fast._fields, fast, slow, strict=True):
        assert differing(a, b) == [], name
        assert np.array_equal(a.rounded(), b.rounded())


@every_small_case
def test_the_jvp_equals_dual_numbers_in_fractions(case):
    moves = direction(case, 8)
    jvp = exact.training_jvp(*moves, case.x, case.gamma, **options_of(case))
    kept = kept_axes(case.axis, case.x.shape)
    order = kept + tuple(a for a in range(case.x.ndim) if a not in kept)
    mask = np.ones(case.x.shape, bool) if case.where is None else case.where
    channels = case.mean.size
    index, counted = (
        a.transpose(order).reshape(channels, -1) for a in (np.arange(case.x.size).reshape(mask.shape), mask)
    )
    gamma = np.ones(channels) if case.gamma is None else case.gamma.reshape(-1)
    for c in range(channels):
        flat = index[c][counted[c]]
        x, dx = (array.reshape(-1)[flat].astype(float).tolist() for array in (case.x, moves.dx))
        g, dg, db = (float(array.reshape(-1)[c]) for array in (gamma, moves.dgamma, moves.dbeta))
        expected = road_jvp(x, dx, g, dg, db, case.eps)
        for i, (p, q, v) in zip(flat.tolist(), expected, strict=True):
            number = jvp.number(i)
            assert (number.p, number.q, number.v) == (fmpq_of(p), fmpq_of(q), fmpq_of(v))


def fmpq_of(value: Any) -> Any:
    from flint import fmpq

    return fmpq(value.numerator, value.denominator)


def road_jvp(x: list[float], dx: list[float], gamma: float, dgamma: float, dbeta: float, eps: float) -> list[tuple]:
    """Run Algorithm 1 on dual numbers x + t dx, ...; return what stands before t, as (p, q, v)."""
    from fractions import Fraction

    _, var = road.variance_of([Fraction(value) for value in x])
    v = var + Fraction(eps)
    points = [road.Dual(v, Fraction(a), 0, Fraction(b)) for a, b in zip(x, dx, strict=True)]
    share = road.Dual(v, Fraction(1, len(x)))
    mean = sum(points[1:], points[0]) * share
    centred = [point + road.Dual(v, -1) * mean for point in points]
    squares = [c * c for c in centred]
    moving = sum(squares[1:], squares[0]) * share + road.Dual(v, Fraction(eps))
    slope, shift = road.Dual(v, Fraction(gamma), 0, Fraction(dgamma)), road.Dual(v, 0, 0, Fraction(dbeta))
    y = [slope * c * road.inverse_root(moving) + shift for c in centred]
    return [(value.c, value.d, v) for value in y]


@every_small_case
def test_the_filter_decides_as_the_exact_numbers_do(case):
    for which in MAPS:
        for name, (result, _) in truth(case, direction(case, 9), which).items():
            numbers = [result.number(i) for i in range(result.hi.size)]
            for kind in FORMATS:
                expected = np.reshape([n.rounded(kind) for n in numbers], result.shape)
                assert np.array_equal(result.rounded(kind), expected), (which, name, kind)


def test_a_constant_channel_without_eps_has_no_derivative():
    x, dy = np.full((3, 1), 0.1), np.array([[1.0], [2.0], [4.0]])
    assert np.all(np.isnan(exact.training_jvp(dy, None, None, x, eps=0.0).rounded()))
    assert np.all(np.isnan(exact.training_double_backward(dy, None, None, dy, x, eps=0.0).dx.rounded()))
    _, saved = refnorm.batch_norm_training(x, eps=0.0)
    assert not np.any(np.isfinite(refnorm.batch_norm_training_jvp(dy, None, None, saved)))


# Another road: the complex step through the forward, and through the backward

H = 1e-40


def stepped(array: np.ndarray | None, move: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    array = np.ones(like.shape) if array is None else array
    return array + 1j * H * (np.zeros(like.shape) if move is None else move)


def forward_of(case: accuracy.Case, moves: Direction, which: str) -> np.ndarray:
    x = stepped(case.x, moves.dx, case.x)
    gamma = stepped(case.gamma, moves.dgamma, case.mean)
    beta = stepped(case.beta, moves.dbeta, case.mean)
    if which == "training":
        return refnorm.batch_norm_training(x, gamma, beta, eps=case.eps, axis=case.axis, where=case.where)[0]
    mean, var = (a.astype(complex) for a in (case.mean, case.var))
    return refnorm.batch_norm_inference(x, mean, var, gamma, beta, eps=case.eps, axis=case.axis)


def backward_of(case: accuracy.Case, x: np.ndarray, gamma: np.ndarray, dy: np.ndarray, which: str) -> tuple:
    if which == "training":
        _, saved = refnorm.batch_norm_training(x, gamma, eps=case.eps, axis=case.axis, where=case.where)
        return refnorm.batch_norm_training_backward(dy, saved)
    mean, var = (a.astype(complex) for a in (case.mean, case.var))
    return refnorm.batch_norm_inference_backward(dy, x, mean, var, gamma, eps=case.eps, axis=case.axis)


def by_complex_step(case: accuracy.Case, moves: Direction, which: str) -> dict[str, np.ndarray]:
    """Differentiate the forward along a direction, and <direction, backward> towards every entry of dy, x and gamma."""
    gamma = np.ones(case.mean.shape) if case.gamma is None else case.gamma
    inputs = {"x": case.x, "gamma": gamma, "dy": case.dy}
    weights = [np.zeros(case.mean.shape) if d is None else d for d in moves]
    results = {"jvp": forward_of(case, moves, which).imag / H}
    for result, argument in (("ddy", "dy"), ("dx", "x"), ("dgamma", "gamma")):
        slopes = []
        for i in range(inputs[argument].size):
            moved = {name: array.astype(complex) for name, array in inputs.items()}
            moved[argument].reshape(-1)[i] += 1j * H
            gradients = backward_of(case, moved["x"], moved["gamma"], moved["dy"], which)
            slopes.append(sum(np.sum(w * g) for w, g in zip(weights, gradients, strict=True)).imag / H)
        results[result] = np.reshape(slopes, inputs[argument].shape)
    return results


STEPPED = {
    "channels-first": accuracy.case("float64", 1, 1, (3, 2, 2), 1, 1e-5),
    "channels-last-masked": accuracy.case("float64", 1, 2, (5, 2, 3), -1, 1e-3, masked=True),
    "two-axes-kept": accuracy.case("float64", 1, 3, (4, 2, 2), (1, 2), 1.0),
    "per-tensor-masked": accuracy.case("float64", 1, 5, (4, 4), (), 1e-5, masked=True),
    "eps-zero": accuracy.case("float64", 1, 6, (6, 2), 1, 0.0),
    "eps-large": accuracy.case("float64", 1, 8, (4, 2, 2), 1, 100.0),
}
every_stepped_case = pytest.mark.parametrize("case", STEPPED.values(), ids=STEPPED)


def disagreeing(results: dict, others: dict, terms: dict) -> set[str]:
    """Return the results that differ from the complex step's by more than 4 C u T (see `test_gradients`)."""
    return {n for n, r in results.items() if np.any(np.abs(r - others[n]) > 4 * C * accuracy.U64 * terms[n])}


@every_map
@every_stepped_case
def test_they_are_the_derivatives_of_the_forward_and_of_the_backward(case, which):
    if which == "inference":
        case = case._replace(where=None)
    moves = direction(case, 10)
    numerical, terms = by_complex_step(case, moves, which), terms_of(case, moves, which)
    assert disagreeing(ours(case, moves, which), numerical, terms) == set()


def naive(case: accuracy.Case, moves: Direction, **scale: float) -> dict[str, np.ndarray]:
    """Write the training formulas out in NumPy, each term scaled: a checker is shown terms off by a thousandth."""
    along, total, _, count = accuracy._bookkeeping(case)
    mask = np.ones(case.x.shape, bool) if case.where is None else case.where
    dy, ddx = (np.where(mask, a, 0) for a in (case.dy, moves.dx))
    mean = total(np.where(mask, case.x, 0)) / count
    centred = np.where(mask, case.x - along(mean), 0)
    s = along(1 / np.sqrt(total(centred**2) / count + case.eps))
    x_hat, gamma = centred * s, along(case.gamma)
    ddgamma, ddbeta = along(moves.dgamma), along(moves.dbeta)

    def average(values: np.ndarray) -> np.ndarray:
        return along(total(values) / count)

    def rest(v: np.ndarray) -> np.ndarray:
        return (v - average(v) - x_hat * average(v * x_hat)) * mask

    def k(name: str) -> float:
        return scale.get(name, 1.0)

    dx = k("dx_ddgamma") * s * ddgamma * rest(dy)
    dx = dx - k("dx_first") * gamma * s * s * average(ddx * x_hat) * rest(dy)
    dx = dx - k("dx_second") * gamma * s * s * average(dy * x_hat) * rest(ddx)
    dx = dx - k("dx_third") * gamma * s * s * average(ddx * rest(dy)) * x_hat
    ddy = k("ddy_dx") * gamma * s * rest(ddx) + k("ddy_ddgamma") * ddgamma * x_hat + k("ddy_ddbeta") * ddbeta * mask
    return {"ddy": ddy, "dx": dx, "dgamma": k("dgamma") * total(ddx * rest(dy) * s)}


TERMS = ["dx_ddgamma", "dx_first", "dx_second", "dx_third", "ddy_dx", "ddy_ddgamma", "ddy_ddbeta", "dgamma"]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("case", ["channels-first", "channels-last-masked", "two-axes-kept"])
def test_both_checks_object_to_one_term_off_by_a_thousandth(case, term):
    case = STEPPED[case]
    moves = direction(case, 11)
    numerical, terms = by_complex_step(case, moves, "training"), terms_of(case, moves, "training")
    right, wrong = naive(case, moves), naive(case, moves, **{term: 1.001})
    truths = truth(case, moves, "training")
    assert disagreeing(right, numerical, terms) == set()
    assert disagreeing(wrong, numerical, terms) == {term.partition("_")[0]}
    assert broken(wrong, truths, "float64") == {term.partition("_")[0]}


@every_map
@every_stepped_case
def test_jvp_and_backward_are_adjoint(case, which):
    """<dy, J v> = <J^T dy, v>: the same number by two functions, up to the rounding of its terms."""
    if which == "inference":
        case = case._replace(where=None)
    moves = direction(case, 12)
    gradients = accuracy.training(case) if which == "training" else accuracy.inference(case)
    jvp = ours(case, moves, which)["jvp"]
    dy = case.dy if case.where is None else np.where(case.where, case.dy, 0)
    left = np.sum(dy * jvp)
    right = sum(np.sum(m * gradients[n]) for m, n in zip(moves, ("dx", "dgamma", "dbeta"), strict=True))
    terms = np.sum(np.abs(dy) * terms_of(case, moves, which)["jvp"])
    assert abs(left - right) <= 4 * (C + np.log2(dy.size)) * accuracy.U64 * terms
    assert abs(left - 1.001 * right) > 4 * (C + np.log2(dy.size)) * accuracy.U64 * terms


# Arguments


def prepared(seed: int = 30, **options: bool) -> tuple[accuracy.Case, Direction]:
    case = accuracy.case("float64", 1, seed, (6, 3, 2), 1, 1e-5, **options)
    return case, direction(case, seed)


FUNCTIONS: dict[str, Callable] = {
    "training_jvp": lambda c, m, s: refnorm.batch_norm_training_jvp(*m, s),
    "training_double_backward": lambda c, m, s: refnorm.batch_norm_training_double_backward(*m, c.dy, s),
    "inference_jvp": lambda c, m, s: refnorm.batch_norm_inference_jvp(*m, c.x, c.mean, c.var, c.gamma, eps=c.eps),
    "inference_double_backward": lambda c, m, s: refnorm.batch_norm_inference_double_backward(
        *m, c.dy, c.x, c.mean, c.var, c.gamma, eps=c.eps
    ),
}
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def saved_of(case: accuracy.Case) -> Any:
    return refnorm.batch_norm_training(case.x, case.gamma, eps=case.eps, axis=case.axis, where=case.where)[1]


@every_function
@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("dx", np.zeros((6, 3)), ValueError, r"shape \(6, 3\), expected \(6, 3, 2\)"),
        ("dgamma", np.zeros(2), ValueError, r"dgamma has shape \(2,\), expected \(3,\)"),
        ("dbeta", np.zeros((1, 3)), ValueError, r"dbeta has shape \(1, 3\), expected \(3,\)"),
        ("dx", np.zeros((6, 3, 2), int), TypeError, "int64, expected a floating-point array"),
        ("dx", [[1.0]], TypeError, "must be an array"),
        ("dx", None, TypeError, "must be an array"),
    ],
)
def test_a_direction_that_does_not_fit_is_refused(function, field, value, error, message):
    case, moves = prepared()
    with pytest.raises(error, match=message):
        function(case, moves._replace(**{field: value}), saved_of(case))


@every_function
def test_no_argument_is_written_to_and_memory_layout_matters_by_the_order_of_sums_alone(function):
    case, moves = prepared()
    expected = function(case, moves, saved_of(case))

    def awkward(array: np.ndarray) -> np.ndarray:
        laid = np.asfortranarray(array[::-1])[::-1]
        laid.flags.writeable = False
        return laid

    case = case._replace(x=awkward(case.x), dy=awkward(case.dy))
    results = function(case, Direction(*map(awkward, moves)), saved_of(case))
    assert isinstance(results, tuple) == isinstance(expected, tuple)
    u, depth = 2.0**-53, 6  # blocks follow memory; sums of so few values are six additions deep, in three means
    for a, b in zip(expected, results, strict=True):  # of a jvp: row by row
        np.testing.assert_allclose(a, b, rtol=0, atol=2 * 3 * depth * u * np.max(np.abs(expected[0]), initial=1))


def test_what_is_masked_enters_nothing_nan_included():
    case, moves = prepared(masked=True)
    case = case._replace(axis=1)
    expected = ours(case, moves, "training")
    poisoned = [np.where(case.where, a, np.nan) for a in (case.x, case.dy, moves.dx)]
    results = ours(case._replace(x=poisoned[0], dy=poisoned[1]), moves._replace(dx=poisoned[2]), "training")
    for name, value in results.items():
        np.testing.assert_array_equal(value, expected[name])
    for name in ("jvp", "ddy", "dx"):
        assert np.all(results[name][~case.where] == 0)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["x", "dy", "dx"])
def test_nan_stays_in_its_channel(field, poison):
    case, moves = prepared()
    clean = ours(case, moves, "training")
    if field == "dx":
        moves.dx[0, 1, 0] = poison
    else:
        getattr(case, field)[0, 1, 0] = poison
    results = ours(case, moves, "training")
    others = [0, 2]
    for name, value in results.items():
        own = value[1] if name == "dgamma" else value[:, 1]
        same = value[others] if name == "dgamma" else value[:, others]
        np.testing.assert_array_equal(same, clean[name][others] if name == "dgamma" else clean[name][:, others])
        if not (field == "dy" and name in ("jvp", "ddy")):  # these do not depend on dy
            assert not np.any(np.isfinite(own)), name


REACHED = {  # in a frozen layer: what a poisoned element reaches, itself alone or the sum of its channel
    "x": {"jvp", "ddy"},  # through ddgamma x_hat
    "dy": {"dx", "dgamma"},
    "dx": {"jvp", "ddy", "dgamma"},
    "dgamma": {"jvp", "ddy", "dx"},
    "dbeta": {"jvp", "ddy"},
}


@pytest.mark.parametrize("field", REACHED)
def test_nan_stays_in_its_element_in_a_frozen_layer(field):
    case, moves = prepared()
    clean = ours(case, moves, "inference")
    array = getattr(case if field in ("x", "dy") else moves, field)
    array[(0, 1, 0) if array.ndim > 1 else 1] = np.nan
    results = ours(case, moves, "inference")
    for name, value in results.items():
        reached = np.zeros(value.shape, bool)
        if name in REACHED[field]:
            reached[1 if name == "dgamma" else (0, 1, 0) if array.ndim > 1 else (slice(None), 1)] = True
        np.testing.assert_array_equal(np.isnan(value), reached, err_msg=name)
        np.testing.assert_array_equal(value[~reached], clean[name][~reached])


@pytest.mark.parametrize("eps", [1e-5, 0.0])
@pytest.mark.parametrize("masked", [False, True])
def test_one_value_does_not_move_and_without_eps_is_nan(eps, masked):
    """y is beta whatever x is: jvp and ddy are dbeta, the rest is 0; 0/0 without eps, as in exact arithmetic."""
    x, dy, dx = (np.array([[[v], [-v]]]) for v in (1.5, 0.7, 0.3))
    where = None
    if masked:  # the second sample is padding
        x, dy, dx = (np.concatenate([a, 9 + a]) for a in (x, dy, dx))
        where = np.array([True, False]).reshape(2, 1, 1)
    gamma, dgamma, dbeta = np.array([2.0, 3.0]), np.array([0.5, 0.25]), np.array([1.0, -2.0])
    _, saved = refnorm.batch_norm_training(x, gamma, eps=eps, where=where)
    jvp = refnorm.batch_norm_training_jvp(dx, dgamma, dbeta, saved)
    ddy, moved, of_gamma = refnorm.batch_norm_training_double_backward(dx, dgamma, dbeta, dy, saved)
    zero = 0.0 if eps else np.nan
    for own, value in ((dbeta + zero, jvp), (dbeta + zero, ddy), (np.full(2, zero), moved)):
        np.testing.assert_array_equal(value[0, :, 0], own)
        assert np.all(value[1:] == 0)
    np.testing.assert_array_equal(of_gamma, np.full(2, zero))
    options = {"eps": eps, "where": where}
    truth = exact.training_double_backward(dx, dgamma, dbeta, dy, x, gamma, **options)
    for value, right in zip((ddy, moved, of_gamma), truth, strict=True):
        np.testing.assert_array_equal(value, right.rounded())


def test_directions_of_none_are_directions_of_zero():
    case, moves = prepared()
    zero = np.zeros(3)
    for which in MAPS:
        absent = ours(case, moves._replace(dgamma=None, dbeta=None), which)
        given = ours(case, moves._replace(dgamma=zero, dbeta=zero), which)
        for name in absent:
            np.testing.assert_array_equal(absent[name], given[name])


def test_an_empty_batch_moves_nothing_in_inference():
    empty, one = np.zeros((0, 3)), np.ones(3)
    assert refnorm.batch_norm_inference_jvp(empty, one, one, empty, one, one).shape == (0, 3)
    ddy, dx, dgamma = refnorm.batch_norm_inference_double_backward(empty, one, one, empty, empty, one, one)
    assert ddy.shape == dx.shape == (0, 3)
    np.testing.assert_array_equal(dgamma, np.zeros(3))


def test_gamma_is_differentiated_whether_or_not_it_was_given():
    case, moves = prepared()
    absent = ours(case._replace(gamma=None), moves, "training")
    given = ours(case._replace(gamma=np.ones(3)), moves, "training")
    for name in absent:
        np.testing.assert_array_equal(absent[name], given[name])


def test_a_gradient_penalty_is_what_it_was_made_for():
    """d/dx of |dx|^2 / 2 is the double backward with ddx = dx: against central differences of the penalty."""
    case, _ = prepared(31)

    def penalty(x: np.ndarray) -> float:
        _, saved = refnorm.batch_norm_training(x, case.gamma, eps=case.eps)
        return 0.5 * np.sum(refnorm.batch_norm_training_backward(case.dy, saved)[0] ** 2)

    saved = saved_of(case)
    dx, _, _ = refnorm.batch_norm_training_backward(case.dy, saved)
    _, slope, _ = refnorm.batch_norm_training_double_backward(dx, None, None, case.dy, saved)
    rng = np.random.default_rng(3)
    towards = rng.standard_normal(case.x.shape)
    h = 1e-5  # truncation of order h^2 = 1e-10, rounding of order u / h = 1e-11
    numeric = (penalty(case.x + h * towards) - penalty(case.x - h * towards)) / (2 * h)
    assert abs(numeric - np.sum(slope * towards)) <= 1e-6 * np.sum(np.abs(slope * towards))
