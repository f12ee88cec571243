"""The cause of what has no numbers to compare: what was raised, of the wrong shape, written to, refused."""

from __future__ import annotations

import re
from collections.abc import Sequence

from refnorm.conventions.row import POLICIES, Convention
from refnorm.oracle.ask.answers import Kind, Trouble
from refnorm.oracle.circumstances import CIRCUMSTANCES
from refnorm.oracle.finding import Cause
from refnorm.oracle.judge import Observation

UNDEFINED = ("non-finite", "other")  # policies that are wrong, whatever a convention says
NO_COMPUTING = "Nothing can be computed with it."
CAUSES = {
    Kind.WRITTEN: ("argument-modified", "The caller's data change behind its back."),
    Kind.NON_FINITE: ("non-finite-handling", "NaN and inf must be seen where they arise, and nowhere else."),
    Kind.DISTURBED: ("not-repeatable", "State is kept between calls, or the result is random."),
    Kind.UNUSABLE: ("result-unusable", "Nothing can be compared."),
    Kind.MISSING: (
        "output-missing",
        "A program that does not offer an operation says so in outputs/program.json; all else that is asked for "
        "counts.",
    ),
    Kind.UNREADABLE: ("output-unreadable", "Nothing can be compared; the notes say which file, and why."),
}


def alike(trouble: Trouble) -> tuple[Kind, str]:
    """Return what makes troubles of one quantity one thing: the kind, and the text but for particulars and shapes."""
    return trouble.kind, "" if trouble.particular else re.sub(r"\(\d[\d, ]*\)", "()", trouble.text)


def cause_of_trouble(
    quantity: str, failed: Sequence[Observation], seen: Sequence[Observation], row: Convention
) -> Cause:
    """Explain observations of one quantity whose troubles are alike; ``seen`` are all of that quantity."""
    trouble = failed[0].trouble
    assert trouble is not None
    if trouble.kind is Kind.POLICY:
        return _policy(quantity, trouble.text, row)
    if trouble.kind is Kind.DTYPE:
        about = ", ".join(dict.fromkeys(o.trouble.about for o in failed if o.trouble))
        effect = "What comes after computes in another precision, or fails."
        return Cause("wrong", "dtype-changed", f"{about}: {trouble.text}", effect)
    if trouble.kind is Kind.RAISED:
        passed = [o for o in seen if o.passed] if quantity != "NaN and inf" else []
        where = f" ({words})" if (words := _only(failed, passed)) else ""
        return Cause("wrong", "raises", trouble.text + where, "Nothing comes out.")
    if trouble.kind is Kind.SHAPE:
        summed = all(o.trouble and f"has shape {o.case.x.shape}," in o.trouble.text for o in failed)
        if summed and quantity.endswith(("dgamma", "dbeta")):
            title = f"{quantity} is not summed over the batch: it has the shape of x"
            return Cause("wrong", "parameter-gradients-not-summed", title, NO_COMPUTING)
        return Cause("wrong", "shape", trouble.text, NO_COMPUTING)
    name, effect = CAUSES[trouble.kind]
    return Cause("wrong", name, trouble.text, effect)


def _policy(quantity: str, outcome: str, row: Convention) -> Cause:
    accepted = row.one_value if quantity.startswith("one") else row.empty
    allowed = " or ".join(POLICIES[p] for p in accepted)
    title = f"{quantity}: {POLICIES[outcome]}"
    if len(accepted) <= 3:  # else whatever makes sense is allowed
        title += f"; {row.name} asks that {allowed}"
    effect = "Code that relies on the convention is not warned, or fails, when a batch has one value or none."
    if outcome == "non-finite":
        effect = "NaN in running statistics stays there: every later inference is NaN."
    kind = "wrong" if outcome in UNDEFINED else "convention"
    return Cause(kind, f"{quantity.replace(' ', '-')}-{outcome.replace(' ', '-')}", title, effect)


def _only(failed: Sequence[Observation], passed: Sequence[Observation]) -> str:
    """Name the circumstance that all failures share and nothing that passed; "" if there is none."""
    for circumstance in CIRCUMSTANCES if passed else ():
        shared = all(circumstance.holds(o.case) for o in failed)
        if shared and not any(circumstance.holds(o.case) for o in passed):
            return circumstance.words
    situation, *others = dict.fromkeys(o.case.situation.name for o in failed)
    if others or not passed or any(o.case.situation.name == situation for o in passed):
        return ""
    return f"only in the situation {situation!r}: {failed[0].case.situation.why}"
