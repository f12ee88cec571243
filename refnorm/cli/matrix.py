"""refnorm matrix: measure every framework, each in its own environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from refnorm.cli.common import CONFORMS, DEVIATES, Subparsers, add_command, failed, shown_progress

DESCRIPTION = """\
Measure every framework, each in a virtual environment made from its pinned requirements, and write the table.

A framework that cannot be installed, crashes, or gives no answer keeps its row, which says so. The results are one
JSON file per framework, matrix.md and matrix.html, written as they come; history.jsonl keeps what each run changed.
What is on a GPU (torch-cuda, xla-cuda, haiku-cuda) is measured where it is named, by what is installed there.
At the end the seconds that each took are printed. --update NAME looks for the newest versions of what the framework
needs, pins them, measures all that share its environment, and says what changed; what fails then is not kept.
Environments take about 12 GB and are kept for the next run; uv makes them faster, where it is installed. Caffe is
compiled from its sources: that needs g++, protoc and the development packages of protobuf, glog, gflags, Boost,
OpenBLAS and HDF5; dlib, and what torch.compile makes, need g++. TensorFlow.js and ONNX Runtime Web need Node.js and
npm; nnabla and MegEngine need Python 3.10, which is looked for by uv, among what pyenv keeps, and on the path.

example:
  refnorm matrix
  refnorm matrix torch flax --check
  refnorm matrix --update tinygrad

exit status: 0 written (with --check or --update: nothing changed), 1 changed, 2 could not be run
"""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "matrix", "every framework", DESCRIPTION)
    parser.add_argument("names", nargs="*", metavar="NAME", help="frameworks (all, on the CPU)")
    parser.add_argument("--check", action="store_true", help="say what changed since the results in --output")
    parser.add_argument("--update", action="store_true", help="pin the newest versions, measure, say what changed")
    parser.add_argument("--output", type=Path, default=Path("figures/matrix"), metavar="DIR", help="(figures/matrix)")
    kept = Path("build/environments")
    parser.add_argument("--environments", type=Path, default=kept, metavar="DIR", help=f"({kept})")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="frameworks at once (2)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure every framework at hand, each in its own environment."""
    from refnorm.matrix import ENTRIES, changes, matrix, read, time_spent, write

    known = [entry.name for entry in ENTRIES]
    if unknown := [name for name in options.names if name not in known]:
        return failed(f"there is no framework {unknown[0]!r}; use some of {', '.join(known)}")
    chosen = [entry for entry in ENTRIES if entry.name in options.names or not (options.names or entry.device)]
    if options.update and (options.check or not options.names):
        return failed("--update needs the names of frameworks, and no --check: refnorm matrix --update tinygrad")
    if options.update:
        return _updated(options, dict.fromkeys(entry.requirements for entry in chosen))
    start = os.times().elapsed
    try:
        with shown_progress() as progress:
            keep = (lambda _: None) if options.check else (lambda results: write(results, options.output))
            results = matrix(chosen, options.environments, progress, options.jobs, keep)
        if options.check:
            lines = changes(read(options.output), results)
            print("\n".join(lines) or f"{len(results)} frameworks: as recorded in {options.output}")
            return DEVIATES if lines else CONFORMS
    except (OSError, ValueError) as error:
        return failed(error)
    errors = [f"{name}: {result['error']}" for name, result in results.items() if "error" in result]
    print("\n".join([*errors, f"{len(results)} frameworks in {options.output}; {len(errors)} could not be measured"]))
    print(time_spent(results))
    spent = os.times()
    print(f"{spent.elapsed - start:.0f} s, of processor time {spent.children_user + spent.children_system:.0f} s")
    return CONFORMS


def _updated(options: argparse.Namespace, requirements: Iterable[str]) -> int:
    """Pin the newest versions, measure what they are of, and say what changed; versions that fail are not kept."""
    from refnorm.matrix import ENTRIES, changes, matrix, read, time_spent, write
    from refnorm.matrix.update import moved, repin

    changed = False
    for name in requirements:
        sharing = [entry for entry in ENTRIES if entry.requirements == name]
        try:
            files = repin(name)
            if not files:
                print(f"{name}: the newest versions that fit together are those that are pinned")
                continue
            for path, text in files.items():
                print("\n".join(f"{path.name}: {line}" for line in moved(path, text)) or f"{path.name}: reordered")
            before = {path: path.read_text(encoding="utf-8") for path in files}
            for path, text in files.items():
                path.write_text(text, encoding="utf-8")
            with shown_progress() as progress:
                results = matrix(sharing, options.environments, progress, options.jobs)
            recorded = read(options.output)
            fresh = [n for n, r in results.items() if "error" in r and "error" not in recorded.get(n, {})]
            if fresh:
                for path, text in before.items():
                    path.write_text(text, encoding="utf-8")
                return failed(f"{fresh[0]}, newest versions: {results[fresh[0]]['error']}; the old pins were put back")
            lines = changes(recorded, results)
            write(results, options.output)
        except (OSError, ValueError) as error:
            return failed(f"{name}: {error}")
        changed = True
        print("\n".join(lines) or f"{', '.join(results)}: measured as recorded in {options.output}")
        print(time_spent(results))
    return DEVIATES if changed else CONFORMS
