"""Choose the cases that apply to an implementation, and run them one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from refnorm.conventions import Convention
from refnorm.golden.cases import Case, cases
from refnorm.oracle.behaviours import memory, poisoned, policy
from refnorm.oracle.judge import FUNCTIONS, Observation, Raised, Trial


def selected(implementation: Any, convention: Convention, kinds: tuple[str, ...]) -> list[Case]:
    """Return the cases that apply: formats asked for and offered, ranks of the convention, functions offered."""
    offered = getattr(implementation, "dtypes", None)
    kinds = tuple(k for k in kinds if offered is None or k in offered)
    training = hasattr(implementation, "train")
    inference = hasattr(implementation, "infer") or hasattr(implementation, "frozen")
    return [
        case
        for case in cases()
        if case.kind in kinds
        and (case.kind == case.parameters or getattr(implementation, "mixed", True))
        and case.x.ndim in convention.ranks
        and (training if case.operation == "training" else inference)
    ]


def observe(
    implementation: Any, convention: Convention, chosen: list[Case], progress: Callable[[str], None] = lambda _: None
) -> Iterator[Observation]:
    """Judge an implementation on cases, one after the other.

    Parameters
    ----------
    progress : called with a case's id before it runs.
    """
    for case in chosen:
        progress(case.id)
        yield from judged(implementation, convention, case)
    for case in ordinary(chosen):
        progress(case.id)
        yield disturbed(implementation, convention, case)


def ordinary(chosen: list[Case]) -> list[Case]:
    """Return one case with spatial axes and nothing special, if there is one: for what calls do to each other."""
    names = ("rank-4", "channels-last", "square")
    return [c for c in chosen if c.operation == "training" and c.situation.name in names][:1]


def disturbed(implementation: Any, convention: Convention, case: Case) -> Observation:
    """Judge what calls do to each other, and to arrays that they were given before."""
    trouble = memory(implementation, convention, case)
    return Observation("arguments unchanged" if " writes into x" in trouble else "repeatability", case, trouble=trouble)


def judged(implementation: Any, convention: Convention, case: Case) -> list[Observation]:
    """Judge an implementation on one case."""
    trial = Trial(implementation, case, convention)
    try:
        if not case.finite:
            poisoned(trial)
        elif case.situation.name == "one-value":
            policy(trial, "one value per channel", convention.one_value)
        elif case.situation.name == "empty-batch":
            policy(trial, "empty batch", convention.empty)
        elif case.operation == "inference":
            trial.inference()
        else:
            trial.training()
    except Raised as raised:
        if case.eps == 0 and case.operation == "training" and not convention.zero_eps:
            return trial.seen  # the convention lets eps = 0 be refused in training
        quantity = "dx" if str(raised).startswith("backward") else FUNCTIONS["train"][0]
        trial.note("NaN and inf" if not case.finite else quantity, str(raised))
    return trial.seen
