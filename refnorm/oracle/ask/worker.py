"""The worker's side of `refnorm.oracle.ask.process`: load a target, call it as it is asked to, send what comes back.

Nothing is judged here. What the judge gave, and what it was given, is one memory on both sides: when a call has written
to any of it, the judge is sent what it holds now.
"""

from __future__ import annotations

import os
import socket
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np

from refnorm.formats import FORMATS
from refnorm.oracle.ask import wire
from refnorm.oracle.ask.device import place
from refnorm.oracle.ask.doors.through import LISTS, WORDS, Through
from refnorm.oracle.ask.interface import CALLED, formats_of
from refnorm.oracle.ask.target import Target, TargetError, adapters, load_gradient_target, load_target
from refnorm.oracle.ask.troubled import where_of
from refnorm.oracle.ask.twice import twice

CACHES = {"train": 3, "frozen": 1, "forward": 1}  # where a function returns what only its backward understands


def work(descriptor: int) -> None:
    """Answer what is asked on this descriptor, until nobody asks any more."""
    Worker(socket.socket(fileno=descriptor)).serve()
    os._exit(0)  # whatever the target left running does not keep us


class Worker:
    """A loaded target, and all that the judge has of it or gave to it, by number."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.held: dict[int, Any] = {}
        self.known: dict[int, bytes] = {}  # what the judge knows to be in an array
        self.least = 0
        self.paths: list[Any] = []
        self.answered: list[tuple[list[Any], bytes]] = []

    def serve(self) -> None:
        """Answer request after request."""
        while True:
            try:
                request, content = wire.read_frame(self.line.recv)
            except EOFError:
                return
            self.answered = []
            specs = wire.specs(request.get("arrays", []), len(content))
            for spec, array in zip(specs, wire.values(specs, content), strict=True):
                self.held[spec.number] = wire.laid_out(spec, array)
                self.known[spec.number] = self.held[spec.number].tobytes()
            for number in request.get("drop", ()):
                self.held.pop(number, None)
                self.known.pop(number, None)
            answer = self._loaded(request) if "target" in request else self._called(request)
            header = {"asked": request["asked"], **answer, "arrays": [spec for spec, _ in self.answered]}
            self.line.sendall(wire.frame(header, [content for _, content in self.answered]))

    def _loaded(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load a target, and say what it offers."""
        if "cores" in request and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: request["cores"]])
        _quiet(request["target"])
        try:
            device = place(request["device"]) if request["device"] else None
            if "seed" in request:
                target = load_gradient_target(request["target"], request["seed"])
            else:
                target = load_target(request["target"], array=request["array"])
            target = device.of(target) if device else target
            self.paths = list(target.paths.values())
            return {"loaded": self._described(target)}
        except (TargetError, ValueError) as error:
            return {"error": _text(error)}

    def _described(self, target: Target) -> dict[str, Any]:
        paths = {name: self._offer(path) for name, path in target.paths.items()}
        words = {"convention": target.convention, "version": target.version, "code": list(target.code)}
        notes = [note[:1000] for note in target.notes[:20]]
        return {**words, "declared": target.declared, "array": target.array, "paths": paths, "notes": notes}

    def _offer(self, path: Any) -> dict[str, Any]:
        """Say what a path offers."""
        offer: dict[str, Any] = {"calls": [name for name in CALLED if callable(getattr(path, name, None))]}
        if (formats := formats_of(path)) is not None:
            offer["dtypes"] = [kind for kind in FORMATS if kind in formats]
        offer["mixed"] = bool(getattr(path, "mixed", True))
        for name in WORDS:
            if isinstance(said := getattr(path, name, None), str):
                offer[name] = said
        for name in LISTS:
            if isinstance(said := getattr(path, name, None), tuple):
                offer[name] = list(said)
        if isinstance(path, Through):
            offer |= {"half": path.half, "sparing": path.sparing}
        if hasattr(path, "inputs"):
            offer["inputs"] = [self._value(array) for array in path.inputs]
            offer["names"] = [str(name) for name in path.names]
        return offer

    def _called(self, request: dict[str, Any]) -> dict[str, Any]:
        """Call a function, and say what came back, or what it raised; and what it wrote to."""
        name = request["call"]
        arguments = [self._argument(value) for value in request["arguments"]]
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                function = getattr(self.paths[request["path"]], name)
                result, second = twice(function, arguments) if request["twice"] else (function(*arguments), None)
            answer = {"value": self._returned(name, result)}
            if second is not None:
                answer["again"] = self._returned(name, second)
        except BaseException as error:  # whatever foreign code raises, sys.exit included
            answer = {"raised": [str(type(error).__name__)[: wire.WORDS], _text(error) + where_of(error)]}
        for number, before in self.known.items():
            if number in self.held and (now := self.held[number].tobytes()) != before:
                self.known[number] = now
                self.answered.append(wire.spec_of(number, self.held[number]))
        return answer

    def _returned(self, name: str, result: Any) -> Any:
        """Return a result as the judge may read it; what only its backward understands by a number."""
        if name not in CACHES or type(result) not in (tuple, list):
            return self._value(result)
        at = CACHES[name]
        items = [self._opaque(v) if k == at else self._value(v) for k, v in enumerate(result)]
        return {type(result).__name__: items}

    def _argument(self, value: Any) -> Any:
        """Return what an argument stands for: what the judge had of us is what we gave it."""
        found = wire.unpacked(value, self.held)
        return self.held[found.number] if isinstance(found, wire.Opaque) else found

    def _value(self, value: Any) -> Any:
        """Return a value as the judge may read it."""
        return wire.packed(value, self._packed)

    def _packed(self, value: Any) -> Any:
        """Return an array, or what stands for anything else."""
        if isinstance(value, np.ndarray | np.generic):
            try:
                array = value if type(value) is np.ndarray else np.array(value, subok=False)
                if wire.is_numbers(array):
                    number = self._hold(array)
                    self.known[number] = array.tobytes()
                    self.answered.append(wire.spec_of(number, array))
                    return {"array": number}
                kind = f"an array of shape {array.shape} and dtype {array.dtype}"
                return {"opaque": [self._hold(value), kind[: wire.WORDS]]}
            except Exception:  # what only pretends to be an array
                return self._opaque(value)
        return self._opaque(value)

    def _opaque(self, value: Any) -> Any:
        return {"opaque": [self._hold(value), str(type(value).__name__)[: wire.WORDS]]}

    def _hold(self, value: Any) -> int:
        self.least -= 1
        self.held[self.least] = value
        return self.least


def _quiet(target: str) -> None:
    """Keep what a target imports from opening windows, let Keras run on a backend that is there, compile in haste.

    What XLA does to make code fast takes most of a trial's time, and is no part of what someone wrote. An adapter of a
    framework gets it as it is.
    """
    if target not in adapters():
        os.environ.setdefault(
            "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        )
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backends = [name for name in ("tensorflow", "torch", "jax") if find_spec(name) is not None]
    if backends:
        os.environ.setdefault("KERAS_BACKEND", backends[0])


def _text(error: BaseException) -> str:
    """Return the text of an error, whatever its __str__ does."""
    try:
        return str(str(error))[:2000]
    except BaseException as other:
        return f"an error whose text raises {type(other).__name__}"
