"""How code is told whether it trains: by an argument, a switch on the object, a word, or whether gradients are on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from refnorm.oracle.ask.doors.names import role_of

WORDS = (
    ("train", "test"), ("train", "eval"), ("train", "inference"), ("train", "infer"), ("training", "inference"),
    ("training", "testing"), ("train", "predict"), ("train", "valid"), ("training", "test"), ("training", "evaluation"),
    ("fit", "predict"), ("TRAIN", "TEST"), (True, False), (1, 0), (0, 1),
)  # fmt: skip
TRAINS, INFERS = r"(?i)train|^fit|learn", r"(?i)^(test|eval|infer|predict|valid)"  # words that code may compare with


@dataclass(frozen=True)
class Mode:
    """One way to say it: ``where`` is "argument", "switch", "entry", "method", "name", "grad", "absent", "outside", "".

    ``name`` is that of what says it; ``training`` and ``inference`` are both its values. An entry is one of a
    dictionary that a layer keeps. What is ``outside`` of a layer or function is a name in ``holder``: a module's names,
    a class, a dictionary; or a function that sets it. If it is not ``sure``, it is one only if it makes a difference.
    """

    where: str
    name: str = ""
    training: Any = True
    inference: Any = False
    holder: Any = None
    sure: bool = True

    def value(self, training: bool) -> Any:
        """Return what says that it trains, or that it does not."""
        return self.training if training else self.inference

    def __str__(self) -> str:
        if self.where == "grad":
            return "training while gradients are recorded"
        if self.where == "absent":
            return f"training without {self.name}, inference with it"
        if self.where == "name":
            return f"training by .{self.training}(), inference by .{self.inference}()"
        if self.where == "method":
            return "training by .train(), inference by .eval()"
        return f"training by {self.name}={self.training!r}" if self.where else ""

    @contextlib.contextmanager
    def told(self, training: bool) -> Iterator[None]:
        """Switch the recording of gradients, or what is outside, where that is how it is told."""
        if self.where == "outside":
            with _switched(self.holder, self.name, self.value(training)):
                yield
            return
        if self.where != "grad":
            yield
            return
        import torch

        with torch.set_grad_enabled(training):
            yield


ALWAYS = Mode("")  # it is not told


@contextlib.contextmanager
def _switched(holder: Any, name: str, value: Any) -> Iterator[None]:
    """Set a name in a dictionary, an attribute, or what a function sets; names are put back as they were."""
    name = name.rpartition(".")[2]
    if callable(getattr(holder, name, None)):
        getattr(holder, name)(value)
        yield
    elif isinstance(holder, dict) and callable(holder[name]):
        holder[name](value)
        yield
    elif isinstance(holder, dict):
        before, holder[name] = holder[name], value
        try:
            yield
        finally:
            holder[name] = before
    else:
        before = getattr(holder, name)
        setattr(holder, name, value)
        try:
            yield
        finally:
            setattr(holder, name, before)


def modes_outside(codes: Sequence[Any], scope: dict[str, Any]) -> Iterator[Mode]:
    """Yield the switches outside of some code that it names: True or False in its module, a class, a dictionary there.

    Where it asks a function, as in ``autograd.is_training()``, it is one beside that sets it, as ``set_training`` does.
    """
    names = dict.fromkeys(n for code in codes for n in code.co_names)
    words = [*names, *dict.fromkeys(c for code in codes for c in code.co_consts if isinstance(c, str))]
    for name in (n for n in names if n in scope):
        held = scope[name]
        inside = held if isinstance(held, dict) else {n: getattr(held, n) for n in words if _has(held, n)}
        places = [(scope, {name: held}, ""), *([] if isinstance(held, bool) else [(held, inside, f"{name}.")])]
        for holder, there, before in places:
            for own, value in there.items():
                role = role_of(own) if isinstance(own, str) and own in words else ""
                if role in ("training", "inference") and (isinstance(value, bool) or callable(value)):
                    told = (True, False) if role == "training" else (False, True)
                    setter = f"set_{own.removeprefix('is_')}" if callable(value) else own
                    if not callable(value) or setter in holder if isinstance(holder, dict) else hasattr(holder, setter):
                        yield Mode("outside", f"{before}{setter}", *told, holder=holder)


def _has(held: Any, name: str) -> bool:
    return role_of(name) in ("training", "inference") and name.isidentifier() and hasattr(held, name)


def modes_of(name: str, role: str, where: str, known: Iterable[str] = ()) -> Sequence[Mode]:
    """Return the ways that an argument or attribute of some role may say it, by words that are ``known`` first."""
    if role == "training":
        return (Mode(where, name), Mode(where, name, 1, 0))
    if role == "inference":
        return (Mode(where, name, False, True),)
    if role == "mode":
        trains, infers = ([w for w in known if re.search(words, w)] for words in (TRAINS, INFERS))
        told = [(t, i) for t in trains for i in infers]
        guessed = [(t, "TEST" if t.isupper() else "test") for t in trains]
        pairs = dict.fromkeys([*told, *(p for p in WORDS if set(p) & {*trains, *infers}), *guessed, *WORDS])
        return [Mode(where, name, t, i, sure=(t, i) in told) for t, i in pairs]
    return ()


def words_in(codes: Iterable[Any]) -> list[str]:
    """Return the words that stand in some code, each once."""
    return list(dict.fromkeys(c for code in codes for c in code.co_consts if isinstance(c, str) and c.isidentifier()))
