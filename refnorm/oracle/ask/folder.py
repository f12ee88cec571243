"""An exported folder as the judge finds it: whose cases it holds, which outputs stand there, who wrote them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from refnorm import conventions
from refnorm.golden import export
from refnorm.golden.contents import SET
from refnorm.golden.foreign import plain
from refnorm.golden.inputs import Case
from refnorm.oracle.ask.interface import FUNCTIONS, FURTHER
from refnorm.oracle.ask.reading import document, printable
from refnorm.oracle.ask.target import TargetError

PROGRAM = "program.json"
LARGEST = 1 << 26  # bytes that a manifest or an input may have


@dataclass(frozen=True)
class Program:
    """What outputs/program.json says; where it is silent, all but second order is expected, and judged as torch."""

    name: str = ""
    version: str = ""
    convention: str = "torch"
    operations: tuple[str, ...] = FUNCTIONS


def exported(root: Path) -> tuple[tuple[str, ...], list[Case]]:
    """Return the formats and cases of an export; TargetError if it is none, not of this golden set, or altered."""
    again = f"make one with: refnorm golden export {root}"
    if not root.is_dir():
        raise TargetError(f"there is no directory {root}; {again}")
    try:
        manifest = document(plain(root / export.MANIFEST, LARGEST))
        form, dtypes, golden = manifest["format"], manifest["dtypes"], manifest["set"]
        listed = {
            entry["id"]: (entry["inputs"], entry["sha256"]) for entry in manifest["cases"] if form in export.JUDGED
        }
        if form not in export.FORMS or manifest["refnorm_export"] != export.SCHEMA or not isinstance(dtypes, list):
            raise ValueError("format, dtypes or schema are not known")
        cases = export.exported_cases(dtypes)
    except (ValueError, KeyError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise TargetError(f"{root} is no export ({export.MANIFEST}: {printable(reason)}); {again}") from None
    if form not in export.JUDGED:
        what = {"onnx": "ONNX node tests, which a runner of those judges", "stablehlo": "programs with their results"}
        raise TargetError(f"{root} holds {what.get(form, f'tests for {form}')}; {again} --format json")
    if golden != SET or {id: numbers for id, (numbers, _) in listed.items()} != {
        c.id: export.fingerprint(c) for c in cases
    }:
        raise TargetError(f"{root} holds other cases than golden set {SET} of this refnorm; {again}")
    if "bfloat16" in dtypes and not find_spec("ml_dtypes"):
        raise TargetError("bfloat16 needs the package ml_dtypes; pip install ml_dtypes")
    for id, (_, sha256) in listed.items():
        _unaltered(root / export.INPUTS, f"{id}.{form}", sha256, again)
    return tuple(dict.fromkeys(dtypes)), cases


def _unaltered(inputs: Path, name: str, sha256: str, again: str) -> None:
    """Raise if an input is there and is not what was exported: its outputs would be judged by other numbers."""
    if inputs.is_symlink() or (inputs / name).exists():
        try:
            same = not inputs.is_symlink() and hashlib.sha256(plain(inputs / name, LARGEST)).hexdigest() == sha256
        except ValueError:
            same = False
        if not same:
            raise TargetError(f"{inputs / name} is not what was exported, so its outputs cannot be judged; {again}")


def present(outputs: Path) -> set[str]:
    """Return the names of everything in outputs/, dot files aside."""
    if outputs.is_symlink():
        raise TargetError(f"{outputs} is a link; links are not followed")
    try:
        return {name for name in os.listdir(outputs) if not name.startswith(".")}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise TargetError(f"{outputs} cannot be read: {error.strerror}") from None


def program(outputs: Path, names: set[str]) -> Program:
    """Return what program.json says, if it is there; TargetError if it makes no sense."""
    if PROGRAM not in names:
        return Program()
    fields = ("name", "version", "convention", "operations")
    try:
        said = document(plain(outputs / PROGRAM, 1 << 16))
        operations = said.get("operations", list(FUNCTIONS))
        if unknown := sorted(set(said) - set(fields)):
            raise ValueError(f"{unknown[0]!r} is none of its fields, {', '.join(fields)}")
        known = (*FUNCTIONS, *FURTHER)
        if not isinstance(operations, list) or not all(name in known for name in operations):
            raise ValueError(f"operations must be a list of some of {', '.join(known)}")
        if not {"train", "infer"} & set(operations) or {"train", "backward"} & set(operations) == {"backward"}:
            raise ValueError("operations must have train or infer, and train if they have backward")
        if set(FURTHER) & set(operations) and not {"train", "frozen"} & set(operations):
            raise ValueError(f"operations must have train or frozen if they have {' or '.join(FURTHER)}")
        name, version, row = (printable(str(said[field])) if field in said else "" for field in fields[:3])
        return Program(name, version, conventions.convention(row or "torch").name, tuple(operations))
    except (ValueError, TypeError) as error:
        raise TargetError(f"outputs/{PROGRAM} cannot be used: {printable(str(error))}") from None
