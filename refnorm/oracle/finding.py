"""A finding: one thing that is wrong, with its cause in words and its clearest instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from refnorm.formats import unit_roundoff
from refnorm.oracle.judge import Observation

CLEAR = 1e3  # bounds that an error exceeds before an instance is called clear


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, a convention that is not the declared one, or an algorithm that loses digits.

    Attributes
    ----------
    kind : "wrong", "convention" or "numerics".
    cause : stable name of the vocabulary, "unknown" if none explains the numbers.
    title, effect : in words.
    quantities, cases : what it was seen in; case ids.
    case, quantity, index, expected, got, error, bound : the clearest instance.
    path : which of a target's paths, "" if it has one.
    measured, formula : what was read off the numbers, and what the convention says; "" where no formula was read.
    coefficients : of what was measured, by part and term.
    explains : how many failures the formula predicts, "" where none was read.
    """

    kind: str
    cause: str
    title: str
    effect: str
    quantities: tuple[str, ...]
    cases: tuple[str, ...]
    case: str
    quantity: str
    index: tuple[int, ...] = ()
    expected: float | None = None
    got: float | None = None
    error: float | None = None
    bound: float | None = None
    path: str = ""
    measured: str = ""
    formula: str = ""
    coefficients: dict[str, float] = field(default_factory=dict)
    explains: str = ""


@dataclass(frozen=True)
class Cause:
    """What explains observations: its kind, its stable name, a title and an effect in words.

    ``measured`` and ``formula`` are what was read off the numbers, if it was, and what the convention says; two causes
    are the same without them.
    """

    kind: str
    name: str
    title: str
    effect: str = ""
    measured: str = field(default="", compare=False)
    formula: str = field(default="", compare=False)
    coefficients: dict[str, float] = field(default_factory=dict, compare=False)


def finding(cause: Cause, observations: Sequence[Observation]) -> Finding:
    """Show the clearest instance: the smallest case whose error is far above its bound, float64 first."""

    def unclear(o: Observation) -> tuple[bool, float, int]:
        return o.ratio <= CLEAR and o.trouble is None, unit_roundoff(o.case.kind), o.case.x.size

    clearest = min(observations, key=unclear)
    quantities = tuple(dict.fromkeys(o.quantity for o in observations))
    cases = tuple(dict.fromkeys(o.case.id for o in observations))
    words = (cause.kind, cause.name, cause.title, cause.effect)
    shown = Finding(*words, quantities, cases, clearest.case.id, clearest.quantity)
    if cause.measured:
        shown = replace(shown, measured=cause.measured, formula=cause.formula, coefficients=cause.coefficients)
    if clearest.trouble is not None:
        return shown
    return replace(shown, **{name: getattr(clearest, name) for name in ("index", "expected", "got", "error", "bound")})
