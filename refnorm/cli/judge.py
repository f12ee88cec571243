"""refnorm judge: judge what a program in any language wrote beside exported inputs."""

from __future__ import annotations

import argparse
from pathlib import Path

from refnorm.cli.common import Subparsers, add_command, add_report, give_verdict

DESCRIPTION = """\
Judge the outputs that a program in any language wrote beside exported inputs.

DIR is what `refnorm golden export DIR` made; its INSTRUCTIONS.md says what to compute and how to write it. Nothing in
DIR is run. Outputs that are missing, surplus, truncated, of the wrong shape or format, or NaN are findings.

example:
  refnorm golden export bn-cases --dtypes float32
  my_program bn-cases
  refnorm judge bn-cases --convention keras

exit status: 0 conforms, 1 deviates, 2 could not be judged
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "judge", "judge written outputs", DESCRIPTION)
    parser.add_argument("directory", type=Path, metavar="DIR")
    add_report(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge what a program wrote beside exported inputs."""
    from refnorm.oracle.outputs import judge

    return give_verdict(options, options.directory, lambda p: judge(options.directory, options.convention, progress=p))
