"""IREE's batch normalization on the CPU: the StableHLO operations, each compiled for its rank and channels."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version as version_of
from importlib.util import find_spec
from typing import Any

import numpy as np
from iree import compiler, runtime

from refnorm.frameworks.in_stablehlo import Operations, operation_text

NAME = "iree"
CONVENTION = "onnx"  # epsilon is a float32 attribute; running statistics there are none
OPTIONS = ["--iree-llvmcpu-target-cpu=host", "--iree-input-demote-f64-to-f32=false"]


class InIree(Operations):
    """The operations of training and inference as modules that IREE compiles; it has no ``batch_norm_grad``.

    Inference is compiled for any batch; training is for one shape, as IREE wants it.
    """

    dtypes = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))
    backward = None  # type: ignore[assignment]

    def call(self, operation: str, eps: float, *arrays: Any) -> list[Any]:
        """Compile an operation, and call it on one thread."""
        arrays = tuple(np.ascontiguousarray(array) for array in arrays)
        fixed = range(arrays[0].ndim) if operation == "batch_norm_training" else (1,)
        sizes = tuple(n if axis in fixed else "?" for axis, n in enumerate(arrays[0].shape))
        module = _compiled(operation, float(eps), sizes, str(arrays[0].dtype))
        results = module.main(*arrays)
        return [np.array(result) for result in (results if isinstance(results, tuple | list) else [results])]


@cache
def _compiled(operation: str, eps: float, sizes: tuple[int | str, ...], dtype: str) -> Any:
    text = operation_text(operation, eps, sizes, dtype)
    code = compiler.compile_str(text, target_backends=["llvm-cpu"], input_type="stablehlo", extra_args=OPTIONS)
    return runtime.load_vm_flatbuffer(code, driver="local-sync")


def version() -> str:
    """Version of IREE's compiler."""
    return f"iree {version_of('iree-base-compiler')}"


def paths() -> dict[str, object]:
    """One path."""
    return {"operations": InIree()}
