"""How code is told whether it trains: by an argument, a switch on the object, a word, or whether gradients are on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WORDS = (
    ("train", "test"), ("train", "eval"), ("train", "inference"), ("train", "infer"), ("training", "inference"),
    ("training", "testing"), ("train", "predict"), ("train", "valid"), ("training", "test"), ("training", "evaluation"),
    ("fit", "predict"), ("TRAIN", "TEST"), (True, False), (1, 0),
)  # fmt: skip


@dataclass(frozen=True)
class Mode:
    """One way to say it: ``where`` is "argument", "switch", "method", "name", "grad", "absent" or "".

    ``name`` is that of what says it; ``training`` and ``inference`` are both its values.
    """

    where: str
    name: str = ""
    training: Any = True
    inference: Any = False

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
    def gradients(self, training: bool) -> Iterator[None]:
        """Switch the recording of gradients on or off, where that is how it is told."""
        if self.where != "grad":
            yield
            return
        import torch

        with torch.set_grad_enabled(training):
            yield


ALWAYS = Mode("")  # it is not told


def modes_of(name: str, role: str, where: str) -> Sequence[Mode]:
    """Return the ways that an argument or attribute of some role may say it."""
    if role == "training":
        return (Mode(where, name), Mode(where, name, 1, 0))
    if role == "inference":
        return (Mode(where, name, False, True),)
    if role == "mode":
        return [Mode(where, name, *pair) for pair in WORDS]
    return ()
