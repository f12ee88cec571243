"""Every framework in an environment of its own, measured; the results as data, as a table, and as what has changed."""

from __future__ import annotations

import datetime
import hashlib
import html
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
from refnorm.identify import measured
from refnorm.oracle.implementation import TargetError

REQUIREMENTS = Path(__file__).parent / "frameworks" / "requirements"
IMPORTS = 180.0  # seconds that an import or a probe may take
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
    Entry("tf-slim", "tf-slim"),
    Entry("tensorlayer", "tensorlayer"),
    *(Entry(n, n) for n in ("paddle", "mindspore", "mxnet", "chainer", "tinygrad", "mlx", "numpy-ml")),
    *(Entry(n, n) for n in ("opencv", "openvino", "ncnn")),
)


def matrix(
    entries: Iterable[Entry],
    environments: Path,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    jobs: int = 2,
) -> dict[str, dict[str, Any]]:
    """Measure frameworks, each in its own environment, which is made if it is not there.

    Parameters
    ----------
    entries : what to measure.
    environments : directory for the virtual environments.
    progress : called with the number of a framework, their count and its name, when it is done.
    jobs : how many to measure at once.

    Returns
    -------
    dict
        By name: target, versions, date, command and, for each path, what `refnorm.identify` and `refnorm.numerics`
        measured; or ``error``, for a framework that could not be installed or loaded, or that hangs or dies.
    """
    entries = tuple(entries)
    results: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(jobs) as pool:  # first come, first served: whoever waits for an environment finds it begun
        names = dict.fromkeys(e.requirements for e in entries)
        pythons = {name: pool.submit(_environment, name, environments) for name in names}
        measuring = [pool.submit(lambda e: _measure(e, pythons[e.requirements].result()), e) for e in entries]
        for number, (entry, future) in enumerate(zip(entries, measuring, strict=True), start=1):
            results[entry.name] = future.result()
            progress(number, len(entries), entry.name)
    return results


def _environment(name: str, environments: Path) -> str | TargetError:
    """Return the interpreter of an environment, made from pinned requirements if there is none like that."""
    file = REQUIREMENTS / f"{name}.txt"
    content = file.read_text()
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
    try:
        for step in steps:
            given: dict[str, Any] = {
                "env": variables,
                "stdin": subprocess.DEVNULL,
                "capture_output": True,
                "text": True,
            }
            subprocess.run(step, check=True, timeout=INSTALL, **given)
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
    prefix = f"KERAS_BACKEND={entry.backend} " if entry.backend else ""
    paths = {}
    for path in found["paths"]:
        name = path.pop("path")
        number = digits[name]
        if "digest" in number:
            threads = number.pop("digest") == single[name].get("digest")
            number["threads"] = "same" if threads else "differ"
        paths[name] = {**path, "numerics": number}
    return base | {
        "versions": found["versions"],
        "declared": found["declared"],
        "command": f"{prefix}refnorm identify {entry.target}",
        "paths": paths,
    }


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
        found |= {f"{path} {k}".strip(): str(data[k]) for k in ("nearest", "differs")}
        found |= {f"{path} numerics, {k}".strip(): str(v) for k, v in data["numerics"].items()}
    return found


COLUMNS = (
    "framework",
    "momentum",
    "running variance",
    "starts from",
    "eps",
    "one value",
    "empty batch",
    "half, by format of statistics",
    "variance",
    "inference",
    "y, mean/std 0, 1e3, 1e6",
    "layout, threads",
    "row",
)


def rows(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the table's cells: one row per path, or one that says why there is none."""
    table = []
    for name, result in results.items():
        if "error" in result:
            table.append((name, result["error"], *[""] * (len(COLUMNS) - 2)))
            continue
        for path, data in result["paths"].items():
            table.append(_row(f"{name}, {path}" if path else name, result, data))
    return table


def _row(name: str, result: dict[str, Any], data: dict[str, Any]) -> tuple[str, ...]:
    values: dict[str, list[Any]] = {}
    notes: dict[str, str] = {}
    for m in data["measurements"]:
        values.setdefault(m["name"], []).append(m["value"])
        notes.setdefault(m["name"], m["note"])

    def of(key: str, otherwise: str = "") -> str:
        return (
            " / ".join(dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v) for v in values.get(key, [])))
            or otherwise
        )

    if "training" in values:
        momentum = f"training {of('training')}"
    else:
        words = {"new": "new batch", "old": "old value", "sums": "running sums"}
        default = notes.get("first weight of the new batch", "").split(" by")[0]
        momentum = f"{words.get(of('momentum'), 'other')}" + (
            f"; by default the new batch weighs {default}" if default else ""
        )
    k = of("running variance, k in m/(m - k)")
    counts = values.get("m counts", [])
    variance = {"0": "biased", "1": "unbiased"}.get(k, k) + (
        "" if len(counts) < 2 else ", by rank: " + " / ".join(counts)
    )
    start = f"{of('initial mean')}, {of('initial variance')}" if "initial mean" in values else of("initial statistics")
    places = dict.fromkeys([*values.get("divisor in training", []), *values.get("divisor in inference", [])])
    eps = " / ".join(places) + (f"; {of('eps, by default')}" if "eps, by default" in values else "")
    pure = {key: value for key, value in values.items() if key.startswith("float16, statistics")}
    half = {
        f"{kind}: {'overflows' if ['overflows'] in own else 'survives'}"
        for kind in ("float16", "float32")
        if (own := [v for key, v in pure.items() if f"statistics {kind}," in key])
    }
    passes = {notes[key].split(",")[0] for key in values if ", variance at mean/std" in key}
    numbers = data["numerics"]
    y = numbers.get("y") if any(numbers.get("y") or []) else numbers.get("inference")
    digits = ", ".join("none" if y[i] is None else f"{y[i]:.2g}" for i in (0, 4, 7)) if y else numbers.get("lost", "")
    differs = numbers.get("layouts", [])
    layout = f"{'differs: ' + ', '.join(differs) if differs else 'same'}; {numbers.get('threads', '')}"
    where = notes.get("inference at x = mean, y - beta", "")
    verdict = (
        f"{result['declared']}: agrees"
        if not data["differs"]
        else f"{result['declared']}: {'; '.join(data['differs'])}"
    )
    return (
        name, momentum, variance, start, eps, of("one value per channel"), of("empty batch"), " / ".join(sorted(half)),
        " / ".join(sorted(passes)), where, digits, layout, verdict,
    )  # fmt: skip


HEAD = """\
What each framework does, measured: every cell is an outcome of the command beside it, none is from memory.

Weights of momentum are those it gives to the new batch, the old value, or running sums. Digits: worst error of y of
training (of inference, where there is no training), float32, in units of the last place of the largest value, at
mean/std = 0, 1e3 and 1e6. Layout: memory layouts whose y differs in a bit; threads: whether y of a large batch is the
same on one core as on all. Remade by `refnorm matrix`.
"""


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["# Conventions, measured", "", HEAD, f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows(results)]
    lines += ["", "| framework | versions | date | command |", "| --- | --- | --- | --- |"]
    for name, result in results.items():
        version = result.get("versions", {}).get("target", "")
        lines.append(f"| {name} | {version} | {result['date']} | `{result.get('command', '')}` |")
    return "\n".join(lines) + "\n"


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the table as one HTML page without scripts."""
    style = (
        "body{font:14px system-ui,sans-serif;margin:1.5rem}table{border-collapse:collapse}"
        "th,td{border:1px solid #bbb;padding:.25rem .5rem;vertical-align:top;text-align:left;max-width:22rem}"
        "thead th{position:sticky;top:0;background:#eee}tbody th{position:sticky;left:0;background:#fafafa}"
    )
    head = "".join(f"<th scope=col>{html.escape(c)}</th>" for c in COLUMNS)
    body = "".join(
        f"<tr><th scope=row>{html.escape(row[0])}</th>{''.join(f'<td>{html.escape(c)}</td>' for c in row[1:])}</tr>\n"
        for row in rows(results)
    )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Conventions, measured</title><style>{style}'
        f"</style>\n<h1>Conventions, measured</h1>\n<p>{html.escape(HEAD)}</p>\n<table><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{body}</tbody></table></html>\n"
    )
