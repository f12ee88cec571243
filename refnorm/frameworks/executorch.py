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
    """A ``torch.nn.BatchNorm``, exported in evaluation mode: its parameters are constants."""

    def __init__(self, *partitioners: Any, dtypes: tuple[str, ...], ranks: tuple[int, ...] = (2, 3, 4, 5)) -> None:
        self._partitioners = partitioners
        self.dtypes = dtypes
        self.ranks = ranks

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Export, lower, load and run."""
        if x.ndim not in self.ranks:
            raise ValueError(f"x of rank {x.ndim} stays with the portable kernels")
        module = KINDS[x.ndim](x.shape[1], eps=eps).eval()
        given = {"weight": gamma, "bias": beta, "running_mean": running_mean, "running_var": running_var}
        for name, array in given.items():
            value = None if array is None else torch.from_numpy(np.array(array))
            setattr(module, name, torch.nn.Parameter(value) if name in ("weight", "bias") and array is not None else value)
        batch = torch.from_numpy(np.array(x, order="C"))
        lowered = to_edge_transform_and_lower(
            torch.export.export(module, (batch,)), partitioner=[made() for made in self._partitioners]
        )
        named = [str(node.target) for node in lowered.exported_program().graph.nodes if node.op == "call_function"]
        if self._partitioners and not any("delegate" in name for name in named):
            raise ValueError("XNNPACK takes no part of it")
        program = Runtime.get().load_program(lowered.to_executorch().buffer)
        return program.load_method("forward").execute((batch,))[0].numpy().copy()


def version() -> str:
    """Versions of ExecuTorch, and of torch, which exports."""
    return f"executorch {version_of('executorch')}, torch {torch.__version__}"


def paths() -> dict[str, object]:
    """Two sets of kernels."""
    return {
        "portable": Exported(dtypes=("float64", "float32", "float16")),
        "xnnpack": Exported(XnnpackPartitioner, dtypes=("float32",), ranks=(2, 3, 4)),
    }
