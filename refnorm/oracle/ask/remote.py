"""An implementation in another process, as if it were in this one: its functions ask the line, memory is kept alike.

The judge believes nothing that it hears but numbers: whatever comes is checked, and turned into plain values and arrays
of its own. What a call there writes to, an argument or an earlier result, is written to here as well.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from refnorm.formats import FORMATS
from refnorm.oracle.ask import wire
from refnorm.oracle.ask.doors.through import LISTS, WORDS
from refnorm.oracle.ask.interface import CALLED
from refnorm.oracle.ask.process import Line
from refnorm.oracle.ask.target import Target, TargetError


class Remote:
    """An implementation that another process runs: what it offers there are attributes here."""


class Function:
    """A function of a path there."""

    def __init__(self, caller: Caller, path: int, name: str) -> None:
        self._caller, self._path, self._name = caller, path, name

    def __call__(self, *arguments: Any) -> Any:
        """Call it; return what it returns, raise what it raises."""
        return self._caller.call(self._path, self._name, arguments, False)[0]

    def twice(self, *arguments: Any) -> tuple[Any, Any]:
        """Call it twice, as `refnorm.oracle.ask.twice` does."""
        first, second = self._caller.call(self._path, self._name, arguments, True)
        return first, second


class Unknown:
    """What a call returned that is no plain value; its type's name is that of the type there."""

    number: int


class Memory:
    """The arrays that both sides have: numbers, what the other side knows to be in them, and what it may forget."""

    def __init__(self) -> None:
        self.held: dict[int, weakref.ref[Any]] = {}
        self.known: dict[int, tuple[int, bytes]] = {}  # by id of what is held
        self.forgotten: list[int] = []
        self.most = 0

    def keep(self, number: int, value: Any, content: bytes = b"") -> None:
        """Note that the other side knows a value by a number, for as long as it lives here."""
        key = id(value)

        def gone(_: Any) -> None:
            if self.known.get(key, (0,))[0] == number:
                del self.known[key]
            self.forget(number)

        self.held[number] = weakref.ref(value, gone)
        self.known[key] = number, content

    def forget(self, number: int) -> None:
        """Let the other side forget a number."""
        if self.held.pop(number, None) is not None:
            self.forgotten.append(number)

    def number(self) -> int:
        """Return a number for something new."""
        self.most += 1
        return self.most


class Caller:
    """A target at the other end of a line: loaded there, called from here."""

    def __init__(self, line: Line) -> None:
        self.line, self.memory, self.asked = line, Memory(), 0

    def load(self, order: dict[str, Any]) -> Target:
        """Have a target loaded, and return it as if it were here; TargetError if it cannot be."""
        answer, arrays = self._ask(order, [], [])
        try:
            if "error" in answer:
                raise TargetError(wire.words(answer["error"], 2000))
            return self._target(answer["loaded"], arrays)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as garbled:
            self.line.garbled(garbled)
            raise

    def _target(self, said: dict[str, Any], arrays: dict[int, Any]) -> Target:
        """Read what is said of a target."""
        paths: dict[str, Any] = {}
        for number, (path, offer) in enumerate(said["paths"].items()):
            remote = paths[wire.words(path)] = Remote()
            given: dict[str, Any] = {name: Function(self, number, name) for name in CALLED if name in offer["calls"]}
            given["mixed"] = offer["mixed"] is True
            if "dtypes" in offer:
                given["dtypes"] = tuple(kind for kind in FORMATS if kind in offer["dtypes"])
            given |= {name: wire.words(offer[name], 2000) for name in WORDS if name in offer}
            for name in LISTS:
                if name in offer:
                    own = [int(v) if type(v) is int else wire.words(v) for v in offer[name]]
                    given[name] = tuple(own)
            given |= {name: offer[name] is True for name in ("half", "sparing") if name in offer}
            if "inputs" in offer:
                given["inputs"] = tuple(self._value(wire.unpacked(one, arrays)) for one in offer["inputs"])
                given["names"] = tuple(map(wire.words, offer["names"]))
            vars(remote).update(given)
        imported, expression = map(wire.words, said["code"])
        words = wire.words(said["convention"]), wire.words(said["version"])
        declared, array = said["declared"] is True, wire.words(said["array"])
        notes = tuple(wire.words(note, 2000) for note in said["notes"])
        return Target(self.line.target, *words, paths, (imported, expression), declared, array, notes)

    def call(self, path: int, name: str, arguments: Sequence[Any], twice: bool) -> tuple[Any, Any]:
        """Call a function of a path there; return what it returns, and what a second call returned otherwise."""
        self.new: list[tuple[list[Any], bytes]] = []
        packed = [wire.packed(a, self._packed) for a in arguments]
        request = {"call": name, "path": path, "arguments": packed, "twice": twice}
        answer, arrays = self._ask(request, [spec for spec, _ in self.new], [content for _, content in self.new])
        try:
            if "raised" in answer:
                kind, text = answer["raised"]
                error: Exception = _named(wire.words(kind), Exception)(wire.words(text, 2000))
            else:
                second = self._value(wire.unpacked(answer["again"], arrays)) if "again" in answer else None
                return self._value(wire.unpacked(answer["value"], arrays)), second
        except (KeyError, ValueError, TypeError, RecursionError) as garbled:
            self.line.garbled(garbled)
        raise error

    def _ask(
        self, request: dict[str, Any], specs: list[Any], contents: list[bytes]
    ) -> tuple[dict[str, Any], dict[int, Any]]:
        self.asked += 1
        dropped, self.memory.forgotten = self.memory.forgotten, []
        header = {"asked": self.asked, "arrays": specs, "drop": dropped, **request}
        answer, sent, values = self.line.ask(header, contents)
        if answer.get("asked") != self.asked:
            self.line.garbled(wire.Garbled("it answers another question"))
        arrays = {}
        for spec, array in zip(sent, values, strict=True):
            if spec.number in self.memory.held:
                self._written(spec.number, array)
            else:
                arrays[spec.number] = array
                self.memory.keep(spec.number, array, array.tobytes())
        return answer, arrays

    def _written(self, number: int, array: Any) -> None:
        """Write to an array of ours what has been written to it there."""
        own = self.memory.held[number]()
        if own is None or own.shape != array.shape or own.dtype != array.dtype:
            return
        self.memory.known[id(own)] = number, array.tobytes()
        writeable = own.flags.writeable
        try:
            own.flags.writeable = True
            own[...] = array
            own.flags.writeable = writeable
        except ValueError:  # a view that cannot be written to, here or there
            return

    def _packed(self, value: Any) -> Any:
        """Return what stands for an array, or for what the other side has."""
        if isinstance(value, Unknown):
            return {"opaque": [value.number, ""]}
        if isinstance(value, np.generic):
            return value.item()
        array = np.asarray(value)
        number, content = self.memory.known.get(id(value), (0, b""))
        if not number or content != array.tobytes():
            self.memory.forget(number)
            number = self.memory.number()
            spec, content = wire.spec_of(number, array)
            self.new.append((spec, content))
            if array is value:
                self.memory.keep(number, array, content)
            else:  # a list, perhaps: nothing of ours keeps it alive
                self.memory.forgotten.append(number)
        return {"array": number}

    def _value(self, value: Any) -> Any:
        """Return a value of ours for what came."""
        if type(value) in (list, tuple):
            return type(value)(map(self._value, value))
        if isinstance(value, wire.Opaque):
            unknown = _named(value.type, Unknown)()
            unknown.number = value.number
            self.memory.keep(value.number, unknown)
            return unknown
        return value


@lru_cache(maxsize=256)
def _named(name: str, base: type) -> type:
    """Return a type that goes by the name of another."""
    return type(name.replace("\0", " ") or "nameless", (base,), {})
