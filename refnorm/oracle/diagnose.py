"""From wrong numbers to a cause in words: which single deviation, or which circumstance, explains all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from refnorm.conventions import POLICIES, ROWS, Convention
from refnorm.oracle.bounds import ONE_PASS, largest, unit_roundoff
from refnorm.oracle.deviations import candidates
from refnorm.oracle.deviations.second_order import RIGHT
from refnorm.oracle.judge import BEHAVIOURS, FURTHER, QUANTITIES, Observation, bound_of, expected_of
from refnorm.oracle.worlds import Deviation, Values, World, world


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, a convention that is not the declared one, or an algorithm that loses digits.

    Attributes
    ----------
    kind : "wrong", "convention" or "numerics".
    cause : stable name of the vocabulary, "unknown" if none explains the numbers.
    title, effect : in words.
    quantities, cases : what it was seen in; case ids.
    case, quantity, index, expected, got, error, bound : the clearest instance.
    path : which of a target's paths, "" if it has one.
    """

    kind: str
    cause: str
    title: str
    effect: str
    quantities: tuple[str, ...]
    cases: tuple[str, ...]
    case: str
    quantity: str
    index: tuple[int, ...] = ()
    expected: float | None = None
    got: float | None = None
    error: float | None = None
    bound: float | None = None
    path: str = ""


@dataclass(frozen=True)
class _Cause:
    kind: str
    name: str
    title: str
    effect: str = ""


CIRCUMSTANCES: tuple[tuple[str, str, Callable[[Observation], bool]], ...] = (
    (
        "only-strided",
        "only where arrays are not contiguous or share memory",
        lambda o: o.case.situation.layout != "ordinary",
    ),
    ("only-shared-memory", "only where arrays share memory", lambda o: o.case.situation.layout == "shared"),
    ("only-broadcast", "only for broadcast arrays (stride 0)", lambda o: o.case.situation.layout == "broadcast"),
    ("only-without-affine", "only without gamma and beta", lambda o: o.case.gamma is None and o.case.beta is None),
    ("only-without-gamma", "only without gamma", lambda o: o.case.gamma is None),
    ("only-without-beta", "only without beta", lambda o: o.case.beta is None),
    ("only-mixed-precision", "only where parameters are wider than x", lambda o: o.case.parameters != o.case.kind),
    ("only-half", "only in half precision", lambda o: o.case.kind in ("float16", "bfloat16")),
    (
        "only-float64",
        "only in float64: intermediate results are kept in a narrower format",
        lambda o: o.case.kind == "float64",
    ),
    ("only-narrow", "only in formats narrower than float64", lambda o: o.case.kind != "float64"),
    ("only-one-sample", "only for a batch of one sample", lambda o: o.case.x.shape[0] == 1),
    ("only-constant-channel", "only in a constant channel", lambda o: o.case.situation.content == "constant"),
    ("only-gamma-zero", "only where gamma is 0", lambda o: o.case.gamma is not None and not np.all(o.case.gamma)),
    (
        "only-gamma-small",
        "only where gamma is 0 or nearly: x_hat may be recovered from y",
        lambda o: o.case.situation.gamma in ("zero", "all-zero", "tiny"),
    ),
    (
        "only-initial-statistics",
        "only from running statistics of exactly (0, 1)",
        lambda o: not np.any(o.case.running_mean) and bool(np.all(o.case.running_var == 1)),
    ),
    ("only-many-samples", "only for many samples", lambda o: o.case.x.shape[0] > 64),
    ("only-rank-2", "only for x of rank 2", lambda o: o.case.x.ndim == 2),
    ("only-rank-3", "only for x of rank 3", lambda o: o.case.x.ndim == 3),
    ("only-rank-4", "only for x of rank 4", lambda o: o.case.x.ndim == 4),
    ("only-rank-5", "only for x of rank 5", lambda o: o.case.x.ndim == 5),
    ("only-spatial", "only for x with spatial axes", lambda o: o.case.x.ndim > 2),
    ("only-large-count", "only for large counts", lambda o: o.case.count > 512),
    (
        "only-last-axis-like-channels",
        "only where the last axis is as long as there are channels: the layout is guessed",
        lambda o: o.case.x.ndim > 2 and o.case.x.shape[-1] == o.case.x.shape[1],
    ),
    ("only-zero-eps", "only for eps = 0", lambda o: o.case.eps == 0),
    ("only-several-steps", "only over several steps", lambda o: len(o.case.batches) > 1),
)


FITS = (0.1, 1, 4)  # in bounds: what fits closely is believed before what merely fits, then what nearly fits


def diagnose(observations: Sequence[Observation], convention: Convention) -> list[Finding]:
    """Group what failed into findings, each with the cause that explains it."""
    causes: dict[_Cause, list[Observation]] = {}
    observations = [o for o in observations if not _redundant(o, observations)]
    given: list[Deviation] = []
    for quantity in (*QUANTITIES, *FURTHER, *BEHAVIOURS):
        seen = [o for o in observations if o.quantity == quantity]
        failed = [o for o in seen if not o.passed]
        for trouble in dict.fromkeys(_kind_of(o) for o in failed if o.trouble):
            those = [o for o in failed if _kind_of(o) == trouble]
            causes.setdefault(_troubled(quantity, trouble, those, seen, convention), []).extend(those)
        for cause, explained in _numbers(quantity, seen, convention, given):
            causes.setdefault(cause, []).extend(explained)
    order = {"wrong": 0, "convention": 1, "numerics": 2}
    findings = [_finding(cause, those) for cause, those in causes.items()]
    return sorted(findings, key=lambda f: order[f.kind])


def _redundant(o: Observation, observations: Sequence[Observation]) -> bool:
    """Whether a behaviour only repeats what ordinary results say already."""
    if o.policy:  # no call of the function gives anything usable
        ordinary = [p for p in observations if p.quantity == "y, training"]
        return bool(ordinary) and all(p.trouble for p in ordinary)
    modified = any(p.quantity == "arguments unchanged" and p.trouble for p in observations)
    if o.quantity == "repeatability":
        return modified
    if o.quantity == "NaN and inf" and o.trouble and " raised " not in o.trouble:
        return modified or any(p.quantity == o.about and not p.passed for p in observations)
    return False


def _kind_of(o: Observation) -> str:
    """Return what went wrong without the particulars of a case: all wrong shapes of a quantity are one thing."""
    return "has shape" if "has shape" in o.trouble else o.trouble


def _numbers(
    quantity: str, seen: Sequence[Observation], convention: Convention, given: list[Deviation]
) -> list[tuple[_Cause, list[Observation]]]:
    """Explain the failures of one quantity that have numbers: overflow, one-pass, a deviation, or a circumstance."""
    failed = [o for o in seen if not o.passed and not o.trouble]
    comparable = [o for o in seen if not o.trouble and o.actual is not None]
    if not failed:
        return []
    result: list[tuple[_Cause, list[Observation]]] = []
    deviation = _deviation(quantity, failed, comparable, convention, given)
    if 2 * len(failed) > len(comparable) and all(np.all(np.isnan(o.actual)) for o in failed):
        title = f"{quantity} is NaN throughout: something is read that was never computed"
        return [(_Cause("wrong", "returns-nan", title, "Nothing can be computed with it."), failed)]
    wide = {o.case.situation.name for o in failed if not _may_overflow(o)}  # what fails there too is no overflow
    if not deviation and (large := [o for o in failed if _may_overflow(o)]):
        rest = [o for o in failed if o not in large]
        deviation = (
            _deviation(quantity, rest, [o for o in comparable if o not in large], convention, given) if rest else None
        )
        lost = [
            o
            for o in large
            if deviation or (o.case.situation.name not in wide and not (rest and np.all(np.isfinite(o.actual))))
        ]
        if lost:
            title = "sums or squares stay in half precision: they must be kept in float32 or wider"
            effect = (
                "At values of a few hundred, or some thousand values per channel, they overflow or stop growing: "
                "statistics become inf, y 0, gradients of gamma and beta too small."
            )
            result.append((_Cause("numerics", "half-overflow", title, effect), lost))
            failed = [o for o in failed if o not in lost]
        if not failed:
            return result
    if deviation:
        given.append(deviation)
        result.append((_Cause(deviation.kind, deviation.name, deviation.sentence, deviation.effect), failed))
    elif all(ONE_PASS.name in o.tiers for o in failed):
        title = (
            "digits are lost when the mean is large: the variance is E[x^2] - E[x]^2 in one pass, or something like it"
        )
        effect = "The error grows with (mean/std)^2: at mean/std = 1e4 float32 has no digit left in the variance."
        result.append((_Cause("numerics", "one-pass-variance", title, effect), failed))
    elif kind := _coarser(failed, comparable, convention):
        title = f"right to the precision of {kind} alone: something on the way is rounded to it"
        effect = "Digits that the caller's format has are lost, whatever the data."
        result.append((_Cause("numerics", f"computed-in-{kind}", title, effect), failed))
    else:
        result.append((_unexplained(quantity, failed, [o for o in seen if o.passed]), failed))
    return result


def _deviation(
    quantity: str,
    failed: Sequence[Observation],
    comparable: Sequence[Observation],
    convention: Convention,
    given: Sequence[Deviation],
) -> Deviation | None:
    """Return the deviation that gives every number that was returned, those that passed included.

    A gradient may also deviate in the world of a forward deviation that was found before (a pair).
    """
    smooth = [o for o in failed if _smooth(o)] or list(failed)
    telling = sorted(smooth, key=lambda o: o.case.x.size)
    telling += [o for o in comparable if o.passed and _smooth(o)]
    possible = list(_possible(quantity, given))
    for slack in FITS:
        good = (d for d in possible if all(_matches(d, o, convention, slack) for o in telling))
        if found := next(good, None):
            return found
    return None


def _smooth(o: Observation) -> bool:
    """Whether rounding errors are not magnified: not in a constant channel, not among subnormal numbers."""
    return o.case.situation.content != "constant" and o.case.situation.name != "subnormal-values"


def _possible(quantity: str, given: Sequence[Deviation]) -> Iterator[Deviation]:
    yield from (d for d in given if quantity in d.values)
    if quantity in RIGHT:
        yield from (replace(d, values={quantity: _in(d.change, RIGHT[quantity])}) for d in given if d.change)
    yield from sorted(candidates(quantity), key=lambda d: d.change is not None)  # first what touches nothing else
    for first in given:
        if first.change is None or quantity.split()[-1] not in ("dx", "dgamma", "dbeta", "jvp", "ddy"):
            continue
        for second in candidates(quantity):
            if second.change is None:
                yield replace(second, values={quantity: _in(first.change, second.values[quantity])})


def _in(change: Callable[[World], World], value: Callable[[World], Values]) -> Callable[[World], Values]:
    return lambda w: value(change(w))


def _matches(deviation: Deviation, o: Observation, convention: Convention, slack: float) -> bool:
    with np.errstate(all="ignore"):
        bound = bound_of(o.case, convention, o.quantity)
        try:
            value = deviation.values[o.quantity](world(o.case, convention))
            value = np.broadcast_to(np.asarray(value, dtype=np.longdouble), np.shape(o.actual))
        except ValueError:  # of another shape: not what was computed
            return False
        truth = expected_of(o.case, convention, o.quantity).hi.reshape(value.shape)
        growth = max(
            1.0, float(np.max(np.abs(value), initial=0)) / max(float(np.max(np.abs(truth), initial=0)), 5e-324)
        )
        u = max(unit_roundoff(o.case.kind), unit_roundoff(o.case.parameters))
        size = np.maximum(np.abs(value), np.abs(truth))
        if size.ndim > 1:  # its terms may be larger than it is: as large as elsewhere in the channel
            size = size.max(tuple(a for a in range(size.ndim) if a != 1), keepdims=True)
        allowed = slack * (growth * bound + 4 * u * size)
        same = np.isfinite(o.actual) & ((np.abs(o.actual - value) <= allowed) | np.isinf(bound))
        limit = largest(o.case.kind if value.ndim > 1 else o.case.parameters)
        undefined = ~np.isfinite(value) | (np.abs(value) > limit)
        same = same | (undefined & ~np.isfinite(o.actual))
        # what does not differ from the truth explains nothing
        explains = o.passed or abs(o.got - float(value[o.index])) < 0.5 * o.error or not np.isfinite(o.error)
    return bool(np.all(same) and explains)


def _coarser(failed: Sequence[Observation], comparable: Sequence[Observation], convention: Convention) -> str:
    """Name the format whose rounding errors explain all failures, if most of what is in finer formats fails."""
    for kind in ("float32", "float16", "bfloat16"):
        finer = [o for o in comparable if unit_roundoff(o.case.kind) < unit_roundoff(kind)]
        if not set(failed) <= set(finer) or len(failed) < len(finer) / 2:
            continue
        most = max((_ratio_in(kind, o, convention) for o in failed if _smooth(o)), default=0.0)
        if 0.02 < most <= 1:
            return kind
    return ""


def _ratio_in(kind: str, o: Observation, convention: Convention) -> float:
    """Return the largest error of an observation in bounds of another format."""
    with np.errstate(all="ignore"):
        bound = bound_of(replace(o.case, kind=kind, parameters=kind), convention, o.quantity)
        error = np.abs(expected_of(o.case, convention, o.quantity).error_of(o.actual))
        return float(np.max(np.where(np.isinf(bound), 0, error / bound), initial=0))


def _may_overflow(o: Observation) -> bool:
    """Whether a case leaves half precision on the way: squares of large values, a large count, products of sums."""
    products = o.quantity in FURTHER and not np.isfinite(o.got)
    return o.case.kind in ("float16", "bfloat16") and (
        products or o.case.situation.name in ("half-overflow", "large-count")
    )


def _unexplained(quantity: str, failed: Sequence[Observation], passed: Sequence[Observation]) -> _Cause:
    where = [(sum(map(holds, passed)), k) for k, (_, _, holds) in enumerate(CIRCUMSTANCES) if all(map(holds, failed))]
    exceptions, k = min(where, default=(len(passed), 0))
    if exceptions < len(passed) / 6:  # of all that is right, less than a sixth shares the circumstance
        name, words, _ = CIRCUMSTANCES[k]
        some = " (not in every such case)" if exceptions else ""
        return _Cause("wrong", name, f"{quantity} is wrong {words}{some}", "Everything looks right elsewhere.")
    if all(o.case.situation.name == "subnormal-values" and np.any(o.actual == 0) for o in failed):
        effect = "Values below the smallest normal number are lost; some hardware modes and compilers do this."
        return _Cause("numerics", "subnormals-flushed", "subnormal numbers are flushed to 0", effect)
    situations = list(dict.fromkeys(o.case.situation.name for o in failed))
    if len(situations) == 1 and passed:
        why = failed[0].case.situation.why
        return _Cause(
            "wrong",
            f"only-{situations[0]}",
            f"{quantity} is wrong in the situation {situations[0]!r}",
            f"What it tests: {why}.",
        )
    worst = max(o.ratio for o in failed)
    share = "in every case" if not passed else f"in {len(failed)} of {len(failed) + len(passed)} cases"
    size = f"up to {worst:.3g} times its bound" if np.isfinite(worst) else "not finite where it should be"
    return _Cause(
        "wrong", "unknown", f"{quantity} is wrong {share}: {size}", "No single known deviation explains the numbers."
    )


def _troubled(
    quantity: str, trouble: str, failed: Sequence[Observation], seen: Sequence[Observation], convention: Convention
) -> _Cause:
    """Explain what has no numbers."""
    if quantity in ("one value per channel", "empty batch"):
        accepted = convention.one_value if quantity.startswith("one") else convention.empty
        allowed = " or ".join(POLICIES[p] for p in accepted)
        title = f"{quantity}: {POLICIES[trouble]}; {convention.name} asks that {allowed}"
        name = quantity.replace(" ", "-")
        kind = "wrong" if trouble in ("non-finite", "other") else "convention"
        effect = (
            "NaN in running statistics stays there: every later inference is NaN."
            if trouble == "non-finite"
            else ("Code that relies on the convention is not warned, or fails, when a batch has one value or none.")
        )
        return _Cause(kind, f"{name}-{trouble.replace(' ', '-')}", title, effect)
    if quantity == "arguments unchanged":
        return _Cause("wrong", "argument-modified", trouble, "The caller's data change behind its back.")
    if quantity == "shapes and dtypes":
        about = ", ".join(dict.fromkeys(o.about for o in failed))
        title = f"{about}: {trouble}"
        return _Cause("wrong", "dtype-changed", title, "What comes after computes in another precision, or fails.")
    if quantity == "NaN and inf" and " raised " not in trouble:
        return _Cause(
            "wrong", "non-finite-handling", trouble, "NaN and inf must be seen where they arise, and nowhere else."
        )
    if quantity == "repeatability":
        return _Cause("wrong", "not-repeatable", trouble, "State is kept between calls, or the result is random.")
    if " raised " in trouble:
        passed = [o for o in seen if o.passed] if quantity != "NaN and inf" else []
        where = next(
            (w for _, w, holds in CIRCUMSTANCES if passed and all(map(holds, failed)) and not any(map(holds, passed))),
            "",
        )
        return _Cause("wrong", "raises", trouble + (f" ({where})" if where else ""), "Nothing comes out.")
    if trouble == "has shape":
        effect = "Nothing can be computed with it."
        if quantity.endswith(("dgamma", "dbeta")) and all(f"has shape {o.case.x.shape}," in o.trouble for o in failed):
            title = f"{quantity} is not summed over the batch: it has the shape of x"
            return _Cause("wrong", "parameter-gradients-not-summed", title, effect)
        return _Cause("wrong", "shape", failed[0].trouble, effect)
    return _Cause("wrong", "result-unusable", trouble, "Nothing can be compared.")


def _finding(cause: _Cause, those: Sequence[Observation]) -> Finding:
    """Show the clearest instance: the smallest case whose error is far above its bound, float64 first."""
    clear = sorted(those, key=lambda o: (o.ratio <= 1e3 and not o.trouble, unit_roundoff(o.case.kind), o.case.x.size))
    o = clear[0]
    quantities = tuple(dict.fromkeys(t.quantity for t in those))
    cases = tuple(dict.fromkeys(t.case.id for t in those))
    plain = (cause.kind, cause.name, cause.title, cause.effect, quantities, cases, o.case.id, o.quantity)
    return Finding(*plain) if o.trouble else Finding(*plain, o.index, o.expected, o.got, o.error, o.bound)


def nearest(observations: Sequence[Observation], declared: Convention) -> str | None:
    """Name the row under which the running statistics and policies that were seen conform; None if there is none."""
    policies = [o for o in observations if o.policy]
    moving = [o for o in observations if o.quantity in ("running mean", "running variance") and o.actual is not None]
    for row in sorted(ROWS.values(), key=lambda row: row.name == "paper"):  # a framework says more
        if row.name == declared.name or not moving:
            continue
        accepted = {"one value per channel": row.one_value, "empty batch": row.empty}
        if all(o.policy in accepted[o.quantity] for o in policies) and all(_conforms(o, row) for o in moving):
            return row.name
    return None


def _conforms(o: Observation, row: Convention) -> bool:
    with np.errstate(all="ignore"):
        exact = expected_of(o.case, row, o.quantity)
        error = np.abs(exact.error_of(o.actual))
        return bool(np.all((error <= bound_of(o.case, row, o.quantity)) | ~np.isfinite(exact.hi)))
