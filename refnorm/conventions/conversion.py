"""What changes between two conventions: in words, and as a trained layer carried from one to the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from refnorm.conventions.row import Convention
from refnorm.conventions.rows import convention
from refnorm.formats import Array


@dataclass(frozen=True)
class State:
    """What one batch normalization layer holds, in the terms of some convention.

    Attributes
    ----------
    running_mean, running_var : arrays of the kept shape, as stored: for rows that keep running sums, the sums.
    momentum : as the framework's argument, whatever it means there.
    eps : as the framework's argument.
    gamma, beta : arrays of the kept shape, or None.
    weight : for rows that keep running sums, the running count that they are divided by (Caffe's third blob; for a
        debiased average, (1 - decay^n) / (1 - decay)); 1 for all others.
    """

    running_mean: Array
    running_var: Array
    momentum: float
    eps: float
    gamma: Array | None = None
    beta: Array | None = None
    weight: float = 1.0


def convert(state: State, source: str, target: str, *, count: int | None = None, eps: float | None = None) -> State:
    """Carry a layer's state from one convention to another.

    Without ``count`` inference gives the same output, to rounding: the variance is carried as it is, less what eps
    grows by. With ``count`` the variance becomes what the target would have stored, times m/(m - 1) or (m - 1)/m, so
    that training goes on without a jump; inference then changes by as much. No conversion does both.

    Parameters
    ----------
    state : in the source's terms.
    source, target : names of rows of `refnorm.conventions`.
    count : values per channel in the batches that were averaged; None to keep inference.
    eps : of the target's layer; by default the source's, as it arrives there.

    Returns
    -------
    State
        In the target's terms.

    Raises
    ------
    ValueError
        A row that there is not; count below 2 where the variances differ; eps that leaves a negative variance; a weight
        that running sums cannot have, or that is not above 0; momentum outside 0..1.

    Examples
    --------
    >>> import numpy as np
    >>> layer = State(np.array([1.0]), np.array([2.0]), momentum=0.1, eps=1e-5)
    >>> moved = convert(layer, "torch", "keras", count=4)
    >>> moved.momentum, moved.running_var                        # 1 - 0.1, and 2 times 3/4
    (0.9, array([1.5]))
    >>> sums = convert(layer, "torch", "caffe")                  # fraction 0.9: in the long run the count is 10
    >>> round(sums.weight, 9), sums.running_mean.round(9), sums.running_var.round(9)
    (10.0, array([10.]), array([20.]))
    """
    a, b = convention(source), convention(target)
    if not state.weight > 0:
        raise ValueError(
            f"weight={state.weight!r} divides the running sums and must be above 0: train for a step first"
        )
    new_weight = _weight_of_new(a, state)
    mean, var = state.running_mean / state.weight, state.running_var / state.weight
    if count is not None and a.correction != b.correction:
        if count < 2:
            raise ValueError(f"count={count} values per channel have no unbiased variance; it must be 2 or more")
        var = var * ((count - 1) / count if a.correction else count / (count - 1))
    was, now = a.travelled(state.eps), b.travelled(state.eps if eps is None else eps)
    if count is None and was != now:
        var = var + (was - now)
        if bool((var < 0).any()):
            raise ValueError(
                f"eps={now!r} leaves a negative variance, smallest {float(var.min())!r}; "
                f"use eps below {now + float(var.min()):.4g}"
            )
    moved = replace(state, running_mean=mean, running_var=var, eps=state.eps if eps is None else eps, weight=1.0)
    if b.momentum == "new":
        return replace(moved, momentum=new_weight)
    if b.momentum == "old":
        return replace(moved, momentum=1 - new_weight)
    if not new_weight:
        raise ValueError(
            f"{source} gives the new batch no weight, and running sums always do: {target} cannot hold that"
        )
    weight = 1 / new_weight  # f s + 1 = s: each further batch weighs 1/s, as it did
    return replace(moved, momentum=1 - new_weight, weight=weight, running_mean=mean * weight, running_var=var * weight)


def _weight_of_new(row: Convention, state: State) -> float:
    if not 0 <= state.momentum <= 1:
        raise ValueError(f"momentum={state.momentum!r} must be in 0..1, whatever {row.name} means by it")
    if row.momentum == "sums":
        if state.momentum == 1:
            raise ValueError(f"{row.name} with fraction 1 averages all batches alike: no fixed weight continues that")
        return 1 - state.momentum
    if state.weight != 1:
        raise ValueError(f"weight={state.weight!r}, but {row.name} keeps averages and no sums; leave it 1")
    return state.momentum if row.momentum == "new" else 1 - state.momentum


def differences(a: Convention, b: Convention, count: int = 32) -> list[str]:
    """Say what changes when weights and running statistics move from one convention to the other.

    Parameters
    ----------
    count : values per channel, for the factor between the variances.

    Examples
    --------
    >>> for line in differences(convention("torch"), convention("onnx"), count=4):
    ...     print(line)
    momentum: torch weighs the new batch, onnx the old value: pass 1 - momentum
    running variance: torch stores m/(m - 1) times the biased one: carry it as it is for the same
    inference, or times (m - 1)/m, 0.75 at m = 4, to train on without a jump
    one value per channel: torch raises; onnx biased
    empty batch: torch raises or statistics left; onnx raises or statistics left or non-finite
    eps and momentum: onnx rounds them to float32: add what eps loses to the variance
    """
    lines = []
    weighs = {"new": "the new batch", "old": "the old value", "sums": "the old sums"}
    if a.momentum != b.momentum:
        how = "pass 1 - momentum"
        if a.momentum == "sums":
            passed = "1 - f" if b.momentum == "new" else "f"
            how = f"divide the sums by their count s; each new batch weighs 1 - f, pass {passed}"
        elif b.momentum == "sums":
            fraction = "1 - momentum" if a.momentum == "new" else "momentum"
            how = f"pass f = {fraction}, the count s = 1/(1 - f), and s times the statistics"
        lines.append(f"momentum: {a.name} weighs {weighs[a.momentum]}, {b.name} {weighs[b.momentum]}: {how}")
    if a.correction != b.correction:
        more, factor, value = (
            (a, "(m - 1)/m", (count - 1) / count) if a.correction else (b, "m/(m - 1)", count / (count - 1))
        )
        lines.append(
            f"running variance: {more.name} stores m/(m - 1) times the biased one: carry it as it is for the same "
            f"inference, or times {factor}, {value:g} at m = {count}, to train on without a jump"
        )
    if a.one_value != b.one_value:
        lines.append(f"one value per channel: {a.name} {' or '.join(a.one_value)}; {b.name} {' or '.join(b.one_value)}")
    if a.empty != b.empty:
        lines.append(f"empty batch: {a.name} {' or '.join(a.empty)}; {b.name} {' or '.join(b.empty)}")
    if a.momentum_as != b.momentum_as:
        kinds = [f"{row.name} as {row.momentum_as or row.attributes}" for row in (a, b)]
        lines.append(f"momentum travels: {'; '.join(kinds)}")
    if a.attributes != b.attributes:
        rounding = a if a.attributes == "float32" else b
        fold = ": add what eps loses to the variance" if rounding is b else ""
        lines.append(f"eps and momentum: {rounding.name} rounds them to float32{fold}")
    if a.ranks != b.ranks:
        lines.append(f"ranks of x: {a.name} {', '.join(map(str, a.ranks))}; {b.name} {', '.join(map(str, b.ranks))}")
    return lines
