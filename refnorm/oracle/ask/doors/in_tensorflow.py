"""What is written in TensorFlow, or in Keras on it: gradients by its tape; no forward mode, and no second order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from refnorm.oracle.ask.doors.layers import LayerDoor
from refnorm.oracle.ask.doors.libraries import Library, to_numpy


class Taped(NamedTuple):
    """A call to differentiate: its tape, y, and the leaves that it came from, None where there is none.

    The leaves are x and what holds gamma and beta: tensors that were passed, or variables of the layer that was made.
    """

    tape: Any
    y: Any
    leaves: tuple[Any, Any, Any]


class InTensorFlow:
    """A batch normalization in TensorFlow; ``door`` knows how it is called. A tf.function is traced for each shape."""

    derives = "tf.GradientTape"

    def __init__(self, door: Any, library: Library) -> None:
        self.sparing = library.sparing or hasattr(getattr(door, "function", None), "get_concrete_function")
        self.door, self.library, self.dtypes = door, library, library.formats

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> tuple[Any, Any, Any, Taped]:
        """Call in training mode, on a tape."""
        taped, mean, var = self._taped(x, gamma, beta, running_mean, running_var, momentum, eps, True)
        return to_numpy(taped.y), to_numpy(mean), to_numpy(var), taped

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode."""
        own = self._own(x, gamma, beta, running_mean, running_var)
        return to_numpy(self.door.forward(*own, 0.5, eps, False)[0])

    def frozen(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call in evaluation mode, on a tape."""
        taped, _, _ = self._taped(x, gamma, beta, running_mean, running_var, 0.5, eps, False)
        return to_numpy(taped.y), taped

    def backward(self, dy: Any, cache: Taped) -> tuple[Any, ...]:
        """Ask the tape for the gradients of what has one; what nothing depends on has a gradient of 0."""
        there = [leaf for leaf in cache.leaves if leaf is not None]
        upstream = tf.cast(self._own(dy)[0], cache.y.dtype)
        zero = tf.UnconnectedGradients.ZERO
        found = iter(cache.tape.gradient(cache.y, there, upstream, unconnected_gradients=zero))
        return tuple(None if leaf is None else to_numpy(next(found)) for leaf in cache.leaves)

    def _taped(
        self, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, momentum: float, eps: float, on: bool
    ) -> tuple[Taped, Any, Any]:
        own = self._own(x, gamma, beta, mean, var)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([tensor for tensor in own[:3] if tensor is not None])
            y, mean, var, kept = self.door.forward(*own, momentum, eps, on)
        return Taped(tape, y, (own[0], *self._parameters(own, kept))), mean, var

    def _parameters(self, own: list[Any], kept: Any) -> tuple[Any, Any]:
        """Return what gamma and beta are differentiated by: a layer's variables, else the tensors themselves."""
        if isinstance(self.door, LayerDoor):
            slots, layer = self.door.slots, kept[0]
            kept = {role: slots[role].get(layer) for role in ("gamma", "beta") if role in slots}
        kept = kept if isinstance(kept, dict) else {}
        gamma, beta = (
            _variable(kept.get(role, tensor)) for role, tensor in zip(("gamma", "beta"), own[1:3], strict=True)
        )
        return gamma, beta

    def _own(self, *arrays: Any) -> list[Any]:
        return [None if a is None else self.library.own(np.array(a)) for a in arrays]


def _variable(value: Any) -> Any:
    """Return TensorFlow's own variable for one of Keras's."""
    return value if value is None or tf.is_tensor(value) or isinstance(value, tf.Variable) else value.value
