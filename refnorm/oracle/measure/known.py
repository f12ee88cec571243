"""Known formulas: what a measured one is called, what it means, and what comes of it.

A formula is looked up part by part, in words in which `mean` and `var` stand for the statistics that the map should
use (the running ones in inference), `batch mean`, `running mean` and so on for those that it should not. What is not
known is printed as it was measured. The tables: `known_maps` for y, `known_updates` for running statistics,
`known_gradients` for dx, dgamma and dbeta, `known_second` for forward mode and double backward.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Known(NamedTuple):
    """Name for machines, sentence and effect for people, and the kind of a finding."""

    name: str
    sentence: str
    effect: str
    kind: str = "wrong"


EPS = "Outputs differ wherever the variance is not far above eps; with large variances the mistake is invisible."
SCALE = "Every layer's output has the wrong scale; training may still converge and then not match other code."
FAR = "Inference after training does not match what training computed."
OTHER = {
    part: Known(f"other-{part.replace(' ', '-')}", f"{part} follows a formula without a name: the title prints it", "")
    for part in (
        "centre",
        "divisor",
        "scale",
        "shift",
        *("running mean", "running variance"),
        *("dx", "dgamma", "dbeta"),
        "second order",
    )
}


def eps_fixed_at(value: str) -> Known:
    """Return what is said of an eps that is another whatever is passed.

    Examples
    --------
    >>> eps_fixed_at("1e-05").name, eps_fixed_at("2e-05").name
    ('eps-fixed-1e-5', 'eps-ignored')
    """
    short = re.sub("e-0", "e-", value)
    name = f"eps-fixed-{short}" if short in ("1e-5", "1e-3", "1e-8", "0.001") else "eps-ignored"
    name = name.replace("0.001", "1e-3")
    return Known(name, f"eps is fixed at {short}, whatever is passed", EPS)
