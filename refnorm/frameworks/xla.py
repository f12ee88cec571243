"""XLA's batch normalization on the CPU: the StableHLO operations, each a module of its own that XLA compiles.

Measured: ``batch_norm_training``, whose batch statistics ``batch_norm_grad`` is given, and ``batch_norm_inference``.
StableHLO wants one format for all, keeps no running statistics, and has epsilon as a float32 attribute; gamma and beta
are no option there, so a missing one is ones or zeros.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
from jax._src import compiler
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax.extend.backend import get_backend
from jaxlib.mlir import ir

from refnorm.frameworks.jax import versions

NAME = "xla"
CONVENTION = "onnx"  # epsilon is a float32 attribute; running statistics there are none
TYPES = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
SIGNATURES = {  # x: like x; c: one value for each channel
    "batch_norm_training": ("xcc", "xcc"),
    "batch_norm_inference": ("xcccc", "x"),
    "batch_norm_grad": ("xcccx", "xcc"),
}
jax.config.update("jax_enable_x64", True)


class Operations:
    """``stablehlo.batch_norm_training``, ``batch_norm_grad`` and ``batch_norm_inference``."""

    dtypes = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))
    mixed = False
    without = ("running mean", "running variance")

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Run the operation of training, which returns the batch's mean and variance beside y."""
        scale, shift = _pair(gamma, beta, running_mean)
        y, mean, var = _run("batch_norm_training", eps, x, scale, shift)
        return y, None, None, (x, scale, mean, var, eps, gamma is not None, beta is not None)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Run the operation of inference."""
        (y,) = _run("batch_norm_inference", eps, x, *_pair(gamma, beta, running_mean), running_mean, running_var)
        return y

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Run the operation of gradients on what training returned."""
        x, scale, mean, var, eps, with_gamma, with_beta = cache
        dx, dgamma, dbeta = _run("batch_norm_grad", eps, x, scale, mean, var, dy)
        return dx, dgamma if with_gamma else None, dbeta if with_beta else None


def _pair(gamma: Any, beta: Any, like: Any) -> tuple[Any, Any]:
    return np.ones_like(like) if gamma is None else gamma, np.zeros_like(like) if beta is None else beta


def _run(operation: str, eps: float, *arrays: Any) -> list[Any]:
    arrays = tuple(np.ascontiguousarray(array) for array in arrays)
    program = _compiled(operation, float(eps), arrays[0].shape, str(arrays[0].dtype))
    return [np.asarray(result) for result in program.execute([jax.device_put(array) for array in arrays])]


@cache
def _compiled(operation: str, eps: float, shape: tuple[int, ...], dtype: str) -> Any:
    """Compile a module of one operation."""
    takes, gives = SIGNATURES[operation]
    size = {"x": shape, "c": shape[1:2]}
    inputs, outputs = (
        [f"tensor<{''.join(f'{n}x' for n in size[kind])}{TYPES[dtype]}>" for kind in kinds] for kinds in (takes, gives)
    )
    names = ", ".join(f"%{n}" for n in range(len(inputs)))
    arguments = ", ".join(f"%{n}: {kind}" for n, kind in enumerate(inputs))
    attributes = f"{{epsilon = {np.float32(eps):.9e} : f32, feature_index = 1 : i64}}"
    signature = f"({', '.join(inputs)}) -> ({', '.join(outputs)})"
    call = f'"stablehlo.{operation}"({names}) {attributes} : {signature}'
    returned = ", ".join(f"%results#{n}" for n in range(len(outputs)))
    text = f"""
        func.func @main({arguments}) -> ({", ".join(outputs)}) {{
          %results:{len(outputs)} = {call}
          return {returned} : {", ".join(outputs)}
        }}"""
    client = get_backend("cpu")
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        devices = xla_client.DeviceList(tuple(client.local_devices()[:1]))
        options = compiler.get_compile_options(num_replicas=1, num_partitions=1)
        return client.compile_and_load(module, devices, options)


def version() -> str:
    """Version of jaxlib, whose XLA this is."""
    return versions("jaxlib")


def paths() -> dict[str, object]:
    """One path."""
    return {"operations": Operations()}
