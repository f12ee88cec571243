"""The oracle: puts an implementation on trial and says in words what is wrong with it.

In the order in which data flow::

    ask/            how real code is called, alone or in a process of its own, and what comes back
    quantities      what is judged, by name
    judge           an answer compared with exact results (bounds, second_bounds: how far right ones may be off)
    behaviours      what is judged where numbers do not tell
    plan            how a path is judged: its envelope, its row (followed: which), its cases
    observe         the cases that apply, asked and judged
    measure/        what can be read off numbers: conventions, and formulas with their causes
    diagnose        from what failed to findings (finding, matching; vocabulary: every cause)
    worlds          batch normalization with every piece replaceable: what a formula predicts
    troubles        what has no formula, and in which circumstances
    identify        the convention of a black box
    verdict         what was found; report: the same as data (shown: for people; baseline: what is accepted)
    trial           from a target to its report (apart: of one that runs in another process; outputs: from files)
    check_gradients a target's gradients against its own forward
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refnorm.oracle.trial import check, reproduce

__all__ = ["check", "reproduce"]


def __getattr__(name: str) -> Any:
    """Import the judge when it is asked for: the process of a target needs none, and starts sooner."""
    if name not in __all__:
        raise AttributeError(f"module 'refnorm.oracle' has no attribute {name!r}")
    from refnorm.oracle import trial

    return getattr(trial, name)
