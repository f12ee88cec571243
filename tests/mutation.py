"""Mutation testing of what computes and of what judges: every small mistake is caught.

cosmic-ray changes operators, numbers, comparisons, conditions, keywords and decorators of the files below, in a copy of
the repository, one at a time. A mutant of the reference is tried by `refnorm check refnorm`, and, if it conforms, by
the tests of these files: argument checks, messages, cumulative averages and the like are not for an oracle that sees
arrays alone. A mutant of what judges is tried by the first file of its tests, and by the others if it survives. What
survives all must be listed in `tests/equivalent` with the reason why nothing changes.

    pip install cosmic-ray==8.7.0
    python tests/mutation.py SESSION              # the reference: 40 minutes; exit status 1 if an unlisted one survives
    python tests/mutation.py SESSION NAME ...     # these files, one or several; all: every file that is known here
    python tests/mutation.py --again SESSION      # try what survived an earlier run on what is committed now
    python tests/mutation.py --report SESSION     # the table of an earlier run

With `--places` one mutant is drawn of each operator, number, comparison ... that has several, a third of all; with
`--sample N` N of each file (`--seed`, 0 if not given). With `--first` they are tried by the first file of their tests
alone, and what survives these is tried by all with `--again`, or by the first once more with `--again --first`. A run
that was stopped goes on where it was with `--resume SESSION`.

Not covered: mistakes of more than one place; `_layout`, `_channels`, `_blocks` (their tests have their own mutants).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import math
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosmic_ray.work_item import WorkItem

ROOT = Path(__file__).parent.parent
TESTS = ("api", "messages", "statistics", "running", "batch_norm", "blocks", "gradients", "accuracy", "synchronised")
REFERENCE = ("batch_norm", "statistics", "running", "synchronised")
FILES = dict.fromkeys(REFERENCE, ("reference", TESTS)) | {  # name: wing, tests
    "judge": ("oracle", ("judge", "threshold", "judged", "oracle", "oracle_second_order", "export")),
    "behaviours": ("oracle", ("behaviours", "judged", "oracle", "mutants", "export")),
    "bounds": ("oracle", ("bounds_road", "bounds", "threshold")),
    "second_bounds": ("oracle", ("bounds_road", "bounds", "threshold", "oracle_second_order")),
    "lint": ("golden", ("lint_small", "lint")),
    "number": ("exact", ("number", "exact")),
    "affine": ("exact", ("affine", "nearest", "exact")),
    "nearest": ("exact", ("nearest", "exact")),
    "definition": ("exact", ("definition", "exact")),
    "series": ("exact", ("series", "second_order")),
    "conversion": ("conventions", ("conversion",)),
    "reading": ("oracle/ask", ("reading", "recorded", "export")),
    "folding": ("reference", ("folding", "messages")),
    "population": ("reference", ("population",)),
}
INSTRUMENT = {  # file of tests: files of oracle/measure that it tries first
    "fit": ("fit",),
    "naming": ("naming", "known", "known_maps", "known_updates"),
    "read_running": ("read_running",),
    "read_dx": ("read_dx",),
    "terms": ("terms", "counts", "region", "products", "formula", "second_terms"),
    "divisors": ("divisors",),
    "parts": ("parts",),
    "read_parts": ("read_parts",),
    "clipped": ("clipped", "activated"),
    "read_parameters": ("read_parameters",),
    "naming_gradients": ("naming_gradients",),
    "read_forward": ("read_forward",),
    "explain": ("explain", "known_gradients"),
    "read_second": ("read_second", "known_second"),
    "weights": ("weights", "measurement"),
    "numerics": ("numerics",),
    "probes": ("probes", "formulas"),
    "recorded": ("from_files",),
}
for first, files in INSTRUMENT.items():
    second = ("oracle_second_order", "second_programs") if first == "read_second" else ()
    tests = dict.fromkeys((first, *second, "terms", "explain", "identify", "formulas", "unseen_bugs", "mutants"))
    FILES |= dict.fromkeys(files, ("oracle/measure", tuple(tests)))
WAIT, CPU, MEMORY = 900.0, 300, 8 << 30  # seconds, seconds of the processor, and bytes that a trial may take
SLOWER = 5  # times as long as without a mutant its tests may take, and as many seconds more
BITS = ("BitAnd", "BitOr", "BitXor", "LShift", "RShift")  # no floats have these: every such mutant raises TypeError

SAME = ROOT / "tests" / "equivalent"
ANY_SIZE = re.compile(r"(?<=reshape\()(- 2|~1)(?=[,)])")
CACHES = re.compile(r"@(functools\.)?(lru_)?cache\b")  # a cache saves time; so does one of another size, or none


def equivalent(name: str) -> dict[tuple[str, str], str]:
    """Return why nothing changes, by line and mutant, as listed for a file."""
    listed = SAME / f"{name}.toml"
    groups = tomllib.loads(listed.read_text())["same"] if listed.exists() else []
    return {(group["line"], mutant): group["why"] for group in groups for mutant in group["mutants"]}


def reason(name: str, diff: str) -> str:
    """Return why a mutant changes nothing, if that is known."""
    before, after = changed(diff)
    if CACHES.match(before):
        return "a cache"
    if before == after.replace("strict=False", "strict=True"):
        return "all that a zip is given is as long, or it raises"
    if before == ANY_SIZE.sub("-1", after):
        return "NumPy works out the size in whose place any negative number is"
    return equivalent(name).get((before, after), "")


def tests_of(name: str, first: bool) -> list[str]:
    """Return the tests of a file, its own examples included; or the first file of them alone."""
    wing, own = FILES[name]
    tests = [*(f"tests/test_{test}.py" for test in own), f"refnorm/{wing}/{name}.py"]
    return tests[:1] if first else tests


class Quickest:
    """A plugin of pytest: tests in the order of their times."""

    def __init__(self, times: dict[str, float]) -> None:
        self.times = times

    def pytest_collection_modifyitems(self, items) -> None:
        """Sort by measured time; what was not measured comes first."""
        items.sort(key=lambda item: self.times.get(item.nodeid, 0.0))


class Timed:
    """A plugin of pytest that measures each test, and writes the times to a file."""

    def __init__(self, file: Path) -> None:
        self.file, self.times = file, collections.Counter[str]()

    def pytest_runtest_logreport(self, report) -> None:
        """Add what a phase of a test took."""
        self.times[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the times."""
        self.file.write_text(json.dumps(self.times))


def tested(folder: Path, tests: Sequence[str], *plugins: object) -> bool:
    """Run tests in the copy, until the first that fails; return whether all passed."""
    import pytest

    os.chdir(folder)
    options = ["--disable-plugin-autoload", "-p", "xdist.plugin", "-n", "0", "-p", "no:cacheprovider", "-q", "-x"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return pytest.main([*options, *tests], plugins=list(plugins)) == 0


def conforms(folder: Path) -> bool:
    """Whether `refnorm check refnorm` finds nothing; it stops at the first that is wrong, to save time."""
    from refnorm.conventions import convention
    from refnorm.oracle.ask.target import load_target
    from refnorm.oracle.observe import observe, selected

    os.chdir(folder)
    target = load_target("refnorm")
    for path in target.paths.values():
        for dtypes in (("float64",), ("float32", "float16")):
            row = convention(getattr(path, "convention", target.convention))
            if not all(o.passed for o in observe(path, row, selected(path, row, dtypes))):
                return False
    return True


def apart(folder: Path, judge: Callable[..., bool], *arguments: object, cpu: int = CPU) -> str:
    """Ask in a process of its own, which need not import NumPy and pytest again: passed, failed, or no end."""
    import flint  # noqa: F401
    import hypothesis
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import scipy.linalg  # noqa: F401
    import xdist.plugin  # noqa: F401

    if pid := os.fork():
        until, done = time.monotonic() + WAIT, (0, 0)
        try:
            while not done[0] and time.monotonic() < until:
                time.sleep(0.02)
                done = os.waitpid(pid, os.WNOHANG)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # it, and whatever it started
        status = done[1] if done[0] else os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU):
            return "no end"
        return "passed" if status == 0 else "failed"
    status = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        hidden = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(hidden, fd)
        os.environ |= {"PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
        sys.path[0] = str(folder)  # where this file was
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate)  # no smaller example
        hypothesis.settings.register_profile("mutation", phases=phases)
        hypothesis.settings.load_profile("mutation")
        status = int(not judge(folder, *arguments))
    finally:
        os._exit(status)


def trial(folder: Path, name: str, diff: str, times: dict[str, float], first: bool) -> str:
    """Judge the mutant of a file in the copy, by the first file of its tests or by all; say what came of it."""
    if name in REFERENCE and not first and (found := apart(folder, conforms)) != "passed":
        return "caught by check" if found == "failed" else found
    for alone in (True,) if first or reason(name, diff) else (True, False):
        tests = tests_of(name, alone)
        usual = sum(seconds for test, seconds in times.items() if test.split("::")[0] in tests)
        cpu = min(CPU, SLOWER + math.ceil(SLOWER * usual))
        if (found := apart(folder, tested, tests, Quickest(times), cpu=cpu)) != "passed":
            return "caught by tests" if found == "failed" else found
    return "survived"


@contextlib.contextmanager
def copy(names: Sequence[str], first: bool = False) -> Iterator[tuple[Path, dict[str, float]]]:
    """Make a copy of what is committed, in which the tests of files pass; give its folder, and how long each takes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "refnorm"
        subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
        measured = folder / "times.json"
        tests = list(dict.fromkeys(test for name in names for test in tests_of(name, first)))
        if apart(folder, tested, tests, Timed(measured), cpu=int(WAIT)) != "passed":
            sys.exit(f"without a mutant, one fails of {' '.join(tests)}")
        for name in names:  # a mutant as long as its original, made in the same second, must not be taken for it
            for compiled in (folder / "refnorm" / FILES[name][0] / "__pycache__").glob(f"{name}.*"):
                compiled.unlink()
        sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
        yield folder, json.loads(measured.read_text())


def run(session: Path, first: bool) -> None:
    """Try the mutants of a session of which no outcome is known, in a copy of what is committed."""
    from cosmic_ray.mutating import apply_mutation
    from cosmic_ray.plugins import get_operator
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with use_db(session, WorkDB.Mode.open) as database:
        if not (waiting := list(database.pending_work_items)):
            return
        with copy(sorted({item.mutations[0].module_path.stem for item in waiting}), first) as (folder, times):
            for item in waiting:
                (mutation,) = item.mutations
                operator = get_operator(mutation.operator_name)(**mutation.operator_args)
                file = folder / mutation.module_path
                original, _ = apply_mutation(file, operator, mutation.occurrence)
                shown = ["git", "diff", "-U0", "--no-color"]
                diff = subprocess.run(shown, cwd=folder, capture_output=True, text=True, check=True).stdout
                outcome = trial(folder, file.stem, diff, times, first) if diff else "no mutant"
                file.write_text(original)
                result = WorkResult(output=outcome, worker_outcome=WorkerOutcome.NORMAL, diff=diff)
                database.set_result(item.job_id, result)


def prepare(session: Path, names: Sequence[str], sample: int | None, places: bool, seed: int) -> None:
    """List all mutants of files in a new session, those of bit operators left out, and all but a sample if so wished.

    Of a sample of ``places`` there is one mutant of each node of a file, by each kind of operator.

    Bit operators raise on floats, and in type annotations, which are never evaluated, do nothing.
    """
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with contextlib.chdir(ROOT), use_db(session, WorkDB.Mode.create) as database:
        init([Path(f"refnorm/{FILES[name][0]}/{name}.py") for name in names], database, {})
        found: dict[Path, list[WorkItem]] = collections.defaultdict(list)
        for item in list(database.pending_work_items):
            (mutation,) = item.mutations
            if any(bits in mutation.operator_name for bits in BITS):
                database.set_result(item.job_id, WorkResult(output="bits", worker_outcome=WorkerOutcome.SKIPPED))
            else:
                found[mutation.module_path].append(item)
        for items in found.values():
            items.sort(key=_told)  # they come in the order of random names
            drawn = random.Random(seed).sample(items, len(items))
            if places:
                drawn = list({_place(item): item for item in drawn}.values())
            for job in {item.job_id for item in items} - {item.job_id for item in drawn[:sample]}:
                database.set_result(job, WorkResult(output="not drawn", worker_outcome=WorkerOutcome.SKIPPED))


def _told(item: WorkItem) -> tuple[object, ...]:
    """Return what tells a mutant from all others of its file, in an order that is always the same."""
    (mutation,) = item.mutations
    return mutation.start_pos, mutation.operator_name, sorted(mutation.operator_args.items()), mutation.occurrence


def _place(item: WorkItem) -> tuple[object, str]:
    """Return where a mutant is, and the kind of its operator, such as all that put another number for a number."""
    (mutation,) = item.mutations
    return mutation.start_pos, mutation.operator_name.split("_")[0]


def again(session: Path, first: bool) -> None:
    """Try each survivor of a session once more, by the tests of what is committed now, and keep the new outcome."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkResult

    with use_db(session, WorkDB.Mode.open) as database:
        survivors = []
        for item, result in list(database.completed_work_items):
            name = item.mutations[0].module_path.stem
            if result.output.strip().endswith("survived") and not reason(name, result.diff):
                survivors.append((item.job_id, name, result))
        if not survivors:
            return
        with copy(sorted({name for _, name, _ in survivors}), first) as (folder, times):
            for job, name, result in survivors:
                applied = subprocess.run(
                    ["git", "apply", "--unidiff-zero", "-"], cwd=folder, input=result.diff, text=True, check=False
                )
                outcome = "no longer there" if applied.returncode else trial(folder, name, result.diff, times, first)
                database.set_result(
                    job, WorkResult(output=outcome, worker_outcome=result.worker_outcome, diff=result.diff)
                )
                subprocess.run(["git", "checkout", "-q", "."], cwd=folder, check=True)


def report(session: Path) -> int:
    """Print how many mutants of each file were caught, and by whom; every survivor, and whether it is listed."""
    from cosmic_ray.work_db import WorkDB, use_db

    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    unlisted = 0
    with use_db(session, WorkDB.Mode.open) as database:
        waiting = len(list(database.pending_work_items))
        for item, result in database.completed_work_items:
            name = item.mutations[0].module_path.stem
            said = result.output.strip().splitlines()
            if result.worker_outcome == "skipped":
                continue
            outcome = said[-1] if said else str(result.test_outcome)
            counts[name, outcome] += 1
            if outcome == "survived":
                why = reason(name, result.diff)
                unlisted += not why
                print(f"{name}: {'  ->  '.join(changed(result.diff))}: {why or 'NOT LISTED'}")
    for name in FILES:
        if told := ", ".join(f"{n} {outcome}" for (file, outcome), n in sorted(counts.items()) if file == name):
            print(f"{name:14}{told}")
    if waiting:
        print(f"{waiting} have not been tried: --resume {session}")
    return int(unlisted > 0 or waiting > 0 or not counts)


def changed(diff: str) -> tuple[str, str]:
    """Return the line before and after, of a diff of one line (a decorator takes empty lines with it)."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    before, after = (" ".join(line[1:].strip() for line in lines if line[0] == sign).strip() for sign in "-+")
    return before, after


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("session", type=Path, help="a file that keeps every outcome")
    parser.add_argument("names", nargs="*", choices=[*FILES, "all", []], metavar="NAME", help=", ".join(FILES))
    parser.add_argument("--sample", type=int, metavar="N", help="mutants of each file")
    parser.add_argument("--seed", type=int, default=0)
    for verb in ("places", "first", "again", "report", "resume"):
        parser.add_argument(f"--{verb}", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    session = options.session.resolve()
    if options.again:
        again(session, options.first)
    elif not options.report:
        if session.exists() != options.resume:
            state = "exists: --report or --resume it, or remove it" if session.exists() else "is not there"
            sys.exit(f"{session} {state}")
        names = [*FILES] if "all" in options.names else options.names or REFERENCE
        if not options.resume:
            prepare(session, names, options.sample, options.places, options.seed)
        run(session, options.first)
    return report(session)


if __name__ == "__main__":
    sys.exit(main())
