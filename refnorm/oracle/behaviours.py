"""What an implementation does where numbers do not tell: one value, no value, NaN, calls that disturb each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from refnorm._array import Array
from refnorm.conventions import Convention
from refnorm.golden.cases import Case
from refnorm.oracle.bounds import unit_roundoff
from refnorm.oracle.judge import FUNCTIONS, Observation, Raised, Trial, elementwise, kind_of


def policy(trial: Trial, behaviour: str, accepted: tuple[str, ...]) -> None:
    """Judge what happens where a formula is undefined: one value per channel, an empty batch."""
    case = trial.case
    gamma, beta, mean, var = trial.inputs()
    try:
        result = trial.call("train", trial.data(case.x), gamma, beta, mean, var, case.momentum, case.eps)
        y, new_mean, new_var, _ = trial.unpack("train", result, 4)
        outcome = _outcome(trial, y, new_mean, new_var)
    except Raised as raised:
        outcome = "raises" if " raised " in str(raised) else "other"
    trouble = "" if outcome in accepted else outcome
    trial.seen.append(Observation(behaviour, case, policy=outcome, trouble=trouble))


def _outcome(trial: Trial, y: Any, mean: Any, var: Any) -> str:
    """Name the policy that the returned values follow."""
    case = trial.case
    try:
        y, mean, var = (np.asarray(a, dtype=np.float64) for a in (y, mean, var))
    except (TypeError, ValueError):
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

    beta = np.zeros(case.x.shape[1]) if case.beta is None else case.beta
    weights = [float(w) for w in trial.convention.weights(case.momentum)]
    for old, new in (weights, weights[::-1]):  # in whichever sense: that is judged elsewhere
        if near(y.reshape(-1), beta) and near(mean, old * case.running_mean, new * case.x.reshape(-1)):
            if same_var:
                return "variance left"
            if near(var, old * case.running_var):
                return "biased"
    return "other"


def poisoned(trial: Trial) -> None:
    """Judge NaN or inf in one value of channel 0: seen there, and nowhere else."""
    case, implementation = trial.case, trial.implementation
    upstream = case.situation.content == "nan-upstream"
    gamma, beta, mean, var = trial.inputs()
    if case.operation == "inference":
        if hasattr(implementation, "infer") and not upstream:
            y = trial.call("infer", trial.data(case.x), gamma, beta, mean, var, case.eps)
            _contained(trial, "y, inference", y, alone=True)
        if not hasattr(implementation, "frozen"):
            return
        y, cache = trial.unpack("frozen", trial.call("frozen", trial.data(case.x), gamma, beta, mean, var, case.eps), 2)
        if not upstream:
            _contained(trial, "frozen y", y, alone=True)
        quantities = FUNCTIONS["frozen"][1:]
    else:
        result = trial.call("train", trial.data(case.x), gamma, beta, mean, var, case.momentum, case.eps)
        *forward, cache = trial.unpack("train", result, 4)
        for quantity, actual in zip(FUNCTIONS["train"], forward, strict=True):
            if not upstream:
                _contained(trial, quantity, actual)
        quantities = FUNCTIONS["backward"]
    if hasattr(implementation, "backward"):
        gradients = trial.unpack("backward", trial.call("backward", trial.data(case.dy), cache), 3)
        for quantity, actual in zip(quantities, gradients, strict=True):
            clean = not upstream and (quantity.endswith("dbeta") or quantity == "frozen dx")
            if not clean:  # these do not depend on x
                _contained(trial, quantity, actual, alone=quantity == "frozen dx")
    constant = ("frozen double backward dx", "frozen double backward dgamma") if not upstream else ("jvp", "ddy")
    for quantity, actual in trial.along("frozen " if case.operation == "inference" else "", cache):
        if not quantity.endswith(constant):  # these do not depend on what is poisoned
            _contained(trial, quantity, actual, alone=quantity.startswith("frozen") and elementwise(quantity))
    if not trial.seen:
        trial.seen.append(Observation("NaN and inf", case))


def _contained(trial: Trial, quantity: str, actual: Any, alone: bool = False) -> None:
    """Note if the poisoned element of channel 0 looks finite, or another channel does not."""
    case = trial.case
    spatial = elementwise(quantity)
    kind, shape = kind_of(case, quantity), case.x.shape if spatial else case.running_mean.shape
    shaped = trial.shaped(quantity, actual, shape, kind)
    if shaped is None:
        return
    values = np.asarray(shaped, dtype=np.float64)
    what = "nan in dy" if case.situation.content == "nan-upstream" else f"{case.situation.content} in x"
    source = case.dy if case.situation.content == "nan-upstream" else case.x
    poisoned = ~np.isfinite(source[:, 0]) if spatial else np.True_
    own, others = (values[:, 0], values[:, 1:]) if spatial else (values[0], values[1:])
    if np.any(np.isfinite(own[poisoned])):
        trial.note("NaN and inf", f"{what} disappears: {quantity} is finite where it should not be", quantity)
    if alone and not np.all(np.isfinite(own[~poisoned])):
        trial.note("NaN and inf", f"{what} spreads from one value to others of {quantity}", quantity)
    if not np.all(np.isfinite(others)):
        trial.note("NaN and inf", f"{what} spreads from channel 0 to others in {quantity}", quantity)


def memory(implementation: Any, convention: Convention, case: Case) -> str:
    """Say how calls disturb each other: results that change, buffers that are used again, caches that are not kept."""
    trial = Trial(implementation, case, convention)
    gamma, beta, mean, var = trial.inputs()
    x, other, dy = trial.data(case.x), trial.data(case.x[::-1] * 0.5 + 1), trial.data(case.dy)
    before = x.tobytes()
    try:

        def train(batch: Array) -> tuple[Any, ...]:
            arguments = (batch, gamma, beta, mean, var, case.momentum, case.eps)
            return trial.unpack("train", trial.call("train", *arguments), 4)

        def backward(cache: Any) -> list[Any]:
            return [np.array(g) for g in trial.unpack("backward", trial.call("backward", dy, cache), 3)]

        *first, cache = train(x)
        kept = [np.array(a) for a in first]
        *again, cache_again = train(x)
        if not all(map(_same, kept, again)):
            return "the same call gives different results when repeated"
        gradients = backward(cache_again) if hasattr(implementation, "backward") else []
        if x.tobytes() != before:
            return "backward writes into x, which its cache refers to"
        train(other)
        if not all(map(_same, kept, first)):
            return "a later call writes into results that an earlier one returned"
        if gradients:
            if not all(map(_same, gradients, backward(cache))):
                return "backward uses what the latest forward left, not the cache that it is given"
            try:
                if not all(map(_same, gradients, backward(cache))):
                    return (
                        "a second backward with the same cache gives different results: it uses up its cache silently"
                    )
            except Raised:
                pass  # a cache that is used up may say so
    except Raised:
        return ""  # judged elsewhere
    return ""


def _same(a: Any, b: Any) -> bool:
    if a is None or b is None or a.dtype == object:
        return True
    return bool(np.array_equal(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), equal_nan=True))
