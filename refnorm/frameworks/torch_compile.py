"""PyTorch's batch normalization as torch.compile makes it: traced, decomposed, and inductor's code in C++ or Triton.

Measured: one function, compiled for sizes that may change (``dynamic=True``), in training and evaluation mode, with the
running statistics that it moves and gradients by autograd through the compiled backward. A C++ compiler must be there.
float32 alone: each format, rank, eps, momentum, mode and absent parameter is a program of its own, some seconds long.
Compiled functions are not differentiated twice, as aot_autograd says when asked, and have no forward mode.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(sys.prefix, "inductor")))  # what is compiled serves all runs

import torch
import torch._dynamo
import torch._functorch.config
import torch._inductor.config

from refnorm.oracle.ask.doors.in_torch import InTorch

NAME = "torch-compile"
CONVENTION = "torch"
torch._functorch.config.donated_buffer = False  # or a graph could be gone through once: backward is asked for twice
torch._inductor.config.compile_threads = 1  # a pool takes longer to start than it saves
torch._dynamo.config.force_parameter_static_shapes = False  # or each number of channels would be compiled for
torch._dynamo.config.recompile_limit = 10_000  # as many as there are formats, ranks, modes and absent parameters
torch._dynamo.config.accumulated_recompile_limit = 10_000  # beyond it, plain torch would run instead, in silence


def _batch_norm(
    x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
) -> torch.Tensor:
    return torch.nn.functional.batch_norm(x, mean, var, gamma, beta, training, momentum, eps)


_compiled = torch.compile(_batch_norm, backend="inductor", dynamic=True, fullgraph=True)


class Compiled(InTorch):
    """``torch.compile`` of ``torch.nn.functional.batch_norm``."""

    sparing = True
    dtypes = ("float32",)
    jvp = None  # type: ignore[assignment]
    double_backward = None  # type: ignore[assignment]

    def call(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Call what is compiled, which moves the statistics that it is given."""
        y = _compiled(x, gamma, beta, mean, var, momentum, eps, training)
        return y, mean, var


def version() -> str:
    """Version of torch, with its build."""
    return f"torch {torch.__version__}"


def paths() -> dict[str, object]:
    """One path."""
    return {"inductor": Compiled()}
