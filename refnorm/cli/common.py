"""What commands share: options, progress, the verdict on a report, and exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refnorm.cli.output import deliver, say, visible
from refnorm.conventions.rows import ROWS
from refnorm.formats import FORMATS

if TYPE_CHECKING:
    from refnorm.oracle.report import Report

Progress = Callable[[int, int, str], None]
Subparsers = Any  # what argparse's add_subparsers returns; its type is private
CONFORMS, DEVIATES, NOT_JUDGED = 0, 1, 2
USUAL = ("float64", "float32", "float16")


def add_command(subparsers: Subparsers, name: str, help: str, description: str) -> argparse.ArgumentParser:
    """Add a command, whose description keeps its lines."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=help, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return parser


def add_dtypes(parser: argparse.ArgumentParser) -> None:
    """Add --dtypes."""
    help = f"formats of x ({' '.join(USUAL)})"
    parser.add_argument("--dtypes", nargs="+", metavar="DTYPE", choices=list(FORMATS), help=help)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    help = "default device of torch or JAX: modules are built and given arrays there (cpu); as cuda, cuda:1, mps, xpu"
    parser.add_argument("--device", default="", metavar="DEVICE", help=help)


def add_timeout(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --timeout."""
    help = f"limit for {what} (60)"
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS", help=help)


def seconds(text: str) -> float:
    """Read a limit of time; argparse says what is expected."""
    value = float(text)
    if not 0 < value <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text}: it must be above 0, at most {threading.TIMEOUT_MAX:.0f} s")
    return value


def add_output(parser: argparse.ArgumentParser, formats: tuple[str, ...]) -> None:
    """Add --format and --output."""
    parser.add_argument("--format", choices=formats, default="text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to standard output")


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add what commands that give a verdict take."""
    rows = list(ROWS)
    parser.add_argument("--convention", choices=rows, metavar="NAME", help=f"row to judge by: {', '.join(rows)}")
    known = "JSON report whose findings are known and accepted"
    parser.add_argument("--baseline", type=Path, metavar="FILE", help=known)
    add_output(parser, ("text", "json", "markdown", "junit", "badge"))


def give_verdict(options: argparse.Namespace, target: object, report_of: Callable[[Progress], Report]) -> int:
    """Make a report, write it where and as the options ask, and return the exit status."""
    from refnorm.oracle.ask.target import TargetError
    from refnorm.oracle.baseline import against_baseline, keys_of, known
    from refnorm.oracle.shown import badge, junit, markdown, text

    try:
        accepted = known(options.baseline) if options.baseline else set()
        with shown_progress() as progress:
            report = report_of(progress)
    except (TargetError, ValueError, OSError) as error:
        if options.format == "badge":  # an older one may say that it conforms
            deliver(badge(None), options.output)
        return failed(error)
    writers: dict[str, Callable[[Any], str]] = {"text": text, "markdown": markdown, "junit": junit, "badge": badge}
    writers["json"] = lambda r: json.dumps(r.to_dict(), indent=2, allow_nan=False)
    if error_text := deliver(writers[options.format](report), options.output):
        return failed(error_text)
    now = keys_of(report)
    lines = against_baseline(now, accepted) if options.baseline else []
    if options.output:
        verdict = "conforms" if report.conforms else "deviates" if now else "was not judged"
        lines.append(f"{target} {verdict}; see {options.output}")
    for line in lines:
        say(line)
    if not report.judged and not now - accepted:
        paths = ", ".join(path.name for path in report.paths if not path.judged) or target
        why = "no result came" if any(path.cells for path in report.paths) else "no case applies"
        return failed(f"{paths} could not be judged: {why}; what has not been judged does not conform")
    return CONFORMS if not now - accepted else DEVIATES


def failed(error: object) -> int:
    """Say what went wrong, in one line, and return the exit status for it."""
    say(error)
    return NOT_JUDGED


@contextlib.contextmanager
def shown_progress() -> Iterator[Progress]:
    """Yield a callback that shows progress on a terminal, and nothing where standard error is not one."""
    shown = sys.stderr.isatty()

    def show(number: int, of: int, case: str) -> None:
        if shown:
            print(f"\r\x1b[K  {number}/{of}  {visible(case)}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
