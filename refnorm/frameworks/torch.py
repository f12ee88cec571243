"""PyTorch's batch normalization on the CPU as an implementation: function, modules, channels-last memory, operator.

Measured: forward in both modes, running statistics as torch writes them (into copies); gradients and their gradients by
its autograd, jvp by its forward mode.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._decomp.decompositions import native_batch_norm

from refnorm.oracle.ask.doors.in_torch import InTorch

NAME = "torch"
CONVENTION = "torch"


class Functional(InTorch):
    """``torch.nn.functional.batch_norm``."""

    def call(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Call the function, which moves the statistics that it is given."""
        y = torch.nn.functional.batch_norm(x, mean, var, gamma, beta, training, momentum, eps)
        return y, mean, var


class Module(InTorch):
    """``torch.nn.BatchNorm1d``, ``2d`` or ``3d`` by the rank of x, in training or evaluation mode."""

    def call(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Build a module, and call it with the arguments in place of what it holds."""
        kind = {4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}.get(x.ndim, torch.nn.BatchNorm1d)
        affine = gamma is not None or beta is not None
        module = kind(mean.shape[0], affine=affine, momentum=momentum, eps=eps).train(training)
        state = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": var}
        for name in ("weight", "bias"):
            if state[name] is None:
                setattr(module, name, state.pop(name))
        return torch.func.functional_call(module, state, (x,)), mean, var


class ChannelsLast(Functional):
    """``torch.nn.functional.batch_norm`` with x and dy stored channels last, where there are spatial axes."""

    def layout(self, tensor: torch.Tensor) -> torch.Tensor:
        """Store the channels last."""
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return tensor.contiguous(memory_format=formats.get(tensor.ndim, torch.contiguous_format))


class Native(InTorch):
    """The operator ``torch.native_batch_norm`` without the checks that ``functional`` puts before it."""

    convention = "torch-native"
    operator = staticmethod(torch.native_batch_norm)

    def call(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Call the operator, which moves the statistics that it is given."""
        y = self.operator(x, gamma, beta, mean, var, training=training, momentum=momentum, eps=eps)[0]
        return y, mean, var


class Decomposition(Native):
    """The operator's decomposition into simpler ones, which torch's compilers take; differentiated by autograd."""

    convention = "torch-decomposition"
    operator = staticmethod(native_batch_norm)


def version() -> str:
    """Version of torch, with its build."""
    return f"torch {torch.__version__}"


def paths() -> dict[str, object]:
    """Five ways to batch normalization in torch."""
    return {
        "functional": Functional(),
        "module": Module(),
        "channels_last": ChannelsLast(),
        "native": Native(),
        "decomposition": Decomposition(),
    }
