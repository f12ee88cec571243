"""refnorm check: judge an implementation, in a process of its own."""

from __future__ import annotations

import argparse

from refnorm.cli.common import Progress, Subparsers, add_command, add_dtypes, add_report, add_timeout, give_verdict
from refnorm.oracle.apart import check_apart
from refnorm.oracle.report import Report

DESCRIPTION = """\
Put an implementation of batch normalization on trial against exact numbers.

TARGET is a framework (refnorm, torch, onnx, onnxruntime), a file path/to/my_bn.py, or package.module:object.
Checking a file runs it, in a process of its own.

example:
  refnorm check my_bn.py
  refnorm check torch --dtypes float32 float16
  refnorm check my_package.layers:batch_norm --convention keras --format junit --output refnorm.xml

exit status: 0 conforms, 1 deviates, 2 could not be judged
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "check", "judge an implementation", DESCRIPTION)
    parser.add_argument("target", metavar="TARGET")
    add_dtypes(parser)
    library = "array library, for the target refnorm (numpy)"
    parser.add_argument("--array", default="numpy", metavar="LIBRARY", help=library)
    add_report(parser)
    add_timeout(parser, "import, and for each case")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge, report, and return the exit status."""

    def report(progress: Progress) -> Report:
        target, row, limit = options.target, options.convention, options.timeout
        return check_apart(target, row, dtypes=options.dtypes, array=options.array, timeout=limit, progress=progress)

    return give_verdict(options, options.target, report)
