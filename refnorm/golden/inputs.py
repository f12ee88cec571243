"""The cases: which there are, and the inputs of each, by the integer rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refnorm import conventions
from refnorm.conventions import Convention
from refnorm.formats import Array, Floats, rounded
from refnorm.golden.portions import drift, mask_of, padded
from refnorm.golden.rule import uniform
from refnorm.golden.situations import (
    FROZEN_SECOND_ORDER,
    INFERENCE,
    MASKED,
    SECOND_ORDER,
    SHARDED,
    SITUATIONS,
    TRAINING,
    Situation,
)

if TYPE_CHECKING:
    from refnorm.golden.repeats import Repeats

OPERATIONS = {"training": (*TRAINING, *SECOND_ORDER), "inference": (*INFERENCE, *FROZEN_SECOND_ORDER)}
OPTIONAL = {"masked": MASKED, "sharded": SHARDED}  # what an implementation need not have: only where it is asked for


@dataclass(frozen=True, eq=False)
class Case:
    """Inputs of one trial; arrays are float64 and hold numbers of the case's formats exactly.

    Attributes
    ----------
    id : ``bn.OPERATION.FORMAT.SITUATION.NUMBER``, never reused.
    operation : "training" (train, backward), "inference" (infer, frozen, its backward), "masked" or "sharded".
    kind, parameters : formats of x and dy, and of gamma, beta and the running statistics.
    batches : one x per training step; x is the last.
    seed : of the integer rule, times 100: x of step k is seed + k, dy seed + 50, parameters seed + 60 to 63.
    held : whether it is as the frozen set has it; else something was changed to suit an implementation.
    times : how often each value of x counts, with its dy; None for once.
    where : which values count, of the shape of x; None for all.
    table : a small case with ``times`` that holds all there is in this one, if this one repeats few pairs of x and dy.
    """

    id: str
    operation: str
    kind: str
    parameters: str
    situation: Situation
    batches: tuple[Floats, ...]
    dy: Floats
    gamma: Floats | None
    beta: Floats | None
    running_mean: Floats
    running_var: Floats
    seed: int = 0
    held: bool = True
    times: Floats | None = None
    table: Repeats | None = None
    where: npt.NDArray[np.bool_] | None = None

    @property
    def x(self) -> Floats:
        """The batch that y and the gradients belong to."""
        return self.batches[-1]

    @property
    def eps(self) -> float:
        """Added to the variance."""
        return self.situation.eps

    @property
    def momentum(self) -> float:
        """As passed, whatever the convention means by it."""
        return self.situation.momentum

    @property
    def count(self) -> int:
        """Values per channel."""
        if self.times is not None:
            return int(self.times[:, 0].sum())
        return self.x.size // self.x.shape[1] if self.x.size else 0

    def id_in(self, operation: str) -> str:
        """Return the id of the case in the file of an operation of the frozen set."""
        return self.id.replace(f"bn.{self.operation}.", f"bn.{operation}.", 1)

    @property
    def undefined(self) -> str:
        """Where training has no formula: "one value per channel" or "empty batch", judged by policy; "" elsewhere."""
        return {"one-value": "one value per channel", "empty-batch": "empty batch"}.get(self.situation.name, "")

    @property
    def finite(self) -> bool:
        """Whether exact arithmetic applies."""
        return self.situation.content not in ("nan", "inf", "nan-upstream")


def cases(
    operation: str | None = None,
    dtype: str | None = None,
    flag: str | None = None,
    convention: Convention | str | None = None,
) -> Iterator[Case]:
    """Yield the cases, in a fixed order.

    Parameters
    ----------
    operation : "training", "running", "backward", "jvp" and "double_backward" are results of the same cases, as
        "inference", "frozen", "frozen_jvp" and "frozen_double_backward" are: a finer name leaves out the cases that
        the set has no such result of. "masked_training", "sharded_training" and the rest of these, which an
        implementation need not have, are among the cases only where they, or a flag of theirs, are asked for.
    dtype : format of x: "float64", "float32", "float16" or "bfloat16"; None for all.
    flag : what a case is there for, a situation's name; None for all.
    convention : a row of `refnorm.conventions` or its name; only cases of a rank that it accepts.

    Raises
    ------
    ValueError
        If nothing matches.

    Examples
    --------
    >>> [case.id for case in cases("training", "float32", "two-values")]
    ['bn.training.float32.two-values.1']
    """
    row = conventions.convention(convention) if isinstance(convention, str) else convention
    known = OPERATIONS if operation is flag is None else OPERATIONS | OPTIONAL
    found = False
    numbers: Counter[tuple[str, str, str]] = Counter()
    for seed, situation in enumerate(SITUATIONS, start=1):
        for kind in situation.formats:
            for op in (o for o, finer in known.items() if set(finer) & set(situation.operations)):
                numbers[op, kind, situation.name] += 1
                fits = operation in (None, op) or operation in set(known[op]) & set(situation.operations)
                wanted = fits and dtype in (None, kind) and flag in (None, situation.name)
                if wanted and (row is None or len(situation.shape) in row.ranks):
                    found = True
                    id = f"bn.{op}.{kind}.{situation.name}.{numbers[op, kind, situation.name]}"
                    yield built(id, op, kind, situation, seed)
    if not found:
        raise ValueError(
            f"no case has operation={operation!r}, dtype={dtype!r}, flag={flag!r}; operations are "
            f"{', '.join(name for names in known.values() for name in names)}, dtypes float64, float32, float16 "
            "and bfloat16, flags are those of refnorm.golden.flags"
        )


def case(id: str) -> Case:
    """Return the case of this id; ids of the files of its other results, as of backward and jvp, name the same case.

    Ids of `refnorm.golden.sized` and `refnorm.golden.settings` name cases too, which the set does not hold.
    """
    asked = id
    from refnorm.golden.settings import setting_case
    from refnorm.golden.sized import sized_case

    if (unstored := sized_case(id) or setting_case(id)) is not None:
        return unstored
    families = OPERATIONS | OPTIONAL
    for op, finer in families.items():
        for name in finer:
            asked = asked.replace(f"bn.{name}.", f"bn.{op}.", 1)
    for candidate in (candidate for op in families for candidate in cases(op)):
        if candidate.id == asked:
            return candidate
    raise ValueError(f"there is no case {id!r}; [c.id for c in refnorm.golden.cases()] lists them")


@lru_cache(maxsize=4096)
def built(id: str, operation: str, kind: str, situation: Situation, seed: int) -> Case:
    """Build the inputs of one case by the integer rule, from a situation and the number that seeds it."""
    channels = situation.shape[1]
    parameters = situation.parameters or kind
    batches = tuple(_values(situation, kind, 100 * seed + step) for step in range(situation.steps))
    dy = rounded(uniform(situation.shape, 100 * seed + 50) + 0.25, kind)
    if situation.content == "nan-upstream":
        dy[(1,) + (0,) * (dy.ndim - 1)] = np.nan
    if situation.layout == "broadcast":
        batches = tuple(np.broadcast_to(x[:1], x.shape).copy() for x in batches)
        dy = np.broadcast_to(dy[:1], dy.shape).copy()
    if situation.content == "integers":
        dy = np.round(4 * (uniform(situation.shape, 100 * seed + 50) + 0.25)) / 256
    gamma, beta, mean, var = (rounded(p, parameters) for p in _parameters(situation, channels, seed))
    if situation.layout == "shared":
        gamma, beta = var, mean
    where = mask_of(situation)
    if where is not None:
        batches, dy = tuple(padded(x, where, situation) for x in batches), padded(dy, where, situation, upstream=True)
    given = (None if situation.gamma == "absent" else gamma, None if situation.beta == "absent" else beta)
    return Case(id, operation, kind, parameters, situation, batches, dy, *given, mean, var, 100 * seed, where=where)


def in_shape(case: Case, shape: tuple[int, ...]) -> Case:
    """Return the case's situation in x of another shape: other numbers, by the same rule.

    Examples
    --------
    >>> in_shape(case("bn.training.float64.zero-eps.1"), (4, 3)).x.shape
    (4, 3)
    """
    situation = replace(case.situation, shape=shape)
    return replace(built(case.id, case.operation, case.kind, situation, case.seed // 100), held=False)


def _per_channel(channels: int, rank: int) -> tuple[Floats, Floats]:
    """Return each channel's own scale and offset, so that channels differ."""
    c = np.arange(channels)
    shape = (1, channels) + (1,) * (rank - 2)
    return (2.0 ** ((3 * c) % 4 - 1.0)).reshape(shape), (((5 * c + 2) % 7 - 3) * 0.75).reshape(shape)


def _values(situation: Situation, kind: str, seed: int) -> Floats:
    """Return one batch of x, rounded to its format."""
    shape = situation.shape
    u = uniform(shape, seed)
    if situation.content == "integers":  # multiples of 1/4 about an exact mean: plain sums are exact in any order
        half = u[: shape[0] // 2]
        place = np.arange(half[0, 0].size).reshape(half[0, 0].shape) / half[0, 0].size
        half = np.round(half * 4) / 4 * np.where(place >= 0.75, 2.0, 1.0)  # what stops early misses the rise
        centre = np.where(np.arange(shape[1]) % 2, 0.5, 1.0).reshape((1, -1) + (1,) * (len(shape) - 2))
        return np.concatenate([centre + half, centre - half])
    scale, offset = _per_channel(shape[1], len(shape))
    x = (u * scale + offset) * situation.spread + situation.centre * np.sign(offset + 0.1)
    if situation.content == "outlier":
        x[shape[0] // 2] += 16.0 * scale[0]
    if situation.content == "constant":
        x[:, 1] = 0.1
    if situation.content == "drift":
        x = x + drift(situation) * scale
    if situation.content in ("nan", "inf"):
        x[(1,) + (0,) * (len(shape) - 1)] = float(situation.content)
    return rounded(x, kind)


def rule_of(case: Case, name: str, step: int = 0) -> dict[str, Any]:
    """Return how x or dy of a case follows from the integer rule; h is `hashed` of the flat index, c the channel.

    "hash": round(scale[c] * h / 2^15 + offset[c] + add) to the format, ``add`` being 0 but at the given flat indices.
    "mirrored": with n the elements of half the samples and q = rint(4 h / 2^15) / 4, doubled where the position among
    the values of a sample's channel, over their number, is 3/4 or more: centre[c] + q in the first half of the samples,
    centre[c] - q of the element n before in the second. "quarters": rint(4 (h / 2^15 + 1/4)) / 256. Ties to even.
    """
    situation, channels = case.situation, case.x.shape[1]
    seed = case.seed + (50 if name == "dy" else step)
    if situation.content == "integers":
        centre = [0.5 if c % 2 else 1.0 for c in range(channels)]
        if name == "dy":
            return {"name": "quarters", "seed": seed}
        return {"name": "mirrored", "seed": seed, "centre": centre}
    scale, offset, add = np.ones(channels), np.full(channels, 0.25), np.zeros(case.x.shape)
    if name != "dy":
        scale, offset = (a.reshape(-1) for a in _per_channel(channels, 2))
        scale, offset = scale * situation.spread, offset * situation.spread + situation.centre * np.sign(offset + 0.1)
        if situation.content == "outlier":
            add[case.x.shape[0] // 2] += 16.0 * scale.reshape((-1,) + (1,) * (case.x.ndim - 2))
    at = np.flatnonzero(add)
    plain = {"name": "hash", "seed": seed, "scale": scale.tolist(), "offset": offset.tolist()}
    return plain | {"add": {"at": at.tolist(), "value": add.reshape(-1)[at].tolist()}}


def _parameters(situation: Situation, channels: int, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return gamma, beta, and the running mean and variance, before they are rounded to their format."""
    c = np.arange(channels)
    u = [uniform((channels,), 100 * seed + k) for k in (60, 61, 62, 63)]
    gamma = 0.75 + 0.5 * u[0]
    if situation.gamma in ("signed", "zero"):
        gamma = gamma * np.where(c % 2 == 0, -1.0, 1.0)
    if situation.gamma == "zero":
        gamma[1 % channels] = 0.0
    if situation.gamma == "all-zero":
        gamma = gamma * 0.0
    if situation.gamma == "tiny":
        gamma = gamma * 2.0**-7
    if situation.gamma == "huge":
        gamma = gamma * 2.0**12
    beta = 2 * u[1] + {"large": 8.0, "huge": 2.0**12}.get(situation.beta, 0.0)
    scale, offset = _per_channel(channels, 2)
    mean, var = offset[0] + 0.5 * u[2], scale[0] ** 2 * (0.5 + 0.25 * u[3])
    if situation.running == "initial":
        mean, var = np.zeros(channels), np.ones(channels)
    if situation.running == "dead":
        var[1] = 0.0
    if situation.running == "huge":
        mean, var = mean * 2.0**10, var * 2.0**20
    if situation.running == "small":
        var = situation.eps * (1.5 + u[3])
        mean = mean * situation.spread
    if situation.running == "far" and situation.spread < 2.0**60 and situation.centre:
        mean = mean * situation.spread + situation.centre * np.sign(offset[0] + 0.1)
    return gamma, beta, mean, var


def arranged(array: Array, layout: str) -> Array:
    """Lay an array out in memory; values stay what they are.

    "fortran", "channels-last" (a view of NHWC memory), "sliced" (every second value of a buffer of NaN, from the second
    on), "reversed" (negative strides), "broadcast" (stride 0 along the first axis), "read-only"; anything else: C
    order.
    """
    array = np.array(array, order="C")
    if array.ndim < 2 and layout not in ("read-only", "sliced"):
        return array
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "channels-last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
    if layout == "sliced":
        buffer = np.full(tuple(2 * n for n in array.shape), np.nan, dtype=array.dtype)
        view = buffer[(slice(1, None, 2),) * array.ndim]
        view[...] = array
        return view
    if layout == "reversed":
        back = (slice(None, None, -1),) * array.ndim
        return np.ascontiguousarray(array[back])[back]
    if layout == "broadcast":
        return np.broadcast_to(array[:1], array.shape)
    if layout == "read-only":
        array.flags.writeable = False
    return array
