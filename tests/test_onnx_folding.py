"""Folding ONNX models: with and without batch normalization onnxruntime gives the same; the rest is refused.

The bound. Let v be a layer's output with magnitudes in place of values: sum |weight'| v_before + |scale| (|bias| +
|running_mean|) + |beta|, on magnitudes of the input. A layer of n terms rounds its sum n times in either model; folding
adds u, and batch normalization at most 5 u, of v. Each layer carries what came before, at most by |weight'|, and Relu
adds nothing. So the outputs differ by at most the sum over the layers of (2 n + 6) u times the last v.

onnxruntime's own optimizations are off: it folds by itself. Not verified here: subgraphs, and quantised models.
"""

from __future__ import annotations

import numpy as np
import pytest
from installed import framework

onnx, onnxruntime = framework("onnx"), framework("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from refnorm import unfold_from_previous  # noqa: E402
from refnorm.frameworks.onnx_folding import fold_model  # noqa: E402

U = 2.0**-24
EPS = 1e-3


def net(seed: int = 0, **changes) -> onnx.ModelProto:
    """Build Conv (no bias), BN, Relu, grouped ConvTranspose, BN, Relu, Flatten, Gemm, BN."""
    rng = np.random.default_rng(seed)
    constants = {
        "w1": rng.standard_normal((6, 3, 3, 3)) / 5,
        "w2": rng.standard_normal((6, 4, 3, 3)) / 5,
        "b2": rng.standard_normal(8),
        "w3": rng.standard_normal((5, 8 * 8 * 8)) / 20,
        "b3": rng.standard_normal((1, 5)),
    }
    for index, channels in ((1, 6), (2, 8), (3, 5)):
        constants |= {f"gamma{index}": rng.normal(0, 2, channels), f"beta{index}": rng.standard_normal(channels)}
        constants |= {f"mean{index}": rng.standard_normal(channels), f"var{index}": rng.uniform(0.2, 3, channels)}
    constants |= changes.pop("constants", {})
    options = {"epsilon": EPS, **changes.pop("norm", {})}

    def norm(i, x, y):
        inputs = [x, *(f"{name}{i}" for name in ("gamma", "beta", "mean", "var"))]
        return helper.make_node("BatchNormalization", inputs, [y], f"norm{i}", **options)

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        norm(1, "c1", "n1"),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("ConvTranspose", ["r1", "w2", "b2"], ["c2"], group=2, pads=[1, 1, 1, 1]),
        norm(2, "c2", "n2"),
        helper.make_node("Relu", ["n2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["c3"], transB=1),
        norm(3, "c3", "y"),
    ]
    nodes = changes.pop("nodes", lambda nodes: nodes)(nodes)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * (2 if name == "y" else 4))
        for name in changes.pop("outputs", ["y"])
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        outputs,
        [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", changes.pop("opset", 15))], ir_version=8)


def run(model, x, outputs=None):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, {"x": x})[0].astype(float)


def constants_of(model) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def bound(model, folded, x) -> np.ndarray:
    """Run the folded model on magnitudes; its layers have 27, 4 * 9 at most, and 512 terms, and a bias."""
    magnitudes, constants = onnx.ModelProto(), constants_of(model)
    magnitudes.CopyFrom(folded)
    values = {name: np.abs(value) for name, value in constants_of(folded).items()}
    for i, output in ((1, "n1"), (2, "n2"), (3, "y")):
        mean, var, gamma, beta, bias = (
            np.abs(constants.get(f"{p}{i}", 0)) for p in ("mean", "var", "gamma", "beta", "b")
        )
        terms = gamma / np.sqrt(var + EPS) * (np.reshape(bias, -1) + mean) + beta
        values[f"{output}/bias"] = terms.astype(np.float32)
    for tensor in magnitudes.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return sum(2 * n + 6 for n in (28, 37, 513)) * U * run(magnitudes, np.abs(x))


@pytest.mark.parametrize("opset", [9, 14, 15])
def test_models_with_and_without_batch_normalization_give_the_same_within_the_bound(opset):
    model, x = net(opset=opset), np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    before = model.SerializeToString()
    folded = fold_model(model)
    assert "BatchNormalization" not in {node.op_type for node in folded.graph.node}
    assert len(folded.graph.initializer) == 6
    assert model.SerializeToString() == before
    onnx.checker.check_model(folded, full_check=True)
    assert np.all(np.abs(run(folded, x) - run(model, x)) <= bound(model, folded, x))


def test_another_eps_is_beyond_the_bound():
    x = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    model, other = net(), fold_model(net(norm={"epsilon": 10 * EPS}))
    assert np.any(np.abs(run(other, x) - run(model, x)) > bound(model, fold_model(model), x))


def test_there_and_back_returns_the_parameters():
    model = net()
    constants, folded = constants_of(model), constants_of(fold_model(model))
    for i, output, axis, groups in ((1, "n1", 0, 1), (2, "n2", 1, 2), (3, "y", 0, 1)):
        mean, var, gamma, beta = (constants[f"{name}{i}"] for name in ("mean", "var", "gamma", "beta"))
        parameters = (folded[f"{output}/{kind}"] for kind in ("weight", "bias"))
        weight, bias = unfold_from_previous(*parameters, mean, var, gamma, beta, eps=EPS, axis=axis, groups=groups)
        original, shift = constants[f"w{i}"], constants.get(f"b{i}", np.zeros(1, np.float32)).reshape(-1)
        assert np.all(np.abs(weight.astype(float) - original) <= 2.01 * U * np.abs(original))
        terms = np.abs(shift) + np.abs(mean) + np.abs(beta / gamma) * np.sqrt(var + EPS)
        assert np.all(np.abs(bias.astype(float) - shift) <= 2.01 * U * terms)


def test_chosen_nodes_alone_are_folded():
    folded = fold_model(net(), only=["norm1", "y"])
    assert [n.name for n in folded.graph.node if n.op_type == "BatchNormalization"] == ["norm2"]


def test_a_weight_that_two_layers_share_is_folded_for_each():
    def twice(nodes):
        again = helper.make_node("Conv", ["x", "w1"], ["other"], pads=[1, 1, 1, 1])
        return [*nodes, again]

    model, x = net(nodes=twice, outputs=["y", "other"]), np.ones((1, 3, 8, 8), np.float32)
    assert np.array_equal(run(fold_model(model), x, ["other"]), run(model, x, ["other"]))


def relu_between(nodes):
    nodes[1].input[0] = "between"
    return [nodes[0], helper.make_node("Relu", ["c1"], ["between"]), *nodes[1:]]


def sum_that_skips(nodes):
    nodes[2].input[0] = "s"
    return [*nodes[:2], helper.make_node("Add", ["c1", "n1"], ["s"]), *nodes[2:]]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"norm": {"training_mode": 1}}, "norm1 cannot be folded: it is in training mode"),
        ({"nodes": relu_between}, "norm1 cannot be folded: Relu stands before it"),
        ({"nodes": sum_that_skips}, "the output of Conv before it is needed elsewhere"),
        ({"outputs": ["y", "c2"]}, "norm2 cannot be folded: the output of ConvTranspose before it is needed elsewhere"),
        ({"constants": {"var2": -np.ones(8)}}, r"norm2 cannot be folded: .*running_var\[0\] = -1.0"),
        ({"opset": 7}, "opset 7 does not say"),
    ],
)
def test_what_is_no_fixed_map_of_a_linear_layer_is_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        fold_model(net(**changes))


def test_parameters_that_are_computed_are_refused():
    model = net(nodes=lambda nodes: [helper.make_node("Neg", ["beta1"], ["computed"]), *nodes])
    next(n for n in model.graph.node if n.name == "norm1").input[2] = "computed"
    with pytest.raises(ValueError, match="norm1 cannot be folded: computed is no constant"):
        fold_model(model)
