"""A process of its own for a target, which may print, hang, crash or exit: whatever it does, nothing of it stays.

The target runs in a worker, under a guard that ends all that the worker starts. Between judge and worker there is one
line, on which the judge asks and the worker answers with values (`refnorm.oracle.ask.wire`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from refnorm.oracle.ask import guard, wire
from refnorm.oracle.ask.target import TargetError

Progress = Callable[[int, int, str], None]

PACKAGE = Path(__file__).parents[2]
MARK = "REFNORM_TRIAL"  # in the environment of all that a trial starts
KEPT = 1 << 13  # bytes of what is printed that are kept, from the beginning and from the end
# What a worker runs: refnorm is found where the judge has it; no folder of a target stands before the libraries.
START = """\
import sys
sys.path[:1] = []
from importlib import util
spec = util.spec_from_file_location("refnorm", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
sys.modules["refnorm"] = package = util.module_from_spec(spec)
spec.loader.exec_module(package)
from refnorm.oracle.ask.worker import work
work(int(sys.argv[2]))
"""


class Loss(NamedTuple):
    """What happened where a target gave no answer: in a word or two, and whether a signal killed it."""

    how: str
    killed: bool = False


class Stopped(TargetError):
    """A target that hung or died; ``case`` says in which case or probe ("" at its import), ``loss`` what happened."""

    def __init__(self, text: str, case: str, loss: Loss) -> None:
        super().__init__(text)
        self.case, self.loss = case, loss


class Interrupted(KeyboardInterrupt):
    """No more is heard of a target; passes, like an interrupt of the user, through what catches all that it raises."""

    def __init__(self, stopped: Stopped) -> None:
        super().__init__(str(stopped))
        self.stopped = stopped


class Line:
    """A target's process, and the line to it.

    Parameters
    ----------
    target : its name.
    timeout : seconds that its import, or what it is asked in one case, may take.
    python : the interpreter, of another environment perhaps, which need not have refnorm installed.
    variables : added to the worker's environment.
    folder : where it runs; here, if None.
    """

    def __init__(
        self,
        target: str,
        timeout: float,
        python: str = sys.executable,
        variables: Mapping[str, str] = MappingProxyType({}),
        folder: str | None = None,
    ) -> None:
        if os.name != "posix":
            raise TargetError("a process of its own needs Linux or macOS; elsewhere call refnorm.check in Python")
        self.target, self.timeout = target, timeout
        self._work: Iterator[object] = iter(())
        self.at("")
        self._mark = secrets.token_hex(16)
        self._line, theirs = socket.socketpair()
        self._printed = _Printed()
        worker = [python, "-c", START, str(PACKAGE), str(theirs.fileno())]
        command = [sys.executable, "-I", "-S", guard.__file__, str(theirs.fileno()), *worker]
        with theirs, contextlib.ExitStack() as in_vain:
            in_vain.callback(self._line.close)
            in_vain.callback(self._printed.close)
            try:
                self._guard = subprocess.Popen(
                    command,
                    env={**os.environ, **variables, MARK: self._mark},
                    cwd=folder,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._printed.sink,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            finally:
                self._printed.started()
            in_vain.pop_all()
        assert self._guard.stdout is not None
        self._report = self._guard.stdout
        self._line.setblocking(False)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def at(self, case: str) -> None:
        """Say which case, or probe, is asked about from now on: it has all the time that one may take."""
        self.case, self._left = case, self.timeout

    def meanwhile(self, work: Iterator[object]) -> None:
        """Have work done, piece by piece, while answers are waited for; its time is not the target's."""
        self._work = work

    @property
    def said(self) -> list[str]:
        """The lines that the target printed, beginning and end where they are many."""
        return self._printed.lines()

    def ask(
        self, header: dict[str, Any], arrays: list[bytes]
    ) -> tuple[dict[str, Any], list[wire.Spec], list[np.ndarray[Any, Any]]]:
        """Ask, and return the answer's header and arrays; `Interrupted` if there is none, or it makes no sense."""
        question = memoryview(wire.frame(header, arrays))
        self._until = time.monotonic() + self._left
        try:
            try:
                self._send(question)
                answer, content = wire.read_frame(self._receive)
                specs = wire.specs(answer.get("arrays", []), len(content))
                return answer, specs, wire.values(specs, content)
            except (ValueError, TypeError, ImportError, MemoryError, OverflowError, RecursionError) as error:
                self.garbled(error)
        except EOFError:
            self._ended()
        finally:
            self._left = self._until - time.monotonic()
        raise AssertionError

    def garbled(self, error: Exception) -> None:
        """Stop what does not answer as a worker does."""
        what = f"wrote what is no answer on the line to its judge in {_place(self.case)}"
        self._stop(f"{what}, so it could not be judged ({error})", Loss("no answer, but something else"))

    def close(self) -> None:
        """End the worker, its guard, and all that they started."""
        if self._guard.stdin is None or self._guard.stdin.closed:
            return
        self._guard.stdin.close()  # the guard sees it
        self._line.close()
        try:
            self._guard.wait(guard.PATIENCE + 5)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        with self._report:
            self._status = self._report.read(64).decode(errors="replace")
        if self._guard.returncode:  # it did not end by itself, so it did not end the others
            _end_marked(f"{MARK}={self._mark}".encode())
        self._printed.drain()
        self._printed.close()

    def _ended(self) -> None:
        """Say how a worker ended that answers no more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(1)  # it ends when the worker has; a worker may also have closed the line, and live
        self.close()
        how = _ending(self._status, self._guard.returncode)
        last = f"; it last said: {said[-1][:200]}" if (said := self.said) else ""
        text = f"{how.how} in {_place(self.case)}, so it could not be judged{last}"
        self._stop(text, how)

    def _stop(self, text: str, loss: Loss) -> None:
        self.close()
        raise Interrupted(Stopped(f"{self.target} {text}", self.case, loss))

    def _send(self, content: memoryview) -> None:
        while content:
            try:
                content = content[self._line.send(content) :]
            except BlockingIOError:
                self._wait(writing=True)
            except OSError as error:
                raise EOFError from error

    def _receive(self, most: int) -> bytes:
        """Return what comes next on the line, b"" if it has ended."""
        while True:
            self._wait()
            try:
                return self._line.recv(min(most, 1 << 20))
            except BlockingIOError:
                continue
            except OSError:
                return b""

    def _wait(self, writing: bool = False) -> None:
        """Wait for the line, hearing meanwhile what is printed; stop the target when its time is over."""
        working = not writing
        while True:
            left = self._until - time.monotonic()
            line, status = self._line.fileno(), self._report.fileno()
            sources = [*self._printed.open, status, *([] if writing else [line])]
            patience = 0 if working or left <= 0 else left
            heard, free, _ = select.select(sources, [line] if writing else [], [], patience)
            if left <= 0 and not free and line not in heard:
                waited = f"gave no answer for {self.timeout:g} s in {_place(self.case)} and was stopped"
                text = f"{waited}, so it could not be judged; --timeout sets the limit"
                self._stop(text, Loss(f"no answer in {self.timeout:g} s"))
            if working and not heard:
                working = self._worked()
            if set(heard) & set(self._printed.open):
                self._printed.hear()
            if free or line in heard:
                return
            if status in heard:  # the guard has ended, and with it the worker, whoever else holds the line open
                raise EOFError

    def _worked(self) -> bool:
        """Do a piece of the work that there is, and return whether there is more."""
        began = time.monotonic()
        try:
            more = next(self._work, None) is not None
        except Exception:  # of the judge's own: it meets it again where it judges
            more = False
        self._until += time.monotonic() - began
        return more


class _Printed:
    """What a target prints: all is read, little is kept."""

    def __init__(self) -> None:
        self._source, self.sink = os.pipe()
        os.set_blocking(self._source, False)
        self.open = [self._source]
        self._begin, self._end, self._count = b"", b"", 0

    def started(self) -> None:
        """Leave the sink to who prints."""
        os.close(self.sink)

    def hear(self) -> bool:
        """Read what is there; return whether there may be more."""
        try:
            part = os.read(self._source, 1 << 16)
        except BlockingIOError:
            return False
        if not part:
            self.open = []
            return False
        room = KEPT - len(self._begin)
        self._begin += part[:room]
        self._end = (self._end + part[room:])[-KEPT:] if len(part) > room else self._end
        return True

    def drain(self) -> None:
        """Read what is left; who printed it has ended."""
        until = time.monotonic() + 1
        while self.open and self.hear() and time.monotonic() < until:
            pass

    def close(self) -> None:
        """Hear no more."""
        if self._source >= 0:
            os.close(self._source)
        self._source, self.open = -1, []

    def lines(self) -> list[str]:
        """Return the lines that were kept."""
        return (self._begin + self._end).decode(errors="replace").strip().splitlines()


def _ending(status: str, guard: int) -> Loss:
    """Return how a worker ended, as its guard says, or how the guard did."""
    what, _, number = status.partition(" ")
    if guard:
        return Loss("ended the process that guards it", killed=True)
    if not number.isdigit():
        return Loss("closed the line to its judge")
    if what != "signal":
        return Loss(f"exited with status {number}")
    try:
        return Loss(f"was killed by {signal.Signals(int(number)).name}", killed=True)
    except ValueError:
        return Loss(f"was killed by signal {number}", killed=True)


def _place(case: str) -> str:
    if case.startswith("the "):
        return case
    return f"case {case}" if case else "its import"


def _end_marked(mark: bytes) -> None:
    """End all processes that carry a mark in their environment, where /proc tells: their guard could not."""
    left = sys.platform == "linux"
    while left:
        left = False
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in _environment(folder).split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)
                    left = True
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.ENOENT, errno.ESRCH, errno.EPERM):
                    raise
        with contextlib.suppress(InterruptedError):
            time.sleep(0.002 if left else 0)


def _environment(process: Path) -> bytes:
    """Return the environment of a process; one that has just begun its program has none for a moment."""
    environment = b""
    for _ in range(5):
        environment = (process / "environ").read_bytes()
        if environment or not os.readlink(process / "exe"):
            break
        time.sleep(0.002)
    return environment
