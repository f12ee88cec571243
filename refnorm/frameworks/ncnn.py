"""ncnn's BatchNorm layer, a net of one, a sample at a time, float32. Inference only."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import ncnn
import numpy as np

NAME = "ncnn"
CONVENTION = "onnx"


class Inference:
    """A net of Input and BatchNorm; its weights are slope, mean, variance and bias."""

    dtypes = ("float32",)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Write a net, load it, and run each sample."""
        gamma = np.ones_like(running_mean) if gamma is None else gamma
        beta = np.zeros_like(running_mean) if beta is None else beta
        text = f"7767517\n2 2\nInput x 0 1 x\nBatchNorm bn 1 1 x y 0={gamma.size} 1={eps:.9e}\n"
        weights = b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in (gamma, running_mean, running_var, beta))
        net = ncnn.Net()
        net.opt.num_threads = 1
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        with tempfile.TemporaryDirectory() as folder:
            param, binary = os.path.join(folder, "bn.param"), os.path.join(folder, "bn.bin")
            for path, content in ((param, text.encode()), (binary, weights)):
                with open(path, "wb") as file:
                    file.write(content)
            if net.load_param(param) or net.load_model(binary):
                raise RuntimeError("ncnn refuses the net")
        return np.stack([_extract(net, sample) for sample in x])


def _extract(net: Any, sample: Any) -> Any:
    extractor = net.create_extractor()
    array = np.array(sample, order="C")
    mat = ncnn.Mat(array)  # a view of the array
    owned = mat.clone()
    extractor.input("x", owned)
    failed, y = extractor.extract("y")
    if failed:
        raise RuntimeError(f"ncnn returns {failed} for a sample of shape {sample.shape}")
    return np.array(y)


def version() -> str:
    """Version of ncnn."""
    return f"ncnn {ncnn.__version__}"


def paths() -> dict[str, object]:
    """One path."""
    return {"": Inference()}
