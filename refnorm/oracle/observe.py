"""Choose the cases that apply to an implementation, ask it one after the other, and judge what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.formats import unit_roundoff
from refnorm.golden.inputs import Case, cases
from refnorm.golden.truth import NotHeld, truth
from refnorm.oracle.ask.answers import Answer, Kind, Trouble, ask, kept_aside
from refnorm.oracle.ask.interface import formats_of, operations_of
from refnorm.oracle.ask.repetition import OTHERWISE, disturbance, same
from refnorm.oracle.behaviours import poisoned, policy
from refnorm.oracle.bounds import bounds
from refnorm.oracle.judge import Observation, bound_of, judged_numbers
from refnorm.oracle.tiers import PAIRWISE, WORST, Tier

REORDERED = "a call that is repeated gives other digits, within the bound: sums are taken in another order each time"


def selected(implementation: Any, row: Convention, kinds: tuple[str, ...]) -> list[Case]:
    """Return the cases that apply: formats asked for and offered, ranks of the convention, functions offered.

    What happens where a formula is undefined is told by running statistics: without them, it is not asked.
    """
    accepted = formats_of(implementation)
    keeps = "running mean" not in getattr(implementation, "without", ())
    kinds = tuple(k for k in kinds if accepted is None or k in accepted)
    asked = cases_in(kinds, getattr(implementation, "mixed", True), operations_of(implementation))
    return [case for case in asked if case.x.ndim in row.ranks and (keeps or not case.undefined)]


def cases_in(kinds: Sequence[str], mixed: bool, operations: Sequence[str]) -> Iterator[Case]:
    """Yield the cases of some formats and operations; ``mixed``: those whose parameters are wider than x, too."""
    for case in cases():
        if case.kind in kinds and case.operation in operations and (mixed or case.kind == case.parameters):
            yield case


def observe(
    implementation: Any,
    row: Convention,
    chosen: list[Case],
    progress: Callable[[str], None] = lambda _: None,
    limit: Tier = WORST,
) -> Iterator[Observation]:
    """Judge an implementation on cases, one after the other.

    Parameters
    ----------
    progress : called with a case's id before it runs.
    limit : the class of algorithms that conform.
    """
    for case in chosen:
        progress(case.id)
        yield from observed(implementation, row, case, limit)
    for case in ordinary(chosen):
        progress(case.id)
        yield disturbed(implementation, row, case)


def worked_out(implementation: Any, row: Convention, chosen: list[Case]) -> Iterator[Case]:
    """Work out what cases must give, and how far it may be off, and yield each: for who waits for the answers."""
    for case in chosen:
        if not case.finite or case.undefined:
            continue
        wanted = ["y, inference"] if case.operation == "inference" else ["y, training", "running mean"]
        for quantity in wanted[: 1 if kept_aside(implementation) else None]:
            with suppress(NotHeld):
                truth(case, row, quantity)
        for tier in (WORST, PAIRWISE):
            bounds(case, row, tier)
        yield case


def observed(implementation: Any, row: Convention, case: Case, limit: Tier = WORST) -> list[Observation]:
    """Ask an implementation about one case, and judge the answer."""
    seen = judged(case, row, ask(implementation, case), limit)
    if case.table is None:
        return seen
    rest = light(case)
    return [replace(o, case=rest, actual=None) if o.passed else o for o in seen]


def light(case: Case) -> Case:
    """Return a large case of which no more is needed than its shape and its largest value."""
    largest = np.broadcast_to(np.abs(case.x).max(), case.x.shape)
    return replace(case, batches=(largest,), dy=largest, table=None, held=False)


def judged(case: Case, row: Convention, answer: Answer, limit: Tier = WORST) -> list[Observation]:
    """Judge the answer to one case: by numbers, or by what is accepted where there are none."""
    seen = [Observation("arguments unchanged", case, trouble=trouble) for trouble in answer.written]
    if not case.finite:
        return [*seen, *poisoned(case, answer)]
    if case.undefined:
        accepted = row.one_value if case.undefined.startswith("one") else row.empty
        return [*seen, policy(case, row, answer, accepted)]
    return [*seen, *_repeated(case, row, answer), *judged_numbers(case, row, answer, limit)]


def _repeated(case: Case, row: Convention, answer: Answer) -> Iterator[Observation]:
    """Judge what a second call with the same arguments gave otherwise than the first."""
    alike = Alike(case, row)
    for quantity, again in answer.again.items():
        if not alike(quantity, answer.results.get(quantity), again):
            text = OTHERWISE + left_behind(case, row, quantity, answer.results.get(quantity), again)
            yield Observation("repeatability", case, trouble=Trouble(Kind.DISTURBED, text, quantity))
        else:
            yield Observation("repeatability", case, policy=REORDERED)


ADDED = ": what a call returns is added to what those before it returned"
AT_FIRST = ": the first of two calls is wrong, the second is right"
AFTERWARDS = ": the first of two calls is right, the second is not: something of the first is left"


def left_behind(case: Case, row: Convention, quantity: str, one: Any, two: Any) -> str:
    """Say what a call leaves to the next one, where two results of the same call tell; "" where they do not.

    Examples
    --------
    >>> from refnorm.conventions import CONVENTIONS
    >>> from refnorm.golden.inputs import case
    >>> asked, row = case("bn.training.float64.rank-2.1"), CONVENTIONS["torch"]
    >>> dbeta = truth(asked, row, "dbeta").hi.astype(float)
    >>> left_behind(asked, row, "dbeta", dbeta, 2 * dbeta)
    ': what a call returns is added to what those before it returned'
    """
    try:
        if np.shape(one) != np.shape(two):
            return ""
        exact = truth(case, row, quantity).hi.reshape(np.shape(one))
        first, second = (np.asarray(each).astype(np.longdouble) for each in (one, two))
    except (NotHeld, TypeError, ValueError):  # whatever came back
        return ""
    with np.errstate(all="ignore"):
        bound = bound_of(case, row, quantity)
        size = unit_roundoff(case.kind) * (np.abs(first) + np.abs(second))
        was, is_right = (bool(np.all(np.abs(each - exact) <= bound)) for each in (first, second))
        added = bool(np.all(np.abs(second - first - exact) <= 2 * bound + size))
    return ADDED if added else {(True, False): AFTERWARDS, (False, True): AT_FIRST}.get((was, is_right), "")


def ordinary(chosen: list[Case]) -> list[Case]:
    """Return one case of each format with spatial axes and nothing special: for what calls do to each other."""
    names = ("rank-4", "channels-last", "square")
    found = [c for c in chosen if c.operation == "training" and c.situation.name in names]
    return list({c.kind: c for c in reversed(found)}.values())[::-1]


class Alike:
    """Say whether two results of one call may stand for the same; ``reordered``: some do that are not equal."""

    def __init__(self, case: Case, row: Convention) -> None:
        self.case, self.row, self.reordered = case, row, False

    def __call__(self, quantity: str, one: Any, two: Any) -> bool:
        """Return whether two results of a quantity differ by no more than both may be off."""
        if same(one, two):
            return True
        arrays = [np.asarray(each) for each in (one, two)]
        if arrays[0].shape != arrays[1].shape:
            return False
        first, second = (a.astype(float) for a in arrays)
        with np.errstate(all="ignore"):
            near = np.abs(first - second) <= 2 * bound_of(self.case, self.row, quantity)
        self.reordered = True
        return bool(np.all(near | (first == second) | (np.isnan(first) & np.isnan(second))))


def disturbed(implementation: Any, row: Convention, case: Case) -> Observation:
    """Judge what calls do to each other, and to arrays that they were given before.

    Two results of one call may differ by what both may be off: sums in another order, as atomic additions give them.
    """
    alike = Alike(case, row)
    trouble = disturbance(implementation, case, alike)
    written = trouble is not None and trouble.kind is Kind.WRITTEN
    noted = REORDERED if alike.reordered and trouble is None else ""
    return Observation("arguments unchanged" if written else "repeatability", case, trouble=trouble, policy=noted)
