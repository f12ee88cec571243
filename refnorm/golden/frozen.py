"""Read the frozen set: its cases and results as NumPy arrays, from the JSON files alone."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from refnorm.formats import FORMATS, Floats, rounded
from refnorm.golden.contents import CONTENT, DATA, WIDE
from refnorm.golden.rule import hashed

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
REST_DIGITS = 2.0**-17  # relative: `rest` is written with six significant digits


class Enclosure(NamedTuple):
    """Numbers of which it is known that each lies within ``bound`` of the unevaluated sum hi + lo.

    Float64 results of the set come with their `rest`, so hi + lo is nearly exact; of narrower formats the correctly
    rounded number is known, and with it the exact one to half a unit in the last place. Where a large result is
    sampled, the elements that the set does not hold are NaN.
    """

    shape: tuple[int, ...]
    hi: Floats
    lo: Floats
    bound: Floats

    @property
    def whole(self) -> bool:
        """Whether every element is known, and finite."""
        return bool(np.all(np.isfinite(self.hi)))

    @property
    def sharp(self) -> bool:
        """Whether every element is known to far more digits than float64 has."""
        return bool(np.all(self.bound <= 2.0**-64 * np.abs(self.hi) + 2.0**-1074))

    def rounded(self, kind: str = "float64") -> Floats:
        """Return the numbers rounded to a format; NaN where they are not held."""
        return rounded(self.hi, kind).reshape(self.shape)

    def error_of(self, values: Any) -> Floats:
        """Return what values are off by, at the least, whatever the number within its bound is."""
        with np.errstate(invalid="ignore"):
            error = (np.asarray(values, dtype=np.float64) - self.hi.reshape(self.shape)) - self.lo.reshape(self.shape)
            surplus = np.abs(error) - self.bound.reshape(self.shape)
            return np.where(surplus > 0, np.copysign(surplus, error), np.where(np.isnan(error), error, 0.0))


class Frozen(NamedTuple):
    """A case as the set holds it.

    Attributes
    ----------
    id, operation, dtype : as in the file.
    flags : names of what the case is there for; `refnorm.golden.flags` says what each means.
    parameters : format of gamma, beta and the running statistics.
    numbers : eps or momentum, whichever the operation takes.
    inputs : by name, float64 arrays that hold numbers of the formats; None for an absent parameter, a tuple of arrays
        for ``batches``; booleans for ``where``, and for ``shards`` the samples of each. What is not stored is built by
        the written rule.
    expected : by name, the exact results.
    """

    id: str
    operation: str
    dtype: str
    flags: tuple[str, ...]
    parameters: str
    numbers: dict[str, float]
    inputs: dict[str, Any]
    expected: dict[str, Enclosure]


def load(operation: str | None = None, dtype: str | None = None) -> tuple[Frozen, ...]:
    """Return the frozen cases of an operation and a format, or of all.

    Parameters
    ----------
    operation : "training", "backward", "running", "inference", "frozen", "jvp", "double_backward", "frozen_jvp",
        "frozen_double_backward", "masked_training", "masked_backward", "sharded_training" or "sharded_backward".
    dtype : "float64", "float32", "float16" or "bfloat16".

    Raises
    ------
    ValueError
        If there is no such operation or format, or a file is not the one that the manifest lists.

    Examples
    --------
    >>> case = load("training", "float32")[0]
    >>> case.id, case.inputs["x"].shape, case.expected["var"].rounded("float32")[0]
    ('bn.training.float32.two-values.1', (2, 3), np.float64(0.00803766306489706))
    """
    for asked, known in ((operation, CONTENT), (dtype, FORMATS)):
        if asked is not None and asked not in known:
            raise ValueError(f"the set has no {asked!r}; use one of {', '.join(known)}")
    pairs = [(op, kind) for op in CONTENT for kind in FORMATS if operation in (None, op) and dtype in (None, kind)]
    return tuple(case for pair in pairs for case in held(*pair).values())


@cache
def held(operation: str, kind: str) -> dict[str, Frozen]:
    """Return what one file holds, by id."""
    document = _document(f"bn.{operation}.{kind}.json")
    return {entry["id"]: _case(entry, operation, kind) for entry in document["cases"]}


def _document(name: str) -> dict[str, Any]:
    """Return a file of the set; ValueError if it is not the one that the manifest lists."""
    listed = _manifest()["files"][name]
    raw = (DATA / name).read_bytes()
    document: dict[str, Any] = json.loads(raw) if hashlib.sha256(raw).hexdigest() == listed["sha256"] else {}
    if len(document.get("cases", ())) != listed["cases"]:
        raise ValueError(f"{DATA / name} is not the file that MANIFEST.json lists; install refnorm again")
    return document


@lru_cache(maxsize=1)
def _manifest() -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((DATA / "MANIFEST.json").read_bytes())
    return manifest


def _case(entry: dict[str, Any], operation: str, kind: str) -> Frozen:
    """Read one entry of a file."""
    inputs: dict[str, Any] = {}
    for name in CONTENT[operation].inputs:
        given = entry[name]
        own = kind if name in WIDE else entry["parameters"]
        if name == "batches":
            inputs[name] = tuple(_values(tensor, kind) for tensor in given)
        elif name == "shards":
            inputs[name] = tuple(given)
        elif name == "where":
            inputs[name] = _values(given, kind).astype(bool)
        else:
            inputs[name] = None if given is None else _values(given, own)
    expected = {
        name: _enclosure(tensor, kind if name in WIDE else entry["parameters"])
        for name, tensor in entry["expected"].items()
    }
    numbers: dict[str, float] = {name: entry[name] for name in ("eps", "momentum") if name in entry}
    return Frozen(entry["id"], operation, kind, tuple(entry["flags"]), entry["parameters"], numbers, inputs, expected)


def _numbers(data: list[Any]) -> Floats:
    return np.array([NON_FINITE[v] if isinstance(v, str) else v for v in data], dtype=np.float64)


def _values(tensor: dict[str, Any], kind: str) -> Floats:
    """Return the values of an input, stored or by rule (see `refnorm.golden.inputs.rule_of`)."""
    shape = tuple(tensor["shape"])
    if "data" in tensor:
        return _numbers(tensor["data"]).reshape(shape)
    rule = tensor["rule"]
    u = (hashed(math.prod(shape), rule["seed"]) / 2.0**15).reshape(shape)
    if rule["name"] == "quarters":
        return np.round(4 * (u + 0.25)) / 256
    along = (1, -1) + (1,) * (len(shape) - 2)
    if rule["name"] == "mirrored":
        half = np.round(4 * u[: shape[0] // 2]) / 4
        position = np.arange(half[0, 0].size).reshape(shape[2:])
        half = half * np.where(position / position.size >= 0.75, 2.0, 1.0)
        centre = np.array(rule["centre"]).reshape(along)
        return np.concatenate([centre + half, centre - half])
    scale, offset = (np.array(rule[name]).reshape(along) for name in ("scale", "offset"))
    values = u * scale + offset
    values.reshape(-1)[rule["add"]["at"]] += rule["add"]["value"]
    return rounded(values, kind)


def _enclosure(tensor: dict[str, Any], kind: str) -> Enclosure:
    """Read a result: all of it, or the sample that is stored."""
    shape = tuple(tensor["shape"])
    at = tensor.get("at", slice(None))
    hi, lo, bound = (np.full(math.prod(shape), fill) for fill in (np.nan, 0.0, 0.0))
    hi[at] = _numbers(tensor["data"])
    if "rest" in tensor:
        lo[at] = tensor["rest"]
        bound = np.abs(lo) * REST_DIGITS + 2.0**-1074
    else:
        bits, exponent = FORMATS[kind]
        with np.errstate(invalid="ignore"):
            place = np.maximum(np.frexp(np.where(np.isfinite(hi), hi, 0.0))[1] - 1, exponent) - (bits - 1)
        bound = np.ldexp(0.5, place)
    return Enclosure(shape, hi, lo, bound)
