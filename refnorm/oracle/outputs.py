"""Judge what a program in another language wrote beside exported inputs: the same trial, with files for functions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from refnorm import conventions
from refnorm.conventions import Convention
from refnorm.golden import export
from refnorm.golden.cases import Case
from refnorm.golden.cases import case as case_of
from refnorm.golden.generate import WIDE
from refnorm.golden.second_order import SECOND_ORDER
from refnorm.oracle.diagnose import Finding
from refnorm.oracle.folder import PROGRAM, exported, present, program
from refnorm.oracle.judge import Observation
from refnorm.oracle.observe import judged
from refnorm.oracle.reading import ABSENT, MISSING, UNREADABLE, Written, names, printable, read
from refnorm.oracle.report import Cell, Report
from refnorm.oracle.trial import GOLDEN, reproduce, verdict

WRITES = {  # what each operation writes: name -> quantity
    "train": {"y": "y, training", "running_mean": "running mean", "running_var": "running variance"},
    "backward": {"dx": "dx", "dgamma": "dgamma", "dbeta": "dbeta"},
    "infer": {"y": "y, inference"},
    "frozen": {"y": "frozen y", "dx": "frozen dx", "dgamma": "frozen dgamma", "dbeta": "frozen dbeta"},
    "jvp": {"jvp": "jvp"},
    "double_backward": {q.replace(" ", "_"): q for q in SECOND_ORDER["double_backward"]},
}
OPERATIONS = {"training": ("train", "backward"), "inference": ("infer", "frozen")}
FORWARD = {"training": "train", "inference": "frozen"}  # what second order belongs to
ASKED = "A program that does not offer an operation says so in outputs/program.json; all else that is asked for counts."
CAUSES = {
    MISSING: ("output-missing", ASKED),
    ABSENT: ("output-missing", ASKED),
    UNREADABLE: ("output-unreadable", "Nothing can be compared; the notes say which file, and why."),
}
NUMBERS = r"\d+(, ?\d+)*"
SHOWN = 8  # particulars that a report shows


class ProgramError(Exception):
    """The program says that its implementation refused a case."""


class Judgement(Report):
    """A report on files; its snippets read them again."""

    def snippet(self, case: str, quantity: str, path: str) -> str:
        """Return a line to paste that shows one finding again."""
        if quantity == "outputs":
            return f"refnorm judge {self.target}"
        arguments = f"{self.target!r}, {case!r}, {quantity!r}, {self.convention!r}"
        return f'python -c "from refnorm.oracle.outputs import show; show({arguments})"'


def judge(
    directory: str | Path, convention: str | None = None, *, progress: Callable[[int, int, str], None] | None = None
) -> Report:
    """Judge the outputs in a directory that `refnorm golden export` made.

    Parameters
    ----------
    directory : with export.json, inputs/ and outputs/.
    convention : the row to judge by; by default the one that outputs/program.json names, or "torch".
    progress : called with the number of the case, their count and the case's id.

    Raises
    ------
    refnorm.oracle.implementation.TargetError
        If the directory is no export, or one of another golden set.
    ValueError
        If there is no such convention.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     count = export.export(directory, dtypes=["float32"])
    ...     report = judge(directory)
    >>> report.conforms, report.findings[0].title
    (False, 'the output file is missing')
    """
    import refnorm

    start = time.perf_counter()
    root = Path(directory)
    dtypes, cases = exported(root)
    files = present(root / export.OUTPUTS)
    who = program(root / export.OUTPUTS, files)
    row = conventions.convention(convention or who.convention)
    chosen = [c for c in cases if c.x.ndim in row.ranks and _own(c, who.operations)]
    observations: list[Observation] = []
    surplus = sorted(map(printable, files - {PROGRAM} - _allowed(cases, who.operations)))
    particulars: list[str] = []
    judged_cases = 0
    for number, case in enumerate(chosen, start=1):
        if progress is not None:
            progress(number, len(chosen), case.id)
        written = read_case(root, case, files, who.operations)
        observations += judged_case(case, written, row, who.operations)
        surplus += written.surplus
        particulars += written.particulars
        judged_cases += bool(written.arrays or written.raises)
    path = verdict("", _functions(Written(), who.operations), _alike(observations), row, judged_cases)
    findings = (*_surplus(surplus), *map(_named, path.findings))
    cells = (*path.cells, *(Cell("outputs", dtypes[0], "WRONG", 0.0, len(surplus)) for _ in surplus[:1]))
    versions = {"refnorm": refnorm.__version__, "golden": GOLDEN}
    versions |= {"target": " ".join(filter(None, (who.name, who.version))), "array": "files"}
    paths = (replace(path, findings=findings, cells=cells),)
    seconds = round(time.perf_counter() - start, 3)
    return Judgement(str(directory), row.name, paths, versions, dtypes, seconds, _notes(particulars))


def show(directory: str, case: str, quantity: str, convention: str) -> None:
    """Print one quantity of one case as a finding names it: expected, got, error and bound, or why there is none."""
    root, chosen = Path(directory), case_of(case)
    files = present(root / export.OUTPUTS)
    operations = program(root / export.OUTPUTS, files).operations
    written = read_case(root, chosen, files, operations)
    for line in (*written.particulars, *(f"{name}: {defect}" for name, defect in written.defects.items())):
        print(line)
    reproduce(_functions(written, operations, chosen), case, quantity, convention=convention)


def _allowed(cases: list[Case], operations: Sequence[str]) -> set[str]:
    """Return the names that outputs may have, those included that a convention's ranks leave out."""
    return {name for c in cases if _own(c, operations) for name in names(c.id, _writes(c, operations))}


def _own(case: Case, operations: Sequence[str]) -> list[str]:
    """Return those of the operations that a case is for."""
    further = SECOND_ORDER if FORWARD[case.operation] in operations else ()
    return [o for o in (*OPERATIONS[case.operation], *further) if o in operations]


def _writes(case: Case, operations: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return what a program that offers these operations may write for a case: name -> (format, number of values)."""
    own = {name for operation in _own(case, operations) for name in WRITES[operation]}
    wide, narrow = (case.kind, case.x.size), (case.parameters, case.running_mean.size)
    return {name: wide if name.split("_")[-1] in (*WIDE, "jvp") else narrow for name in sorted(own)}


def read_case(root: Path, case: Case, present: set[str], operations: Sequence[str]) -> Written:
    """Read what was written for one case; what the program says was refused is not missing."""
    wanted = _writes(case, operations)
    written = read(root / export.OUTPUTS, case.id, present, wanted, set(wanted) - set(export.outputs(case)))
    unknown = sorted(set(written.raises) - {"", *operations})
    written.surplus += [f"raises of {printable(name)} in {case.id}.json" for name in unknown]
    answered = [o for o in operations if not {"", o} & set(written.raises)]  # what is refused need not be written
    due = _writes(case, answered)
    written.defects = {name: defect for name, defect in written.defects.items() if name in due}
    return written


def judged_case(case: Case, written: Written, row: Convention, operations: Sequence[str]) -> list[Observation]:
    """Judge one case: what could not be read is noted, everything else is compared as what a function returns."""
    bad: dict[str, str] = {}
    for operation in _own(case, operations):
        frozen = "frozen " if operation in SECOND_ORDER and case.operation == "inference" else ""
        for name, quantity in WRITES[operation].items():
            if name in written.defects:
                bad[frozen + quantity] = written.defects[name]
    noted = [Observation(quantity, case, trouble=defect) for quantity, defect in bad.items()]
    if bad and (case.count < 2 or not written.arrays):
        return noted
    seen = judged(_functions(written, operations, case), row, case)
    return noted + [o for o in seen if o.quantity not in bad and o.about not in bad]


def _alike(observations: list[Observation]) -> list[Observation]:
    """Give messages of a program that differ in their numbers only one text, so that they are one finding."""
    texts: dict[str, set[str]] = {}
    raised = [o.trouble for o in observations if f" raised {ProgramError.__name__}: " in o.trouble]
    for text in raised:
        texts.setdefault(re.sub(NUMBERS, "N", text), set()).add(text)
    common = {text: pattern for pattern, alike in texts.items() for text in alike if len(alike) > 1}
    return [replace(o, trouble=common.get(o.trouble, o.trouble)) for o in observations]


def _functions(written: Written, operations: Sequence[str], case: Case | None = None) -> Any:
    """Return an implementation whose functions give back what was written, whatever their arguments."""

    def given(operation: str, *outputs: str) -> tuple[Any, ...]:
        for name in ("", operation):
            if name in written.raises:
                raise ProgramError(written.raises[name])
        return tuple(written.arrays.get(name) for name in outputs)

    of = "backward" if case is None or case.operation == "training" else "frozen"  # there is one backward for both
    functions: dict[str, Callable[..., Any]] = {
        "train": lambda *_: (*given("train", "y", "running_mean", "running_var"), None),
        "backward": lambda *_: given(of, "dx", "dgamma", "dbeta"),
        "infer": lambda *_: given("infer", "y")[0],
        "jvp": lambda *_: given("jvp", "jvp")[0],
        "double_backward": lambda *_: given("double_backward", *WRITES["double_backward"]),
        "frozen": lambda *_: (*given("" if "y" in written.arrays else "frozen", "y"), None),
    }
    offered = set(operations)
    if case is not None and case.operation == "inference" and "frozen" in offered:
        offered.add("backward")
    return SimpleNamespace(**{name: function for name, function in functions.items() if name in offered})


def _surplus(names: list[str]) -> list[Finding]:
    if not names:
        return []
    some = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    title = f"{len(names)} output{'s belong' if len(names) > 1 else ' belongs'} to nothing that was asked for: {some}"
    effect = "What was meant for another case, or misspelt, is judged nowhere. Names are in INSTRUCTIONS.md."
    return [Finding("wrong", "output-surplus", title, effect, ("outputs",), tuple(names[:SHOWN]), names[0], "outputs")]


def _named(finding: Finding) -> Finding:
    cause, effect = CAUSES.get(finding.title, (finding.cause, finding.effect))
    return replace(finding, cause=cause, effect=effect)


def _notes(particulars: list[str]) -> tuple[str, ...]:
    notes = [
        "read from files: memory layouts, changed arguments and repeatability are not judged",
        *particulars[:SHOWN],
    ]
    more = len(particulars) - SHOWN
    return (*notes, f"and {more} more files like these") if more > 0 else tuple(notes)
