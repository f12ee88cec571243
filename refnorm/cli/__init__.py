"""The command line: one file for each command.

``check``, ``identify``, ``gradcheck``, ``conventions``, ``judge``, ``golden``, ``matrix`` and ``plot`` each add
themselves to the parser and run; ``common`` is what they share.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

import refnorm
from refnorm.cli import check, conventions, golden, gradcheck, identify, judge, matrix, plot
from refnorm.cli.common import NOT_JUDGED

COMMANDS = (check, identify, gradcheck, conventions, judge, golden, matrix, plot)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="refnorm", description="The golden reference of batch normalization.")
    parser.add_argument("--version", action="version", version=f"refnorm {refnorm.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)

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
