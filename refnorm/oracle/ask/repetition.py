"""What calls do to each other: results that change, buffers that are used again, caches that are not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refnorm.formats import Array
from refnorm.golden.inputs import Case
from refnorm.oracle.ask.answers import Asking, Kind, Trouble, Unanswered

TRAINED = ("y, training", "running mean", "running variance")
GRADIENTS = ("dx", "dgamma", "dbeta")
USED = ("y, training", "dx", "running mean", "running variance", "dgamma", "dbeta")
OTHERWISE = "the same call gives different results when repeated"


Alike = Callable[[str, Any, Any], bool]  # of a quantity by its name, and two results of it


def disturbance(implementation: Any, case: Case, alike: Alike) -> Trouble | None:
    """Say how calls disturb each other, if they do; what a call raises is judged elsewhere.

    ``alike`` says whether two results of one call may stand for the same.
    """
    return _between_calls(implementation, case, alike) or _between_uses(implementation, case, alike)


def _between_uses(implementation: Any, case: Case, alike: Alike) -> Trouble | None:
    """Say what a layer that was used gives otherwise than a new one with the same parameters and statistics."""
    if not getattr(implementation, "reading", "") or not hasattr(implementation, "used_twice"):
        return None
    asked = Asking(implementation, case)
    other = np.concatenate([case.x, case.x[:1] - 1])[::-1] * 0.5 + 1  # one sample more
    batches = asked.data(case.x), asked.data(other), asked.data(case.dy)
    given = (batches[0], *asked.parameters(), case.momentum, case.eps, *batches[1:])
    try:
        *pairs, dgamma, dbeta = asked.returned("used_twice", 2 * len(USED) + 2, *given)
    except Unanswered as unanswered:
        if unanswered.trouble.kind is not Kind.RAISED:
            return None
        text = unanswered.trouble.text.removeprefix("used_twice raised ")
        return Trouble(Kind.DISTURBED, f"a layer that is used a second time raises {text}")
    used, new = pairs[::2], pairs[1::2]
    differs = [name for name, one, two in zip(USED, used, new, strict=True) if not alike(name, one, two)]
    if not differs:
        return None
    if set(differs) <= {"dgamma", "dbeta"} and all(
        name not in differs or np.array_equal(total, before + own)
        for name, total, own, before in zip(USED[4:], used[4:], new[4:], (dgamma, dbeta), strict=True)
    ):
        text = (
            f"{' and '.join(differs)} of a second backward are added to those of the first, and no method clears them"
        )
        return Trouble(Kind.DISTURBED, text)
    differs = [name.removesuffix(", training") for name in differs]
    what = " and ".join(filter(None, (", ".join(differs[:-1]), differs[-1])))
    return Trouble(
        Kind.DISTURBED, f"a layer gives another {what} when it is used again than a new one of the same parameters"
    )


def _between_calls(implementation: Any, case: Case, alike: Alike) -> Trouble | None:
    """Say how calls of functions disturb each other."""
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
        if not all(map(alike, TRAINED, kept, again)):
            return Trouble(Kind.DISTURBED, OTHERWISE)
        gradients = backward(cache_again) if hasattr(implementation, "backward") else []
        if x.tobytes() != before:
            return Trouble(Kind.WRITTEN, "backward writes into x, which its cache refers to")
        train(other)
        if not all(map(same, kept, first)):
            return Trouble(Kind.DISTURBED, "a later call writes into results that an earlier one returned")
        if not gradients:
            return None
        if not all(map(alike, GRADIENTS, gradients, backward(cache))):
            text = "backward uses what the latest forward left, not the cache that it is given"
            return Trouble(Kind.DISTURBED, text)
        try:
            if not all(map(alike, GRADIENTS, gradients, backward(cache))):
                text = "a second backward with the same cache gives different results: it uses up its cache silently"
                return Trouble(Kind.DISTURBED, text)
        except Unanswered:
            pass  # a cache that is used up may say so
    except Unanswered:
        pass
    return None


def _copy(a: Any) -> Any:
    return np.array(a) if isinstance(a, np.ndarray) else a


def same(a: Any, b: Any) -> bool:
    """Say whether two results have the same numbers, NaN where NaN is; what has none is judged elsewhere."""
    if not all(isinstance(each, np.ndarray | np.generic) and each.dtype.kind in "biufV" for each in (a, b)):
        return True
    return bool(np.array_equal(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), equal_nan=True))
