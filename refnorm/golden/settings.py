"""Settings that a narrower format cannot hold, beside a constant channel: built by the rule of the set, not stored.

An eps that is 0 in half precision, or another number there, shows beside a variance of 0: 1 / sqrt(eps) is inf, or off
by as much. So do a momentum and parameters that half precision does not hold, where parameters are wider than x.
"""

from __future__ import annotations

from dataclasses import replace

from refnorm.golden.inputs import Case, built
from refnorm.golden.situations import Situation

NAME = "setting"
EPS = {"1e-3": 1e-3, "1e-5": 1e-5, "1e-6": 1e-6, "1e-8": 1e-8}  # 1 / sqrt(eps) is a number in half
MOMENTUM = 0.1
WHY = "eps and momentum that a narrower format does not hold, beside a constant channel"


def setting_ids(kind: str) -> list[str]:
    """Return the ids of the cases of a format.

    Examples
    --------
    >>> setting_ids("float16")[:2]
    ['bn.training.float16.setting.eps-1e-3', 'bn.inference.float16.setting.eps-1e-3']
    """
    asked = [(op, name) for name in EPS for op in ("training", "inference") if op == "training" or EPS[name] > 1e-7]
    return [f"bn.{op}.{kind}.{NAME}.eps-{name}" for op, name in asked]


def setting_case(id: str) -> Case | None:
    """Return the case of an id, None if it names none of these.

    Examples
    --------
    >>> setting_case("bn.training.float16.setting.eps-1e-8").eps
    1e-08
    """
    first, operation, kind, *rest = (id + "....").split(".")[:5]
    eps = EPS.get(rest[1].removeprefix("eps-")) if (first, rest[0]) == ("bn", NAME) else None
    if eps is None:
        return None
    parameters = "float32" if kind in ("float16", "bfloat16") else kind
    situation = Situation(
        NAME, WHY, (5, 3), spread=2.0**-6, eps=eps, momentum=MOMENTUM, running="dead", content="constant",
        formats=(kind,), parameters=parameters, operations=("training", "backward", "running", "inference", "frozen"),
    )  # fmt: skip
    return replace(built(id, operation, kind, situation, 997), held=False)
