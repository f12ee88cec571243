"""What goes between the judge and the process of a target: plain values and arrays, framed and bounded, no code.

A frame is a length each, of a JSON header and of the arrays' bytes, then both. The header names the arrays that follow:
number, format, shape, and how they lie in memory. What is no plain value stays where it is, under a number. A receiver
checks all that it reads; what it cannot read is `Garbled`.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

LENGTHS = struct.Struct("<4sIQ")
MAGIC = b"bn/1"
LONGEST = 1 << 22  # bytes of a header
LARGEST = 1 << 29  # bytes of the arrays of one frame
NODES = 1 << 14  # values in a header, lists included
PLAIN = re.compile(r"[<>|=][biufc][0-9]{1,2}")  # formats of numbers that every NumPy knows
NARROW = "bfloat16"  # the one format beside them, of the package ml_dtypes
WORDS = 300  # characters of a text


class Garbled(ValueError):
    """What came is no frame, or makes no sense."""


class Spec(NamedTuple):
    """How an array lies in memory."""

    number: int
    format: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    writeable: bool

    def size(self) -> int:
        """Return how many bytes its values take."""
        return math.prod(self.shape) * format_called(self.format).itemsize


class Opaque(NamedTuple):
    """What is no plain value: it stays where it is, under a number; ``type`` is the name of its type."""

    number: int
    type: str


@cache
def format_called(name: str) -> np.dtype[Any]:
    """Return NumPy's dtype of a format's name; `Garbled` if it is not one of numbers."""
    if name == NARROW:
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)  # type: ignore[no-any-return]
    if not PLAIN.fullmatch(name):
        raise Garbled(f"{name!r} is no format of numbers")
    return np.dtype(name)


@cache
def format_of(dtype: np.dtype[Any]) -> str:
    """Return the name of a format; `Garbled` if it is not one of numbers."""
    name = NARROW if dtype.name == NARROW else dtype.str
    format_called(name)
    return name


def is_numbers(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array holds numbers, and not more than a frame takes."""
    try:
        format_of(array.dtype)
    except (ValueError, TypeError, ImportError):
        return False
    return array.nbytes <= LARGEST // 4


def frame(header: dict[str, Any], arrays: list[bytes]) -> bytes:
    """Return a frame as bytes."""
    text = json.dumps(header).encode()
    return b"".join([LENGTHS.pack(MAGIC, len(text), sum(map(len, arrays))), text, *arrays])


def read_frame(receive: Callable[[int], bytes]) -> tuple[dict[str, Any], bytearray]:
    """Read a frame from what gives at most so many bytes, b"" at its end.

    Raises
    ------
    Garbled
        What comes is no frame.
    EOFError
        It ends before the frame does.
    """
    content = bytearray()
    wanted = LENGTHS.size
    length = size = None
    while len(content) < wanted:
        part = receive(max(wanted - len(content), 1 << 16))
        if not part:
            raise EOFError
        content += part
        if length is None and len(content) >= LENGTHS.size:
            magic, length, size = LENGTHS.unpack_from(content)
            if magic != MAGIC or length > LONGEST or size > LARGEST:
                raise Garbled("no frame begins here")
            wanted = LENGTHS.size + length + size
    if len(content) > wanted or length is None:
        raise Garbled("a frame goes on beyond its end")  # nobody sends a second one unasked
    at = LENGTHS.size + length
    try:
        header = json.loads(content[LENGTHS.size : at])
    except (ValueError, RecursionError) as error:
        raise Garbled(f"the header is no JSON: {type(error).__name__}") from None
    if not isinstance(header, dict):
        raise Garbled("the header is no object")
    return header, content[at:]


def packed(value: Any, pack: Callable[[Any], Any]) -> Any:
    """Return a value as JSON: numbers, None, lists and tuples as they are, all else as ``pack`` gives it."""
    left = NODES

    def nested(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        kind = type(value)
        if value is None or kind in (bool, float) or (kind is int and abs(value) < 1 << 1000):
            return value
        if kind is str and len(value) <= WORDS:
            return {"text": value}
        if kind in (list, tuple) and depth < 8 and len(value) <= left:
            return {kind.__name__: [nested(item, depth + 1) for item in value]}
        return pack(value)

    return nested(value, 0)


def unpacked(value: Any, arrays: dict[int, Any]) -> Any:
    """Return the value that JSON stands for, arrays by their numbers; `Garbled` if it makes no sense."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise Garbled("a value is not what it should be")
    [(kind, given)] = value.items()
    if kind == "text" and isinstance(given, str):
        return given
    if kind in ("list", "tuple") and isinstance(given, list):
        items = [unpacked(item, arrays) for item in given]
        return items if kind == "list" else tuple(items)
    if kind == "array" and isinstance(given, int) and given in arrays:
        return arrays[given]
    if kind == "opaque" and isinstance(given, list) and len(given) == 2:
        return Opaque(integer(given[0]), words(given[1]))
    raise Garbled(f"a value of kind {words(kind)!r} is not what it should be")


def spec_of(number: int, array: np.ndarray[Any, Any]) -> tuple[list[Any], bytes]:
    """Return how an array lies in memory, as JSON, and its values in C order."""
    writeable = bool(array.flags.writeable)
    return [number, format_of(array.dtype), array.shape, array.strides, writeable], array.tobytes()


def specs(given: Any, size: int) -> list[Spec]:
    """Read a header's list of arrays, whose bytes must be so many; `Garbled` if it makes no sense."""
    if not isinstance(given, list) or not all(isinstance(one, list) and len(one) == 5 for one in given):
        raise Garbled("the list of arrays is none")
    read = []
    for number, format, shape, strides, writeable in given:
        if not isinstance(shape, list) or not isinstance(strides, list) or not len(shape) == len(strides) <= 32:
            raise Garbled("an array has no shape")
        lengths, steps = tuple(map(integer, shape)), tuple(map(integer, strides))
        if any(n < 0 or n > 1 << 40 for n in lengths) or any(abs(s) > LARGEST for s in steps):
            raise Garbled("an array is too large")
        read.append(Spec(integer(number), words(format), lengths, steps, writeable is True))
    if sum(spec.size() for spec in read) != size:
        raise Garbled("the arrays have not the bytes that they should have")
    return read


def values(specs: list[Spec], content: bytearray) -> list[np.ndarray[Any, Any]]:
    """Return arrays in C order that hold the bytes of a frame."""
    found, at = [], 0
    for spec in specs:
        end = at + spec.size()
        found.append(np.frombuffer(content[at:end], format_called(spec.format)).reshape(spec.shape))
        at = end
    return found


def laid_out(spec: Spec, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Lay an array out in memory as its spec says; what lies before and between its values is NaN."""
    if array.flags.c_contiguous and spec.strides == array.strides:
        result = array.copy()
    else:
        ends = [(n - 1) * s for n, s in zip(spec.shape, spec.strides, strict=True) if n]
        low, high = sum(min(0, end) for end in ends), sum(max(0, end) for end in ends)
        buffer = np.full(high - low + 2 * array.itemsize, 255, np.uint8)
        result = np.ndarray(spec.shape, array.dtype, buffer, array.itemsize - low, spec.strides)
        result[...] = array
    result.flags.writeable = spec.writeable
    return result


def integer(value: Any) -> int:
    """Return what must be an integer."""
    if type(value) is not int:
        raise Garbled("a number is no integer")
    return value


def words(value: Any, most: int = WORDS) -> str:
    """Return what must be a text, cut where it is longer than one should be."""
    if not isinstance(value, str):
        raise Garbled("a text is none")
    return value[:most]
