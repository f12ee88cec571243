"""Every framework in an environment of its own, measured; the results as data, as a table, and as what has changed."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import refnorm
from refnorm.frameworks import ADAPTERS
from refnorm.identify import measured
from refnorm.oracle.implementation import TargetError
from refnorm.table import markdown, page

REQUIREMENTS = Path(__file__).parent / "frameworks" / "requirements"
IMPORTS = 180.0  # seconds that an import or a probe may take
CASE = 60.0  # seconds that a case of the check may take
INSTALL = 1200.0
QUIET: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}


class Entry(NamedTuple):
    """A framework: its target, the file of pinned requirements, and the backend for those that have several."""

    target: str
    requirements: str
    backend: str = ""

    @property
    def name(self) -> str:
        """Target, with its backend if it has one."""
        return f"{self.target}-{self.backend}" if self.backend else self.target


ENTRIES: tuple[Entry, ...] = (
    Entry("refnorm", "onnx"),
    Entry("torch", "torch"),
    Entry("onnx", "onnx"),
    Entry("onnxruntime", "onnx"),
    Entry("flax", "jax"),
    Entry("haiku", "jax"),
    Entry("equinox", "jax"),
    Entry("tensorflow", "tensorflow"),
    Entry("tf-keras", "tensorflow"),
    Entry("keras", "tensorflow", "tensorflow"),
    Entry("keras", "torch", "torch"),
    *(Entry("keras", "jax", backend) for backend in ("jax", "numpy")),  # numpy's backend imports jax
    Entry("keras", "openvino", "openvino"),
    Entry("tf-slim", "tf-slim"),
    Entry("tensorlayer", "tensorlayer"),
    *(Entry(n, n) for n in ("paddle", "mindspore", "mxnet", "chainer", "tinygrad", "mlx", "numpy-ml")),
    *(Entry(n, n) for n in ("opencv", "openvino", "ncnn", "caffe")),
)


def matrix(
    entries: Iterable[Entry],
    environments: Path,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    jobs: int = 2,
    keep: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """Measure frameworks, each in its own environment, which is made if it is not there.

    Parameters
    ----------
    entries : what to measure.
    environments : directory for the virtual environments.
    progress : called with the number of a framework, their count and its name, when it is done.
    jobs : how many to measure at once.
    keep : called with the results so far whenever a framework is done.

    Returns
    -------
    dict
        By name: target, versions, date, command and, for each path, what `refnorm.identify`, `refnorm.numerics` and
        `refnorm.check` measured; or ``error``, for a framework that could not be installed or loaded, or that hangs
        or dies.
    """
    entries = tuple(entries)
    results: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(jobs) as pool:  # first come, first served: whoever waits for an environment finds it begun
        names = dict.fromkeys(e.requirements for e in entries)
        pythons = {name: pool.submit(_environment, name, environments) for name in names}
        measuring = [pool.submit(lambda e: _measure(e, pythons[e.requirements].result()), e) for e in entries]
        for number, (entry, future) in enumerate(zip(entries, measuring, strict=True), start=1):
            results[entry.name] = future.result()
            keep(results)
            progress(number, len(entries), entry.name)
    return results


def _environment(name: str, environments: Path) -> str | TargetError:
    """Return the interpreter of an environment, made from pinned requirements if there is none like that."""
    file = REQUIREMENTS / f"{name}.txt"
    source = REQUIREMENTS / f"{name}-source.txt"  # an sdist that its adapter compiles a part of
    content = file.read_text() + (source.read_text() if source.exists() else "")
    root = environments / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    python = root / ("Scripts" if os.name == "nt" else "bin") / "python"
    if (root / "complete").exists():
        return str(python)
    builders = [line for line in content.splitlines() if line.startswith(("setuptools==", "wheel=="))]
    variables = dict(os.environ)
    if uv := shutil.which("uv"):
        make = [uv, "venv", "-q", "--clear", "--python", sys.executable, str(root)]
        install = [uv, "pip", "install", "-q", "--no-deps", "--python", str(python)]
        if "PIP_FIND_LINKS" in variables:  # wheels at hand, a build of torch without CUDA among them
            variables.setdefault("UV_FIND_LINKS", variables["PIP_FIND_LINKS"])
    else:
        make = [sys.executable, "-m", "venv", "--clear", str(root)]
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    steps = [make, *([[*install, *builders]] if builders else []), [*install, "--no-build-isolation", "-r", str(file)]]
    if source.exists():
        fetch = [str(python), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-r", str(source)]
        steps.append([*fetch, "-d", str(root / "source")])
    try:
        for step in steps:
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


def _measure(entry: Entry, python: str | TargetError) -> dict[str, Any]:
    """Return what was measured of one framework."""
    base = {"target": entry.target, "refnorm": refnorm.__version__, "date": datetime.date.today().isoformat()}
    if isinstance(python, TargetError):
        return base | {"error": str(python)}
    with tempfile.TemporaryDirectory() as folder:  # not where the caller stands: a folder there may shadow a module
        variables = {"PYTHONPATH": str(Path(refnorm.__file__).parent.parent), "TMPDIR": folder, "MPLBACKEND": "Agg"}
        variables |= {"KERAS_BACKEND": entry.backend} if entry.backend else {}
        process: dict[str, Any] = {"python": python, "variables": variables, "folder": folder}
        try:
            found, _ = measured({"do": "identify", "target": entry.target}, IMPORTS, **process)
            digits, _ = measured({"do": "numerics", "target": entry.target}, IMPORTS, **process)
            single, _ = measured({"do": "numerics", "target": entry.target, "cores": 1}, IMPORTS, **process)
        except TargetError as error:
            return base | {"error": str(error)}
        verdicts = _verdicts(entry.target, process)
    prefix = f"KERAS_BACKEND={entry.backend} " if entry.backend else ""
    paths = {}
    for path in found["paths"]:
        name = path.pop("path")
        number = digits[name]
        if "digest" in number:
            threads = number.pop("digest") == single[name].get("digest")
            number["threads"] = "same" if threads else "differ"
        paths[name] = {**path, "numerics": number, "check": verdicts.get(name, verdicts.get("*"))}
    return base | {
        "versions": found["versions"],
        "declared": found["declared"],
        "command": f"{prefix}refnorm identify {entry.target}",
        "paths": paths,
    }


def _verdicts(target: str, process: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return by path what `refnorm check` finds: row, cases, findings, and what it hung or died in; "*" if nothing."""
    order = {"do": "check", "target": target, "convention": None, "dtypes": ["float64", "float32", "float16"]}
    try:
        report, _ = measured(order, CASE, **process)
    except TargetError as error:
        return {"*": {"error": str(error)}}
    verdicts = {}
    for path in report["paths"]:
        findings = [
            {"kind": f["kind"], "title": " ".join(f["title"].split())[:160], "cases": len(f["cases"])}
            for f in path["findings"]
        ]
        conforms = path["conforms"] and not report["notes"]
        verdicts[path["name"]] = {
            "conforms": conforms, "cases": path["cases"], "findings": findings, "lost": report["notes"],
        }  # fmt: skip
    return verdicts


def write(results: dict[str, dict[str, Any]], directory: Path) -> None:
    """Write one JSON file per framework, the table in Markdown, and the page in HTML; each aside, then renamed."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {f"{name}.json": json.dumps(result, indent=1) + "\n" for name, result in results.items()}
    everything = {**read(directory), **results}
    ordered = {e.name: everything[e.name] for e in ENTRIES if e.name in everything}
    files |= {"matrix.md": markdown(ordered), "matrix.html": page(ordered)}
    for name, content in files.items():
        aside = directory / f"{name}.part"
        aside.write_text(content, encoding="utf-8")
        aside.replace(directory / name)


def read(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the results that a directory holds."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(directory.glob("*.json"))}


def changes(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """Say what differs between two sets of results, dates aside: a line per framework, path and measurement."""
    lines = []
    for name in new:
        a, b = (_flat(results.get(name, {})) for results in (old, new))
        lines += [
            f"{name}: {key}: {a.get(key, 'absent')} -> {b.get(key, 'absent')}"
            for key in dict.fromkeys([*a, *b])
            if a.get(key) != b.get(key)
        ]
    return lines


def _flat(result: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {key: str(result[key]) for key in ("error", "declared") if key in result}
    found |= {f"version of {k}": v for k, v in result.get("versions", {}).items()}
    for path, data in result.get("paths", {}).items():
        for number, m in enumerate(data["measurements"]):
            found[f"{path} {m['name']} ({number})".strip()] = f"{m['value']} {m['note']}".strip()
        found |= {f"{path} {k}".strip(): str(data.get(k)) for k in ("row", "nearest", "differs")}
        found |= {f"{path} numerics, {k}".strip(): str(v) for k, v in data["numerics"].items()}
        found |= {f"{path} check, {k}".strip(): str(v) for k, v in data.get("check", {}).items() if k != "findings"}
        for f in data.get("check", {}).get("findings", ()):
            found[f"{path} check, {f['kind']}: {f['title']}".strip()] = f"{f['cases']} cases"
    return found
