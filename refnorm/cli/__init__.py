"""The command line: one file for each command.

``check``, ``identify``, ``gradcheck``, ``conventions``, ``judge``, ``golden``, ``matrix`` and ``plot`` each add
themselves to the parser and run; ``common`` is what they share.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence

import refnorm
from refnorm.cli import check, conventions, golden, gradcheck, identify, judge, matrix, plot
from refnorm.cli.common import NOT_JUDGED
from refnorm.cli.output import say

COMMANDS = (check, identify, gradcheck, conventions, judge, golden, matrix, plot)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="refnorm", description="The golden reference of batch normalization.")
    parser.add_argument("--version", action="version", version=f"refnorm {refnorm.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)

    _ready()
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # the reader has seen enough
        return _unwritable("")
    except OSError as error:  # a command says itself what it cannot read; what is left is our own output
        return _unwritable(f"cannot write to standard output: {error.strerror}")
    except Exception as error:  # a status of 1 would say that the target deviates
        where = traceback.extract_tb(error.__traceback__)[-1]
        say(f"a fault of refnorm, not of the target: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        return NOT_JUDGED
    return status


def _ready() -> None:
    """Make both streams take any text; where one is closed, what is written there is lost."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the process ends
        elif hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _unwritable(text: str) -> int:
    """Say that standard output takes no more; nothing is flushed into it at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if text:
        say(text)
    return NOT_JUDGED
