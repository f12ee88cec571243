"""The arrays that people's code takes: NumPy's, torch's, JAX's, Keras's, or lists of lists; there and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np


class NoNumbers(TypeError):
    """Something came back that is no array of numbers; the text says what."""


@dataclass(frozen=True)
class Library:
    """An array library: its name, how an array of NumPy's becomes its own, and the formats that it has.

    ``sparing`` says that each new shape costs time, because code is compiled for it.
    """

    name: str
    own: Callable[[Any], Any]
    formats: tuple[str, ...] = ("float64", "float32", "float16", *(["bfloat16"] if find_spec("ml_dtypes") else []))
    sparing: bool = False

    @property
    def words(self) -> str:
        """What a reading calls it: the class of tensors of people's own making by its name."""
        return self.name


TENSORS: dict[type, str] = {}  # of people's own making, and the attribute that holds the array of each


def kept_in(value: Any) -> str:
    """Return the attribute that a tensor of people's own making keeps its array in; "" of anything else."""
    return next((name for kind, name in TENSORS.items() if isinstance(value, kind)), "")


def to_numpy(value: Any) -> Any:
    """Return what came back as an array of NumPy's; None stays None.

    Raises
    ------
    NoNumbers
        If it is no array, tensor, number or rectangular list of numbers.
    """
    if value is None or isinstance(value, np.ndarray | np.generic):
        return value
    if name := kept_in(value):
        return to_numpy(getattr(value, name))
    if isinstance(value, list | tuple | float | int) and not isinstance(value, bool):
        parts = value if isinstance(value, list | tuple) else ()
        plain = all(kind in (float, int) for kind in set(map(type, parts)))
        try:
            return np.array(value if plain else [to_numpy(v) for v in parts], dtype=np.float64)
        except ValueError as error:
            raise NoNumbers(f"a {type(value).__name__} that is no rectangle of numbers") from error
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        from refnorm.oracle.ask.doors.in_torch import array_of

        return array_of(value)
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(value, cupy.ndarray):
        return cupy.asnumpy(value)
    for convert in ("__array__", "numpy"):
        if hasattr(value, convert):
            try:
                return np.asarray(value) if convert == "__array__" else np.asarray(value.numpy())
            except Exception:  # what only pretends to be an array
                continue
    raise NoNumbers(f"{type(value).__name__}, expected an array")


def numpy_library() -> Library:
    """Return NumPy: arrays go in as they are."""
    return Library("numpy", lambda array: array)


def lists() -> Library:
    """Return lists of lists of Python's numbers."""
    return Library("lists", lambda array: np.asarray(array, dtype=np.float64).tolist(), ("float64",))


def torch_library() -> Library:
    """Return torch, on its default device."""
    from refnorm.oracle.ask.doors.in_torch import tensor_of

    return Library("torch", tensor_of)


def jax_library() -> Library:
    """Return JAX, with float64 switched on."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    return Library("jax", jnp.asarray)


def keras_library() -> Library:
    """Return the tensors of the backend that Keras runs on; what it takes means in is float32, whatever comes."""
    import keras

    def own(array: Any) -> Any:
        return keras.ops.convert_to_tensor(np.ascontiguousarray(array))

    compiles = keras.backend.backend() == "jax"
    if compiles:
        jax_library()
    return Library("keras", own, ("float32", "float16"), sparing=compiles)


def tensorflow_library() -> Library:
    """Return TensorFlow's tensors."""
    import tensorflow

    return Library("tensorflow", lambda a: tensorflow.convert_to_tensor(np.ascontiguousarray(a)))


def cupy_library() -> Library:
    """Return CuPy, on its current device."""
    import cupy

    return Library("cupy", cupy.asarray, ("float64", "float32", "float16"))


LIBRARIES: dict[str, Callable[[], Library]] = {
    "torch": torch_library,
    "cupy": cupy_library,
    "jax": jax_library,
    "keras": keras_library,
    "tensorflow": tensorflow_library,
    "numpy": numpy_library,
}


def used_by(thing: Any, scope: dict[str, Any]) -> list[Library]:
    """Return the libraries whose arrays a function or class may take, most likely first, by what its module imports."""
    known = set()
    for value in list(scope.values()):
        origin = value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "") or "")
        known.add(origin.partition(".")[0])
    known |= {str(base.__module__).partition(".")[0] for base in getattr(thing, "__mro__", ())}
    from refnorm.oracle.ask.doors.engines import engines_in

    found = [*engines_in(scope), *(make() for name, make in LIBRARIES.items() if name in known)]
    return [*found, *([] if "numpy" in known else [numpy_library()]), lists()]
