"""Cases as ONNX backend node tests: a model of one BatchNormalization-15, its inputs, and exact outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.conventions import CONVENTIONS
from refnorm.formats import cast
from refnorm.golden.inputs import Case
from refnorm.golden.truth import expected

OPSET = 15
INPUTS = ("X", "scale", "B", "input_mean", "input_var")
OUTPUTS = ("Y", "running_mean", "running_var")


def write_nodes(
    directory: Path, chosen: list[Case], progress: Callable[[int, int, str], None] | None = None
) -> list[dict[str, Any]]:
    """Write one folder per case and return the manifest's entries; needs the package onnx.

    A test is one step of a defined case: several steps, NaN, infinities and empty batches are left out.
    """
    from onnx import numpy_helper

    fitting = [case for case in chosen if case.finite and case.count and len(case.batches) == 1]
    entries = []
    for number, case in enumerate(fitting, start=1):
        if progress is not None:
            progress(number, len(fitting), case.id)
        given, wanted = arrays(case)
        name = "test_" + case.id.replace(".", "_").replace("-", "_")
        data = directory / name / "test_data_set_0"
        data.mkdir(parents=True)
        (directory / name / "model.onnx").write_bytes(model(case, given, wanted).SerializeToString(deterministic=True))
        for kind, tensors in (("input", given), ("output", wanted)):
            for k, (tensor, array) in enumerate(tensors.items()):
                (data / f"{kind}_{k}.pb").write_bytes(numpy_helper.from_array(array, tensor).SerializeToString())
        entries.append({"id": case.id, "folder": f"node/{name}", "eps": case.eps, "momentum": case.momentum})
    return entries


def arrays(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of a test: inputs, with ones and zeros for absent parameters, and correctly rounded outputs.

    Examples
    --------
    >>> from refnorm.golden import case
    >>> given, wanted = arrays(case("bn.training.float32.two-values.1"))
    >>> list(given), list(wanted), wanted["Y"].dtype
    (['X', 'scale', 'B', 'input_mean', 'input_var'], ['Y', 'running_mean', 'running_var'], dtype('float32'))
    """
    gamma = np.ones(case.x.shape[1]) if case.gamma is None else case.gamma
    beta = np.zeros(case.x.shape[1]) if case.beta is None else case.beta
    values = (case.x, gamma, beta, case.running_mean, case.running_var)
    kinds = (case.kind, *4 * [case.parameters])
    given = {name: cast(v, kind) for name, v, kind in zip(INPUTS, values, kinds, strict=True)}
    results = expected(case, CONVENTIONS["onnx"])
    if case.operation == "inference":
        return given, {"Y": cast(results["y, inference"].rounded(case.kind), case.kind)}
    quantities = ("y, training", "running mean", "running variance")
    kinds = (case.kind, *2 * [case.parameters])
    return given, {n: cast(results[q].rounded(k), k) for n, q, k in zip(OUTPUTS, quantities, kinds, strict=True)}


def model(case: Case, given: dict[str, Any], wanted: dict[str, Any]) -> Any:
    """Return a model with one node, for the shapes and formats of a case."""
    from onnx import checker, helper

    def info(tensors: dict[str, Any]) -> list[Any]:
        kinds = ((name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape) for name, array in tensors.items())
        return [helper.make_tensor_value_info(*kind) for kind in kinds]

    training = case.operation == "training"
    attributes: dict[str, Any] = {"epsilon": case.eps, "training_mode": int(training)}
    attributes |= {"momentum": case.momentum} if training else {}
    node = helper.make_node("BatchNormalization", list(given), list(wanted), **attributes)
    graph = helper.make_graph([node], case.id, info(given), info(wanted))
    opsets = [helper.make_opsetid("", OPSET)]
    version = helper.find_min_ir_version_for(opsets)
    built = helper.make_model(graph, opset_imports=opsets, ir_version=version, producer_name="refnorm")
    checker.check_model(built, full_check=True)
    return built
