"""What calls do to each other: results that change, buffers that are used again, caches that are not kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from refnorm.formats import Array
from refnorm.golden.inputs import Case
from refnorm.oracle.ask.answers import Asking, Kind, Trouble, Unanswered


def disturbance(implementation: Any, case: Case) -> Trouble | None:
    """Say how calls disturb each other, if they do; what a call raises is judged elsewhere."""
    asked = Asking(implementation, case)
    gamma, beta, mean, var = asked.parameters()
    x, other, dy = asked.data(case.x), asked.data(case.x[::-1] * 0.5 + 1), asked.data(case.dy)
    before = x.tobytes()

    def train(batch: Array) -> tuple[Any, ...]:
        return asked.returned("train", 4, batch, gamma, beta, mean, var, case.momentum, case.eps)

    def backward(cache: Any) -> list[Any]:
        return [*map(_copy, asked.returned("backward", 3, dy, cache))]

    try:
        *first, cache = train(x)
        kept = [*map(_copy, first)]
        *again, cache_again = train(x)
        if not all(map(_same, kept, again)):
            return Trouble(Kind.DISTURBED, "the same call gives different results when repeated")
        gradients = backward(cache_again) if hasattr(implementation, "backward") else []
        if x.tobytes() != before:
            return Trouble(Kind.WRITTEN, "backward writes into x, which its cache refers to")
        train(other)
        if not all(map(_same, kept, first)):
            return Trouble(Kind.DISTURBED, "a later call writes into results that an earlier one returned")
        if not gradients:
            return None
        if not all(map(_same, gradients, backward(cache))):
            text = "backward uses what the latest forward left, not the cache that it is given"
            return Trouble(Kind.DISTURBED, text)
        try:
            if not all(map(_same, gradients, backward(cache))):
                text = "a second backward with the same cache gives different results: it uses up its cache silently"
                return Trouble(Kind.DISTURBED, text)
        except Unanswered:
            pass  # a cache that is used up may say so
    except Unanswered:
        pass
    return None


def _copy(a: Any) -> Any:
    return np.array(a) if isinstance(a, np.ndarray) else a


def _same(a: Any, b: Any) -> bool:
    if not all(isinstance(each, np.ndarray | np.generic) and each.dtype.kind in "biufV" for each in (a, b)):
        return True  # no numbers: that is judged elsewhere
    return bool(np.array_equal(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), equal_nan=True))
