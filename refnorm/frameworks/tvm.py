"""Apache TVM's relax.nn.batch_norm on the CPU, compiled by LLVM for its shape. Forward alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import tvm
from tvm import relax

NAME = "tvm"
CONVENTION = "tvm"


class Operator:
    """``relax.op.nn.batch_norm``, whose eps and momentum are attributes; a missing gamma or beta is one or zero there.

    TVM differentiates a graph of such operators by a pass (``relax.transform.Gradient``), which is not measured.
    """

    dtypes = ("float64", "float32", "float16")
    mixed = False
    sparing = True

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Run what is compiled for training."""
        return *_run(x, gamma, beta, running_mean, running_var, momentum, eps, True), None

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Run what is compiled for inference."""
        return _run(x, gamma, beta, running_mean, running_var, 0.1, eps, False)[0]


def _run(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool) -> list[Any]:
    scale = np.ones_like(mean) if gamma is None else gamma
    shift = np.zeros_like(mean) if beta is None else beta
    machine = _compiled(x.shape, str(x.dtype), training, momentum=float(momentum), epsilon=float(eps))
    return _call(machine, x, scale, shift, mean, var)


def _call(machine: Any, *arrays: Any) -> list[Any]:
    results = machine["main"](*(tvm.runtime.tensor(np.ascontiguousarray(array)) for array in arrays))
    return [result.numpy() for result in results]


@cache
def _compiled(shape: tuple[int, ...], dtype: str, training: bool, **settings: float) -> Any:
    names = ("x", "gamma", "beta", "mean", "var")
    given = [relax.Var(name, relax.TensorType(shape if name == "x" else shape[1:2], dtype)) for name in names]
    builder = relax.BlockBuilder()
    with builder.function("main", given):
        with builder.dataflow():
            results = builder.emit_output(relax.op.nn.batch_norm(*given, axis=1, training=training, **settings))
        builder.emit_func_output(results)
    return relax.VirtualMachine(tvm.compile(builder.get(), target="llvm"), tvm.cpu())


def version() -> str:
    """Version of TVM."""
    return f"tvm {tvm.__version__}"


def paths() -> dict[str, object]:
    """One path."""
    return {"relax": Operator()}
