"""What a float format is: significant bits, exponents, unit roundoff, limits, and rounding to it once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

Array = Any  # an array of any library that follows the array API standard
Floats = np.ndarray[Any, Any]  # NumPy float64 values, which may all be numbers of a narrower format

# significand bits and smallest normal exponent of every format that a result may be rounded to
FORMATS = {"float64": (53, -1022), "float32": (24, -126), "bfloat16": (8, -126), "float16": (11, -14)}
COMPLEX = ("complex64", "complex128")


@lru_cache(maxsize=256, typed=True)  # NumPy puts a name together each time
def dtype_name(dtype: Any) -> str:
    """Name of a dtype, the same in every library: ``torch.float32`` and NumPy's ``float32`` are both float32."""
    return str(getattr(dtype, "name", None) or str(dtype).rpartition(".")[2])


def numpy_dtype(kind: str) -> Any:
    """Return NumPy's dtype of a format; bfloat16 needs the package ml_dtypes."""
    if kind == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(kind)


def unit_roundoff(kind: str) -> float:
    """Return u, half the distance from 1 to the next number of a format."""
    return 2.0 ** -FORMATS[kind][0]


def smallest(kind: str) -> float:
    """Return the smallest subnormal of a format."""
    bits, exponent = FORMATS[kind]
    return 2.0 ** (exponent - bits + 1)


def largest(kind: str) -> float:
    """Return the largest finite number of a format."""
    bits, exponent = FORMATS[kind]
    return (2.0 - 2.0 ** (1 - bits)) * 2.0 ** (1 - exponent)


def rounded(values: Any, kind: str) -> Floats:
    """Round float64 values to a format once, to nearest, ties to even; they stay float64.

    The last place is read from the exponent of each value, and `numpy.rint` rounds to a multiple of it: another road
    than `round_once`, so that the truth does not depend on how the reference rounds.

    Examples
    --------
    >>> rounded([1 / 3, 70000.0, 1e-9], "float16")         # beyond 65504 there is inf, below 2^-25 there is 0
    array([0.33325195,        inf, 0.        ])
    """
    wide: Floats = np.asarray(values, dtype=np.float64)
    if kind == "float64":
        return wide.copy()
    bits, exponent = FORMATS[kind]
    with np.errstate(over="ignore", invalid="ignore"):
        place = np.maximum(np.frexp(wide)[1] - 1, exponent) - (bits - 1)
        result: Floats = np.ldexp(np.rint(np.ldexp(wide, -place)), place)
        return np.where(np.abs(result) > largest(kind), np.copysign(np.inf, wide), result)


def cast(values: Any, kind: str) -> Floats:
    """Round float64 values to a format, once, and store them in it."""
    return rounded(values, kind).astype(numpy_dtype(kind))


def round_once(xp: Any, values: Array, dtype: Any) -> Array:
    """Round float64 to a narrower dtype once, to nearest, ties to even, in any array library.

    Several libraries reach float16 and bfloat16 from float64 through float32, which rounds twice. So the value is first
    rounded in float64 arithmetic to the target's grid, which every later cast keeps: adding and subtracting
    C = 1.5 · 2^52 · ulp rounds to a multiple of ulp, and the unit in the first place that gives ulp comes from four
    operations (Rump, Ogita & Oishi 2008, *Accurate floating-point summation part I*, Algorithm 3.5).
    """
    if values.dtype == dtype:
        return values
    bits, exponent = FORMATS.get(dtype_name(dtype), FORMATS["float64"])
    if bits < 24 and dtype_name(values.dtype) == "float64":
        scaled = (2.0**52 + 1) * values
        first_place = xp.abs(scaled - (1 - 2.0**-53) * scaled)
        least = xp.full_like(values, 2.0**exponent)
        shift = xp.where(first_place > least, first_place, least) * (1.5 * 2.0 ** (52 + 1 - bits))
        result = (values + shift) - shift
        values = xp.where(result == 0, values * 0.0, result)  # keeps the sign of zero
    return xp.astype(values, dtype, copy=False)
