"""Folding: that the folded map is the unfolded one, for every layout, and what cannot be folded is refused.

Expected parameters come from rational arithmetic (with the root from `math.sqrt` of 53 digits, in `decimal`); expected
outputs come from convolutions of torch and of onnxruntime with batch normalization left in place.

Not verified here: graphs. Whether an activation stands between two maps is the caller's to know.
"""

from __future__ import annotations

import decimal
import importlib.util

import numpy as np
import pytest
from arrays import on_every_library
from installed import framework

from refnorm import batch_norm_inference, fold_into_next, fold_into_previous, unfold_from_previous

EPS = 1e-3
U = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11}


def statistics(channels: int, seed: int = 0, dtype: str = "float64") -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    mean, var = rng.normal(2, 3, channels), rng.uniform(0.1, 4, channels)
    gamma, beta = rng.normal(0, 2, channels), rng.normal(size=channels)
    return tuple(v.astype(dtype) for v in (mean, var, gamma, beta))


@pytest.mark.parametrize("dtype", U)
def test_parameters_are_the_exact_ones_rounded_once(dtype):
    weight = np.random.default_rng(1).standard_normal((4, 5)).astype(dtype)
    bias = np.random.default_rng(2).standard_normal(4).astype(dtype)
    mean, var, gamma, beta = statistics(4, 3, dtype)
    folded, shift = fold_into_previous(weight, bias, mean, var, gamma, beta, eps=EPS)
    assert folded.dtype == shift.dtype == weight.dtype
    with decimal.localcontext(prec=60):
        for c in range(4):
            m, v, g, b, old = (decimal.Decimal(float(a[c])) for a in (mean, var, gamma, beta, bias))
            scale = g / (v + decimal.Decimal(EPS)).sqrt()
            wide = 8 * U["float64"]
            half = 0 if dtype == "float64" else U[dtype]
            for new, w in zip(folded[c], weight[c], strict=True):
                exact = float(scale * decimal.Decimal(float(w)))
                assert abs(float(new) - exact) <= (half + wide) * abs(exact)
            exact = scale * (old - m) + b
            terms = abs(scale) * (abs(old) + abs(m)) + abs(b)
            assert abs(float(shift[c]) - float(exact)) <= half * abs(float(exact)) + wide * float(terms)


def test_a_dense_layer_and_what_it_feeds():
    rng = np.random.default_rng(4)
    x, weight, bias = rng.standard_normal((9, 5)), rng.standard_normal((4, 5)), rng.standard_normal(4)
    affine = statistics(4)
    expected = batch_norm_inference(x @ weight.T + bias, *affine, eps=EPS)
    folded, shift = fold_into_previous(weight, bias, *affine, eps=EPS)
    np.testing.assert_allclose(x @ folded.T + shift, expected, rtol=0, atol=1e-13)
    folded, shift = fold_into_previous(weight.T, bias, *affine, eps=EPS, axis=-1)
    np.testing.assert_allclose(x @ folded + shift, expected, rtol=0, atol=1e-13)

    affine = statistics(5)
    expected = batch_norm_inference(x, *affine, eps=EPS) @ weight.T
    folded, shift = fold_into_next(weight, None, *affine, eps=EPS, padding=False)
    np.testing.assert_allclose(x @ folded.T + shift, expected, rtol=0, atol=1e-13)
    folded, shift = fold_into_next(weight.T, bias, *affine, eps=EPS, axis=0, output_axis=1, padding=False)
    np.testing.assert_allclose(x @ folded + shift, expected + bias, rtol=0, atol=1e-13)


CONVOLUTIONS = {
    "conv1d": ("conv1d", (6, 4, 3), {"padding": 1}, {}),
    "conv2d": ("conv2d", (6, 4, 3, 2), {"stride": 2, "padding": 1}, {}),
    "conv3d": ("conv3d", (6, 4, 2, 2, 2), {"dilation": 2}, {}),
    "grouped": ("conv2d", (6, 2, 3, 3), {"groups": 2}, {}),
    "depthwise": ("conv2d", (8, 1, 3, 3), {"groups": 4}, {}),
    "transposed": ("conv_transpose2d", (4, 6, 3, 3), {"stride": 2}, {"axis": 1}),
    "transposed-grouped": ("conv_transpose2d", (4, 3, 3, 3), {"stride": 2, "groups": 2}, {"axis": 1, "groups": 2}),
}


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_torch_with_and_without_batch_normalization_agree(name, biased):
    torch = framework("torch")
    function, shape, options, fold = CONVOLUTIONS[name]
    rng = np.random.default_rng(5)
    weight, x = rng.standard_normal(shape), rng.standard_normal((2, 4, *(9,) * (len(shape) - 2)))
    channels = shape[1] * fold.get("groups", 1) if "transpose" in function else shape[0]
    bias, affine = rng.standard_normal(channels) if biased else None, statistics(channels)

    def convolve(x, weight, bias):
        bias = None if bias is None else torch.from_numpy(bias)
        return getattr(torch.nn.functional, function)(
            torch.from_numpy(x), torch.from_numpy(weight), bias, **options
        ).numpy()

    expected = batch_norm_inference(convolve(x, weight, bias), *affine, eps=EPS)
    folded = fold_into_previous(weight, bias, *affine, eps=EPS, **fold)
    tolerance = 1e-12  # some 50 terms of magnitude up to 10^2, and 10 u each
    assert np.abs(convolve(x, *folded) - expected).max() <= tolerance
    original = unfold_from_previous(*folded, *affine, eps=EPS, **fold)
    assert np.abs(convolve(x, *original) - convolve(x, weight, bias)).max() <= tolerance

    if "transpose" not in function and "padding" not in options:
        affine, groups = statistics(4), options.get("groups", 1)
        expected = convolve(batch_norm_inference(x, *affine, eps=EPS), weight, bias)
        folded = fold_into_next(weight, bias, *affine, eps=EPS, groups=groups, padding=False)
        assert np.abs(convolve(x, *folded) - expected).max() <= tolerance


def test_a_depthwise_kernel_whose_channels_lie_along_two_axes():
    weight = np.random.default_rng(6).standard_normal((3, 3, 4, 2))
    affine = statistics(8)
    folded, _ = fold_into_previous(weight, None, *affine, eps=EPS, axis=(2, 3))
    scale = affine[2] / np.sqrt(affine[1] + EPS)
    np.testing.assert_allclose(folded, weight * scale.reshape(4, 2), rtol=1e-14)


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_of_a_transposed_convolution_count_their_output_channels_one_after_the_other(groups):
    rng, out = np.random.default_rng(9), 2 * groups
    weight, bias = rng.standard_normal((6, 2, 4, 3)), rng.standard_normal(out)  # of each group 2 channels come out
    mean, var, gamma, beta = affine = statistics(out, 14)
    scale = gamma / np.sqrt(var + EPS)
    folded, shift = fold_into_previous(weight, bias, *affine, eps=EPS, axis=1, groups=groups)
    for i in range(6):
        for o in range(2):
            np.testing.assert_allclose(folded[i, o], weight[i, o] * scale[i // (6 // groups) * 2 + o], rtol=1e-14)
    np.testing.assert_allclose(shift, scale * (bias - mean) + beta, rtol=1e-12)
    back, _ = unfold_from_previous(folded, shift, *affine, eps=EPS, axis=1, groups=groups)
    np.testing.assert_allclose(back, weight, rtol=1e-14)


@pytest.mark.parametrize(("axis", "output_axis"), [(1, 0), (-2, -1)])
def test_groups_of_the_convolution_that_is_fed_lie_along_its_output_channels(axis, output_axis):
    rng = np.random.default_rng(10)
    weight, bias = rng.standard_normal((6, 2, 4)), rng.standard_normal(6)  # 3 groups: 2 channels in, 2 out
    mean, var, gamma, beta = affine = statistics(6, 15)
    scale = gamma / np.sqrt(var + EPS)
    laid = weight if output_axis == 0 else np.moveaxis(weight, (0, 1), (2, 1))
    folded, shift = fold_into_next(
        laid, bias, *affine, eps=EPS, axis=axis, output_axis=output_axis, groups=3, padding=False
    )
    folded = folded if output_axis == 0 else np.moveaxis(folded, (2, 1), (0, 1))
    for o in range(6):
        expected = bias[o]
        for i in range(2):
            c = o // 2 * 2 + i
            np.testing.assert_allclose(folded[o, i], weight[o, i] * scale[c], rtol=1e-14)
            expected += weight[o, i].sum() * (beta[c] - scale[c] * mean[c])
        assert shift[o] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_folding_and_back_returns_the_parameters_to_the_bound(dtype):
    rng = np.random.default_rng(7)
    weight, bias = rng.standard_normal((4, 3, 3)).astype(dtype), rng.standard_normal(4).astype(dtype)
    mean, var, gamma, beta = affine = statistics(4, 8, dtype)
    back, shift = unfold_from_previous(*fold_into_previous(weight, bias, *affine, eps=EPS), *affine, eps=EPS)
    u = U[dtype] * (8 if dtype == "float64" else 1)
    assert np.all(np.abs(back.astype(float) - weight) <= 2.01 * u * np.abs(weight.astype(float)))
    inverse = np.sqrt(var.astype(float) + EPS) / np.abs(gamma.astype(float))
    terms = np.abs(bias.astype(float)) + np.abs(mean) + np.abs(beta) * inverse
    assert np.all(np.abs(shift.astype(float) - bias) <= 2.01 * u * terms)


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
def test_onnx_models_with_and_without_batch_normalization_give_the_same_within_the_bound():
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(9)
    x = rng.standard_normal((2, 3, 8, 8)).astype(np.float32)
    weight, bias = rng.standard_normal((5, 3, 3, 3)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    mean, var, gamma, beta = affine = statistics(5, 10, "float32")

    def run(nodes, **constants):
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it folds by itself
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0].astype(float)

    conv = helper.make_node("Conv", ["x", "w", "b"], ["z"], pads=[1, 1, 1, 1])
    norm = helper.make_node("BatchNormalization", ["z", "gamma", "beta", "mean", "var"], ["y"], epsilon=EPS)
    expected = run([conv, norm], w=weight, b=bias, gamma=gamma, beta=beta, mean=mean, var=var)
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])
    w, b = fold_into_previous(weight, bias, *affine, eps=EPS)
    magnitude = run([conv], w=np.abs(w), b=np.abs(b)).max()  # the terms: x is at most |x|
    terms = np.abs(x).max() * np.abs(w).sum(axis=(1, 2, 3)).max() + np.abs(b).max() + magnitude
    # each of the two runs sums 27 products and a bias, in any order: 28 u; folding adds u; batch normalization 5 u
    assert np.abs(run([conv], w=w, b=b) - expected).max() <= (2 * 28 + 6) * U["float32"] * terms
    averaged, _ = fold_into_previous(weight, bias, *affine, eps=1e-1)
    assert np.abs(run([conv], w=averaged, b=b) - expected).max() > (2 * 28 + 6) * U["float32"] * terms


def test_training_mode_is_refused():
    for fold in (fold_into_previous, unfold_from_previous):
        with pytest.raises(ValueError, match="in training mode each batch is normalised by its own"):
            fold(np.ones((2, 3)), np.ones(2), None, None)
        for statistics in ((None, np.ones(2)), (np.zeros(2), None)):
            with pytest.raises(ValueError, match="in training mode each batch is normalised by its own"):
                fold(np.ones((2, 3)), np.ones(2), *statistics)


@pytest.mark.parametrize("value", [-1.0, -1e-6, float("nan")])
def test_a_negative_running_variance_is_refused(value):
    with pytest.raises(ValueError, match=r"cannot fold: running_var\[1\] = .* damaged"):
        fold_into_previous(np.ones((2, 3)), None, np.zeros(2), np.array([1.0, value]), eps=1e-5)


def test_no_variance_and_no_eps_is_refused():
    with pytest.raises(ValueError, match=r"running_var\[0\] = 0.0 with eps=0.0"):
        fold_into_previous(np.ones((1, 3)), None, np.zeros(1), np.zeros(1), eps=0)


def test_eps_is_the_usual_one_unless_given():
    one, zero, root = np.ones((1, 1)), np.zeros(1), np.sqrt(1e-5)
    np.testing.assert_allclose(fold_into_previous(one, None, zero, zero)[0], 1 / root, rtol=1e-14)
    np.testing.assert_allclose(fold_into_next(one, None, zero, zero, padding=False)[0], 1 / root, rtol=1e-14)
    np.testing.assert_allclose(unfold_from_previous(one, zero, zero, zero)[0], root, rtol=1e-14)


def test_a_bias_is_one_value_per_channel():
    affine = np.zeros(2), np.ones(2)
    for shape in ((1, 2), (3,)):
        for fold in (fold_into_previous, unfold_from_previous):
            with pytest.raises(ValueError, match="shape"):
                fold(np.ones((2, 3)), np.ones(shape), *affine)


def test_a_variance_of_zero_or_below_eps_is_folded():
    for var in (0.0, 0.25):
        folded, _ = fold_into_previous(np.ones((1, 3)), None, np.zeros(1), np.array([var]), eps=1.0)
        np.testing.assert_allclose(folded, 1 / np.sqrt(1 + var), rtol=1e-15)


def test_the_channel_whose_variance_is_negative_is_named():
    with pytest.raises(ValueError, match=r"running_var\[1\] = -0.25 is negative"):
        fold_into_previous(np.ones((2, 3)), None, np.zeros(2), np.array([0.0, -0.25]), eps=1.0)


def test_a_weight_may_have_the_axis_of_the_channels_alone():
    folded, shift = fold_into_previous(np.array([1.0, 3.0]), None, np.ones(2), np.array([4.0, 9.0]), eps=0)
    np.testing.assert_allclose([folded, shift], [[1 / 2, 1], [-1 / 2, -1 / 3]], rtol=1e-15)


@pytest.mark.parametrize("gamma", [-3.0, -0.5, 0.5, 3.0])
def test_unfolding_divides_by_gamma_whatever_its_sign_and_size(gamma):
    """x and 5 were scaled by gamma / 2, and moved by beta - 3 gamma / 2."""
    affine = np.array([3.0]), np.array([4.0]), np.array([gamma]), np.array([1.0])
    weight, bias = unfold_from_previous(np.array([[gamma]]), np.array([gamma + 1.0]), *affine, eps=0)
    np.testing.assert_allclose([weight[0, 0], bias[0]], [2.0, 5.0], rtol=1e-15)


def test_a_gamma_whose_square_overflows_unfolds_without_a_warning():
    affine = np.zeros(1), np.ones(1), np.array([1e200]), np.zeros(1)
    unfold_from_previous(np.ones((1, 1)), np.ones(1), *affine)


def test_options_are_given_by_name():
    arguments = np.ones((2, 2)), np.ones(2), np.zeros(2), np.ones(2), None, None
    for fold in (fold_into_previous, unfold_from_previous):
        with pytest.raises(TypeError, match="positional"):
            fold(*arguments, 1e-5)
    with pytest.raises(TypeError, match="positional"):
        fold_into_next(*arguments, 1e-5, padding=False)


def test_a_gamma_of_zero_cannot_be_taken_out_again():
    affine = np.zeros(3), np.ones(3), np.array([1.0, -1.0, 0.0])
    folded = fold_into_previous(np.ones((3, 3)), None, *affine)
    assert not folded[0][2].any()
    with pytest.raises(ValueError, match="gamma is 0 in channel 2"):
        unfold_from_previous(*folded, *affine)


def test_padding_after_batch_normalization_is_refused_unless_it_shifts_nothing():
    weight, (mean, var, gamma, beta) = np.ones((2, 3, 3, 3)), statistics(3)
    with pytest.raises(ValueError, match="pads with zeros"):
        fold_into_next(weight, None, mean, var, gamma, beta, padding=True)
    _, bias = fold_into_next(weight, None, 0 * mean, var, gamma, None, padding=True)
    assert not bias.any()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"weight": np.ones((3, 2))}, r"running_var has shape \(2,\), expected \(3,\)"),
        ({"axis": 5}, "axis=5 is out of range"),
        ({"axis": 1, "groups": 3}, "groups=3 does not divide axis 0"),
        *(({"groups": groups}, f"groups={groups} does not divide axis 0") for groups in (3, 0, -1, -2)),
        ({"axis": 1, "groups": -1}, "groups=-1 does not divide axis 0"),
        ({"axis": 1, "groups": 0}, "groups=0 does not divide axis 0"),
        ({"axis": 0, "groups": 2}, r"or the channels lie along it \(axis=0\)"),
        ({"running_mean": np.zeros(3), "running_var": np.ones(3)}, r"running_var has shape \(3,\), expected \(2,\)"),
        ({"running_mean": np.zeros(())}, r"running_mean has shape \(\), expected one value per channel"),
        ({"running_mean": np.zeros((2, 1))}, r"running_mean has shape \(2, 1\), expected one value per channel"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(arguments, text):
    given = {"weight": np.ones((2, 3)), "bias": None, "running_mean": np.zeros(2), "running_var": np.ones(2)}
    with pytest.raises(ValueError, match=text):
        fold_into_previous(**given | arguments)


def test_nothing_is_written_to():
    weight, bias, affine = np.ones((4, 3)), np.ones(4), statistics(4)
    for array in (weight, bias, *affine):
        array.flags.writeable = False
    fold_into_next(weight, bias, *statistics(3), padding=False)
    unfold_from_previous(*fold_into_previous(weight, bias, *affine), *affine)


@on_every_library
def test_every_library_folds_as_numpy_does(library):
    kind = library.wide
    weight, bias = np.random.default_rng(11).standard_normal((4, 3, 2)).astype(kind), np.ones(4, kind)
    affine, before = statistics(4, 12, kind), statistics(3, 13, kind)
    carry = library.from_numpy
    ours = [
        *fold_into_previous(carry(weight), carry(bias), *map(carry, affine), eps=EPS),
        *unfold_from_previous(carry(weight), carry(bias), *map(carry, affine), eps=EPS),
        *fold_into_next(carry(weight), carry(bias), *map(carry, before), eps=EPS, padding=False),
    ]
    expected = [
        *fold_into_previous(weight, bias, *affine, eps=EPS),
        *unfold_from_previous(weight, bias, *affine, eps=EPS),
        *fold_into_next(weight, bias, *before, eps=EPS, padding=False),
    ]
    for result, numpys in zip(ours, expected, strict=True):
        np.testing.assert_allclose(library.to_numpy(result), numpys, rtol=0, atol=1000 * U[kind])  # terms up to 100


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (2,), ()])
def test_a_bias_of_another_shape_is_refused(shape):
    mean, var, gamma, beta = statistics(3)
    for fold in (fold_into_previous, unfold_from_previous):
        with pytest.raises(ValueError, match=r"bias has shape .* expected \(3,\): one value per channel"):
            fold(np.ones((3, 2)), np.ones(shape), mean, var, gamma, beta, eps=EPS)
