"""What an implementation behind a door offers: found by trying it, and said in words."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.binding import probe
from refnorm.oracle.ask.doors.by_hand import ByHand
from refnorm.oracle.ask.doors.layers import LayerDoor
from refnorm.oracle.ask.doors.libraries import Library
from refnorm.oracle.ask.doors.through import Through

Doors = dict[int, tuple[Any, int]]  # by rank of x: how it is called, and the axis that the channels are on
SHAPES = ((6, 3), (5, 3, 2, 4), (5, 3, 4), (3, 3, 2, 4, 5))  # no two extents after the first are alike


def finished(
    door: Any,
    engine: Any,
    library: Library,
    words: str,
    at: dict[int, int],
    infers: bool,
    statistics: bool,
    roles: set[str],
    convention: str = "",
) -> Through:
    """Return what was read as an implementation: what it offers is what works on a probe."""
    offers = ["train", *(["infer"] if infers else [])]
    without = [] if statistics else ["running mean", "running variance"]
    offers += _derivatives(engine, door, infers, at)
    words += _by_autograd(engine, offers)
    if isinstance(door, LayerDoor) and hasattr(engine, "used_twice"):
        offers.append("used_twice")
    if isinstance(engine, ByHand) and "backward" in offers:
        without += _missing_gradients(engine, at)
    passes = [name for name in ("eps", "momentum") if name in roles]
    lacks = [name for name in ("gamma", "beta") if name not in roles]
    if -1 in at.values():
        words += "; channels last"
    if 0 in at.values():
        words += "; x is (features, samples)"
    return Through(engine, offers, words, at, without, passes, lacks, convention)


def engine_of(door: Any, library: Library, by_hand: bool) -> Any:
    """Return what calls a door: torch, JAX and TensorFlow differentiate what has no backward of its own."""
    if not by_hand and on_tensorflow(library):
        from refnorm.oracle.ask.doors.in_tensorflow import InTensorFlow

        return InTensorFlow(door, library)
    if by_hand or library.name not in ("torch", "jax"):
        return ByHand(door, library)
    if library.name == "torch":
        from refnorm.oracle.ask.doors.in_torch import InTorch, differentiated_twice

        class Torch(InTorch):
            def call(self, *given: Any) -> Any:
                return door.forward(*given)[:3]

            def used_twice(self, *given: Any) -> Any:
                return differentiated_twice(door, *given)

        return Torch()
    from refnorm.oracle.ask.doors.in_jax import Compiled

    class Jax(Compiled):
        def apply(self, *given: Any) -> Any:
            return door.forward(*given)[:3]

    return Jax()


def on_tensorflow(library: Library) -> bool:
    """Whether arrays of a library are TensorFlow's, as they are where Keras runs on it."""
    keras = sys.modules.get("keras")
    return library.name == "tensorflow" or (
        library.name == "keras" and keras is not None and keras.backend.backend() == "tensorflow"
    )


def _tries(shape: tuple[int, ...], at: dict[int, int]) -> Any:
    x, *rest = probe(shape, Library("numpy", lambda a: a))
    return (np.moveaxis(x, 1, at.get(len(shape), 1)), *rest)


def _derivatives(engine: Any, door: Any, infers: bool, at: dict[int, int]) -> list[str]:
    """Return which derivatives an engine gives, tried on a probe."""
    if isinstance(engine, ByHand):
        return ["backward"] if getattr(door, "back", None) else []
    found: list[str] = []
    frozen = infers and door.mode.where != "grad"
    for shape in SHAPES:
        try:
            x, *rest = _tries(shape, at)
            given = [
                g if name in door.roles else None
                for name, g in zip(("gamma", "beta", "mean", "var"), rest, strict=True)
            ]
            cache = engine.train(x, *given, 0.5, 2.0**-10)[3]
            engine.backward(x, cache)
        except Exception:
            continue
        found = ["backward", *(["frozen"] if frozen else [])]
        for name, extra in (("jvp", ()), ("double_backward", (x,))):
            try:
                result = getattr(engine, name)(x, *given[:2], *extra, cache)
                if name == "jvp" or result[0] is not None:
                    found.append(name)
            except Exception:
                continue
        break
    return found


def _by_autograd(engine: Any, offers: list[str]) -> str:
    if isinstance(engine, ByHand):
        return ""
    return (
        f"; gradients by {engine.derives}"
        if "backward" in offers
        else "; no gradients: nothing that comes back has one"
    )


def _missing_gradients(engine: Any, at: dict[int, int]) -> list[str]:
    for shape in SHAPES:
        try:
            x, *rest = _tries(shape, at)
            cache = engine.train(x, *rest, 0.5, 2.0**-10)[3]
            gradients = engine.backward(x, cache)
        except Exception:
            continue
        return [name for name, g in zip(("dx", "dgamma", "dbeta"), gradients, strict=True) if g is None]
    return []
