"""Which row an implementation is judged by: the one asked for, its ecosystem's, or what it is measured to follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from refnorm.conventions.row import POLICIES, Convention
from refnorm.conventions.rows import ROWS
from refnorm.conventions.rows import convention as row_called
from refnorm.oracle.ask.box import Box
from refnorm.oracle.ask.envelope import Envelope
from refnorm.oracle.ask.target import Target
from refnorm.oracle.measure.weights import SENSES, update_of

LENIENT_ONE = tuple(name for name in POLICIES if name not in ("non-finite", "other"))
LENIENT_EMPTY = tuple(name for name in POLICIES if name != "other")
WEIGHS = {
    "new": "momentum weighs the new batch",
    "old": "momentum weighs the old value",
    "sums": "momentum is a factor on running sums",
}
STORES = {0: "the biased variance is stored", 1: "the unbiased variance, m/(m - 1), is stored"}


@dataclass(frozen=True)
class Followed:
    """The row that an implementation is judged by, and in words how that was found out; "" where it was asked for.

    ``lenient`` says that what it does where there is no formula, with one value per channel or none, is its own.
    """

    row: Convention
    words: str = ""
    lenient: bool = False


def followed(implementation: Any, target: Target, asked: str | None, envelope: Envelope) -> Followed:
    """Return the row to judge an implementation by."""
    own = getattr(implementation, "convention", None)
    own = own if own in ROWS else None
    if asked:
        return Followed(row_called(asked))
    if target.declared:
        return Followed(row_called(own or target.convention))
    if own:
        row = ROWS[own]
        free: dict[str, Any] = {
            "one_value": (*row.one_value, *LENIENT_ONE),
            "empty": (*row.empty, *LENIENT_EMPTY),
            "ranks": envelope.ranks,
        }
        return Followed(replace(row, **free), f"judged by the row of its ecosystem, {own}", True)
    return _measured(implementation, envelope)


def _measured(implementation: Any, envelope: Envelope) -> Followed:
    """Measure which value momentum weighs, and which variance is stored."""
    free: dict[str, Any] = {
        "one_value": LENIENT_ONE,
        "empty": LENIENT_EMPTY,
        "ranks": envelope.ranks,
        "zero_eps": False,
    }
    if not envelope.statistics or not envelope.formats:
        return Followed(replace(ROWS["paper"], **free), "no running statistics: no convention to follow", True)
    sense, correction, samples = update_of(Box(implementation))
    known = correction in (0, 1)
    if envelope.momentum is not None and sense not in SENSES:
        sense = "new" if correction == 1 else "old"
        weighs = "momentum is fixed"
    else:
        weighs = WEIGHS.get(sense, "")
    if sense not in SENSES or not known:
        row = ROWS["torch" if sense in ("new", "other") else "keras"]
        if sense in SENSES:
            row = replace(row, momentum=sense)
        return Followed(
            replace(row, **free), f"nearest to {row.name}: its running statistics follow no known rule", True
        )
    alike = [r for r in ROWS.values() if (r.momentum, r.correction) == (sense, correction) and r.name != "paper"]
    alike = [r for r in alike if r.attributes == "float64" and r.normalises == "batch" and not r.momentum_as] or alike
    words = f"{weighs} and {STORES[correction]}, as in {alike[0].name}"
    if samples:
        words = f"{weighs} and the variance is corrected by N/(N - 1), of samples; nearest to {alike[0].name}"
    return Followed(replace(alike[0], **free), f"measured: {words}", True)
