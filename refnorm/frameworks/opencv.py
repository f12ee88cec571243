"""OpenCV's dnn module on Caffe's BatchNorm and Scale layers, through its Caffe importer. Inference only, float32.

Measured: a prototxt and a caffemodel (protocol buffers, written here field by field) with blobs mean s, var s and s:
the scale factor is 4, so that an importer which forgets to divide is seen.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

NAME = "opencv"
CONVENTION = "caffe"
SUMS = 4.0
if not hasattr(cv2.dnn, "readNetFromCaffe"):
    raise ImportError(f"OpenCV {cv2.__version__} has no Caffe importer; 4.14 was the last to have one")


class Caffe:
    """``cv2.dnn.readNetFromCaffe``."""

    dtypes = ("float32",)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Write the model, read it, and run it."""
        gamma = np.ones_like(running_mean) if gamma is None else gamma
        beta = np.zeros_like(running_mean) if beta is None else beta
        shape = " ".join(f"dim: {n}" for n in x.shape)
        prototxt = f"""
            input: "x" input_shape {{ {shape} }}
            layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "h"
                     batch_norm_param {{ use_global_stats: true eps: {eps!r} }} }}
            layer {{ name: "scale" type: "Scale" bottom: "h" top: "y" scale_param {{ bias_term: true }} }}"""
        blobs = {"bn": [running_mean * SUMS, running_var * SUMS, np.array([SUMS])], "scale": [gamma, beta]}
        kinds = {"bn": "BatchNorm", "scale": "Scale"}
        model = b"".join(_layer(name, kinds[name], arrays) for name, arrays in blobs.items())
        net = cv2.dnn.readNetFromCaffe(*(np.frombuffer(text, np.uint8) for text in (prototxt.encode(), model)))
        net.setInput(np.ascontiguousarray(x))
        return net.forward().copy()


def _varint(value: int) -> bytes:
    """Return an integer in groups of seven bits."""
    return bytes([value & 127 | 128]) + _varint(value >> 7) if value > 127 else bytes([value])


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a protocol buffer."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _layer(name: str, kind: str, arrays: list[Any]) -> bytes:
    """Return NetParameter.layer: LayerParameter with name, type and blobs."""
    blobs = b""
    for array in arrays:
        shape = _field(1, _varint(array.size))
        data = b"".join(struct.pack("<f", value) for value in array)
        blobs += _field(7, _field(7, shape) + _field(5, data))
    return _field(100, _field(1, name.encode()) + _field(2, kind.encode()) + blobs)


def version() -> str:
    """Version of OpenCV."""
    return f"opencv {cv2.__version__}"


def paths() -> dict[str, object]:
    """One path: the Caffe importer."""
    return {"caffe importer": Caffe()}
