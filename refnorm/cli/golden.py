"""refnorm golden: export the golden cases, or prove that a set is whole."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from refnorm.cli.common import CONFORMS, DEVIATES, USUAL, Subparsers, add_command, add_dtypes, failed, shown_progress
from refnorm.cli.output import say, visible

EXPORT = """\
Write the golden cases' inputs, and a page of instructions, for a program in any language.

DIR is new, empty, or an earlier export, whose outputs stay. --format onnx writes backend node tests with their exact
outputs instead: model.onnx and test_data_set_0/ for each case; --format stablehlo writes programs, as text, that
return what they compute and after it what is exact; --format webnn writes a file of web-platform-tests, and
--format hipdnn bundles of a graph and its tensors.

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


def add(subparsers: Subparsers) -> None:
    """Add the command, with its two actions."""
    golden = subparsers.add_parser("golden", help="export the golden cases, check the set")
    actions = golden.add_subparsers(metavar="ACTION", required=True)
    parser = add_command(actions, "export", "write inputs to compute on", EXPORT)
    parser.add_argument("directory", type=Path, metavar="DIR")
    forms = ["json", "npz", "safetensors", "onnx", "stablehlo", "webnn", "hipdnn"]
    parser.add_argument("--format", choices=forms, default="json")
    add_dtypes(parser)
    parser.set_defaults(run=run_export)
    parser = add_command(actions, "lint", "prove that the set is whole", LINT)
    parser.add_argument("directory", type=Path, nargs="?", metavar="DIR", help="a set's folder (the installed set)")
    parser.set_defaults(run=run_lint)


def run_export(options: argparse.Namespace) -> int:
    """Write the cases for programs in other languages."""
    from refnorm.golden.export import PAGE, export

    try:
        with shown_progress() as progress:
            count = export(options.directory, options.format, dtypes=options.dtypes or USUAL, progress=progress)
    except ImportError as error:
        return failed(f"--format {options.format} needs a package that is missing: {error}; pip install onnx")
    except (ValueError, OSError) as error:
        return failed(error)
    print(f"{count} cases in {options.directory}; {options.directory / PAGE} says what to do with them")
    return CONFORMS


def run_lint(options: argparse.Namespace) -> int:
    """Prove that a golden set is whole."""
    from refnorm.golden.contents import DATA
    from refnorm.golden.lint import lint

    directory = options.directory or DATA
    if not directory.is_dir():
        return failed(f"there is no directory {directory}")
    problems = lint(directory)
    print("\n".join(map(visible, problems)) or f"{directory}: whole")
    if not find_spec("jsonschema"):
        say("the schema was not checked, because jsonschema is missing; pip install jsonschema")
    return DEVIATES if problems else CONFORMS
