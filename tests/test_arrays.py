"""One source, every array library: the same promise of precision, in the caller's library and on the caller's device.

Verified, on each library of `arrays`: the four maps, statistics and running statistics against the exact results, with
the bound of `test_accuracy` (u is that of the widest format the library has: JAX without 64-bit types computes in
float32); that outputs stay in the library, on the device and in the format of x; that no array is transferred to the
CPU; the single rounding to float16 and bfloat16, at every tie. And that ``import refnorm`` imports no framework.

Not verified: torch and JAX on a GPU; compiled code (jax.jit, torch.compile); speed.

Known: XLA on the CPU replaces subnormal float32 and bfloat16 numbers by 0, so JAX arrays lose them, refnorm or not.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import array_api_compat
import arrays
import numpy as np
import pytest
import test_accuracy as accuracy
from arrays import (
    DTYPES,
    LIBRARIES,
    Library,
    on_every_format,
    on_every_library,
    on_every_library_but_numpy,
    on_every_narrow_format,
)

import refnorm
from refnorm import exact
from refnorm.formats import FORMATS, dtype_name, round_once
from refnorm.reference._layout import namespace


def unit(library: Library) -> float:
    return 2.0 ** -FORMATS[library.wide][0]


def cases(kind: str) -> list[accuracy.Case]:
    """Choose inputs: channels first and last, masked, several kept axes, per tensor, more than a few values."""
    return [
        accuracy.case(kind, 4, 1, (4, 3, 3, 2), 1, 1e-5),
        accuracy.case(kind, 4, 2, (6, 4, 2, 5), -1, 1e-3, masked=True),
        accuracy.case(kind, 4, 3, (6, 2, 3), (1, 2), 1e-5, no_gamma=True),
        accuracy.case(kind, 4, 4, (5, 7), (), 1.0, no_beta=True),
        accuracy.case(kind, 4, 5, (9,), (), 1e-5, masked=True),
        accuracy.case(kind, 4, 6, (157, 5), 1, 1e-5),
    ]


def carried(case: accuracy.Case, library: Library) -> accuracy.Case:
    """Carry a case to a library."""
    return case._replace(
        **{name: library.optional(getattr(case, name)) for name in ("x", "dy", "gamma", "beta", "mean", "var", "where")}
    )


def back(results: dict, library: Library) -> dict[str, np.ndarray]:
    return {name: library.to_numpy(value) for name, value in results.items()}


@on_every_format
def test_training_and_its_gradients_keep_the_promise(library, kind):
    for case in cases(kind):
        results = back(accuracy.training(carried(case, library)), library)
        measured = accuracy.measurements(results, accuracy.training_truth(case), kind, unit(library))
        assert accuracy.broken(measured, kind, unit(library)) == {}


@on_every_format
def test_inference_and_its_gradients_keep_the_promise(library, kind):
    for case in cases(kind):
        results = back(accuracy.inference(carried(case, library)), library)
        measured = accuracy.measurements(results, accuracy.inference_truth(case), kind, unit(library))
        assert accuracy.broken(measured, kind, unit(library)) == {}


@on_every_narrow_format
def test_training_equals_numpy_bit_for_bit_unless_the_exact_result_is_next_to_a_tie(library, kind):
    for case in cases(kind)[1:4]:
        ours, numpys = back(accuracy.training(carried(case, library)), library), accuracy.training(case)
        truth = accuracy.training_truth(case)
        for name in ("y", "dx"):
            differs = ours[name] != numpys[name]
            tie = accuracy.ulp(truth[name].exact.hi.reshape(differs.shape), kind) / 2
            distance = np.abs(np.abs(truth[name].exact.error_of(ours[name])) - tie)
            terms = truth[name].terms
            assert np.all(distance[differs] <= accuracy.C * unit(library) * terms[differs])


@on_every_format
def test_statistics_merge_and_update_running_statistics(library, kind):
    case = accuracy.case(kind, 4, 7, (12, 3, 2), 1, 1e-5, masked=True)
    x, where = library.from_numpy(case.x), library.from_numpy(case.where)
    parts = [refnorm.Statistics.of(x[rows, ...], where=where[rows, ...]) for rows in (slice(0, 3), slice(3, 12))]
    merged = parts[0].merge(parts[1])
    truth = exact.training(case.x, eps=0.0, where=case.where)
    mean, var = truth.mean.rounded(), truth.var.rounded()
    bound = 4 * accuracy.C * unit(library)
    assert np.all(library.to_numpy(merged.count) == truth.count)
    assert np.all(np.abs(library.to_numpy(merged.mean) - mean) <= bound * np.abs(mean))
    assert np.all(np.abs(library.to_numpy(merged.var) - var) <= bound * (var + np.abs(mean) * np.sqrt(var)))

    old = library.from_numpy(case.gamma)
    running_mean, running_var = refnorm.update_running(old, old, merged, momentum=0.25)
    m = np.asarray(truth.count)
    for new, batch in ((running_mean, mean), (running_var, m / (m - 1) * var)):
        expected = 0.75 * case.gamma.astype(np.float64) + 0.25 * batch
        terms = np.abs(case.gamma.astype(np.float64)) + np.abs(batch) + np.abs(mean) * np.sqrt(var)
        rounding = 0 if kind == library.wide else accuracy.ulp(expected, kind) / 2
        assert np.all(np.abs(library.to_numpy(new).astype(np.float64) - expected) <= rounding + bound * terms)


@on_every_narrow_format
def test_running_statistics_are_rounded_once(library, kind):
    """Just above a tie; through float32 it would be the tie, and go down."""
    value = np.array([1 + 2.0 ** -FORMATS[kind][0] + 2.0**-45]).astype(library.wide)
    statistics = refnorm.Statistics(4, library.from_numpy(value), library.from_numpy(value))
    old = library.from_numpy(np.zeros(1, DTYPES[kind]))
    for new in refnorm.update_running(old, old, statistics, momentum=1, correction=0):
        assert library.to_numpy(new).astype(np.float64) == exact.to_format(value.astype(np.float64), kind)


@on_every_format
def test_results_stay_in_the_library_on_the_device_and_in_the_format_of_x(library, kind):
    case = carried(cases(kind)[1], library)
    trained, inferred = accuracy.training(case), accuracy.inference(case)
    running = refnorm.update_running(
        case.gamma, case.gamma, refnorm.Statistics.of(case.x, axis=case.axis, where=case.where)
    )
    for result in (*trained.values(), *inferred.values(), *running):
        assert namespace(result, "result") is namespace(case.x, "x")
        assert array_api_compat.device(result) == array_api_compat.device(case.x)
    for result in (trained["y"], trained["dx"], inferred["y"], inferred["dx"], *running):
        assert dtype_name(result.dtype) == kind
    for name in ("mean", "var", "dgamma", "dbeta"):
        assert dtype_name(trained[name].dtype) == library.wide


@on_every_library_but_numpy
def test_a_mask_that_empties_a_channel_spoils_that_channel_only(library):
    x = np.random.default_rng(0).standard_normal((6, 3)).astype("float32")
    mask = np.ones((6, 3), bool)
    mask[:, 1] = False
    y, saved = refnorm.batch_norm_training(library.from_numpy(x), where=library.from_numpy(mask))
    dx, dgamma, _ = refnorm.batch_norm_training_backward(library.from_numpy(x * x), saved)
    assert np.isnan(library.to_numpy(saved.statistics.mean)).tolist() == [False, True, False]
    assert np.isnan(library.to_numpy(saved.statistics.var)).tolist() == [False, True, False]
    for result in (y, dx):
        assert np.all(library.to_numpy(result)[:, 1] == 0)
        assert np.all(np.isfinite(library.to_numpy(result)))
    assert np.all(np.isfinite(library.to_numpy(dgamma)[[0, 2]]))


@on_every_library_but_numpy
def test_corrected_variance_of_too_few_masked_values_is_not_finite_where_reading_the_count_is_a_transfer(library):
    mask = np.array([[True, True], [False, True], [False, True]])
    x = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 6.0]], np.float32)
    statistics = refnorm.Statistics.of(library.from_numpy(x), where=library.from_numpy(mask))
    corrected = library.to_numpy(statistics.corrected())
    assert not np.isfinite(corrected[0])
    assert corrected[1] == pytest.approx(7.0, rel=8 * unit(library))


@on_every_library
def test_nan_under_a_mask_reaches_nothing(library):
    rng = np.random.default_rng(1)
    mask = rng.random((7, 3)) < 0.6
    x, dy = rng.standard_normal((2, 7, 3)).astype("float32")
    x, dy = np.where(mask, x, np.float32(np.nan)), np.where(mask, dy, np.float32(np.inf))
    y, saved = refnorm.batch_norm_training(library.from_numpy(x), where=library.from_numpy(mask))
    results = (y, saved.statistics.mean, saved.statistics.var)
    results += refnorm.batch_norm_training_backward(library.from_numpy(dy), saved)
    assert all(np.all(np.isfinite(library.to_numpy(result))) for result in results)


@on_every_library
def test_arrays_of_two_libraries_are_refused(library):
    if library.name == "numpy":
        other = next(lib for lib in LIBRARIES if lib.name == "array_api_strict")
    else:
        other = next(lib for lib in LIBRARIES if lib.name == "numpy")
    x = np.ones((4, 3), "float32")
    ours, foreign = library.from_numpy(x), other.from_numpy(x[0])
    with pytest.raises(TypeError, match=r"gamma is .* but x is of .*; convert one to the other"):
        refnorm.batch_norm_training(ours, foreign)
    with pytest.raises(TypeError, match="where must be a boolean array of the library of x"):
        refnorm.batch_norm_training(ours, where=other.from_numpy(x > 0))
    statistics = refnorm.Statistics.of(ours)
    with pytest.raises(TypeError, match=r"running_mean is of .*convert one to the other"):
        refnorm.update_running(foreign, foreign, statistics)
    with pytest.raises(TypeError, match="cannot merge statistics of"):
        statistics.merge(refnorm.Statistics.of(other.from_numpy(x)))


def values_that_are_hard_to_round(kind: str) -> np.ndarray:
    """Build every number of a format (of float32 2^17), ties and what is next to one, and what has no neighbour."""
    patterns = np.arange(2**16, dtype=np.uint16)
    if kind == "float32":
        patterns = patterns.astype(np.uint32) * 0x10001  # the low half repeats the high half
        patterns = np.concatenate([patterns, patterns + 1])
    with np.errstate(invalid="ignore"):  # signalling NaN are among them
        numbers = patterns.view(DTYPES[kind]).astype(np.float64)
    numbers = np.unique(numbers[np.isfinite(numbers)])
    ties = (numbers[1:] + numbers[:-1]) / 2
    largest, smallest = numbers[-1], numbers[numbers > 0][0]
    limit = largest + (largest - numbers[-2]) / 2  # from here on, infinity is nearest
    edges = [limit, np.nextafter(limit, 0), 2 * largest, 1e300, np.finfo(float).max, np.inf]
    edges += [smallest / 2, np.nextafter(smallest / 2, 1), smallest / 4, 5e-324, 0.0]
    edges = np.array(edges)
    near = np.concatenate([np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf), ties * (1 + 2.0**-30)])
    return np.concatenate([numbers, ties, near, edges, -edges, [np.nan]])


@on_every_narrow_format
def test_every_tie_is_rounded_once_and_to_even(library, kind):
    with np.errstate(over="ignore", invalid="ignore"):
        values = values_that_are_hard_to_round(kind).astype(library.wide)
        expected = exact.to_format(values.astype(np.float64), kind)
        array = library.from_numpy(values)
        dtype = library.from_numpy(np.zeros(1, DTYPES[kind])).dtype
        result = library.to_numpy(round_once(namespace(array, "array"), array, dtype))
        assert result.dtype == DTYPES[kind]
        result = result.astype(np.float64)
    same = (result == expected) & (np.signbit(result) == np.signbit(expected)) | (np.isnan(result) & np.isnan(expected))
    if library.module in ("jax", "cupy") and kind != "float16":  # XLA and CuPy (issue 8382) flush subnormals in casts
        same |= (np.abs(values) < 2.0**-126) & (result == 0)
    assert values[~same].tolist() == []


def test_the_rounding_test_objects_to_rounding_twice():
    values = values_that_are_hard_to_round("bfloat16")
    with np.errstate(over="ignore", invalid="ignore"):
        twice = values.astype(np.float32).astype(DTYPES["bfloat16"]).astype(np.float64)
        expected = exact.to_format(values, "bfloat16")
    assert np.count_nonzero((twice != expected) & np.isfinite(values)) > 10_000


@pytest.mark.parametrize("name", [library.name for library in LIBRARIES])
def test_a_library_is_tested_wherever_it_is_installed(name):
    if name not in {library.name for library in arrays.at_hand()}:
        pytest.skip(f"{name} is not installed: all tests on its arrays are left out")
    marks = [mark for mark in test_every_tie_is_rounded_once_and_to_even.pytestmark if mark.name == "parametrize"]
    ids = [param.id for mark in marks for param in mark.args[1]]
    library = next(library for library in LIBRARIES if library.name == name)
    assert [i for i in ids if i.startswith(f"{name}-")] or library.formats == (library.wide,)


def test_a_missing_library_is_skipped_with_the_reason_and_fails_where_it_is_required(monkeypatch):
    missing = dataclasses.replace(LIBRARIES[0], name="missing", module="no_such_module")
    with pytest.raises(pytest.skip.Exception, match=r"missing is not usable here: ModuleNotFoundError"):
        missing.at_hand().__enter__()
    monkeypatch.setattr(arrays, "REQUIRED", frozenset({"missing"}))
    with pytest.raises(pytest.fail.Exception, match=r"REFNORM_ARRAYS=missing, but missing is not usable here"):
        missing.at_hand().__enter__()


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_importing_refnorm_imports_no_framework():
    heavy = {"torch", "jax", "cupy", "dask", "tensorflow", "onnx", "matplotlib", "scipy", "flint", "ml_dtypes"}
    loaded = run_python("import sys, refnorm; print(*sorted({name.partition('.')[0] for name in sys.modules}))")
    assert "refnorm" in loaded.split()
    assert heavy & set(loaded.split()) == set()


def test_importing_refnorm_is_light():
    code = (
        "import sys, numpy, array_api_compat, dataclasses, typing; before = set(sys.modules); import refnorm; "
        "print(*sorted(set(sys.modules) - before))"
    )
    added = [name for name in run_python(code).split() if not name.startswith(("refnorm", "array_api_compat"))]
    assert added == []
