"""A trial in a process of its own: a target may print, hang, crash or exit without taking the judge with it."""

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
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any

from refnorm.oracle.implementation import TargetError
from refnorm.oracle.report import Report

Progress = Callable[[int, int, str], None]


class Stopped(TargetError):
    """A target that hung or died; ``at`` says in what, ``how`` in a word or two."""

    def __init__(self, text: str, at: str, how: str) -> None:
        super().__init__(text)
        self.at, self.how = at, how


def run(
    target: str,
    convention: str | None,
    *,
    dtypes: Sequence[str],
    array: str = "numpy",
    timeout: float = 60.0,
    progress: Progress = lambda *_: None,
) -> Report:
    """Judge a target in a child process.

    Parameters
    ----------
    target, convention, dtypes, progress : as in `refnorm.check`.
    array : array library for the target ``refnorm``.
    timeout : seconds that the import, or one case, may take.

    Raises
    ------
    TargetError
        If it cannot be loaded, dies, hangs or exits; the text says in which case.
    """
    order = {"target": target, "convention": convention, "dtypes": list(dtypes), "array": array}
    result, said = apart({"do": "check", **order}, timeout, progress)
    report = Report.from_dict(result)
    if said:
        note = f"the target printed {len(said)} line{'s' if len(said) > 1 else ''}; the first: {said[0][:120]}"
        report = Report.from_dict({**report.to_dict(), "notes": [*report.notes, note]})
    return report


def run_gradients(
    target: str, *, seed: int = 0, timeout: float = 60.0, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Check a target's gradients in a child process; arguments and errors as those of `run`.

    Returns
    -------
    dict
        "gradients", what `refnorm.oracle.gradients.GradientReport.to_dict` gives, and its "text".
    """
    answer, _ = apart({"do": "gradients", "target": target, "seed": seed}, timeout, progress)
    result: dict[str, Any] = answer
    return result


def apart(
    order: dict[str, Any],
    timeout: float,
    progress: Progress = lambda *_: None,
    python: str = sys.executable,
    variables: Mapping[str, str] = MappingProxyType({}),
    folder: str | None = None,
) -> tuple[Any, list[str]]:
    """Have a child process do what `main` can; return its result, and the lines that the target printed.

    Parameters
    ----------
    order : what to do with which target.
    timeout, progress : as in `run`.
    python : the interpreter, of another environment perhaps, which need not have refnorm installed.
    variables : added to the child's environment.
    folder : where it runs; here, if None.

    Raises
    ------
    TargetError
        As `run`.
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
            result, at = _listen(child, timeout, progress)
        except TimeoutError as error:
            waited = f"gave no answer for {timeout:g} s in {error} and was stopped"
            text = f"{target} {waited}, so it could not be judged; --timeout sets the limit"
            raise Stopped(text, str(error), f"no answer in {timeout:g} s") from None
        finally:
            _stop(child)
        printed.seek(0)
        said = printed.read().decode(errors="replace").strip().splitlines()
    if result is None:
        status = child.returncode
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        last = f"; it last said: {said[-1][:200]}" if said else ""
        raise Stopped(f"{target} {how} in {at}, so it could not be judged{last}", at, how)
    if "error" in result:
        raise TargetError(result["error"])
    return result["result"], said


def _listen(child: subprocess.Popen[str], timeout: float, progress: Progress) -> tuple[Any, str]:
    """Read the child's lines until it ends; return its result and the case that it was in."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read(stream: IO[str]) -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    assert child.stdout is not None
    threading.Thread(target=read, args=(child.stdout,), daemon=True).start()
    result, at = None, "its import"
    while True:
        try:
            line = lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(at) from None
        if line is None:
            return result, at
        message = json.loads(line)
        if "case" in message:
            at = f"case {message['case']}"
            progress(message["number"], message["of"], message["case"])
        else:
            result = message
            return result, at


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


def main(order: str) -> None:
    """Load and judge in this process; write one JSON line per case, then the report or an error, to standard output."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the target prints goes where the parent keeps it

    def send(message: dict[str, Any]) -> None:
        protocol.write(json.dumps(message) + "\n")
        protocol.flush()

    def step(number: int, of: int, case: str) -> None:
        send({"number": number, "of": of, "case": case})

    wish = json.loads(order)
    if "cores" in wish and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: wish["cores"]])
    try:
        send({"result": _done(wish, step)})
    except (TargetError, ValueError) as error:
        send({"error": str(error)})
    sys.stdout.flush()
    os._exit(0)  # whatever the target left running does not keep us


def _done(wish: dict[str, Any], step: Progress) -> Any:
    """Do what is asked, and return the result as plain data."""
    if wish["do"] == "gradients":
        from refnorm.oracle.gradients import as_gradient_target, check_gradients

        found = check_gradients(as_gradient_target(wish["target"]), seed=wish["seed"], progress=step)
        return {"gradients": found.to_dict(), "text": str(found)}
    from refnorm.oracle.implementation import load

    loaded = load(wish["target"], array=wish.get("array", "numpy"))
    if wish["do"] == "identify":
        from refnorm.identify import identify, summary

        return summary(loaded, identify(loaded, step, wish["lost"]))
    if wish["do"] == "numerics":
        from refnorm.numerics import numerics

        return numerics(loaded, step, wish["lost"], **wish.get("how", {}))
    from refnorm.oracle.trial import trial

    lost = wish.get("lost", {})
    return trial(loaded, wish["convention"], dtypes=wish["dtypes"], progress=step, lost=lost).to_dict()


if __name__ == "__main__":
    main(sys.argv[1])
