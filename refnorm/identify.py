"""Which convention is this? Measured from the outputs of a black box, number by number, and set beside the table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np

from refnorm.conventions import CONVENTIONS, ROWS, Convention
from refnorm.golden.cases import cases
from refnorm.golden.rule import cast
from refnorm.oracle.behaviours import policy
from refnorm.oracle.implementation import Target
from refnorm.oracle.judge import Trial

EPS = 2.0**-10  # of every probe that is not about eps: small enough for all, and a power of two
DIGITS = 5e-7  # weights are told apart to six digits
SENSES: dict[str, Callable[[float], tuple[float, float]]] = {
    "new": lambda a: (1 - a, a),
    "old": lambda a: (a, 1 - a),
    "sums": lambda a: (a / (1 + a), 1 / (1 + a)),
}
PLACES: dict[str, Callable[[float, float], float]] = {
    "sqrt(var + eps)": lambda v, e: np.sqrt(v + e),
    "sqrt(var) + eps": lambda v, e: np.sqrt(v) + e,
    "sqrt(max(var, eps))": lambda v, e: np.sqrt(max(v, e)),
    "sqrt(var)": lambda v, e: np.sqrt(v),
}
MOVED = "sqrt(moved var + eps)"
MEANING = {"new": "weight of the new batch", "old": "weight of the old value", "sums": "factor on running sums"}


class Refused(Exception):
    """The box raised; the text says what."""


@dataclass(frozen=True)
class Measurement:
    """One thing measured: ``value`` is the number, or the word, ``note`` what it means."""

    name: str
    value: Any
    note: str = ""

    def __str__(self) -> str:
        value = f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)
        return f"{value}: {self.note}" if self.note else value


@dataclass(frozen=True)
class Identity:
    """What one path of a target was measured to be.

    Attributes
    ----------
    path, row, dtype : of the implementation, the row it is declared to follow ("" if none), and the format it was
        probed in, the widest it takes.
    measurements : in the order of the probes.
    nearest : rows of `refnorm.conventions` that disagree least; empty if nothing measured tells rows apart.
    differs : what disagrees with the row it is declared to follow, else with the nearest.
    """

    path: str
    row: str
    dtype: str
    measurements: tuple[Measurement, ...]
    nearest: tuple[str, ...]
    differs: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        """Return the value of a measurement."""
        return next(m.value for m in self.measurements if m.name == name)


class Box:
    """An implementation behind one door: fresh arrays in, arrays out, Refused if it raises."""

    def __init__(self, implementation: Any) -> None:
        self.implementation = implementation
        offered = getattr(implementation, "dtypes", ("float64", "float32", "float16"))
        self.dtypes = [d for d in ("float64", "float32", "float16", "bfloat16") if d in offered]
        self.dtype = self.dtypes[0]
        self.refusals: dict[str, str] = {}
        takes = {name: tuple(r for r in (2, 3, 4, 5) if self._takes(name, r)) for name in ("train", "infer")}
        self.trains, self.infers = bool(takes["train"]), bool(takes["infer"])
        self.ranks = takes["train"] or takes["infer"]
        self.rank = next((rank for rank in (4, 2, 3, 5) if rank in self.ranks), 2)

    def _takes(self, function: str, rank: int) -> bool:
        if not hasattr(self.implementation, function):
            return False
        x = np.arange(6.0 * 2 ** (rank - 2)).reshape(3, 2, *[2] * (rank - 2))
        try:
            self.train(x) if function == "train" else self.infer(x)
        except Refused as refused:
            self.refusals.setdefault(function, str(refused))
            return False
        return True

    def batch(self, *values: float, channels: int = 1) -> Any:
        """Return an x that holds these values in each channel, in a rank that the box takes."""
        return np.tile(np.array(values).reshape(-1, 1), channels).reshape(-1, channels, *[1] * (self.rank - 2))

    def call(self, function: str, x: Any, *scalars: float | None, dtype: str, parameters: str, **given: Any) -> Any:
        """Call a function of the implementation with copies of everything."""
        channels = np.shape(x)[1] if np.ndim(x) > 1 else 0
        usual = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "var": 1.0} | given
        arrays = [cast(np.broadcast_to(np.asarray(v, float), (channels,)).copy(), parameters) for v in usual.values()]
        if function == "begin":
            arrays = []
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = getattr(self.implementation, function)(cast(np.array(x, float), dtype), *arrays, *scalars)
                found = [np.asarray(r) for r in ((result,) if function == "infer" else result[:3])]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever foreign code raises, sys.exit included
            raise Refused(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}") from error
        for name, array, shape in zip(
            ("y", "running mean", "running variance"), found, (np.shape(x), *[(channels,)] * 2), strict=False
        ):
            if array.shape != shape:
                raise Refused(f"{name} has shape {array.shape}, expected {shape}")
        return found[0] if function == "infer" else found

    def train(
        self, x: Any, momentum: float = 0.25, eps: float = EPS, dtype: str = "", parameters: str = "", **given: Any
    ) -> Any:
        """Return y, running mean and running variance as float64, or in their own formats where one was asked for."""
        results = self.call(
            "train", x, momentum, eps, dtype=dtype or self.dtype, parameters=parameters or dtype or self.dtype, **given
        )
        return results if dtype else [r.astype(float) for r in results]

    def infer(self, x: Any, eps: float = EPS, dtype: str = "", **given: Any) -> Any:
        """Return y as float64, or in its own format where one was asked for."""
        y = self.call("infer", x, eps, dtype=dtype or self.dtype, parameters=dtype or self.dtype, **given)
        return y if dtype else y.astype(float)

    def begin(self, x: Any, momentum: float | None, eps: float | None) -> Any:
        """Return y and statistics after one training step of a new layer; None leaves a setting to the framework."""
        return [r.astype(float) for r in self.call("begin", x, momentum, eps, dtype=self.dtype, parameters=self.dtype)]


Probe = Iterator[Measurement]


def identify(
    target: Target,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    lost: Mapping[str, str] = MappingProxyType({}),
) -> list[Identity]:
    """Measure each path of a loaded target.

    Parameters
    ----------
    target : from `refnorm.oracle.implementation.load` or ``as_target``.
    progress : called with the number of a probe, their count, and its name.
    lost : what happened in a probe, by its name, that the target hung or died in before; it is left out.

    Returns
    -------
    list of Identity

    Examples
    --------
    >>> from refnorm.oracle.implementation import load
    >>> found, *others = identify(load("refnorm"))
    >>> found["momentum"], found["running variance, k in m/(m - k)"], found.nearest[0]
    ('new', 1.0, 'torch')
    """
    identities = []
    done, total = 0, len(target.paths) * len(PROBES)
    for name, implementation in target.paths.items():
        progress(done, total, f"formats and ranks of {name or target.name}")
        box, measurements = Box(implementation), list[Measurement]()
        for probe in PROBES:
            done += 1
            what = probe.__name__.strip("_").replace("_", " ")
            step = f"{what} of {name or target.name}"
            progress(done, total, step)
            try:
                measurements += [Measurement(what, "lost", lost[step])] if step in lost else probe(box)
            except Refused as refused:
                measurements.append(Measurement(what, "raises", str(refused)))
            except ArithmeticError as error:
                measurements.append(Measurement(what, "other", f"the numbers make no sense: {error}"))
        own = getattr(implementation, "convention", target.convention) if target.declared else ""
        nearest, differs = nearest_rows(measurements, ROWS.get(own))
        identities.append(Identity(name, own, box.dtype, tuple(measurements), nearest, differs))
    return identities


def _functions(box: Box) -> Probe:
    """Find what does not raise whatever it is given; the other probes leave out what does."""
    for function, mode in (("train", "training"), ("infer", "inference")):
        if hasattr(box.implementation, function):
            if not getattr(box, f"{function}s"):
                yield Measurement(mode, "raises", box.refusals[function])
        else:
            yield Measurement(mode, "not offered")
    yield Measurement("ranks of x", box.ranks)


def _running_statistics(box: Box) -> Probe:
    """Weights from batches of mean 2 and biased variance 1; then the variance that is stored, at several counts."""
    if not box.trains:
        return
    x = box.batch(*[1.0, 3.0] * 4)
    weights = {}
    for momentum in (0.25, 0.75, 0.9):
        _, mean, var = box.train(x, momentum, mean=0.0, var=0.0)
        _, mean_from_one, var_from_one = box.train(x, momentum, mean=1.0, var=1.0)
        weights[momentum] = (float((mean_from_one - mean)[0]), float(mean[0] / 2))
        old_in_var = float((var_from_one - var)[0])
    near = [s for s, f in SENSES.items() if all(_close(weights[a], f(a)) for a in weights)]
    sense = near[0] if near else "other"
    shown = ", ".join(f"{new:.6g} at {momentum:g}" for momentum, (_, new) in weights.items())
    yield Measurement("weight of the new batch", weights[0.25][1], shown)
    yield Measurement("weight of the old value", weights[0.25][0], "at momentum 0.25")
    yield Measurement("momentum", sense, MEANING.get(sense, "no known rule"))
    if abs(old_in_var - weights[0.9][0]) > DIGITS:
        yield Measurement("weight of the old variance", old_in_var, "at momentum 0.9, not that of the old mean")
    ks, shown = [], ""
    for m in (2, 3, 5, 8):
        values = np.arange(float(m))
        _, _, var = box.train(box.batch(*values), 0.25, mean=0.0, var=0.0)
        _, _, from_one = box.train(box.batch(*values), 0.25, mean=0.0, var=1.0)
        weight = 1 - float((from_one - var)[0])
        factor = float(var[0]) / weight / float(np.var(values)) if weight else float("nan")
        ks.append(m * (1 - 1 / factor) if factor else float("nan"))
        shown += f"{', ' if shown else ''}{factor:.6g} at m = {m}"
    alike = max(ks) - min(ks) < 1e-4
    k = round(float(np.mean(ks)), 4) + 0.0 if alike else "other"
    yield Measurement("running variance, k in m/(m - k)", k, f"times the biased one {shown}")
    counts = {}
    for rank in box.ranks if k not in ("other", 0.0) else ():
        x = np.arange(24.0).reshape(2, 2, *[1] * (rank - 3), 6) ** 2 if rank > 2 else np.arange(24.0).reshape(12, 2)
        _, _, var = box.train(x, 0.25, mean=0.0, var=0.0)
        _, _, from_one = box.train(x, 0.25, mean=0.0, var=1.0)
        factor = float((var / (1 - (from_one - var)) / np.var(x, axis=(0, *range(2, rank))))[0])
        words = {12 / (12 - float(k)): "all values", 2 / (2 - float(k)): "samples", 1.0: "nothing: it is biased"}
        counts[rank] = next((word for f, word in words.items() if abs(factor - f) < 1e-4), f"other, {factor:.6g}")
    for word in dict.fromkeys(counts.values()):
        ranks = ", ".join(str(rank) for rank, other in counts.items() if other == word)
        yield Measurement("m counts", word, f"rank {ranks}")


def _close(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(abs(x - y) <= DIGITS for x, y in zip(a, b, strict=True))


def _as_received(box: Box) -> Probe:
    """Whether eps and momentum are rounded to float32 on their way; only float64 results can tell."""
    if box.dtype != "float64":
        return
    narrow_work = _works_in_less(box)
    where = "whatever the layer's format" if narrow_work else ""
    yield Measurement("float64 is computed in", "float32 or less" if narrow_work else "float64", where)
    if narrow_work:
        return
    for name, value in (("eps", 1e-3), ("momentum", 0.1)):
        arrivals = {"float64": value, "float32": float(np.float32(value))}
        arrivals |= {"float32 complement": float(1 - np.float64(np.float32(1 - value)))} if name == "momentum" else {}
        try:
            if name == "eps":
                received = 1 / float(box.infer(box.batch(1.0, 1.0), value, var=0.0).flat[0]) ** 2 if box.infers else 0.0
            else:
                new = float(box.train(box.batch(0.0, 2.0), value)[1][0]) if box.trains else 0.0
                kept = float(box.train(box.batch(-1.0, 1.0), value, mean=1.0)[1][0]) if box.trains else 0.0
                received = min((new, kept, 1 / new - 1 if new else 0.0), key=lambda a: abs(a - value))
        except Refused:
            continue
        if abs(received - value) < 1e-5 * value:
            near = min(arrivals, key=lambda kind: abs(received - arrivals[kind]))
            yield Measurement(f"{name} travels as", near, f"{value:g} arrives as {received:.12g}")


def _works_in_less(box: Box) -> bool:
    """Whether a float64 box loses what is 2^-40 away from the mean, as float32 does."""
    d = 2.0**-40
    if box.infers:
        return not abs(box.infer(box.batch(1 + d, 1 + d), mean=1.0).flat[0]) > d / 2
    return not np.max(np.abs(box.train(box.batch(*[1 - d, 1 + d] * 4))[0])) > d / 2


def _first_step(box: Box) -> Probe:
    """Find what a new layer starts from: a line through two batches gives weight, initial value and defaults."""
    if not hasattr(box.implementation, "begin"):
        if box.trains:
            yield Measurement("initial statistics", "given", "by the caller: nothing to measure")
        return
    values = np.array([1.0, 3.0] * 4)
    default, given = ([box.begin(box.batch(*values * k), momentum, None) for k in (1, 2)] for momentum in (None, 0.25))
    weights = {label: float((steps[1][1] - steps[0][1])[0]) / 2 for label, steps in (("", given), ("d", default))}
    yield Measurement("first weight of the new batch", weights[""], f"{weights['d']:.6g} by default; 0.25 given")
    for k, name, gap in ((1, "mean", 2.0), (2, "variance", 3.0)):
        first, second = (float(step[k][0]) for step in given)
        slope = (second - first) / gap
        shift = round(first - slope * (2.0 if name == "mean" else 1.0), 6) + 0.0
        # The stored variance may be 8/7 of the biased one, and need not weigh the batch as the mean does.
        usual = (weights[""], 0.75, 0.25)
        weight = next((w for w, f in product(usual, (1, 8 / 7)) if abs(w * f - slope) < 1e-5), weights[""])
        if abs(1 - weight) > DIGITS:
            yield Measurement(f"initial {name}", round(shift / (1 - weight), 6))
        elif shift:
            yield Measurement(f"initial {name}", shift, "is added to that of the first batch, at momentum 0.25")
        else:
            yield Measurement(f"initial {name}", "none", "the first batch is taken as it is")
    d = 2.0**-6
    y = float(np.max(box.begin(box.batch(*[-d, d] * 4), None, None)[0]))
    yield Measurement("eps, by default", float(f"{(d / y) ** 2 - d * d:.3g}"), "from y of a new layer")


def _eps(box: Box) -> Probe:
    """Where eps is added, and the smallest that is honoured."""
    d = 2.0**-6
    doors: dict[str, Callable[[], float]] = {}
    if box.trains:
        moved = np.sqrt(float(box.train(box.batch(*[-d, d] * 4))[2][0]) + EPS)
    if box.infers:
        doors["inference"] = lambda: 1 / float(box.infer(box.batch(1.0, 1.0), var=d * d).flat[0])
    if box.trains:
        doors["training"] = lambda: d / float(np.max(box.train(box.batch(*[-d, d] * 4))[0]))
    tolerance = 5e-3 if box.dtype == "float16" else 1e-4  # the places are 3 % apart, or more
    for mode, divisor in doors.items():
        found = divisor()
        # In training an unbiased variance may normalise: 8/7 of the biased one.
        fits = [
            f"{place}{', unbiased var' if k else ''}"
            for place, k in product(PLACES, (0, 1) if mode == "training" else (0,))
            if abs(found - PLACES[place](d * d * 8 / (8 - k), EPS)) <= tolerance * found
        ]
        if mode == "training" and not fits and abs(found - moved) <= tolerance * found:
            fits = [MOVED]
        yield Measurement(
            f"divisor in {mode}", fits[0] if fits else "other", f"{found:.6g} at var = 2^-12, eps = 2^-10"
        )
    if box.infers and box.dtype != "float16":
        y = float(box.infer(box.batch(1.0, 1.0), 1e-12, var=0.0).flat[0])
        received = 1 / y**2 if np.isfinite(y) and y else float("nan")
        honoured = "is honoured" if abs(received - 1e-12) < 1e-15 else "arrives so"
        yield Measurement("eps of 1e-12", float(f"{received:.4g}"), honoured)


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
        yield Measurement(f"axis with its own statistics, rank {rank}", kept, f"{len(at)} values of {x.size} together")


def _one_value_per_channel(box: Box) -> Probe:
    """Name, as the oracle does, what training makes of one value per channel."""
    return _policies(box, "one value per channel", "one-value")


def _empty_batch(box: Box) -> Probe:
    """Name, as the oracle does, what training makes of no value at all."""
    return _policies(box, "empty batch", "empty-batch")


def _policies(box: Box, name: str, flag: str) -> Probe:
    if not box.trains:
        return
    sense = _sense(box)
    row = replace(CONVENTIONS["torch"], momentum=sense if sense in SENSES else "new")
    seen = {}
    for case in cases("training", box.dtype, flag):
        if case.x.ndim in box.ranks and case.parameters == case.kind:
            trial = Trial(box.implementation, case, row)
            policy(trial, name, ())
            seen[case.x.ndim] = next(o.policy for o in trial.seen if o.policy)
    for outcome in dict.fromkeys(seen.values()):
        yield Measurement(name, outcome, f"rank {', '.join(str(r) for r, other in seen.items() if other == outcome)}")


def _sense(box: Box) -> str:
    try:
        return str(next(m.value for m in _running_statistics(box) if m.name == "momentum"))
    except (Refused, StopIteration):
        return "other"


def _nan(box: Box) -> Probe:
    """How far one NaN in channel 0 of three reaches."""
    x = np.arange(12.0).reshape(4, 3) ** 2
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
        lost = [f"running {n}" for n, s in zip(("mean", "variance"), statistics, strict=False) if not np.isfinite(s[0])]
        yield Measurement(f"NaN in {mode} reaches", reach, "and " + ", ".join(lost) if lost else "")


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
            yield Measurement(name, "raises", str(refused))
            continue
        back = f"y {y.dtype}, statistics {mean.dtype}" + (f" and {var.dtype}" if var.dtype != mean.dtype else "")
        yield Measurement(name, back)
    near_zero = np.abs(box.train(box.batch(*[-2.0, 2.0] * 4))[0]) * np.sqrt(1 + EPS)
    by_batch = bool(np.all(np.abs(near_zero - 1) < 1e-2))  # else y says nothing about the batch's variance
    if "float16" in box.dtypes and by_batch:
        narrow = {"squares": [-300.0, 300.0] * 4, "a sum": [32.0, 34.0] * 2048}
        for what, parameters in product(narrow, dict.fromkeys(p for x, p in pairs if x == "float16")):
            with np.errstate(all="ignore"):
                try:
                    results = box.train(box.batch(*narrow[what]), dtype="float16", parameters=parameters)
                except Refused:
                    continue
            y = np.asarray(results[0], float)
            sound = np.isfinite(y).all() and abs(abs(y.flat[0]) - 1) < 0.01
            name = f"float16, statistics {parameters}, {what} beyond 65504"
            yield Measurement(name, "survives" if sound else "overflows")
    for dtype, centre in (("float32", 2.0**12), ("float64", 2.0**28)):
        if dtype in box.dtypes and by_batch and not (dtype == box.dtype == "float64" and _works_in_less(box)):
            y = np.asarray(box.train(box.batch(*[centre - 1, centre + 1] * 4), dtype=dtype)[0], float)
            error = float(np.max(np.abs(np.abs(y) * np.sqrt(1 + EPS) - 1)))
            kind = "one-pass, E[x^2] - E[x]^2" if not error < 1e-3 else "two-pass, or wider than x"
            yield Measurement(f"{dtype}, variance at mean/std 2^{int(np.log2(centre))}", error, kind)


def _evaluation(box: Box) -> Probe:
    """Whether inference folds, looks at the batch, or writes to its statistics."""
    if not box.infers:
        return
    x = box.batch(1.0, 2.0, 4.0)
    other = x.copy()
    other[1] = 50.0
    alone = np.array_equal(box.infer(x)[0], box.infer(other)[0])
    yield Measurement("inference looks at the batch", "no" if alone else "yes")
    mean, var = (cast(np.array([v]), box.dtype) for v in (0.5, 2.0))
    before = mean.tobytes(), var.tobytes()
    one, zero = cast(np.ones(1), box.dtype), cast(np.zeros(1), box.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        box.implementation.infer(cast(x, box.dtype), one, zero, mean, var, EPS)
    still = before == (mean.tobytes(), var.tobytes())
    yield Measurement("inference moves the statistics", "no" if still else "yes")
    # x = mean: y is beta exactly, unless beta - mean * a was rounded first.
    mean_, beta = (float(cast(np.array([v]), box.dtype)[0]) for v in (3000.7, 0.1))
    y = float(box.infer(box.batch(mean_, mean_), gamma=1.3, beta=beta, mean=mean_, var=0.7).flat[0])
    yield Measurement("inference at x = mean, y - beta", y - beta, "folded to x a + b" if y != beta else "not folded")


PROBES: tuple[Callable[[Box], Probe], ...] = (
    _functions,
    _running_statistics,
    _as_received,
    _first_step,
    _eps,
    _kept_axes,
    _one_value_per_channel,
    _empty_batch,
    _nan,
    _formats,
    _evaluation,
)


def nearest_rows(
    measurements: list[Measurement], declared: Convention | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the rows that disagree least, and what disagrees with the declared one (else with the nearest)."""
    apart = {row.name: _disagreements(measurements, row) for row in ROWS.values()}
    if not any(m.name == "momentum" for m in measurements):
        return (), tuple(apart[declared.name]) if declared else ()
    # Which value is stored weighs more than what happens where there is none.
    ranked = {name: (sum(d.startswith(("momentum:", "running")) for d in ds), len(ds)) for name, ds in apart.items()}
    best = min(ranked.values())
    nearest = tuple(name for name, rank in ranked.items() if rank == best)
    nearest = tuple(name for name in nearest if name != "paper") or nearest  # a framework says more
    return nearest, tuple(apart[declared.name if declared else nearest[0]])


def _disagreements(measurements: list[Measurement], row: Convention) -> list[str]:
    lines = []
    for m in measurements:
        wanted: tuple[Any, ...] | None = {
            "momentum": (row.momentum,),
            "running variance, k in m/(m - k)": (float(row.correction),),
            "one value per channel": row.one_value,
            "empty batch": row.empty,
            "eps travels as": (row.attributes,),
            "momentum travels as": (row.momentum_as or row.attributes,),
            "divisor in inference": ("sqrt(var + eps)",),
            "divisor in training": (MOVED if row.normalises == "moved" else "sqrt(var + eps)",),
            "inference looks at the batch": ("no",),
            "inference moves the statistics": ("no",),
            "m counts": ("all values",),
            "training": ("not offered",),
            "inference": ("not offered",),
        }.get(m.name)
        ranks = {int(digit) for digit in m.note.removeprefix("rank ").split(", ")} if m.note.startswith("rank ") else ()
        # An error that ends the process is an error; one that never comes is none.
        value = "raises" if m.value == "lost" and "killed by" in m.note else m.value
        if wanted is not None and value not in wanted and not (ranks and not set(row.ranks) & set(ranks)):
            names = " or ".join(map(str, wanted))
            lines.append(f"{m.name}: {m.value}, {row.name} has {names}" if m.value != "raises" else f"{m.name} raises")
        if m.name == "ranks of x" and not set(row.ranks) <= set(m.value):
            lines.append(f"{m.name}: {m.value}, {row.name} takes {row.ranks}")
    return lines


def summary(target: Target, identities: list[Identity]) -> dict[str, Any]:
    """Return everything measured, with the versions, as plain data ready for JSON."""
    import refnorm

    return {
        "target": target.name,
        "declared": target.convention if target.declared else None,
        "versions": {"refnorm": refnorm.__version__, "target": target.version, "array": f"numpy {np.__version__}"},
        "command": f"refnorm identify {target.name}",
        "paths": [asdict(found) for found in identities],
    }


def measured(
    order: Mapping[str, Any],
    timeout: float,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    **process: Any,
) -> tuple[Any, list[str]]:
    """Measure a target in a process of its own, again without each probe that it hangs or dies in.

    Parameters
    ----------
    order : ``do`` ("identify" or "numerics"), ``target``, and what else the worker takes.
    timeout : seconds that the import, or one probe, may take.
    process : as in `refnorm.oracle.worker.apart`.

    Returns
    -------
    result, lines that the target printed

    Raises
    ------
    refnorm.oracle.implementation.TargetError
        If it cannot be loaded.
    """
    from refnorm.oracle.worker import Stopped, apart

    lost: dict[str, str] = {}
    while True:
        try:
            return apart({**order, "lost": lost}, timeout, progress, **process)
        except Stopped as stopped:
            at = stopped.at.removeprefix("case ")
            if not stopped.at.startswith("case ") or at in lost or at.startswith("formats"):
                raise
            lost[at] = stopped.how


def text(summary: dict[str, Any]) -> str:
    """Return a summary as lines for a terminal."""
    versions, declared = summary["versions"], summary["declared"]
    head = f"refnorm {versions['refnorm']} · {versions['target'] or summary['target']}"
    lines = [f"{head} · declared as {declared}" if declared else head]
    for path in summary["paths"]:
        row = f" · declared as {path['row']}" if path["row"] not in ("", declared) else ""
        lines += ["", f"{path['path'] or summary['target']} · probed in {path['dtype']}{row}"]
        measured = [Measurement(**m) for m in path["measurements"]]
        width = max(len(m.name) for m in measured)
        lines += [f"  {m.name:<{width}}  {m}" for m in measured]
        near = ", ".join(path["nearest"]) or "none: without training, rows cannot be told apart"
        lines.append(f"  {'nearest row':<{width}}  {near}")
        lines += [f"  {'differs':<{width}}  {line}" for line in path["differs"]]
    return "\n".join(lines)
