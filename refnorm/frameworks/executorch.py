"""ExecuTorch on what PyTorch exports for a shape: its portable kernels, and XNNPACK's. Inference only."""

from __future__ import annotations

from functools import cache
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


class Portable:
    """``torch.nn.functional.batch_norm`` in evaluation mode, exported once for each shape: all else is an input."""

    sparing = True
    dtypes = ("float64", "float32", "float16")

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Run what was exported."""
        batch, mean, var, *pair = (_tensor(a) for a in (x, running_mean, running_var, gamma, beta))
        given = (batch, mean, var, *(a for a in pair if a is not None))
        likes = tuple((a.shape, a.dtype) for a in given)
        return _run(_exported(gamma is not None, beta is not None, float(eps), likes), given)


class Delegated:
    """A ``torch.nn.BatchNorm`` whose parameters are constants, lowered to XNNPACK.

    What its partitioner does not take, as rank 5, stays with the portable kernels.
    """

    sparing = True
    dtypes = ("float32",)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Export, lower, load and run."""
        module = KINDS[x.ndim](x.shape[1], eps=eps).eval()
        module.running_mean, module.running_var, *pair = (_tensor(a) for a in (running_mean, running_var, gamma, beta))
        module.weight, module.bias = (None if a is None else torch.nn.Parameter(a) for a in pair)
        batch = (_tensor(x),)
        return _run(_lowered(module, batch, [XnnpackPartitioner()]), batch)


class _Functional(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, with_gamma: bool, with_beta: bool, eps: float) -> None:
        super().__init__()
        self._given, self._eps = (with_gamma, with_beta), eps

    def forward(self, x: Any, mean: Any, var: Any, *pair: Any) -> Any:
        given = iter(pair)
        gamma, beta = (next(given) if there else None for there in self._given)
        return torch.nn.functional.batch_norm(x, mean, var, gamma, beta, eps=self._eps)


@cache
def _exported(with_gamma: bool, with_beta: bool, eps: float, likes: tuple[Any, ...]) -> Any:
    examples = tuple(torch.ones(shape, dtype=kind) for shape, kind in likes)
    return _lowered(_Functional(with_gamma, with_beta, eps), examples, [])


def _lowered(module: torch.nn.Module, examples: tuple[Any, ...], partitioners: list[Any]) -> Any:
    lowered = to_edge_transform_and_lower(torch.export.export(module, examples), partitioner=partitioners)
    return Runtime.get().load_program(lowered.to_executorch().buffer)


def _run(program: Any, given: tuple[Any, ...]) -> Any:
    return program.load_method("forward").execute(given)[0].numpy().copy()


def _tensor(array: Any) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.array(array, order="C"))


def version() -> str:
    """Versions of ExecuTorch, and of torch, which exports."""
    return f"executorch {version_of('executorch')}, torch {torch.__version__}"


def paths() -> dict[str, object]:
    """Two sets of kernels."""
    return {"portable": Portable(), "xnnpack": Delegated()}
