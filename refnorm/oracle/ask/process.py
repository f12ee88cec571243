"""A process of its own for a target, which may print, hang, crash or exit without taking the judge with it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from refnorm.oracle.ask.target import TargetError

Progress = Callable[[int, int, str], None]


class Loss(NamedTuple):
    """What happened where a target gave no answer: in a word or two, and whether a signal killed it."""

    how: str
    killed: bool = False


class Stopped(TargetError):
    """A target that hung or died; ``case`` says in which case or probe ("" at its import), ``loss`` what happened."""

    def __init__(self, text: str, case: str, loss: Loss) -> None:
        super().__init__(text)
        self.case, self.loss = case, loss


def apart(
    order: dict[str, Any],
    timeout: float,
    progress: Progress = lambda *_: None,
    python: str = sys.executable,
    variables: Mapping[str, str] = MappingProxyType({}),
    folder: str | None = None,
) -> tuple[Any, list[str]]:
    """Have a child process do what `refnorm.oracle.worker` can; return its result, and the lines that were printed.

    Parameters
    ----------
    order : what to do with which target.
    timeout : seconds that the import, or one case, may take.
    progress : called with the number of the case, their count and the case's id.
    python : the interpreter, of another environment perhaps, which need not have refnorm installed.
    variables : added to the child's environment.
    folder : where it runs; here, if None.

    Raises
    ------
    TargetError
        If the target cannot be loaded, dies, hangs or exits; the text says in which case.
    """
    target = order["target"]
    with tempfile.TemporaryFile() as printed:
        child = subprocess.Popen(
            [python, "-m", "refnorm.oracle.worker", json.dumps(order)],
            env={**os.environ, **variables},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=printed,
            start_new_session=True,
            text=True,
        )
        try:
            result, case = _listen(child, timeout, progress)
        except _Silent as silent:
            waited = f"gave no answer for {timeout:g} s in {_place(silent.case)} and was stopped"
            text = f"{target} {waited}, so it could not be judged; --timeout sets the limit"
            raise Stopped(text, silent.case, Loss(f"no answer in {timeout:g} s")) from None
        finally:
            _stop(child)
        printed.seek(0)
        said = printed.read().decode(errors="replace").strip().splitlines()
    if result is None:
        status = child.returncode
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        last = f"; it last said: {said[-1][:200]}" if said else ""
        text = f"{target} {how} in {_place(case)}, so it could not be judged{last}"
        raise Stopped(text, case, Loss(how, killed=status < 0))
    if "error" in result:
        raise TargetError(result["error"])
    return result["result"], said


class _Silent(Exception):
    """Nothing was heard for too long; ``case`` says in which case."""

    def __init__(self, case: str) -> None:
        super().__init__(case)
        self.case = case


def _place(case: str) -> str:
    return f"case {case}" if case else "its import"


def _listen(child: subprocess.Popen[str], timeout: float, progress: Progress) -> tuple[Any, str]:
    """Read the child's lines until it ends; return its result and the case that it was in; `_Silent` if it hangs."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read(stream: IO[str]) -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    assert child.stdout is not None
    threading.Thread(target=read, args=(child.stdout,), daemon=True).start()
    case = ""
    while True:
        try:
            line = lines.get(timeout=timeout)
        except queue.Empty:
            raise _Silent(case) from None
        if line is None:
            return None, case
        message = json.loads(line)
        if "case" not in message:
            return message, case
        case = message["case"]
        progress(message["number"], message["of"], case)


def _stop(child: subprocess.Popen[str]) -> None:
    """End the child and whatever it started."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=0.5)
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()
    if child.stdout is not None:
        child.stdout.close()
