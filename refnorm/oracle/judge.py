"""Run an implementation on the golden cases and compare everything it returns with the exact results."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refnorm._array import FORMATS, Array
from refnorm.conventions import Convention
from refnorm.golden.cases import Case, arranged, cases, expected
from refnorm.golden.rule import cast, numpy_dtype
from refnorm.oracle.bounds import ONE_PASS, PAIRWISE, bounds, unit_roundoff

QUANTITIES = (
    "y, training",
    "running mean",
    "running variance",
    "dx",
    "dgamma",
    "dbeta",
    "y, inference",
    "frozen y",
    "frozen dx",
    "frozen dgamma",
    "frozen dbeta",
)
BEHAVIOURS = (
    "one value per channel",
    "empty batch",
    "NaN and inf",
    "arguments unchanged",
    "shapes and dtypes",
    "repeatability",
)
FUNCTIONS = {"train": QUANTITIES[:3], "backward": QUANTITIES[3:6], "infer": QUANTITIES[6:7], "frozen": QUANTITIES[7:]}


@dataclass(frozen=True, eq=False)
class Observation:
    """One quantity of one case, judged.

    Attributes
    ----------
    ratio : largest error in units of its bound; at most 1 where the result is right.
    index, expected, got, error, bound : of the worst element.
    actual : everything the implementation returned for this quantity.
    trouble : in words, where there is nothing to compare: raised, wrong shape, argument changed, ...
    about : the quantity that a behaviour was seen in.
    policy : outcome of a case that only has policies (one value, empty batch).
    """

    quantity: str
    case: Case
    ratio: float = 0.0
    index: tuple[int, ...] = ()
    expected: float = 0.0
    got: float = 0.0
    error: float = 0.0
    bound: float = 0.0
    actual: Any = None
    trouble: str = ""
    about: str = ""
    policy: str = ""
    tier: str = ""

    @property
    def passed(self) -> bool:
        """Whether the result is right."""
        return not self.trouble and self.ratio <= 1


class Raised(Exception):
    """The implementation raised; the text says what."""


@dataclass
class Trial:
    """One implementation on one case."""

    implementation: Any
    case: Case
    convention: Convention
    seen: list[Observation] = field(default_factory=list)

    def note(self, quantity: str, trouble: str, about: str = "") -> None:
        """Record that there is nothing to compare, and why."""
        self.seen.append(Observation(quantity, self.case, trouble=trouble, about=about))

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the implementation, watching its arguments; Raised if it raises."""
        before = [a.tobytes() if isinstance(a, np.ndarray) else None for a in arguments]
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = getattr(self.implementation, name)(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever foreign code raises, sys.exit included
            text = " ".join(str(error).split())
            raise Raised(f"{name} raised {type(error).__name__}: {text[:200]}") from error
        for k, (argument, bytes_before) in enumerate(zip(arguments, before, strict=True)):
            if isinstance(argument, np.ndarray) and argument.tobytes() != bytes_before:
                self.note("arguments unchanged", f"{name} wrote to its argument {_argument(name, k)}")
        return result

    def inputs(self) -> tuple[Any, Any, Any, Any]:
        """Return gamma, beta, running mean and variance, laid out as the case asks."""
        case, layout = self.case, self.case.situation.layout
        mean, var = (cast(a, case.parameters) for a in (case.running_mean, case.running_var))
        if layout == "shared":
            return var, mean, mean, var
        values = [None if a is None else cast(a, case.parameters) for a in (case.gamma, case.beta)]
        arrays = (None if a is None else arranged(a, layout) for a in (*values, mean, var))
        gamma, beta, laid_mean, laid_var = arrays
        return gamma, beta, laid_mean, laid_var

    def data(self, values: Array) -> Array:
        """Return x or dy in the case's format and layout."""
        return arranged(cast(values, self.case.kind), self.case.situation.layout)

    def unpack(self, name: str, result: Any, length: int) -> tuple[Any, ...]:
        """Check that a function returned a tuple of this length."""
        if not isinstance(result, tuple | list) or len(result) != length:
            what = f"{len(result)} values" if isinstance(result, tuple | list) else type(result).__name__
            raise Raised(f"{name} returned {what}, expected a tuple of {length}")
        return tuple(result)

    def compare(self, quantity: str, actual: Any) -> None:
        """Judge one returned array against its exact value and bound."""
        case = self.case
        exact = expected(case, self.convention)[quantity]
        kind = (
            case.kind if quantity in ("y, training", "dx", "y, inference", "frozen y", "frozen dx") else case.parameters
        )
        shaped = self.shaped(quantity, actual, exact.shape, kind)
        if shaped is None:
            return
        values = np.asarray(shaped, dtype=np.float64)
        bound = np.broadcast_to(bounds(case, self.convention)[quantity], exact.shape)
        rounded = exact.rounded(kind)
        if shaped.dtype != numpy_dtype(kind) and shaped.dtype.name in FORMATS:  # noted; not charged as an error as well
            bound = bound + unit_roundoff(shaped.dtype.name) * np.abs(rounded)
        with np.errstate(all="ignore"):
            error = np.abs(exact.error_of(values))
            ratio = np.where(np.isinf(bound), np.where(np.isfinite(values), 0.0, np.inf), error / bound)
            ratio = np.where(np.isnan(ratio), np.inf, ratio)
            ratio = np.where(
                (values == rounded) | ~np.isfinite(rounded), np.where(np.isnan(values), np.inf, 0.0), ratio
            )
            worst = np.unravel_index(int(np.argmax(ratio)), exact.shape) if ratio.size else ()
            tier = ""
            if ratio.size and ratio[worst] > 1:
                one_pass = np.broadcast_to(bounds(case, self.convention, ONE_PASS)[quantity], exact.shape)
                if np.all((error <= one_pass) | np.isinf(one_pass) | (ratio <= 1)):
                    tier = ONE_PASS.name
            elif ratio.size and np.any(error > bounds(case, self.convention, PAIRWISE)[quantity]):
                tier = "row-by-row"
        if not ratio.size:
            return
        self.seen.append(
            Observation(
                quantity,
                case,
                float(ratio[worst]),
                tuple(int(i) for i in worst),
                float(rounded[worst]),
                float(values[worst]),
                float(error[worst]),
                float(bound[worst]),
                values,
                tier=tier,
            )
        )

    def shaped(self, quantity: str, actual: Any, shape: tuple[int, ...], kind: str) -> Array | None:
        """Check type, shape and dtype of a returned array; None, and a note, if it cannot be compared."""
        if not isinstance(actual, np.ndarray | np.generic):
            self.note(quantity, f"{quantity} is {type(actual).__name__}, expected a NumPy array of shape {shape}")
            return None
        actual = np.asarray(actual)
        if actual.shape != shape:
            self.note(quantity, f"{quantity} has shape {actual.shape}, expected {shape}")
            return None
        if actual.dtype.kind not in "fV" and actual.dtype != numpy_dtype(kind):
            self.note(quantity, f"{quantity} has dtype {actual.dtype}, expected {kind}")
            return None
        if actual.dtype != numpy_dtype(kind):
            self.note("shapes and dtypes", f"{actual.dtype} comes back, expected {kind}", quantity)
        return actual

    def training(self) -> None:
        """Judge train over all batches, and backward after the last."""
        case, implementation = self.case, self.implementation
        gamma, beta, mean, var = self.inputs()
        for batch in case.batches:
            x = self.data(batch)
            result = self.call("train", x, gamma, beta, mean, var, case.momentum, case.eps)
            y, mean, var, cache = self.unpack("train", result, 4)
        for quantity, actual in zip(FUNCTIONS["train"], (y, mean, var), strict=True):
            self.compare(quantity, actual)
        if not hasattr(implementation, "backward"):
            return
        self.gradients(FUNCTIONS["backward"], cache)

    def gradients(self, quantities: tuple[str, ...], cache: Any) -> None:
        """Judge backward."""
        case = self.case
        gradients = self.unpack("backward", self.call("backward", self.data(case.dy), cache), 3)
        absent = (False, case.gamma is None, case.beta is None)
        for quantity, actual, none in zip(quantities, gradients, absent, strict=True):
            if not (none and actual is None):
                self.compare(quantity, actual)

    def inference(self) -> None:
        """Judge infer, and frozen with its backward."""
        case = self.case
        gamma, beta, mean, var = self.inputs()
        if hasattr(self.implementation, "infer"):
            try:
                self.compare("y, inference", self.call("infer", self.data(case.x), gamma, beta, mean, var, case.eps))
            except Raised as raised:
                self.note("y, inference", str(raised))
        if hasattr(self.implementation, "frozen"):
            gamma, beta, mean, var = self.inputs()
            try:
                result = self.call("frozen", self.data(case.x), gamma, beta, mean, var, case.eps)
                y, cache = self.unpack("frozen", result, 2)
                self.compare("frozen y", y)
                if hasattr(self.implementation, "backward"):
                    self.gradients(FUNCTIONS["frozen"][1:], cache)
            except Raised as raised:
                self.note("frozen dx", str(raised))

    def policy(self, behaviour: str, accepted: tuple[str, ...]) -> None:
        """Judge what happens where a formula is undefined: one value per channel, an empty batch."""
        case = self.case
        gamma, beta, mean, var = self.inputs()
        try:
            result = self.call("train", self.data(case.x), gamma, beta, mean, var, case.momentum, case.eps)
            y, new_mean, new_var, _ = self.unpack("train", result, 4)
            outcome = self.outcome(y, new_mean, new_var)
        except Raised as raised:
            outcome = "raises" if " raised " in str(raised) else "other"
        trouble = "" if outcome in accepted else outcome
        self.seen.append(Observation(behaviour, case, policy=outcome, trouble=trouble))

    def outcome(self, y: Any, mean: Any, var: Any) -> str:
        """Name the policy that the returned values follow."""
        case = self.case
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
        weights = [float(w) for w in self.convention.weights(case.momentum)]
        for old, new in (weights, weights[::-1]):  # in whichever sense: that is judged elsewhere
            if near(y.reshape(-1), beta) and near(mean, old * case.running_mean, new * case.x.reshape(-1)):
                if same_var:
                    return "variance left"
                if near(var, old * case.running_var):
                    return "biased"
        return "other"

    def poisoned(self) -> None:
        """Judge NaN or inf in one value of channel 0: seen there, and nowhere else."""
        case, implementation = self.case, self.implementation
        upstream = case.situation.content == "nan-upstream"
        gamma, beta, mean, var = self.inputs()
        if case.operation == "inference":
            if hasattr(implementation, "infer") and not upstream:
                y = self.call("infer", self.data(case.x), gamma, beta, mean, var, case.eps)
                self.contained("y, inference", y, elementwise=True)
            if not hasattr(implementation, "frozen"):
                return
            y, cache = self.unpack(
                "frozen", self.call("frozen", self.data(case.x), gamma, beta, mean, var, case.eps), 2
            )
            if not upstream:
                self.contained("frozen y", y, elementwise=True)
            quantities = FUNCTIONS["frozen"][1:]
        else:
            result = self.call("train", self.data(case.x), gamma, beta, mean, var, case.momentum, case.eps)
            *forward, cache = self.unpack("train", result, 4)
            for quantity, actual in zip(FUNCTIONS["train"], forward, strict=True):
                if not upstream:
                    self.contained(quantity, actual)
            quantities = FUNCTIONS["backward"]
        if hasattr(implementation, "backward"):
            gradients = self.unpack("backward", self.call("backward", self.data(case.dy), cache), 3)
            for quantity, actual in zip(quantities, gradients, strict=True):
                clean = not upstream and (quantity.endswith("dbeta") or quantity == "frozen dx")
                if not clean:  # these do not depend on x
                    self.contained(quantity, actual, elementwise=quantity == "frozen dx")
        if not self.seen:
            self.seen.append(Observation("NaN and inf", case))

    def contained(self, quantity: str, actual: Any, elementwise: bool = False) -> None:
        """Note if the poisoned element of channel 0 looks finite, or another channel does not."""
        case = self.case
        spatial = quantity.endswith("dx") or quantity.startswith(("y", "frozen y"))
        kind, shape = (case.kind, case.x.shape) if spatial else (case.parameters, case.running_mean.shape)
        shaped = self.shaped(quantity, actual, shape, kind)
        if shaped is None:
            return
        values = np.asarray(shaped, dtype=np.float64)
        what = "nan in dy" if case.situation.content == "nan-upstream" else f"{case.situation.content} in x"
        source = case.dy if case.situation.content == "nan-upstream" else case.x
        poisoned = ~np.isfinite(source[:, 0]) if spatial else np.True_
        own, others = (values[:, 0], values[:, 1:]) if spatial else (values[0], values[1:])
        if np.any(np.isfinite(own[poisoned])):
            self.note("NaN and inf", f"{what} disappears: {quantity} is finite where it should not be", quantity)
        if elementwise and not np.all(np.isfinite(own[~poisoned])):
            self.note("NaN and inf", f"{what} spreads from one value to others of {quantity}", quantity)
        if not np.all(np.isfinite(others)):
            self.note("NaN and inf", f"{what} spreads from channel 0 to others in {quantity}", quantity)

    def run(self) -> list[Observation]:
        """Judge the case."""
        case = self.case
        try:
            if not case.finite:
                self.poisoned()
            elif case.situation.name == "one-value":
                self.policy("one value per channel", self.convention.one_value)
            elif case.situation.name == "empty-batch":
                self.policy("empty batch", self.convention.empty)
            elif case.operation == "inference":
                self.inference()
            else:
                self.training()
        except Raised as raised:
            if case.eps == 0 and case.operation == "training" and not self.convention.zero_eps:
                return self.seen  # the convention lets eps = 0 be refused in training
            quantity = "dx" if str(raised).startswith("backward") else FUNCTIONS["train"][0]
            self.note("NaN and inf" if not case.finite else quantity, str(raised))
        return self.seen


def _argument(name: str, k: int) -> str:
    names = {
        "train": "x gamma beta running_mean running_var momentum eps",
        "infer": "x gamma beta running_mean running_var eps",
        "frozen": "x gamma beta running_mean running_var eps",
        "backward": "dy cache",
    }
    return names[name].split()[k]


def selected(implementation: Any, convention: Convention, kinds: tuple[str, ...]) -> list[Case]:
    """Return the cases that apply: formats asked for and offered, ranks of the convention, functions offered."""
    offered = getattr(implementation, "dtypes", None)
    kinds = tuple(k for k in kinds if offered is None or k in offered)
    training = hasattr(implementation, "train")
    inference = hasattr(implementation, "infer") or hasattr(implementation, "frozen")
    return [
        case
        for case in cases()
        if case.kind in kinds
        and (case.kind == case.parameters or getattr(implementation, "mixed", True))
        and case.x.ndim in convention.ranks
        and (training if case.operation == "training" else inference)
    ]


def observe(
    implementation: Any, convention: Convention, chosen: list[Case], progress: Callable[[str], None] = lambda _: None
) -> Iterator[Observation]:
    """Judge an implementation on cases, one after the other.

    Parameters
    ----------
    progress : called with a case's id before it runs.
    """
    for case in chosen:
        progress(case.id)
        yield from Trial(implementation, case, convention).run()
    again = [
        c for c in chosen if c.operation == "training" and c.situation.name in ("rank-4", "channels-last", "square")
    ]
    for case in again[:1]:
        progress(case.id)
        trouble = _memory(implementation, convention, case)
        yield Observation(
            "arguments unchanged" if " writes into x" in trouble else "repeatability", case, trouble=trouble
        )


def _memory(implementation: Any, convention: Convention, case: Case) -> str:
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
