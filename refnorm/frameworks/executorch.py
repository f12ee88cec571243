"""ExecuTorch on a module of PyTorch's, exported for its shape: its portable kernels, and XNNPACK's. Inference only."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

NAME = "executorch"
CONVENTION = "torch"
KINDS = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}


class Exported:
    """A ``torch.nn.BatchNorm``, exported in evaluation mode: its parameters are constants.

    What a partitioner does not take, as XNNPACK's does not take rank 5, stays with the portable kernels.
    """

    sparing = True

    def __init__(self, *partitioners: Any, dtypes: tuple[str, ...]) -> None:
        self._partitioners = partitioners
        self.dtypes = dtypes

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Export, lower, load and run."""
        module = KINDS[x.ndim](x.shape[1], eps=eps).eval()
        given = (None if a is None else torch.from_numpy(np.array(a)) for a in (running_mean, running_var, gamma, beta))
        module.running_mean, module.running_var, *pair = given
        module.weight, module.bias = (None if a is None else torch.nn.Parameter(a) for a in pair)
        batch = torch.from_numpy(np.array(x, order="C"))
        lowered = to_edge_transform_and_lower(
            torch.export.export(module, (batch,)), partitioner=[made() for made in self._partitioners]
        )
        program = Runtime.get().load_program(lowered.to_executorch().buffer)
        return program.load_method("forward").execute((batch,))[0].numpy().copy()


def version() -> str:
    """Versions of ExecuTorch, and of torch, which exports."""
    return f"executorch {version_of('executorch')}, torch {torch.__version__}"


def paths() -> dict[str, object]:
    """Two sets of kernels."""
    return {
        "portable": Exported(dtypes=("float64", "float32", "float16")),
        "xnnpack": Exported(XnnpackPartitioner, dtypes=("float32",)),
    }
