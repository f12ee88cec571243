"""Known formulas of forward mode and double backward: constants of their terms, and what terms have beside them.

Two roads lead to the double backward, and a mistake on one gives other numbers than the same mistake on the other: the
backward's formula is moved along the direction, or a gradient is carried back through it. Both are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from refnorm.oracle.finding import Cause
from refnorm.oracle.measure.known import OTHER, Known
from refnorm.oracle.measure.known_gradients import ZEROS
from refnorm.oracle.measure.naming import cause
from refnorm.oracle.measure.second_terms import Combination, defined_second
from refnorm.oracle.quantities import FURTHER

SAME = "Gradient penalties, Hessian-vector products and influence functions follow another function than the layer."
CONSTANT = Known(
    "second-order-statistics-constant",
    "the batch's statistics are constants in jvp or double backward, as they are in a frozen layer",
    SAME,
)
MEAN_CONSTANT = Known(
    "second-order-mean-constant", "the mean does not move with x: its term is missing in jvp or double backward", SAME
)
VARIANCE_CONSTANT = Known(
    "second-order-variance-constant",
    "1 / sqrt(var + eps) does not move with x: the variance's term is missing in jvp or double backward",
    SAME,
)
FRONT_CONSTANT = Known(
    "double-backward-front-constant",
    "the 1 / sqrt(var + eps) in front of dx does not move with x; inside x_hat it does",
    SAME,
)
DDX_MISSING = Known(
    "double-backward-ddx-missing",
    "the part of dx that comes from ddx is missing: x_hat and 1 / sqrt(var + eps) are constants in the backward",
    SAME,
)
HALF_MISSING = Known(
    "double-backward-half-missing", "of the two halves of dx in which ddx and dy change places, one is missing", SAME
)
DDGAMMA_MISSING = Known(
    "second-order-ddgamma-missing",
    "what moves with gamma is missing: dgamma's part of the jvp, ddgamma's of the double backward",
    SAME,
)
DDBETA_MISSING = Known(
    "second-order-ddbeta-missing",
    "what moves with beta is missing: dbeta's part of the jvp, ddbeta's of the double backward",
    SAME,
)
SIGN = Known("second-order-sign", "jvp or double backward has the wrong sign", SAME)
X_SIGN = Known("second-order-x-sign", "what moves with x has the wrong sign in jvp or double backward", SAME)
IN_FROZEN = Known(
    "training-second-order-in-frozen",
    "frozen jvp or double backward goes through the statistics, which are constants there",
    SAME,
)
SWAPPED = Known("double-backward-swapped", "ddy and dx of the double backward change places", SAME)
PRODUCTS_ROUNDED = Known(
    "double-backward-products-rounded",
    "ddx dy is rounded to the format of x before it is summed to dgamma, whose format is wider",
    "dgamma in float32 has the digits of half precision.",
    "numerics",
)
CHANGED = {
    "no gamma": Known("second-order-gamma-missing", "gamma is missing in jvp or double backward", SAME),
    "m": Known(
        "second-order-not-divided",
        "sums stand where means belong in jvp or double backward: they are not divided by m",
        SAME,
    ),
    "std": Known("second-order-std-missing", "1 / sqrt(var + eps) is missing in jvp or double backward", SAME),
}
TIMES_GAMMA = Known(
    "double-backward-dgamma-times-gamma", "the double backward's dgamma is sum(ddx dx), gamma included", SAME
)

# the constants of the terms, in the order of `second_terms.DEFINED` -> what they may be called
OF_JVP: dict[str, tuple[Known, ...]] = {
    "1 0 0 1 1": (CONSTANT,),
    "1 0 -1 1 1": (MEAN_CONSTANT,),
    "1 -1 0 1 1": (VARIANCE_CONSTANT,),
    "1 -1 -1 0 1": (DDGAMMA_MISSING,),
    "1 -1 -1 1 0": (DDBETA_MISSING,),
    "-1 1 1 -1 -1": (SIGN,),
    "-1 1 1 1 1": (X_SIGN,),
}
KNOWN: dict[str, dict[str, tuple[Known, ...]]] = {
    "jvp": OF_JVP,
    "ddy": OF_JVP,
    "dx": {
        "1 -1 -1 0 0 -1 0 -1 0 0": (CONSTANT,),
        "1 0 0 -1 0 -1 0 0 0 0": (CONSTANT,),
        "1 0 0 0 0 0 0 0 0 0": (CONSTANT,),
        "1 -1 -1 -1 1 -1 0 -1 0 3": (MEAN_CONSTANT,),
        "1 0 -1 -1 0 -1 0 -1 1 3": (MEAN_CONSTANT,),
        "1 -1 -1 0 0 -1 1 -1 1 0": (VARIANCE_CONSTANT,),
        "1 -1 0 -1 1 -1 1 0 0 0": (VARIANCE_CONSTANT,),
        "1 -1 -1 0 0 -1 1 -1 1 2": (FRONT_CONSTANT, HALF_MISSING),
        "1 -1 -1 -1 1 -1 1 0 0 2": (FRONT_CONSTANT,),
        "1 -1 -1 0 0 0 0 0 0 0": (DDX_MISSING,),
        "1 -1 -1 -1 1 0 0 -1 1 2": (HALF_MISSING,),
        "0 0 0 -1 1 -1 1 -1 1 3": (DDGAMMA_MISSING,),
        "-1 1 1 1 -1 1 -1 1 -1 -3": (SIGN,),
        "1 -1 -1 1 -1 1 -1 1 -1 -3": (X_SIGN,),
    },
    "dgamma": {
        "1 0 0": (CONSTANT,),
        "1 0 -1": (MEAN_CONSTANT,),
        "1 -1 0": (VARIANCE_CONSTANT,),
        "-1 1 1": (SIGN, X_SIGN),
    },
    "frozen jvp": {
        "1 0 0 0 1": (DDGAMMA_MISSING,),
        "1 0 0 1 0": (DDBETA_MISSING,),
        "-1 0 0 -1 -1": (SIGN,),
        "-1 0 0 1 1": (X_SIGN,),
    },
    "frozen dx": {"0 0 0 0 0 0 0 0 0 0": (ZEROS, DDGAMMA_MISSING), "-1 0 0 0 0 0 0 0 0 0": (SIGN,)},
    "frozen dgamma": {"-1 0 0": (SIGN, X_SIGN)},
}
KNOWN["frozen ddy"] = KNOWN["frozen jvp"]


def second_order_causes(found: Combination, before: Sequence[str]) -> list[Cause]:
    """Name what a quantity deviates in; nothing if it is the definition's. Of several names one that was found before.

    Examples
    --------
    >>> [c.name for c in second_order_causes(defined_second("jvp"), [])]
    []
    """
    right, which = defined_second(found.quantity), found.quantity.replace("double backward ", "")
    if found.key == right.key:
        return []
    names = KNOWN[which].get(" ".join(found.key), ())
    frozen = which.startswith("frozen")
    if frozen and found.key == defined_second(found.quantity.removeprefix("frozen ")).key:
        names = (IN_FROZEN,)
    elif not any(c != "0" for c in found.key):
        names = names or (ZEROS,)
    elif found.changed and tuple(c.rstrip("*") for c in found.key) == right.key:
        times_gamma = found.changed == "gamma" and which.endswith("dgamma")
        names = (TIMES_GAMMA,) if times_gamma else (CHANGED.get(found.changed, OTHER["second order"]),)
    names = names or (OTHER["second order"],)
    entry = next((k for k in names if k.name in before), names[0])
    numbers = {f"{t.front} / std^{t.power} {t.words.replace('{}', '')}".strip(): c for c, t in found.parts}
    title = f"{found.quantity.rpartition(' ')[0]} {found.words()}".strip()
    return [cause(entry, found.words(), right.words(), title, numbers)]


def seen_in() -> Iterator[tuple[Known, tuple[str, ...]]]:
    """Yield every known formula with the quantities that it is seen in."""
    found: dict[Known, list[str]] = {}
    for quantity in FURTHER:
        for several in KNOWN[quantity.replace("double backward ", "")].values():
            for known in several:
                found.setdefault(known, []).append(quantity)
        for known in CHANGED.values():
            found.setdefault(known, []).append(quantity)
    frozen = [q for q in FURTHER if q.startswith("frozen")]
    found[TIMES_GAMMA] = [q for q in FURTHER if q.endswith("dgamma")]
    found[SWAPPED] = [q for q in FURTHER if q.endswith(("ddy", "dx"))]
    found[IN_FROZEN], found[PRODUCTS_ROUNDED] = frozen, frozen[-1:]
    yield from ((known, tuple(quantities)) for known, quantities in found.items() if known != ZEROS)
