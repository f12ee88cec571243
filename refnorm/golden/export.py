"""Write the cases' inputs, and a page of instructions, so that a program in any language can be judged."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.formats import Floats, rounded
from refnorm.golden.contents import SET
from refnorm.golden.directions import directions
from refnorm.golden.inputs import Case, cases
from refnorm.golden.safetensors import pack, stored

Tensors = Mapping[str, tuple[str, Floats]]  # name -> (format, values)
Progress = Callable[[int, int, str], None]

SCHEMA = 1
DTYPES = ("float64", "float32", "float16")
MANIFEST, PAGE, INPUTS, OUTPUTS = "export.json", "INSTRUCTIONS.md", "inputs", "outputs"
JUDGED = ("json", "npz", "safetensors")  # what a program writes outputs beside
FOLDERS = {
    "onnx": "node",
    "stablehlo": "modules",
    "webnn": "webnn",
    "hipdnn": "golden_reference_data",
}  # what holds both
FORMS = (*JUDGED, *FOLDERS)
HERE = Path(__file__).parent


def export(
    directory: str | Path,
    form: str = "json",
    *,
    dtypes: Sequence[str] = DTYPES,
    progress: Progress | None = None,
) -> int:
    """Write inputs, manifest and instructions to a new or empty directory, or over an earlier export.

    Outputs, and whatever else stands in the directory of an earlier export, stay. Everything is written aside first.

    Parameters
    ----------
    directory : where; made if it does not exist.
    form : "json", "npz" (without pickle), "safetensors"; "onnx": tests in the layout of ONNX's backend node tests;
        "stablehlo": programs that return what they compute and what is exact; "webnn": tests as web-platform-tests
        have them; or "hipdnn": bundles of hipDNN.
    dtypes : formats of x to export.
    progress : called with the number of the case, their count and the case's id.

    Returns
    -------
    int
        How many cases were written.

    Raises
    ------
    ValueError
        If the form or a dtype is unknown, or the form can state no case of these dtypes.
    FileExistsError
        If the directory holds something that is no export.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     count = export(directory, "npz", dtypes=["float32"])
    ...     inputs = np.load(Path(directory, "inputs", "bn.training.float32.two-values.1.npz"), allow_pickle=False)
    >>> inputs["batch.0"].shape, inputs["batch.0"].dtype
    ((2, 3), dtype('float32'))
    """
    if form not in FORMS:
        raise ValueError(f"unknown format {form!r}; use one of {', '.join(FORMS)}")
    chosen = exported_cases(dtypes)
    final = Path(directory).resolve()
    if final.exists() and not final.is_dir():
        raise FileExistsError(f"{directory} is a file; name a directory")
    if final.is_dir() and any(final.iterdir()) and not is_export(final):
        raise FileExistsError(f"{directory} is not empty and no earlier export; name a new directory, or empty it")
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = final if final.exists() else final.parent
    aside = Path(tempfile.mkdtemp(dir=beside, prefix=f".{final.name}.", suffix=".part"))
    try:
        os.chmod(aside, 0o755)
        if form in JUDGED:
            entries = _write_inputs(aside / INPUTS, form, chosen, progress)
            (aside / OUTPUTS).mkdir()
        else:
            entries = _writer(form)(aside / FOLDERS[form], chosen, progress)
        if not entries:
            raise ValueError(f"format {form} can state no case of {', '.join(dtypes)}; choose other dtypes")
        (aside / PAGE).write_text(_page(form, entries, dtypes), encoding="utf-8")
        (aside / MANIFEST).write_text(_manifest(form, entries, dtypes), encoding="utf-8")
        _publish(aside, final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(entries)


def _writer(form: str) -> Callable[[Path, list[Case], Progress | None], list[dict[str, Any]]]:
    """Return what writes inputs and results together into a folder, and says of each case what the manifest does."""
    if form == "onnx":
        from refnorm.golden.nodes import write_nodes as write
    elif form == "stablehlo":
        from refnorm.golden.stablehlo import write_modules as write
    elif form == "webnn":
        from refnorm.golden.webnn import write_webnn as write
    else:
        from refnorm.golden.hipdnn import write_bundles as write
    return write


def exported_cases(dtypes: Sequence[str]) -> list[Case]:
    """Return the cases that an export holds: those about numbers, not memory layouts."""
    unknown = [d for d in dtypes if d not in (*DTYPES, "bfloat16")]
    if unknown or not dtypes:
        raise ValueError(f"unknown dtype {unknown[:1]}; use float64, float32, float16 or bfloat16")
    return [case for case in cases() if case.kind in dtypes and case.situation.layout == "ordinary"]


def is_export(directory: Path) -> bool:
    """Whether a directory holds an export's manifest."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and "refnorm_export" in manifest


def inputs(case: Case) -> dict[str, tuple[str, Floats]]:
    """Return everything that a program is given: name -> (format, values); absent parameters are left out."""
    batches = [(f"batch.{k}", batch) for k, batch in enumerate(case.batches)]
    data = [*batches, ("dy", case.dy)] if case.operation == "training" else [("x", case.x), ("dy", case.dy)]
    parameters = {name: getattr(case, name) for name in ("gamma", "beta", "running_mean", "running_var")}
    tensors = {name: (case.kind, values) for name, values in data}
    if differentiable(case):
        dx, dgamma, dbeta = directions(case)
        tensors["ddx"] = (case.kind, dx)
        parameters |= {"ddgamma": dgamma, "ddbeta": dbeta}
    tensors |= {name: (case.parameters, values) for name, values in parameters.items() if values is not None}
    return tensors | {name: ("float64", np.array(getattr(case, name))) for name in ("eps", "momentum")}


def differentiable(case: Case) -> bool:
    """Whether gradients are asked for: in training of two values per channel or more, in inference of any."""
    return case.count > (1 if case.operation == "training" else 0)


def outputs(case: Case) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return what a program that offers everything writes: name -> (format, shape); what is absent has no gradient.

    Examples
    --------
    >>> from refnorm.golden import case
    >>> outputs(case("bn.training.float32.gamma-absent.1"))["dbeta"]
    ('float32', (3,))
    """
    x, parameter = (case.kind, case.x.shape), (case.parameters, case.running_mean.shape)
    result = {"y": x}
    if case.operation == "training":
        result |= {"running_mean": parameter, "running_var": parameter}
    if differentiable(case):
        result |= {"dx": x}
        result |= {f"d{name}": parameter for name in ("gamma", "beta") if getattr(case, name) is not None}
        result |= {"jvp": x, "double_backward_ddy": x, "double_backward_dx": x}
        result |= {} if case.gamma is None else {"double_backward_dgamma": parameter}
    return result


def fingerprint(case: Case) -> str:
    """Return the SHA-256 of a case's inputs: of their names, formats, shapes and little-endian numbers."""
    digest = hashlib.sha256()
    for name, (kind, values) in inputs(case).items():
        digest.update(f"{name} {kind} {values.shape} ".encode())
        digest.update(np.ascontiguousarray(stored(values, kind)).tobytes())
    return digest.hexdigest()


def _write_inputs(directory: Path, form: str, chosen: list[Case], progress: Progress | None) -> list[dict[str, Any]]:
    """Write one file per case, and return what the manifest says of each."""
    directory.mkdir()
    entries = []
    for number, case in enumerate(chosen, start=1):
        if progress is not None:
            progress(number, len(chosen), case.id)
        raw = _json(case) if form == "json" else _npz(case) if form == "npz" else pack(inputs(case))
        file = f"{case.id}.{form}"
        (directory / file).write_bytes(raw)
        entry = {"id": case.id, "operation": case.operation, **_numbers(case), "steps": len(case.batches)}
        entry["outputs"] = {name: list(shape) for name, (_, shape) in outputs(case).items()}
        entry |= {"inputs": fingerprint(case), "file": f"{INPUTS}/{file}", "sha256": hashlib.sha256(raw).hexdigest()}
        entries.append(entry)
    return entries


def _numbers(case: Case) -> dict[str, Any]:
    return {"dtype": case.kind, "parameters": case.parameters, "eps": case.eps, "momentum": case.momentum}


def _json(case: Case) -> bytes:
    document = {"id": case.id, "operation": case.operation, **_numbers(case)}
    tensors = {name: tensor(values) for name, (_, values) in inputs(case).items()}
    if case.operation == "training":
        document["batches"] = [tensors[f"batch.{k}"] for k in range(len(case.batches))]
    for name in ("x", "dy", "gamma", "beta", "running_mean", "running_var", "ddx", "ddgamma", "ddbeta"):
        if name != "x" or case.operation == "inference":
            document[name] = tensors.get(name)
    return json.dumps(document, allow_nan=False).encode()


def tensor(values: Floats) -> dict[str, Any]:
    """Return an array as the golden set's JSON has it: shape, and row-major data with NaN and infinities as strings.

    Examples
    --------
    >>> tensor(np.array([[0.5, np.nan]]))
    {'shape': [1, 2], 'data': [0.5, 'NaN']}
    """
    data = values.reshape(-1).tolist()
    if not np.all(np.isfinite(values)):
        names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        data = [names.get(str(v), v) for v in data]
    return {"shape": list(values.shape), "data": data}


def _npz(case: Case) -> bytes:
    arrays: dict[str, Any] = {}
    for name, (kind, values) in inputs(case).items():
        arrays[name] = rounded(values, kind).astype("float32" if kind == "bfloat16" else kind)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _page(form: str, entries: list[dict[str, Any]], dtypes: Sequence[str]) -> str:
    page = "instructions.md" if form in JUDGED else f"instructions.{form}.md"
    text = (HERE / page).read_text(encoding="utf-8")
    text = text.replace("@CASES@", str(len(entries))).replace("@DTYPES@", ", ".join(dtypes)).replace("@SET@", SET)
    return text.replace("@FORMAT@", form)


def _manifest(form: str, entries: list[dict[str, Any]], dtypes: Sequence[str]) -> str:
    import refnorm

    head = {"refnorm_export": SCHEMA, "refnorm": refnorm.__version__, "set": SET, "format": form}
    head |= {"dtypes": list(dict.fromkeys(dtypes)), "total_cases": len(entries)}
    fields = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    return "{\n" + ",\n".join(fields) + ',\n"cases": [\n' + lines + "\n]\n}\n"


def _publish(aside: Path, final: Path) -> None:
    """Move what was written aside to its place; in an earlier export, the manifest last."""
    if not final.exists():
        os.rename(aside, final)
        return
    (aside / "old").mkdir()
    for name in (INPUTS, *FOLDERS.values(), PAGE, MANIFEST):
        if (final / name).exists() and name != MANIFEST:
            os.rename(final / name, aside / "old" / name)
        if (aside / name).exists():
            os.replace(aside / name, final / name)
    if (aside / OUTPUTS).exists():
        (final / OUTPUTS).mkdir(exist_ok=True)
