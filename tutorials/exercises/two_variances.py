"""The exercises of `two-variances.md`."""

from __future__ import annotations

from itertools import product

import numpy as np

from exercises import Function, Lesson, Number
from exercises.truths import batch, statistics
from refnorm import Statistics


def deviation_of_biased(m: int) -> float:
    """Return sqrt(E[s_b^2]) for a fair coin with sides -1 and 1, of variance 1: the mean over all 2^m batches."""
    batches = np.array(list(product((-1.0, 1.0), repeat=m))).T
    return float(np.sqrt(statistics(batches)[1].mean()))


def effective(images: int, pixels: int, r: float) -> tuple[float, float]:
    """Return n_eff, and E[s_b^2] for variance 1, from the covariance of all values; r is that of two pixels."""
    one = r + (1 - r) * np.eye(pixels)
    covariance = np.kron(np.eye(images), one)
    expected = np.trace(covariance) / len(covariance) - covariance.mean()
    return float(1 / (1 - expected)), float(expected)


def three_numbers(rng: np.random.Generator) -> tuple[int, int, float]:
    """Draw a number of images, one of pixels, and a correlation."""
    return int(rng.integers(2, 6)), int(rng.integers(2, 20)), float(rng.uniform(0, 0.9))


N_EFF, EXPECTED = effective(2, 49, 0.2)


check = Lesson(
    Function(
        lambda rng: (batch(rng),),
        lambda x: Statistics.of(x).corrected(1),
        "stored",
        {
            "this is the biased variance, which normalises and is not what the paper stores": lambda x: x.var(axis=0),
            "this is a standard deviation": lambda x: x.std(axis=0, ddof=1),
            "the mean was taken over all channels together": lambda x: np.full(3, x.var(ddof=1)),
        },
    ),
    Number(
        100 * (1 - deviation_of_biased(8)),
        "how much too small the standard deviation is, in per cent,",
        {"this is the variance, of which the root divides": 12.5},
    ),
    Number(
        N_EFF,
        "n_eff",
        {
            "these are all values, as if they were independent": 98,
            "the mean correlation counts each pixel with itself, too: 1/49 of the pairs have correlation 1": 2 / 0.2,
            "this is that of one image, and there are two": round(N_EFF / 2, 9),
        },
    ),
    Number(
        100 * (EXPECTED * 98 / 97 - 1),
        "the bias with m = N H W, in per cent,",
        {"this is the bias with m = N": round(100 * (EXPECTED * 2 - 1), 9)},
    ),
    Function(
        three_numbers,
        lambda images, pixels, r: effective(images, pixels, r)[0],
        "n_eff",
        {
            "r was taken for rho: a pixel with itself is a pair, too": lambda n, p, r: n / r,
            "these are all values, as if they were independent": lambda n, p, r: n * p,
        },
    ),
    Number(
        next(n for n in range(2, 1000) if np.sqrt(n / (n - 1)) < 1.01),
        "the smallest N",
        {"the variance moves by less than 1 % from here on; the standard deviation does so earlier": 102},
    ),
)
