"""Caffe's own BatchNorm and Scale layers on the CPU, compiled here from their original sources.

Measured: blobs as they stand after one step (count 1), read as sums / count. The sources are those in the folder
``source`` of the running environment, where `refnorm matrix` unpacks them, or in REFNORM_CAFFE; g++, protoc and the
development packages of protobuf, glog, gflags, Boost (system, thread), OpenBLAS and HDF5 must be there. What fails a
check inside Caffe ends the process.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.frameworks.sources import compiled

NAME = "caffe"
CONVENTION = "caffe"
UNITS = ("blob", "common", "syncedmem", "layer", "util/math_functions")
LAYERS = ("batch_norm_layer", "scale_layer", "bias_layer")
LIBRARIES = ("protobuf", "glog", "gflags", "boost_system", "boost_thread", "openblas", "pthread")


def _commands(root: Path, build: Path, library: Path) -> list[list[str]]:
    (build / "caffe/proto").mkdir(parents=True, exist_ok=True)
    proto = root / "src/caffe/proto"
    files = [root / f"src/caffe/{unit}.cpp" for unit in UNITS + tuple(f"layers/{name}" for name in LAYERS)]
    files += [build / "caffe/proto/caffe.pb.cc", Path(__file__).with_suffix(".cpp")]
    flags = ["-O2", "-w", "-fPIC", "-shared", "-DCPU_ONLY", f"-I{build}", f"-I{root / 'include'}"]
    return [
        ["protoc", f"--proto_path={proto}", f"--cpp_out={build / 'caffe/proto'}", str(proto / "caffe.proto")],
        ["g++", *flags, *map(str, files), "-o", str(library), *(f"-l{name}" for name in LIBRARIES)],
    ]


os.environ.setdefault("GLOG_minloglevel", "2")  # errors alone
LIBRARY = ctypes.CDLL(str(compiled("caffe", "src/caffe/layers/batch_norm_layer.cpp", _commands)))


class Layers:
    """``BatchNorm``, then ``Scale`` with a bias; a missing gamma or beta is one or zero there."""

    dtypes = ("float64", "float32")
    mixed = False

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Set up both layers, put the blobs there, and go forward in phase TRAIN."""
        return self._run(x, gamma, beta, running_mean, running_var, momentum, eps, test=0, use_global=0)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Go forward in phase TEST."""
        return self.infer_blobs(x, gamma, beta, running_mean, running_var, 1.0, eps)

    def infer_blobs(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, count: float, eps: float) -> Any:
        """Go forward in phase TEST with running sums and their count."""
        return self._run(x, gamma, beta, mean, var, 0.999, eps, test=1, use_global=0, count=count)[0]

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Go forward in phase TRAIN with ``use_global_stats``."""
        y, _, _, cache = self._run(x, gamma, beta, running_mean, running_var, 0.999, eps, test=0, use_global=1)
        return y, cache

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Go backward through both."""
        handle, kind, channels, with_gamma, with_beta = cache
        dx, dgamma, dbeta = np.empty(dy.shape, kind), np.empty(channels, kind), np.empty(channels, kind)
        _call("back", kind)(handle.pair, *map(_pointer, (np.ascontiguousarray(dy), dx, dgamma, dbeta)))
        return dx, dgamma if with_gamma else None, dbeta if with_beta else None

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> Any:
        """Train a new layer, whose sums and count are 0, for one step."""
        zero = np.zeros(x.shape[1], x.dtype)
        momentum, eps = 0.999 if momentum is None else momentum, 1e-5 if eps is None else eps  # as in caffe.proto
        return self._run(x, None, None, zero, zero, momentum, eps, test=0, use_global=0, count=0)[:3]

    def _run(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, fraction: float, eps: float, *, test: int,
        use_global: int, count: float = 1,
    ) -> Any:  # fmt: skip
        kind, x, sums = x.dtype, np.ascontiguousarray(x), np.array([count], x.dtype)
        scale = np.ones_like(mean) if gamma is None else np.ascontiguousarray(gamma)
        shift = np.zeros_like(mean) if beta is None else np.ascontiguousarray(beta)
        mean, var, y = np.array(mean), np.array(var), np.empty_like(x)
        shape = (ctypes.c_int * x.ndim)(*x.shape)
        arrays = map(_pointer, (x, scale, shift, mean, var, sums))
        run = _call("run", kind)
        run.restype = ctypes.c_void_p
        floats = ctypes.c_float(fraction), ctypes.c_float(eps)
        pair = run(x.ndim, shape, *arrays, *floats, test, use_global, _pointer(y))
        return y, mean / sums, var / sums, (Handle(pair, kind), kind, x.shape[1], gamma is not None, beta is not None)


class Handle:
    """The two layers as they stand after a forward; freed with this."""

    def __init__(self, pair: int, kind: Any) -> None:
        self.pair = ctypes.c_void_p(pair)
        weakref.finalize(self, partial(_call("free", kind), self.pair))


def _call(name: str, kind: Any) -> Any:
    return getattr(LIBRARY, f"{name}_{np.dtype(kind).name}")


def _pointer(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def version() -> str:
    """Return what the sources say of themselves."""
    return "caffe 1.0, as in brocolli-caffe 9.0.2"


def paths() -> dict[str, object]:
    """One path: the two layers."""
    return {"": Layers()}
