"""Cases as StableHLO text: a program without arguments for each, its inputs, and exact results, as constants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.conventions import CONVENTIONS
from refnorm.formats import Floats
from refnorm.golden.inputs import Case
from refnorm.golden.truth import expected

TYPES = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
ROW = CONVENTIONS["onnx"]  # epsilon is a float32 attribute there, too; both biased variance and no running average
TRAINING = ("y", "mean", "var", "dx", "dgamma", "dbeta")


def write_modules(
    directory: Path, chosen: list[Case], progress: Callable[[int, int, str], None] | None = None
) -> list[dict[str, Any]]:
    """Write one module per case and return the manifest's entries.

    StableHLO wants x and its parameters in one format, and has running averages nowhere: cases of mixed formats, and
    those that are undefined, are left out.
    """
    directory.mkdir()
    fitting = [case for case in chosen if fits(case)]
    entries = []
    for number, case in enumerate(fitting, start=1):
        if progress is not None:
            progress(number, len(fitting), case.id)
        file = f"{case.id}.mlir"
        (directory / file).write_text(stablehlo_text(case), encoding="utf-8")
        entries.append({"id": case.id, "file": f"{directory.name}/{file}", "results": list(results(case))})
    return entries


def fits(case: Case) -> bool:
    """Whether a case can be said in StableHLO."""
    defined = case.finite and case.count >= (2 if case.operation == "training" else 1)
    return defined and case.parameters == case.kind


def results(case: Case) -> dict[str, Floats]:
    """Return by name what a program must give, correctly rounded; gradients of absent parameters are left out.

    Examples
    --------
    >>> from refnorm.golden import case
    >>> list(results(case("bn.training.float32.gamma-absent.1")))
    ['y', 'mean', 'var', 'dx', 'dbeta']
    """
    exact = expected(case, ROW)
    if case.operation == "inference":
        return {"y": exact["y, inference"].rounded(case.kind)}
    from refnorm.exact import statistics

    moments = statistics(case.x)
    found = {"y": exact["y, training"], "mean": moments.mean, "var": moments.var}
    given = [name for name in ("dx", "dgamma", "dbeta") if getattr(case, name[1:]) is not None]
    found |= {name: exact[name] for name in given}
    return {name: value.rounded(case.kind) for name, value in found.items()}


def stablehlo_text(case: Case) -> str:
    """Return the text: main returns what is computed, and after it, in the same order, what is exact.

    A barrier keeps compilers from computing what is constant while they compile, which would be another program.

    Examples
    --------
    >>> from refnorm.golden import case
    >>> print(stablehlo_text(case("bn.inference.float32.one-row.1")))  # doctest: +ELLIPSIS
    // bn.inference.float32.one-row.1: 1 computed, then 1 expected
    module {
      func.func @main() -> (tensor<1x3xf32>, tensor<1x3xf32>) {
        %x_constant = stablehlo.constant dense<[[...]]> : tensor<1x3xf32>
        %x = stablehlo.optimization_barrier %x_constant : tensor<1x3xf32>
    ...
        return %y, %expected_y : tensor<1x3xf32>, tensor<1x3xf32>
      }
    }
    """
    wanted, x, p = results(case), _type(case.x, case.kind), _type(case.running_mean, case.kind)
    ones = np.ones(case.running_mean.shape)
    inputs = {"x": case.x, "gamma": ones if case.gamma is None else case.gamma}
    inputs["beta"] = 0 * ones if case.beta is None else case.beta
    attributes = f"{{epsilon = {_number(ROW.travelled(case.eps))} : f32, feature_index = 1 : i64}}"
    if case.operation == "training":
        inputs["dy"] = case.dy
        calls = [
            f'%y, %mean, %var = "stablehlo.batch_norm_training"(%x, %gamma, %beta) {attributes} : '
            f"({x}, {p}, {p}) -> ({x}, {p}, {p})",
            f'%dx, %dgamma, %dbeta = "stablehlo.batch_norm_grad"(%x, %gamma, %mean, %var, %dy) {attributes} : '
            f"({x}, {p}, {p}, {p}, {x}) -> ({x}, {p}, {p})",
        ]
    else:
        inputs |= {"mean": case.running_mean, "var": case.running_var}
        call = '%y = "stablehlo.batch_norm_inference"(%x, %gamma, %beta, %mean, %var)'
        calls = [f"{call} {attributes} : ({x}, {p}, {p}, {p}, {p}) -> {x}"]
    lines = []
    for name, values in inputs.items():
        lines.append(_constant(f"{name}_constant", values, case.kind))
        lines.append(f"%{name} = stablehlo.optimization_barrier %{name}_constant : {_type(values, case.kind)}")
    lines += [*calls, *(_constant(f"expected_{name}", values, case.kind) for name, values in wanted.items())]
    types = ", ".join(2 * [_type(values, case.kind) for values in wanted.values()])
    names = ", ".join([*(f"%{name}" for name in wanted), *(f"%expected_{name}" for name in wanted)])
    body = "\n".join(f"    {line}" for line in [*lines, f"return {names} : {types}"])
    head = f"// {case.id}: {len(wanted)} computed, then {len(wanted)} expected"
    return f"{head}\nmodule {{\n  func.func @main() -> ({types}) {{\n{body}\n  }}\n}}\n"


def _constant(name: str, values: Floats, kind: str) -> str:
    return f"%{name} = stablehlo.constant dense<{_nested(values.tolist())}> : {_type(values, kind)}"


def _type(values: Floats, kind: str) -> str:
    return f"tensor<{'x'.join(map(str, values.shape))}x{TYPES[kind]}>"


def _nested(values: Any) -> str:
    return f"[{', '.join(map(_nested, values))}]" if isinstance(values, list) else _number(values)


def _number(value: float) -> str:
    """Return the shortest decimal, with the point that MLIR asks for."""
    mantissa, e, exponent = repr(value).partition("e")
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{e}{exponent}"
