"""refnorm check: judge an implementation, in a process of its own."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from refnorm.cli.common import (
    Progress,
    Subparsers,
    add_command,
    add_device,
    add_dtypes,
    add_report,
    add_timeout,
    give_verdict,
)
from refnorm.formats import FORMATS
from refnorm.oracle.apart import check_apart
from refnorm.oracle.ask.envelope import REQUIRABLE
from refnorm.oracle.tiers import BY_NAME

if TYPE_CHECKING:
    from refnorm.oracle.report import Report

DESCRIPTION = """\
Put an implementation of batch normalization on trial against exact numbers.

TARGET is a framework (refnorm, torch, onnx, ...), a file path/to/my_bn.py, one thing in it path/to/my_bn.py:Name, or
package.module[:Name]. A file needs no adapter: layers, functions and pairs of them are read as they were written, of
NumPy, torch, JAX, Flax, Keras and others, and the report says how. Checking a file runs it, in a process of its own.

example:
  refnorm check my_bn.py
  refnorm check model.py:BatchNorm2d
  refnorm check torch --dtypes float32 float16
  refnorm check my_kernel.py --device cuda --thorough --seed 7
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
    add_device(parser)
    required = f"what must be offered, so that a gap is a finding: {', '.join(REQUIRABLE)}"
    parser.add_argument("--require", nargs="+", default=[], metavar="WHAT", choices=REQUIRABLE, help=required)
    summed = "format in which sums must be taken, if it is wider than that of x (float32)"
    parser.add_argument("--accumulate", metavar="DTYPE", choices=list(FORMATS), help=summed)
    tiers = f"how exact it must be: {', '.join(BY_NAME)}, each with those before it (all but one-pass)"
    parser.add_argument("--tier", choices=list(BY_NAME), metavar="NAME", help=tiers)
    sizes = "try every size at which kernels break, and shapes that no one has chosen"
    parser.add_argument("--thorough", action="store_true", help=sizes)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of those shapes (0)")
    add_report(parser)
    add_timeout(parser, "import, and for each case")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge, report, and return the exit status."""

    def report(progress: Progress) -> Report:
        names = ("dtypes", "require", "array", "device", "timeout", "accumulate", "tier", "thorough", "seed")
        how = {name: getattr(options, name) for name in names}
        return check_apart(options.target, options.convention, **how, progress=progress)

    return give_verdict(options, options.target, report)
