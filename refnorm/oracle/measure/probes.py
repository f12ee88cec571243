"""What is asked of a black box, one probe each: inputs chosen so that the outputs give a convention away."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from refnorm.conventions.rows import CONVENTIONS
from refnorm.formats import cast
from refnorm.golden.inputs import cases
from refnorm.oracle.ask.answers import ask
from refnorm.oracle.ask.box import EPS, Box, Refused
from refnorm.oracle.ask.envelope import envelope_of, fitted, fixed_eps
from refnorm.oracle.behaviours import policy
from refnorm.oracle.measure.formulas import formulas
from refnorm.oracle.measure.measurement import OTHER, RAISES, Key, Measurement, by_rank
from refnorm.oracle.measure.weights import DIGITS, SENSES, Probe, running_statistics, sense_and_correction

PLACES: dict[str, Callable[[float, float], float]] = {
    "sqrt(var + eps)": lambda v, e: np.sqrt(v + e),
    "sqrt(var) + eps": lambda v, e: np.sqrt(v) + e,
    "sqrt(max(var, eps))": lambda v, e: np.sqrt(max(v, e)),
    "sqrt(var)": lambda v, e: np.sqrt(v),
}
MOVED = "sqrt(moved var + eps)"


def _functions(box: Box) -> Probe:
    """Find what does not raise whatever it is given; the other probes leave out what does."""
    for function, mode in (("train", "training"), ("infer", "inference")):
        if hasattr(box.implementation, function):
            if not getattr(box, f"{function}s"):
                yield Measurement(Key(mode), mode, RAISES, box.refusals[function])
        else:
            yield Measurement(Key(mode), mode, "not offered")
    yield Measurement(Key.RANKS, "ranks of x", box.ranks)


def _as_received(box: Box) -> Probe:
    """Whether eps and momentum are rounded to float32 on their way; only float64 results can tell."""
    if box.dtype != "float64" or not box.ranks:
        return
    narrow_work = works_in_less(box)
    where = "whatever the layer's format" if narrow_work else ""
    found = "float32 or less" if narrow_work else "float64"
    yield Measurement(Key.WORKING_FORMAT, "float64 is computed in", found, where)
    if narrow_work:
        return
    for name, value in (("eps", 1e-3), ("momentum", 0.1)):
        arrivals = {"float64": value, "float32": float(np.float32(value))}
        arrivals |= {"float32 complement": float(1 - np.float64(np.float32(1 - value)))} if name == "momentum" else {}
        try:
            received, other = (_received(box, name, v) for v in (value, 3 * value))
        except Refused:
            continue
        if abs(received - value) < 1e-5 * value:
            near, note = min(arrivals, key=lambda kind: abs(received - arrivals[kind])), f"arrives as {received:.12g}"
            fixed = abs(other - received) < 1e-5 * value  # what coincides is not heard
            near, note = ("fixed", f"is used, and {3 * value:g} is not heard") if fixed else (near, note)
            yield Measurement(Key(f"{name}-travels"), f"{name} travels as", near, f"{value:g} {note}")


def _received(box: Box, name: str, value: float) -> float:
    """Return eps, or momentum, as it shows in what comes back; 0 if it does not show."""
    if name == "eps":
        return 1 / _slope(box, value, 0.0) ** 2 if box.infers else 0.0
    if not box.keeps:
        return 0.0
    new = float(box.train(box.batch(0.0, 2.0), value)[1][0])
    kept = float(box.train(box.batch(-1.0, 1.0), value, mean=1.0)[1][0])
    return min((new, kept, 1 / new - 1 if new else 0.0), key=lambda a: abs(a - value))


def _slope(box: Box, eps: float, var: float) -> float:
    """Return what inference makes of x = 1 at mean 0, the mean of two such values."""
    return float(np.mean(box.infer(box.batch(1.0, 1.0), eps, var=var)))


def works_in_less(box: Box) -> bool:
    """Whether a float64 box loses a difference of 2^-40 between two values, as float32 does, behind every door."""
    d = 2.0**-40
    apart = []
    if box.infers:
        y = box.infer(box.batch(1 + d, 1.0), mean=1.0)
        apart.append(abs(y.flat[0] - y.flat[1]))
    if box.trains:
        apart.append(np.max(np.abs(box.train(box.batch(*[1 - d, 1 + d] * 4))[0])))
    return not any(difference > d / 2 for difference in apart)


def _first_step(box: Box) -> Probe:
    """Find what a new layer starts from: a line through two batches gives weight, initial value and defaults."""
    if not hasattr(box.implementation, "begin"):
        if box.keeps:
            note = "by the caller: nothing to measure"
            yield Measurement(Key.INITIAL_STATISTICS, "initial statistics", "given", note)
        return
    values = np.array([1.0, 3.0] * 4)
    default, given = ([box.begin(box.batch(*values * k), momentum, None) for k in (1, 2)] for momentum in (None, 0.25))
    weights = {label: float((steps[1][1] - steps[0][1])[0]) / 2 for label, steps in (("", given), ("d", default))}
    by_default = f"{weights['d']:.6g}"
    note = f"{by_default} by default; 0.25 given"
    yield Measurement(Key.FIRST_WEIGHT, "first weight of the new batch", weights[""], note, short=by_default)
    for k, name, gap in ((1, "mean", 2.0), (2, "variance", 3.0)):
        first, second = (float(step[k][0]) for step in given)
        slope = (second - first) / gap
        shift = round(first - slope * (2.0 if name == "mean" else 1.0), 6) + 0.0
        # The stored variance may be 8/7 of the biased one, and need not weigh the batch as the mean does.
        usual = (weights[""], 0.75, 0.25)
        weight = next((w for w, f in product(usual, (1, 8 / 7)) if abs(w * f - slope) < 1e-5), weights[""])
        if abs(1 - weight) > DIGITS:
            yield Measurement(Key(f"initial-{name}"), f"initial {name}", round(shift / (1 - weight), 6))
        elif shift:
            note = "is added to that of the first batch, at momentum 0.25"
            yield Measurement(Key(f"initial-{name}"), f"initial {name}", shift, note)
        else:
            yield Measurement(Key(f"initial-{name}"), f"initial {name}", "none", "the first batch is taken as it is")
    d = 2.0**-6
    y = float(np.max(box.begin(box.batch(*[-d, d] * 4), None, None)[0]))
    yield Measurement(Key.DEFAULT_EPS, "eps, by default", float(f"{(d / y) ** 2 - d * d:.3g}"), "from y of a new layer")


def _eps(box: Box) -> Probe:
    """Where eps is added, and the smallest that is honoured."""
    d = 2.0**-6
    doors: dict[str, Callable[[], float]] = {}
    fixed = fixed_eps(box).get("eps")
    eps, moved = EPS if fixed is None else fixed, 0.0
    if box.keeps:
        moved = np.sqrt(float(box.train(box.batch(*[-d, d] * 4))[2][0]) + EPS)
    if box.infers:
        doors["inference"] = lambda: 1 / _slope(box, EPS, d * d)
    if box.trains:
        doors["training"] = lambda: d / float(np.max(box.train(box.batch(*[-d, d] * 4))[0]))
    tolerance = 5e-3 if box.dtype == "float16" else 1e-4  # the places are 3 % apart, or more
    for mode, divisor in doors.items():
        found = divisor()
        # In training an unbiased variance may normalise: 8/7 of the biased one.
        fits = [
            f"{place}{', unbiased var' if k else ''}"
            for place, k in product(PLACES, (0, 1) if mode == "training" else (0,))
            if abs(found - PLACES[place](d * d * 8 / (8 - k), eps)) <= tolerance * found
        ]
        if mode == "training" and not fits and abs(found - moved) <= tolerance * found:
            fits = [MOVED]
        what = "eps = 2^-10" if fixed is None else f"eps {eps:g}, whatever is passed"
        note = f"{found:.6g} at var = 2^-12, {what}"
        yield Measurement(Key(f"{mode}-divisor"), f"divisor in {mode}", fits[0] if fits else OTHER, note)
    if box.infers and box.dtype != "float16":
        y, again = (_slope(box, eps, 0.0) for eps in (1e-12, 1e-6))
        received = 1 / y**2 if np.isfinite(y) and y else float("nan")
        honoured = "is honoured" if abs(received - 1e-12) < 1e-15 else "arrives so"
        honoured = "is used whatever is passed" if again == y else honoured
        yield Measurement(Key.TINY_EPS, "eps of 1e-12", float(f"{received:.4g}"), honoured)


def _kept_axes(box: Box) -> Probe:
    """One value is changed, and whatever else changes shared its statistics."""
    if not box.trains:
        return
    for rank in box.ranks:
        shape = (3, 4, 2, 3, 2)[:rank]
        x = np.random.default_rng(rank).integers(-8, 9, shape).astype(float)
        changed = x.copy()
        changed[(0,) * rank] += 1.5
        at = np.argwhere(box.train(x)[0] != box.train(changed)[0])
        kept = tuple(int(axis) for axis in range(rank) if len(at) and not at[:, axis].any())
        name, note = f"axis with its own statistics, rank {rank}", f"{len(at)} values of {x.size} together"
        yield Measurement(Key.KEPT_AXIS, name, kept, note, (rank,))


def _one_value_per_channel(box: Box) -> Probe:
    """Name, as the oracle does, what training makes of one value per channel."""
    return _policies(box, Key.ONE_VALUE, "one value per channel")


def _empty_batch(box: Box) -> Probe:
    """Name, as the oracle does, what training makes of no value at all."""
    return _policies(box, Key.EMPTY_BATCH, "empty batch")


def _policies(box: Box, key: Key, name: str) -> Probe:
    """Measure, rank by rank, what training does where there is no formula."""
    if not box.keeps:
        return
    sense, _ = sense_and_correction(box)
    row = replace(CONVENTIONS["torch"], momentum=sense if sense in SENSES else "new")
    seen = []
    envelope = envelope_of(box.implementation)
    for case in cases("training", box.dtype, key):
        own = fitted(case, envelope) if case.x.ndim in box.ranks else None
        if own is not None:
            seen.append((own.x.ndim, policy(own, row, ask(box.implementation, own), ()).policy))
    yield from by_rank(key, name, seen)


def _nan(box: Box) -> Probe:
    """How far one NaN in channel 0 of three reaches."""
    x = np.arange(12.0).reshape(4, 3)
    x[0, 0] = np.nan
    x = x.reshape(4, 3, *[1] * (box.rank - 2))
    doors: dict[str, Callable[[], list[Any]]] = {}
    if box.trains:
        doors["training"] = lambda: list(box.train(x))
    if box.infers:
        doors["inference"] = lambda: [box.infer(x)]
    for mode, door in doors.items():
        y, *statistics = door()
        bad = ~np.isfinite(y.reshape(4, 3))
        reach = "its value" if bad.sum() == 1 and bad[0, 0] else "its channel" if bad[:, 0].all() else "part of it"
        reach = "all channels" if bad[:, 1:].any() else reach if bad.any() else "nothing: it disappears"
        statistics = statistics if box.keeps else []
        lost = [f"running {n}" for n, s in zip(("mean", "variance"), statistics, strict=False) if not np.isfinite(s[0])]
        yield Measurement(Key.NAN, f"NaN in {mode} reaches", reach, "and " + ", ".join(lost) if lost else "")


def _formats(box: Box) -> Probe:
    """Note the formats of the statistics that come back, and what half-precision batches do to them."""
    if not box.trains:
        return
    pairs = [(d, d) for d in box.dtypes]
    if getattr(box.implementation, "mixed", True) and "float32" in box.dtypes:
        pairs += [(d, "float32") for d in box.dtypes if d in ("float16", "bfloat16")]
    for x_dtype, parameters in pairs:
        name = f"x {x_dtype}, statistics {parameters}"
        try:
            y, mean, var = box.train(box.batch(1.0, 2.0, 3.0), dtype=x_dtype, parameters=parameters)
        except Refused as refused:
            yield Measurement(Key.FORMATS, name, RAISES, str(refused))
            continue
        if not box.keeps:
            yield Measurement(Key.FORMATS, f"x {x_dtype}", f"y {y.dtype}")
            continue
        back = f"y {y.dtype}, statistics {mean.dtype}" + (f" and {var.dtype}" if var.dtype != mean.dtype else "")
        yield Measurement(Key.FORMATS, name, back)
    by_batch = _unit(box.train(box.batch(*[-2.0, 2.0] * 4))[0])  # else y says nothing about the batch's variance
    if "float16" in box.dtypes and by_batch:
        narrow = {"squares": [-300.0, 300.0] * 4, "a sum": [32.0, 34.0] * 2048}
        for what, parameters in product(narrow, dict.fromkeys(p for x, p in pairs if x == "float16")):
            with np.errstate(all="ignore"):
                try:
                    results = box.train(box.batch(*narrow[what]), dtype="float16", parameters=parameters)
                except Refused:
                    continue
            name = f"float16, statistics {parameters}, {what} beyond 65504"
            yield Measurement(Key.HALF_SUMS, name, "survives" if _unit(results[0]) else "overflows", short=parameters)
    for dtype, centre in (("float32", 2.0**12), ("float64", 2.0**28)):
        if dtype in box.dtypes and by_batch and not (dtype == box.dtype == "float64" and works_in_less(box)):
            y = np.asarray(box.train(box.batch(*[centre - 1, centre + 1] * 4), dtype=dtype)[0], float)
            error = float(np.max(np.abs(np.abs(y) * np.sqrt(1 + EPS) - 1)))
            kind = "one-pass, E[x^2] - E[x]^2" if not error < 1e-3 else "two-pass, or wider than x"
            name = f"{dtype}, variance at mean/std 2^{int(np.log2(centre))}"
            yield Measurement(Key.VARIANCE, name, error, kind, short=kind.partition(",")[0])


def _unit(y: Any) -> bool:
    """Whether y is 1 or -1 throughout, to two digits, as it is for a batch of two values in turn."""
    return bool(np.all(np.abs(np.abs(np.asarray(y, float)) - 1) < 1e-2))


def _evaluation(box: Box) -> Probe:
    """Whether inference folds, looks at the batch, or writes to its statistics."""
    if not box.infers:
        return
    x = box.batch(1.0, 2.0, 4.0)
    other = x.copy()
    other[1] = 50.0
    alone = np.array_equal(box.infer(x)[0], box.infer(other)[0])
    yield Measurement(Key.BATCH_IN_INFERENCE, "inference looks at the batch", "no" if alone else "yes")
    mean, var = (cast(np.array([v]), box.dtype) for v in (0.5, 2.0))
    before = mean.tobytes(), var.tobytes()
    one, zero = cast(np.ones(1), box.dtype), cast(np.zeros(1), box.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        box.implementation.infer(cast(x, box.dtype), one, zero, mean, var, EPS)
    still = before == (mean.tobytes(), var.tobytes())
    yield Measurement(Key.STATISTICS_IN_INFERENCE, "inference moves the statistics", "no" if still else "yes")
    if "beta" in getattr(box.implementation, "lacks", ()):
        return
    # x = mean: y is beta exactly, unless beta - mean * a was rounded first; or beta in float32, which may be what a box
    # computes in, whatever it is given. Then mean must be a number of float32, too.
    mean_, beta = (float(cast(v, box.dtype)) for v in (np.float32(3000.7), 0.1))
    y = float(np.mean(box.infer(box.batch(mean_, mean_), gamma=1.3, beta=beta, mean=mean_, var=0.7)))
    off = min((y - beta, y - float(np.float32(beta))), key=abs)
    yield Measurement(Key.FOLDING, "inference at x = mean, y - beta", off, "folded to x a + b" if off else "not folded")


PROBES: tuple[Callable[[Box], Probe], ...] = (
    _functions,
    running_statistics,
    _as_received,
    _first_step,
    _eps,
    _kept_axes,
    _one_value_per_channel,
    _empty_batch,
    _nan,
    _formats,
    _evaluation,
    formulas,
)
# the keys of probes that measure one thing
ABOUT: dict[Callable[[Box], Probe], Key] = {_one_value_per_channel: Key.ONE_VALUE, _empty_batch: Key.EMPTY_BATCH}
