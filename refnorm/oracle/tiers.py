"""Classes of correct algorithms: how sums are taken, and what that makes of mean and variance.

What is said here is derived in `refnorm.oracle.bounds`, in the same notation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from refnorm.formats import Floats, smallest, unit_roundoff


def least_error(kind: str) -> float:
    """Return eta, half the smallest subnormal of a format."""
    return max(smallest(kind) / 2, smallest("float64"))  # float64 does not hold half of its own


def _wide(m: int, u: float) -> float:
    return min(m - 1, 1 + min(m * u, 1))


def _halves(m: int, u: float) -> float:
    return min(m - 1, math.log2(m) + 17.2) + (m * u >= 0.5)


def _any_order(m: int, u: float) -> float:
    return m - 1 if m * u < 0.5 else _halves(m, u)


class Batch(NamedTuple):
    """What the errors of a batch's moments depend on, per channel.

    ``of_x``, ``of_deviations``, ``of_squares`` are h u of the sums of x, (x - mean)^2 and x^2, and ``h`` that of any
    terms; ``size`` is mean|x|, ``reach`` max|x - mean|, and ``exact`` says where the mean comes out without an error.
    """

    h: float
    u: float
    eta: float
    of_x: Floats
    of_deviations: Floats
    of_squares: Floats
    exact: Floats
    mean: Floats
    var: Floats
    size: Floats
    rms: Floats
    reach: Floats
    merges: float = 0.0  # roundings granted beside those of the sums


def two_passes(b: Batch) -> tuple[Floats, Floats]:
    """Bound the mean, and the variance as the mean of (x - mean)^2."""
    d_mean = np.expm1(b.of_x + 2 * b.u) * np.where(b.of_x == 0, np.abs(b.mean), b.size) + b.eta
    d_mean = np.where(b.exact, np.expm1(b.merges * b.u) * b.size, d_mean)
    growth = np.expm1(b.of_deviations + (5 + b.merges) * b.u)
    return d_mean, growth * (b.var + d_mean**2) + d_mean**2 + 2 * (1 + growth) * b.eta


def updates(b: Batch) -> tuple[Floats, Floats]:
    """Bound mean and variance brought up to date value by value, or merged from those of two parts."""
    m, std, growth = b.h + 1, np.sqrt(b.var), math.exp(2 * (b.h + 3) * b.u)
    in_any = b._replace(of_x=np.full_like(std, b.h * b.u), of_deviations=np.full_like(std, b.h * b.u))
    in_any = in_any._replace(exact=np.zeros_like(std))
    d_mean = (b.h + 2) * b.u * b.size + 3 * b.u * (math.sqrt(2) * std + b.reach) + (m + 1) / 2 * b.eta
    on_the_way = math.sqrt(2) / 3 * (m + 2) * b.u * b.rms + 3 * math.sqrt(2 * (1 + math.log(m))) * b.u * std
    on_the_way = growth * (on_the_way + (m + 3) / 3 * b.eta)
    return growth * d_mean, two_passes(in_any)[1] + growth * (math.sqrt(8) * std * on_the_way + on_the_way**2)


def one_pass(b: Batch) -> tuple[Floats, Floats]:
    """Bound the mean, and the variance as E[x^2] - E[x]^2."""
    d_mean, _ = two_passes(b)
    d_var = np.expm1(b.of_squares + 3 * b.u) * b.rms**2 + d_mean * (2 * np.abs(b.mean) + d_mean) + 3 * b.eta
    return d_mean, (1 + b.u) ** 2 * (d_var + b.u * b.mean**2) + b.u * b.var


def shifted(b: Batch) -> tuple[Floats, Floats]:
    """Bound the mean, and the variance as E[(x - k)^2] - E[x - k]^2, k being any value of the channel."""
    d = math.expm1((b.h + 3) * b.u) * (np.sqrt(b.var) + b.reach) + b.eta
    d_var = math.expm1((b.h + 5) * b.u) * (b.var + b.reach**2) + d * (2 * b.reach + d) + 3 * b.eta
    return d + b.u * (np.abs(b.mean) + d), (1 + b.u) ** 2 * (d_var + b.u * b.reach**2) + b.u * b.var


@dataclass(frozen=True)
class Tier:
    """A class of algorithms: how sums are taken (h of m and u), how moments are, and whether maps are folded.

    ``growth`` says what the error grows like, in words. Sums are taken in the format of x, or in that of
    ``accumulate`` if it has more digits.
    """

    name: str
    growth: str
    h: Callable[[int, float], float]
    moments: Callable[[Batch], tuple[Floats, Floats]] = two_passes
    folded: bool = False
    accumulate: str = "float32"

    def sums_in(self, kind: str) -> str:
        """Return the format in which sums are taken of values in a format."""
        return min(kind, self.accumulate, key=unit_roundoff)


WIDE = Tier("wide accumulation", "not at all", _wide)
PAIRWISE = Tier("pairwise sums", "like log m, m being the values per channel", _halves)
ROW_BY_ROW = Tier("row-by-row sums", "like m, the number of values per channel", _any_order)
WELFORD = Tier("Welford's updates or merged moments", "like m |mean|/std", _any_order, updates)
FOLDED = Tier("folded y = x a + b", "like |mean|/std", _halves, folded=True)
COMBINED = Tier("row-by-row updates and folded maps", "like m |mean|/std", _any_order, updates, folded=True)
SHIFTED = Tier("one-pass variance of x less one of its values", "like (max|x - mean|/std)^2", _any_order, shifted)
ONE_PASS = Tier("one-pass variance E[x^2] - E[x]^2", "like (mean/std)^2", _any_order, one_pass, folded=True)
NARROW = replace(ONE_PASS, name="sums in the format of x", accumulate="bfloat16")
TIERS = (WIDE, PAIRWISE, ROW_BY_ROW, WELFORD, FOLDED, COMBINED, SHIFTED, ONE_PASS, NARROW)
WORST = COMBINED  # what still conforms: all of the tiers before it
BY_NAME = {
    "wide": WIDE, "pairwise": PAIRWISE, "rows": ROW_BY_ROW, "welford": WELFORD, "folded": FOLDED, "one-pass": ONE_PASS
}  # fmt: skip
IN_ONE_FORMAT = replace(WORST, accumulate="bfloat16")  # what computes in the format of x throughout
SUMMED = Tier("row-by-row sums and folded maps", "like |mean|/std", _any_order, folded=True)  # WORST but for updates
