"""Every number of the frozen set, recomputed with mpmath at 60 digits from the definition, rounded here: 0 exceptions.

The files are read with plain json, arrays that follow a rule are built by this file's own words for it, gradients
follow the chain of Ioffe & Szegedy 2015, section 3, with its zero term kept. Not verified: the files' form (test_lint).
"""

import json
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import refnorm.golden

DATA = Path(refnorm.golden.__file__).parent / "data"
FORMATS = {"float64": (53, -1022), "float32": (24, -126), "bfloat16": (8, -126), "float16": (11, -14)}
FILES = sorted(path.name for path in DATA.glob("bn.*.json") if "errors" not in path.name)


def nearest(value, kind):
    """Round an mpf once, to nearest, ties to even; a value that is not clearly off a tie must be one exactly."""
    bits, smallest = FORMATS[kind]
    if value == 0:
        return 0.0
    exponent = max(int(mpmath.floor(mpmath.log(abs(value), 2))) + 1, smallest + 1) - bits
    scaled = mpmath.ldexp(value, -exponent)
    whole = mpmath.floor(scaled)
    rest = scaled - whole
    close = abs(rest - mpf(1) / 2) < mpf(10) ** -52  # subnormal batches move a running mean off a tie by 1e-39
    up = (
        whole % 2 == 1 if close else rest > mpf(1) / 2
    )  # a tie: only rational results reach it, and they are exact here
    return float(mpmath.ldexp(whole + (1 if up else 0), exponent))


def built(tensor, kind):
    """Return the numbers of a tensor as mpf."""
    if "data" in tensor:
        return [mpf(v) for v in tensor["data"]]
    rule, shape = tensor["rule"], tensor["shape"]
    size, inner = 1, 1
    for k, n in enumerate(shape):
        size, inner = size * n, inner * n if k > 1 else inner
    extra = dict(zip(rule["add"]["at"], rule["add"]["value"], strict=True)) if "add" in rule else {}
    half = size // 2
    result = []
    for k in range(size):
        channel = k // inner % shape[1]
        first = k - half if rule["name"] == "mirrored" and k >= half else k
        u = (hashed(first, rule["seed"]) - 32768) / 32768
        if rule["name"] == "hash":
            result.append(
                mpf(nearest(mpf(rule["scale"][channel] * u + rule["offset"][channel] + extra.get(k, 0)), kind))
            )
        elif rule["name"] == "quarters":
            result.append(mpf(round(4 * (u + 0.25)) / 256))
        else:
            q = round(4 * u) / 4 * (2 if first % inner / inner >= 0.75 else 1)
            result.append(mpf(rule["centre"][channel] + (q if k < half else -q)))
    return result


def hashed(k, seed):
    h = (k + seed * 0x9E3779B9) % 2**32
    h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
    h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
    return (h ^ h >> 16) >> 16


def by_channel(values, shape):
    inner = 1
    for n in shape[2:]:
        inner *= n
    places = [[] for _ in range(shape[1])]
    for k in range(len(values)):
        places[k // inner % shape[1]].append(k)
    return places


def moments(x):
    """Mean and biased variance; the sums are taken exactly."""
    exact = [Fraction(float(v)) for v in x]  # numbers of the set are float64 exactly
    mean = sum(exact) / len(exact)
    var = sum(v * v for v in exact) / len(exact) - mean * mean
    return mpf(mean.numerator) / mean.denominator, mpf(var.numerator) / var.denominator


def recomputed(operation, case, kind):
    """Return every result of a case as lists of mpf, by name."""
    small = case["parameters"]
    channels = case["shape"][1]
    given = {
        n: built(case[n], small) if case.get(n) else None for n in ("gamma", "beta", "running_mean", "running_var")
    }
    gamma, beta = given["gamma"] or [mpf(1)] * channels, given["beta"] or [mpf(0)] * channels
    if operation == "running":
        mean, biased, unbiased = given["running_mean"], given["running_var"], given["running_var"]
        a = mpf(case["momentum"])
        for batch in case["batches"]:
            x = built(batch, kind)
            found = [moments([x[k] for k in places]) for places in by_channel(x, batch["shape"])]
            m = len(x) // channels
            mean = [(1 - a) * old + a * f[0] for old, f in zip(mean, found, strict=True)]
            biased = [(1 - a) * old + a * f[1] for old, f in zip(biased, found, strict=True)]
            unbiased = [(1 - a) * old + a * f[1] * m / (m - 1) for old, f in zip(unbiased, found, strict=True)]
        return {"running_mean": mean, "running_var_correction_0": biased, "running_var_correction_1": unbiased}
    x, eps = built(case["x"], kind), mpf(case["eps"])
    dy = built(case["dy"], kind) if "dy" in case else None
    out = {n: [mpf(0)] * len(x) for n in ("y", "dx")} | {n: [] for n in ("mean", "var", "dgamma", "dbeta")}
    for c, places in enumerate(by_channel(x, case["shape"])):
        own, m = [x[k] for k in places], len(places)
        mean, var = (
            moments(own)
            if operation in ("training", "backward")
            else (given["running_mean"][c], given["running_var"][c])
        )
        std = mpmath.sqrt(var + eps)
        out["mean"].append(mean)
        out["var"].append(var)
        for k in places:
            out["y"][k] = gamma[c] * (x[k] - mean) / std + beta[c]
        if dy is None:
            continue
        g = [dy[k] for k in places]
        out["dbeta"].append(mpmath.fsum(g))
        out["dgamma"].append(mpmath.fsum(gi * (xi - mean) / std for gi, xi in zip(g, own, strict=True)))
        dvar = dmean = mpf(0)
        if operation == "backward":
            dvar = mpmath.fsum(gi * gamma[c] * (xi - mean) for gi, xi in zip(g, own, strict=True)) * -(std**-3) / 2
            dmean = -mpmath.fsum(g) * gamma[c] / std + dvar * -2 * mpmath.fsum(xi - mean for xi in own) / m
        for k, gi in zip(places, g, strict=True):
            out["dx"][k] = gi * gamma[c] / std + dvar * 2 * (x[k] - mean) / m + dmean / m
    return out


def exceptions(document):
    """Return how many expected numbers there are, and which are not the correctly rounded ones."""
    operation, kind = document["operation"], document["dtype"]
    numbers, wrong = 0, []
    with mpmath.workdps(60):
        for case in document["cases"]:
            results = recomputed(operation, case, kind)
            for quantity, expected in case["expected"].items():
                own = kind if quantity in ("y", "dx") else case["parameters"]
                places = expected.get("at", range(len(expected["data"])))
                numbers += len(expected["data"])
                for k, stored in zip(places, expected["data"], strict=True):
                    if nearest(results[quantity][k], own) != float(stored):
                        wrong.append((case["id"], quantity, k))
                for k, decimal in zip(places, expected.get("decimal", []), strict=False):
                    exact = results[quantity][k]
                    if abs(mpf(decimal) - exact) > abs(exact) * mpf(10) ** -29:
                        wrong.append((case["id"], quantity, k, "decimal"))
    return numbers, wrong


@pytest.mark.parametrize("name", FILES)
def test_every_expected_number_is_the_correctly_rounded_one(name):
    numbers, wrong = exceptions(json.loads((DATA / name).read_text()))
    assert wrong == []
    assert numbers >= 90


@pytest.mark.parametrize("operation", ["training", "backward", "running", "inference", "frozen"])
def test_a_number_that_is_off_by_one_ulp_is_an_exception(operation):
    document = json.loads((DATA / f"bn.{operation}.float32.json").read_text())
    document["cases"] = document["cases"][:2]
    expected = document["cases"][1]["expected"]
    name = sorted(expected)[0]
    data = expected[name]["data"]
    data[0] = float(np.nextafter(np.float32(data[0]), np.float32(9)))
    assert exceptions(document)[1] == [(document["cases"][1]["id"], name, 0)]


def test_the_set_is_small_and_covers_every_operation_and_format():
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 1_000_000
    assert len(FILES) == 20
