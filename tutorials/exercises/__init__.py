"""Check a reader's answers: in a lesson, ``check(2, answer)`` says right or wrong, in words and with the number.

Each lesson has a module here that is named like it, with its exercises in their order. An answer is a number or a
function. Three dots, or a function that still returns nothing, is an answer not given yet, which is no error: a page
runs from its first cell to its last before anybody has answered.

What is right is computed by another road than the formula that an answer uses: in exact arithmetic by `refnorm.exact`,
by differentiating a forward pass, by counting or by simulation. Functions are tried on inputs drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

TRIALS = 10
TOLERANCE = 2.0**-40  # of the largest number expected: room for 2^13 roundings, and no mistake in a formula is so small
DIGITS = 12  # what TOLERANCE is in decimal
RIGHT, WRONG, UNANSWERED = "right", "wrong", "not answered yet"


class Verdict(NamedTuple):
    """What is said of an answer: its status, and why, in words."""

    status: str
    words: str


class Lesson:
    """The exercises of a lesson in their order.

    >>> check = Lesson(Number(9, "the variance", {"the sum of squares was divided by m - 1": 12}))
    >>> check(1, ...)
    Exercise 1: not answered yet.
    >>> check(1, 12)
    Exercise 1: wrong; 12 is too large: the sum of squares was divided by m - 1.
    >>> check(1, 36 / 4)
    Exercise 1: right; the variance is 9.
    """

    def __init__(self, *exercises: Number | Function | Property):
        self.exercises = exercises

    def __call__(self, exercise: int, answer: Any) -> None:
        """Print whether the answer to an exercise is right."""
        status, words = self.judge(exercise, answer)
        print(f"Exercise {exercise}: {status}" + (f"; {words}." if words else "."))

    def judge(self, exercise: int, answer: Any, seed: int = 0) -> Verdict:
        """Return whether an answer is right, and why; ``seed`` is that of the inputs on which a function is tried."""
        if not 1 <= exercise <= len(self.exercises):
            raise ValueError(f"exercise {exercise}: this lesson has the exercises 1 to {len(self.exercises)}")
        return self.exercises[exercise - 1].judge(answer, np.random.default_rng(seed))


def unanswered(answer: Any) -> bool:
    """Return whether an answer, or a part of it, still is the stub that the page shows."""
    parts = answer if isinstance(answer, tuple) else (answer,)
    return any(part is None or part is ... for part in parts)


@dataclass(frozen=True)
class Number:
    """A number is asked for: a whole one must be exact, any other right in its first three digits.

    ``mistakes`` are wrong numbers, each under the words that say how one comes to it. ``within`` is a factor by which
    the answer may be off, for exercises that ask for no more than a size.

    >>> Number(0.2161, "rho").judge(0.216)
    Verdict(status='right', words='rho is 0.2161')
    >>> Number(0.2161, "rho").judge(0.215).status
    'wrong'
    """

    value: float
    meaning: str
    mistakes: Mapping[str, float] = field(default_factory=dict)
    within: float = 1.0

    def judge(self, answer: Any, _: Any = None) -> Verdict:
        """Return whether an answer is this number."""
        if unanswered(answer):
            return Verdict(UNANSWERED, "")
        try:
            answer = float(answer)
        except (TypeError, ValueError):
            return Verdict(WRONG, f"a number is asked for, and this is a {type(answer).__name__}")
        if self.near(answer, self.value):
            return Verdict(RIGHT, f"{self.meaning} is {'about ' * (self.within > 1)}{self.value:.6g}")
        why = [f": {words}" for words, wrong in self.mistakes.items() if self.near(answer, wrong)]
        side = "no number" if math.isnan(answer) else "too small" if answer < self.value else "too large"
        return Verdict(WRONG, f"{answer:.6g} is {side}{''.join(why[:1])}")

    def near(self, answer: float, value: float) -> bool:
        """Return whether an answer says a value with the digits that are asked for."""
        if self.within > 1:
            return answer * value > 0 and 1 / self.within <= answer / value <= self.within
        if value == round(value):
            return abs(answer - value) <= 1e-9 * abs(value)  # an answer may be computed
        third = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
        return abs(answer - value) <= third / 2 * (1 + 1e-9)


@dataclass(frozen=True)
class Function:
    """A function is asked for: on arguments that ``draw`` makes it must return what ``truth`` does.

    ``names`` are those of its results, with commas between. ``mistakes`` are wrong functions, each under the words that
    are said if an answer returns what it does.

    >>> def draw(rng):
    ...     return (rng.standard_normal((7, 3)),)
    >>> mean = Function(draw, lambda x: x.mean(axis=0), "mean", {"it is the sum": lambda x: x.sum(axis=0)})
    >>> def said(answer):
    ...     return mean.judge(answer, np.random.default_rng(0)).words
    >>> said(lambda x: sum(x))
    'it is the sum'
    >>> said(lambda x: sum(x) / 8)
    'mean is 0.875 times what it should be'
    >>> said(lambda x: np.mean(x))
    'mean should have the shape (3,), and has ()'
    >>> said(lambda x: x.mean(axis=0) + 2**-10)
    'mean[0] should be -0.339494, and is -0.338518'
    """

    draw: Callable[[np.random.Generator], tuple[Any, ...]]
    truth: Callable[..., Any]
    names: str
    mistakes: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def judge(self, answer: Any, rng: np.random.Generator) -> Verdict:
        """Return whether a function is right on arguments drawn at random."""
        if unanswered(answer):
            return Verdict(UNANSWERED, "")
        if not callable(answer):
            return Verdict(WRONG, f"a function is asked for, and this is a {type(answer).__name__}")
        cases, labels = [self.draw(rng) for _ in range(TRIALS)], self.names.split(", ")
        given = []
        for case in cases:
            try:
                given.append(answer(*_copied(case)))
            except Exception as error:
                return Verdict(WRONG, f"it raises {type(error).__name__}: {error}".rstrip("."))
            if unanswered(given[-1]):
                return Verdict(UNANSWERED, "")
        complaint = _compared(given, [_tuple(self.truth(*_copied(case))) for case in cases], labels)
        if complaint is None:
            return Verdict(RIGHT, f"on {TRIALS} inputs drawn at random it agrees to {DIGITS} digits")
        for words, wrong in self.mistakes.items():
            if _compared(given, [_tuple(wrong(*_copied(case))) for case in cases], labels) is None:
                return Verdict(WRONG, words)
        return Verdict(WRONG, complaint)


@dataclass(frozen=True)
class Property:
    """An answer is asked for of which many are right: ``why_not`` says what is wrong with one, or returns None."""

    why_not: Callable[[Any, np.random.Generator], str | None]
    praise: str
    mistakes: Mapping[str, Any] = field(default_factory=dict)

    def judge(self, answer: Any, rng: np.random.Generator) -> Verdict:
        """Return whether an answer has the property."""
        if unanswered(answer):
            return Verdict(UNANSWERED, "")
        try:
            words = self.why_not(answer, rng)
        except StillOpen:
            return Verdict(UNANSWERED, "")
        except Exception as error:
            return Verdict(WRONG, f"it raises {type(error).__name__}: {error}".rstrip("."))
        return Verdict(RIGHT, self.praise) if words is None else Verdict(WRONG, words)


class StillOpen(Exception):
    """A function has returned nothing."""


def returned(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a reader's function returns; StillOpen if it is the stub."""
    result = function(*_copied(arguments))
    if unanswered(result):
        raise StillOpen
    return result


def _copied(arguments: tuple[Any, ...]) -> list[Any]:
    return [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments]


def _tuple(results: Any) -> list[Any]:
    return [np.asarray(r, dtype=np.float64) for r in (results if isinstance(results, tuple) else (results,))]


def _compared(given: list[Any], expected: list[Any], labels: list[str]) -> str | None:
    """Return what is wrong with results, or None."""
    for results, rights in zip(given, expected, strict=True):
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(rights):
            return f"{len(rights)} results are asked for ({', '.join(labels)}), and {len(results)} came"
        for label, result, right in zip(labels, results, rights, strict=True):
            try:
                got = np.asarray(result, dtype=np.float64)
            except (TypeError, ValueError):
                return f"{label} should be numbers, and is a {type(result).__name__}"
            if got.shape != right.shape:
                return f"{label} should have the shape {right.shape}, and has {got.shape}"
            error = abs(got - right) / abs(right).max()
            if not error.max() <= TOLERANCE:
                return _difference(label, got, right)
    return None


def _difference(label: str, got: Any, right: Any) -> str:
    """Return how a result differs from the right one: by a factor, or at an element."""
    factor = float((got * right).sum() / (right * right).sum())
    if right.size > 1 and factor and abs(got - factor * right).max() <= TOLERANCE * abs(got).max():
        return f"{label} is {factor:.6g} times what it should be"
    at = np.unravel_index(np.argmax(abs(got - right)), right.shape)
    where = f"{label}[{', '.join(map(str, at))}]" if at else label
    return f"{where} should be {right[at]:.6g}, and is {got[at]:.6g}"
