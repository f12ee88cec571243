"""Run one command; when it ends, or whoever started us is gone, end every process that it has started.

Started alone, as ``python -I -S guard.py FDS COMMAND ...``, by `refnorm.oracle.ask.process`. Its standard input is a
pipe that closes with the judge, however that ends; what becomes of the command, ``exit N`` or ``signal N``, goes to
standard output. On Linux orphans are handed to us, those of other sessions too, so none of them gets away; elsewhere
the command's process group is ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

SUBREAPER, DEATH_SIGNAL = 36, 1  # numbers of Linux's prctl
PATIENCE = 10.0  # seconds for the kernel to end what has been killed


def prctl(option: int, value: int) -> None:
    """Ask Linux for something; nothing elsewhere."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def watch(handed: list[int], command: list[str]) -> None:
    """Run a command with these descriptors until one of the two ends."""
    prctl(SUBREAPER, 1)
    heard, heeded = os.pipe()
    for end in (heard, heeded):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(heeded)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    guard = os.getpid()
    worker = os.fork()
    if not worker:
        _become(guard, command)
    for descriptor in handed:
        os.close(descriptor)
    status = None
    while status is None:
        ready, _, _ = select.select([0, heard], [], [])
        signals = os.read(heard, 512) if heard in ready else b""
        if 0 in ready or set(signals) - {signal.SIGCHLD}:  # nobody writes there: it has closed
            break
        status = _reaped(worker)[0]
    _sweep(worker)
    if status is not None:
        ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
        os.write(1, ended.encode())


def _become(guard: int, command: list[str]) -> None:
    """Turn this process into the command, which dies with the guard."""
    try:
        os.setsid()
        prctl(DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be run: {error.strerror}".encode())
    finally:
        os._exit(127)


def _reaped(worker: int) -> tuple[int | None, bool]:
    """Bury what has ended; return the worker's status, if it has, and whether any child is left."""
    status = None
    try:
        while True:
            pid, ended = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return status, True
            status = ended if pid == worker else status
    except ChildProcessError:
        return status, False


def _sweep(worker: int) -> None:
    """End all that is left, over and over: the orphans of what has ended become our children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker, signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while _reaped(worker)[1] and time.monotonic() < until:
        for child in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def _children() -> list[int]:
    """Return our children, where /proc tells."""
    found = []
    own = str(os.getpid())
    for name in filter(str.isdigit, os.listdir("/proc") if sys.platform == "linux" else ()):
        with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", errors="replace") as stat:
            if stat.read().rpartition(")")[2].split()[1] == own:
                found.append(int(name))
    return found


if __name__ == "__main__":
    watch([int(descriptor) for descriptor in sys.argv[1].split(",")], sys.argv[2:])
