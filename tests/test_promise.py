"""The promise of precision for any data, derived, and measured where it is hardest to keep.

The promise. With T and u as in `test_accuracy`, and h the most additions that a term goes through on its way into a sum
of m values over r axes, every result in float64 is off by at most 1.1 (a h + b) u T, where

    mean  h + 3    var  h + 6    y  h + 9    dbeta  h    dgamma  1.5 h + 9    dx  2.5 h + 29
    h <= 7/3 log2(m) + 17 r + 14,  and h <= m - 1

and of narrower formats, which are rounded once more, by half an ulp besides: 0.51 ulp wherever |result| >= 2^-14 T, for
m up to 2^20 along one axis, because 1.1 (2.5 * 78 + 29) u T is less than 0.01 * 2^-24 |result| there.

The sums. An axis of n values is cut into eighths, which takes 7 additions, and then again, at most ceil(log8 n) times
as what is left over is at most 7, until no more than 8 are left, which take 7: at most 7 (log8 n + 2) = 7/3 log2(n) +
14. NumPy's pairwise sum of neighbours is less deep. Axes follow each other; blocks add one more such sum, and cutting
an axis into unequal pieces adds at most a factor 2 of length, 7/3, to each.

The errors, first order in u. The first mean is off by r <= (h + 1) u mean|x|. The mean of d = x - mean has terms of one
rounding each, h, and a quotient: with mean|d| <= std + r the rest is off by (h + 2) u std, and so are mean + tail and,
with the rounding of one float64, the mean. var: two roundings of d^2, one of the product, h, a quotient, less rest^2:
h + 6. v = var + eps: h + 7; its root half of that and one; slope: h/2 + 5.5 with the quotient. y: x - mean, the product
and the last sum add 3 to the slope, the mean h + 2 on |gamma|. dgamma: h + 2 on sum|dy (x - mean)|, h + 2 for the mean
on |sum dy|, h/2 + 6.5 for the root. dx: two factors 1 / sqrt(v), h/2 + 6 each, dgamma, the mean's h + 2, and 9
roundings of its own. 1.1 stands for all second order, as long as h u mean/std <= 2^-7.

The range. Squares are taken of x - mean. They must not overflow, |x - mean| < 1.3e154, and must not be lost below the
smallest normal number: var + eps >= 2^-1022. With eps = 0 that excludes deviations below about 1.5e-154; near 2^-530
the variance has lost digits, and below 2^-538 it is 0. dx has two factors in one, gamma dgamma / (var + eps): it must
be finite, too.

Measured: what the sums really do is read off NumPy's own results (Xu & others 2024, *FPRev*): with M and -M at two
places, and ones elsewhere, the sum is the number of ones outside the smallest partial sum that holds both.

Run ``python tests/test_promise.py`` for the table of what made-up data reach.

Not verified here: other libraries, whose sums over one axis are taken by eighths as well (any order of 8 is 7 deep).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import test_accuracy as accuracy

import refnorm
from refnorm.reference._layout import kept_axes

SAMPLED = True  # see conftest.py

OF = {"mean": (1, 3), "var": (1, 6), "y": (1, 9), "dbeta": (1, 0), "dgamma": (1.5, 9), "dx": (2.5, 29)}
LARGE = 2.0**100  # what absorbs any number of ones
SHAPES = [  # and the axis that is kept
    *(((4096, 1), 1), ((511, 2), 1), ((4097, 1), 1), ((1, 1, 3000), 1), ((64, 2, 64), 1), ((8, 8, 8, 8, 2), 4)),
    *(((7, 7, 7, 2), 3), ((60, 2, 9, 9), 1), ((40000, 2), 1), ((40, 4, 40, 40), 1)),
]


def most_additions(shape: tuple[int, ...], axis: int | tuple[int, ...]) -> float:
    """Return the h of the promise."""
    kept = kept_axes(axis, shape)
    m = math.prod(n for a, n in enumerate(shape) if a not in kept)
    return min(m - 1, 7 / 3 * math.log2(m) + 17 * (len(shape) - len(kept)) + 14)


def promised(name: str, shape: tuple[int, ...], axis: int | tuple[int, ...]) -> float:
    """Return the C of the promise."""
    a, b = OF[name]
    return 1.1 * (a * most_additions(shape, axis) + b)


def additions(shape: tuple[int, ...], axis: int, place: int, tried: int) -> int:
    """Count the partial sums that one value of the first channel goes through, in dbeta, as far as others show them."""
    channel = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), axis, 0)[0].ravel()
    others = np.delete(np.arange(channel.size), place)
    if others.size > tried:
        powers = [8**k for k in range(1, 7) if 8**k < others.size]
        others = np.unique([*others[:: others.size // tried], *others[:50], *others[-50:], *others[powers]])
    dy, one = np.ones(shape), np.ones(shape[axis])
    flat, sizes = dy.reshape(-1), set()
    flat[channel[place]] = LARGE
    for other in channel[others].tolist():
        flat[other] = -LARGE
        dbeta = refnorm.batch_norm_inference_backward(dy, dy, one, one, axis=axis)[2]
        sizes.add(channel.size - float(dbeta[0]))
        flat[other] = 1.0
    return len(sizes)


def made_up(m: int, channels: int = 1) -> dict[str, accuracy.Case]:
    """Make data whose additions all lose nearly half a unit, downward, in the longest chain of each sum.

    8 terms of 3/7 of a unit are 3 units and 3/7: after each round of eighths the next one loses as much again.
    """
    large = 2**27 * 1.0000001
    small = math.sqrt(3 / 7 * np.spacing(large * large))
    x = np.where(np.arange(m) % 2, small, -small)
    x[:2] = large, -large
    losing = np.full(m, 3 / 7 * np.spacing(1.0))
    losing[0] = 1.0
    values = {
        "squares": (x, np.random.default_rng(1).standard_normal(m)),
        "dy": (np.random.default_rng(2).standard_normal(m), losing),
        "squares, dy": (x, losing),
        "x": (np.where(np.arange(m) == 0, 1.0, losing) + 2.0, losing),
    }
    plain = accuracy.case("float64", 0, 1, (m, channels), 1, 0.0, no_gamma=True, no_beta=True)
    return {k: plain._replace(x=spread(a, channels), dy=spread(b, channels)) for k, (a, b) in values.items()}


def spread(column: np.ndarray, channels: int) -> np.ndarray:
    return np.repeat(column[:, None], channels, axis=1)


def needed(case: accuracy.Case) -> dict[str, float]:
    """Return the C that each result needs."""
    measured = accuracy.measurements(accuracy.training(case), accuracy.training_truth(case), "float64")
    return {name: errors.c for name, errors in measured.items()}


def table() -> Iterator[str]:
    """Yield the lines of what made-up data reach, and of what is promised."""
    yield f"{'values':>8}  {'made up':14}" + "".join(f"{name:>8}" for name in OF)
    for m in (2**6, 2**9, 2**12, 2**15, 2**18):
        for name, case in made_up(m).items():
            found = needed(case)
            yield f"{m:8}  {name:14}" + "".join(f"{found[q]:8.1f}" for q in OF)
        yield f"{m:8}  {'promised':14}" + "".join(f"{promised(q, (m, 1), 1):8.1f}" for q in OF)


@pytest.mark.parametrize("m", [64, 512, 4096, pytest.param(2**15, marks=pytest.mark.slow)])
@pytest.mark.parametrize("channels", [1, 2])
def test_made_up_data_keep_the_promise_of_any_data(m, channels):
    for name, case in made_up(m, channels).items():
        found = needed(case)
        assert {q for q in OF if found[q] > promised(q, (m, channels), 1)} == set(), name


@pytest.mark.parametrize("kind", ["float64", "float32"])
def test_so_do_all_others(kind):
    for case in accuracy.cases(kind, 1):
        measured = accuracy.measurements(accuracy.training(case), accuracy.training_truth(case), kind)
        assert {q for q in OF if measured[q].c > promised(q, case.x.shape, case.axis)} == set()


def test_made_up_data_lose_more_than_ordinary_ones_and_the_more_the_more_values_there_are():
    """18.6 u of the variance and 18 u of dbeta at 4096 values: no C that does not grow with their number would hold."""
    few, many = needed(made_up(64)["squares, dy"]), needed(made_up(4096)["squares, dy"])
    for name, least in {"var": 18, "dbeta": 17.9, "y": 9}.items():
        assert many[name] > max(least, 1.5 * few[name], accuracy.C)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_sums_are_no_deeper_than_said(shape, axis):
    m = math.prod(shape) // shape[axis]
    deepest = max(additions(shape, axis, place, 500) for place in (0, m // 2, m - 1))
    assert math.log2(m) <= deepest <= most_additions(shape, axis)


def test_the_measurement_of_depth_tells_a_sum_row_by_row(monkeypatch):
    def row_by_row(layout, values, axes):
        for axis in axes:
            values = np.cumsum(values, axis=axis).take([-1], axis=axis)
        return values

    monkeypatch.setattr("refnorm.reference._channels._sum", row_by_row)
    assert additions((200, 1), 1, 0, 500) == 199 > most_additions((200, 1), 1)


def scaled(exponent: int) -> accuracy.Case:
    case = accuracy.case("float64", 1, 3, (60, 3), 1, 0.0)
    return case._replace(x=np.ldexp(case.x, exponent))


@pytest.mark.parametrize(("exponent", "excluded"), [(-496, set()), (-508, {"dx"})])
def test_the_promise_holds_where_the_variance_is_still_a_normal_number(exponent, excluded):
    case = scaled(exponent)
    assert 2.0**-1022 <= np.min(accuracy.training(case)["var"]) < 2.0**-990
    found = needed(case)
    assert {q for q in OF if not found[q] <= promised(q, (60, 3), 1)} == excluded


def test_squares_that_underflow_are_excluded_for_a_reason():
    """At 2^-530 the variance has lost digits; at 2^-545 it is 0, and y is infinite or NaN, but with an eps."""
    assert needed(scaled(-530))["y"] > 1e6
    lost = scaled(-545)
    results = accuracy.training(lost)
    assert not np.any(results["var"])
    assert not np.any(np.isfinite(results["y"][:, :2]))
    assert np.array_equal(accuracy.training(lost._replace(eps=1e-5))["y"], np.broadcast_to(lost.beta, lost.x.shape))


if __name__ == "__main__":
    for line in table():
        print(line)
