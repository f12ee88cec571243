"""refnorm plot: measure, draw, and say what the picture shows."""

from __future__ import annotations

import argparse
import inspect
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
from refnorm.cli.output import replace_file
from refnorm.conventions.rows import ROWS
from refnorm.formats import FORMATS
from refnorm.plots import PLOTS

DESCRIPTION = """\
Draw your own numbers: a picture (SVG, PNG or PDF, by the ending of --output), and what it shows in a sentence.

Without --output it is NAME.svg here, and a file of that name is left alone. Needs matplotlib.

example:
  refnorm plot --list
  refnorm plot small-batch --counts 2 4 8 16
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
    common.add_argument("--output", type=Path, metavar="FILE", help="picture to write (NAME.svg); replaced if there")
    names = parser.add_subparsers(metavar="NAME", dest="plot")
    small = _add_plot(names, "small-batch", common)
    small.add_argument("--counts", type=int, nargs="+", default=[2, 3, 4, 6, 8, 16, 32, 64, 128], metavar="M")
    small.add_argument("--samples", type=int, default=20_000, metavar="N", help="batches of each count (20000)")
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
    output = options.output or Path(f"{options.plot}.svg")
    if obstacle := plots.obstacle(output, replace=options.output is not None):
        return failed(obstacle)
    module = plots.module(options.plot)
    asked = {name: value for name, value in vars(options).items() if name in inspect.signature(module.data).parameters}
    try:
        with shown_progress() as progress:
            data = module.data(**asked, progress=progress)
    except (TargetError, ValueError, OSError) as error:
        return failed(error)
    caption = module.caption(data)
    if error_text := replace_file(plots.rendered(module, data, output.suffix[1:], caption), output):
        return failed(error_text)
    print(f"{caption}\n{output}")
    return CONFORMS
