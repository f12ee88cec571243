"""refnorm gradcheck: compare a target's gradients with numerical derivatives of its own forward."""

from __future__ import annotations

import argparse
import json

from refnorm.cli.common import (
    CONFORMS,
    DEVIATES,
    NOT_JUDGED,
    Subparsers,
    add_command,
    add_device,
    add_output,
    add_timeout,
    failed,
    shown_progress,
)
from refnorm.cli.output import deliver
from refnorm.conventions.rows import ROWS

DESCRIPTION = """\
Compare gradients with numerical derivatives of their own forward, element by element.

TARGET is a framework, a file path/to/my_bn.py, or package.module:object, as for `refnorm check`; or any module with
forward(*inputs) -> y, cache, backward(dy, cache) -> one gradient per input, and inputs, a tuple of arrays or a function
of a numpy.random.Generator. Checking a file runs it, in a process of its own.

example:
  refnorm gradcheck my_homework.py

exit status: 0 right, 1 wrong, 2 cannot tell, or could not be run
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "gradcheck", "check gradients numerically", DESCRIPTION)
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (0)")
    row = "row that a cause is looked for by (what the target follows)"
    parser.add_argument("--convention", choices=list(ROWS), metavar="NAME", help=row)
    add_output(parser, ("text", "json"))
    add_device(parser)
    add_timeout(parser, "import, and for each pair")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare a target's gradients with numerical derivatives of its own forward."""
    from refnorm.gradients.gradcheck import CANNOT_TELL, RIGHT
    from refnorm.oracle.apart import gradcheck_apart
    from refnorm.oracle.ask.target import TargetError

    try:
        with shown_progress() as progress:
            asked = {name: getattr(options, name) for name in ("seed", "convention", "device", "timeout")}
            answer = gradcheck_apart(options.target, **asked, progress=progress)
    except (TargetError, ValueError, OSError) as error:
        return failed(error)
    content = json.dumps(answer["gradients"], indent=2) if options.format == "json" else answer["text"]
    if error_text := deliver(content, options.output):
        return failed(error_text)
    return {RIGHT: CONFORMS, CANNOT_TELL: NOT_JUDGED}.get(answer["gradients"]["status"], DEVIATES)
