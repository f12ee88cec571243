"""Is a backward the derivative of its forward? Numerical derivatives, what they can resolve, and a verdict."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from refnorm.gradients.numerical import Floats
from refnorm.gradients.point import Measured, Point, Unusable, as_input

RIGHT, WRONG, CANNOT_TELL = "right", "wrong", "cannot tell"
RESOLVED = 2.0**-10  # of an element; a larger bound would let mistakes of a factor 1 + 1/m pass
ROUGH = 2.0**-5  # of an element; with a larger bound the estimate is only an order of magnitude, and convicts nobody


@dataclass(frozen=True)
class Comparison:
    """One gradient against the numerical one.

    Attributes
    ----------
    name : of the input.
    status : "right", "wrong" or "cannot tell".
    method : "complex step", "differences", or "" where nothing was compared.
    index, analytic, numeric : of the worst element: the largest error in units of its bound.
    estimate : what the numerical derivative alone may be off by, estimated.
    bound : what the two may differ by: the estimate, and the noise of the backward.
    checked, size : elements compared, of how many; more than the limit are drawn at random.
    unresolved : compared elements whose bound is more than a thousandth of them.
    reason : in words, where the status is not "right".
    """

    name: str
    status: str
    method: str = ""
    index: tuple[int, ...] = ()
    analytic: float = 0.0
    numeric: float = 0.0
    estimate: float = 0.0
    bound: float = 0.0
    checked: int = 0
    size: int = 0
    unresolved: int = 0
    reason: str = ""

    @property
    def error(self) -> float:
        """Difference of the two at the worst element."""
        return abs(self.analytic - self.numeric)


@dataclass(frozen=True, repr=False)
class Verdict:
    """Whether a backward is the derivative of its forward.

    Attributes
    ----------
    comparisons : one per input, then the adjoint identity over all inputs at once, along a random direction.
    seed : of the random upstream gradient and directions.
    notes : traps that were met, and what else a reader should know.
    cause : what explains the numbers, where it is known.
    """

    comparisons: tuple[Comparison, ...]
    seed: int
    notes: tuple[str, ...] = ()
    cause: str = ""

    @property
    def status(self) -> str:
        """The worst of the comparisons: wrong, cannot tell, right."""
        return next((s for s in (WRONG, CANNOT_TELL) if any(c.status == s for c in self.comparisons)), RIGHT)

    @property
    def passed(self) -> bool:
        """Whether everything was compared, resolved and right."""
        return self.status == RIGHT

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return {"status": self.status, **asdict(self)}

    def __str__(self) -> str:
        head = f"{'gradient':<12}{'status':<13}{'analytic':>22}{'numeric':>22}"
        head += f"{'error':>10}{'estimate':>10}{'bound':>10}"
        lines = [head] if any(c.method for c in self.comparisons) else []
        for c in self.comparisons:
            if not c.method:
                lines.append(f"{c.name:<12}{c.status}")
                continue
            numbers = f"{c.analytic:>22.15g}{c.numeric:>22.15g}{c.error:>10.1e}{c.estimate:>10.1e}{c.bound:>10.1e}"
            place = f"at {list(c.index)}, worst of {c.checked}" if c.checked > 1 else ""
            some = f" of {c.size}" if c.checked < c.size else ""
            lines.append(f"{c.name:<12}{c.status:<13}{numbers}  {place}{some}, {c.method}".replace("  , ", "  "))
        texts = [f"{c.name}: {c.reason}" for c in self.comparisons if c.reason]
        texts += [f"cause: {self.cause}"] if self.cause else []
        texts += [f"note: {note}" for note in self.notes]
        for text in texts:
            lines += textwrap.wrap(text, 110, subsequent_indent="  ")
        return "\n".join([*lines, f"{self.status} (seed {self.seed})"])

    def __repr__(self) -> str:
        """Say in one line what pytest shows of a failed assertion."""
        reasons = "".join(f"; {c.name}: {c.reason}" for c in self.comparisons if c.reason)
        return f"<Verdict: {self.status}{f'; {self.cause}' if self.cause else reasons}>"


def gradcheck(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *inputs: Any,
    dy: Any = None,
    jvp: Callable[..., Any] | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    elements: int = 200,
) -> Verdict:
    """Compare a backward with numerical derivatives of its forward, element by element.

    The loss is sum(dy y) with a random dy, because a constant one proves nothing where a constant is annihilated. Two
    roads lead to its derivatives. *Differences*: central ones, extrapolated to order 8, from a first step that moves
    the output by about a twentieth of its own spread, halved until the estimate stands still or drowns in noise;
    where a tiny step says that a kink was crossed, as ReLU has one, the tiny step counts. *Complex step*:
    imag(y(x + ih)) / h, which subtracts nothing, where forward takes complex input and agrees with the differences.
    Nothing is assumed of the size of a gradient: noise is measured, as the second differences of y and of
    the gradients under changes too small to bend them (the principle of Moré & Wild 2011, *Estimating computational
    noise*), and there is no floor under which anything passes.

    Parameters
    ----------
    forward : called as ``forward(*inputs)``, returns ``y, cache``.
    backward : called as ``backward(dy, cache)``, returns one gradient of sum(dy y) per input, or None for one that is
        not offered; with one input, an array will do.
    inputs : real floating-point arrays; they are widened to float64, and never written to.
    dy : upstream gradient, shape of y; random by default, and better so.
    jvp : called as ``jvp(*directions, cache)``, returns dy; if given, <dy, J v> = <J^T dy, v> is asked of it as well.
    names : of the inputs, for the verdict.
    seed : of everything random.
    elements : at most so many elements of each input are moved; the adjoint identity moves all.

    Returns
    -------
    Verdict
        ``verdict.passed``, ``verdict.status``, ``verdict.comparisons``, ``str(verdict)``.

    Raises
    ------
    TypeError
        An input is no real floating-point array.
    ValueError
        dy does not have the shape of y, the inputs are not finite, or names are too few or too many.

    Examples
    --------
    >>> import numpy as np
    >>> from refnorm import batch_norm_training, batch_norm_training_backward
    >>> x = np.array([[1.0, 10.0], [2.0, 30.0], [6.0, 20.0]])
    >>> gradcheck(batch_norm_training, batch_norm_training_backward, x, np.ones(2), np.zeros(2)).passed
    True
    >>> def forgets_the_mean(dy, saved):
    ...     dx, dgamma, dbeta = batch_norm_training_backward(dy, saved)
    ...     return dx + dy.mean(axis=0), dgamma, dbeta
    >>> verdict = gradcheck(batch_norm_training, forgets_the_mean, x, np.ones(2), np.zeros(2))
    >>> verdict.status, [comparison.status for comparison in verdict.comparisons]
    ('wrong', ['wrong', 'right', 'right', 'wrong'])
    """
    arrays = [as_input(array, k) for k, array in enumerate(inputs)]
    labels = list(names) if names is not None else [f"input {k}" for k in range(len(arrays))]
    if len(labels) != len(arrays) or not arrays:
        raise ValueError(f"{len(arrays)} inputs and {len(labels)} names; give at least one input, and a name for each")
    at = Point(forward, backward, arrays, dy, seed, elements)
    if at.unusable:
        cannot = tuple(Comparison(label, CANNOT_TELL, reason=at.unusable) for label in labels)
        return Verdict(cannot, seed, tuple(at.notes))
    absent = [gradient is None for gradient in at.gradients]
    comparisons = [
        Comparison(label, CANNOT_TELL, reason="backward returns no gradient for it")
        if none
        else _compared(label, partial(at.gradient, k, label))
        for k, (label, none) in enumerate(zip(labels, absent, strict=True))
    ]
    if not all(absent):
        comparisons.append(_compared("<dy, J v>", at.adjoint))
    if jvp is not None:
        comparisons.append(_compared("jvp", partial(at.adjoint_of, jvp)))
    return Verdict(tuple(comparisons), seed, tuple(at.close()))


def _compared(name: str, measure: Callable[[], Measured]) -> Comparison:
    """Judge elements: wrong beyond the bound, unresolved where the bound is no small part of them."""
    try:
        method, analytic, numeric, estimate, noise, chosen, shape, size = measure()
    except Unusable as unusable:
        return Comparison(name, WRONG, reason=str(unusable))
    bound = estimate + np.where(np.isfinite(analytic), noise, 0)
    error = np.abs(analytic - numeric)
    sizes = np.maximum(np.maximum(np.abs(analytic), np.abs(numeric)), size)
    unknown = ~np.isfinite(numeric) | ~np.isfinite(bound) | (np.isfinite(analytic) & (bound > ROUGH * sizes))
    with np.errstate(all="ignore"):
        ratio = np.where(error == 0, 0.0, error / bound)
    ratio = np.where(unknown, 0.0, np.where(np.isfinite(analytic), ratio, np.inf))
    unresolved = (unknown | (bound > RESOLVED * sizes)) & (error != 0)
    worst = int(np.argmax(ratio))
    status, reason = RIGHT, ""
    if ratio[worst] > 1:
        status = WRONG
        bad = int(np.sum(ratio > 1))
        reason = f"{bad} of {chosen.size} elements differ by more than the bound" if chosen.size > 1 else "they differ"
        reason += _pattern(analytic, numeric, bound)
    elif np.any(unresolved):
        status = CANNOT_TELL
        worst = int(np.argmax(np.where(unresolved, np.where(np.isfinite(bound), bound, np.inf), -1.0)))
        some = f" in {int(np.sum(unresolved))} of {chosen.size} elements" if chosen.size > 1 else ""
        reason = (
            f"the derivative is {numeric[worst]:.3g} +- {bound[worst]:.1g}: not known well enough{some} to confirm or "
            f"refute {analytic[worst]:.3g}"
        )
    index = tuple(int(i) for i in np.unravel_index(int(chosen[worst]), shape)) if shape else ()
    at = [float(values[worst]) for values in (analytic, numeric, estimate, bound)]
    counts = (chosen.size, math.prod(shape) if shape else 1, int(np.sum(unresolved)))
    return Comparison(name, status, method, index, at[0], at[1], at[2], at[3], *counts, reason=reason)


def _pattern(analytic: Floats, numeric: Floats, bound: Floats) -> str:
    """Say if one factor, an exchange of sign included, would make every element right."""
    clear = np.abs(numeric) > bound / RESOLVED
    if not np.any(clear) or not np.all(np.isfinite(analytic)):
        return ""
    factor = float(np.sum(analytic[clear] * numeric[clear]) / np.sum(numeric[clear] ** 2))
    if (
        abs(factor - 1) > RESOLVED
        and factor
        and np.all(np.abs(analytic - factor * numeric) <= max(1.0, abs(factor)) * bound)
        and analytic.size > 1
    ):
        return f"; every one is {factor:.6g} times the derivative"
    return ""
