"""Read the outputs of a foreign program: files that may be missing, truncated, enormous, links, or hostile."""

from __future__ import annotations

import io
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnorm.formats import FORMATS, cast, rounded
from refnorm.golden.foreign import Unreadable, plain
from refnorm.golden.safetensors import unique, unpack
from refnorm.oracle.ask.answers import Kind, Trouble

Source = Callable[[str], Any]  # gives the array when told the format that is asked for
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
ROOM = 1 << 16  # bytes that a file may have beside its numbers
PER_VALUE = 40  # bytes that one number may take, indentation included

MISSING = Trouble(Kind.MISSING, "the output file is missing")
ABSENT = Trouble(Kind.MISSING, "an output is missing from its file")
UNREADABLE = Trouble(Kind.UNREADABLE, "an output file cannot be read")


@dataclass
class Written:
    """What a program wrote for one case.

    Attributes
    ----------
    arrays : by name.
    defects : by name, why there is no array: one of MISSING, ABSENT, UNREADABLE.
    raises : by operation, the program's message where it says that its implementation refused the case; "" for all.
    surplus : names that were not asked for.
    particulars : one line per defect, with the file's name and the reason.
    """

    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    defects: dict[str, Trouble] = field(default_factory=dict)
    raises: dict[str, str] = field(default_factory=dict)
    surplus: list[str] = field(default_factory=list)
    particulars: list[str] = field(default_factory=list)


def read_outputs(
    directory: Path, id: str, present: set[str], wanted: Mapping[str, tuple[str, int]], optional: set[str]
) -> Written:
    """Read the outputs of one case.

    Parameters
    ----------
    directory, id : where, and whose.
    present : names of the files in the directory; only these are opened.
    wanted : name -> (format, number of values) of the outputs that the case has.
    optional : names that may be left out.
    """
    written = Written()
    limit = ROOM + PER_VALUE * sum(size for _, size in wanted.values())
    files = [name for name in names(id, wanted) if name in present]
    if len({Path(name).suffix for name in files}) > 1:
        written.particulars.append(f"{', '.join(files)}: a case is written in one way, not several")
        written.defects = dict.fromkeys(wanted, UNREADABLE)
        return written
    sources: dict[str, tuple[str, Source]] = {}
    for file in files:
        try:
            sources |= {name: (file, source) for name, source in _sources(directory / file, id, limit).items()}
        except Exception as error:  # whatever a parser raises on foreign bytes
            written.particulars.append(_particular(file, error))
            written.defects = dict.fromkeys(wanted, UNREADABLE)
            return written
    if "raises" in sources:
        written.raises = sources.pop("raises")[1]("")
    for name, (file, source) in sources.items():
        if name not in wanted:
            written.surplus.append(f"{printable(name)} in {file}")
            continue
        try:
            written.arrays[name] = source(wanted[name][0])
        except Exception as error:
            written.particulars.append(_particular(file, error))
            written.defects[name] = UNREADABLE
    left_out = set(wanted) - optional - set(written.arrays) - set(written.defects)
    written.defects |= dict.fromkeys(left_out, MISSING if not files or files[0].endswith(".npy") else ABSENT)
    return written


def names(id: str, outputs: Iterable[str]) -> list[str]:
    """Return the names that files with a case's outputs may have."""
    return [f"{id}.json", f"{id}.safetensors", *(f"{id}.{name}.npy" for name in outputs)]


def _particular(file: str, error: Exception) -> str:
    reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return f"{file}: {printable(reason)}"


def _sources(path: Path, id: str, limit: int) -> dict[str, Source]:
    """Open a file: name -> what gives its array, or raises, when told the format that is asked for."""
    if path.suffix == ".npy":
        return {path.name[len(id) + 1 : -4]: lambda kind: _narrowed(npy(plain(path, limit)), kind)}
    if path.suffix == ".safetensors":
        return {name: partial(_narrowed, array) for name, array in unpack(plain(path, limit)).items()}
    found = document(plain(path, limit))
    raises = found.pop("raises", {})
    raises = {"": raises} if isinstance(raises, str) and not found else raises
    if not isinstance(raises, dict) or not all(isinstance(message, str) for message in raises.values()):
        raise Unreadable('"raises" is a text that stands alone, or a text for each operation')
    messages = {operation: printable(message) for operation, message in raises.items()}
    sources: dict[str, Source] = {name: partial(_from_json, v) for name, v in found.items() if v is not None}
    return sources | ({"raises": lambda _: messages} if messages else {})


def _narrowed(array: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
    """Take float32 for bfloat16 where every value is one: npy has no bfloat16."""
    wide = array.astype(np.float64) if kind == "bfloat16" and array.dtype == np.float32 else None
    exact = wide is not None and np.array_equal(rounded(wide, kind), wide, equal_nan=True)
    return cast(wide, kind) if wide is not None and exact else array


def document(raw: bytes) -> dict[str, Any]:
    """Return the object of a JSON file, every number as a float; ValueError if a name stands twice."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_int=float, object_pairs_hook=unique)
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise Unreadable("it is no UTF-8") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"it is no JSON, or truncated: {error}") from None
    if not isinstance(value, dict):
        raise Unreadable("it holds no JSON object")
    return value


def _from_json(value: Any, kind: str) -> npt.NDArray[Any]:
    """Return the array that a JSON value describes; Unreadable if it describes none."""
    if not isinstance(value, dict) or not {"shape", "data"} <= set(value) <= {"shape", "data", "dtype"}:
        raise Unreadable('an array is {"shape": [...], "data": [...]}, with "dtype" if you like, and nothing else')
    shape, data, own = value["shape"], value["data"], value.get("dtype", kind)
    if own not in FORMATS:
        raise Unreadable(f"dtype {printable(str(own))!r} is none of {', '.join(FORMATS)}")
    if not isinstance(shape, list) or len(shape) > 32 or not isinstance(data, list):
        raise Unreadable("shape and data must be flat lists")
    if not all(isinstance(n, float) and 0 <= n <= 2**48 and n.is_integer() for n in shape):
        raise Unreadable("shape must hold non-negative integers")
    axes = tuple(int(n) for n in shape)
    if math.prod(axes) != len(data):
        raise Unreadable(f"{len(data)} numbers where shape {list(axes)} has {math.prod(axes)}: data is flat and whole")
    for k, v in enumerate(data):
        if not isinstance(v, float) and not (isinstance(v, str) and v in NON_FINITE):
            text = "null" if v is None else printable(repr(v))
            raise Unreadable(f'element {k} is {text}: write a number, or "NaN", "Infinity", "-Infinity"')
    values = np.array([NON_FINITE[v] if isinstance(v, str) else v for v in data], dtype=np.float64)
    return cast(values, own).reshape(axes)


def npy(raw: bytes) -> npt.NDArray[Any]:
    """Return the array of an npy file of numbers; nothing is unpickled, nothing allocated beyond the file's size."""
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise Unreadable(f"npy version {version} is none of 1.0, 2.0")
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(file)
    if dtype.kind not in "fiubc":
        raise Unreadable(f"dtype {printable(str(dtype))} is no number's")
    size, rest = math.prod(shape) * dtype.itemsize, len(raw) - file.tell()
    if min(shape, default=0) < 0 or size != rest:
        raise Unreadable(f"shape {shape} takes {size} bytes, the file has {rest}: it is truncated or has a rest")
    array = np.frombuffer(raw, dtype, offset=file.tell()) if size else np.empty(0, dtype)
    return array.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))


def printable(text: str) -> str:
    """Return foreign text as one short line without control characters."""
    line = "".join(c if c.isprintable() else " " for c in text[:2000])
    return textwrap.shorten(line, 160, placeholder=" ...") or "(nothing)"
