"""What a black box computes, as formulas, map by map: read off the cases of the golden set, right or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
from refnorm.oracle.quantities import QUANTITIES

LARGEST = 300  # values of x in a case
ROW = replace(CONVENTIONS["torch"], name="any", zero_eps=False)


def formulas(box: Box) -> Iterator[Measurement]:
    """Yield a formula for each map; what has none is left unread.

    A quantity whose numbers are the definition's has its formula; of another one it is read off the numbers, and must
    predict all of them.
    """
    if not box.ranks:
        return
    envelope = envelope_of(box.implementation)
    observations: list[Observation] = []
    with np.errstate(all="ignore"):
        for case in _plain(box, envelope):
            observations += judged_numbers(case, ROW, ask(box.implementation, case))
    found: list[Explanation] = []
    said: dict[str, str] = {}
    for quantity in QUANTITIES:
        seen = [o for o in observations if o.quantity == quantity and o.trouble is None and o.actual is not None]
        seen = [o for o in seen if smooth(o)]
        failed = [o for o in seen if not o.passed]
        if not seen:
            continue
        words = expected_formula(quantity, ROW)
        if failed:
            explanation = explained(quantity, failed, seen, ROW, found)
            found += [explanation] if explanation else []
            words = explanation.causes[0].measured if explanation else ""
        if quantity == "frozen y" and words == said.get("y, inference"):
            continue  # it is the same map
        said[quantity] = words
        words = words if envelope.eps is None else re.sub(r"\beps\b", f"{envelope.eps:g}", words)
        name = f"formula of {quantity}"
        yield Measurement(Key.FORMULA, name, words or "not read", _shared(quantity, words))


def _plain(box: Box, envelope: Envelope) -> Iterator[Case]:
    """Yield small cases without anything special about their layout or format, as the box takes them."""
    kind = box.dtype if box.dtype in envelope.formats else envelope.formats[0]
    for case in cases():
        plain = case.finite and not case.undefined and case.situation.layout == "ordinary"
        if not plain or case.kind != kind or case.parameters != case.kind or case.x.size > LARGEST:
            continue
        if not hasattr(box.implementation, "train" if case.operation == "training" else "infer"):
            continue
        own = fitted(case, envelope, False)
        if own is not None:
            yield own


def _shared(quantity: str, words: str) -> str:
    """Say which rows of the table have the formula of a running statistic."""
    if not quantity.startswith("running") or not words:
        return ""
    which = quantity.split()[1]
    rows = [row.name for row in ROWS.values() if _written(row, which) == words]
    return f"as in {', '.join(rows)}" if rows else "as in no row"


def _written(row: Convention, which: str) -> str:
    return f"running {which} = {defined_update(row, which)}"
