"""Compare an answer with the exact results of its case: an observation for each quantity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refnorm.conventions.row import Convention
from refnorm.formats import FORMATS, Floats, numpy_dtype, unit_roundoff
from refnorm.golden.inputs import Case
from refnorm.golden.repeats import Repeats
from refnorm.golden.truth import NotHeld, truth
from refnorm.oracle.ask.answers import Answer, Kind, NoArray, Result, Trouble
from refnorm.oracle.bounds import bounds
from refnorm.oracle.quantities import FURTHER, RETURNS, absent, kind_of, shape_of
from refnorm.oracle.second_bounds import second_bounds
from refnorm.oracle.tiers import NARROW, PAIRWISE, SUMMED, TIERS, WORST, Tier

if TYPE_CHECKING:
    from refnorm.exact import Exact
    from refnorm.golden.counted import Spread
    from refnorm.golden.frozen import Enclosure

SHOWN_IN = {  # where it is noted that a function gave nothing to compare, in training and in inference
    "training": {"train": "y, training", "backward": "dx", "jvp": "jvp", "double_backward": "double backward ddy"},
    "inference": {
        "infer": "y, inference",
        "frozen": "frozen dx",
        "backward": "frozen dx",
        "jvp": "frozen jvp",
        "double_backward": "frozen double backward ddy",
    },
}

MANY = 1000  # values of a channel, in which a sum of 0 by updates would be a coincidence
ALIKE = 8  # roundings: factors that differ by no more are one
RESOLVED = 0.1  # of the largest result: a bound above that says nothing of it
DECLINED = "not offered"  # what is noted of a function that raises NotImplementedError


def bound_of(case: Case, row: Convention, quantity: str, tier: Tier = WORST) -> Floats:
    """Return the bound of a quantity (see `refnorm.oracle.bounds` and `refnorm.oracle.second_bounds`)."""
    bound = _bound(case, row, quantity, tier)
    return bound if case.table is None else case.table.spread(bound)


def _bound(case: Case, row: Convention, quantity: str, tier: Tier) -> Floats:
    """Return the bound of a quantity; of what a large case repeats, that of each pair."""
    return (second_bounds if quantity in FURTHER else bounds)(case, row, tier)[quantity]


@dataclass(frozen=True, eq=False)
class Observation:
    """One quantity of one case, judged.

    Attributes
    ----------
    ratio : largest error in units of its bound; at most 1 where the result is right.
    index, expected, got, error, bound : of the worst element.
    actual : everything the implementation returned for this quantity.
    trouble : why there is nothing to compare: raised, wrong shape, argument changed, ...
    policy : outcome of a case that only has policies (one value, empty batch).
    tiers : names of the tiers whose bounds hold, if that of pairwise sums does not.
    resolution : the smallest error, relative to its element, that would have been found.
    narrow_tells : whether sums in the format of x itself would explain it, and not just anything.
    elsewhere : whether the same quantity is wrong in the same situation in a wider format, too.
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
    trouble: Trouble | None = None
    policy: str = ""
    tiers: tuple[str, ...] = ()
    resolution: float = np.inf
    narrow_tells: bool = False
    elsewhere: bool = False

    @property
    def passed(self) -> bool:
        """Whether the result is right."""
        return self.trouble is None and self.ratio <= 1


def limits(case: Case, row: Convention, answer: Answer, limit: Tier = WORST) -> dict[str, Tier]:
    """Return the tier that each quantity of a case of sizes must stay within, where that is not ``limit``.

    In such a case sums are exact in any order; updates, and parts that are merged, divide on the way. Who adds up shows
    it: means of values that add up to 0 are 0, and the variances of all channels are right, or wrong by one factor,
    which no rounding is. Then statistics and y must be those of sums; and where y is, so must be the gradients.
    """
    if case.table is None or limit is not WORST or case.operation != "training":
        return {}
    found = dict.fromkeys(RETURNS["train"], SUMMED) if _adds_up(case, row, answer) else {}
    y = answer.results.get("y, training")
    if isinstance(y, np.ndarray) and np.isrealobj(y) and y.shape == case.x.shape:
        asked = wanted(case, row, "y, training", SUMMED)
        _, difference = _of_pairs(asked, y.astype(float))
        if np.all(np.abs(difference) <= asked.bound):
            found |= dict.fromkeys(RETURNS["backward"], SUMMED)
    return found


def _adds_up(case: Case, row: Convention, answer: Answer) -> bool:
    """Say whether the statistics that came back are those of sums that are exact."""
    assert case.table is not None
    assert case.table.case.times is not None
    x, times = case.table.case.x[0], case.table.case.times[0]
    mean, var = (answer.results.get(name) for name in RETURNS["train"][1:])
    odd = case.count % 2 == 1  # two halves of one size come back to 0 whatever they lose
    if case.count < MANY or not odd or not isinstance(mean, np.ndarray) or not isinstance(var, np.ndarray):
        return False
    if mean.shape != (len(x),) or var.shape != (len(x),) or np.iscomplexobj(var):
        return False
    constant, nothing = np.ptp(x, axis=1) == 0, (times * x).sum(axis=1) == 0
    if np.all(constant):  # no variance says anything
        return False
    with np.errstate(all="ignore"):  # what came back may be anything, and of 0 nothing is made
        factors = (var.astype(float) / truth(case, row, "running variance").rounded())[~constant]
    alike = bool(np.all(np.isfinite(factors))) and float(np.ptp(factors)) <= ALIKE * unit_roundoff(case.parameters)
    return alike and not np.any(mean[nothing])


def judged_numbers(case: Case, row: Convention, answer: Answer, limit: Tier = WORST) -> Iterator[Observation]:
    """Judge an answer to a case that has exact results; what the frozen set lacks and FLINT is absent for is left out.

    A convention may let eps = 0 be refused in training.
    """
    lenient = case.eps == 0 and case.operation == "training" and not row.zero_eps
    own = limits(case, row, answer, limit)
    for function, trouble in answer.failed.items():
        if trouble.kind is Kind.DECLINED:
            yield Observation(DECLINED, case, policy=trouble.text)
        elif not (lenient and function in ("train", "backward")):
            yield Observation(SHOWN_IN[case.operation][function], case, trouble=trouble)
    for quantity, result in answer.results.items():
        if result is None and absent(case, quantity):
            continue
        try:
            yield from compared(case, row, quantity, result, own.get(quantity, limit))
        except NotHeld:
            continue


@dataclass(frozen=True, eq=False)
class Wanted:
    """What one quantity of a case must be, and how far it may be off: the same for whoever is judged.

    Attributes
    ----------
    exact : the exact numbers.
    repeats : which pairs a large case repeats, if the quantity is one of them; each is judged once, by the least and
        the largest that comes back for it.
    expected, bound : the numbers in the quantity's format, and the bound of the tier that is asked for, in one shape.
    finest : the bound of the tier whose algorithms are not named.
    unbounded, unknown : where only finiteness is asked for; where the number overflows, or is not held.
    resolution : the smallest error, relative to its element, that would be found.
    """

    exact: Exact | Enclosure | Spread
    repeats: Repeats | None
    expected: Floats
    bound: Floats
    finest: Floats
    unbounded: npt.NDArray[np.bool_]
    unknown: npt.NDArray[np.bool_]
    resolution: float


@lru_cache(maxsize=8192)
def wanted(case: Case, row: Convention, quantity: str, limit: Tier) -> Wanted:
    """Return what one quantity of a case must be, and the bounds of a tier."""
    exact: Any = truth(case, row, quantity)
    repeats = case.table if exact.shape == case.x.shape else None
    expected = (exact if repeats is None else exact.table).rounded(kind_of(case, quantity))
    if repeats is not None:
        expected = np.stack([expected, expected])
    expected.flags.writeable = False
    bound = np.broadcast_to(_bound(case, row, quantity, limit), expected.shape)
    finest = _bound(case, row, quantity, _finest(case))
    told = _resolution(bound, expected)
    return Wanted(exact, repeats, expected, bound, finest, np.isinf(bound), ~np.isfinite(expected), told)


def _finest(case: Case) -> Tier:
    """Return the tier whose algorithms are not named: sums in pairs, or, where they are exact, any sums."""
    return PAIRWISE if case.table is None else SUMMED


def compared(case: Case, row: Convention, quantity: str, result: Result, limit: Tier = WORST) -> Iterator[Observation]:
    """Judge one returned array against its exact value and bound."""
    array, trouble = usable(case, quantity, result)
    if trouble is not None:
        yield observed_trouble(case, quantity, trouble)
    if array is None or not array.size:
        return
    asked = wanted(case, row, quantity, limit)
    whole = values = np.asarray(array, dtype=np.float64)
    if asked.repeats is None:
        difference = asked.exact.error_of(values)
    else:
        values, difference = _of_pairs(asked, whole)
    expected, bound, resolution = asked.expected, asked.bound, asked.resolution
    if trouble is not None and array.dtype.name in FORMATS:  # another format: noted, not charged as an error as well
        bound = bound + unit_roundoff(array.dtype.name) * np.abs(expected)
        resolution = _resolution(bound, expected)
    with np.errstate(all="ignore"):
        error = np.abs(difference)
        ratio = np.where(asked.unbounded, np.where(np.isfinite(values), 0.0, np.inf), error / bound)
        unasked = (values == expected) | asked.unknown  # of what overflows, or is not known, no NaN is asked
        ratio = np.where(unasked, 0.0, np.where(np.isnan(ratio), np.inf, ratio))
        ratio = np.where(np.isnan(values), np.inf, ratio)
        worst = np.unravel_index(int(np.argmax(ratio)), values.shape)

        def within(given: Floats) -> bool:
            return bool(np.all((error <= given) | np.isinf(given) | (ratio == 0)))

        tiers: list[Tier] = []
        if limit is not _finest(case) and not within(asked.finest):
            first = TIERS.index(WORST) if limit is WORST and ratio[worst] > 1 else 2  # up to it, all fail as well
            narrow = case.kind != WORST.sums_in(case.kind)
            coarser = [tier for tier in TIERS[first:] if narrow or tier is not NARROW]
            tiers = [tier for tier in coarser if within(_bound(case, row, quantity, tier))]
        alone = quantity != "frozen dgamma" or case.kind == case.parameters  # else rounded parameters do the same
        tells = NARROW in tiers and alone and resolves(_bound(case, row, quantity, NARROW), expected, ratio > 1)
        index = worst if asked.repeats is None else asked.repeats.place(worst, values[worst], whole)
    yield Observation(
        quantity,
        case,
        ratio=float(ratio[worst]),
        index=tuple(int(i) for i in index),
        expected=float(expected[worst]),
        got=float(values[worst]),
        error=float(error[worst]),
        bound=float(bound[worst]),
        actual=whole,
        tiers=tuple(tier.name for tier in tiers),
        resolution=resolution,
        narrow_tells=tells,
    )


def _of_pairs(asked: Wanted, whole: Floats) -> tuple[Floats, Floats]:
    """Return the least and the largest that came back for each pair, and the errors of both."""
    exact: Any = asked.exact
    assert asked.repeats is not None
    gone = asked.repeats.missing()
    values = np.where(gone, asked.expected, asked.repeats.extremes(whole))
    return values, np.stack([np.where(gone, 0.0, exact.table.error_of(each)) for each in values])


def _resolution(bound: Floats, expected: Floats) -> float:
    """Return the smallest error, relative to its element, that a bound lets be found."""
    size = np.abs(expected)
    told = np.isfinite(bound) & (size > 0) & np.isfinite(size)
    with np.errstate(over="ignore"):
        return float(np.min(bound[told] / size[told], initial=np.inf))


def resolves(bound: Floats, expected: Floats, where: Floats) -> bool:
    """Say whether a bound, where a result is off, is below a tenth of the largest result: one above explains nothing.

    Examples
    --------
    >>> resolves(np.array([0.01, 5.0]), np.array([1.0, -8.0]), np.array([True, False]))
    True
    """
    size = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
    return bool(np.all(np.broadcast_to(bound, expected.shape)[where] <= RESOLVED * size))


def usable(case: Case, quantity: str, result: Result) -> tuple[npt.NDArray[Any] | None, Trouble | None]:
    """Check type, shape and dtype of what came back: the array, if there is one to compare, and what is wrong."""
    shape, kind = shape_of(case, quantity), kind_of(case, quantity)
    if result is None or isinstance(result, NoArray):
        what = "NoneType" if result is None else result.type
        return None, Trouble(Kind.UNUSABLE, f"{quantity} is {what}, expected a NumPy array")
    if result.shape != shape:
        text = f"{quantity} has shape {result.shape}, expected {shape}"
        return None, Trouble(Kind.SHAPE, text, particular=True)
    if result.dtype == numpy_dtype(kind):
        return result, None
    if result.dtype.kind not in "fV":
        return None, Trouble(Kind.UNUSABLE, f"{quantity} has dtype {result.dtype}, expected {kind}")
    return result, Trouble(Kind.DTYPE, f"{result.dtype} comes back, expected {kind}", about=quantity)


def observed_trouble(case: Case, quantity: str, trouble: Trouble) -> Observation:
    """Note trouble where a report shows it: with the quantity, or with the behaviour that it is about."""
    return Observation("shapes and dtypes" if trouble.kind is Kind.DTYPE else quantity, case, trouble=trouble)
