"""What folding batch normalization saves in inference, on two small convolutional nets.

    pip install --editable '.[benchmark,onnxruntime]' && python tests/benchmarks/bench_folding.py

Convolutions of 16 to 64 channels on images of 64 x 64, each with batch normalization and ReLU: eight of 3 x 3, or as in
mobile nets seven pairs of a depthwise 3 x 3 and a 1 x 1, which do less arithmetic for each value that is normalised.
One thread does all the work; its CPU time is taken, the best of interleaved rounds of one run. Prints the time of the
folded net over that of the other, and how much faster that is. onnxruntime is timed as it comes, where it folds by
itself, and without its optimizations.
"""

from __future__ import annotations

import argparse
import itertools
import time
from functools import partial

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from refnorm.frameworks.onnx_folding import fold_model

CHANNELS = [3, 16, 16, 32, 32, 32, 64, 64, 64]


def layers(separable: bool) -> list[tuple[int, int, int, int, int]]:
    """Return input and output channels, groups, size of the kernel and stride of each convolution."""
    found = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(CHANNELS)):
        stride = 2 if i in (2, 5) else 1
        if separable and i > 0:
            found += [(inputs, inputs, inputs, 3, stride), (inputs, outputs, 1, 1, 1)]
        else:
            found.append((inputs, outputs, 1, 3, stride))
    return found


def net(separable: bool):
    rng = np.random.default_rng(0)
    nodes, constants, x = [], {}, "x"
    for i, (inputs, outputs, groups, size, stride) in enumerate(layers(separable)):
        terms = inputs // groups * size * size
        constants[f"w{i}"] = rng.standard_normal((outputs, inputs // groups, size, size)) / terms**0.5
        constants |= {f"gamma{i}": 1 + rng.random(outputs), f"beta{i}": rng.standard_normal(outputs)}
        constants |= {f"mean{i}": rng.standard_normal(outputs), f"var{i}": 0.5 + rng.random(outputs)}
        options = {"pads": [size // 2] * 4, "strides": [stride] * 2, "group": groups}
        nodes.append(helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"], **options))
        inputs_of_norm = [f"c{i}", *(f"{name}{i}" for name in ("gamma", "beta", "mean", "var"))]
        nodes.append(helper.make_node("BatchNormalization", inputs_of_norm, [f"n{i}"]))
        x = f"r{i}"
        nodes.append(helper.make_node("Relu", [f"n{i}"], [x]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def onnx_runner(model, level, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.graph_optimization_level = 1, level
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def torch_runner(model, x):
    """Return the same net in torch, layer by layer from the constants of the model."""
    import torch

    torch.set_num_threads(1)
    constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    functional, given = torch.nn.functional, torch.from_numpy(x)
    layers = []
    for node in model.graph.node:
        parameters = [constants[name] for name in node.input[1:]]
        if node.op_type == "Conv":
            options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            padding, stride, groups = options["pads"][0], options["strides"][0], options["group"]
            weight, bias = (*parameters, None)[:2]
            layers.append(
                partial(functional.conv2d, weight=weight, bias=bias, stride=stride, padding=padding, groups=groups)
            )
        elif node.op_type == "Relu":
            layers.append(functional.relu)
        else:
            gamma, beta, mean, var = parameters
            layers.append(lambda v, p=(mean, var, gamma, beta): functional.batch_norm(v, *p))

    def run():
        values = given
        with torch.inference_mode():
            for layer in layers:
                values = layer(values)
        return values.numpy()

    return run


def ratios(separable: bool, rounds: int = 40, batch: int = 8) -> dict[str, float]:
    """Return the time of the folded net over that of the other, by who runs it."""
    x = np.random.default_rng(1).standard_normal((batch, 3, 64, 64)).astype(np.float32)
    model = net(separable)
    folded = fold_model(model)
    levels = onnxruntime.GraphOptimizationLevel
    who = {
        "onnxruntime, its optimizations off": lambda m: onnx_runner(m, levels.ORT_DISABLE_ALL, x),
        "onnxruntime, as it comes": lambda m: onnx_runner(m, levels.ORT_ENABLE_ALL, x),
    }
    try:
        import torch  # noqa: F401

        who["torch"] = lambda m: torch_runner(m, x)
    except ImportError:
        print("torch is not installed, and not timed")
    found = {}
    for name, runner in who.items():
        runs = {"with": runner(model), "folded": runner(folded)}
        np.testing.assert_allclose(runs["with"](), runs["folded"](), rtol=0, atol=1e-3)  # the same net, at all
        best = dict.fromkeys(runs, np.inf)
        for _ in range(rounds):
            for kind, run in runs.items():
                start = time.thread_time()
                run()
                best[kind] = min(best[kind], time.thread_time() - start)
        found[name] = best["folded"] / best["with"]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    for kind, separable in (("3 x 3", False), ("depthwise and 1 x 1", True)):
        for name, ratio in ratios(separable, rounds).items():
            print(f"{kind:20} {name:36} folded / with batch normalization {ratio:.2f}, {1 / ratio - 1:+.0%} speed")
