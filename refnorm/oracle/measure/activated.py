"""Read off what weighs otherwise where y is negative: an activation that is part of the layer, or its derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from refnorm.oracle.finding import Cause
from refnorm.oracle.measure.fit import summed
from refnorm.oracle.measure.formula import Value
from refnorm.oracle.measure.products import far
from refnorm.oracle.measure.read_forward import Seen, noise_in
from refnorm.oracle.worlds import World


def activated(right: Value, seen: Sequence[Seen]) -> Iterator[tuple[Cause, Value, Callable[[World], World]]]:
    """Yield a y of which what is negative is multiplied by a constant, what is positive by another; and its gradients'.

    Parameters
    ----------
    right : what it is by definition.
    seen : the definition's world of each case, with the y that was returned.
    """
    weights = _weights(lambda w: np.maximum(right(w), 0), lambda w: np.minimum(right(w), 0), seen)
    if weights is not None:
        above, below = weights
        measured = f"y = {above:.7g} max(y, 0) + {below:.7g} min(y, 0)".replace("= 1 ", "= ")
        title = f"y is multiplied by {below:.7g} where it is negative" + _elsewhere(above)
        effect = "An activation is part of the layer: one that follows it acts a second time."
        cause = Cause("wrong", "activation-applied", title, effect, measured, "y, whatever its sign")
        value: Value = lambda w: np.maximum(right(w), 0) * above + np.minimum(right(w), 0) * below  # noqa: E731
        yield cause, value, lambda w: _weighed(w, above, below)


def through_activation(right: Value, seen: Sequence[Seen]) -> Iterator[tuple[Cause, Callable[[World], World]]]:
    """Yield a gradient in which dy weighs otherwise where y is negative: the cause, and the world of it.

    ``right`` is the gradient by definition, and linear in dy.
    """
    weights = _weights(lambda w: right(_weighed(w, 1, 0)), lambda w: right(_weighed(w, 0, 1)), seen)
    if weights is not None:
        above, below = weights
        measured = f"dy weighs {above:.7g} where y > 0 and {below:.7g} elsewhere"
        title = f"dy is multiplied by {below:.7g} where y is negative{_elsewhere(above)}, as if an activation followed"
        effect = "Gradients of positive and negative values stand in the wrong proportion."
        yield (
            Cause("wrong", "gradient-through-activation", title, effect, measured, "dy, whatever the sign of y"),
            (lambda w: _weighed(w, above, below)),
        )


def _elsewhere(above: float) -> str:
    return "" if above == 1 else f", and by {above:.7g} elsewhere"


def _weighed(w: World, above: float, below: float) -> World:
    return replace(w, upstream=w.upstream * np.where(w.y > 0, np.longdouble(above), np.longdouble(below)))


def _weights(above: Value, below: Value, seen: Sequence[Seen]) -> tuple[float, float] | None:
    """Return what two parts weigh in what was returned; None if that is not their sum, or if both weigh alike."""
    rows, noises = [], []
    for w, got in seen:
        own = [np.asarray(np.ravel(a), float) for a in (above(w), below(w), got)]
        if all(np.all(np.isfinite(a)) for a in own):
            size = max(float(np.max(np.abs(a), initial=0)) for a in own) * float(np.max(far(w)))
            rows.append(own)
            noises.append(np.full(own[0].shape, max(noise_in(w.case.kind) * size, 1e-300)))
    if not rows:
        return None
    up, down, target = (np.concatenate(column) for column in zip(*rows, strict=True))
    found = summed(target, np.concatenate(noises), [[up], [down]])
    weights = dict(found.terms) if found else {}
    result = weights.get(0, 0.0), weights.get(1, 0.0)
    return result if found and result[0] != result[1] else None
