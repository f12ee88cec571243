"""dlib's ``tt::batch_normalize`` and ``tt::batch_normalize_conv`` on the CPU, compiled here from dlib's sources.

Measured: float32, the only format of its tensors; the first function on (N, D), the second on images. Frozen gradients
there are none. g++ must be there; see `refnorm.frameworks.sources` for where dlib's sources are looked for.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.frameworks.sources import compiled

NAME = "dlib"
CONVENTION = "dlib"
UNITS = ("cuda/cpu_dlib", "cuda/tensor_tools")
THREADS = ("async", "thread_pool_extension", "threads_kernel_2", "threads_kernel_shared")


def _commands(root: Path, build: Path, library: Path) -> list[list[str]]:
    files = [root / f"dlib/{unit}.cpp" for unit in (*UNITS, *(f"threads/{name}" for name in THREADS))]
    flags = ["-O2", "-w", "-fPIC", "-shared", "-fno-gnu-unique", "-DDLIB_NO_GUI_SUPPORT", f"-I{root}"]
    files.append(Path(__file__).with_suffix(".cpp"))
    return [["g++", *flags, *map(str, files), "-o", str(library), "-lpthread"]]


LIBRARY = compiled("dlib", "dlib/cuda/cpu_dlib.cpp", _commands)


class Functions:
    """The functions; a missing gamma or beta is one or zero there."""

    dtypes = ("float32",)

    def __init__(self) -> None:
        self._loaded = ctypes.CDLL(str(LIBRARY))

    def train(
        self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
    ) -> Any:
        """Call the function for training; ``averaging_factor`` is momentum."""
        scale, shift = _pair(x, gamma, beta)
        mean, var = np.array(running_mean), np.array(running_var)
        means, invstds = np.empty((2, x.shape[1]), np.float32)
        y, x = np.empty(x.shape, np.float32), np.ascontiguousarray(x)
        settings = ctypes.c_double(momentum), ctypes.c_double(eps)
        self._call("train", x, x, scale, shift, mean, var, *settings, y, means, invstds)
        return y, mean, var, (x, scale, means, invstds, eps, gamma is not None, beta is not None)

    def infer(self, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any, eps: float) -> Any:
        """Call the function for inference."""
        y, mean, var = np.empty(x.shape, np.float32), np.array(running_mean), np.array(running_var)
        self._call("infer", x, np.ascontiguousarray(x), *_pair(x, gamma, beta), mean, var, ctypes.c_double(eps), y)
        return y

    def backward(self, dy: Any, cache: Any) -> tuple[Any, ...]:
        """Call the function for gradients."""
        x, scale, means, invstds, eps, with_gamma, with_beta = cache
        dx = np.empty(x.shape, np.float32)
        dgamma, dbeta = np.empty((2, x.shape[1]), np.float32)
        given = np.ascontiguousarray(dy), means, invstds, x, scale, ctypes.c_double(eps)
        self._call("back", x, *given, dx, dgamma, dbeta)
        return dx, dgamma if with_gamma else None, dbeta if with_beta else None

    def _call(self, name: str, x: Any, *given: Any) -> None:
        """Call; what dlib refuses raises ValueError, and a second refusal in one copy of dlib would end the process."""
        sizes = (*x.shape, *[1] * (4 - x.ndim))
        function = getattr(self._loaded, name)
        function.restype = ctypes.c_char_p
        pointers = (ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in given)
        said = function(int(x.ndim > 2), (ctypes.c_long * 4)(*sizes), *pointers)
        if said:
            with tempfile.NamedTemporaryFile(suffix=".so") as fresh:
                shutil.copy(LIBRARY, fresh.name)
                self._loaded = ctypes.CDLL(fresh.name)
            expression = " ".join(said.decode().partition("Failing expression was ")[2].split())
            raise ValueError(f"dlib asks that {expression}")


def _pair(x: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
    given = ((gamma, np.ones), (beta, np.zeros))
    scale, shift = (make(x.shape[1], np.float32) if a is None else np.array(a) for a, make in given)
    return scale, shift


def version() -> str:
    """Return what the sources say of themselves."""
    lines = (LIBRARY.parent.parent / "PKG-INFO").read_text(encoding="utf-8").splitlines()
    return next(f"dlib {line.split()[1]}" for line in lines if line.startswith("Version: "))


def paths() -> dict[str, object]:
    """One path."""
    return {"": Functions()}
