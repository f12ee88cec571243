"""ONNX Runtime's build for the web (WebAssembly) in Node.js: the models of `refnorm.frameworks.onnx`, on one thread.

Measured: what the package can do. Training mode and formats are tried once; what it refuses is not offered. Node and
the packages of ``requirements/onnxruntime-web-npm.json`` must be there: `refnorm matrix` installs them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.frameworks.conversation import node, package_version
from refnorm.frameworks.onnx import OPSETS, Inference, Operator
from refnorm.frameworks.onnx import version as onnx_version

NAME = "onnxruntime-web"
CONVENTION = "onnx"
PROGRAM = node("onnxruntime-web", Path(__file__).with_suffix(".mjs"))


class Session:
    """A model that the program holds."""

    def __init__(self, model: Any) -> None:
        self._number = PROGRAM.ask(model=model.SerializeToString())

    def run(self, _: None, feeds: dict[str, Any]) -> list[Any]:
        """Run it; as of `onnxruntime.InferenceSession`."""
        results: list[Any] = PROGRAM.ask(session=self._number, feeds=feeds)
        return results


def _refuses(opset: int, dtype: str, training: bool) -> bool:
    one, x = np.ones(1, dtype), np.array([[1], [2]], dtype)
    operator = Operator(opset, (), Session)
    try:
        operator.train(x, one, one, one, one, 0.5, 1e-5) if training else operator.infer(x, one, one, one, one, 1e-5)
    except RuntimeError:
        return True
    return False


def version() -> str:
    """Version of the runtime, and of onnx, which builds and checks the models."""
    return f"onnxruntime-web {package_version('onnxruntime-web')} ({onnx_version()})"


@cache
def paths() -> dict[str, object]:
    """One path per opset; float32 inference is always offered, so that its failure is seen and not left out."""
    offered: dict[str, object] = {}
    for opset in OPSETS:
        dtypes = tuple(d for d in ("float64", "float32", "float16") if d == "float32" or not _refuses(opset, d, False))
        kind = Inference if _refuses(opset, "float32", True) else Operator
        offered[f"opset {opset}"] = kind(opset, dtypes, Session)
    return offered
