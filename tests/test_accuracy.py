"""The precision of every result of refnorm against the exact one, element by element: what is met, on many inputs.

Let T be the sum of the magnitudes of the terms of a result's formula (see `training_terms` and `inference_terms`),
u = 2^-53 the unit roundoff of float64 and C = 8. On the inputs of this test the error is at most

- for y and dx in float32, float16 and bfloat16: 0.51 ulp wherever |result| >= 2^-20 T, and 0.5 ulp + C u T anywhere;
- for y and dx in float64, and for statistics and parameter gradients in every format: C u T.

T has no factor mean/std: x_hat counts as 1 + |x_hat|, because the mean is itself a sum of values which are on average
within a standard deviation of it. So T of y is at most |gamma| (1 + max|x_hat|) + |beta|. C is a count of roundings:
var, + eps, root, reciprocal, two for the deviation, a product each for x_hat and gamma. The sums of m values cost less
than one more here, as roundings go up and down; made-up data can have them all go one way. What is promised for any
data has a C that grows like log(m), is derived in `test_promise`, and is shown there to be needed.

The range. A format with p significant bits holds mean/std up to about 2^(p - 4): beyond, x itself has lost the
deviations, before any normalisation. Measured: up to 2^20 in float32, 2^8 in float16, 2^5 in bfloat16, 1e12 in float64.

Not verified here: complex arrays, array libraries other than NumPy (`test_arrays`), and data made up to lose digits or
to leave the range of float64 (`test_promise`).

Run ``python tests/test_accuracy.py`` for the measured table, with plain NumPy beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import refnorm
from refnorm import exact
from refnorm.formats import FORMATS
from refnorm.reference._layout import kept_axes

SAMPLED = True  # see conftest.py

U64 = 2.0**-53
C = 8
MEAN_OVER_STD = {
    "float64": (0, 1, 1e4, 1e8, 1e12),
    "float32": (0, 1, 2**10, 2**20),
    "float16": (0, 1, 2**5, 2**8),
    "bfloat16": (0, 1, 2**3, 2**5),
}
CONDITIONS = [(kind, ratio) for kind, ratios in MEAN_OVER_STD.items() for ratio in ratios]


def label(value: Any) -> str:
    """Write mean/std as the power that it is."""
    if isinstance(value, str) or value < 2:
        return str(value)
    return f"{value:.0e}" if isinstance(value, float) else f"2^{value.bit_length() - 1}"


EXTREMES = [(kind, ratio) for kind, ratios in MEAN_OVER_STD.items() for ratio in (ratios[0], ratios[-1])]
every_condition = pytest.mark.parametrize(
    ("kind", "ratio"),
    [pytest.param(*at, marks=() if at in EXTREMES else pytest.mark.slow) for at in CONDITIONS],
    ids=label,
)
every_format = pytest.mark.parametrize("kind", MEAN_OVER_STD)


class Case(NamedTuple):
    """Inputs of all four maps."""

    x: np.ndarray
    dy: np.ndarray
    gamma: np.ndarray | None
    beta: np.ndarray | None
    mean: np.ndarray
    var: np.ndarray
    eps: float
    axis: int | tuple[int, ...]
    where: np.ndarray | None


class Truth(NamedTuple):
    """An exact result and the sum of the magnitudes of its terms."""

    exact: exact.Exact
    terms: np.ndarray


class Measured(NamedTuple):
    """Errors of a result: in ulp where it is not small against its terms; the C that it needs; both the worst."""

    ulps: float
    c: float


def dtype_of(kind: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)


def case(kind: str, ratio: float, seed: int, shape: tuple[int, ...], axis: Any, eps: float, **options: bool) -> Case:
    """Draw inputs; channels differ in scale, in the sign of their mean and in gamma, of which one is 0."""
    rng = np.random.default_rng(seed)
    kept = kept_axes(axis, shape)
    channels = tuple(shape[a] for a in kept)
    along = tuple(n if a in kept else 1 for a, n in enumerate(shape))
    scale = 2.0 ** rng.integers(-3, 3, along)
    x = scale * (ratio * rng.choice([-1, 1], along) + rng.standard_normal(shape))
    gamma, beta = np.asarray(rng.standard_normal(channels)), np.asarray(rng.normal(0, 3, channels))
    if gamma.size > 2:
        gamma.reshape(-1)[-1] = 0
    mean = scale.reshape(channels) * (ratio + rng.standard_normal(channels))
    var = scale.reshape(channels) ** 2 * rng.uniform(0.5, 2, channels)
    dtype = dtype_of(kind)
    return Case(
        x.astype(dtype),
        (rng.standard_normal(shape) + 0.5).astype(dtype),
        None if options.get("no_gamma") else gamma.astype(dtype),
        None if options.get("no_beta") else beta.astype(dtype),
        np.asarray(mean, np.float32),
        np.asarray(var, np.float32),
        eps,
        axis,
        rng.random(shape) < 0.7 if options.get("masked") else None,
    )


def cases(kind: str, ratio: float) -> Iterator[Case]:
    """Yield the cases of one condition: every layout, small counts, masks, parameters given and not, many values."""
    yield case(kind, ratio, 1, (4, 3, 3, 2), 1, 1e-5)
    yield case(kind, ratio, 2, (6, 4, 2, 3), -1, 1e-3, masked=True)
    yield case(kind, ratio, 3, (6, 2, 3), (1, 2), 1e-12, no_gamma=True)
    yield case(kind, ratio, 4, (5, 7), (), 1.0, no_beta=True)
    yield case(kind, ratio, 5, (2, 6), 1, 1e-5)
    yield case(kind, ratio, 6, (3, 5), 1, 0.0)
    yield case(kind, ratio, 7, (9,), (), 1e-5, masked=True)
    yield case(kind, ratio, 8, (2, 3, 2, 2, 2), (1, -1), 1e3)
    yield case(kind, ratio, 9, (2**16 + 3, 2), 1, 1e-5)
    short = case(kind, ratio, 15, (8, 8, 8, 8, 2), -1, 1e-5)  # each axis too short to be folded
    yield short._replace(dy=np.abs(short.dy))
    yield case(kind, ratio, 10, (2, 99), 1, 1e-4)  # of two values, dx is eps / (var + eps) of its terms
    yield case(kind, ratio, 11, (2, 99), 1, 1e-9)
    yield cancelling(case(kind, ratio, 12, (5, 99), 1, 1e-5), 2.0**-19)
    yield cancelling(case(kind, ratio, 13, (5, 99), 1, 1e-5), 0)


def cancelling(case: Case, rest: float) -> Case:
    """Choose beta so that little of y is left in the first row, at least as far as the format can say."""
    y = exact.training(case.x, case.gamma, eps=case.eps).y.hi.reshape(case.x.shape)
    return case._replace(beta=(-y[0] * (1 - rest)).astype(case.x.dtype))


def many_rows(ratio: float) -> Case:
    """2^18 values along axis 0, where plain NumPy adds row to row and the error grows with their number."""
    return case("float64", ratio, 14, (2**18, 2), 1, 1e-5)


def training(case: Case) -> dict[str, Any]:
    y, saved = refnorm.batch_norm_training(
        case.x, case.gamma, case.beta, eps=case.eps, axis=case.axis, where=case.where
    )
    dx, dgamma, dbeta = refnorm.batch_norm_training_backward(case.dy, saved)
    statistics = saved.statistics
    return {"y": y, "dx": dx, "mean": statistics.mean, "var": statistics.var, "dgamma": dgamma, "dbeta": dbeta}


def training_truth(case: Case) -> dict[str, Truth]:
    options = {"eps": case.eps, "axis": case.axis, "where": case.where}
    forward = exact.training(case.x, case.gamma, case.beta, **options)
    gradients = exact.training_gradients(case.dy, case.x, case.gamma, **options)
    results = {"y": forward.y, "mean": forward.mean, "var": forward.var, **gradients._asdict()}
    terms = training_terms(case, forward)
    return {name: Truth(result, terms[name]) for name, result in results.items()}


def training_terms(case: Case, forward: exact.Forward) -> dict[str, np.ndarray]:
    """Sum up the magnitudes of the terms of each formula, with a = 1 + |x_hat| for x_hat.

    y       |gamma| a + |beta|
    dx      |gamma| / sqrt(var + eps) (|dy| + mean|dy| + a mean(|dy| a))
    dgamma  sum |dy| a          dbeta  sum |dy|
    mean    |mean| + sqrt(var)  var    var
    """
    along, total, dy, count = _bookkeeping(case)
    mean, var = forward.mean.hi.reshape(forward.mean.shape), forward.var.hi.reshape(forward.var.shape)
    inv_std = 1 / np.sqrt(var + case.eps)
    deviation = (case.x.astype(np.float64) - along(mean)) - along(forward.mean.lo.reshape(mean.shape))
    a = 1 + np.abs(deviation) * along(inv_std)
    gamma, beta = _magnitude(case.gamma, mean, 1), _magnitude(case.beta, mean, 0)
    spread = dy + along(total(dy) / count) + a * along(total(dy * a) / count)
    return {
        "y": along(gamma) * a + along(beta),
        "dx": along(gamma * inv_std) * spread,
        "mean": np.abs(mean) + np.sqrt(var),
        "var": var,
        "dgamma": total(dy * a),
        "dbeta": total(dy),
    }


def inference(case: Case) -> dict[str, Any]:
    y = refnorm.batch_norm_inference(case.x, case.mean, case.var, case.gamma, case.beta, eps=case.eps, axis=case.axis)
    dx, dgamma, dbeta = refnorm.batch_norm_inference_backward(
        case.dy, case.x, case.mean, case.var, case.gamma, eps=case.eps, axis=case.axis
    )
    return {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def inference_truth(case: Case) -> dict[str, Truth]:
    options = {"eps": case.eps, "axis": case.axis}
    y = exact.inference(case.x, case.mean, case.var, case.gamma, case.beta, **options)
    gradients = exact.inference_gradients(case.dy, case.x, case.mean, case.var, case.gamma, **options)
    terms = inference_terms(case)
    return {name: Truth(result, terms[name]) for name, result in {"y": y, **gradients._asdict()}.items()}


def inference_terms(case: Case) -> dict[str, np.ndarray]:
    """Sum up the magnitudes of the terms of each formula; the statistics are given, so x_hat counts as |x_hat|.

    y       |gamma x_hat| + |beta|        dx     |gamma dy| / sqrt(var + eps)
    dgamma  sum |dy x_hat|                dbeta  sum |dy|
    """
    along, total, dy, _ = _bookkeeping(case._replace(where=None))
    inv_std = 1 / np.sqrt(case.var.astype(np.float64) + case.eps)
    x_hat = np.abs(case.x.astype(np.float64) - along(case.mean.astype(np.float64))) * along(inv_std)
    gamma, beta = _magnitude(case.gamma, inv_std, 1), _magnitude(case.beta, inv_std, 0)
    return {
        "y": along(gamma) * x_hat + along(beta),
        "dx": along(gamma * inv_std) * dy,
        "dgamma": total(dy * x_hat),
        "dbeta": total(dy),
    }


def _bookkeeping(case: Case) -> tuple[Callable, Callable, np.ndarray, Any]:
    """Return: one value per channel against x; sum over a channel; |dy|, 0 where masked; count."""
    kept = kept_axes(case.axis, case.x.shape)
    reduced = tuple(a for a in range(case.x.ndim) if a not in kept)
    mask = np.ones(case.x.shape, bool) if case.where is None else case.where
    dy = np.where(mask, np.abs(case.dy.astype(np.float64)), 0)
    return lambda v: np.expand_dims(v, reduced), lambda v: v.sum(axis=reduced), dy, mask.sum(axis=reduced)


def _magnitude(parameter: np.ndarray | None, like: np.ndarray, default: float) -> np.ndarray:
    return np.full(like.shape, float(default)) if parameter is None else np.abs(parameter.astype(np.float64))


def ulp(values: np.ndarray, kind: str) -> np.ndarray:
    """Distance of neighbouring numbers of a format around each value."""
    bits, smallest = FORMATS[kind]
    _, exponent = np.frexp(values)
    return np.ldexp(1.0, np.maximum(exponent - 1, smallest) - (bits - 1))


def measure(result: np.ndarray, truth: Truth, kind: str, u: float = U64) -> Measured:
    """Measure a result that was computed with unit roundoff u and is rounded to a format."""
    error = np.abs(truth.exact.error_of(result))
    value = np.abs(truth.exact.hi).reshape(truth.exact.shape)
    place = ulp(value, kind)
    matters = (value >= 2.0**-20 * truth.terms) & (value > 0)
    ulps = float(np.max(error / place, initial=0, where=matters))
    beyond = np.maximum(error - (0 if 2 ** -FORMATS[kind][0] <= u else place / 2), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where(beyond > 0, beyond / (u * truth.terms), 0)
    return Measured(ulps, float(np.max(needed, initial=0))) if np.all(np.isfinite(error)) else Measured(np.inf, np.inf)


def measurements(results: dict[str, Any], truths: dict[str, Truth], kind: str, u: float = U64) -> dict[str, Measured]:
    """Measure all results of a case; y and dx have the format of x, the others are wide."""
    wide = "float64" if u == U64 else "float32"
    return {
        name: measure(results[name], truth, kind if name in ("y", "dx") else wide, u) for name, truth in truths.items()
    }


def broken(measured: dict[str, Measured], kind: str, u: float = U64) -> dict[str, Measured]:
    """Return the results that break the promise."""
    narrow = 2 ** -FORMATS[kind][0] > u
    return {
        name: errors
        for name, errors in measured.items()
        if errors.c > C or (narrow and name in ("y", "dx") and errors.ulps > 0.51)
    }


def plain_numpy(case: Case) -> dict[str, Any]:
    """Batch normalization as everyone writes it, for contrast: NumPy's mean and var, all in the format of x."""
    along, _, _, _ = _bookkeeping(case)
    kept = kept_axes(case.axis, case.x.shape)
    reduced = tuple(a for a in range(case.x.ndim) if a not in kept)
    x, mask = case.x, True if case.where is None else case.where
    with np.errstate(all="ignore"):
        mean, var = x.mean(axis=reduced, where=mask), x.var(axis=reduced, where=mask)
        inv_std = 1 / np.sqrt(var + np.asarray(case.eps, x.dtype))
        x_hat = (x - along(mean)) * along(inv_std)
        dy = np.where(mask, case.dy, case.dy.dtype.type(0))
        dgamma, dbeta = (dy * x_hat).sum(axis=reduced, where=mask), dy.sum(axis=reduced)
        count = np.asarray(np.broadcast_to(mask, x.shape).sum(axis=reduced), x.dtype)
        gamma = np.ones_like(mean) if case.gamma is None else case.gamma
        y = x_hat * along(gamma) + along(np.zeros_like(mean) if case.beta is None else case.beta)
        dx = along(gamma * inv_std) * (dy - along(dbeta / count) - x_hat * along(dgamma / count))
    zero = x.dtype.type(0)
    return {
        "y": np.where(mask, y, zero),
        "dx": np.where(mask, dx, zero),
        "mean": mean,
        "var": var,
        "dgamma": dgamma,
        "dbeta": dbeta,
    }


def worst(measured: list[dict[str, Measured]]) -> dict[str, Measured]:
    return {name: Measured(*np.max([m[name] for m in measured], axis=0).tolist()) for name in measured[0]}


def table() -> Iterator[str]:
    """Yield the lines of the measured table."""
    names = ("y", "dx", "mean", "var", "dgamma", "dbeta")
    yield "Worst errors. ulp: of y and dx where |result| >= 2^-20 T, at most 0.51."
    yield "C: in units of u T, for narrow y and dx what exceeds 0.5 ulp, at most 8 on these data."
    yield "Plain NumPy, in the format of x: y and dx in C (float64) or in ulp (the others)."
    yield ""
    yield f"{'':32}{'ulp':^16}  {'C':^42}   {'plain NumPy':^19}"
    yield (
        f"{'format':10}{'mean/std':>10}{'map':>12}{'y':>8}{'dx':>8}  "
        + "".join(f"{n:>7}" for n in names)
        + f"   {'y':>9} {'dx':>9}"
    )
    maps = ("training", "inference")
    rows = [(kind, ratio, name) for kind, ratio in CONDITIONS for name in maps]
    rows += [("float64", ratio, "2^18 rows") for ratio in MEAN_OVER_STD["float64"]]
    for kind, ratio, name in rows:
        inputs = [many_rows(ratio)] if name == "2^18 rows" else list(cases(kind, ratio))
        run, truth = (inference, inference_truth) if name == "inference" else (training, training_truth)
        ours = worst([measurements(run(c), truth(c), kind) for c in inputs])
        ulps = "".join(f"{ours[n].ulps:8.4f}" if kind != "float64" else f"{'':8}" for n in ("y", "dx"))
        line = f"{kind:10}{label(ratio):>10}{name:>12}{ulps}  " + "".join(
            f"{ours[n].c:7.2f}" if n in ours else f"{'':7}" for n in names
        )
        if name != "inference":
            plain = worst([measurements(plain_numpy(c), truth(c), kind) for c in inputs])
            pick = (lambda m: m.c) if kind == "float64" else (lambda m: m.ulps)
            line += f"   {pick(plain['y']):9.2g} {pick(plain['dx']):9.2g}"
        yield line


@every_condition
def test_training_and_its_gradients_keep_the_promise(kind, ratio):
    for inputs in cases(kind, ratio):
        assert broken(measurements(training(inputs), training_truth(inputs), kind), kind) == {}


@every_condition
def test_inference_and_its_gradients_keep_the_promise(kind, ratio):
    for inputs in cases(kind, ratio):
        assert broken(measurements(inference(inputs), inference_truth(inputs), kind), kind) == {}


@pytest.mark.parametrize("ratio", MEAN_OVER_STD["float64"], ids=label)
def test_the_promise_holds_for_many_rows(ratio):
    inputs = many_rows(ratio)
    assert broken(measurements(training(inputs), training_truth(inputs), "float64"), "float64") == {}


@pytest.mark.parametrize(
    ("kind", "exponent"),
    [
        *(("float64", 480), ("float64", -480), ("float32", 122), ("float32", -138)),
        *(("float16", 10), ("float16", -19), ("bfloat16", 122), ("bfloat16", -128)),
    ],
)
def test_the_promise_holds_near_overflow_and_among_subnormals(kind, exponent):
    inputs = case(kind, 1, 15, (6, 4), 1, 0.0)
    inputs = inputs._replace(x=np.ldexp(inputs.x.astype(np.float64), exponent).astype(inputs.x.dtype))
    truth = training_truth(inputs)
    if exponent < 0 and kind != "float64":
        del truth["dx"]  # gradients as huge as x is tiny: beyond the format
    assert broken(measurements(training(inputs), truth, kind), kind) == {}


@every_format
def test_results_beyond_the_format_are_infinite_and_those_below_are_subnormal(kind):
    bits, smallest = FORMATS[kind]
    largest = (2.0 - 2.0 ** (1 - bits)) * 2.0 ** (1 - smallest)
    gamma = np.array([largest, -largest, 2.0 ** (smallest - 2), 2.0 ** (smallest + 3 - bits)])
    inputs = case(kind, 1, 16, (9, 4), 1, 1e-5, no_beta=True)._replace(gamma=gamma.astype(dtype_of(kind)))
    inputs = inputs._replace(x=inputs.x * np.array([16, 16, 1, 1], inputs.x.dtype))  # std > 1: gamma / std is finite
    y = training(inputs)["y"].astype(np.float64)
    expected = exact.training(inputs.x, inputs.gamma, eps=inputs.eps).y.rounded(kind)
    assert np.isinf(expected[:, :2]).any()
    assert 0 < np.abs(expected[:, 2:]).max() < 2.0**smallest
    with np.errstate(invalid="ignore"):  # inf - inf
        near = np.abs(y - expected) <= (0 if kind != "float64" else (2 + C) * U64 * np.abs(expected) + 2.0**-1074)
    assert np.all((y == expected) | near)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_slope_beyond_float64_gives_no_finite_number_that_is_wrong(sign):
    """gamma / sqrt(var + eps) is one factor, as the docstring says; gamma x_hat may be finite where it is not."""
    gamma = sign * np.array([1.7e308, 1.0])
    x = np.array([[1.0, 2.0], [1.25, 3.0], [1.5, 7.0]])
    y, saved = refnorm.batch_norm_training(x, gamma)
    assert not np.isfinite(y[:, 0]).any()
    assert np.isfinite(y[:, 1]).all()
    assert not np.isfinite(refnorm.batch_norm_training_backward(x[::-1], saved)[0][:, 0]).any()


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_the_checker_objects_to_one_ulp(kind):
    inputs = case(kind, 1, 17, (6, 4), 1, 1e-5)
    results, truth = training(inputs), training_truth(inputs)
    for name in ("y", "dx"):
        away = np.where(truth[name].exact.error_of(results[name]) > 0, np.inf, -np.inf).astype(dtype_of(kind))
        wrong = results[name].copy()
        wrong[3, 2] = np.nextafter(wrong, away)[3, 2]
        assert set(broken(measurements({**results, name: wrong}, truth, kind), kind)) == {name}


@pytest.mark.parametrize("name", ["y", "dx", "mean", "var", "dgamma", "dbeta"])
def test_the_checker_objects_to_twice_the_promise_in_float64(name):
    inputs = case("float64", 0, 18, (6, 4), 1, 1e-5)
    results, truth = training(inputs), training_truth(inputs)
    wrong = results[name].copy()
    wrong.reshape(-1)[0] += 16 * U64 * truth[name].terms.reshape(-1)[0]
    assert set(broken(measurements({**results, name: wrong}, truth, "float64"), "float64")) == {name}


@pytest.mark.parametrize("ratio", [1e4, 1e8])
def test_the_checker_objects_to_one_pass_variance(ratio):
    inputs = case("float64", ratio, 19, (50, 3), 1, 1e-5)
    x, mean = inputs.x, inputs.x.mean(axis=0)
    var = (x * x).mean(axis=0) - mean * mean
    with np.errstate(invalid="ignore"):
        y = (x - mean) / np.sqrt(var + inputs.eps) * inputs.gamma + inputs.beta
    wrong = {**training(inputs), "var": var, "y": y}
    assert set(broken(measurements(wrong, training_truth(inputs), "float64"), "float64")) == {"var", "y"}


def test_the_checker_objects_to_sums_row_by_row():
    inputs = many_rows(1e4)
    measured = measurements(plain_numpy(inputs), training_truth(inputs), "float64")
    assert {"y", "dx", "mean"} <= set(broken(measured, "float64"))


def test_the_checker_objects_to_nan():
    inputs = case("float32", 1, 20, (6, 4), 1, 1e-5)
    wrong = training(inputs)
    wrong["dx"][0, 0] = np.nan
    assert set(broken(measurements(wrong, training_truth(inputs), "float32"), "float32")) == {"dx"}


def test_the_cases_reach_results_that_are_small_against_their_terms():
    small = {"y": 0, "dx": 0}
    for inputs in cases("float32", 1):
        truth = training_truth(inputs)
        for name in small:
            value = np.abs(truth[name].exact.hi).reshape(inputs.x.shape)
            small[name] += np.sum((value > 0) & (value < 2.0**-20 * truth[name].terms))
    assert min(small.values()) > 100


def test_the_table_has_a_row_per_condition():
    assert [line.split()[:3] for line in itertools.islice(table(), 6, 8)] == [
        ["float64", "0", "training"],
        ["float64", "0", "inference"],
    ]


if __name__ == "__main__":
    for line in table():
        print(line)
