"""Two roads to the bounds agree: `refnorm.oracle.bounds` and `second_bounds` with `bounds_road`, to eleven digits.

Drawn are few values in formats so coarse that terms of second order and underflows are seen among the first order's;
what decides (whether a term is there, which format counts) has a case on each side. Whether the bounds are right is
tried in test_bounds.py: here only that they are what the page says, and that nobody changes one of them alone.
"""

from dataclasses import FrozenInstanceError, replace

import bounds_road
import numpy as np
import pytest

from refnorm.conventions import ROWS
from refnorm.formats import FORMATS, rounded
from refnorm.golden.directions import directions
from refnorm.golden.inputs import Case
from refnorm.golden.inputs import case as case_of
from refnorm.golden.situations import Situation
from refnorm.oracle.bounds import bounds
from refnorm.oracle.second_bounds import Carried, second_bounds
from refnorm.oracle.tiers import NARROW, TIERS, WIDE

SAMPLED = True  # see conftest.py

TORCH = ROWS["torch"]
OLD = next(row for row in ROWS.values() if row.momentum == "old" and row.correction == 0)
SUMS = next(row for row in ROWS.values() if row.momentum == "sums")
SINGLE = next(row for row in ROWS.values() if row.attributes == "float32")


def drawn(
    seed=0,
    shape=(6, 3),
    kind="float16",
    parameters="",
    eps=1e-3,
    momentum=0.1,
    scale=1.0,
    far=0.0,
    steps=1,
    affine=True,
):
    """A case of training; ``far`` moves the values off 0, ``scale`` multiplies all of it."""
    rng = np.random.default_rng(seed)
    parameters, channels = parameters or kind, shape[1]
    batches = tuple(rounded((rng.normal(size=shape) + far) * scale, kind) for _ in range(steps))
    dy = rounded(rng.normal(size=shape) + 0.25, kind)
    gamma, beta = (rounded(rng.normal(size=channels) * 2, parameters) for _ in range(2))
    mean, var = rounded(rng.normal(size=channels) * scale, parameters), rounded(rng.random(channels) + 0.25, parameters)
    if not affine:
        gamma = beta = None
    situation = Situation("drawn", "", shape, eps=eps, momentum=momentum)
    return Case(
        f"drawn.{seed}", "training", kind, parameters, situation, batches, dy, gamma, beta, mean, var, 100 * seed
    )


CASES = {
    "float16": drawn(),
    "float16 far from 0": drawn(1, far=20.0, eps=0.1),
    "sixty": drawn(21, (60, 1)),
    "two spatial axes": drawn(2, (2, 3, 2, 3)),
    "float32": drawn(3, kind="float32", far=50.0),
    "float64": drawn(4, kind="float64", eps=0.1),
    "float64 far from 0": drawn(20, kind="float64", far=1e8),
    "bfloat16": drawn(5, kind="bfloat16", eps=2.0**-7),
    "float32 parameters": drawn(6, parameters="float32"),
    "float16 parameters": drawn(7, kind="float32", parameters="float16"),
    "no parameters": drawn(8, affine=False),
    "two batches": drawn(9, steps=2, momentum=0.75),
    "smallest numbers": drawn(10, scale=2.0**-21),
    "smallest float32": drawn(11, kind="float32", scale=2.0**-146, eps=2.0**-60),
    "smallest float64": drawn(12, kind="float64", scale=2.0**-1070, eps=2.0**-100),
    "two values": drawn(13, (2, 2)),
    "small eps": drawn(14, scale=0.1, eps=1e-5),
    "too many for any order": drawn(15, (128, 1), kind="bfloat16", eps=2.0**-7),
    "more than 1/u": drawn(16, (260, 1), kind="bfloat16", eps=2.0**-7),
    "squares beyond the format": drawn(22, far=300.0),
    "variance lost": drawn(17, kind="float16", far=300.0, scale=0.5, eps=2.0**-12),
}
# Values are s and -s. Of the first channel no power leaves float16; of the others the first to do so is the square of
# x, the 3rd, 5th and 7th power of s, and the 7th, 5th and 3rd of its inverse.
WIDELY = np.array([1.0, 400.0, 84.0, 23.0, 7.0, 0.15, 0.05, 0.0055])
CASES["beyond the format"] = replace(
    drawn(18, (6, 8), eps=2.0**-20), batches=(rounded(np.outer((-1.0) ** np.arange(6), WIDELY), "float16"),)
)
CASES["beyond it once"] = replace(
    drawn(19, (6, 8), eps=2.0**-20), batches=(CASES["beyond the format"].x, drawn(19, (6, 8)).x)
)
CASES["given beyond it"] = replace(
    CASES["beyond the format"], running_var=rounded(np.minimum(WIDELY**2, 6e4), "float16")
)


def known(m, channels, parameters="float16", eps=1e-3):
    """A case in which each value counts so often, m in all; of each channel how often, x, and dy."""
    times, x, dy = (np.array(rows, dtype=float)[None] for rows in zip(*channels, strict=True))
    assert (times.sum(axis=2) == m).all()
    for values in (x, dy):
        assert (rounded(values, "float16") == values).all()
    return replace(drawn(30, (1, *x.shape[1:]), parameters=parameters, eps=eps), batches=(x,), dy=dy, times=times)


# Sums whose terms are known. No partial sum of multiples of 1 is rounded if their sizes add up to 2,048 or less; a mean
# is exact if it is 0, or m a power of 2 and all deviations fit as well.
EVEN, ODD, TWO = (8, 14, 1, 14, 8), (8, 15, 1, 13, 8), (16, 15, 2, 15, 16)
FEW, TENTHS, NONE = (1, 0, 0, 0, -1), tuple(rounded([0.1, 0.3, -0.7, 0.9, 100.0], "float16")), (0,) * 5
KNOWN = {
    45: [
        (EVEN, (-9, -2, 0, 2, 9), FEW),  # mean 0, all sums fit
        (ODD, (-3, -2, 0, 2, 3), TENTHS),  # a quotient is rounded
        (EVEN, (-4, -3, -1, 1, 2), NONE),  # nor is it exact where the mean is a number, but no power of 2 divides
        (EVEN, (-2, -1, 1, 3, 4), NONE),
        (EVEN, (-63, -30, 0, 30, 63), NONE),  # squares do not fit
        (EVEN, (-79, -28, 0, 28, 79), (79, 28, 0, -28, -79)),  # 2,048
        (EVEN, (-79, -28, 1, 28, 79), (-79, -28, -1, 28, 79)),  # 2,049
        (EVEN, TENTHS, (0, 0, 0.125, 0, 0)),  # one value that is not 0
        (EVEN, NONE, (-1, -1, 0, 0, 0)),
        ((45, 0, 0, 0, 0), (7, 7, 7, 7, 7), (3, 3, 3, 3, 3)),  # what counts for nothing
    ],
    64: [
        (TWO, (-3, -2, 1, 2, 3), TENTHS),  # deviations do not fit
        (TWO, (-1, 0, 1, 0, 1), FEW),  # their squares do not
        (TWO, (0, 0, 1, 0, 0), (0, 0.5, 0, -0.5, 0)),  # all sums fit
        (TWO, TENTHS, (0, 0, 0, 0, -1)),
    ],
}
CASES |= {f"known, {m}": known(m, channels) for m, channels in KNOWN.items()}
CASES["known, x_hat as well"] = known(64, [((16, 16, 0, 16, 16), (-1, -1, 0, 1, 1), FEW)], eps=3.0)  # s is 2
CASES["known, float32 parameters"] = known(45, KNOWN[45], "float32")
ALONE = tuple(replace(tier, accumulate="bfloat16") for tier in TIERS[:-1])  # the other road knows one format
ROUNDS = [(name, tier) for name in CASES for tier in ALONE]
ROUND_NAMES = [f"{name}, {tier.name}" for name, tier in ROUNDS]


def row_for(name, tier):
    """One of four conventions, so that each is tried with every tier."""
    return (TORCH, OLD, SUMS, SINGLE)[(list(CASES).index(name) + ALONE.index(tier)) % 4]


def same(found, expected, where):
    """Whether an array of bounds is what the other road gives, per channel or for every value of each."""
    for channel, numbers in enumerate(expected):
        if isinstance(numbers, list):
            mine = np.broadcast_to(found, where.x.shape)[:, channel].reshape(-1)
            if where.times is not None:
                mine = np.repeat(mine, where.times[:, channel].reshape(-1).astype(int))
        else:
            assert found.shape == (where.x.shape[1],)
            mine = found[channel : channel + 1]
        theirs = np.array(numbers).reshape(-1)
        theirs = np.where(np.isnan(theirs), np.inf, theirs)
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=0)


@pytest.mark.parametrize(("name", "tier"), ROUNDS, ids=ROUND_NAMES)
def test_bounds_of_training(name, tier):
    case, row = CASES[name], row_for(name, tier)
    mine, theirs = bounds(case, row, tier), bounds_road.training(case, row, tier.name)
    assert list(mine) == list(theirs)
    for quantity, numbers in theirs.items():
        same(mine[quantity] / (1 + 2.0**-30), numbers, case)


@pytest.mark.parametrize(("name", "tier"), ROUNDS, ids=ROUND_NAMES)
def test_bounds_of_inference(name, tier):
    case, row = replace(CASES[name], operation="inference"), row_for(name, tier)
    mine, theirs = bounds(case, row, tier), bounds_road.inference(case, row, tier.name)
    assert list(mine) == list(theirs)
    for quantity, numbers in theirs.items():
        same(mine[quantity] / (1 + 2.0**-30), numbers, case)


ONCE = [(name, tier) for name, tier in ROUNDS if CASES[name].times is None]


@pytest.mark.parametrize("operation", ["training", "inference"])
@pytest.mark.parametrize(("name", "tier"), ONCE, ids=[f"{name}, {tier.name}" for name, tier in ONCE])
def test_bounds_of_second_order(name, tier, operation):
    case, row = replace(CASES[name], operation=operation), row_for(name, tier)
    mine = second_bounds(case, row, tier)
    theirs = bounds_road.second_order(case, row, tier.name, directions(case))
    assert set(mine) == set(theirs)
    for quantity, numbers in theirs.items():
        same(mine[quantity], numbers, case)


def test_where_all_digits_of_the_variance_may_be_lost_second_order_need_only_be_finite():
    """Among bfloat16 numbers as far from 0, 1 / s is off by an infinite factor; a factor of 0 with it made NaN."""
    case = case_of("bn.training.bfloat16.large-mean.2")
    lost = np.isinf(bounds(case, TORCH, NARROW)["dx"])
    assert lost.any()
    for quantity, bound in second_bounds(case, TORCH, NARROW).items():
        assert not np.isnan(bound).any()
        assert np.isinf(bound).any(), quantity


@pytest.mark.parametrize("power", [3, -3, 5, -5])
def test_where_a_power_is_the_largest_number_itself_values_are_judged(power):
    """A root whose power is rounded to that number is looked for among its neighbours: some libraries have none."""
    hits = []
    for kind in FORMATS:
        limit = bounds_road.LARGEST[kind]
        near = limit ** (2 / power)
        for v in near + np.spacing(near) * np.arange(-600, 600):
            s = np.sqrt(np.array([v]))
            with np.errstate(over="ignore"):
                found = s**power if abs(power) == 3 else (s**2) ** (power / 2)
            if found == limit:
                hits.append(replace(drawn(0, (2, 1), kind=kind, eps=float(v)), batches=(np.zeros((2, 1)),)))
    if not hits:
        pytest.skip("no root has a power that is rounded to the largest number")
    for case in hits:
        found = (bounds if abs(power) == 3 else second_bounds)(case, TORCH, NARROW)
        assert all(np.isfinite(bound).all() for bound in found.values())


def test_a_carried_value_cannot_change_and_equals_no_other():
    carried = Carried(np.ones(2), np.zeros(2), 0.5, 0.25, 3.0)
    with pytest.raises(FrozenInstanceError):
        carried.u = 1.0
    assert carried != replace(carried)


def test_in_half_formats_1_over_s_is_rounded_once_more_beside_the_roundings_of_y():
    """Four of gamma x_hat, one of y: so near what sums in float32 leave that there are no more."""
    case, u = replace(CASES["float16"], beta=np.zeros(3)), 2.0**-11
    centred = case.x - case.x.mean(0)
    y = np.abs(case.gamma * centred / np.sqrt((centred**2).mean(0) + case.eps))
    bound, clear = bounds(case, TORCH, WIDE)["y, training"], y > 0.5
    assert (bound >= (4 * u + u) * y)[clear].all()
    assert (bound <= 1.1 * (4 * u + u) * y)[clear].all()
