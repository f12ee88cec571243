"""The golden set of batch normalization: inputs that inform, with correctly rounded results. No dependencies.

>>> import refnorm_golden
>>> case = refnorm_golden.cases("training", "float32")[0]
>>> case["id"], refnorm_golden.values(case["x"], "float32")[:2], case["expected"]["mean"]["data"][0]
('bn.training.float32.two-values.1', [-0.9792327880859375, -2.427001953125], -1.0688858032226562)

What every field means is said in ``DATA / "README.md"``; what a consumer must do, in the package's description.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("data")
MANIFEST = json.loads((DATA / "MANIFEST.json").read_bytes())
SET = MANIFEST["set"]
_FORMATS = {"float64": (53, -1022), "float32": (24, -126), "bfloat16": (8, -126), "float16": (11, -14)}


def cases(operation: str | None = None, dtype: str | None = None) -> list[dict[str, Any]]:
    """Return the cases of an operation and a format, or of all; ``"errors"`` holds what is undefined.

    Each is its entry in the JSON, with ``operation`` and ``dtype`` (of x). ValueError if there are none, or if a file
    is not the one that the manifest lists.
    """
    found = []
    for name, listed in MANIFEST["files"].items():
        of, kind = [*name.split(".")[1:-1], "float64"][:2] if name.startswith("bn.") else ("", "")
        if not of or operation not in (None, of) or dtype not in (None, kind):
            continue
        raw = (DATA / name).read_bytes()
        entries = json.loads(raw)["cases"] if hashlib.sha256(raw).hexdigest() == listed["sha256"] else []
        if len(entries) != listed["cases"]:
            raise ValueError(f"{DATA / name} is not the file that MANIFEST.json lists")
        found += [{"operation": of, "dtype": kind} | entry for entry in entries]
    if not found:
        raise ValueError(f"the set {SET} has no cases of operation {operation!r} and dtype {dtype!r}")
    return found


def values(tensor: dict[str, Any], dtype: str = "float64") -> list[float]:
    """Return the numbers of an input or a result in row-major order; an input that is not stored is built by its rule.

    ``dtype`` is the format of the numbers, to which the rule "hash" rounds. Of a result with "at" only those are given.
    """
    if "data" in tensor:
        return [float(number) for number in tensor["data"]]  # float reads "NaN" and "Infinity"
    rule, shape = tensor["rule"], tensor["shape"]
    size, positions = math.prod(shape), math.prod(shape[2:])
    u = [_hashed(k, rule["seed"]) / 32768 for k in range(size)]
    of = [k // positions % shape[1] for k in range(size)]  # the channel
    if rule["name"] == "quarters":
        return [round(4 * (v + 0.25)) / 256 for v in u]
    if rule["name"] == "mirrored":
        twice = [2 if k % positions / positions >= 0.75 else 1 for k in range(size // 2)]
        half = [round(4 * v) / 4 * t for v, t in zip(u, twice)]  # noqa: B905 (of the first half of the samples)
        return [rule["centre"][of[k]] + v for k, v in enumerate([*half, *(-v for v in half)])]
    numbers = [rule["scale"][c] * v + rule["offset"][c] for v, c in zip(u, of, strict=True)]
    for k, added in zip(rule["add"]["at"], rule["add"]["value"], strict=True):
        numbers[k] += added
    return [_rounded(v, *_FORMATS[dtype]) for v in numbers]


def _hashed(k: int, seed: int) -> int:
    h = (k + seed * 0x9E3779B9) % 2**32
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ h >> shift) * factor % 2**32
    return ((h ^ h >> 16) >> 16) - 32768


def _rounded(value: float, bits: int, smallest: int) -> float:
    place = 2.0 ** (max(math.frexp(value)[1] - 1, smallest) - bits + 1)
    return round(value / place) * place  # to nearest, ties to even: powers of two scale exactly
