"""ONNX's reference evaluator as an implementation: one single-node model per version of BatchNormalization.

Measured: inference and training of opsets 7, 9, 14 and 15, with eps and momentum as the float32 attributes they are.
ONNX defines no gradient. Before opset 14 more than one output means training; from 14 on an attribute says so.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

NAME = "onnx"
CONVENTION = "onnx"
OPSETS = (7, 9, 14, 15)
INPUTS = ("X", "scale", "B", "input_mean", "input_var")


def model(opset: int, training: bool, inputs: list[Any], **attributes: float) -> Any:
    """Build and check a model with one BatchNormalization node for inputs of these ranks and dtypes."""
    ranked = [(helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim) for array in inputs]
    outputs = {"Y": ranked[0]}
    if training:
        outputs |= {"running_mean": ranked[3], "running_var": ranked[4]}
    if training and opset < 14:
        outputs |= {"saved_mean": ranked[3], "saved_var": ranked[4]}
    if opset >= 14:
        attributes["training_mode"] = int(training)
    node = helper.make_node("BatchNormalization", INPUTS, list(outputs), **attributes)
    graph = helper.make_graph(
        [node],
        "batch_normalization",
        [helper.make_tensor_value_info(name, *kind) for name, kind in zip(INPUTS, ranked, strict=True)],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    # The oldest IR version that has the opset: every runtime that knows the opset reads it.
    built = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    onnx.checker.check_model(built, full_check=True)
    return built


class Inference:
    """BatchNormalization of one opset, run by what ``load`` makes of a model: anything with ``run(None, feed)``."""

    def __init__(self, opset: int, dtypes: tuple[str, ...], load: Callable[[Any], Any] = ReferenceEvaluator) -> None:
        self.opset = opset
        self.dtypes = dtypes
        self.mixed = opset >= 15  # one type T for all before 14; in 14 still one for X, scale and B
        self._load = load
        self._loaded: dict[Any, Any] = {}

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Run the model with a single output."""
        return self._run(False, [x, gamma, beta, running_mean, running_var], epsilon=eps)[0]

    def _run(self, training: bool, inputs: list[Any], **attributes: float) -> Any:
        x, scale, bias, mean, var = inputs
        # ONNX has no optional scale and B, and gives both one type.
        dtype = next((given.dtype for given in (scale, bias) if given is not None), x.dtype)
        scale = np.ones(mean.shape, dtype) if scale is None else scale
        bias = np.zeros(mean.shape, dtype) if bias is None else bias
        inputs = [np.array(array, order="K") for array in (x, scale, bias, mean, var)]
        key = (training, *((array.dtype, array.ndim) for array in inputs), *attributes.values())
        if key not in self._loaded:
            self._loaded[key] = self._load(model(self.opset, training, inputs, **attributes))
        return self._loaded[key].run(None, dict(zip(INPUTS, inputs, strict=True)))


class Operator(Inference):
    """The same with its training outputs."""

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, None]:
        """Run the model with its running statistics as outputs."""
        inputs = [x, gamma, beta, running_mean, running_var]
        y, mean, var = self._run(True, inputs, epsilon=eps, momentum=momentum)[:3]
        return y, mean, var, None


def version() -> str:
    """Version of onnx."""
    return f"onnx {onnx.__version__}"


def paths() -> dict[str, object]:
    """One path per opset that changed the operator; bfloat16 came with 14."""
    formats = ("float64", "float32", "float16")
    wider = (*formats, "bfloat16") if find_spec("ml_dtypes") else formats
    return {f"opset {opset}": Operator(opset, wider if opset >= 14 else formats) for opset in OPSETS}
