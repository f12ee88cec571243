"""StableHLO's operations of batch normalization: a module of one operation as text, and an implementation of the three.

Measured, by whoever compiles them: ``batch_norm_training``, whose batch statistics ``batch_norm_grad`` is given, and
``batch_norm_inference``. StableHLO wants one format for all, keeps no running statistics, and has epsilon as a float32
attribute; gamma and beta are no option there, so a missing one is ones or zeros.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

TYPES = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
SIGNATURES = {  # x: like x; c: one value for each channel
    "batch_norm_training": ("xcc", "xcc"),
    "batch_norm_inference": ("xcccc", "x"),
    "batch_norm_grad": ("xcccx", "xcc"),
}


class Operations:
    """``stablehlo.batch_norm_training``, ``batch_norm_grad`` and ``batch_norm_inference``."""

    dtypes = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))
    mixed = False
    sparing = True
    without = ("running mean", "running variance")

    def call(self, operation: str, eps: float, *arrays: Any) -> list[Any]:
        """Compile one operation for such arrays, run it, and return its results."""
        raise NotImplementedError

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Run the operation of training, which returns the batch's mean and variance beside y."""
        scale, shift = _pair(gamma, beta, running_mean)
        y, mean, var = self.call("batch_norm_training", eps, x, scale, shift)
        return y, None, None, (x, scale, mean, var, eps, gamma is not None, beta is not None)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Run the operation of inference."""
        scale, shift = _pair(gamma, beta, running_mean)
        return self.call("batch_norm_inference", eps, x, scale, shift, running_mean, running_var)[0]

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Run the operation of gradients on what training returned."""
        x, scale, mean, var, eps, with_gamma, with_beta = cache
        dx, dgamma, dbeta = self.call("batch_norm_grad", eps, x, scale, mean, var, dy)
        return dx, dgamma if with_gamma else None, dbeta if with_beta else None


def _pair(gamma: Any, beta: Any, like: Any) -> tuple[Any, Any]:
    return np.ones_like(like) if gamma is None else gamma, np.zeros_like(like) if beta is None else beta


def operation_text(operation: str, eps: float, shape: tuple[int | str, ...], dtype: str) -> str:
    """Return a function ``main`` of one operation on x of a shape, in which "?" is a size that varies.

    Examples
    --------
    >>> print(operation_text("batch_norm_inference", 0.5, ("?", 3), "float32"))  # doctest: +ELLIPSIS
    func.func @main(%0: tensor<?x3xf32>, %1: tensor<3xf32>, ...) -> (tensor<?x3xf32>) {
      %results:1 = "stablehlo.batch_norm_inference"(%0, %1, %2, %3, %4) {epsilon = 5.000000000e-01 : f32, ...
      return %results#0 : tensor<?x3xf32>
    }
    """
    size = {"x": shape, "c": shape[1:2]}
    inputs, outputs = (
        [f"tensor<{''.join(f'{n}x' for n in size[kind])}{TYPES[dtype]}>" for kind in kinds]
        for kinds in SIGNATURES[operation]
    )
    names = ", ".join(f"%{n}" for n in range(len(inputs)))
    arguments = ", ".join(f"%{n}: {kind}" for n, kind in enumerate(inputs))
    attributes = f"{{epsilon = {np.float32(eps):.9e} : f32, feature_index = 1 : i64}}"
    signature = f"({', '.join(inputs)}) -> ({', '.join(outputs)})"
    returned = ", ".join(f"%results#{n}" for n in range(len(outputs)))
    return f"""\
func.func @main({arguments}) -> ({", ".join(outputs)}) {{
  %results:{len(outputs)} = "stablehlo.{operation}"({names}) {attributes} : {signature}
  return {returned} : {", ".join(outputs)}
}}"""
