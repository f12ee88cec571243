"""ONNX Runtime's CPU kernels as an implementation: the models of `refnorm.frameworks.onnx` in inference sessions.

Measured: what the installed build can do. Training mode and formats are tried once; what it refuses is not offered.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from refnorm.frameworks.onnx import OPSETS, Inference, Operator
from refnorm.frameworks.onnx import version as onnx_version

NAME = "onnxruntime"
CONVENTION = "onnx"
REFUSALS = (state.NotImplemented, state.InvalidGraph, state.Fail, state.RuntimeException)


def load(model: Any) -> Any:
    """Open a session on the CPU with one thread (sessions are many and small) and without a log on stderr."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _refuses(opset: int, dtype: str, training: bool) -> bool:
    one, x = np.ones(1, dtype), np.array([[1], [2]], dtype)
    operator = Operator(opset, (), load)
    try:
        operator.train(x, one, one, one, one, 0.5, 1e-5) if training else operator.infer(x, one, one, one, one, 1e-5)
    except REFUSALS:
        return True
    return False


def version() -> str:
    """Version of the runtime, and of onnx, which builds and checks the models."""
    return f"onnxruntime {onnxruntime.__version__} ({onnx_version()})"


@cache
def paths() -> dict[str, object]:
    """One path per opset; float32 inference is always offered, so that its failure is seen and not left out.

    bfloat16 is not: sessions take no NumPy array of it.
    """
    offered: dict[str, object] = {}
    for opset in OPSETS:
        dtypes = tuple(d for d in ("float64", "float32", "float16") if d == "float32" or not _refuses(opset, d, False))
        kind = Inference if _refuses(opset, "float32", True) else Operator
        offered[f"opset {opset}"] = kind(opset, dtypes, load)
    return offered
