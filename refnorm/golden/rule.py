"""The integer rule that every input follows, so that any language can build the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from refnorm.exact import to_format

Floats = npt.NDArray[Any]  # float64 values


def hashed(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return integers in -32768..32767 from their index k = 0, 1, ... and a seed.

    h = k + seed * 0x9E3779B9 in 32 bits; then the published finaliser of MurmurHash3: h ^= h >> 16; h *= 0x85EBCA6B;
    h ^= h >> 13; h *= 0xC2B2AE35; h ^= h >> 16, all modulo 2^32. The upper 16 bits less 32768 are the integer.

    Examples
    --------
    >>> hashed(4, seed=1)
    array([ 4810,  5792, 13378, 28033])
    """
    h = np.arange(count, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 % 2**32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    h ^= h >> np.uint32(16)
    return (h >> np.uint32(16)).astype(np.int64) - 32768


def uniform(shape: tuple[int, ...], seed: int) -> Floats:
    """Return multiples of 2^-15 in [-1, 1), exactly."""
    size = int(np.prod(shape, dtype=np.int64))
    return (hashed(size, seed) / 32768.0).reshape(shape)


def numpy_dtype(kind: str) -> Any:
    """Return NumPy's dtype of a format; bfloat16 needs the package ml_dtypes."""
    if kind == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(kind)


def rounded(values: Floats, kind: str) -> Floats:
    """Round float64 values to a format, once; they stay float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        return to_format(np.asarray(values, dtype=np.float64), kind)


def cast(values: Floats, kind: str) -> npt.NDArray[Any]:
    """Round float64 values to a format, once, and store them in it."""
    return rounded(values, kind).astype(numpy_dtype(kind))
