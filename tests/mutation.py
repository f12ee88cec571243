"""Mutation testing of what computes and of what judges: every small mistake is caught.

cosmic-ray changes operators, numbers, comparisons, conditions, keywords and decorators of the files below, in a copy of
the repository, one at a time. A mutant of the reference is tried by `refnorm check refnorm`, and, if it conforms, by
the tests of these files: argument checks, messages, cumulative averages and the like are not for an oracle that sees
arrays alone. A mutant of what judges is tried by its own tests. What survives must be listed in `EQUIVALENT` with the
reason why nothing changes.

    pip install cosmic-ray==8.7.0
    python tests/mutation.py SESSION              # the reference: 40 minutes; exit status 1 if an unlisted one survives
    python tests/mutation.py SESSION NAME ...     # these files
    python tests/mutation.py --again SESSION      # try what survived an earlier run on what is committed now
    python tests/mutation.py --report SESSION     # the table of an earlier run

Not covered: mistakes of more than one place; `_layout`, `_channels`, `_blocks` (their tests have their own mutants).
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ("api", "messages", "statistics", "running", "batch_norm", "blocks", "gradients", "accuracy", "synchronised")
REFERENCE = ("batch_norm", "statistics", "running", "synchronised")
FILES = dict.fromkeys(REFERENCE, ("reference", TESTS)) | {  # name: wing, tests
    "judge": ("oracle", ("judge", "threshold", "judged", "oracle", "oracle_second_order", "export")),
    "behaviours": ("oracle", ("behaviours", "judged", "oracle", "mutants", "export")),
    "bounds": ("oracle", ("bounds", "threshold")),
    "second_bounds": ("oracle", ("bounds", "threshold", "oracle_second_order")),
    "lint": ("golden", ("lint",)),
    "number": ("exact", ("exact",)),
    "folding": ("reference", ("folding", "messages")),
    "population": ("reference", ("population",)),
}
BITS = ("BitAnd", "BitOr", "BitXor", "LShift", "RShift")  # no floats have these: every such mutant raises TypeError

# file, what stands there, what the mutant makes of it: why nothing changes
SAME_MODULE = "namespaces are modules: equal if they are the same"
TWO_OPERATIONS = 'there are two operations, and "inference" comes before "training"'
SAME_MEMBER = "members of an enumeration are equal if they are the same"
POISONS = 'of what is poisoned, "nan" and "inf" come before "nan-upstream"'
ANY_NEGATIVE = "any negative length stands for what is left"
NEAR = "if near(y.reshape(-1), beta) and near(mean, old * case.running_mean, new * case.x.reshape(-1)):"
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "running",
        """if namespace(batch, "the batch's statistics") is not xp:""",
        """if namespace(batch, "the batch's statistics") != xp:""",
    ): SAME_MODULE,
    (
        "statistics",
        'if namespace(self.mean, "mean") is not namespace(other.mean, "mean"):',
        'if namespace(self.mean, "mean") != namespace(other.mean, "mean"):',
    ): SAME_MODULE,
    (
        "running",
        "var = statistics.corrected(0 if single else 1)",
        "var = statistics.corrected( -1 if single else 1)",
    ): "the variance of a single value is 0, whatever multiplies it",
    (
        "running",
        "single = isinstance(statistics.count, int) and statistics.count == 1",
        "single = isinstance(statistics.count, int) and statistics.count <= 1",
    ): "there are no statistics of nothing; made by hand, they raise either way",
    (
        "judge",
        "return bool(np.all((error <= allowed) | np.isinf(allowed) | (ratio == 0)))",
        "return bool(np.all((error <= allowed) | np.isinf(allowed) | (ratio <= 0)))",
    ): "a ratio of an error and a bound is not negative",
    (
        "judge",
        'lenient = case.eps == 0 and case.operation == "training" and not row.zero_eps',
        'lenient = case.eps == 0 and case.operation >= "training" and not row.zero_eps',
    ): TWO_OPERATIONS,
    (
        "judge",
        'return Observation("shapes and dtypes" if trouble.kind is Kind.DTYPE else quantity, case, trouble=trouble)',
        'return Observation("shapes and dtypes" if trouble.kind == Kind.DTYPE else quantity, case, trouble=trouble)',
    ): SAME_MEMBER,
    (
        "judge",
        "tiers = () if within(PAIRWISE) else tuple(tier.name for tier in TIERS[2:] if within(tier))",
        "tiers = () if within(PAIRWISE) else tuple(tier.name for tier in TIERS[ 1:] if within(tier))",
    ): "TIERS[1] is PAIRWISE, of which it was just found that it does not hold",
    (
        "behaviours",
        'return "raises" if answer.failed["train"].kind is Kind.RAISED else "other"',
        'return "raises" if answer.failed["train"].kind == Kind.RAISED else "other"',
    ): SAME_MEMBER,
    ("behaviours", "if case.count == 0:", "if case.count <= 0:"): "a count is not negative",
    (
        "behaviours",
        'if case.situation.content == "nan-upstream":  # on dy only gradients do, and no jvp',
        'if case.situation.content >= "nan-upstream":  # on dy only gradients do, and no jvp',
    ): POISONS,
    (
        "behaviours",
        'upstream = case.situation.content == "nan-upstream"',
        'upstream = case.situation.content >= "nan-upstream"',
    ): POISONS,
}
EQUIVALENT |= {
    ("behaviours", NEAR, NEAR.replace(f"{array}.reshape(-1)", f"{array}.reshape({minus_two})")): ANY_NEGATIVE
    for array in ("y", "case.x")
    for minus_two in ("~1", "- 2")
}


def trial() -> int:
    """Judge the mutant in the current folder: exit status 1 if it is caught; say by whom."""
    sys.path.insert(0, os.getcwd())
    changed_files = subprocess.run(["git", "diff", "--name-only"], capture_output=True, text=True, check=True).stdout
    (name,) = [Path(line).stem for line in changed_files.splitlines() if line.endswith(".py")]
    if name in REFERENCE and deviates():
        print("caught by check")
        return 1
    wing, own = FILES[name]
    tests = [f"tests/test_{test}.py" for test in own] + [f"refnorm/{wing}/{name}.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        print("caught by tests")
        return 1
    print("survived")
    return 0


def deviates() -> bool:
    """Whether `refnorm check refnorm` finds anything; it stops at the first that is wrong, to save time."""
    try:
        from refnorm.conventions import convention
        from refnorm.oracle.ask.target import load_target
        from refnorm.oracle.observe import observe, selected

        target = load_target("refnorm")
        for path in target.paths.values():
            for dtypes in (("float64",), ("float32", "float16")):
                row = convention(getattr(path, "convention", target.convention))
                if not all(o.passed for o in observe(path, row, selected(path, row, dtypes))):
                    return True
    except Exception as error:  # of a mutant that cannot even be imported
        print(type(error).__name__)
        return True
    return False


def configuration(folder: Path, names: Sequence[str]) -> str:
    """Return cosmic-ray's configuration."""
    modules = ", ".join(f'"refnorm/{FILES[name][0]}/{name}.py"' for name in names)
    return (
        f"[cosmic-ray]\nmodule-path = [{modules}]\ntimeout = 600.0\nexcluded-modules = []\n"
        f'test-command = "{sys.executable} {folder}/tests/mutation.py --trial"\n'
        '[cosmic-ray.distributor]\nname = "local"\n'
    )


def run(session: Path, names: Sequence[str]) -> None:
    """Mutate a copy of what is committed; the session keeps every outcome."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "refnorm"
        subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
        (folder / "mutation.toml").write_text(configuration(folder, names))
        environment = os.environ | {"PYTHONPATH": str(folder)}

        def cosmic_ray(*arguments: str | Path) -> None:
            subprocess.run(
                [sys.executable, "-m", "cosmic_ray.cli", *arguments], cwd=folder, env=environment, check=True
            )

        cosmic_ray("init", "mutation.toml", session)
        drop_bits(session)
        cosmic_ray("exec", "mutation.toml", session)


def again(session: Path) -> None:
    """Try each survivor of a session once more, on what is committed now, and keep the new outcome."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkResult

    with use_db(session, WorkDB.Mode.open) as database, tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "refnorm"
        subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
        survivors = [(id, r) for id, r in database.results if r.output.strip().endswith("survived")]
        for id, result in survivors:
            patch = result.diff if result.diff.endswith("\n") else result.diff + "\n"
            subprocess.run(["git", "apply", "--unidiff-zero", "-"], cwd=folder, input=patch, text=True, check=True)
            command = [sys.executable, folder / "tests" / "mutation.py", "--trial"]
            environment = os.environ | {"PYTHONPATH": str(folder)}
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            database.set_result(
                id, WorkResult(result.worker_outcome, output=done.stdout, test_outcome=None, diff=result.diff)
            )
            subprocess.run(["git", "checkout", "-q", "."], cwd=folder, check=True)


def drop_bits(session: Path) -> None:
    """Leave out bit operators: they raise on floats, and in type annotations, which are never evaluated, do nothing."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with use_db(session, WorkDB.Mode.open) as database:
        for item in list(database.pending_work_items):
            if any(bits in item.mutations[0].operator_name for bits in BITS):
                database.set_result(item.job_id, WorkResult(output="bits", worker_outcome=WorkerOutcome.SKIPPED))


def report(session: Path) -> int:
    """Print how many mutants of each file were caught, and by whom; every survivor, and whether it is listed."""
    from cosmic_ray.work_db import WorkDB, use_db

    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    unlisted = 0
    with use_db(session, WorkDB.Mode.open) as database:
        for item, result in database.completed_work_items:
            name = item.mutations[0].module_path.stem
            said = result.output.strip().splitlines()
            if result.worker_outcome == "skipped":
                continue
            outcome = said[-1] if said else str(result.test_outcome)
            counts[name, outcome] += 1
            if outcome == "survived":
                before, after = changed(result.diff)
                reason = EQUIVALENT.get((name, before, after), "")
                unlisted += not reason
                print(f"{name}: {before}  ->  {after}: {reason or 'NOT LISTED'}")
    for name in FILES:
        if told := ", ".join(f"{n} {outcome}" for (file, outcome), n in sorted(counts.items()) if file == name):
            print(f"{name:14}{told}")
    return int(unlisted > 0 or not counts)


def changed(diff: str) -> tuple[str, str]:
    """Return the line before and after, of a diff of one line."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    before = " ".join(line[1:].strip() for line in lines if line[0] == "-")
    return before, " ".join(line[1:].strip() for line in lines if line[0] == "+")


def main(arguments: list[str]) -> int:
    """Run; return the exit status."""
    if arguments == ["--trial"]:
        return trial()
    if arguments[:1] == ["--report"]:
        return report(Path(arguments[1]))
    if arguments[:1] == ["--again"]:
        again(Path(arguments[1]))
        return report(Path(arguments[1]))
    if not arguments or not set(arguments[1:]) <= set(FILES):
        sys.exit(f"usage: python tests/mutation.py SESSION [NAME ...]; names are {', '.join(FILES)}")
    session = Path(arguments[0]).resolve()
    if session.exists():
        sys.exit(f"{session} exists: --report {session} shows it; remove it to begin anew")
    run(session, arguments[1:] or REFERENCE)
    return report(session)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
