"""Prove that the frozen set is whole: schema, canonical form, ids, flags, counts, digests, numbers of their formats."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.formats import rounded
from refnorm.golden.canonical import canonical, digest
from refnorm.golden.contents import DATA, WIDE
from refnorm.golden.foreign import Unreadable, plain

MANIFEST = "MANIFEST.json"
LARGEST = 1 << 23  # bytes of a file
STRUCTURE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, MemoryError)
NON_FINITE = ("NaN", "Infinity", "-Infinity")


def lint(directory: Path = DATA) -> list[str]:
    """Return what is wrong with a set, one line each, naming the file; nothing if it is whole.

    Files may be altered in whatever way: links, devices and what is larger than any set are not read, and the schema
    that counts is refnorm's own. Without jsonschema the schema is not checked.

    Parameters
    ----------
    directory : the folder of the set.

    Examples
    --------
    >>> lint(Path("nowhere"))
    ['MANIFEST.json cannot be read: No such file or directory']
    """
    try:
        raw = plain(directory / MANIFEST, LARGEST)
        manifest = json.loads(raw)
        listed = dict(manifest["files"])
    except STRUCTURE as error:
        return [f"{MANIFEST} cannot be read: {_said(error)}"]
    with os.scandir(directory) as entries:
        plain_files = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries if entry.name != MANIFEST}
    present = {name for name, is_plain in plain_files.items() if is_plain}
    problems = [f"{name} is no plain file" for name in sorted(set(plain_files) - present)]
    problems += [f"{name} is missing" for name in sorted(set(listed) - set(plain_files))]
    problems += [f"{name} is not in {MANIFEST}" for name in sorted(present - set(listed))]
    documents: dict[str, Any] = {}
    for name in sorted(present & set(listed)):
        problems += [f"{name}: {what}" for what in _checked(_file, directory / name, listed[name], documents)]
    if _checked(lambda: [canonical(manifest, "files")]) != [raw.decode(errors="replace")]:
        problems.append(f"{MANIFEST}: not in canonical form")
    problems += [f"{MANIFEST}: {what}" for what in _checked(_manifest, manifest, documents)]
    return [*problems, *(what for check in (_ids, _flags, _schema) for what in _checked(check, documents))]


def _checked(check: Callable[..., Iterable[str]], *arguments: Any) -> list[str]:
    """Return what a check finds; where a file has not the structure that it relies on, that."""
    found: list[str] = []
    try:
        for problem in check(*arguments):
            found.append(problem)
    except STRUCTURE as error:
        found.append(f"the structure is not that of a set: {_said(error)}")
    return found


def _said(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}" if not isinstance(error, Unreadable) else str(error)
    return "".join(c if c.isprintable() else " " for c in text[:200])


def _file(path: Path, entry: Any, documents: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with one file, and keep its document."""
    raw = plain(path, LARGEST)
    if not path.name.startswith("bn.") and entry.get("cases") != 0:
        yield f"MANIFEST.json says that it holds {entry.get('cases')} cases"
    if hashlib.sha256(raw).hexdigest() != entry.get("sha256"):
        yield "its SHA-256 is not the one in MANIFEST.json"
    if len(raw) != entry.get("bytes"):
        yield f"it has {len(raw)} bytes, MANIFEST.json says {entry.get('bytes')}"
    if path.suffix != ".json":
        return
    problems, document = _content(path.name, raw)
    yield from problems
    if document is None:
        return
    documents[path.name] = document
    if path.name.startswith("bn."):
        cases = document.get("cases", [])
        if len(cases) != entry.get("cases") or not cases:
            yield f"it has {len(cases)} cases, MANIFEST.json says {entry.get('cases')}"


@lru_cache(maxsize=256)  # what has not changed need not be looked at twice
def _content(name: str, raw: bytes) -> tuple[tuple[str, ...], Any]:
    """Return what is wrong with a file in itself, and the document; None if it is no JSON."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return (f"it is no JSON: {_said(error)}",), None
    if name == "schema.json":
        return (() if raw == (DATA / name).read_bytes() else ("not the schema that this refnorm knows",)), document
    spread = next((key for key in ("cases", "flags", "ids") if key in document), "")
    problems = ["not in canonical form"] if canonical(document, spread) != raw.decode() else []
    for case in document.get("cases", []) if name.startswith("bn.") else []:
        for where, tensor in _tensors(case):
            wide = where.split(".")[-1] in WIDE or where.startswith("batches")
            kind = document["dtype"] if wide else case.get("parameters", document["dtype"])
            problems += [f"{case.get('id')}, {where}: {what}" for what in _tensor(tensor, kind)]
    return tuple(problems), document


def _tensors(case: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(case, dict) and "shape" in case and ("data" in case or "rule" in case):
        yield where, case
    elif isinstance(case, dict | list):
        for key, value in case.items() if isinstance(case, dict) else enumerate(case):
            yield from _tensors(value, f"{where}.{key}" if where else str(key))


def _tensor(tensor: dict[str, Any], kind: str) -> Iterator[str]:
    """Say what is wrong with one array: its length, its numbers, what rounding took away."""
    size = math.prod(tensor["shape"])
    if "rule" in tensor:
        return
    data = tensor["data"]
    wanted = len(tensor["at"]) if "at" in tensor else size
    if len(data) != wanted:
        yield f"{len(data)} numbers where {wanted} belong"
    if any(isinstance(v, str) and v not in NON_FINITE for v in data):
        yield "a number is neither a number nor NaN, Infinity, -Infinity"
        return
    values = np.array([math.nan if isinstance(v, str) else v for v in data], dtype=np.float64)
    if not np.array_equal(rounded(values, kind), values, equal_nan=True):
        yield f"a number is not one of the format {kind}"
    if len(tensor.get("rest", data)) != len(data):
        yield f"{len(tensor['rest'])} rests where {len(data)} belong"
    for value, rest in zip(data, tensor.get("rest", []), strict=False):
        if not isinstance(value, str) and not abs(rest) <= 0.50001 * math.ulp(value):
            yield f"{value} is not rounded: its rest is {rest}"


def _manifest(manifest: dict[str, Any], documents: dict[str, Any]) -> Iterator[str]:
    total = sum(len(d.get("cases", [])) for name, d in documents.items() if name.startswith("bn."))
    if manifest.get("total_cases") != total:
        yield f"total_cases is {manifest.get('total_cases')}, the files hold {total}"
    for name, document in documents.items():
        if name.startswith("bn.") and (document.get("set"), document.get("schema")) != (
            manifest.get("set"),
            manifest.get("schema"),
        ):
            yield f"set and schema differ from those of {name}"


def _ids(documents: dict[str, Any]) -> Iterator[str]:
    """Say which ids stand twice, are gone without having been withdrawn, or were given to another case."""
    released = documents.get("released.json", {}).get("ids", {})
    withdrawn = documents.get("released.json", {}).get("withdrawn", {})
    seen: dict[str, str] = {}
    for name, document in documents.items():
        for case in document.get("cases", []) if name.startswith("bn.") else []:
            id = case.get("id", "")
            if id in seen:
                yield f"{name}: the id {id} stands in {seen[id]} as well"
            seen[id] = name
            if id not in released:
                yield f"released.json: the id {id} of {name} is missing"
            elif released[id] != digest(case):
                yield f"{name}: the case {id} is not the one that was released under this id"
    gone = sorted(set(released) - set(seen) - set(withdrawn))
    yield from (f"released.json: the id {id} was released and is gone" for id in gone)
    for id, why in withdrawn.items():
        if id in seen or id not in released or not why:
            what = "is in use" if id in seen else "was never released" if id not in released else "has no reason"
            yield f"released.json: the withdrawn id {id} {what}"


def _flags(documents: dict[str, Any]) -> Iterator[str]:
    """Say which flags are not defined, not used, or say nothing."""
    flags = documents.get("flags.json", {}).get("flags", {})
    used = {
        flag: name
        for name, d in documents.items()
        if name.startswith("bn.")
        for c in d.get("cases", [])
        for flag in c["flags"]
    }
    yield from (
        f"{used[flag]}: the flag {flag} is not defined in flags.json" for flag in sorted(set(used) - set(flags))
    )
    yield from (f"flags.json: the flag {flag} is not used" for flag in sorted(set(flags) - set(used)))
    for name, flag in flags.items():
        if not flag.get("bug") or not flag.get("effect"):
            yield f"flags.json: {name} says no bug or no effect"


def _schema(documents: dict[str, Any]) -> Iterator[str]:
    """Say which files do not follow the schema."""
    if not find_spec("jsonschema"):
        return
    schema = (DATA / "schema.json").read_text(encoding="utf-8")
    for name, document in documents.items():
        if name.startswith("bn.") and (first := _first_violation(schema, json.dumps(document))):
            yield f"{name}: does not follow schema.json: {first}"


@lru_cache(maxsize=256)
def _first_violation(schema: str, document: str) -> str:
    """Say where a document does not follow a schema; "" if it does."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(json.loads(schema))
    return next((error.message[:200] for error in validator.iter_errors(json.loads(document))), "")
