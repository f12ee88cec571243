"""Derivatives of a function that is known only by its values: differences, the complex step, and their errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Floats = np.ndarray[Any, Any]
Function = Callable[[list[Floats]], Floats]
SAFETY = 8  # noise is the largest of a few samples, and what adds it up has some of its own


class Move(NamedTuple):
    """A way to move the inputs: all elements of an input along a direction, or none of them."""

    inputs: list[Floats]
    directions: list[Floats | None]

    def by(self, t: complex) -> list[Floats]:
        """Return the inputs moved by t along the directions, complex if t is."""
        start = [a.astype(np.complex128) for a in self.inputs] if isinstance(t, complex) else self.inputs
        return [a if d is None else a + t * d for a, d in zip(start, self.directions, strict=True)]


class Derivative(NamedTuple):
    """Derivatives with respect to t at t = 0 of sum(weights y), one per move.

    ``error`` estimates what ``value`` is off by; ``terms`` is the sum of the magnitudes of the terms weights dy/dt.
    """

    value: Floats
    error: Floats
    terms: Floats


def roundoff_of(array: Any) -> float:
    """Return u of the format of an array, at least that of float64."""
    dtype = np.asarray(array).dtype
    return float(np.finfo(dtype).eps) / 2 if dtype.kind in "fc" and dtype.itemsize < 16 else 2.0**-53


def typical(array: Floats) -> float:
    """Return the size by which an input varies: its standard deviation, its largest value, or 1, whichever is not 0."""
    return float(np.std(array)) or float(np.max(np.abs(array), initial=0)) or 1.0


def element(inputs: list[Floats], k: int, index: int, step: float = 1.0) -> Move:
    """Move one element of one input."""
    directions: list[Floats | None] = [None] * len(inputs)
    direction = np.zeros(inputs[k].shape)
    direction.reshape(-1)[index] = step
    directions[k] = direction
    return Move(inputs, directions)


def first_step(y_of: Function, y: Floats, inputs: list[Floats], k: int, index: int) -> float:
    """Choose how far to move an element: the largest step, of those tried, along which y is nearly straight.

    Straight means that to both sides the change of y is twice that of half the step, to a sixteenth of it: larger steps
    bend, smaller ones drown in rounding. The search starts at an eighth of the input's size and goes down from there,
    for further away the function may be another; where nothing is straight, it is content with the start. Powers of two
    are added to most elements without rounding.

    Where nothing moves at the start, y is flat here: 0 is returned. It may be the flat side of a kink, which is beyond
    the step. Or y goes in stairs, because the element is rounded to few digits on its way: then a longer step leads to
    the edge of this stair, and beyond it y is flat again; NaN is returned, for nothing is known of the derivative.
    """
    wide = y.astype(np.float64)

    def change(step: float) -> Floats:
        with np.errstate(all="ignore"):
            result: Floats = y_of(element(inputs, k, index, step).by(1.0)).astype(np.float64) - wide
        return result

    start = math.floor(math.log2(typical(inputs[k]))) - 3
    for power in range(start, start - 60, -2):
        step = 2.0**power
        sides = [(change(s * step), change(s * step / 2)) for s in (1, -1)]
        size = max(float(np.max(np.abs(whole))) for whole, _ in sides)
        bend = max(float(np.max(np.abs(whole - 2 * half))) for whole, half in sides)
        skew = float(np.max(np.abs(sides[0][0] + sides[1][0])))
        if size == 0:
            break
        if bend <= size / 16 and skew <= size / 8:
            return step
    if size or power < start:  # what moved y bent it, or the rest is noise
        return 2.0**start
    for longer in (6, 12):
        for further in (2.0 ** (start + longer), -(2.0 ** (start + longer))):
            if np.any(change(further)):
                edge, inside = further, 0.0
                for _ in range(longer + 4):
                    middle = (edge + inside) / 2
                    edge, inside = (middle, inside) if np.any(change(middle)) else (edge, middle)
                beyond = edge + math.copysign(2.0**start, further)
                return 0.0 if np.any(change(beyond) - change(edge)) else math.nan
    return 0.0


def extrapolated(slope: Callable[[float], float], atol: float, rtol: float = 2.0**-40) -> tuple[float, float, float]:
    """Return the limit of slope(t) = (f(t) - f(-t)) / 2t at t = 0, what it may be off by, and the step to charge.

    The errors of slope(t) go with the even powers of t: of four steps, each half of the one before, the first three
    cancel (Richardson 1911), which leaves an error of order 8. The steps are halved until two estimates differ by less
    than atol + rtol |value|, or by ten times more than the two before them, for then rounding has taken over.

    Examples
    --------
    >>> value, error, _ = extrapolated(lambda t: math.sinh(t) / t, atol=1e-15)
    >>> abs(value - 1) < error < 1e-11
    True
    """
    slopes = [slope(2.0**-k) for k in range(3)]
    value = error = math.nan
    for k in range(3, 13):
        slopes.append(slope(2.0**-k))
        last, before, estimates = value, error, slopes[-4:]
        for power in (4, 16, 64):
            estimates = [b + (b - a) / (power - 1) for a, b in pairwise(estimates)]
        (value,) = estimates
        error = abs(value - last)
        if error < atol + rtol * abs(value) or error > 10 * before or not math.isfinite(value):
            break
    return value, error, 2.0 ** -(k + 1)


def central_differences(
    y_of: Function, y: Floats, weights: Floats, noise: Floats, moves: Sequence[Move], blur: Floats
) -> Derivative:
    """Differentiate by central differences of order 8, the step halved until the estimate stands still.

    The error is estimated from how the estimate moves. To this the noise of y is added, over the elements that move at
    all, divided by the smallest step; the weights of order 8 add up to less than 4, and ``noise`` is the largest of a
    few samples: 8 times it is charged.
    The loss is summed from changes of y, so what does not move adds no rounding. ``blur`` is, per move, the part of the
    first step that is lost where the inputs are rounded to a narrower format on their way.

    All this believes in a smooth function. So it is held against the simplest estimate, (f(t) - f(-t)) / 2t, with a t
    so small that few kinks are as near: the root of the relative noise, which leaves half of the digits. The better one
    may be off by as much as the two differ; where that is more than the simple one may be off, a kink was crossed, and
    the simple one is taken. A kink within t shows as well: the slopes to the left and to the right differ.
    """
    wide = y.astype(np.float64)
    moved, terms = np.zeros((len(moves), *y.shape), bool), np.zeros(len(moves))

    @lru_cache(maxsize=64)  # the first steps are asked for more than once
    def change(j: int, t: float) -> Floats:
        with np.errstate(all="ignore"):
            result: Floats = y_of(moves[j].by(t)).astype(np.float64) - wide
        return result

    for j in range(len(moves)):
        sides = change(j, 1.0), change(j, -1.0)
        moved[j] = (sides[0] != 0) | (sides[1] != 0)
        terms[j] = np.sum(np.abs(weights * (sides[0] - sides[1]))) / 2
    rounding = np.array([np.sum(np.abs(weights) * noise * m) for m in moved])
    scale = np.where(rounding > 0, rounding, 1.0)

    def slope(j: int, t: float) -> float:
        with np.errstate(all="ignore"):
            return float(np.sum(weights * change(j, t)) - np.sum(weights * change(j, -t))) / (2 * t)

    stop = SAFETY * scale  # less than the noise is not there to be had
    found = [extrapolated(partial(slope, j), atol=float(stop[j])) for j in range(len(moves))]
    value, error, smallest = np.reshape(found, (-1, 3)).T
    lost = SAFETY * (rounding + blur * np.maximum(np.abs(value), terms))  # to noise, times the step
    with np.errstate(divide="ignore", invalid="ignore"):
        noisy = np.nan_to_num(np.sqrt(rounding / terms), nan=1.0)
    near = np.exp2(np.round(np.log2(np.clip(noisy, 2.0**-30, 2.0**-4))))
    simple, kinked = np.zeros(len(moves)), np.zeros(len(moves))
    for j, t in enumerate(near.tolist()):
        up, down = change(j, t), change(j, -t)
        simple[j] = np.sum(weights * (up - down)) / (2 * t)
        kinked[j] = np.sum(np.abs(weights * (up + down))) / (2 * t)
    errors = error + lost / smallest + np.abs(value - simple), lost / near
    better = ~(errors[0] > errors[1])
    return Derivative(np.where(better, value, simple), np.where(better, *errors) + kinked, terms)


def complex_step(y_of: Function, weights: Floats, unit: float, moves: Sequence[Move]) -> Derivative | None:
    """Differentiate by imag(y(x + ih)) / h; None where y takes no complex input.

    Nothing is subtracted, so h may be as small as it likes. A function that is not analytic, because it uses abs, conj,
    var or casts, may answer wrongly: compare with `central_differences`.
    """
    h = 2.0**-100
    values, terms = np.zeros(len(moves)), np.zeros(len(moves))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            for j, move in enumerate(moves):
                y = np.asarray(y_of(move.by(1j * h)))
                if y.dtype.kind != "c" or y.shape != weights.shape:
                    return None
                slopes = weights * (y.imag / h)
                values[j], terms[j] = np.sum(slopes), np.sum(np.abs(slopes))
    except Exception:  # whatever foreign code raises when it meets complex numbers
        return None
    return Derivative(values, SAFETY * unit * terms, terms) if np.all(np.isfinite(values)) else None


def noise_of(
    evaluate: Callable[[list[Floats]], list[Any]],
    here: list[Any],
    inputs: list[Floats],
    steps: list[Floats],
    rng: np.random.Generator,
) -> list[Any]:
    """Measure what rounding does to arrays that depend on inputs: the largest of a few samples, element by element.

    Once by moving the inputs by units in their last place: what a backward stable algorithm may be off by. And once by
    moving them by 2^-22 of their steps, too little to bend anything, so that f(x + d) - 2 f(x) + f(x - d) leaves only
    noise (the principle of Moré & Wild 2011, *Estimating computational noise*): it shows an algorithm that works in
    fewer digits than it admits. Noise is never taken to be less than the rounding of the result itself.
    """
    noise: list[Any] = [None if a is None else roundoff_of(a) * np.abs(a.astype(np.float64)) for a in here]
    for sample in range(8):
        if sample % 2:
            change = [2.0**-22 * step * rng.uniform(-1, 1, step.shape) for step in steps]
            sides = [evaluate([a + s * d for a, d in zip(inputs, change, strict=True)]) for s in (1, -1)]
        else:
            sides = [evaluate([a + np.spacing(np.abs(a)) * rng.integers(-2, 3, a.shape) for a in inputs])] * 2
        for k, (a, up, down) in enumerate(zip(here, *sides, strict=True)):
            if a is not None and up.shape == down.shape == a.shape:
                with np.errstate(all="ignore"):
                    bend = np.abs((up.astype(np.float64) - a) + (down.astype(np.float64) - a))
                noise[k] = np.maximum(noise[k], bend)
    return noise
