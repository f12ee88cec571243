"""refnorm identify: measure which convention an implementation follows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from refnorm.cli.common import (
    CONFORMS,
    DEVIATES,
    Subparsers,
    add_command,
    add_device,
    add_output,
    add_timeout,
    failed,
    shown_progress,
)
from refnorm.cli.output import deliver, say

DESCRIPTION = """\
Measure which convention an implementation follows: weights, variance, eps, axes, what happens without enough values.

TARGET is as for `refnorm check`, or a folder as for `refnorm judge`. Each number is measured from outputs alone; the
nearest row of the table is named.

example:
  refnorm identify my_bn.py
  refnorm identify torch --format json

exit status: 0 as declared (or, for a file, as some row says), 1 different, 2 could not be measured
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "identify", "measure a convention", DESCRIPTION)
    parser.add_argument("target", metavar="TARGET")
    add_output(parser, ("text", "json"))
    add_device(parser)
    add_timeout(parser, "import, and for each probe")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure which convention an implementation follows, in a process of its own."""
    from refnorm.oracle.apart import identify_apart
    from refnorm.oracle.ask.target import TargetError, adapters
    from refnorm.oracle.identify import identity_text
    from refnorm.oracle.measure.from_files import identify_outputs

    said: list[str] = []
    try:
        with shown_progress() as progress:
            if options.target not in adapters() and Path(options.target).is_dir():
                found = identify_outputs(options.target, progress)
            else:
                found, said = identify_apart(options.target, options.timeout, progress, device=options.device)
    except TargetError as error:
        return failed(error)
    content = json.dumps(found, indent=2) if options.format == "json" else identity_text(found)
    if error_text := deliver(content, options.output):
        return failed(error_text)
    if said:
        say(f"the target printed {len(said)} lines; the first: {said[0][:120]}")
    if not measured_anything(found):
        return failed(f"{options.target}: nothing could be measured; what was tried raises, or is not offered")
    return DEVIATES if any(path["differs"] for path in found["paths"]) else CONFORMS


def measured_anything(found: dict[str, Any]) -> bool:
    """Whether any probe of any path gave a value."""
    from refnorm.oracle.measure.measurement import LOST, RAISES, Key

    told = (Key.TRAINING, Key.INFERENCE, Key.RANKS, Key.UNSEEN)
    every = [m for path in found["paths"] for m in path["measurements"]]
    return any(m["key"] not in told and m["value"] not in (LOST, RAISES) for m in every)
