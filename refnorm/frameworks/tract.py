"""tract on the models of `refnorm.frameworks.onnx`, each compiled for its shape. Inference only.

tract reads a BatchNormalization of one output: its operator has no training mode.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tract
from onnx import numpy_helper

from refnorm.frameworks.onnx import INPUTS, OPSETS, Inference

NAME = "tract"
CONVENTION = "onnx"
TYPES = {"float64": "f64", "float32": "f32", "float16": "f16"}


class Model:
    """A model as tract loads it, for each shape anew: scale, bias and statistics are constants there."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def run(self, _: None, feeds: dict[str, Any]) -> list[Any]:
        """Run it; as of `onnxruntime.InferenceSession`."""
        model, x = onnx.ModelProto(), np.ascontiguousarray(feeds["X"])
        model.CopyFrom(self._model)
        del model.graph.input[1:]
        model.graph.initializer.extend(numpy_helper.from_array(feeds[name], name) for name in INPUTS[1:])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.onnx")
            file.write_bytes(model.SerializeToString())
            loaded = tract.onnx().load(str(file))
        loaded.set_input_fact(0, ",".join([*map(str, x.shape), TYPES[str(x.dtype)]]))
        return [y.to_numpy() for y in loaded.into_model().into_runnable().run([x])]


def version() -> str:
    """Versions of tract, and of onnx, which builds and checks the models."""
    return f"tract {tract.version()} (onnx {onnx.__version__})"


def paths() -> dict[str, object]:
    """One path per opset."""
    return {f"opset {opset}": Inference(opset, tuple(TYPES), Model) for opset in OPSETS}
