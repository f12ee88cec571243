"""Settings at which narrow formats, and one order of products, give out: built by the rule of the set, not stored.

An eps that is 0 in half precision, or another number there, shows beside a variance of 0: 1 / sqrt(eps) is inf, or off
by as much. So do a momentum and parameters that half precision does not hold, where parameters are wider than x. A
gamma whose product with x - mean overflows, and whose quotient by std does not, tells the order in which y is computed.
"""

from __future__ import annotations

from dataclasses import replace

from refnorm.golden.inputs import Case, built
from refnorm.golden.situations import Situation

NAME = "setting"
EPS = {"1e-3": 1e-3, "1e-5": 1e-5, "1e-6": 1e-6, "1e-8": 1e-8}  # 1 / sqrt(eps) is a number in half
MOMENTUM = 0.1
WHY = "eps and momentum that a narrower format does not hold, beside a constant channel"
PRODUCTS = "products"
SPREAD = {"float64": 2.0**400, "float32": 2.0**40, "bfloat16": 2.0**40}  # of x, and its running std
GAMMA = {"float64": 2.0**700, "float32": 2.0**100, "bfloat16": 2.0**100}
OVERFLOWS = "gamma (x - mean) overflows; gamma / std, x_hat and y do not"


def setting_ids(kind: str) -> list[str]:
    """Return the ids of the cases of a format that belong to the usual trial.

    Examples
    --------
    >>> setting_ids("float16")[:2]
    ['bn.training.float16.setting.eps-1e-3', 'bn.inference.float16.setting.eps-1e-3']
    """
    asked = [(op, name) for name in EPS for op in ("training", "inference") if op == "training" or EPS[name] > 1e-7]
    return [f"bn.{op}.{kind}.{NAME}.eps-{name}" for op, name in asked]


def product_ids(kind: str) -> list[str]:
    """Return the ids of the cases of a format that belong to a thorough trial.

    Examples
    --------
    >>> product_ids("float32"), product_ids("float16")
    (['bn.inference.float32.products.1'], [])
    """
    return [f"bn.inference.{kind}.{PRODUCTS}.1"] if kind in GAMMA else []


def setting_case(id: str) -> Case | None:
    """Return the case of an id, None if it names none of these.

    Examples
    --------
    >>> setting_case("bn.training.float16.setting.eps-1e-8").eps
    1e-08
    >>> case = setting_case("bn.inference.float32.products.1")
    >>> float(abs(case.gamma * (case.x - case.running_mean)).max()) > 3.5e38
    True
    """
    first, operation, kind, name, last = (id + "....").split(".")[:5]
    if (first, operation, name) == ("bn", "inference", PRODUCTS) and kind in GAMMA:
        return _products(id, kind)
    eps = EPS.get(last.removeprefix("eps-")) if (first, name) == ("bn", NAME) else None
    if eps is None:
        return None
    parameters = "float32" if kind in ("float16", "bfloat16") else kind
    situation = Situation(
        NAME, WHY, (5, 3), spread=2.0**-6, eps=eps, momentum=MOMENTUM, running="dead", content="constant",
        formats=(kind,), parameters=parameters, operations=("training", "backward", "running", "inference", "frozen"),
    )  # fmt: skip
    return replace(built(id, operation, kind, situation, 997), held=False)


def _products(id: str, kind: str) -> Case:
    situation = Situation(
        PRODUCTS, OVERFLOWS, (5, 3), spread=SPREAD[kind], formats=(kind,),
        parameters="float32" if kind == "bfloat16" else kind, operations=("inference", "frozen"),
    )  # fmt: skip
    case = built(id, "inference", kind, situation, 995)
    assert case.gamma is not None
    mean, var = case.running_mean * SPREAD[kind], case.running_var * SPREAD[kind] ** 2
    return replace(case, gamma=case.gamma * GAMMA[kind], running_mean=mean, running_var=var, held=False)
