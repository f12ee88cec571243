"""Judge what a program in another language wrote beside exported inputs: the same trial, with files for functions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from refnorm.conventions.row import Convention
from refnorm.conventions.rows import convention as row_called
from refnorm.golden import export
from refnorm.golden.contents import SET
from refnorm.golden.inputs import Case
from refnorm.golden.inputs import case as case_of
from refnorm.oracle.ask.answers import Kind
from refnorm.oracle.ask.folder import PROGRAM, exported, present, program
from refnorm.oracle.ask.reading import Written, printable
from refnorm.oracle.ask.recorded import answer_of, due, files_of, read_case
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.finding import Finding
from refnorm.oracle.judge import Observation
from refnorm.oracle.observe import judged
from refnorm.oracle.report import Cell, Report
from refnorm.oracle.trial import show_observations
from refnorm.oracle.verdict import path_verdict

NUMBERS = r"\d+(, ?\d+)*"
SHOWN = 8  # particulars that a report shows


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
    refnorm.oracle.ask.target.TargetError
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
    row = row_called(convention or who.convention)
    chosen = [c for c in cases if c.x.ndim in row.ranks and due(c, who.operations)]
    if not chosen:
        raise TargetError(f"{root} could not be judged: no case has a rank that {row.name} accepts")
    observations: list[Observation] = []
    allowed = {name for c in cases if due(c, who.operations) for name in files_of(c, who.operations)}
    surplus = sorted(map(printable, files - {PROGRAM} - allowed))
    particulars: list[str] = []
    judged_cases = 0
    for number, case in enumerate(chosen, start=1):
        if progress is not None:
            progress(number, len(chosen), case.id)
        written = read_case(root, case, files, who.operations)
        observations += _judged_case(case, written, row, who.operations)
        surplus += written.surplus
        particulars += written.particulars
        judged_cases += bool(written.arrays or written.raises)
    path = path_verdict("", who.operations, _alike(observations), row, judged_cases)
    findings = (*_surplus(surplus), *path.findings)
    cells = (*path.cells, *(Cell("outputs", dtypes[0], "WRONG", 0.0, len(surplus)) for _ in surplus[:1]))
    versions = {"refnorm": refnorm.__version__, "golden": SET}
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
    for line in (*written.particulars, *(f"{name}: {defect.text}" for name, defect in written.defects.items())):
        print(line)
    row = row_called(convention)
    show_observations(chosen, quantity, row, _judged_case(chosen, written, row, operations))


def _judged_case(case: Case, written: Written, row: Convention, operations: Sequence[str]) -> list[Observation]:
    """Judge one case: what could not be read is noted, everything else is judged as what a function returns."""
    answer, defects = answer_of(case, written, operations)
    noted = [Observation(quantity, case, trouble=trouble) for quantity, trouble in defects.items()]
    return noted if defects and (case.undefined or not written.arrays) else [*noted, *judged(case, row, answer)]


def _alike(observations: list[Observation]) -> list[Observation]:
    """Give messages of a program that differ in their numbers only one text, so that they are one finding."""
    texts: dict[str, set[str]] = {}
    for o in observations:
        if o.trouble is not None and o.trouble.kind is Kind.RAISED:
            texts.setdefault(re.sub(NUMBERS, "N", o.trouble.text), set()).add(o.trouble.text)
    common = {text: pattern for pattern, same in texts.items() for text in same if len(same) > 1}
    return [
        replace(o, trouble=replace(o.trouble, text=common.get(o.trouble.text, o.trouble.text))) if o.trouble else o
        for o in observations
    ]


def _surplus(names: list[str]) -> list[Finding]:
    if not names:
        return []
    some = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    title = f"{len(names)} output{'s belong' if len(names) > 1 else ' belongs'} to nothing that was asked for: {some}"
    effect = "What was meant for another case, or misspelt, is judged nowhere. Names are in INSTRUCTIONS.md."
    return [Finding("wrong", "output-surplus", title, effect, ("outputs",), tuple(names[:SHOWN]), names[0], "outputs")]


def _notes(particulars: list[str]) -> tuple[str, ...]:
    notes = [
        "read from files: memory layouts, changed arguments and repeatability are not judged",
        *particulars[:SHOWN],
    ]
    more = len(particulars) - SHOWN
    return (*notes, f"and {more} more files like these") if more > 0 else tuple(notes)
