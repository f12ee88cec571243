"""The frameworks of the matrix, and a virtual environment for each, made from its pinned requirements."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import refnorm
from refnorm.frameworks import ADAPTERS
from refnorm.oracle.ask.target import TargetError

REQUIREMENTS = Path(refnorm.__file__).parent / "frameworks" / "requirements"
PYTHONS = {"nnabla": "3.10", "megengine": "3.10"}  # what has no wheel for the running one
INSTALL = 1200.0  # seconds that a step of an installation may take
QUIET: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}


class Entry(NamedTuple):
    """A framework: its target, file of pinned requirements, backend, and seconds that a case may take beyond others.

    ``device`` is where it computes, if that is not the CPU; it is measured as it is installed then, pinned or not.
    """

    target: str
    requirements: str
    backend: str = ""
    seconds: float = 0.0
    device: str = ""

    @property
    def name(self) -> str:
        """Target, with its backend or device if it has one."""
        return "-".join(filter(None, (self.target, self.backend, self.device)))


# What people look for, each with its frameworks.
GROUPS: dict[str, tuple[Entry, ...]] = {
    "training frameworks": (
        Entry("torch", "torch"),
        Entry("flax", "jax"),
        Entry("haiku", "jax"),
        Entry("equinox", "jax"),
        Entry("tensorflow", "tensorflow"),
        Entry("tf-keras", "tensorflow"),
        Entry("keras", "tensorflow", "tensorflow"),
        Entry("keras", "torch", "torch"),
        *(Entry("keras", "jax", backend) for backend in ("jax", "numpy")),  # numpy's backend imports jax
        Entry("keras", "openvino", "openvino"),
        *(Entry(n, n) for n in ("tfjs", "tf-slim", "tensorlayer", "paddle", "mindspore", "mxnet", "chainer")),
        *(Entry(n, n) for n in ("nnabla", "megengine", "tinygrad", "mlx", "caffe", "dlib")),
    ),
    "on a GPU": (
        Entry("torch", "torch", device="cuda"),
        Entry("torch-compile", "torch", seconds=300.0, device="cuda"),
        *(Entry(n, "jax", device="cuda") for n in ("xla", "haiku")),
    ),
    "compilers": (
        Entry("torch-compile", "torch", seconds=300.0),
        Entry("xla", "jax"),
        *(Entry(n, n) for n in ("iree", "tvm")),
    ),
    "inference engines": (
        Entry("onnxruntime", "onnx"),
        *(Entry(n, n) for n in ("onnxruntime-web", "tract", "openvino", "opencv")),
        *(Entry(n, n) for n in ("ncnn", "mnn")),
        Entry("litert", "litert", seconds=1500.0),
        Entry("executorch", "executorch", seconds=300.0),
    ),
    "references and teaching code": (Entry("refnorm", "onnx"), Entry("onnx", "onnx"), Entry("numpy-ml", "numpy-ml")),
}
ENTRIES: tuple[Entry, ...] = tuple(entry for group in GROUPS.values() for entry in group)


def environment(name: str, environments: Path) -> str | TargetError:
    """Return the interpreter of an environment, made from pinned requirements if there is none like that."""
    file = REQUIREMENTS / f"{name}.txt"
    source = REQUIREMENTS / f"{name}-source.txt"  # an sdist that its adapter compiles a part of
    packages = REQUIREMENTS / f"{name}-npm.json"  # the lock file of what its adapter asks Node.js for
    hashes = REQUIREMENTS / f"{name}-hashes.txt"  # the pins again, with the digests of all wheels that they may be
    content = "".join(f.read_text() for f in (file, source, packages, hashes) if f == file or f.exists())
    environments = environments.absolute()  # what is measured runs in another folder
    root = environments / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    python = root / ("Scripts" if os.name == "nt" else "bin") / "python"
    if (root / "complete").exists():
        return str(python)
    builders = [line for line in content.splitlines() if line.startswith(("packaging==", "setuptools==", "wheel=="))]
    variables = dict(os.environ)
    if uv := shutil.which("uv"):
        make = [uv, "venv", "-q", "--clear", "--python", PYTHONS.get(name, sys.executable), str(root)]
        install = [uv, "pip", "install", "-q", "--no-deps", "--python", str(python)]
        if "PIP_FIND_LINKS" in variables:  # wheels at hand, a build of torch without CUDA among them
            variables.setdefault("UV_FIND_LINKS", variables["PIP_FIND_LINKS"])
    else:
        make = [interpreter(name), "-m", "venv", "--clear", str(root)]
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    steps = [make, *([[*install, *builders]] if builders else []), [*install, "--no-build-isolation", "-r", str(file)]]
    if hashes.exists():  # nothing is built then, so that every byte is one that was seen before
        steps = [make, [*install, "--require-hashes", "--only-binary", ":all:", "-r", str(hashes)]]
    if source.exists():
        whole = ",".join(line.partition("==")[0] for line in source.read_text().split())
        fetch = [str(python), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", whole, "-r", str(source)]
        steps.append([*fetch, "-d", str(root / "source")])
    if packages.exists():
        steps.append(["npm", "ci", "--prefix", str(root), "--ignore-scripts", "--no-audit", "--no-fund"])
    try:
        for step in steps:
            if step[0] == "npm":
                write_package(packages, root)
            subprocess.run(step, check=True, timeout=INSTALL, env=variables, **QUIET)
        for archive in (root / "source").glob("*.tar.gz"):
            shutil.unpack_archive(archive, root / "source", filter="data")
        if source.exists():
            variables["PYTHONPATH"] = str(Path(refnorm.__file__).parent.parent)
            compiling = [str(python), "-c", f"import {ADAPTERS[name]}"]
            subprocess.run(compiling, check=True, timeout=INSTALL, env=variables, **QUIET)
    except (subprocess.SubprocessError, OSError) as error:
        said = [line for line in str(getattr(error, "stderr", "") or error).splitlines() if line.strip()]
        return TargetError(f"could not be installed: {said[-1][:200] if said else error}")
    (root / "complete").touch()
    return str(python)


def interpreter(name: str) -> str:
    """Return the running interpreter, or that of another version, from among those that pyenv keeps if it does."""
    if name not in PYTHONS:
        return sys.executable
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = sorted(kept.glob(f"{PYTHONS[name]}.*/bin/python"))
    return str(found[-1]) if found else f"python{PYTHONS[name]}"


def write_package(lock: Path, root: Path) -> None:
    """Write a lock file, and the package that it locks, where npm looks for them."""
    content = lock.read_text()
    (root / "package-lock.json").write_text(content)
    (root / "package.json").write_text(json.dumps(json.loads(content)["packages"][""]))
