"""From what failed to findings: each with the cause that explains it, a formula, a circumstance, or "unknown"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.formats import unit_roundoff
from refnorm.golden.settings import OVERFLOWS, PRODUCTS
from refnorm.golden.sized import NAME as SIZED
from refnorm.oracle.ask.answers import Kind
from refnorm.oracle.ask.repetition import OTHERWISE
from refnorm.oracle.circumstances import (
    Circumstance,
    circumstances,
    how_often,
    in_formats,
    met_before,
)
from refnorm.oracle.coarser import MOST, coarser
from refnorm.oracle.finding import Cause, Finding, finding
from refnorm.oracle.judge import RESOLVED, Observation
from refnorm.oracle.lost import (
    IN_HALF,
    IN_ONE_PASS,
    IN_ONE_PASS_ABOUT_A_VALUE,
    is_flushed,
    is_lost,
    lost_with_y,
    narrow_sums,
    overflow,
)
from refnorm.oracle.matching import explained, readable, smooth
from refnorm.oracle.measure.explain import FORWARD, Explanation
from refnorm.oracle.measure.read_parts import other_inverse, with_other_inverse
from refnorm.oracle.quantities import BEHAVIOURS, FURTHER, QUANTITIES
from refnorm.oracle.tiers import NARROW, ONE_PASS, SHIFTED
from refnorm.oracle.together import NOT_ALL, together
from refnorm.oracle.troubles import CAUSES, alike, cause_of_trouble
from refnorm.oracle.worlds import world

SEVERAL = 3  # cases in a circumstance: of fewer no formula is read
TRIED = 4  # circumstances in which a formula is looked for, beside that of the formats that fail

FIRST = ("not-repeatable", "argument-modified")  # whatever else is wrong may follow
UNREAD = "No formula that was tried predicts the numbers."
HALF = ("float16", "bfloat16")

Explained = list[tuple[Cause, list[Observation]]]


def diagnose(observations: Sequence[Observation], row: Convention) -> list[Finding]:
    """Group what failed into findings, each with the cause that explains it."""
    causes: dict[Cause, list[Observation]] = {}
    observations = _in_all_quantities(_in_all_formats(_without_repetitions(observations)))
    observations, repeated = _told_alike(observations)
    found: list[Explanation] = []  # in the order of the quantities
    unlike = {(o.case.id, o.trouble.about) for o in observations if o.trouble and o.trouble.kind is Kind.DISTURBED}
    for quantity in (*QUANTITIES, *FURTHER, *BEHAVIOURS):
        seen = [o for o in observations if o.quantity == quantity]
        troubled = [o for o in seen if o.trouble is not None]
        for key in dict.fromkeys(alike(o.trouble) for o in troubled if o.trouble):
            same = [o for o in troubled if o.trouble and alike(o.trouble) == key]
            causes.setdefault(cause_of_trouble(quantity, same, seen, row), []).extend(same)
        wrong = [o for o in seen if not o.passed and o.trouble is None]
        if random := [o for o in wrong if (o.case.id, quantity) in unlike]:
            random = wrong if len(random) >= MOST * len(wrong) else random
            causes.setdefault(repeated, []).extend(random)  # of what changes from call to call no formula is read
            seen = [o for o in seen if o not in random]
        lost = lost_with_y(quantity, causes)
        for cause, own in _numbers(quantity, seen, row, found, lost):
            causes.setdefault(cause, []).extend(own)
    causes = together(causes, observations, row)
    if any(cause.name == "normalised-by-unbiased-variance" for cause in causes):  # 0/0, with one value, follows
        causes = {c: own for c, own in causes.items() if c.name != "one-value-per-channel-non-finite"}
    order = {"wrong": 0, "convention": 1, "numerics": 2}
    findings = [_with_count(finding(cause, own), own, observations) for cause, own in causes.items()]
    return sorted(findings, key=lambda f: (order[f.kind], f.cause not in FIRST, f.cause == "unknown"))


def _in_all_formats(observations: Sequence[Observation]) -> list[Observation]:
    """Mark what fails in half precision and in the same situation of a wider format: narrowness does not explain it."""
    wide = [o for o in observations if not o.passed and o.case.kind not in HALF]
    least = {(o.quantity, o.case.situation.name): o.case.count for o in sorted(wide, key=lambda o: -o.case.count)}

    def fails(o: Observation) -> bool:
        count = least.get((o.quantity, o.case.situation.name), math.inf)
        return count <= o.case.count if o.case.situation.name == SIZED else count < math.inf

    return [replace(o, elsewhere=True) if o.case.kind in HALF and fails(o) else o for o in observations]


def _in_all_quantities(observations: Sequence[Observation]) -> list[Observation]:
    """Let sums in the format of x, which tell in one quantity, explain what else they cover in that format."""
    kinds = {o.case.kind for o in observations if not o.passed and o.narrow_tells}
    return [
        replace(o, narrow_tells=True) if not o.passed and o.case.kind in kinds and NARROW.name in o.tiers else o
        for o in observations
    ]


def _with_count(f: Finding, explained: Sequence[Observation], observations: Sequence[Observation]) -> Finding:
    """Say how many failures a measured formula explains."""
    if not f.measured:
        return f
    failed = [o for o in observations if o.quantity in f.quantities and not o.passed and o.trouble is None]
    tried, failed = ([o for o in some if o.case.situation.name != SIZED] for some in (set(explained), failed))
    return replace(f, explains=f"explains {len(tried)} of {len(failed)} failures, within their bounds")


def _without_repetitions(observations: Sequence[Observation]) -> list[Observation]:
    """Leave out behaviours that only repeat what ordinary results say already."""
    failed = {o.quantity for o in observations if not o.passed}
    modified = any(o.quantity == "arguments unchanged" and o.trouble is not None for o in observations)
    results = [o for o in observations if o.quantity == "y, training"]
    unusable = bool(results) and all(o.trouble is not None for o in results)

    def repeats(o: Observation) -> bool:
        if o.policy:  # no call of the function gives anything usable
            return unusable
        if o.quantity == "repeatability":
            return modified
        if o.case.situation.layout == "read-only" and o.trouble is not None and o.trouble.kind is Kind.RAISED:
            return modified  # what it writes to must not be written to
        if o.quantity == "NaN and inf" and o.trouble is not None and o.trouble.kind is not Kind.RAISED:
            return modified or o.trouble.about in failed
        return False

    return [o for o in observations if not repeats(o)]


def _told_alike(observations: Sequence[Observation]) -> tuple[list[Observation], Cause]:
    """Say one thing of all results that change when a call is repeated: how they change, if each tells the same."""
    told = {
        o.trouble.text for o in observations if o.trouble and o.trouble.text.startswith(OTHERWISE) and o.trouble.about
    }
    text = told.pop() if len(told) == 1 else OTHERWISE
    same = [
        replace(o, trouble=replace(o.trouble, text=text)) if o.trouble and o.trouble.text.startswith(OTHERWISE) else o
        for o in observations
    ]
    return same, Cause("wrong", CAUSES[Kind.DISTURBED][0], text, CAUSES[Kind.DISTURBED][1])


def _numbers(
    quantity: str, seen: Sequence[Observation], row: Convention, found: list[Explanation], lost: Mapping[str, Cause]
) -> Explained:
    """Explain the failures of one quantity that have numbers: overflow, one-pass, a formula, or a circumstance.

    What is wrong in small cases is wrong in those of sizes, which are asked why only if nothing else fails.
    """
    all_failed = [o for o in seen if not o.passed and o.trouble is None]
    failed = [o for o in all_failed if o.case.situation.name != SIZED] or all_failed
    causes = _reasons(quantity, seen, failed, row, found, all_failed)
    rest = [o for o in failed if o.case.id not in lost]
    few = 0 < len(failed) - len(rest) < len(seen) / 2  # what is lost nearly everywhere hides nothing
    if any(cause.name == "unknown" for cause, _ in causes) and rest and few:
        follows = [o for o in failed if o not in rest]
        again = _reasons(quantity, [o for o in seen if o not in follows], rest, row, found, rest)
        if all(cause.name != "unknown" for cause, _ in again):
            causes = [*again, *((lost[o.case.id], [o]) for o in follows)]
    for half in (True, False):  # with the last cause that is met in such a format; what half does is half's
        large = [o for o in all_failed if o not in failed and (o.case.kind in HALF) == half]
        at = [k for k, (_, those) in enumerate(causes) if any((o.case.kind in HALF) == half for o in those)]
        if not at:
            causes += _reasons(quantity, seen, large, row, found, large)
        elif large:
            cause, those = causes[at[-1]][0], [*causes[at[-1]][1], *large]
            if cause.name == "unknown" and cause.title.startswith(f"{quantity} is wrong"):
                cause = replace(cause, title=how_often(quantity, [o.ratio for o in those], sum(o.passed for o in seen)))
            causes[at[-1]] = cause, those
    return causes


def _reasons(
    quantity: str,
    seen: Sequence[Observation],
    failed: list[Observation],
    row: Convention,
    found: list[Explanation],
    everything: Sequence[Observation],
) -> Explained:
    """Give each of the failures a cause; ``everything`` has those of sizes, too."""
    comparable = [o for o in seen if o.trouble is None and o.actual is not None and o.case.situation.name != SIZED]
    if not failed:
        return []
    explanation = None
    if failed[0].case.situation.name == SIZED:
        comparable = [*comparable, *failed]
    else:
        explanation = explained(quantity, failed, comparable, row, found)
    if len(failed) > MOST * len(comparable) and all(np.all(np.isnan(o.actual)) for o in failed):
        title = f"{quantity} is NaN throughout: something is read that was never computed"
        return [(Cause("wrong", "returns-nan", title, "Nothing can be computed with it."), failed)]
    formats = in_formats([o.case for o in failed])
    narrow = [o for o in failed if NARROW.name in o.tiers and not o.elsewhere]
    narrow = narrow if sum(o.narrow_tells for o in narrow) >= MOST * len(narrow) else []
    far = [o for o in comparable if o.case.situation.name == "large-mean"]  # where one pass shows
    one_pass = all(ONE_PASS.name in o.tiers for o in failed) and not (far and all(o.passed for o in far))
    if not explanation and one_pass and any(o.case.kind not in HALF for o in failed):
        return [(IN_ONE_PASS, failed)]
    for apart in (narrow, *([o for o in failed if o.case.kind == kind] for kind in HALF)):
        if not explanation and 0 < len(apart) < len(failed):  # what else fails has a cause of its own
            kept, rest = ([o for o in some if o not in apart] for some in (seen, failed))
            first = _reasons(quantity, kept, rest, row, found, rest)
            rounded = {f"computed-in-{o.case.kind}" for o in apart}
            for cause, those in first:
                if apart is narrow and rounded == {cause.name}:  # to the very format in which it might have added up
                    return [(c, [*own, *apart] if own is those else own) for c, own in first]
            return [*first, *_reasons(quantity, [o for o in seen if o not in rest], apart, row, found, apart)]
    result: Explained = []
    if not explanation:
        explanation, lost = overflow(quantity, failed, comparable, row, found)
        if lost:
            result.append((IN_HALF, lost))
            failed = [o for o in failed if o not in lost]
    if not failed:
        return result
    if explanation:
        found.append(explanation)
        return [*result, *((cause, list(failed)) for cause in explanation.causes)]
    if narrow and len(narrow) == len(failed):
        cause = narrow_sums(failed)
    elif one_pass:
        cause = IN_ONE_PASS
    elif all(SHIFTED.name in o.tiers for o in failed):
        cause = IN_ONE_PASS_ABOUT_A_VALUE
    elif (kind := coarser(failed, comparable, row)) and not _approximate(quantity, comparable, row, kind):
        title = f"right to the precision of {kind} alone: something on the way is rounded to it"
        finer = {o.case.kind for o in comparable if unit_roundoff(o.case.kind) < unit_roundoff(kind)}
        title += f": {formats.words}" if finer > {o.case.kind for o in failed} else ""
        effect = "Digits that the caller's format has are lost, whatever the data."
        cause = Cause("numerics", f"computed-in-{kind}", title, effect)
    else:
        passed = [o for o in seen if o.passed and o.resolution <= RESOLVED]
        likely = circumstances(
            [o.case for o in everything], [o.case for o in passed], met_before([o.case for o in seen])
        )
        partial = _in_circumstances(quantity, failed, comparable, row, found, [formats, *(c for c, _ in likely)])
        if partial:
            return [*result, *((cause, list(failed)) for cause in partial)]
        cause = _unexplained(quantity, failed, passed, [] if kind else likely)
        if cause.name == "unknown" and (words := _approximate(quantity, comparable, row, kind or "float64")):
            cause = replace(cause, title=words)
            change = with_other_inverse([(world(o.case, row), o.actual) for o in comparable])
            frozen = quantity != "y, training"
            found.append(Explanation((cause,), lambda w: change(w).y, frozen=frozen, world=change))
    return [*result, (cause, failed)]


def _in_circumstances(
    quantity: str,
    failed: Sequence[Observation],
    comparable: Sequence[Observation],
    row: Convention,
    found: list[Explanation],
    likely: Sequence[Circumstance],
) -> list[Cause]:
    """Look for a formula that holds in a circumstance alone; return its causes."""
    for c in likely[: 1 + TRIED]:
        within = [o for o in comparable if c.holds(o.case)]
        if len(within) < SEVERAL or len(within) == len(comparable):
            continue
        explanation = explained(quantity, failed, within, row, found)
        if explanation:
            known = {cause for e in found for cause in e.causes}
            causes = tuple(
                cause if cause in known else replace(cause, title=f"{cause.title}: {c.words}")
                for cause in explanation.causes
            )
            found.append(replace(explanation, causes=causes, circumstance=c))
            return list(causes)
    return []


def _unexplained(
    quantity: str,
    failed: Sequence[Observation],
    passed: Sequence[Observation],
    likely: Sequence[tuple[Circumstance, int]],
) -> Cause:
    """Name the circumstance of what no formula explains; "unknown" if there is none."""
    situations = list(dict.fromkeys(o.case.situation.name for o in failed))
    if situations == [PRODUCTS] and not any(np.all(np.isfinite(o.actual)) for o in failed):
        title = f"not finite where {OVERFLOWS}: the products are taken in another order"
        return Cause("numerics", "product-overflow", title, "Results that the format holds are lost, far out.")
    alone = len(situations) == 1 and passed
    likely = [] if all(map(is_lost, failed)) else likely
    if likely and not (likely[0][1] and alone and all(o.case.situation.name != situations[0] for o in passed)):
        circumstance, exceptions = likely[0]
        some = NOT_ALL if exceptions else ""
        title = f"{quantity} is wrong {circumstance.words}{some}"
        return Cause("wrong", circumstance.name, title, "Everything looks right elsewhere.")
    if all(map(is_flushed, failed)):
        effect = "Values below the smallest normal number are lost; some hardware modes and compilers do this."
        return Cause("numerics", "subnormals-flushed", "subnormal numbers are flushed to 0", effect)
    if alone:
        title = f"{quantity} is wrong in the situation {situations[0]!r}"
        effect = f"What it tests: {failed[0].case.situation.why}."
        return Cause("wrong", f"only-{situations[0]}", title, effect)
    title = how_often(quantity, [o.ratio for o in failed], len(passed))
    return Cause("wrong", "unknown", title, UNREAD)


def _approximate(quantity: str, seen: Sequence[Observation], row: Convention, kind: str) -> str:
    """Say how 1/std is off, if that alone is, by more than rounding it to a format does."""
    told = other_inverse(readable([o for o in seen if smooth(o)], row)) if quantity in FORWARD else None
    return told[0] if told and told[1] > 2 * unit_roundoff(kind) else ""
