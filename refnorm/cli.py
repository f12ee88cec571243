"""The command line: `refnorm check`, `refnorm conventions`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import refnorm
from refnorm.conventions import CONVENTIONS, POLICIES, Convention, differences

CONFORMS, DEVIATES, NOT_JUDGED = 0, 1, 2
CHECK = """\
Put an implementation of batch normalization on trial against exact numbers.

TARGET is a framework (refnorm, torch, onnx, onnxruntime), a file path/to/my_bn.py, or package.module:object.
Checking a file runs it, in a process of its own.

example:
  refnorm check my_bn.py
  refnorm check torch --dtypes float32 float16
  refnorm check my_package.layers:batch_norm --convention keras --format junit --output refnorm.xml

exit status: 0 conforms, 1 deviates, 2 could not be judged
"""
TABLE = """\
Show what each framework means by batch normalization: the table, one row, or what changes from A to B.

example:
  refnorm conventions
  refnorm conventions torch
  refnorm conventions torch onnx
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="refnorm", description="The golden reference of batch normalization.")
    parser.add_argument("--version", action="version", version=f"refnorm {refnorm.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    raw = argparse.RawDescriptionHelpFormatter

    check = commands.add_parser("check", help="judge an implementation", description=CHECK, formatter_class=raw)
    check.add_argument("target", metavar="TARGET")
    check.add_argument(
        "--convention", choices=list(CONVENTIONS), metavar="NAME", help=f"row to judge by: {', '.join(CONVENTIONS)}"
    )
    check.add_argument(
        "--dtypes",
        nargs="+",
        default=["float64", "float32", "float16"],
        metavar="DTYPE",
        choices=["float64", "float32", "float16", "bfloat16"],
        help="formats of x (float64 float32 float16)",
    )
    check.add_argument(
        "--array", default="numpy", metavar="LIBRARY", help="array library, for the target refnorm (numpy)"
    )
    check.add_argument(
        "--baseline", type=Path, metavar="FILE", help="JSON report whose findings are known and accepted"
    )
    check.add_argument("--format", choices=["text", "json", "markdown", "junit"], default="text")
    check.add_argument(
        "--output", type=Path, metavar="FILE", help="write the report there instead of to standard output"
    )
    check.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="limit for import, and for each case (60)"
    )
    check.set_defaults(run=_check)

    table = commands.add_parser("conventions", help="what frameworks mean", description=TABLE, formatter_class=raw)
    table.add_argument("names", nargs="*", metavar="NAME")
    table.set_defaults(run=_conventions)

    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("refnorm: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_JUDGED
    return status


def _check(options: argparse.Namespace) -> int:
    from refnorm.oracle.implementation import TargetError
    from refnorm.oracle.report import junit, markdown, text
    from refnorm.oracle.worker import run

    try:
        known = _known(options.baseline) if options.baseline else set()
        with _progress() as progress:
            report = run(
                options.target,
                options.convention,
                dtypes=options.dtypes,
                array=options.array,
                timeout=options.timeout,
                progress=progress,
            )
    except (TargetError, ValueError, OSError) as error:
        print(f"refnorm: {error}", file=sys.stderr)
        return NOT_JUDGED
    writers: dict[str, Callable[[Any], str]] = {"text": text, "markdown": markdown, "junit": junit}
    writers["json"] = lambda r: json.dumps(r.to_dict(), indent=2, allow_nan=False)
    if error_text := _write(writers[options.format](report), options.output):
        print(f"refnorm: {error_text}", file=sys.stderr)
        return NOT_JUDGED
    found = {_key(finding) for finding in report.to_dict()["findings"]}
    if options.baseline:
        print(
            f"refnorm: {len(found & known)} known, {len(found - known)} new, {len(known - found)} gone", file=sys.stderr
        )
        for label, keys in (("new", found - known), ("gone", known - found)):
            for path, cause, quantities in sorted(keys):
                print(
                    f"refnorm: {label}: {' '.join(filter(None, (path, cause)))} ({', '.join(quantities)})",
                    file=sys.stderr,
                )
    if options.output:
        print(
            f"refnorm: {options.target} {'conforms' if report.conforms else 'deviates'}; see {options.output}",
            file=sys.stderr,
        )
    return CONFORMS if not found - known else DEVIATES


def _key(finding: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    return finding["path"], finding["cause"], tuple(finding["quantities"])


def _known(baseline: Path) -> set[tuple[str, str, tuple[str, ...]]]:
    try:
        return {_key(finding) for finding in json.loads(baseline.read_text(encoding="utf-8"))["findings"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{baseline} is no report; make one with: refnorm check TARGET --format json --output {baseline}"
        ) from error


def _write(content: str, output: Path | None) -> str:
    """Print, or write aside and rename; return what went wrong."""
    if output is None:
        print(content)
        return ""
    try:
        handle, aside = tempfile.mkstemp(dir=output.parent, prefix=output.name, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content + "\n")
        os.chmod(aside, 0o644)
        os.replace(aside, output)
    except OSError as error:
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


def _conventions(options: argparse.Namespace) -> int:
    unknown = [name for name in options.names if name not in CONVENTIONS]
    if unknown or len(options.names) > 2:
        what = f"there is no convention {unknown[0]!r}" if unknown else "give at most two conventions"
        print(f"refnorm: {what}; the rows are {', '.join(CONVENTIONS)}", file=sys.stderr)
        return NOT_JUDGED
    rows = [CONVENTIONS[name] for name in options.names]
    if len(rows) == 2:
        print("\n".join(differences(rows[0], rows[1]) or [f"nothing changes from {rows[0].name} to {rows[1].name}"]))
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
        f"  eps and momentum     travel as {row.attributes}{zero}",
        f"  ranks of x           {', '.join(map(str, row.ranks))}",
        f"  note                 {row.note}",
        f"  source               {row.source}",
    ]


def _table() -> list[str]:
    head = (
        f"{'name':<8}{'momentum weighs':<17}{'running variance':<18}{'one value':<24}{'empty batch':<40}{'attributes'}"
    )
    lines = [head, "-" * len(head)]
    for row in CONVENTIONS.values():
        weighs = {"new": "the new batch", "old": "the old value", "sums": "running sums"}[row.momentum]
        stored = "unbiased" if row.correction else "biased"
        policies = f"{' or '.join(row.one_value):<24}{' or '.join(row.empty):<40}"
        lines.append(f"{row.name:<8}{weighs:<17}{stored:<18}{policies}{row.attributes}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
