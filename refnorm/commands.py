"""What each command does, given its options: it prints, writes, and returns the exit status."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refnorm.conventions import POLICIES, ROWS, Convention, differences

if TYPE_CHECKING:
    from refnorm.oracle.report import Report

Progress = Callable[[int, int, str], None]
CONFORMS, DEVIATES, NOT_JUDGED = 0, 1, 2


def check(options: argparse.Namespace) -> int:
    """Judge an implementation in a process of its own."""
    from refnorm.oracle.worker import run

    def report(progress: Progress) -> Report:
        target, row, limit = options.target, options.convention, options.timeout
        return run(target, row, dtypes=options.dtypes, array=options.array, timeout=limit, progress=progress)

    return _verdict(options, options.target, report)


def gradcheck(options: argparse.Namespace) -> int:
    """Compare a target's gradients with numerical derivatives of its own forward."""
    from refnorm.gradcheck import CANNOT_TELL, RIGHT
    from refnorm.oracle.implementation import TargetError
    from refnorm.oracle.worker import run_gradients

    try:
        with _progress() as progress:
            answer = run_gradients(options.target, seed=options.seed, timeout=options.timeout, progress=progress)
    except (TargetError, ValueError, OSError) as error:
        return _failed(error)
    content = json.dumps(answer["gradients"], indent=2) if options.format == "json" else answer["text"]
    if error_text := _write(content, options.output):
        return _failed(error_text)
    return {RIGHT: CONFORMS, CANNOT_TELL: NOT_JUDGED}.get(answer["gradients"]["status"], DEVIATES)


def identify(options: argparse.Namespace) -> int:
    """Measure which convention an implementation follows, in a process of its own."""
    from refnorm.identify import measured, text
    from refnorm.oracle.implementation import TargetError
    from refnorm.recorded import identify_outputs

    said: list[str] = []
    try:
        with _progress() as progress:
            if Path(options.target).is_dir():
                found = identify_outputs(options.target, progress)
            else:
                found, said = measured({"do": "identify", "target": options.target}, options.timeout, progress)
    except TargetError as error:
        return _failed(error)
    content = json.dumps(found, indent=2) if options.format == "json" else text(found)
    if error_text := _write(content, options.output):
        return _failed(error_text)
    if said:
        print(f"refnorm: the target printed {len(said)} lines; the first: {said[0][:120]}", file=sys.stderr)
    return DEVIATES if any(path["differs"] for path in found["paths"]) else CONFORMS


def matrix(options: argparse.Namespace) -> int:
    """Measure every framework at hand, each in its own environment."""
    from refnorm.matrix import ENTRIES, changes, matrix, read, write

    known = [entry.name for entry in ENTRIES]
    if unknown := [name for name in options.names if name not in known]:
        return _failed(f"there is no framework {unknown[0]!r}; use some of {', '.join(known)}")
    chosen = [entry for entry in ENTRIES if not options.names or entry.name in options.names]
    start = os.times().elapsed
    try:
        with _progress() as progress:
            keep = (lambda _: None) if options.check else (lambda results: write(results, options.output))
            results = matrix(chosen, options.environments, progress, options.jobs, keep)
        if options.check:
            lines = changes(read(options.output), results)
            print("\n".join(lines) or f"{len(results)} frameworks: as recorded in {options.output}")
            return DEVIATES if lines else CONFORMS
    except (OSError, ValueError) as error:
        return _failed(error)
    failed = [f"{name}: {result['error']}" for name, result in results.items() if "error" in result]
    print("\n".join([*failed, f"{len(results)} frameworks in {options.output}; {len(failed)} could not be measured"]))
    spent = os.times()
    print(f"{spent.elapsed - start:.0f} s, of processor time {spent.children_user + spent.children_system:.0f} s")
    return CONFORMS


def judge(options: argparse.Namespace) -> int:
    """Judge what a program wrote beside exported inputs."""
    from refnorm.oracle.outputs import judge

    return _verdict(options, options.directory, lambda p: judge(options.directory, options.convention, progress=p))


def _verdict(options: argparse.Namespace, target: object, report_of: Callable[[Progress], Report]) -> int:
    """Make a report, write it where and as the options ask, and return the exit status."""
    from refnorm.oracle.baseline import compared, found, known
    from refnorm.oracle.implementation import TargetError
    from refnorm.oracle.report import junit, markdown, text

    try:
        accepted = known(options.baseline) if options.baseline else set()
        with _progress() as progress:
            report = report_of(progress)
    except (TargetError, ValueError, OSError) as error:
        return _failed(error)
    writers: dict[str, Callable[[Any], str]] = {"text": text, "markdown": markdown, "junit": junit}
    writers["json"] = lambda r: json.dumps(r.to_dict(), indent=2, allow_nan=False)
    if error_text := _write(writers[options.format](report), options.output):
        return _failed(error_text)
    now = found(report)
    lines = compared(now, accepted) if options.baseline else []
    if options.output:
        lines.append(f"{target} {'conforms' if report.conforms else 'deviates'}; see {options.output}")
    for line in lines:
        print(f"refnorm: {line}", file=sys.stderr)
    return CONFORMS if not now - accepted else DEVIATES


def _failed(error: object) -> int:
    print(f"refnorm: {error}", file=sys.stderr)
    return NOT_JUDGED


def export(options: argparse.Namespace) -> int:
    """Write the cases for programs in other languages."""
    from refnorm.golden.export import PAGE, export

    try:
        with _progress() as progress:
            count = export(options.directory, options.format, dtypes=options.dtypes, progress=progress)
    except ImportError as error:
        return _failed(f"--format {options.format} needs a package that is missing: {error}; pip install onnx")
    except (ValueError, OSError) as error:
        return _failed(error)
    print(f"{count} cases in {options.directory}; {options.directory / PAGE} says what to do with them")
    return CONFORMS


def lint(options: argparse.Namespace) -> int:
    """Prove that a golden set is whole."""
    from refnorm.golden.generate import DATA
    from refnorm.golden.lint import lint

    directory = options.directory or DATA
    if not directory.is_dir():
        return _failed(f"there is no directory {directory}")
    problems = lint(directory)
    print("\n".join(problems) or f"{directory}: whole")
    return DEVIATES if problems else CONFORMS


def plot(options: argparse.Namespace) -> int:
    """Measure, draw, and say what the picture shows and where it is."""
    from refnorm import plots
    from refnorm.oracle.implementation import TargetError

    if options.list:
        print("\n".join(f"{name:<14}{what}" for name, what in plots.PLOTS.items()))
        return CONFORMS
    if options.plot is None:
        return _failed(f"which plot? name one of {', '.join(plots.PLOTS)}; refnorm plot --list says what they show")
    output = options.output or Path(f"{options.plot}.svg")
    if obstacle := plots.obstacle(output, replace=options.output is not None):
        return _failed(obstacle)
    module = plots.module(options.plot)
    asked = {name: value for name, value in vars(options).items() if name in inspect.signature(module.data).parameters}
    try:
        with _progress() as progress:
            data = module.data(**asked, progress=progress)
    except (TargetError, ValueError, OSError) as error:
        return _failed(error)
    caption = module.caption(data)
    if error_text := _replace(plots.rendered(module, data, output.suffix[1:], caption), output):
        return _failed(error_text)
    print(f"{caption}\n{output}")
    return CONFORMS


def _write(content: str, output: Path | None) -> str:
    """Print, or write; return what went wrong."""
    if output is None:
        print(content)
        return ""
    return _replace((content + "\n").encode(), output)


def _replace(content: bytes, output: Path) -> str:
    """Write aside and rename, so that no half of a file is ever seen; return what went wrong."""
    aside = ""
    try:
        handle, aside = tempfile.mkstemp(dir=output.parent, prefix=output.name, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(aside, 0o644)
        os.replace(aside, output)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        return f"cannot write {output}: {error.strerror}"
    return ""


@contextlib.contextmanager
def _progress() -> Any:
    """Yield a callback that shows progress on a terminal, and nothing where standard error is not one."""
    shown = sys.stderr.isatty()

    def show(number: int, of: int, case: str) -> None:
        if shown:
            print(f"\r\x1b[K  {number}/{of}  {case}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def conventions(options: argparse.Namespace) -> int:
    """Show the table, one row, or what changes from one to another."""
    unknown = [name for name in options.names if name not in ROWS]
    if unknown or len(options.names) > 2:
        what = f"there is no convention {unknown[0]!r}" if unknown else "give at most two conventions"
        print(f"refnorm: {what}; the rows are {', '.join(ROWS)}", file=sys.stderr)
        return NOT_JUDGED
    rows = [ROWS[name] for name in options.names]
    if len(rows) == 2:
        a, b = (row.name for row in rows)
        print("\n".join(differences(rows[0], rows[1]) or [f"nothing changes from {a} to {b}"]))
        layer = "refnorm.State(mean, var, momentum, eps, gamma, beta)"
        print(f'\nAll of it: refnorm.convert({layer}, "{a}", "{b}", count=...)')
    elif rows:
        print("\n".join(_row(rows[0])))
    else:
        print("\n".join(_table()))
    return CONFORMS


def _row(row: Convention) -> list[str]:
    weight = {"new": "weight of the new batch", "old": "weight of the old value", "sums": "factor on running sums"}
    stored = "unbiased, m/(m - 1) times the biased one" if row.correction else "biased"
    zero = "" if row.zero_eps else "; eps = 0 may be refused in training"
    return [
        f"{row.name}: {row.title}",
        f"  momentum             {weight[row.momentum]}",
        f"  running variance     {stored}",
        *(f"  one value            {POLICIES[p]}" for p in row.one_value),
        *(f"  empty batch          {POLICIES[p]}" for p in row.empty),
        f"  eps and momentum     travel as {_travel(row)}{zero}",
        *(["  training             normalises by the moved averages"] if row.normalises == "moved" else []),
        f"  ranks of x           {', '.join(map(str, row.ranks))}",
        f"  note                 {row.note}",
        f"  source               {row.source}",
    ]


def _table() -> list[str]:
    head = (
        f"{'name':<13}{'momentum weighs':<17}{'running variance':<18}{'one value':<24}{'empty batch':<40}{'attributes'}"
    )
    lines = [head, "-" * len(head)]
    for row in ROWS.values():
        weighs = {"new": "the new batch", "old": "the old value", "sums": "running sums"}[row.momentum]
        stored = "unbiased" if row.correction else "biased"
        policies = f"{' or '.join(row.one_value):<24}{' or '.join(row.empty):<40}"
        lines.append(f"{row.name:<13}{weighs:<17}{stored:<18}{policies}{_travel(row)}")
    return lines


def _travel(row: Convention) -> str:
    return row.attributes + (f", momentum as {row.momentum_as}" if row.momentum_as else "")
