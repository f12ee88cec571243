"""The safetensors format, written and read strictly: a header of JSON, then the numbers, with no gap and no rest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from refnorm.formats import Floats, numpy_dtype, rounded

NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
STORED |= {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}
HEADER = 1 << 20  # bytes that a header may have: ours have a few hundred


def stored(values: Floats, kind: str) -> npt.NDArray[Any]:
    """Return values of a format as little-endian numbers; bfloat16 as the upper half of float32, in uint16."""
    values = rounded(values, kind)
    if kind == "bfloat16":
        return (values.astype("<f4").view("<u4") >> np.uint32(16)).astype("<u2")
    return values.astype(np.dtype(kind).newbyteorder("<"))


def pack(tensors: Mapping[str, tuple[str, Floats]]) -> bytes:
    """Return the file that holds these tensors: name -> (format, values).

    Examples
    --------
    >>> packed = pack({"y": ("float16", np.array([1.0, 0.5]))})
    >>> unpack(packed)
    {'y': array([1. , 0.5], dtype=float16)}
    >>> unpack(packed[:-1])
    Traceback (most recent call last):
    ...
    ValueError: the numbers take 4 bytes, the file has 3: it is truncated or has a rest
    """
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for name, (kind, values) in tensors.items():
        part = np.ascontiguousarray(stored(values, kind)).tobytes()
        offsets = [end, end + len(part)]
        header[name] = {"dtype": NAMES[kind], "shape": list(values.shape), "data_offsets": offsets}
        parts.append(part)
        end += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers start at a multiple of 8
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def unpack(raw: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a file; ValueError, with the reason, for anything that the format does not allow."""
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > min(len(raw) - 8, HEADER):
        raise ValueError(f"a header of {length} bytes does not fit a file of {len(raw)}: it is truncated")
    header = json.loads(raw[8 : 8 + length].decode(), object_pairs_hook=unique)
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    header.pop("__metadata__", None)
    data, end = raw[8 + length :], 0
    entries = sorted((_entry(name, entry) for name, entry in header.items()), key=lambda entry: entry[3:])
    for name, dtype, shape, begin, stop in entries:
        size = math.prod(shape) * np.dtype(STORED[dtype]).itemsize
        if begin != end or stop - begin != size:
            raise ValueError(
                f"{name[:40]!r} of shape {list(shape)} takes {size} bytes from {end} on, not {begin} to {stop}"
            )
        end = stop
    if end != len(data):
        raise ValueError(f"the numbers take {end} bytes, the file has {len(data)}: it is truncated or has a rest")
    return {name: _array(data[begin:stop], dtype, shape) for name, dtype, shape, begin, stop in entries}


def _entry(name: str, entry: Any) -> tuple[str, str, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:40]!r} must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORED:
        raise ValueError(f"{name[:40]!r} has dtype {str(dtype)[:20]!r}; known are {', '.join(STORED)}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
            raise ValueError(f"{what} of {name[:40]!r} must be a list of non-negative integers")
    if len(offsets) != 2 or len(shape) > 32:
        raise ValueError(f"{name[:40]!r} has {len(offsets)} data_offsets and {len(shape)} axes")
    return name, dtype, tuple(shape), offsets[0], offsets[1]


def _array(data: bytes, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array = np.frombuffer(data, STORED[dtype])
    if dtype == "BF16":
        return (array.astype("u4") << np.uint32(16)).view("f4").astype(numpy_dtype("bfloat16")).reshape(shape)
    return array.astype(array.dtype.newbyteorder("=")).reshape(shape)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; ValueError if a name stands in it twice."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"the name {name[:40]!r} stands twice in one object")
        result[name] = value
    return result
