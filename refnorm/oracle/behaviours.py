"""Judge what an implementation does where numbers do not tell: one value, no value, NaN and inf."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refnorm.conventions.row import Convention
from refnorm.formats import Array, unit_roundoff
from refnorm.golden.inputs import Case
from refnorm.oracle.ask.answers import Answer, Kind, Result, Trouble
from refnorm.oracle.judge import Observation, observed_trouble, usable
from refnorm.oracle.quantities import RETURNS, absent, elementwise


def policy(case: Case, row: Convention, answer: Answer, accepted: tuple[str, ...]) -> Observation:
    """Judge what happens where a formula is undefined: one value per channel, an empty batch."""
    outcome = _outcome(case, row, answer)
    trouble = None if outcome in accepted else Trouble(Kind.POLICY, outcome)
    return Observation(case.undefined, case, policy=outcome, trouble=trouble)


def _outcome(case: Case, row: Convention, answer: Answer) -> str:
    """Name the policy that the returned values follow."""
    if "train" in answer.failed:
        return "raises" if answer.failed["train"].kind in (Kind.RAISED, Kind.DECLINED) else "other"
    results = [answer.results.get(name) for name in RETURNS["train"]]
    if any(isinstance(result, np.ndarray) and np.iscomplexobj(result) for result in results):
        return "other"
    try:
        y, mean, var = (np.asarray(result, dtype=np.float64) for result in results)
    except (TypeError, ValueError):  # no numbers
        return "other"
    if y.shape != case.x.shape or mean.shape != case.running_mean.shape or var.shape != case.running_var.shape:
        return "other"
    if not (np.all(np.isfinite(mean)) and np.all(np.isfinite(var))):
        return "non-finite"
    same_var = np.array_equal(var, case.running_var)
    if same_var and np.array_equal(mean, case.running_mean):
        return "statistics left"
    if case.count == 0:
        return "other"

    def near(a: Array, *terms: Array) -> bool:
        u = max(unit_roundoff(case.kind), unit_roundoff(case.parameters))
        return bool(np.all(np.abs(a - sum(terms)) <= 8 * u * sum(np.abs(t) for t in terms)))

    beta = 0.0 if case.beta is None else case.beta
    weights = [float(w) for w in row.weights(case.momentum)]
    for old, new in (weights, weights[::-1]):  # in whichever sense: that is judged elsewhere
        if near(y.ravel(), beta) and near(mean, old * case.running_mean, new * case.x.ravel()):
            if same_var:
                return "variance left"
            if near(var, old * case.running_var):
                return "biased"
    return "other"


def poisoned(case: Case, answer: Answer) -> Iterator[Observation]:
    """Judge NaN or inf in one value of channel 0, of x or of dy: seen there, and nowhere else."""
    for trouble in answer.failed.values():
        if trouble.kind is not Kind.DECLINED:
            yield Observation("NaN and inf", case, trouble=trouble)
    seen = False
    for quantity, result in answer.results.items():
        if _depends(case, quantity) and not (result is None and absent(case, quantity)):
            for observation in _contained(case, quantity, result):
                seen = True
                yield observation
    if not seen and not answer.failed:
        yield Observation("NaN and inf", case)


def _depends(case: Case, quantity: str) -> bool:
    """Whether a quantity depends on what is poisoned."""
    if case.situation.content == "nan-upstream":  # on dy only gradients do, and no jvp
        forward = (*RETURNS["train"], *RETURNS["infer"], *RETURNS["frozen"])
        return quantity not in forward and not quantity.endswith(("jvp", "ddy"))
    constant = ("frozen dx", "frozen double backward dx", "frozen double backward dgamma")
    return quantity not in constant and not quantity.endswith("dbeta")


def _contained(case: Case, quantity: str, result: Result) -> Iterator[Observation]:
    """Note if the poisoned element of channel 0 looks finite, or another channel does not."""
    array, trouble = usable(case, quantity, result)
    if trouble is not None:
        yield observed_trouble(case, quantity, trouble)
    if array is None:
        return
    values, spatial = np.asarray(array, dtype=np.float64), elementwise(quantity)
    upstream = case.situation.content == "nan-upstream"
    what = "nan in dy" if upstream else f"{case.situation.content} in x"
    bad = ~np.isfinite((case.dy if upstream else case.x)[:, 0]) if spatial else np.True_
    own, others = (values[:, 0], values[:, 1:]) if spatial else (values[0], values[1:])
    alone = spatial and quantity.startswith(("frozen", "y, inference"))  # these maps take each value on its own
    texts = []
    if np.any(np.isfinite(own[bad])):
        texts.append(f"{what} disappears: {quantity} is finite where it should not be")
    if alone and not np.all(np.isfinite(own[~bad])):
        texts.append(f"{what} spreads from one value to others of {quantity}")
    if not np.all(np.isfinite(others)):
        texts.append(f"{what} spreads from channel 0 to others in {quantity}")
    for text in texts:
        yield Observation("NaN and inf", case, trouble=Trouble(Kind.NON_FINITE, text, about=quantity))
