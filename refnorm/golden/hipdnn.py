"""Cases as bundles of hipDNN: the graph as JSON, a file of bytes for each tensor, and where the numbers come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.conventions import CONVENTIONS
from refnorm.formats import Floats
from refnorm.golden.contents import SET
from refnorm.golden.inputs import Case
from refnorm.golden.safetensors import stored
from refnorm.golden.truth import expected

TYPES = {"float64": "double", "float32": "float", "float16": "half", "bfloat16": "bfloat16"}
FOLDED = {"float64": "fp64", "float32": "fp32", "float16": "fp16", "bfloat16": "bfp16"}  # as their folders are named
LAYOUTS = {4: "nchw", 5: "ncdhw"}
OPERATIONS = {
    "inference": ("BatchnormInferenceAttributesVarianceExt", ("x", "mean", "variance", "scale", "bias"), ("y",)),
    "training": ("BatchnormAttributes", ("x", "scale", "bias"), ("y", "mean")),
}
ABSENT: dict[str, dict[str, Any]] = {  # of training: fields that its reader asks for
    "inputs": {"peer_stats": [], "prev_running_mean": None, "prev_running_variance": None, "momentum": None},
    "outputs": {"inv_variance": None, "next_running_mean": None, "next_running_variance": None},
}
Tensors = dict[str, tuple[str, Floats]]  # name -> (format, values)


def write_bundles(
    directory: Path, chosen: list[Case], progress: Callable[[int, int, str], None] | None = None
) -> list[dict[str, Any]]:
    """Write one folder per case and return the manifest's entries.

    As RFC 0011 of hipDNN describes single-graph bundles (version of June 2026; RFC 0010 before):
    quick/OPERATION/LAYOUT/FORMAT/NAME/ with NAME.json, NAME.tensorUID.bin and NAME.meta.json.
    """
    fitting = [case for case in chosen if case.finite and case.count > 1 and len(case.batches) == 1]
    entries = []
    for number, case in enumerate(fitting, start=1):
        if progress is not None:
            progress(number, len(fitting), case.id)
        given, wanted = bundled(case)
        _, operation, kind, situation, count = case.id.split(".")
        name = f"{situation.replace('-', '_')}_{count}"
        layout = LAYOUTS[given["x"][1].ndim]
        folder = (
            directory / "quick" / OPERATIONS[operation][0].removesuffix("Attributes") / layout / FOLDED[kind] / name
        )
        folder.mkdir(parents=True)
        (folder / f"{name}.json").write_text(
            json.dumps(bundle_graph(case, given, wanted), indent=2) + "\n", encoding="utf-8"
        )
        (folder / f"{name}.meta.json").write_text(json.dumps(provenance(case), indent=2) + "\n", encoding="utf-8")
        for uid, (format, values) in enumerate([*given.values(), *wanted.values()]):
            (folder / f"{name}.tensor{uid}.bin").write_bytes(np.ascontiguousarray(stored(values, format)).tobytes())
        entries.append({"id": case.id, "folder": folder.relative_to(directory.parent).as_posix(), "eps": case.eps})
    return entries


def bundled(case: Case) -> tuple[Tensors, Tensors]:
    """Return what a graph is given and what it must give, in the ranks that hipDNN names: 4 and 5.

    A value of rank 2 or 3 gets trailing axes of 1, which change nothing; what has a value for each channel has ones
    elsewhere; absent parameters are ones and zeros.

    Examples
    --------
    >>> from refnorm.golden import case
    >>> given, wanted = bundled(case("bn.inference.float32.one-row.1"))
    >>> [(name, values.shape) for name, (_, values) in given.items()][:2], list(wanted)
    ([('x', (1, 3, 1, 1)), ('mean', (1, 3, 1, 1))], ['y'])
    """
    shape = case.x.shape + (1,) * (4 - case.x.ndim)
    along = (1, shape[1], *(1,) * (len(shape) - 2))
    ones = np.ones(shape[1])
    parameters = {"mean": case.running_mean, "variance": case.running_var}
    parameters |= {
        "scale": ones if case.gamma is None else case.gamma,
        "bias": 0 * ones if case.beta is None else case.beta,
    }
    given = {"x": (case.kind, case.x.reshape(shape))}
    names = OPERATIONS[case.operation][1]
    given |= {name: (case.parameters, parameters[name].reshape(along)) for name in names if name != "x"}
    results = expected(case, CONVENTIONS["torch"])
    if case.operation == "inference":
        return given, {"y": (case.kind, results["y, inference"].rounded(case.kind).reshape(shape))}
    from refnorm.exact import statistics

    y = results["y, training"].rounded(case.kind).reshape(shape)
    mean = statistics(case.x).mean.rounded(case.parameters).reshape(along)
    return given, {"y": (case.kind, y), "mean": (case.parameters, mean)}


def bundle_graph(case: Case, given: Tensors, wanted: Tensors) -> dict[str, Any]:
    """Return the graph: one node, and every tensor with its uid, format, dims and strides in elements."""
    type, operation = OPERATIONS[case.operation][0], case.operation
    given_uid = {name: uid for uid, name in enumerate(given)}
    wanted_uid = {name: len(given) + uid for uid, name in enumerate(wanted)}
    epsilon = len(given) + len(wanted)
    absent = ABSENT if operation == "training" else {"inputs": {}, "outputs": {}}
    inputs = {**given_uid, "epsilon": epsilon, **absent["inputs"]}
    outputs = {**wanted_uid, **absent["outputs"]}
    tensors = [
        _tensor(uid, name, format, values.shape)
        for uid, (name, (format, values)) in enumerate([*given.items(), *wanted.items()])
    ]
    value = {"value_type": "Float64Value", "value": case.eps}
    node = {
        "name": case.id,
        "type": type,
        "compute_data_type": "double" if case.kind == "float64" else "float",
        "inputs": {f"{name}_tensor_uid": uid for name, uid in inputs.items()},
        "outputs": {f"{name}_tensor_uid": uid for name, uid in outputs.items()},
    }
    return {
        "name": case.id,
        "io_data_type": TYPES[case.kind],
        "compute_data_type": node["compute_data_type"],
        "intermediate_data_type": node["compute_data_type"],
        "is_override_shape_enabled": False,
        "nodes": [node],
        "tensors": [*tensors, _tensor(epsilon, "epsilon", "float64", (1,)) | value],
    }


def _tensor(uid: int, name: str, kind: str, shape: tuple[int, ...]) -> dict[str, Any]:
    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    return {
        "uid": uid,
        "name": name,
        "data_type": TYPES[kind],
        "dims": list(shape),
        "strides": strides,
        "virtual": False,
        "is_runtime_pass_by_value": False,
    }


def provenance(case: Case) -> dict[str, Any]:
    """Return what meta.json says; no date, so that the same set gives the same bytes."""
    import refnorm

    return {
        "format_version": 1,
        "generator": "refnorm golden export --format hipdnn",
        "generator_version": refnorm.__version__,
        "reference_source": f"refnorm.exact, golden set {SET}: the definition in rational arithmetic, rounded once",
        "reference_strategy": "precision_uplift",
        "notes": f"{case.id}: {case.situation.why}",
    }
