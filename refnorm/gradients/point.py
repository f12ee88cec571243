"""A forward and its backward at one point: what is measured of them, analytically and numerically."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from refnorm.gradients.numerical import (
    SAFETY,
    Derivative,
    Floats,
    Move,
    central_differences,
    complex_step,
    element,
    first_step,
    noise_of,
    roundoff_of,
    typical,
)

SALT = 0x67726164  # a user's own default_rng(seed) gives other numbers: dy = x would be annihilated as a constant is
NARROW = 2.0**-32  # noise of y, relative, above which it is not computed in float64
ANNIHILATED = 1e-3  # of what an input would move y by if nothing cancelled; of notes only, not of the judgement


class Measured(NamedTuple):
    """Elements of a gradient, two ways.

    ``estimate`` is what ``numeric`` may be off by, ``noise`` what ``analytic`` may; ``chosen`` are the flat indices of
    the elements in an array of ``shape``; ``size`` is what they are measured by where they cancel themselves.
    """

    method: str
    analytic: Floats
    numeric: Floats
    estimate: Floats
    noise: Floats
    chosen: Floats
    shape: tuple[int, ...]
    size: float = 0.0


class Unusable(Exception):
    """Something has not the shape that it must have; the text says what."""


class Point:
    """One forward and its backward at one point: what is measured of them."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        inputs: list[Floats],
        dy: Any,
        seed: int,
        elements: int,
    ) -> None:
        self.forward, self.backward, self.inputs = forward, backward, inputs
        self.rng = np.random.default_rng([seed, SALT])
        self.notes: list[str] = []
        self.y, self.cache = self.call(inputs, watch=True)
        self.unit = roundoff_of(self.y)
        self.unusable = self._unusable()
        self.dy = self._upstream(dy)
        if self.unusable:
            return
        self.gradients = self.differentiate(self.dy, self.cache, watch=True)
        sizes = [min(array.size, elements) for array in inputs]
        self.chosen = [np.sort(self.rng.permutation(a.size)[:n]) for a, n in zip(inputs, sizes, strict=True)]
        self.analytic = True
        self.stairs: list[Floats] = []
        self.steps = [self._steps(k) for k in range(len(inputs))]
        self.noise, *self.gradient_noise = self._noise()
        self.digits = float(np.median(self.noise)) / (float(np.mean(np.abs(self.y))) or 1.0)

    def call(self, inputs: list[Floats], watch: bool = False) -> tuple[Floats, Any]:
        """Run forward on copies."""
        copies = [np.array(array) for array in inputs]
        result = self.forward(*copies)
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise TypeError(f"forward must return y, cache; it returned {type(result).__name__}")
        if watch and not all(np.array_equal(a, b) for a, b in zip(copies, inputs, strict=True)):
            self.notes.append("forward writes to its inputs; it was given copies")
        return np.array(result[0]), result[1]

    def y_of(self, inputs: list[Floats]) -> Floats:
        """Run forward for its result alone."""
        return self.call(inputs)[0]

    def differentiate(self, dy: Floats, cache: Any, watch: bool = False) -> list[Any]:
        """Run backward: one array, or None, per input."""
        upstream = np.array(dy)
        result = self.backward(upstream, cache)
        gradients = list(result) if isinstance(result, tuple | list) else [result]
        if watch and not np.array_equal(upstream, dy):
            self.notes.append("backward writes to dy; it was given a copy")
        if len(gradients) != len(self.inputs):
            raise TypeError(
                f"backward returned {len(gradients)} gradients, expected one for each of {len(self.inputs)} inputs"
            )
        return [None if gradient is None else np.array(gradient) for gradient in gradients]

    def _unusable(self) -> str:
        """Say why no derivative can be taken here."""
        again, size = self.y_of(self.inputs), float(np.max(np.abs(self.y), initial=0))
        if not self.y.size or self.y.dtype.kind not in "fV":
            return f"y is {self.y.dtype} of shape {self.y.shape}, expected real floating-point values"
        if not np.all(np.isfinite(self.y)):
            return "y is not finite at these inputs"
        if again.shape != self.y.shape or np.max(np.abs(again - self.y), initial=0) > math.sqrt(self.unit) * size:
            return (
                "forward gives another y when it is called again with the same inputs: it is random, or it keeps state "
                "that it changes; such a function has no derivative"
            )
        return ""

    def _upstream(self, dy: Any) -> Floats:
        """Return the upstream gradient: random, or as given, with a note if it proves nothing."""
        if dy is None:
            if self.y.size == 1:
                self.notes.append(
                    "y is one number: return what is summed, not the sum, so that the upstream gradient can vary; "
                    "sum(BN(x)), for one, does not depend on x at all"
                )
            random: Floats = np.asarray(self.rng.standard_normal(self.y.shape) + 0.5)
            return random
        given: Floats = np.asarray(dy, dtype=np.float64)
        if given.shape != self.y.shape:
            raise ValueError(f"dy has shape {given.shape}, expected {self.y.shape}: the shape of y")
        if given.size > 1 and np.all(given == given.flat[0]):
            self.notes.append(
                "dy is constant: a normalisation annihilates it, and whatever is wrong in the gradient with it; leave "
                "dy out, and it is random"
            )
        return given

    def _steps(self, k: int) -> Floats:
        """Choose the first step of each chosen element; the others get the smallest of these."""
        array = self.inputs[k]
        found = np.array([first_step(self.y_of, self.y, self.inputs, k, i) for i in self.chosen[k].tolist()])
        self.stairs.append(np.isnan(found))
        found = np.where(np.isnan(found), 0.0, found)
        steps = np.full(array.size, np.min(found, where=found > 0, initial=np.inf) if np.any(found) else 0.0)
        steps[self.chosen[k]] = found
        return steps.reshape(array.shape)

    def _noise(self) -> list[Any]:
        """Measure the noise of y, and of the gradients, dy changing as well."""
        point = [*self.inputs, self.dy]
        steps = [*self.steps, np.zeros(self.dy.shape)]

        def evaluate(moved: list[Floats]) -> list[Any]:
            y, cache = self.call(moved[:-1])
            return [y, *self.differentiate(moved[-1], cache)]

        return noise_of(evaluate, [self.y, *self.gradients], point, steps, self.rng)

    def gradient(self, k: int, name: str) -> Measured:
        """Measure the gradient of one input, element by element; `Unusable` if it has not the input's shape."""
        gradient, array, chosen = self.gradients[k], self.inputs[k], self.chosen[k]
        if gradient.shape != array.shape:
            raise Unusable(f"the gradient has shape {gradient.shape}, expected {array.shape}: the shape of the input")
        steps = self.steps[k].reshape(-1)[chosen]
        moving = steps > 0  # the others do not move y by more than its noise, if at all
        least = 16 * float(np.sum(np.abs(self.dy) * self.noise)) / typical(array)
        numeric, method = np.zeros(chosen.size), "differences"
        estimate = np.where(self.stairs[k], np.inf, least)
        if np.any(moving):
            pairs = zip(chosen[moving].tolist(), steps[moving].tolist(), strict=True)
            derivative, method = self.derivative([element(self.inputs, k, i, step) for i, step in pairs])
            numeric[moving], estimate[moving] = derivative.value / steps[moving], derivative.error / steps[moving]
            self._watch(array, name, float(np.max(derivative.terms / steps[moving])))
        analytic = gradient.astype(np.float64).reshape(-1)[chosen]
        noise = SAFETY * self.gradient_noise[k].reshape(-1)[chosen]
        return Measured(method, analytic, numeric, estimate, noise, chosen, array.shape)

    def _watch(self, array: Floats, name: str, terms: float) -> None:
        """Note an input that hardly moves y: its gradient is what is left when almost everything has cancelled."""
        wide = self.y.astype(np.float64)
        usual = float(np.sum(np.abs(self.dy * (wide - np.mean(wide)))))
        if self.y.size > 1 and terms * typical(array) < ANNIHILATED * usual:
            self.notes.append(
                f"{name} hardly moves y: its gradient is what is left when nearly everything has cancelled, as in a "
                "batch of two, where eps/(var + eps) of it is left, or for a bias before a normalisation, where "
                "nothing is; check with more samples as well"
            )

    def derivative(self, moves: list[Move]) -> tuple[Derivative, str]:
        """Differentiate by the complex step where differences confirm it, by differences elsewhere."""
        blur = np.array([self._blur(move) for move in moves])
        by_differences = central_differences(self.y_of, self.y, self.dy, self.noise, moves, blur)
        by_complex = complex_step(self.y_of, self.dy, self.unit, moves) if self.analytic else None
        if by_complex is None:
            return by_differences, "differences"
        gap = np.abs(by_complex.value - by_differences.value)
        if np.all(gap <= by_differences.error + by_complex.error):
            return by_complex, "complex step"
        note = "the complex step disagrees with differences: forward is not analytic (abs, conj, var, a cast); not used"
        self.notes.append(note)
        self.analytic = False  # where differences are too coarse to refute it, it is no better
        return by_differences, "differences"

    def _blur(self, move: Move) -> float:
        """Return the largest part of a step that is lost if inputs are rounded to as few digits as y has."""
        if self.digits < NARROW:
            return 0.0
        parts = [
            np.max(self.digits * np.abs(array[d != 0]) / np.abs(d[d != 0]), initial=0)
            for array, d in zip(self.inputs, move.directions, strict=True)
            if d is not None
        ]
        return float(max(parts))

    def _direction(self) -> list[Floats]:
        """Draw a direction for all inputs, by powers of two, which are added without rounding."""
        return [
            steps * self.rng.choice([-1.0, 1.0], steps.shape) * 2.0 ** -self.rng.integers(2, 5, steps.shape)
            for steps in self.steps
        ]

    def adjoint(self) -> Measured:
        """Measure <J^T dy, v> against <dy, J v>, v a random direction of all inputs that have a gradient."""
        offered = [g is not None and g.shape == a.shape for g, a in zip(self.gradients, self.inputs, strict=True)]
        directions = [d if there else None for d, there in zip(self._direction(), offered, strict=True)]
        derivative, method = self.derivative([Move(self.inputs, directions)])
        terms = [g.astype(np.float64) * d for g, d in zip(self.gradients, directions, strict=True) if d is not None]
        noises = [np.abs(d) * n for d, n in zip(directions, self.gradient_noise, strict=True) if d is not None]
        analytic, noise = (np.array([sum(map(np.sum, parts))]) for parts in (terms, noises))
        size = math.sqrt(sum(np.sum(t * t) for t in terms))  # of a sum of terms of random sign
        return Measured(method, analytic, *derivative[:2], SAFETY * noise, np.zeros(1, int), (), size)

    def adjoint_of(self, jvp: Callable[..., Any]) -> Measured:
        """Measure <dy, J v> by the jvp against the numerical one; `Unusable` if it has not the shape of y."""
        directions = self._direction()
        derivative, method = self.derivative([Move(self.inputs, list(directions))])
        result = np.asarray(jvp(*(np.array(d) for d in directions), self.cache))
        if result.shape != self.y.shape:
            raise Unusable(f"jvp returned shape {result.shape}, expected {self.y.shape}: the shape of y")
        terms = self.dy * result.astype(np.float64)
        noise = roundoff_of(result) * np.sum(np.abs(terms)) + np.sum(np.abs(self.dy) * self.noise)
        analytic, size = np.array([np.sum(terms)]), math.sqrt(np.sum(terms * terms))
        return Measured(method, analytic, *derivative[:2], np.array([SAFETY * noise]), np.zeros(1, int), (), size)

    def close(self) -> list[str]:
        """Return the notes, after a last look at whether backward still gives what it gave."""
        if self.digits > NARROW and self.y.size > 1:
            what = f"y is {self.y.dtype}" if self.unit > 2.0**-53 else "somewhere it computes in fewer digits"
            self.notes.append(
                f"forward is given float64, but its y carries noise of {self.digits:.0e} of itself: {what}. "
                "Differences divide that by the step; let it compute in float64 to be checked"
            )
        later = self.differentiate(self.dy, self.cache)
        for a, b in zip(self.gradients, later, strict=True):
            if a is not None and not np.array_equal(a, b, equal_nan=True):
                self.notes.append(
                    "backward gives another result for the same cache after other calls of forward: it reads state "
                    "that forward changes, or uses up its cache"
                )
                break
        return self.notes


def as_input(array: Any, k: int) -> Floats:
    """Return an input in float64."""
    given = np.asarray(array)
    if given.dtype.kind != "f" and given.dtype.name != "bfloat16":
        raise TypeError(f"input {k} is {given.dtype}, expected a real floating-point array; convert it first")
    wide: Floats = given.astype(np.float64)
    if not wide.size:
        raise ValueError(f"input {k} of shape {wide.shape} is empty; there is nothing to differentiate by")
    if not np.all(np.isfinite(wide)):
        raise ValueError(f"input {k} of shape {wide.shape} holds NaN or inf; there is no derivative to compare with")
    return wide
