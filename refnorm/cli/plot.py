"""refnorm plot: measure, draw, and say what the picture shows."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

from refnorm.cli.common import (
    CONFORMS,
    Subparsers,
    add_command,
    add_dtypes,
    add_timeout,
    failed,
    shown_progress,
)
from refnorm.cli.output import replace_file, say
from refnorm.conventions.rows import ROWS
from refnorm.formats import FORMATS
from refnorm.plots import PICTURES, PLOTS, TABLES

DESCRIPTION = """\
Draw your own numbers: a picture (SVG, PNG or PDF, by the ending of --output), and what it shows in sentences. Or write
the numbers themselves: CSV or JSON.

Without --output it is NAME.svg here (NAME.csv with --format csv), and a file of that name is left alone; with
--output - it goes to standard output, and the sentences to standard error. Pictures need matplotlib.

example:
  refnorm plot --list
  refnorm plot small-batch --counts 2 4 8 16
  refnorm plot small-batch --data acts.npy --axis 1 --correlation
  refnorm plot lag --format csv --output -
  refnorm plot lag --momentum 0.1 0.003 --output lag.png
  refnorm plot conditioning my_bn.py --dtype float16
  refnorm check my_bn.py --format json --output report.json ; refnorm plot conformance report.json

exit status: 0 drawn, 2 not
"""


def add(subparsers: Subparsers) -> None:
    """Add the command, with one subcommand for each plot."""
    parser = add_command(subparsers, "plot", "draw your own numbers", DESCRIPTION)
    parser.add_argument("--list", action="store_true", help="say what plots there are")
    parser.set_defaults(run=run)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--output", type=Path, metavar="FILE", help="file to write (NAME.svg), replaced if there; - is standard output"
    )
    common.add_argument("--format", choices=(*PICTURES, *TABLES), help="what to write (by the ending of --output)")
    names = parser.add_subparsers(metavar="NAME", dest="plot")
    small = _add_plot(names, "small-batch", common)
    small.add_argument("--counts", type=int, nargs="+", default=[2, 3, 4, 6, 8, 16, 32, 64, 128], metavar="M")
    small.add_argument("--samples", type=int, default=20_000, metavar="N", help="batches of each count (20000)")
    small.add_argument(
        "--data",
        dest="activations",
        metavar="FILE.npy",
        help="your activations, as numpy.save writes them, instead of Gaussian values; M is then samples per batch",
    )
    small.add_argument("--axis", type=int, default=1, metavar="K", help="axis of the channels in it (1)")
    small.add_argument("--correlation", action="store_true", help="measure how alike the values of a sample are, too")
    lag = _add_plot(names, "lag", common)
    lag.add_argument(
        "--momentum", type=float, nargs="+", default=[0.1, 0.01], metavar="A", help="weight of the new batch (0.1 0.01)"
    )
    lag.add_argument("--count", type=int, default=32, metavar="M", help="values per channel in a batch (32)")
    conditioning = _add_plot(names, "conditioning", common)
    conditioning.add_argument("target", metavar="TARGET", help="as for refnorm check")
    conditioning.add_argument(
        "--dtype", choices=list(FORMATS), default="float32", metavar="DTYPE", help="format of x (float32)"
    )
    conformance = _add_plot(names, "conformance", common)
    conformance.add_argument("target", metavar="TARGET", help="as for refnorm check, or its JSON report")
    conformance.add_argument("--convention", choices=list(ROWS), metavar="NAME", help="row to judge by")
    add_dtypes(conformance)
    for simulated in (small, lag):
        simulated.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (0)")
    for tried in (conditioning, conformance):
        add_timeout(tried, "each step")


def _add_plot(names: Any, name: str, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    what = PLOTS[name]
    parser: argparse.ArgumentParser = names.add_parser(name, parents=[common], help=what, description=what)
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure, draw, and say what the picture shows and where it is."""
    from refnorm import plots
    from refnorm.oracle.ask.target import TargetError

    if options.list:
        print("\n".join(f"{name:<14}{what}" for name, what in plots.PLOTS.items()))
        return CONFORMS
    if options.plot is None:
        return failed(f"which plot? name one of {', '.join(plots.PLOTS)}; refnorm plot --list says what they show")
    stream = options.output == Path("-")
    try:
        kind = plots.file_format(None if stream else options.output, options.format)
        output = None if stream else options.output or Path(f"{options.plot}.{kind}")
        if obstacle := plots.obstacle(output, kind, replace=options.output is not None):
            return failed(obstacle)
        module, given = plots.module(options.plot), vars(options)
        asked = {name: given[name] for name in inspect.signature(module.data).parameters if name in given}
        with shown_progress() as progress:
            data = module.data(**asked, progress=progress)
    except (TargetError, ValueError, OSError) as error:
        return failed(error)
    content, caption = plots.file_content(module, data, kind), module.caption(data)
    if output is None:
        if kind in ("png", "pdf"):
            sys.stdout.buffer.write(content)
        else:
            sys.stdout.write(content.decode())
        sys.stdout.flush()
        for line in caption.splitlines():
            say(line)
        return CONFORMS
    if error_text := replace_file(content, output):
        return failed(error_text)
    print(f"{caption}\n{output}")
    return CONFORMS
