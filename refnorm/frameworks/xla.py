"""XLA's batch normalization: the StableHLO operations, each compiled for its shape and JAX's default device."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np
from jax._src import compiler
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax.extend.backend import get_backend
from jaxlib.mlir import ir

from refnorm.frameworks.in_stablehlo import Operations, operation_text
from refnorm.frameworks.jax import versions

NAME = "xla"
CONVENTION = "onnx"  # epsilon is a float32 attribute; running statistics there are none
jax.config.update("jax_enable_x64", True)


class InXla(Operations):
    """The operations as modules that XLA compiles."""

    def call(self, operation: str, eps: float, *arrays: Any) -> list[Any]:
        """Compile an operation, and execute it."""
        placed = [jax.device_put(np.ascontiguousarray(array), jax.devices()[0]) for array in arrays]
        program = _compiled(operation, eps, placed[0].shape, str(placed[0].dtype))
        return [np.asarray(result) for result in program.execute(placed)]


@cache
def _compiled(operation: str, eps: float, shape: tuple[int, ...], dtype: str) -> Any:
    client = get_backend()
    with mlir.make_ir_context():
        module = ir.Module.parse(operation_text(operation, eps, shape, dtype))
        devices = xla_client.DeviceList(tuple(client.local_devices()[:1]))
        options = compiler.get_compile_options(num_replicas=1, num_partitions=1)
        return client.compile_and_load(module, devices, options)


def version() -> str:
    """Version of jaxlib, whose XLA this is."""
    return versions("jaxlib")


def paths() -> dict[str, object]:
    """One path."""
    return {"operations": InXla()}
