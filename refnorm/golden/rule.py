"""The integer rule that every input follows, so that any language can build the same numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from refnorm.formats import Floats


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
