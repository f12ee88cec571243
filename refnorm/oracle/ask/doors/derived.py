"""What an implementation behind a door offers: found by trying it, and said in words."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refnorm.oracle.ask.doors.binding import probe
from refnorm.oracle.ask.doors.by_hand import ByHand
from refnorm.oracle.ask.doors.layers import LayerDoor
from refnorm.oracle.ask.doors.leaves import flat
from refnorm.oracle.ask.doors.libraries import Library
from refnorm.oracle.ask.doors.through import Through


class Doors(dict[int, tuple[Any, int]]):
    """By rank of x, how something is called, and the axis that the channels are on.

    ``apart`` are the ranks in which each place has statistics of its own, as if it were a channel.
    """

    apart: tuple[int, ...] = ()


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
    trains: bool = True,
) -> Through:
    """Return what was read as an implementation: what it offers is what works on a probe."""
    offers = [*(["train"] if trains else []), *(["infer"] if infers else [])]
    without = [] if statistics and trains else ["running mean", "running variance"]
    derivatives, raised = _derivatives(engine, door, infers, at, trains)
    if not derivatives and arrays_of(library) == "jax" and not isinstance(engine, ByHand):
        plain = _in_jax(door, library, frozenset(("eps", "momentum")) & set(door.roles))  # some code asks for numbers
        derivatives, raised = _derivatives(plain, door, infers, at, trains)
        engine = plain if derivatives else engine
    offers += derivatives
    if not trains:
        words += "; inference alone: nothing in it is about training"
    words += _by_autograd(engine, offers, raised)
    if trains and isinstance(door, LayerDoor) and hasattr(engine, "used_twice"):
        offers.append("used_twice")
    if isinstance(engine, ByHand) and "backward" in offers:
        without += _missing_gradients(engine, at)
    if not trains and "frozen" in offers and hasattr(engine, "without"):
        engine.without = _no_gradients(engine, at)
        without += engine.without
    passes = [name for name in ("eps", "momentum") if name in roles]
    lacks = [name for name in ("gamma", "beta") if name not in roles]
    if -1 in at.values():
        words += "; channels last"
    if 0 in at.values():
        words += "; x is (features, samples): a channel is a row"
    return Through(engine, offers, words, at, without, passes, lacks, convention)


def engine_of(door: Any, library: Library, by_hand: bool) -> Any:
    """Return what calls a door: torch, JAX and TensorFlow differentiate what has no backward of its own."""
    arrays = arrays_of(library)
    if not by_hand and arrays == "tensorflow":
        from refnorm.oracle.ask.doors.in_tensorflow import InTensorFlow

        return InTensorFlow(door, library)
    from refnorm.oracle.ask.doors.engines import Engine, InEngine

    if isinstance(library, Engine) and not by_hand:
        return InEngine(door, library)
    if by_hand or arrays not in ("torch", "jax"):
        return ByHand(door, library)
    if arrays == "torch":
        from refnorm.oracle.ask.doors.in_torch import InTorch, differentiated_twice

        class Torch(InTorch):
            dtypes = library.formats
            without: Sequence[str] = ()

            def call(self, *given: Any) -> Any:
                return door.forward(*given)[:3]

            def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
                dx, *rest = super().backward(dy, cache)
                return dx, *([None, None] if self.without else rest)

            def used_twice(self, *given: Any) -> Any:
                return differentiated_twice(door, *given)

        return Torch()
    return _in_jax(door, library)


def _in_jax(door: Any, library: Library, fixed: frozenset[str] = frozenset()) -> Any:
    """Return what calls a door in JAX; eps and momentum that are ``fixed`` are compiled for, and not traced."""
    from refnorm.oracle.ask.doors.in_jax import Compiled

    class Jax(Compiled):
        constant = fixed
        dtypes = tuple(kind for kind in Compiled.dtypes if kind in library.formats)

        def apply(self, *given: Any) -> Any:
            return door.forward(*given)[:3]

    return Jax()


def only_infers(door: Any, library: Library, shape: tuple[int, ...]) -> bool:
    """Whether code that is told to train, if it can be told, normalises by the running statistics and leaves them."""

    def called(training: bool, shifted: str = "") -> Any:
        return door.forward(*probe(shape, library, shifted), 0.5, 2.0**-10, training)

    try:
        y, mean = called(True)[:2]
        alike = np.array_equal(flat(y), flat(called(False)[0]))
        kept = mean is None or np.array_equal(flat(mean), flat(probe(shape, library)[3]))
        return alike and kept and not np.array_equal(flat(y), flat(called(True, "mean")[0]))
    except Exception:  # of foreign code: it is judged as what it was read as
        return False


def arrays_of(library: Library) -> str:
    """Return the name of the library whose arrays they are: for Keras, of the backend that it runs on."""
    keras = sys.modules.get("keras")
    return str(keras.backend.backend()) if library.name == "keras" and keras is not None else library.name


def _tries(shape: tuple[int, ...], at: dict[int, int]) -> Any:
    x, *rest = probe(shape, Library("numpy", lambda a: a))
    return (np.moveaxis(x, 1, at.get(len(shape), 1)), *rest)


def _derivatives(
    engine: Any, door: Any, infers: bool, at: dict[int, int], trains: bool
) -> tuple[list[str], Exception | None]:
    """Return which derivatives an engine gives, tried on a probe, and what it raised where it gives none."""
    if isinstance(engine, ByHand):
        return (
            ["backward"] if (getattr(door, "back", None) or getattr(door, "pullback", None)) and trains else []
        ), None
    found: list[str] = []
    raised: Exception | None = None
    frozen = infers and door.mode.where != "grad"
    for shape in SHAPES:
        try:
            x, *rest = _tries(shape, at)
            given = [
                g if name in door.roles else None
                for name, g in zip(("gamma", "beta", "mean", "var"), rest, strict=True)
            ]
            cache = engine.train(x, *given, 0.5, 2.0**-10)[3] if trains else engine.frozen(x, *given, 2.0**-10)[1]
            engine.backward(x, cache)
        except Exception as error:
            raised = raised or error
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
    return found, None if found else raised


def _by_autograd(engine: Any, offers: list[str], raised: Exception | None) -> str:
    if isinstance(engine, ByHand):
        return ""
    if "backward" in offers:
        return f"; gradients by {engine.derives}"
    if raised is None or "does not require grad" in str(raised):
        return "; no gradients: nothing that comes back has one"
    return f"; no gradients: asking for them raises {type(raised).__name__}: {' '.join(str(raised).split())[:100]}"


def _on_a_probe(ask: Callable[..., Any], at: dict[int, int]) -> Any:
    """Return the first answer to x, gamma, beta, mean and var that is no exception; None if there is none."""
    for shape in SHAPES:
        with contextlib.suppress(Exception):  # of foreign code: it takes other ranks
            return ask(*_tries(shape, at))
    return None


def _missing_gradients(engine: Any, at: dict[int, int]) -> list[str]:
    found = _on_a_probe(lambda x, *rest: engine.backward(x, engine.train(x, *rest, 0.5, 2.0**-10)[3]), at)
    return [name for name, g in zip(("dx", "dgamma", "dbeta"), found or (), strict=bool(found)) if g is None]


def _no_gradients(engine: Any, at: dict[int, int]) -> tuple[str, ...]:
    """Return dgamma and dbeta if nothing flows back to the parameters of what only infers, as where it is folded."""
    found = _on_a_probe(lambda x, *rest: engine.backward(x, engine.frozen(x, *rest, 2.0**-10)[1]), at)
    flows = found is None or any(np.any(np.asarray(g, float)) for g in found[1:] if g is not None)
    return () if flows else ("dgamma", "dbeta")
