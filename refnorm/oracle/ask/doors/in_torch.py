"""What is written in torch: tensors there and back, and derivatives by torch's own autograd and forward mode."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd import forward_ad

from refnorm.oracle.ask.doors.again import used_twice


class TorchTape(NamedTuple):
    """An output and the leaves it came from, for autograd; gamma or beta is None where it was None.

    ``again`` makes the same call on other tensors.
    """

    y: torch.Tensor
    leaves: tuple[torch.Tensor | None, ...]
    again: Callable[..., torch.Tensor]


class InTorch:
    """A batch normalization in torch; ``call`` is what each adds."""

    derives = "autograd"
    dtypes = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))

    def call(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[Any, Any, Any]:
        """Return y, running mean and running variance; mean and var are copies, and may be written to."""
        raise NotImplementedError

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, TorchTape]:
        """Call in training mode, recording for autograd."""
        tape, mean, var = self._record(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return array_of(tape.y), array_of(mean), array_of(var), tape

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode, without gradients."""
        with torch.no_grad():
            gamma, beta = (None if a is None else tensor_of(a) for a in (gamma, beta))
            mean, var = dense(running_mean), dense(running_var)
            return array_of(self.call(self.layout(tensor_of(x)), gamma, beta, mean, var, 0.5, eps, False)[0])

    def frozen(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float
    ) -> tuple[Any, TorchTape]:
        """Call in evaluation mode, recording for autograd."""
        tape, _, _ = self._record(x, gamma, beta, running_mean, running_var, 0.5, eps, False)
        return array_of(tape.y), tape

    def backward(self, dy: Any, cache: TorchTape) -> tuple[Any, ...]:
        """Ask autograd for the gradients of what has one; what nothing depends on has a gradient of 0."""
        inputs = [leaf for leaf in cache.leaves if leaf is not None]
        upstream = self.layout(tensor_of(dy))
        gradients = iter(torch.autograd.grad(cache.y, inputs, upstream, retain_graph=True, materialize_grads=True))
        return tuple(None if leaf is None else array_of(next(gradients)) for leaf in cache.leaves)

    def jvp(self, dx: Any, dgamma: Any, dbeta: Any, cache: TorchTape) -> Any:
        """Ask torch's forward mode, on dual tensors."""
        moves = [None if d is None else tensor_of(d) for d in (dx, dgamma, dbeta)]
        with without_compiler(), forward_ad.dual_level(), torch.no_grad():
            duals = [
                None if leaf is None else forward_ad.make_dual(leaf.detach(), move)
                for leaf, move in zip(cache.leaves, moves, strict=True)
            ]
            return array_of(forward_ad.unpack_dual(cache.again(*duals)).tangent)

    def double_backward(self, ddx: Any, ddgamma: Any, ddbeta: Any, dy: Any, cache: TorchTape) -> tuple[Any, ...]:
        """Ask autograd for the gradients of the gradients; what nothing depends on has a gradient of 0."""
        upstream = self.layout(tensor_of(dy)).requires_grad_()
        there = [leaf for leaf in cache.leaves if leaf is not None]
        gradients = torch.autograd.grad(cache.y, there, upstream, create_graph=True)
        weights = [self.layout(tensor_of(ddx)), *(tensor_of(d) for d in (ddgamma, ddbeta) if d is not None)]
        wanted = [upstream, *(leaf for leaf in cache.leaves[:2] if leaf is not None)]
        results = torch.autograd.grad(gradients, wanted, weights, retain_graph=True, materialize_grads=True)
        return (*map(array_of, results), *([None] if cache.leaves[1] is None else []))

    def layout(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return x or dy with its memory laid out as this path asks for."""
        return tensor

    def _record(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, training: bool
    ) -> tuple[TorchTape, Any, Any]:
        leaves = (self.layout(tensor_of(x)).requires_grad_(), _parameter(gamma), _parameter(beta))
        with torch.enable_grad():
            y, *moved = self.call(*leaves, dense(mean), dense(var), momentum, eps, training)

        def again(*leaves: Any) -> torch.Tensor:
            x, gamma, beta = leaves
            result: torch.Tensor = self.call(x, gamma, beta, dense(mean), dense(var), momentum, eps, training)[0]
            return result

        return TorchTape(y, leaves, again), *moved


def differentiated_twice(door: Any, *given: Any) -> tuple[Any, ...]:
    """Use one layer twice, with gradients by autograd; see `refnorm.oracle.ask.doors.again`."""
    x, gamma, beta, mean, var, momentum, eps, other, dy = given
    batches = (tensor_of(x).requires_grad_(), tensor_of(other).requires_grad_())

    def gradients(layer: Any, x: Any, y: Any, dy: Any) -> tuple[Any, Any, Any]:
        at = [x, *(door.slots[role].get(layer) if role in door.slots else None for role in ("gamma", "beta"))]
        there = [leaf for leaf in at if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
        found = iter(torch.autograd.grad(y, there, dy, retain_graph=True, materialize_grads=True))
        torch.autograd.backward(y, dy)  # as in training, through all that y hangs on, once
        dx, dgamma, dbeta = (next(found) if any(leaf is t for t in there) else None for leaf in at)
        return dx, dgamma, dbeta

    with torch.enable_grad():
        arrays = batches[0], _parameter(gamma), _parameter(beta), dense(mean), dense(var)
        return used_twice(door, gradients, _parameter, *arrays, momentum, eps, batches[1], tensor_of(dy))


COMPILER = "torch._dynamo"


class _Unasked(ModuleType):
    """Torch's compiler before it is imported: it has nothing to switch off; for anything else it is imported."""

    @staticmethod
    def disable(function: Any, *_: Any, **__: Any) -> Any:
        """Return a function as it is: where no compiler is, none compiles it."""
        return function

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
        return getattr(importlib.import_module(COMPILER), name)


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """Keep torch's forward mode from importing torch's compiler, which takes longer than all calls of a trial.

    A number that is added has a tangent of zeros, and torch works out the shape of a sum with those in functions that
    its compiler is to leave alone; the first call of each imports the compiler to say so.
    """
    if COMPILER in sys.modules:
        yield
        return
    unasked = sys.modules[COMPILER] = _Unasked(COMPILER)
    try:
        yield
    finally:
        if sys.modules.get(COMPILER) is unasked:
            del sys.modules[COMPILER]


def _parameter(array: Any) -> torch.Tensor | None:
    return None if array is None else torch.nn.Parameter(tensor_of(array))


def dense(array: Any) -> torch.Tensor | None:
    """Return a tensor of its own memory, without gaps: torch writes running statistics there."""
    return None if array is None else tensor_of(np.array(array))


def tensor_of(array: Any) -> torch.Tensor:
    """Copy into memory of torch's own on its default device, with the array's strides wherever torch can have them.

    Where there are gaps between the values, there is one before them, too: an offset into the storage, all of it NaN.
    """
    array = np.asarray(array)
    bfloat16, device = array.dtype.name == "bfloat16", torch.get_default_device()
    bits = array.view(np.int16) if bfloat16 else array
    steps = [stride // bits.itemsize for stride in bits.strides]
    if any(stride < 0 or stride % bits.itemsize for stride in bits.strides):
        tensor = torch.from_numpy(np.array(bits, order="K")).to(device)
    else:
        distinct = bits[tuple(slice(None) if step else slice(1) for step in steps)]
        tensor = torch.from_numpy(np.array(distinct))
        room = 1 + sum((n - 1) * step for n, step in zip(distinct.shape, steps, strict=True) if distinct.size)
        gap = int(room > max(distinct.size, 1))
        storage = torch.from_numpy(np.full((gap + room) * bits.itemsize, 255, np.uint8).view(bits.dtype)).to(device)
        tensor = storage.as_strided(distinct.shape, steps, gap).copy_(tensor).expand(bits.shape)
    return tensor.view(torch.bfloat16) if bfloat16 else tensor


def array_of(tensor: Any) -> Any:
    """Return a tensor as an array of NumPy's; what is none comes back as it is."""
    if not isinstance(tensor, torch.Tensor):
        return tensor
    if tensor.dtype != torch.bfloat16:
        return tensor.detach().cpu().resolve_conj().numpy()
    from ml_dtypes import bfloat16

    return tensor.detach().cpu().contiguous().view(torch.int16).numpy().view(bfloat16)
