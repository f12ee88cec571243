"""A program in another language, or on another Python, that answers calls: one line of JSON each way."""

from __future__ import annotations

import atexit
import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Program:
    """A process that is started once, and answers each line on its input by a line.

    Arrays travel as ``{"dtype": NAME, "shape": [...], "data": BASE64}``, in C order, little-endian. An answer
    ``{"error": TEXT}`` raises RuntimeError, as does an end without an answer. The process ends with its input.
    """

    def __init__(self, command: Sequence[str], **how: Any) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **how
        )

        atexit.register(self.close)

    def close(self) -> None:
        """End its input, and wait for its end."""
        self._process.communicate()
        atexit.unregister(self.close)

    def ask(self, **request: Any) -> Any:
        """Send a request, whose arrays are NumPy's, and return the answer's ``result``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request, default=_written) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended without an answer: exit status {self._process.wait()}")
        answer = json.loads(line, object_hook=_read)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]


def _written(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"dtype": str(value.dtype), "shape": value.shape, "data": data}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not travel")


def _read(found: dict[str, Any]) -> Any:
    if set(found) != {"dtype", "shape", "data"}:
        return found
    return np.frombuffer(base64.b64decode(found["data"]), found["dtype"]).reshape(found["shape"]).copy()


def node(package: str, script: Path) -> Program:
    """Start a script of Node's that is told where packages are; ImportError if Node or the package is missing."""
    path = shutil.which("node")
    if path is None:
        raise ImportError("there is no node; install Node.js")
    package_version(package)
    return Program([path, str(script), str(_modules())])


def package_version(package: str) -> str:
    """Return the version of an installed package of Node's; ImportError if it is missing."""
    file = _modules() / "node_modules" / package / "package.json"
    if not file.exists():
        raise ImportError(f"{package} is not in {_modules()}; npm installs it there, or set REFNORM_NODE to its folder")
    return str(json.loads(file.read_text(encoding="utf-8"))["version"])


def _modules() -> Path:
    return Path(os.environ.get("REFNORM_NODE", sys.prefix))
