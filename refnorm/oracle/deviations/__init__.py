"""The vocabulary of causes: every single deviation that the oracle can recognise from the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from refnorm.oracle.deviations.double_backward import SECOND_ORDER_DEVIATIONS
from refnorm.oracle.deviations.forward import FORWARD_DEVIATIONS
from refnorm.oracle.deviations.gradients import GRADIENTS_DEVIATIONS
from refnorm.oracle.deviations.running_statistics import RUNNING_DEVIATIONS
from refnorm.oracle.worlds import Deviation

DEVIATIONS: tuple[Deviation, ...] = (
    *FORWARD_DEVIATIONS,
    *RUNNING_DEVIATIONS,
    *GRADIENTS_DEVIATIONS,
    *SECOND_ORDER_DEVIATIONS,
)


def candidates(quantity: str) -> Iterator[Deviation]:
    """Yield the deviations that say something about a quantity."""
    return (d for d in DEVIATIONS if quantity in d.values)
