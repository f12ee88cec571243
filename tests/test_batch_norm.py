"""What the four maps do: axes, masks, parameters, special values, errors, and that no argument is written to.

Expected values come from a small dense recipe, `by_channel`, that gathers each channel's values and applies the
definition to them one channel at a time with math.fsum; it shares no code with refnorm.

Not verified here: the last digits (`test_accuracy`), that the gradients are derivatives (`test_gradients`), other
libraries than NumPy (`test_arrays`).
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from refnorm import (
    Statistics,
    batch_norm_inference,
    batch_norm_inference_backward,
    batch_norm_training,
    batch_norm_training_backward,
)

EPS = 1e-3
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def inputs(shape: tuple[int, ...], kept: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, ...]:
    """Draw x, dy, gamma and beta; kept axes ascending."""
    rng = np.random.default_rng(seed)
    channels = tuple(shape[a] for a in kept)
    return rng.normal(2, 3, shape), rng.standard_normal(shape), rng.normal(0, 2, channels), rng.normal(0, 2, channels)


def by_channel(x, dy, gamma, beta, kept, where=True):
    """Apply the definition to the values of one channel after the other, with exactly rounded sums."""
    channels = [n if a in kept else 1 for a, n in enumerate(x.shape)]
    owner = np.arange(math.prod(channels)).reshape(channels) * np.ones(x.shape)
    y, dx = np.zeros(x.shape), np.zeros(x.shape)
    mean, var, dgamma, dbeta = np.zeros((4, math.prod(channels)))
    for c, (g, b) in enumerate(zip(gamma.flat, beta.flat, strict=True)):
        at = (owner == c) & where
        values, upstream, m = x[at], dy[at], np.count_nonzero(at)
        mean[c] = math.fsum(values) / m
        var[c] = math.fsum((values - mean[c]) ** 2) / m
        std = math.sqrt(var[c] + EPS)
        x_hat = (values - mean[c]) / std
        dbeta[c], dgamma[c] = math.fsum(upstream), math.fsum(upstream * x_hat)
        y[at] = g * x_hat + b
        dx[at] = g / std * (upstream - dbeta[c] / m - x_hat * dgamma[c] / m)
    per_channel = {"mean": mean, "var": var, "dgamma": dgamma, "dbeta": dbeta}
    return {"y": y, "dx": dx} | {name: values.reshape(gamma.shape) for name, values in per_channel.items()}


def training(x, dy, gamma, beta, axis, where=None):
    y, saved = batch_norm_training(x, gamma, beta, eps=EPS, axis=axis, where=where)
    dx, dgamma, dbeta = batch_norm_training_backward(dy, saved)
    statistics = saved.statistics
    return {"y": y, "mean": statistics.mean, "var": statistics.var, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def inference(x, dy, gamma, beta, mean, var, axis):
    y = batch_norm_inference(x, mean, var, gamma, beta, eps=EPS, axis=axis)
    dx, dgamma, dbeta = batch_norm_inference_backward(dy, x, mean, var, gamma, eps=EPS, axis=axis)
    return {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def assert_close(results, expected):
    for name, result in results.items():
        assert np.shape(result) == np.shape(expected[name]), name
        np.testing.assert_allclose(result, expected[name], **CLOSE, err_msg=name)


AXES = [
    ((7,), (0,), (0,)),
    ((7,), (), ()),
    ((7, 3), 1, (1,)),
    ((7, 3), -1, (1,)),
    ((7, 3), 0, (0,)),
    ((7, 3), [1], (1,)),
    ((5, 3, 4), 1, (1,)),
    ((5, 3, 4), -2, (1,)),
    ((5, 3, 4), (1, 2), (1, 2)),
    ((5, 3, 4), (-1, 1), (1, 2)),
    ((5, 3, 4), (), ()),
    ((5, 3, 4), (2, 0), (0, 2)),
    ((5, 3, 4, 2), 1, (1,)),
    ((5, 3, 4, 2), -1, (3,)),
    ((5, 3, 4, 2), (3, 1, 2), (1, 2, 3)),
    ((2, 3, 4, 2, 5), 1, (1,)),
    ((2, 3, 4, 2, 5), (4, -5), (0, 4)),
]


@pytest.mark.parametrize(("shape", "axis", "kept"), AXES)
def test_training_normalises_over_the_axes_that_are_not_kept(shape, axis, kept):
    x, dy, gamma, beta = inputs(shape, kept)
    assert_close(training(x, dy, gamma, beta, axis), by_channel(x, dy, gamma, beta, kept))


@pytest.mark.parametrize(("shape", "axis", "kept"), AXES)
def test_inference_normalises_by_the_statistics_of_the_kept_axes(shape, axis, kept):
    x, dy, gamma, beta = inputs(shape, kept)
    mean, var = gamma + 1, beta**2
    along = [shape[a] if a in kept else 1 for a in range(len(shape))]
    reduced = tuple(a for a in range(len(shape)) if a not in kept)
    g, b, m, std = (np.reshape(v, along) for v in (gamma, beta, mean, np.sqrt(var + EPS)))
    x_hat = (x - m) / std
    expected = {
        "y": g * x_hat + b,
        "dx": g * dy / std,
        "dgamma": (dy * x_hat).sum(axis=reduced),
        "dbeta": dy.sum(axis=reduced),
    }
    assert_close(inference(x, dy, gamma, beta, mean, var, axis), expected)


def test_a_scalar_array_keeps_or_averages_nothing():
    y, saved = batch_norm_training(np.array(3.0), np.array(2.0), np.array(0.5), axis=())
    assert (float(y), saved.statistics.count, float(saved.statistics.mean)) == (0.5, 1, 3.0)


def test_no_channels_give_no_results():
    results = training(np.zeros((4, 0)), np.zeros((4, 0)), np.zeros(0), np.zeros(0), 1)
    assert {name: np.shape(v) for name, v in results.items()} == {
        "y": (4, 0), "dx": (4, 0), "mean": (0,), "var": (0,), "dgamma": (0,), "dbeta": (0,)
    }  # fmt: skip


@pytest.mark.parametrize(("with_gamma", "with_beta"), [(False, False), (False, True), (True, False), (True, True)])
def test_gamma_and_beta_are_absent_independently_and_their_gradients_always_come(with_gamma, with_beta):
    x, dy, gamma, beta = inputs((6, 3, 4), (1,))
    g, b = gamma if with_gamma else None, beta if with_beta else None
    ones, zeros = np.ones(3), np.zeros(3)
    expected = by_channel(x, dy, gamma if with_gamma else ones, beta if with_beta else zeros, (1,))
    assert_close(training(x, dy, g, b, 1), expected)
    given = inference(x, dy, gamma if with_gamma else ones, beta if with_beta else zeros, zeros, ones, 1)
    assert_close(inference(x, dy, g, b, zeros, ones, 1), given)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_y_and_dx_have_the_format_of_x_while_statistics_and_parameter_gradients_stay_wide(dtype):
    x, dy, gamma, beta = inputs((6, 3), (1,))
    results = training(x.astype(dtype), dy.astype(np.float32), gamma.astype(np.float64), beta.astype(np.float16), 1)
    assert {name: result.dtype for name, result in results.items()} == {
        "y": dtype, "dx": dtype, "mean": float, "var": float, "dgamma": float, "dbeta": float
    }  # fmt: skip


# masks


def masked(seed: int = 1, shape: tuple[int, ...] = (6, 3, 4)) -> np.ndarray:
    mask = np.random.default_rng(seed).random(shape) < 0.6
    mask[0] = True
    return mask


@pytest.mark.parametrize(("axis", "kept"), [(1, (1,)), (-1, (2,)), ((0, 1), (0, 1)), ((), ())])
def test_a_mask_leaves_the_statistics_and_gradients_of_the_values_that_count(axis, kept):
    x, dy, gamma, beta = inputs((6, 3, 4), kept)
    mask = masked()
    mask[..., 0] = True
    assert_close(training(x, dy, gamma, beta, axis, mask), by_channel(x, dy, gamma, beta, kept, mask))


def test_masked_results_equal_those_of_the_compacted_data():
    x, dy, gamma, beta = inputs((40, 1), (1,))
    mask = masked(2, (40, 1))
    compact = mask[:, 0]
    with_mask, without = training(x, dy, gamma, beta, 1, mask), training(x[compact], dy[compact], gamma, beta, 1)
    for name in ("y", "dx"):
        with_mask[name] = with_mask[name][compact]
    assert_close(with_mask, without)


def test_padding_is_zero_in_y_and_dx():
    x, dy, gamma, beta = inputs((6, 3, 4), (1,))
    mask = masked()
    results = training(x, dy, gamma, beta, 1, mask)
    for name in ("y", "dx"):
        assert np.all(results[name][~mask] == 0)
        assert np.all(results[name][mask] != 0)


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e308, -7.0])
def test_what_is_under_a_mask_changes_no_bit(junk):
    x, dy, gamma, beta = inputs((6, 3, 4), (1,))
    mask = masked()
    clean = training(x, dy, gamma, beta, 1, mask)
    spoiled = training(np.where(mask, x, junk), np.where(mask, dy, junk), gamma, beta, 1, mask)
    assert {k: v.tobytes() for k, v in clean.items()} == {k: v.tobytes() for k, v in spoiled.items()}


def test_a_mask_broadcasts_and_counts_per_channel():
    x, dy, gamma, beta = inputs((6, 3, 4), (1,))
    lengths = np.array([4, 2, 1, 3, 4, 2])
    mask = np.arange(4) < lengths[:, None, None]
    _, saved = batch_norm_training(x, where=mask)
    assert saved.statistics.count.tolist() == [16, 16, 16]
    full = np.broadcast_to(mask, x.shape).copy()
    assert_close(training(x, dy, gamma, beta, 1, mask), training(x, dy, gamma, beta, 1, full))


def test_a_mask_that_is_true_everywhere_changes_nothing():
    x, dy, gamma, beta = inputs((6, 3, 4), (1,))
    assert_close(training(x, dy, gamma, beta, 1, np.ones(x.shape, bool)), training(x, dy, gamma, beta, 1))


# special values


def test_one_value_per_channel_gives_beta_and_no_gradient():
    x, dy, gamma, beta = inputs((1, 3), (1,))
    results = training(x, dy, gamma, beta, 1)
    assert results["y"].tolist() == [beta.tolist()]
    assert results["dx"].tolist() == [[0.0] * 3]
    assert results["dgamma"].tolist() == [0.0] * 3
    assert results["dbeta"].tolist() == dy[0].tolist()


@pytest.mark.parametrize("value", [0.1, 1e10, 1e-300])
def test_a_constant_channel_has_no_variance_and_gives_beta(value):
    x, dy, gamma, beta = inputs((7, 3), (1,))
    x[:, 1] = value
    results = training(x, dy, gamma, beta, 1)
    assert results["var"][1] == 0
    assert results["y"][:, 1].tolist() == [beta[1]] * 7


def test_eps_zero_with_no_variance_is_nan_in_that_channel_only():
    x, dy, gamma, beta = inputs((7, 3), (1,))
    x[:, 1] = 5.0
    y, saved = batch_norm_training(x, gamma, beta, eps=0)
    dx, dgamma, dbeta = batch_norm_training_backward(dy, saved)
    for result in (y, dx):
        assert np.isnan(result[:, 1]).all()
        assert np.isfinite(result[:, [0, 2]]).all()
    assert np.isnan(dgamma).tolist() == [False, True, False]
    assert np.isfinite(dbeta).all()
    assert saved.statistics.var[1] == 0


def test_eps_zero_with_no_running_variance_is_infinite_or_nan_as_ieee_has_it():
    y = batch_norm_inference(np.array([[1.0], [2.0], [3.0]]), np.array([2.0]), np.array([0.0]), eps=0)
    assert y[0, 0] == -np.inf
    assert np.isnan(y[1, 0])
    assert y[2, 0] == np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_non_finite_value_stays_in_its_channel(bad, dtype):
    x, dy, gamma, beta = (v.astype(dtype) for v in inputs((6, 3, 4), (1,)))
    clean = training(x, dy, gamma, beta, 1)
    x[2, 1, 3] = bad
    spoiled = training(x, dy, gamma, beta, 1)
    assert not np.isfinite(spoiled["y"][2, 1, 3])
    assert not np.isfinite(spoiled["dx"][2, 1, 3])
    assert not np.isfinite(spoiled["mean"][1])
    assert not np.isfinite(spoiled["var"][1])
    for name in clean:
        others = np.arange(3) != 1
        channels = (slice(None), others) if clean[name].ndim == 3 else others
        assert clean[name][channels].tobytes() == spoiled[name][channels].tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_upstream_gradient_stays_in_its_channel(bad):
    x, dy, gamma, beta = inputs((6, 3, 4), (1,))
    clean = training(x, dy, gamma, beta, 1)
    dy[2, 1, 3] = bad
    spoiled = training(x, dy, gamma, beta, 1)
    assert not np.isfinite(spoiled["dx"][2, 1, 3])
    assert np.isfinite(spoiled["dbeta"]).tolist() == [True, False, True]
    assert clean["dx"][:, [0, 2]].tobytes() == spoiled["dx"][:, [0, 2]].tobytes()


def test_inference_spoils_no_more_than_the_element_that_is_not_finite():
    x, _, gamma, beta = inputs((6, 3, 4), (1,))
    clean = batch_norm_inference(x, beta, gamma**2, gamma, beta)
    x[2, 1, 3] = np.nan
    spoiled = batch_norm_inference(x, beta, gamma**2, gamma, beta)
    assert np.argwhere(clean.view(np.int64) != spoiled.view(np.int64)).tolist() == [[2, 1, 3]]


def test_inference_of_an_empty_batch_is_empty():
    results = inference(np.zeros((0, 3, 2), np.float32), np.zeros((0, 3, 2)), None, None, np.zeros(3), np.ones(3), 1)
    assert results["y"].shape == results["dx"].shape == (0, 3, 2)
    assert results["y"].dtype == np.float32
    assert results["dgamma"].tolist() == results["dbeta"].tolist() == [0.0] * 3


def test_complex_input_is_normalised_without_conjugation():
    x, dy, gamma, beta = inputs((6, 3), (1,))
    y, _ = batch_norm_training(x + 0j, gamma + 0j, beta + 0j, eps=EPS)
    assert y.dtype == np.complex128
    np.testing.assert_allclose(y, by_channel(x, dy, gamma, beta, (1,))["y"], **CLOSE)
    _, saved = batch_norm_training(1j * x)
    np.testing.assert_allclose(saved.statistics.var, -x.var(axis=0), rtol=1e-12)  # d * d, not |d|^2


# arguments: never written to, whatever their memory layout


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_no_argument_is_written_to():
    x, dy, gamma, beta = arguments = [frozen(v) for v in inputs((6, 3, 4), (1,))]
    mask, mean, var = frozen(masked()), frozen(beta + 1), frozen(gamma**2)
    arguments += [mask, mean, var]
    before = [v.tobytes() for v in arguments]
    for where in (None, mask):
        training(x, dy, gamma, beta, 1, where)
    inference(x, dy, gamma, beta, mean, var, 1)
    assert [v.tobytes() for v in arguments] == before


def test_no_result_shares_memory_with_an_argument():
    x, dy, gamma, beta = arguments = inputs((6, 3, 4), (1,))
    results = training(x, dy, gamma, beta, 1) | {"y, none": batch_norm_training(x)[0]}
    results |= {f"{name}, all axes kept": v for name, v in training(x, dy, x, dy, (0, 1, 2)).items()}
    results |= {"inference": batch_norm_inference(x, np.zeros(3), np.ones(3), eps=0)}
    assert not any(np.shares_memory(r, a) for r in results.values() for a in arguments)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "sliced": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "transposed": lambda a: a.transpose(2, 0, 1).copy().transpose(1, 2, 0),
    "read-only": lambda a: frozen(a.copy()),
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_memory_layout_makes_no_difference(layout):
    x, dy, gamma, beta = inputs((33, 3, 5), (1,))
    mask = masked(3, x.shape)
    change = LAYOUTS[layout]
    for where in (None, mask):
        expected = training(x, dy, gamma, beta, 1, where)
        assert_close(
            training(change(x), change(dy), gamma, beta, 1, where if where is None else change(where)), expected
        )


def test_broadcast_arrays_are_arrays():
    row = np.random.default_rng(0).standard_normal((1, 3, 4))
    x, dy = np.broadcast_to(row, (5, 3, 4)), np.broadcast_to(row[:, :, ::-1], (5, 3, 4))
    gamma = np.broadcast_to(np.float64(2.0), (3,))
    assert_close(training(x, dy, gamma, gamma, 1), training(x.copy(), dy.copy(), gamma.copy(), gamma.copy(), 1))


def test_saved_holds_x_gamma_and_where_by_reference():
    x, _, gamma, beta = inputs((6, 3, 4), (1,))
    mask = masked()
    _, saved = batch_norm_training(x, gamma, beta, where=mask)
    assert saved.x is x
    assert saved.gamma is gamma
    assert saved.where is mask


def test_the_statistics_saved_are_those_of_the_batch():
    x, *_ = inputs((6, 3, 4), (1,))
    mask = masked()
    _, saved = batch_norm_training(x, where=mask)
    statistics = Statistics.of(x, where=mask)
    for name in ("count", "mean", "var"):
        assert np.array_equal(getattr(saved.statistics, name), getattr(statistics, name))


# errors: the value, the shape, the axis, what was expected, the way out


def message(text: str) -> str:
    return f"^{re.escape(text)}$"


X = np.random.default_rng(5).standard_normal((8, 3, 4))
FLOATING = "expected a floating-point array (float64, float32, bfloat16, float16, complex64, complex128); "
FLOATING += "convert it first, to float32 say"
PER_CHANNEL = "expected (3,): one value per channel, axis (1,) of x with shape (8, 3, 4)"
LIST = "must be an array (NumPy, CuPy, torch, JAX, dask, ...), got list; numpy.asarray makes one"


@pytest.mark.parametrize(
    ("axis", "error", "text"),
    [
        (3, ValueError, "axis=3 is out of range for x of shape (8, 3, 4); use -3..2"),
        (-4, ValueError, "axis=-4 is out of range for x of shape (8, 3, 4); use -3..2"),
        ((0, 7), ValueError, "axis=7 is out of range for x of shape (8, 3, 4); use -3..2"),
        ((1, -2), ValueError, "axis=(1, -2) names an axis of x with shape (8, 3, 4) twice"),
        (1.5, TypeError, "axis must be an int or a sequence of ints, got 1.5"),
        ("1", TypeError, "axis must be an int or a sequence of ints, got '1'"),
        (None, TypeError, "axis must be an int or a sequence of ints, got None"),
    ],
)
def test_an_axis_that_x_has_not_is_an_error(axis, error, text):
    for call in (
        lambda: batch_norm_training(X, axis=axis),
        lambda: Statistics.of(X, axis=axis),
        lambda: batch_norm_inference(X, np.zeros(3), np.ones(3), axis=axis),
        lambda: batch_norm_inference_backward(X, X, np.zeros(3), np.ones(3), axis=axis),
    ):
        with pytest.raises(error, match=message(text)):
            call()


def test_the_default_axis_asks_for_two():
    with pytest.raises(ValueError, match=message("axis=1 is out of range for x of shape (5,); use -1..0")):
        batch_norm_training(np.zeros(5))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "longdouble", "clongdouble", "object"])
def test_x_that_is_not_of_a_known_format_is_an_error(dtype):
    x = np.ones((4, 3), dtype)
    text = f"x is {x.dtype.name}, {FLOATING}"
    for call in (
        lambda: batch_norm_training(x),
        lambda: Statistics.of(x),
        lambda: batch_norm_inference(x, np.zeros(3), np.ones(3)),
    ):
        with pytest.raises(TypeError, match=message(text)):
            call()


def test_x_that_is_no_array_is_an_error():
    with pytest.raises(TypeError, match=message(f"x {LIST}")):
        batch_norm_training([[1.0, 2.0]])


def test_a_masked_array_is_told_about_where():
    text = "x is a masked array; pass x.data, and where=~mask for the values that count"
    with pytest.raises(TypeError, match=message(text)):
        batch_norm_training(np.ma.masked_array(X, X > 0))


@pytest.mark.parametrize("name", ["gamma", "beta", "running_mean", "running_var"])
@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (np.ones(4), ValueError, f"has shape (4,), {PER_CHANNEL}"),
        (np.ones((1, 3, 1)), ValueError, f"has shape (1, 3, 1), {PER_CHANNEL}"),
        (np.float64(1), ValueError, f"has shape (), {PER_CHANNEL}"),
        (np.ones(3, int), TypeError, f"is int64, {FLOATING}"),
        (np.ones(3, "longdouble"), TypeError, f"is {np.dtype('longdouble').name}, {FLOATING}"),
        (np.ones(3, complex), TypeError, "is complex but x is float64; make x complex as well"),
        ([1.0, 1.0, 1.0], TypeError, LIST),
        (np.ma.ones(3), TypeError, "is a masked array; pass {}.data, and where=~mask for the values that count"),
    ],
    ids=["length", "rank", "scalar", "int", "longdouble", "complex", "list", "masked"],
)
def test_a_parameter_that_does_not_fit_is_an_error(name, wrong, error, text):
    expected = message(f"{name} {text.replace('{}', name)}")
    given = {"running_mean": np.zeros(3), "running_var": np.ones(3), name: wrong}
    with pytest.raises(error, match=expected):
        batch_norm_inference(X, **given)
    if name in ("gamma", "beta"):
        with pytest.raises(error, match=expected):
            batch_norm_training(X, **{name: wrong})
    if name != "beta":
        with pytest.raises(error, match=expected):
            batch_norm_inference_backward(X, X, **given)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (X[:4], ValueError, "dy has shape (4, 3, 4), expected (8, 3, 4): the shape of x"),
        (X[0], ValueError, "dy has shape (3, 4), expected (8, 3, 4): the shape of x"),
        (X.astype(int), TypeError, f"dy is int64, {FLOATING}"),
        (X + 0j, TypeError, "dy is complex but x is float64; make x complex as well"),
        (X.tolist(), TypeError, f"dy {LIST}"),
    ],
    ids=["batch", "rank", "int", "complex", "list"],
)
def test_an_upstream_gradient_that_does_not_fit_is_an_error(wrong, error, text):
    _, saved = batch_norm_training(X)
    with pytest.raises(error, match=message(text)):
        batch_norm_training_backward(wrong, saved)
    with pytest.raises(error, match=message(text)):
        batch_norm_inference_backward(wrong, X, np.zeros(3), np.ones(3))


@pytest.mark.parametrize("eps", [-1e-5, -0.1, float("nan"), float("inf")])
def test_eps_below_0_or_not_finite_is_an_error(eps):
    for call in (
        lambda: batch_norm_training(X, eps=eps),
        lambda: batch_norm_inference(X, np.zeros(3), np.ones(3), eps=eps),
        lambda: batch_norm_inference_backward(X, X, np.zeros(3), np.ones(3), eps=eps),
    ):
        with pytest.raises(ValueError, match=message(f"eps={eps!r} must be finite and at least 0")):
            call()


def test_eps_that_is_no_number_is_an_error():
    with pytest.raises(TypeError, match=message("eps must be a real number, got None")):
        batch_norm_training(X, eps=None)


@pytest.mark.parametrize("shape", [(0, 3, 4), (8, 3, 0)])
def test_an_empty_batch_is_an_error_in_training(shape):
    text = (
        f"x of shape {shape} has no values to average over axes (0, 2); "
        "an empty batch has no statistics: skip it, or use batch_norm_inference"
    )
    with pytest.raises(ValueError, match=message(text)):
        batch_norm_training(np.zeros(shape))


def test_a_mask_that_empties_a_channel_is_an_error():
    mask = np.ones(X.shape, bool)
    mask[:, 2] = False
    text = "where leaves no value in channel (2,) of x with shape (8, 3, 4); every channel needs at least one True"
    with pytest.raises(ValueError, match=message(text)):
        batch_norm_training(X, where=mask)


@pytest.mark.parametrize(
    ("where", "error", "text"),
    [
        (X[:, :2] > 0, ValueError, "where of shape (8, 2, 4) does not broadcast to x of shape (8, 3, 4)"),
        (X[None] > 0, ValueError, "where of shape (1, 8, 3, 4) does not broadcast to x of shape (8, 3, 4)"),
        (X, TypeError, "where must be a boolean array of the library of x, got numpy float64 of shape (8, 3, 4)"),
        ([True], TypeError, f"where {LIST}"),
    ],
    ids=["shape", "rank", "float", "list"],
)
def test_a_mask_that_does_not_fit_is_an_error(where, error, text):
    with pytest.raises(error, match=message(text)):
        batch_norm_training(X, where=where)
