"""Every number of the frozen set, recomputed with mpmath at 60 digits from the definition, rounded here: 0 exceptions.

The files are read with plain json, arrays that follow a rule are built by this file's own words for it, gradients
follow the chain of Ioffe & Szegedy 2015, section 3, with its zero term kept. Second order takes no gradient for
granted: the loss sum(dy * y) of the definition is differentiated mechanically, with numbers that carry two
infinitesimals, one along the direction and one along the element. Masked values are dropped before anything is
computed; statistics of shards are merged pair by pair (Chan, Golub & LeVeque 1983), exactly, and their gradients summed
over the shards. Not verified: the files' form (test_lint).
"""

import itertools
import json
import re
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
        return [mpf(float(v)) for v in tensor["data"]]
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


def by_channel(values, shape, where=None):
    """Return, channel by channel, the places of the values that count."""
    inner = 1
    for n in shape[2:]:
        inner *= n
    places = [[] for _ in range(shape[1])]
    for k in range(len(values)):
        if where is None or where[k]:
            places[k // inner % shape[1]].append(k)
    return places


def moments(x):
    """Mean and biased variance; the sums are taken exactly."""
    exact = [Fraction(float(v)) for v in x]  # numbers of the set are float64 exactly
    mean = sum(exact) / len(exact)
    var = sum(v * v for v in exact) / len(exact) - mean * mean
    return mpf(mean.numerator) / mean.denominator, mpf(var.numerator) / var.denominator


def fraction(value):
    return Fraction(int(value.man) * (-1 if value < 0 else 1)) * Fraction(2) ** int(value.exp)


def merged(parts):
    """Merge (count, mean, variance) of parts, in order, as fractions; a part without a value adds nothing."""
    m, mean, var = 0, Fraction(0), Fraction(0)
    for n, other, spread in parts:
        if n:
            delta, whole = other - mean, m + n
            var = (m * var + n * spread + delta * delta * m * n / whole) / whole
            mean, m = mean + delta * n / whole, whole
    return m, mean, var


def portions(operation, case, kind):
    """Return every result of a masked case, or of a case by shards: as one shard, with a mask of all."""
    shape, channels = case["shape"], case["shape"][1]
    where = case["where"]["data"] if "where" in case else None
    x, dy = (built(case[name], kind) if name in case else None for name in ("x", "dy"))
    gamma = [built(case["gamma"], case["parameters"])[c] if case["gamma"] else mpf(1) for c in range(channels)]
    beta = [built(case["beta"], case["parameters"])[c] if case.get("beta") else mpf(0) for c in range(channels)]
    samples = case.get("shards", [shape[0]])
    ends = [sum(samples[:s]) * len(x) // shape[0] for s in range(len(samples) + 1)]
    names = ("mean", "var", "var_correction_1", "count", "dgamma", "dbeta")
    names += ("shard_mean", "shard_var", "shard_dgamma", "shard_dbeta")
    out = {n: [mpf(0)] * len(x) for n in ("y", "dx")} | {n: [] for n in names}
    of_shards = {n: [[mpf(0)] * channels for _ in samples] for n in names if n.startswith("shard_")}
    for c, places in enumerate(by_channel(x, shape, where)):
        parts = [[k for k in places if a <= k < b] for a, b in itertools.pairwise(ends)]
        own = []
        for part in parts:
            values = [fraction(x[k]) for k in part]
            mean = sum(values) / len(values) if values else Fraction(0)
            own.append((len(values), mean, sum((v - mean) ** 2 for v in values) / Fraction(len(values) or 1)))
        m, mean, var = merged(own)
        mean, corrected, var = (mpf(f.numerator) / f.denominator for f in (mean, var * m / (m - 1), var))
        std = mpmath.sqrt(var + mpf(case["eps"]))
        for name, value in zip(names, (mean, var, corrected, mpf(m)), strict=False):
            out[name].append(value)
        for k in places:
            out["y"][k] = gamma[c] * (x[k] - mean) / std + beta[c]
        for s, (part, (_, *moments_of_shard)) in enumerate(zip(parts, own, strict=True)):
            for name, value in zip(("shard_mean", "shard_var"), moments_of_shard, strict=True):
                of_shards[name][s][c] = mpf(value.numerator) / value.denominator
            if dy is not None:
                of_shards["shard_dbeta"][s][c] = mpmath.fsum(dy[k] for k in part)
                of_shards["shard_dgamma"][s][c] = mpmath.fsum(dy[k] * (x[k] - mean) / std for k in part)
        if dy is None:
            continue
        sums = {n: mpmath.fsum(shard[c] for shard in of_shards[f"shard_{n}"]) for n in ("dgamma", "dbeta")}
        for name, value in sums.items():
            out[name].append(value)
        dvar = -sums["dgamma"] * gamma[c] / std**2 / 2
        dmean = -sums["dbeta"] * gamma[c] / std + dvar * -2 * mpmath.fsum(x[k] - mean for k in places) / m
        for k in places:
            out["dx"][k] = dy[k] * gamma[c] / std + dvar * 2 * (x[k] - mean) / m + dmean / m
    return out | {name: [value for row in rows for value in row] for name, rows in of_shards.items()}


class Moving:
    """a + b s + c t + d s t, where s^2 = t^2 = 0: what a function of two infinitesimals is."""

    def __init__(self, a, b=0, c=0, d=0):
        self.parts = tuple(map(mpf, (a, b, c, d)))

    def __add__(self, other):
        return Moving(*(p + q for p, q in zip(self.parts, other.parts, strict=True)))

    def __mul__(self, other):
        (a, b, c, d), (e, f, g, h) = self.parts, other.parts
        return Moving(a * e, a * f + b * e, a * g + c * e, a * h + b * g + c * f + d * e)

    def inverse_root(self):
        a, b, c, d = self.parts
        f, slope, curvature = a ** (-mpf(1) / 2), -(a ** (-mpf(3) / 2)) / 2, 3 * a ** (-mpf(5) / 2) / 4
        return Moving(f, slope * b, slope * c, slope * d + curvature * b * c)


def normalised(x, eps, statistics):
    """Return x_hat of moving numbers, by its definition."""
    m, zero = Moving(mpf(1) / len(x)), Moving(0)
    mean, var = map(Moving, statistics) if statistics else (sum(x, zero) * m, None)
    centred = [xi + mean * Moving(-1) for xi in x]
    var = sum((d * d for d in centred), zero) * m if var is None else var
    inverse = (var + Moving(eps)).inverse_root()
    return [d * inverse for d in centred]


def second_order(case, given, kind):
    """Return the jvp, and the gradients of the directional derivative of the loss: mixed second derivatives of it."""
    d = "d" if "ddx" in case else ""
    x, ddx = built(case["x"], kind), built(case[f"{d}dx"], kind)
    dy = built(case["dy"], kind) if "dy" in case else None
    none = [mpf(0)] * case["shape"][1]
    ddgamma, ddbeta = (
        built(case[f"{d}{n}"], case["parameters"]) if case[f"{d}{n}"] else none for n in ("dgamma", "dbeta")
    )
    out = {"dy": [mpf(0)] * len(x), "dx": [mpf(0)] * len(x), "dgamma": []}
    for c, places in enumerate(by_channel(x, case["shape"])):
        statistics = (given["running_mean"][c], given["running_var"][c]) if given["running_mean"] else None
        gamma = given["gamma"][c] if given["gamma"] else 1

        def forward(moved, statistics=statistics, gamma=gamma, places=places, c=c):
            own = [Moving(x[k], ddx[k], k == moved) for k in places]
            scale, shift = Moving(gamma, ddgamma[c], moved == "gamma"), Moving(0, ddbeta[c])
            return [scale * x_hat + shift for x_hat in normalised(own, mpf(case["eps"]), statistics)]

        for k, y in zip(places, forward(None), strict=True):
            out["dy"][k] = y.parts[1]
        for moved in [*places, "gamma"] if dy else []:
            slope = mpmath.fsum(dy[k] * y.parts[3] for k, y in zip(places, forward(moved), strict=True))
            if moved == "gamma":
                out["dgamma"].append(slope)
            else:
                out["dx"][moved] = slope
    return out | {"ddy": out["dy"]}  # the loss is linear in dy


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
    if operation.startswith(("masked", "sharded")):
        return portions(operation, case, kind)
    if operation.endswith(("jvp", "double_backward")):
        return second_order(case, given, kind)
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
                own = kind if quantity in ("y", "dx", "dy", "ddy") else case["parameters"]
                places = expected.get("at", range(len(expected["data"])))
                numbers += len(expected["data"])
                for k, stored in zip(places, expected["data"], strict=True):
                    if nearest(results[quantity][k], own) != float(stored):
                        wrong.append((case["id"], quantity, k))
                with_rest = zip(places, expected["data"], expected["rest"], strict=True) if own == "float64" else ()
                for k, stored, rest in with_rest:
                    exact = results[quantity][k] - mpf(stored)
                    own_error = abs(mpf(stored)) * mpf(10) ** -50 + mpf(2) ** -1074
                    if abs(mpf(rest) - exact) > abs(exact) * mpf(10) ** -5 + own_error:
                        wrong.append((case["id"], quantity, k, "rest"))
    return numbers, wrong


SAMPLE = "bn.backward.bfloat16.json"  # in the default tests; the whole set is recomputed by the slow ones


@pytest.mark.parametrize("name", [n if n == SAMPLE else pytest.param(n, marks=pytest.mark.slow) for n in FILES])
def test_every_expected_number_is_the_correctly_rounded_one(name):
    numbers, wrong = exceptions(json.loads((DATA / name).read_text()))
    assert wrong == []
    assert numbers >= 40


SECOND = ["jvp", "double_backward", "frozen_jvp", "frozen_double_backward"]
PORTIONS = ["masked_training", "masked_backward", "sharded_training", "sharded_backward"]


@pytest.mark.parametrize("operation", ["training", "backward", "running", "inference", "frozen", *SECOND, *PORTIONS])
def test_a_number_that_is_off_by_one_ulp_is_an_exception(operation):
    document = json.loads((DATA / f"bn.{operation}.float32.json").read_text())
    document["cases"] = document["cases"][:2]
    expected = document["cases"][1]["expected"]
    name = sorted(expected)[0]
    data = expected[name]["data"]
    data[0] = float(np.nextafter(np.float32(data[0]), np.float32(9)))
    assert exceptions(document)[1] == [(document["cases"][1]["id"], name, 0)]


def test_a_rest_that_is_off_by_a_thousandth_is_an_exception():
    document = json.loads((DATA / "bn.double_backward.float64.json").read_text())
    document["cases"] = document["cases"][:1]
    document["cases"][0]["expected"]["dx"]["rest"][1] *= 1.001
    assert exceptions(document)[1] == [(document["cases"][0]["id"], "dx", 1, "rest")]


def test_the_set_is_small_and_covers_every_operation_and_format():
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 1_500_000
    assert len(FILES) == 52


def test_pages_say_how_many_numbers_there_are():
    documents = [json.loads((DATA / name).read_text()) for name in FILES]
    count = sum(len(r["data"]) for d in documents for case in d["cases"] for r in case["expected"].values())
    root = Path(__file__).parent.parent
    assert f"Each of {count:,} golden numbers is recomputed" in (root / "README.md").read_text()
    assert f"All {count:,} numbers are computed again" in (root / "tutorials" / "what-is-proven.md").read_text()


# What the set's README says of it.

README = (DATA / "README.md").read_text()


def test_every_word_of_accepted_is_in_the_table_of_the_readme_and_no_other():
    errors = json.loads((DATA / "bn.errors.json").read_text())["cases"]
    used = {word for case in errors for words in case.get("accepted", {}).values() for word in words}
    table = README.partition("| word | what is done |")[2].partition("\n- ")[0]
    assert used == set(re.findall(r"^  \| `([a-z -]+)` \|", table, re.MULTILINE))


@pytest.mark.parametrize("operation", ["backward", "frozen"])
def test_gradients_of_parameters_that_are_null_are_given(operation):
    """They are those of ones and zeros, as the README says and `test_every_expected_number` recomputes."""
    document = json.loads((DATA / f"bn.{operation}.float64.json").read_text())
    absent = [case for case in document["cases"] if case["gamma"] is None]
    assert absent
    assert all(case["expected"]["dgamma"]["data"] and case["expected"]["dbeta"]["data"] for case in absent)


def test_a_rest_has_six_significant_digits_where_it_is_a_normal_number():
    rests = []
    for path in DATA.glob("bn.*.float64.json"):
        for case in json.loads(path.read_text())["cases"]:
            rests += [rest for result in case["expected"].values() for rest in result.get("rest", [])]
    assert len(rests) > 1000
    assert all(float(f"{rest:.5e}") == rest for rest in rests if abs(rest) >= 2.0**-1022)
    assert any(float(f"{rest:.4e}") != rest for rest in rests)
