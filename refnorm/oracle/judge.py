"""Run an implementation on the golden cases and compare everything it returns with the exact results."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refnorm._array import FORMATS, Array
from refnorm.conventions import Convention
from refnorm.exact import Exact
from refnorm.golden.cases import Case, arranged
from refnorm.golden.cases import expected as first_order
from refnorm.golden.rule import Floats, cast, numpy_dtype
from refnorm.golden.second_order import SECOND_ORDER, directions
from refnorm.golden.second_order import expected as all_expected
from refnorm.oracle.bounds import PAIRWISE, TIERS, WORST, Tier, bounds, unit_roundoff
from refnorm.oracle.bounds_second import second_bounds

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
FURTHER = tuple(prefix + name for prefix in ("", "frozen ") for names in SECOND_ORDER.values() for name in names)
ELEMENTWISE = (
    "y, training",
    "dx",
    "y, inference",
    "frozen y",
    "frozen dx",
    "jvp",
    "double backward ddy",
    "double backward dx",
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


def expected_of(case: Case, convention: Convention, quantity: str) -> Exact:
    """Return the exact result of a quantity; that of second order only where it is asked for."""
    return (all_expected if quantity in FURTHER else first_order)(case, convention)[quantity]


def bound_of(case: Case, convention: Convention, quantity: str, tier: Tier = WORST) -> Floats:
    """Return the bound of a quantity (see `refnorm.oracle.bounds` and `refnorm.oracle.bounds_second`)."""
    return (second_bounds if quantity in FURTHER else bounds)(case, convention, tier)[quantity]


def elementwise(quantity: str) -> bool:
    """Whether a quantity has the shape and format of x, not those of the parameters."""
    return quantity in ELEMENTWISE or quantity.removeprefix("frozen ") in ELEMENTWISE


def kind_of(case: Case, quantity: str) -> str:
    """Return the format that a quantity comes back in: that of x, or of the parameters."""
    return case.kind if elementwise(quantity) else case.parameters


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
    tiers : names of the tiers whose bounds hold, if that of pairwise sums does not.
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
    tiers: tuple[str, ...] = ()

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
            text = textwrap.shorten(str(error), 200, placeholder=" ...")
            raise Raised(f"{name} raised {type(error).__name__}: {text}") from error
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
        exact, kind = expected_of(case, self.convention, quantity), kind_of(case, quantity)
        shaped = self.shaped(quantity, actual, exact.shape, kind)
        if shaped is None:
            return
        values = np.asarray(shaped, dtype=np.float64)
        bound = np.broadcast_to(bound_of(case, self.convention, quantity), exact.shape)
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

            def within(tier: Tier) -> bool:
                allowed = np.broadcast_to(bound_of(case, self.convention, quantity, tier), exact.shape)
                return bool(np.all((error <= allowed) | np.isinf(allowed) | (ratio == 0)))

            plain = not ratio.size or within(PAIRWISE)
            tiers = () if plain else tuple(tier.name for tier in TIERS[2:] if within(tier))
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
                tiers=tiers,
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
        if hasattr(implementation, "backward"):
            self.gradients(FUNCTIONS["backward"], cache)
        self.second_order("", cache)

    def gradients(self, quantities: tuple[str, ...], cache: Any) -> None:
        """Judge backward."""
        case = self.case
        gradients = self.unpack("backward", self.call("backward", self.data(case.dy), cache), 3)
        absent = (False, case.gamma is None, case.beta is None)
        for quantity, actual, none in zip(quantities, gradients, absent, strict=True):
            if not (none and actual is None):
                self.compare(quantity, actual)

    def second_order(self, prefix: str, cache: Any) -> None:
        """Judge jvp and double_backward, where they are offered."""
        for quantity, actual in self.along(prefix, cache):
            if not (quantity.endswith("dgamma") and self.case.gamma is None and actual is None):
                self.compare(quantity, actual)

    def along(self, prefix: str, cache: Any) -> Iterator[tuple[str, Any]]:
        """Call jvp and double_backward, where they are offered; what they raise is noted."""
        case, moves = self.case, directions(self.case)
        channels = [None if d is None else arranged(cast(d, case.parameters), case.situation.layout) for d in moves[1:]]
        for name, quantities in SECOND_ORDER.items():
            if not hasattr(self.implementation, name):
                continue
            arguments = [self.data(moves.dx), *channels, *([] if name == "jvp" else [self.data(case.dy)]), cache]
            try:
                result = self.call(name, *arguments)
                results = (result,) if name == "jvp" else self.unpack(name, result, 3)
            except Raised as raised:
                self.note(prefix + quantities[0] if case.finite else "NaN and inf", str(raised))
                continue
            yield from zip((prefix + quantity for quantity in quantities), results, strict=True)

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
                self.second_order("frozen ", cache)
            except Raised as raised:
                self.note("frozen dx", str(raised))


def _argument(name: str, k: int) -> str:
    names = {
        "train": "x gamma beta running_mean running_var momentum eps",
        "infer": "x gamma beta running_mean running_var eps",
        "frozen": "x gamma beta running_mean running_var eps",
        "backward": "dy cache",
        "jvp": "dx dgamma dbeta cache",
        "double_backward": "ddx ddgamma ddbeta dy cache",
    }
    return names[name].split()[k]
