"""What several quantities have in common, or do not: one circumstance or error for all, one finding for both of two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from refnorm.conventions.row import Convention
from refnorm.oracle.circumstances import CIRCUMSTANCES, SIZES
from refnorm.oracle.finding import Cause
from refnorm.oracle.judge import RESOLVED, Observation
from refnorm.oracle.lost import RUNNING
from refnorm.oracle.measure import known_updates as updates
from refnorm.oracle.measure.known_gradients import SWAPPED

NOT_ALL = " (not in every such case)"
NAMED = 3  # quantities or calls in a title, of those of which the same is said
RAISED = " raised "  # between a call and the error that ended it
TOLD_OF_BOTH = ("running statistics", "momentum")
ALONE = {  # names and titles, if one of two parameters' gradients is what the other should be
    "dgamma": ("dgamma-is-dbeta", "dgamma is the sum of dy, which is dbeta"),
    "dbeta": ("dbeta-is-dgamma", "dbeta is the sum of dy x_hat, which is dgamma"),
}


def together(
    causes: Mapping[Cause, list[Observation]], observations: Sequence[Observation], row: Convention
) -> dict[Cause, list[Observation]]:
    """Return the causes of all quantities with what they share said once."""
    right = {o.quantity for o in observations if o.passed}
    return _in_one_line(_one_of_two(_one_circumstance(causes, observations), right, row))


def _one_circumstance(
    causes: Mapping[Cause, list[Observation]], observations: Sequence[Observation]
) -> dict[Cause, list[Observation]]:
    """Name the circumstance of most failures for all whose it may be: of a few, many others are as likely."""
    known = {c.name: c for c in (*CIRCUMSTANCES, *SIZES)}
    named = [(len(own), known[cause.name]) for cause, own in causes.items() if cause.name in known]
    named.sort(key=lambda pair: -pair[0])
    found: dict[Cause, list[Observation]] = {}
    for cause, own in causes.items():
        which = own[0].quantity
        right = [o.case for o in observations if o.quantity == which and o.passed and o.resolution <= RESOLVED]
        for many, c in named if cause.name.startswith("only-") else ():
            if many > len(own) and all(c.holds(o.case) for o in own) and not any(map(c.holds, right)):
                cause = replace(cause, name=c.name, title=f"{which} is wrong {c.words}")
                break
        found.setdefault(cause, []).extend(own)
    return found


def _in_one_line(causes: Mapping[Cause, list[Observation]]) -> dict[Cause, list[Observation]]:
    """Say at once which quantities are wrong in the same circumstance alone, and which calls the same error ended."""
    found: dict[Cause, list[Observation]] = {}
    same: dict[Cause, list[tuple[Cause, list[Observation]]]] = {}
    for cause, own in causes.items():
        said = cause.title
        if cause.name == "raises":
            said = said.partition(RAISED)[2]
        elif cause.name.startswith("only-"):
            said = said.removeprefix(f"{own[0].quantity} is wrong ").removesuffix(NOT_ALL)
        same.setdefault(replace(cause, title=said), []).append((cause, own))
    for shared, several in same.items():
        cause, _ = several[0]
        if len(several) > 1 and cause.name == "raises":
            calls = _some(one.title.partition(RAISED)[0] for one, _ in several)
            cause = replace(cause, title=f"{calls}{RAISED}{shared.title}")
        elif len(several) > 1:
            some = NOT_ALL if any(one.title.endswith(NOT_ALL) for one, _ in several) else ""
            names = _some(o.quantity for _, own in several for o in own)
            cause = replace(cause, title=f"{names} are wrong {shared.title}{some}")
        found[cause] = [o for _, own in several for o in own]
    return found


def _some(names: Iterable[str]) -> str:
    """Name up to three things, or two and how many more there are."""
    each = list(dict.fromkeys(names))
    return " · ".join(each if len(each) <= NAMED else [*each[:2], f"{len(each) - 2} more"])


def _one_of_two(
    causes: Mapping[Cause, list[Observation]], right: AbstractSet[str], row: Convention
) -> dict[Cause, list[Observation]]:
    """Call two gradients swapped only if each is what the other should be, and say so if one of two statistics is off.

    ``right`` are the quantities that are right somewhere.
    """
    found: dict[Cause, list[Observation]] = {}
    for cause, own in causes.items():
        which = {o.quantity.removeprefix("frozen ") for o in own}
        if cause.name == SWAPPED.name and len(which) == 1:
            name, title = ALONE[which.pop()]
            cause = replace(cause, name=name, title=title)
        if len(which) == 1 and which < RUNNING and RUNNING - which <= right and cause.title.startswith(TOLD_OF_BOTH):
            (one,), (other,) = which, RUNNING - which
            if cause.name == "momentum-sense":
                old, new = (one, other) if row.momentum == "new" else (other, one)
                title = f"momentum weighs the old value of the {old}, but the batch's of the {new}"
                entry = updates.SENSES_DIFFER
                cause = replace(cause, kind=entry.kind, name=entry.name, title=title, effect=entry.effect)
            else:
                cause = replace(cause, title=f"{cause.title} (the {one} alone; the {other} is right)")
        found[cause] = own
    return found
