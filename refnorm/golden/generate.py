"""Write the frozen set: `python -m refnorm.golden.generate`; with `--check`, prove that every byte is reproduced."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from refnorm.conventions import CONVENTIONS
from refnorm.exact import Exact
from refnorm.formats import Floats
from refnorm.golden.canonical import canonical, digest
from refnorm.golden.contents import (
    CONTENT,
    DATA,
    INPUTS,
    PORTIONS,
    SAMPLES,
    SCHEMA,
    SECOND,
    SET,
    STORED,
    WIDE,
    WITHDRAWN,
)
from refnorm.golden.directions import directions
from refnorm.golden.flags import FLAGS
from refnorm.golden.inputs import Case, cases, rule_of
from refnorm.golden.portions import at_hand, masked_results, sharded_results
from refnorm.golden.situations import ALL, SITUATIONS
from refnorm.golden.truth import expected, second_order


@cache
def files() -> dict[str, str]:
    """Return every file of the set and its text."""
    texts = {f"bn.{op}.{kind}.json": _document(op, kind) for op in CONTENT for kind in ALL}
    texts["bn.errors.json"] = _errors()
    texts["flags.json"] = _flags()
    texts["released.json"] = _released(texts)
    for name in ("schema.json", "README.md"):
        texts[name] = (DATA / name).read_text(encoding="utf-8")
    texts["MANIFEST.json"] = _manifest(texts)
    return texts


def stored_cases(operation: str, kind: str | None = None) -> list[Case]:
    """Return the cases of an operation that the set holds: finite, defined, small, and not about memory layouts."""
    return [
        case
        for case in cases(CONTENT[operation].of, kind)
        if case.finite
        and case.count >= (1 if case.operation == "inference" else 2)
        and operation in case.situation.operations
        and case.situation.layout == "ordinary"
        and case.x.shape[1] <= STORED
    ]


def _document(operation: str, kind: str) -> str:
    entries = [_entry(operation, case) for case in stored_cases(operation, kind)]
    return canonical({"schema": SCHEMA, "set": SET, "operation": operation, "dtype": kind, "cases": entries})


def _entry(operation: str, case: Case) -> dict[str, Any]:
    """Return what a file says of one case: inputs, and the exact results of one operation."""
    _, inputs, results = CONTENT[operation]
    entry: dict[str, Any] = {
        "id": case.id_in(operation),
        "flags": [case.situation.name],
        "shape": list(case.x.shape),
        "parameters": case.parameters,
    }
    entry |= {"momentum": case.momentum} if operation == "running" else {"eps": case.eps}
    for name in inputs:
        if name == "batches":
            entry["batches"] = [_input(case, "x", batch, k) for k, batch in enumerate(case.batches)]
        elif name == "shards":
            entry["shards"] = list(case.situation.shards)
        else:
            value = _given(case, operation, name)
            entry[name] = None if value is None else _input(case, name, value)
    values = _values(operation, case)
    found = {name: values[quantity] for name, quantity in results.items()}
    if operation == "running":
        found["running_var_correction_0"] = expected(case, _biased())["running variance"]
        found["running_var_correction_1"] = values["running variance"]
    if operation == "training":
        found |= {"mean": _statistic(case, "mean"), "var": _statistic(case, "var")}
    entry["expected"] = {name: _result(case, name, value) for name, value in found.items()}
    return entry


def _values(operation: str, case: Case) -> dict[str, Exact]:
    """Compute every result of a case, by the names of `refnorm.golden.contents`."""
    if operation in PORTIONS:
        return (masked_results if case.operation == "masked" else sharded_results)(case)
    return (second_order if operation in SECOND else expected)(case, CONVENTIONS["torch"])


def _given(case: Case, operation: str, name: str) -> Floats | None:
    """Return an input: of the case, or one of its directions, which a double backward calls ddx, ddgamma, ddbeta."""
    moves = {move if operation.endswith("jvp") else f"d{move}": d for move, d in directions(case)._asdict().items()}
    value: Floats | None = moves[name] if operation in SECOND and name in moves else getattr(case, name)
    return value


def _biased() -> Any:
    from dataclasses import replace

    return replace(CONVENTIONS["torch"], correction=0)


def _statistic(case: Case, name: str) -> Exact:
    from refnorm import exact

    result: Exact = getattr(exact.statistics(case.x), name)
    return result


def _input(case: Case, name: str, values: Floats, step: int = 0) -> dict[str, Any]:
    if name == "where":
        return {"shape": list(values.shape), "data": values.astype(int).reshape(-1).tolist()}
    if values.size <= INPUTS or values.ndim == 1:
        return {"shape": list(values.shape), "data": [_number(v) for v in values.reshape(-1).tolist()]}
    if name not in ("x", "dy"):
        raise ValueError(f"{case.id}: {name} has {values.size} elements, and only x and dy are built by a written rule")
    return {"shape": list(values.shape), "rule": rule_of(case, name, step)}


def _result(case: Case, name: str, value: Exact) -> dict[str, Any]:
    """Return correctly rounded numbers, and for float64 what rounding took away; a sample of a large array."""
    kind = case.kind if name in WIDE else case.parameters
    rounded = value.rounded(kind).reshape(-1)
    at: Sequence[int] | None = at_hand(case, name)
    result: dict[str, Any] = {"shape": list(value.shape)}
    if rounded.size > STORED:
        at = sorted({k * (rounded.size - 1) // (SAMPLES - 1) for k in range(SAMPLES)})
    if at is not None:
        result["at"] = list(at)
    at = range(rounded.size) if at is None else at
    result["data"] = [_number(float(rounded[k])) for k in at]
    if kind == "float64":
        result["rest"] = [float(f"{value.number(k).minus(rounded[k]).rounded():.6g}") for k in at]
    return result


def _errors() -> str:
    """Return the cases where numbers are undefined: what each convention accepts, or which channels are finite."""
    entries = []
    for case in cases(dtype="float64"):
        situation = case.situation
        if case.finite and situation.name not in ("one-value", "empty-batch"):
            continue
        entry: dict[str, Any] = {"id": case.id.replace(".float64.", ".errors.", 1), "flags": [situation.name]}
        entry |= {"operation": case.operation, "shape": list(case.x.shape), "eps": case.eps, "momentum": case.momentum}
        for name in ("x", "gamma", "beta", "running_mean", "running_var", "dy"):
            entry[name] = _input(case, name, getattr(case, name))
        if case.finite:
            policy = "one_value" if situation.name == "one-value" else "empty"
            entry["accepted"] = {row.name: sorted(getattr(row, policy)) for row in CONVENTIONS.values()}
        else:
            entry["non_finite_channels"] = [0]
            entry["finite_channels"] = list(range(1, case.x.shape[1]))
        entries.append(entry)
    return canonical({"schema": SCHEMA, "set": SET, "operation": "errors", "dtype": "float64", "cases": entries})


def _flags() -> str:
    why = {situation.name: situation.why for situation in reversed(SITUATIONS) if situation.layout == "ordinary"}
    flags = {
        name: {"bug": why[name], "effect": FLAGS[name].effect, "links": list(FLAGS[name].links)} for name in sorted(why)
    }
    return canonical({"schema": SCHEMA, "set": SET, "flags": flags}, "flags")


def _released(texts: dict[str, str]) -> str:
    """Return every id ever released with a digest of its case, so that none is lost or given to another case."""
    ids = dict(json.loads((DATA / "released.json").read_text())["ids"]) if (DATA / "released.json").exists() else {}
    for name, text in texts.items():
        if name.startswith("bn."):
            for entry in json.loads(text)["cases"]:
                ids.setdefault(entry["id"], digest(entry))
    withdrawn = {"withdrawn": dict(sorted(WITHDRAWN.items()))} if WITHDRAWN else {}
    return canonical({"schema": SCHEMA, **withdrawn, "ids": dict(sorted(ids.items()))}, "ids")


def _manifest(texts: dict[str, str]) -> str:
    entries = {}
    for name in sorted(texts):
        entries[name] = {
            "cases": len(json.loads(texts[name])["cases"]) if name.startswith("bn.") else 0,
            "bytes": len(texts[name].encode()),
            "sha256": hashlib.sha256(texts[name].encode()).hexdigest(),
        }
    total = sum(len(json.loads(text)["cases"]) for name, text in texts.items() if name.startswith("bn."))
    return canonical({"schema": SCHEMA, "set": SET, "total_cases": total, "files": entries}, "files")


def _number(value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def write_set(directory: Path = DATA) -> None:
    """Write every file aside, then rename."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        handle, aside = tempfile.mkstemp(dir=directory, prefix=name, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(aside, 0o644)
        os.replace(aside, directory / name)


def differing(directory: Path = DATA) -> list[str]:
    """Return the names of files that are missing, surplus, or not what the generator writes."""
    present = {path.name for path in directory.iterdir() if path.suffix in (".json", ".md")}
    texts = files()
    same = {name for name in present & set(texts) if (directory / name).read_bytes() == texts[name].encode()}
    return sorted((present | set(texts)) - same)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        wrong = differing()
        print(
            "\n".join(f"{name} is not what the generator writes" for name in wrong)
            or f"{len(files())} files reproduced"
        )
        sys.exit(bool(wrong))
    write_set()
    print(f"{len(files())} files, {sum(len(text.encode()) for text in files().values())} bytes in {DATA}")
