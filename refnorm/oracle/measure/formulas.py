"""What a black box computes, as formulas, map by map: read off the cases of the golden set, right or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.conventions.rows import CONVENTIONS, ROWS
from refnorm.golden.inputs import Case, cases
from refnorm.oracle.ask.answers import ask
from refnorm.oracle.ask.box import Box
from refnorm.oracle.ask.envelope import Envelope, envelope_of, fitted
from refnorm.oracle.judge import Observation, judged_numbers
from refnorm.oracle.matching import explained, smooth
from refnorm.oracle.measure.explain import Explanation
from refnorm.oracle.measure.measurement import Key, Measurement
from refnorm.oracle.measure.naming_gradients import expected_formula
from refnorm.oracle.measure.read_running import defined_update
from refnorm.oracle.measure.weights import SENSES, sense_and_correction
from refnorm.oracle.quantities import QUANTITIES

LARGEST = 300  # values of x in a case
ROW = replace(CONVENTIONS["torch"], name="any")


def formulas(box: Box) -> Iterator[Measurement]:
    """Yield a formula for each map; what has none is left unread."""
    if not box.ranks:
        return
    envelope = envelope_of(box.implementation)
    row = with_weights(*sense_and_correction(box)) if box.keeps else ROW
    observations: list[Observation] = []
    with np.errstate(all="ignore"):
        for case in _plain(box, envelope):
            observations += judged_numbers(case, row, ask(box.implementation, case))
    yield from read_formulas(observations, row, envelope.eps)


def with_weights(sense: str, correction: float | str) -> Convention:
    """Return a row of the weights and the correction that were measured; torch's where those are of no row."""
    return replace(ROW, momentum=sense if sense in SENSES else ROW.momentum, correction=int(correction != 0))


def read_formulas(
    observations: Sequence[Observation], row: Convention, eps: float | None = None
) -> Iterator[Measurement]:
    """Yield a formula for each quantity that was observed.

    A quantity whose numbers are the definition's, but for digits that an algorithm loses, has its formula; of another
    one it is read off the numbers, and must predict all of them. An eps that is fixed is written as a number.
    """
    found: list[Explanation] = []
    said: dict[str, str] = {}
    for quantity in QUANTITIES:
        seen = [o for o in observations if o.quantity == quantity and o.trouble is None and o.actual is not None]
        seen = [o for o in seen if smooth(o)]
        failed = [o for o in seen if not (o.passed or o.tiers)]
        if not seen:
            continue
        words = expected_formula(quantity, row)
        if failed:
            explanation = explained(quantity, failed, seen, row, found)
            found += [explanation] if explanation else []
            words = explanation.causes[0].measured if explanation else ""
        if quantity == "frozen y" and words == said.get("y, inference"):
            continue  # it is the same map
        said[quantity] = words
        words = words if eps is None else re.sub(r"\beps\b", f"{eps:g}", words)
        name = f"formula of {quantity}"
        wide = seen[0].case.kind == "float64"
        yield Measurement(Key.FORMULA, name, words or "not read", _shared(quantity, words, wide))


def _plain(box: Box, envelope: Envelope) -> Iterator[Case]:
    """Yield small cases without anything special about their layout or format, as the box takes them."""
    kind = box.dtype if box.dtype in envelope.formats else envelope.formats[0]
    for case in cases():
        plain = case.finite and not case.undefined and case.situation.layout == "ordinary"
        if not plain or case.kind != kind or case.parameters != case.kind or case.x.size > LARGEST:
            continue
        if not hasattr(box.implementation, "train" if case.operation == "training" else "infer"):
            continue
        own = fitted(case, envelope)
        if own is not None:
            yield own


def _shared(quantity: str, words: str, wide: bool) -> str:
    """Say which rows of the table have the formula of a running statistic; rounded momentum shows in float64 alone."""
    if not quantity.startswith("running") or not words:
        return ""
    which = quantity.split()[1]
    rows = [row.name for row in ROWS.values() if _written(row, which, wide) == words]
    return f"as in {', '.join(rows)}" if rows else "as in no row"


RECEIVED = {  # what a row makes of momentum before it weighs, in terms of what is passed
    "float32": {"a": "float32(a)", "(1 - a)": "(1 - float32(a))"},
    "float32 complement": {"a": "(1 - float32(1 - a))", "(1 - a)": "float32(1 - a)"},
}


def _written(row: Convention, which: str, wide: bool) -> str:
    received = RECEIVED.get(row.momentum_as or row.attributes, {}) if wide else {}
    words = f"running {which} = {defined_update(row, which)}"
    return re.sub(r"\(1 - a\)|\ba\b", lambda found: received.get(found[0], found[0]), words)
