"""The command line: `refnorm check`, `identify`, `gradcheck`, `judge`, `conventions`, `matrix`, `golden`, `plot`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import refnorm
from refnorm import commands
from refnorm.conventions import ROWS
from refnorm.plots import PLOTS

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
GRADCHECK = """\
Compare gradients with numerical derivatives of their own forward, element by element.

TARGET is a framework, a file path/to/my_bn.py, or package.module:object, as for `refnorm check`; or any module with
forward(*inputs) -> y, cache, backward(dy, cache) -> one gradient per input, and inputs, a tuple of arrays or a function
of a numpy.random.Generator. Checking a file runs it, in a process of its own.

example:
  refnorm gradcheck my_homework.py

exit status: 0 right, 1 wrong, 2 cannot tell, or could not be run
"""
IDENTIFY = """\
Measure which convention an implementation follows: weights, variance, eps, axes, what happens without enough values.

TARGET is as for `refnorm check`, or a folder as for `refnorm judge`. Each number is measured from outputs alone; the
nearest row of the table is named.

example:
  refnorm identify my_bn.py
  refnorm identify torch --format json

exit status: 0 as declared (or, for a file, as some row says), 1 different, 2 could not be measured
"""
MATRIX = """\
Measure every framework, each in a virtual environment made from its pinned requirements, and write the table.

A framework that cannot be installed, crashes, or gives no answer keeps its row, which says so. The results are one
JSON file per framework, matrix.md and matrix.html, written as they come. Environments take about 12 GB and are kept for
the next run; uv makes them faster, where it is installed. Caffe is compiled from its sources: that needs g++, protoc
and the development packages of protobuf, glog, gflags, Boost, OpenBLAS and HDF5.

example:
  refnorm matrix
  refnorm matrix torch flax --check

exit status: 0 written (with --check: nothing changed), 1 changed, 2 could not be run
"""
JUDGE = """\
Judge the outputs that a program in any language wrote beside exported inputs.

DIR is what `refnorm golden export DIR` made; its INSTRUCTIONS.md says what to compute and how to write it. Nothing in
DIR is run. Outputs that are missing, surplus, truncated, of the wrong shape or format, or NaN are findings.

example:
  refnorm golden export bn-cases --dtypes float32
  my_program bn-cases
  refnorm judge bn-cases --convention keras

exit status: 0 conforms, 1 deviates, 2 could not be judged
"""
EXPORT = """\
Write the golden cases' inputs, and a page of instructions, for a program in any language.

DIR is new, empty, or an earlier export, whose outputs stay. --format onnx writes backend node tests with their exact
outputs instead: model.onnx and test_data_set_0/ for each case.

example:
  refnorm golden export bn-cases --format safetensors --dtypes float32 float16

exit status: 0 written, 2 not
"""
LINT = """\
Prove that a golden set is whole: schema, canonical form, ids, flags, counts, digests, numbers of their formats.

example:
  refnorm golden lint

exit status: 0 whole, 1 not, 2 nothing to look at
"""
TABLE = """\
Show what each framework means by batch normalization: the table, one row, or what changes from A to B.

example:
  refnorm conventions
  refnorm conventions torch
  refnorm conventions torch onnx
"""
PLOT = """\
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="refnorm", description="The golden reference of batch normalization.")
    parser.add_argument("--version", action="version", version=f"refnorm {refnorm.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    raw = argparse.RawDescriptionHelpFormatter

    check = subparsers.add_parser("check", help="judge an implementation", description=CHECK, formatter_class=raw)
    check.add_argument("target", metavar="TARGET")
    _add_dtypes(check)
    check.add_argument(
        "--array", default="numpy", metavar="LIBRARY", help="array library, for the target refnorm (numpy)"
    )
    _add_report(check)
    check.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="limit for import, and for each case (60)"
    )
    check.set_defaults(run=commands.check)

    gradients = subparsers.add_parser(
        "gradcheck", help="check gradients numerically", description=GRADCHECK, formatter_class=raw
    )
    gradients.add_argument("target", metavar="TARGET")
    gradients.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (0)")
    gradients.add_argument("--format", choices=["text", "json"], default="text")
    gradients.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to standard output")
    gradients.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="limit for import, and for each pair (60)"
    )
    gradients.set_defaults(run=commands.gradcheck)

    identify = subparsers.add_parser("identify", help="measure a convention", description=IDENTIFY, formatter_class=raw)
    identify.add_argument("target", metavar="TARGET")
    identify.add_argument("--format", choices=["text", "json"], default="text")
    identify.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to standard output")
    identify.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="limit for import, and for each probe (60)"
    )
    identify.set_defaults(run=commands.identify)

    matrix = subparsers.add_parser("matrix", help="every framework", description=MATRIX, formatter_class=raw)
    matrix.add_argument("names", nargs="*", metavar="NAME", help="frameworks (all)")
    matrix.add_argument("--check", action="store_true", help="say what changed since the results in --output")
    matrix.add_argument("--output", type=Path, default=Path("figures/matrix"), metavar="DIR", help="(figures/matrix)")
    matrix.add_argument(
        "--environments", type=Path, default=Path("build/environments"), metavar="DIR", help="(build/environments)"
    )
    matrix.add_argument("--jobs", type=int, default=2, metavar="N", help="frameworks at once (2)")
    matrix.set_defaults(run=commands.matrix)

    judge = subparsers.add_parser("judge", help="judge written outputs", description=JUDGE, formatter_class=raw)
    judge.add_argument("directory", type=Path, metavar="DIR")
    _add_report(judge)
    judge.set_defaults(run=commands.judge)

    golden = subparsers.add_parser("golden", help="export the golden cases, check the set")
    actions = golden.add_subparsers(metavar="ACTION", required=True)
    export = actions.add_parser("export", help="write inputs to compute on", description=EXPORT, formatter_class=raw)
    export.add_argument("directory", type=Path, metavar="DIR")
    export.add_argument("--format", choices=["json", "npz", "safetensors", "onnx"], default="json")
    _add_dtypes(export)
    export.set_defaults(run=commands.export)
    lint = actions.add_parser("lint", help="prove that the set is whole", description=LINT, formatter_class=raw)
    lint.add_argument("directory", type=Path, nargs="?", metavar="DIR", help="a set's folder (the installed set)")
    lint.set_defaults(run=commands.lint)

    table = subparsers.add_parser("conventions", help="what frameworks mean", description=TABLE, formatter_class=raw)
    table.add_argument("names", nargs="*", metavar="NAME")
    table.set_defaults(run=commands.conventions)

    _add_plots(subparsers.add_parser("plot", help="draw your own numbers", description=PLOT, formatter_class=raw))

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
        return commands.NOT_JUDGED
    return status


def _add_plots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="say what plots there are")
    parser.set_defaults(run=commands.plot)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", type=Path, metavar="FILE", help="picture to write (NAME.svg); replaced if there")
    names = parser.add_subparsers(metavar="NAME", dest="plot")
    usual = ["float64", "float32", "float16", "bfloat16"]

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
        "--dtype", choices=usual, default="float32", metavar="DTYPE", help="format of x (float32)"
    )
    conformance = _add_plot(names, "conformance", common)
    conformance.add_argument("target", metavar="TARGET", help="as for refnorm check, or its JSON report")
    conformance.add_argument("--convention", choices=list(ROWS), metavar="NAME", help="row to judge by")
    _add_dtypes(conformance)
    for simulated in (small, lag):
        simulated.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (0)")
    for tried in (conditioning, conformance):
        tried.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="limit for each step (60)")


def _add_plot(names: Any, name: str, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    what = PLOTS[name]
    parser: argparse.ArgumentParser = names.add_parser(name, parents=[common], help=what, description=what)
    return parser


def _add_dtypes(parser: argparse.ArgumentParser) -> None:
    usual = ["float64", "float32", "float16"]
    choices = [*usual, "bfloat16"]
    help = f"formats of x ({' '.join(usual)})"
    parser.add_argument("--dtypes", nargs="+", default=usual, metavar="DTYPE", choices=choices, help=help)


def _add_report(parser: argparse.ArgumentParser) -> None:
    rows = list(ROWS)
    parser.add_argument("--convention", choices=rows, metavar="NAME", help=f"row to judge by: {', '.join(rows)}")
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="JSON report whose findings are known and accepted"
    )
    parser.add_argument("--format", choices=["text", "json", "markdown", "junit"], default="text")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the report there instead of to standard output"
    )


if __name__ == "__main__":
    sys.exit(main())
