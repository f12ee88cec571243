"""Cases as a file of tests of WebNN's batchNormalization, in the way of web-platform-tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.conventions import CONVENTIONS
from refnorm.formats import cast, smallest, unit_roundoff
from refnorm.golden.inputs import Case
from refnorm.golden.truth import expected

FILE = "batch_normalization_golden.https.any.js"
COMPARED = 1000  # values of an output that the runner of web-platform-tests looks at
ROUNDINGS = 8
NORMAL = 2.0**-126  # below it devices may take numbers for 0
HEAD = """\
// META: title=test WebNN API batchNormalization operation against correctly rounded results
// META: global=window
// META: variant=?cpu
// META: variant=?gpu
// META: variant=?npu
// META: script=../resources/utils.js
// META: timeout=long

'use strict';

// Made by `refnorm golden export --format webnn`. Each expected value is exact, scale (x - mean) / sqrt(variance +
// epsilon) + bias, rounded once; graph.tolerance is what float32 arithmetic may cost.

const batchNormTests = [
"""
TAIL = """
];

webnn_conformance_test(
    batchNormTests, buildAndExecuteGraph, (graph) => ({metricType: 'ATOL', value: graph.tolerance}));
"""


def write_webnn(
    directory: Path, chosen: list[Case], progress: Callable[[int, int, str], None] | None = None
) -> list[dict[str, Any]]:
    """Write one file and return the manifest's entries.

    WebNN has inference alone, with one format for all. Float32 is written, where every implementation computes in
    float32 at least; what one in float16 may lose is another bound. Larger outputs than are compared are left out.
    """
    directory.mkdir()
    fitting = [case for case in chosen if fits_webnn(case)]
    tests = []
    for number, case in enumerate(fitting, start=1):
        if progress is not None:
            progress(number, len(fitting), case.id)
        tests.append(json.dumps(webnn_test(case), allow_nan=False))
    (directory / FILE).write_text(HEAD + ",\n".join(tests) + TAIL, encoding="utf-8")
    return [{"id": case.id, "file": f"{directory.name}/{FILE}"} for case in fitting]


def fits_webnn(case: Case) -> bool:
    """Whether a case is one of float32 inference, of normal numbers, that the runner compares whole."""
    same = case.kind == case.parameters == "float32" and case.operation == "inference"
    if not same or not case.finite or not 0 < case.x.size <= COMPARED:
        return False
    values = np.concatenate([np.abs(v).reshape(-1) for v in (case.x, case.running_mean, case.running_var)])
    return bool(np.all((values == 0) | (values >= NORMAL)))


def webnn_test(case: Case) -> dict[str, Any]:
    """Return a test as web-platform-tests state one: a graph of one operator, its inputs and its expected output.

    Examples
    --------
    >>> from refnorm.golden import case
    >>> graph = webnn_test(case("bn.inference.float32.one-row.1"))["graph"]
    >>> graph["operators"][0]["arguments"][3]["options"]
    {'scale': 'bnScale', 'bias': 'bnBias', 'axis': 1, 'epsilon': 0.0009765625}
    >>> graph["expectedOutputs"]["bnOutput"]["descriptor"]
    {'shape': [1, 3], 'dataType': 'float32'}
    """
    inputs = {"bnInput": case.x, "bnMean": case.running_mean, "bnVariance": case.running_var}
    options: dict[str, Any] = {}
    for name, input, values in (("scale", "bnScale", case.gamma), ("bias", "bnBias", case.beta)):
        if values is not None:
            inputs[input], options[name] = values, input
    options |= {"axis": 1, "epsilon": case.eps}
    y = expected(case, CONVENTIONS["torch"])["y, inference"].rounded("float32")
    arguments = [{"input": "bnInput"}, {"mean": "bnMean"}, {"variance": "bnVariance"}, {"options": options}]
    operator = {"name": "batchNormalization", "arguments": arguments, "outputs": "bnOutput"}
    graph = {
        "inputs": {name: _resource(values) for name, values in inputs.items()},
        "operators": [operator],
        "expectedOutputs": {"bnOutput": _resource(y)},
        "tolerance": tolerance(case),
    }
    return {"name": case.id, "graph": graph}


def tolerance(case: Case) -> float:
    """Return how far float32 arithmetic may be off in any element of y, whether it folds the statistics or not.

    Let s be sqrt(var + eps), u the unit roundoff and T the largest abs(gamma) (abs(x) + abs(mean)) / s + abs(beta). In
    gamma (x - mean) / s + beta the root costs 1.5 u, and rounding eps 0.5 u at most; difference, quotient (or inverse
    and product), product and sum cost u each: 7 u in all. In a x + b with a = gamma / s and b = beta - mean a no term
    meets more. One more u is for products of these, and a smallest number for each place where a result may underflow.

    Source: the standard model of rounding (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 2.2).

    Examples
    --------
    >>> from refnorm.golden import case
    >>> f"{tolerance(case('bn.inference.float32.one-row.1')):.1e}"
    '9.7e-07'
    """
    along = (1, -1, *(1,) * (case.x.ndim - 2))
    scale = np.ones_like(case.running_mean) if case.gamma is None else np.abs(case.gamma)
    shift = np.zeros_like(case.running_mean) if case.beta is None else np.abs(case.beta)
    slope = scale / np.sqrt(case.running_var + case.eps)
    terms = slope.reshape(along) * (np.abs(case.x) + np.abs(case.running_mean).reshape(along)) + shift.reshape(along)
    underflow = smallest("float32") * (1 + float(np.max(slope)) + float(np.max(scale)))
    return ROUNDINGS * (unit_roundoff("float32") * float(np.max(terms)) + underflow)


def _resource(values: Any) -> dict[str, Any]:
    array = cast(values, "float32")
    return {
        "data": array.astype(np.float64).reshape(-1).tolist(),
        "descriptor": {"shape": list(array.shape), "dataType": "float32"},
    }
