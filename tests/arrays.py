"""Which array libraries are at hand, and how a NumPy array travels to each and back.

NumPy and array-api-strict are always there, the latter also on a device that is not the CPU, where every hidden
transfer is an error. torch, JAX (without and with 64-bit types), dask.array and CuPy are used where they are installed;
for each that is not, one test of `test_arrays` is skipped and says so. ``REFNORM_ARRAYS=cupy`` (a comma-separated list
of names) makes libraries required: every test on a missing one then fails. `tests/on_gpu` does that where a GPU is.

Not covered: torch and JAX arrays on a GPU.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import ml_dtypes
import numpy as np
import pytest

FORMATS = ("float64", "float32", "float16", "bfloat16")
DTYPES = {kind: np.dtype(getattr(ml_dtypes, kind) if kind == "bfloat16" else kind) for kind in FORMATS}
REQUIRED = frozenset(filter(None, os.environ.get("REFNORM_ARRAYS", "").split(",")))


@dataclass(frozen=True)
class Library:
    """An array library: the formats it has, the one it computes in, and the way there and back."""

    name: str
    module: str
    formats: tuple[str, ...]
    wide: str
    from_numpy: Callable[[np.ndarray], Any]
    to_numpy: Callable[[Any], np.ndarray]
    ready: Callable[[], AbstractContextManager] = nullcontext

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Import the library and switch it into its mode; skip the test where it is missing, fail if it is required."""
        missing = None
        try:
            with warnings.catch_warnings(action="ignore"):  # what a framework warns of while it is imported is not ours
                importlib.import_module(self.module)
                context = self.ready()
        except Exception as error:  # CuPy raises errors of its own where there is no GPU
            missing = f"{self.name} is not usable here: {type(error).__name__}: {error}"
        if missing and self.name in REQUIRED:
            pytest.fail(f"REFNORM_ARRAYS={','.join(sorted(REQUIRED))}, but {missing}", pytrace=False)
        if missing:
            pytest.skip(missing)
        with context:
            yield

    def optional(self, array: np.ndarray | None) -> Any:
        """Carry an array that may be None."""
        return None if array is None else self.from_numpy(array)


def on_every_library(test: Callable) -> Callable:
    """Run a test once per library, given as its argument ``library``."""
    return _parametrized(test, "library", [pytest.param(library, id=library.name) for library in at_hand()])


def on_every_library_but_numpy(test: Callable) -> Callable:
    """Run a test once per library whose values are not at hand without a transfer."""
    return _parametrized(test, "library", [pytest.param(library, id=library.name) for library in at_hand()[1:]])


def on_every_format(test: Callable) -> Callable:
    """Run a test once per library and format that it has, its arguments ``library`` and ``kind``."""
    return _parametrized(
        test, ("library", "kind"), [_pair(library, k) for library in at_hand() for k in library.formats]
    )


def on_every_narrow_format(test: Callable) -> Callable:
    """Run a test as `on_every_format`, without the format that the library computes in."""
    pairs = [_pair(library, k) for library in at_hand() for k in library.formats if k != library.wide]
    return _parametrized(test, ("library", "kind"), pairs)


def _pair(library: Library, kind: str) -> Any:
    return pytest.param(library, kind, id=f"{library.name}-{kind}")


def _parametrized(test: Callable, names: str | tuple[str, ...], values: list) -> Callable:
    @functools.wraps(test)
    def run(*args: Any, library: Library, **kwargs: Any) -> None:
        with library.at_hand():
            test(*args, library=library, **kwargs)

    return pytest.mark.parametrize(names, values)(run)


def _strict(array: np.ndarray, device: str | None = None) -> Any:
    import array_api_strict as xp

    return xp.asarray(array, device=device and xp.Device(device))


def _strict_to_numpy(array: Any) -> np.ndarray:
    import array_api_strict as xp

    return np.asarray(array.to_device(xp.Device("CPU_DEVICE")))


def _torch(array: np.ndarray) -> Any:
    import torch

    array = np.array(array, order="C")  # torch shares memory, and knows neither read-only nor reversed arrays
    if array.dtype == DTYPES["bfloat16"]:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _torch_to_numpy(array: Any) -> np.ndarray:
    import torch

    return array.view(torch.int16).numpy().view(DTYPES["bfloat16"]) if array.dtype == torch.bfloat16 else array.numpy()


def _jax(array: np.ndarray) -> Any:
    import jax.numpy

    return jax.numpy.asarray(array)


def _jax_mode(x64: bool) -> AbstractContextManager:
    import jax

    return jax.enable_x64(x64)


def _dask(array: np.ndarray) -> Any:
    import dask.array

    chunks = tuple(max(1, (3 * n + 4) // 5) for n in array.shape)  # two per axis, of different sizes
    return dask.array.from_array(array, chunks=chunks)


def _dask_to_numpy(array: Any) -> np.ndarray:
    with np.errstate(all="ignore"):  # dask computes here, and NumPy would warn of NaN here
        return array.compute(scheduler="synchronous")


def _cupy(array: np.ndarray) -> Any:
    import cupy

    return cupy.asarray(array)


def _cupy_has_a_device() -> AbstractContextManager:
    import cupy

    cupy.cuda.runtime.getDeviceCount()
    return nullcontext()


LIBRARIES = (
    Library("numpy", "numpy", FORMATS, "float64", np.asarray, np.asarray),
    Library("array_api_strict", "array_api_strict", FORMATS[:2], "float64", _strict, _strict_to_numpy),
    Library(
        "array_api_strict-device1",
        "array_api_strict",
        FORMATS[:2],
        "float64",
        functools.partial(_strict, device="device1"),
        _strict_to_numpy,
    ),
    Library("torch", "torch", FORMATS, "float64", _torch, _torch_to_numpy),
    Library("jax", "jax", FORMATS[1:], "float32", _jax, np.asarray, functools.partial(_jax_mode, False)),
    Library("jax-x64", "jax", FORMATS, "float64", _jax, np.asarray, functools.partial(_jax_mode, True)),
    Library("dask.array", "dask.array", FORMATS, "float64", _dask, _dask_to_numpy),
    Library("cupy", "cupy", FORMATS[:3], "float64", _cupy, lambda array: array.get(), _cupy_has_a_device),
)


def at_hand() -> list[Library]:
    """Return the libraries that tests run on: those that are installed, or required."""
    return [library for library in LIBRARIES if library.name in REQUIRED or find_spec(library.module.partition(".")[0])]


if unknown := REQUIRED - {library.name for library in LIBRARIES}:
    raise ValueError(f"REFNORM_ARRAYS names {sorted(unknown)}; known are {[library.name for library in LIBRARIES]}")
