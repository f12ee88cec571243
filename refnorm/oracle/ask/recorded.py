"""An answer as a foreign program wrote it: which outputs a case has, by what names, and what was found of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refnorm.golden import export
from refnorm.golden.contents import WIDE
from refnorm.golden.directions import SECOND_ORDER
from refnorm.golden.inputs import Case
from refnorm.oracle.ask.answers import Answer, Kind, Trouble
from refnorm.oracle.ask.reading import Written, names, printable, read_outputs

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


def due(case: Case, operations: Sequence[str]) -> list[str]:
    """Return those of the operations that a case is for."""
    further = SECOND_ORDER if FORWARD[case.operation] in operations else ()
    return [o for o in (*OPERATIONS[case.operation], *further) if o in operations]


def files_of(case: Case, operations: Sequence[str]) -> list[str]:
    """Return the names that files with a case's outputs may have."""
    return names(case.id, _outputs(case, operations))


def _outputs(case: Case, operations: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return what a program that offers these operations may write for a case: name -> (format, number of values)."""
    written = {name for operation in due(case, operations) for name in WRITES[operation]}
    wide, narrow = (case.kind, case.x.size), (case.parameters, case.running_mean.size)
    return {name: wide if name.split("_")[-1] in (*WIDE, "jvp") else narrow for name in sorted(written)}


def read_case(root: Path, case: Case, present: set[str], operations: Sequence[str]) -> Written:
    """Read what was written for one case; what the program says was refused is not missing."""
    wanted = _outputs(case, operations)
    written = read_outputs(root / export.OUTPUTS, case.id, present, wanted, set(wanted) - set(export.outputs(case)))
    unknown = sorted(set(written.raises) - {"", *operations})
    written.surplus += [f"raises of {printable(name)} in {case.id}.json" for name in unknown]
    answered = [o for o in operations if not {"", o} & set(written.raises)]  # what is refused need not be written
    still_due = _outputs(case, answered)
    written.defects = {name: defect for name, defect in written.defects.items() if name in still_due}
    return written


def answer_of(case: Case, written: Written, operations: Sequence[str]) -> tuple[Answer, dict[str, Trouble]]:
    """Return what was written as the answer of an implementation, and by quantity what could not be read."""
    answer, defects = Answer(), dict[str, Trouble]()
    for operation in due(case, operations):
        prefix = "frozen " if operation in SECOND_ORDER and case.operation == "inference" else ""
        quantities = {name: prefix + quantity for name, quantity in WRITES[operation].items()}
        defects |= {quantities[name]: trouble for name, trouble in written.defects.items() if name in quantities}
        if (message := written.raises.get("", written.raises.get(operation))) is not None:
            _refused(answer, operation, message, written)
            if {"train", "frozen"} & set(answer.failed):
                break
            continue
        own = {quantity: written.arrays.get(name) for name, quantity in quantities.items()}
        answer.results |= {quantity: array for quantity, array in own.items() if quantity not in defects}
    return answer, defects


def _refused(answer: Answer, operation: str, message: str, written: Written) -> None:
    """Note that the program says that its implementation refused an operation; of frozen ones perhaps the gradients."""
    function = operation
    if operation == "frozen" and "y" in written.arrays and "" not in written.raises:
        answer.results["frozen y"], function = written.arrays["y"], "backward"
    answer.failed[function] = Trouble(Kind.RAISED, f"{function} raised ProgramError: {message}")
