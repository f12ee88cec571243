"""PyTorch's batch normalization on the CPU as an implementation: function, modules, channels-last memory, operator.

Measured: forward in both modes, running statistics as torch writes them (into copies); gradients and their gradients by
its autograd, jvp by its forward mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch._decomp.decompositions import native_batch_norm
from torch.autograd import forward_ad

NAME = "torch"
CONVENTION = "torch"


class Tape(NamedTuple):
    """An output and the leaves it came from, for autograd; gamma or beta is None where it was None.

    ``again`` makes the same call on other tensors.
    """

    y: torch.Tensor
    leaves: tuple[torch.Tensor | None, ...]
    again: Callable[..., torch.Tensor]


class Functional:
    """``torch.nn.functional.batch_norm``."""

    dtypes = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, Tape]:
        """Call in training mode on copies of the running statistics, and return the copies."""
        mean, var = _tensor(np.array(running_mean)), _tensor(np.array(running_var))  # dense: torch writes here
        tape = self._record(x, gamma, beta, mean, var, training=True, momentum=momentum, eps=eps)
        return _array(tape.y), _array(mean), _array(var), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode, without gradients."""
        with torch.no_grad():
            return _array(self.frozen(x, gamma, beta, running_mean, running_var, eps)[1].y)

    def frozen(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float
    ) -> tuple[Any, Tape]:
        """Call in evaluation mode, recording for autograd."""
        tape = self._record(x, gamma, beta, _tensor(running_mean), _tensor(running_var), training=False, eps=eps)
        return _array(tape.y), tape

    def backward(self, dy: Any, cache: Tape) -> tuple[Any, ...]:
        """Ask autograd for the gradients of what has one."""
        inputs = [leaf for leaf in cache.leaves if leaf is not None]
        gradients = iter(torch.autograd.grad(cache.y, inputs, self._layout(_tensor(dy)), retain_graph=True))
        return tuple(None if leaf is None else _array(next(gradients)) for leaf in cache.leaves)

    def jvp(self, dx: Any, dgamma: Any, dbeta: Any, cache: Tape) -> Any:
        """Ask torch's forward mode, on dual tensors."""
        moves = [None if d is None else _tensor(d) for d in (dx, dgamma, dbeta)]
        with forward_ad.dual_level(), torch.no_grad():
            duals = [
                None if leaf is None else forward_ad.make_dual(leaf.detach(), move)
                for leaf, move in zip(cache.leaves, moves, strict=True)
            ]
            return _array(forward_ad.unpack_dual(cache.again(*duals)).tangent)

    def double_backward(self, ddx: Any, ddgamma: Any, ddbeta: Any, dy: Any, cache: Tape) -> tuple[Any, ...]:
        """Ask autograd for the gradients of the gradients; what nothing depends on has a gradient of 0."""
        upstream = self._layout(_tensor(dy)).requires_grad_()
        there = [leaf for leaf in cache.leaves if leaf is not None]
        gradients = torch.autograd.grad(cache.y, there, upstream, create_graph=True)
        weights = [self._layout(_tensor(ddx)), *(_tensor(d) for d in (ddgamma, ddbeta) if d is not None)]
        wanted = [upstream, *(leaf for leaf in cache.leaves[:2] if leaf is not None)]
        results = torch.autograd.grad(gradients, wanted, weights, retain_graph=True, materialize_grads=True)
        return (*map(_array, results), *([None] if cache.leaves[1] is None else []))

    def _record(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, **options: Any) -> Tape:
        leaves = (self._layout(_tensor(x)).requires_grad_(), _parameter(gamma), _parameter(beta))
        again = partial(self._forward_on_leaves, mean.clone(), var.clone(), options)
        return Tape(self._call(*leaves, mean, var, **options), leaves, again)

    def _forward_on_leaves(self, mean: Any, var: Any, options: Any, x: Any, gamma: Any, beta: Any) -> torch.Tensor:
        return self._call(x, gamma, beta, mean.clone(), var.clone(), **options)

    def _layout(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def _call(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, **options: Any) -> torch.Tensor:
        return torch.nn.functional.batch_norm(x, mean, var, gamma, beta, **options)


class Module(Functional):
    """``torch.nn.BatchNorm1d``, ``2d`` or ``3d`` by the rank of x, in training or evaluation mode."""

    def _call(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, **options: Any) -> torch.Tensor:
        module = self._module(x, gamma, beta, mean, options)
        module.weight, module.bias, module.running_mean, module.running_var = gamma, beta, mean, var
        return module(x)

    def _forward_on_leaves(self, mean: Any, var: Any, options: Any, x: Any, gamma: Any, beta: Any) -> torch.Tensor:
        module = self._module(x, gamma, beta, mean, options)
        state = {"weight": gamma, "bias": beta, "running_mean": mean.clone(), "running_var": var.clone()}
        for name in ("weight", "bias"):
            if state[name] is None:
                setattr(module, name, state.pop(name))
        return torch.func.functional_call(module, state, (x,))

    def _module(self, x: Any, gamma: Any, beta: Any, mean: Any, options: Any) -> torch.nn.Module:
        kind = {4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}.get(x.ndim, torch.nn.BatchNorm1d)
        options = dict(options)
        training = options.pop("training")
        return kind(mean.shape[0], affine=gamma is not None or beta is not None, **options).train(training)


class ChannelsLast(Functional):
    """``torch.nn.functional.batch_norm`` with x and dy stored channels last, where there are spatial axes."""

    def _layout(self, tensor: torch.Tensor) -> torch.Tensor:
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return tensor.contiguous(memory_format=formats.get(tensor.ndim, torch.contiguous_format))


class Native(Functional):
    """The operator ``torch.native_batch_norm`` without the checks that ``functional`` puts before it."""

    convention = "torch-native"
    operator = staticmethod(torch.native_batch_norm)

    def _call(self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, **options: Any) -> torch.Tensor:
        return self.operator(x, gamma, beta, mean, var, **{"momentum": 0.0, **options})[0]


class Decomposition(Native):
    """The operator's decomposition into simpler ones, which torch's compilers take; differentiated by autograd."""

    convention = "torch-decomposition"
    operator = staticmethod(native_batch_norm)


def _parameter(array: Any) -> torch.Tensor | None:
    return None if array is None else torch.nn.Parameter(_tensor(array))


def _tensor(array: Any) -> torch.Tensor:
    """Copy into memory of torch's own, with the strides of the array wherever torch can have them."""
    bfloat16 = array.dtype.name == "bfloat16"
    bits = array.view(np.int16) if bfloat16 else array
    steps = [stride // bits.itemsize for stride in bits.strides]
    if any(stride < 0 or stride % bits.itemsize for stride in bits.strides):
        tensor = torch.from_numpy(np.array(bits, order="K"))
    else:
        distinct = bits[tuple(slice(None) if step else slice(1) for step in steps)]
        tensor = torch.from_numpy(np.array(distinct))
        tensor = torch.empty_strided(distinct.shape, steps, dtype=tensor.dtype).copy_(tensor).expand(bits.shape)
    return tensor.view(torch.bfloat16) if bfloat16 else tensor


def _array(tensor: torch.Tensor) -> Any:
    if tensor.dtype != torch.bfloat16:
        return tensor.detach().numpy()
    from ml_dtypes import bfloat16

    return tensor.detach().view(torch.int16).numpy().view(bfloat16)


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
