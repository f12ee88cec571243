"""OpenVINO's BatchNormInference on the CPU: one operation, compiled with full precision asked for. Inference only."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset15 as ops

NAME = "openvino"
CONVENTION = "onnx"


class Inference:
    """``openvino.opset15.batch_norm_inference``."""

    dtypes = ("float64", "float32", "float16")
    mixed = False

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Compile a model of one operation, and run it."""
        gamma = np.ones_like(running_mean) if gamma is None else gamma
        beta = np.zeros_like(running_mean) if beta is None else beta
        place = ops.parameter(list(x.shape), x.dtype)
        constants = [ops.constant(np.array(a)) for a in (gamma, beta, running_mean, running_var)]
        model = openvino.Model([ops.batch_norm_inference(place, *constants, eps)], [place], "batch_norm")
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        return openvino.compile_model(model, "CPU", config)([np.ascontiguousarray(x)])[0].copy()


def version() -> str:
    """Version of OpenVINO."""
    return f"openvino {openvino.__version__}"


def paths() -> dict[str, object]:
    """One path."""
    return {"": Inference()}
