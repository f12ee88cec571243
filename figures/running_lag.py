"""A running average's lag, noise and memory at the default momenta of frameworks, simulated and in theory.

The picture and the theory are those of ``refnorm plot lag``.
"""

from __future__ import annotations

from typing import Any

from refnorm.plots import lag
from refnorm.plots.lag import draw as draw

MOMENTUM = (0.1, 0.01, 0.003)  # PyTorch's; Keras's 1 - 0.99; 1 - 0.997, TF-Slim's in the story of the collapse
ALT = (
    "Running averages of a drifting mean. Momentum 0.1 is 9 batches behind, averages 19 batches and has less than 1 % "
    "of its initial value left after 44 steps; 0.01: 99, 199 and 459; 0.003: 332, 666 and 1533. Dots are simulated."
)


def data() -> dict[str, Any]:
    """Simulate; see `refnorm.plots.lag.data`."""
    return lag.data(MOMENTUM)
