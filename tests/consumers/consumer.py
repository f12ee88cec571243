"""Check the golden set in plain Python, from the package refnorm-golden, with neither NumPy nor refnorm:

    PYTHONPATH=tests python tests/consumers/consumer.py

Exit status 0: every case of the manifest was read, and each number that is judged is, to the last bit, what exact
arithmetic gives (`fractions_road`). 1: a line on standard error says what does not agree.

Judged are training, inference and running statistics of cases of up to 200 elements, and gradients of up to 12 values
per channel, masked and by shards too: fractions are slow. Other cases are read, their inputs built, and counted.
consumer.mjs judges all.
"""

import itertools
import math
import sys
from fractions import Fraction

import fractions_road as road
import refnorm_golden as golden

LARGE, MANY = 200, 12
PORTIONS = ("masked_training", "masked_backward", "sharded_training", "sharded_backward")
JUDGED = ("training", "backward", "running", "inference", "frozen", *PORTIONS)


def channel(case, name, c, absent):
    """Return the numbers of one channel, as fractions; of a parameter its one number."""
    tensor = case.get(name)
    if tensor is None:
        return Fraction(absent)
    if len(tensor["shape"]) == 1:
        return Fraction(tensor["data"][c])
    numbers, positions = golden.values(tensor, case["dtype"]), math.prod(case["shape"][2:])
    own = [v for k, v in enumerate(numbers) if k // positions % case["shape"][1] == c]
    return [Fraction(v) if math.isfinite(v) else v for v in own]


def results(case, c):
    """Return the exact results of one channel, by name: a list where each value has one."""
    take = {name: channel(case, name, c, absent) for name, absent in (("x", 0), ("dy", 0), ("gamma", 1), ("beta", 0))}
    if case["operation"] in PORTIONS:
        return portions(case, c, take)
    given = None
    if "running_mean" in case:
        given = channel(case, "running_mean", c, 0), channel(case, "running_var", c, 1)
    eps = Fraction(case.get("eps", 0))
    if case["operation"] in ("training", "inference"):
        y, mean, var = road.forward(take["x"], take["gamma"], take["beta"], eps, given)
        return {"y": y} | ({} if given else {"mean": mean, "var": var})
    if case["operation"] == "running":
        return running(case, c, *given)
    dx, dgamma, dbeta = road.gradients(take["dy"], take["x"], take["gamma"], eps, given)
    return {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def portions(case, c, take):
    """Return the exact results of one channel of a masked case, or of one by shards: of the values that count."""
    kept = channel(case, "where", c, 1) if "where" in case else [1] * len(take["x"])
    x = [v for v, counts in zip(take["x"], kept, strict=True) if counts]
    positions, ends = len(kept) // case["shape"][0], [0]
    for samples in case.get("shards", []):
        ends.append(ends[-1] + samples * positions)
    parts = [range(*pair) for pair in itertools.pairwise(ends)]
    eps, whole = Fraction(case["eps"]), (Fraction(0), Fraction(1))
    if case["operation"].endswith("training"):
        y, mean, var = road.forward(x, take["gamma"], take["beta"], eps)
        found = {"mean": mean, "var": var, "var_correction_1": (road.variance_of(x, 1)[1], *whole)}
        found["count"] = (Fraction(len(x)), *whole)
        own = [road.variance_of([x[k] for k in part]) if part else None for part in parts]
        found |= {f"shard_{n}": [v and (v[i], *whole) for v in own] for i, n in enumerate(("mean", "var"))}
        return found | {"y": spread(y, kept)}
    dy = [v for v, counts in zip(take["dy"], kept, strict=True) if counts]
    dx, dgamma, dbeta = road.gradients(dy, x, take["gamma"], eps)
    found = {"dx": spread(dx, kept), "dgamma": dgamma, "dbeta": dbeta}
    own = [road.gradients([v * (k in part) for k, v in enumerate(dy)], x, take["gamma"], eps) for part in parts]
    return found | {f"shard_{n}": [of[i] for of in own] for i, n in enumerate(("dgamma", "dbeta"), start=1)}


def spread(numbers, kept):
    """Put numbers where values count, and 0 elsewhere."""
    rest = iter(numbers)
    return [next(rest) if counts else (Fraction(0), Fraction(0), Fraction(1)) for counts in kept]


def running(case, c, mean, var):
    """Return the running statistics after all batches; the variance for both corrections."""
    weight, found = Fraction(case["momentum"]), {}
    kept = {"running_mean": mean, "running_var_correction_0": var, "running_var_correction_1": var}
    for batch in case["batches"]:
        x = channel(case | {"x": batch}, "x", c, 0)
        new = road.variance_of(x)[0], road.variance_of(x)[1], road.variance_of(x, 1)[1]
        kept = {name: (1 - weight) * old + weight * v for (name, old), v in zip(kept.items(), new, strict=True)}
    for name, value in kept.items():
        found[name] = (value, Fraction(0), Fraction(1))
    return found


def wrong(case):
    """Return how many numbers of a case agree; raise ValueError with the first that does not."""
    channels, positions, count = case["shape"][1], math.prod(case["shape"][2:]), 0
    exact = [results(case, c) for c in range(channels)]
    for name, result in case["expected"].items():
        for k, number in zip(result.get("at", range(len(result["data"]))), result["data"], strict=True):
            kind = case["parameters"]
            if name.startswith("shard_"):
                value = road.rounded(*exact[k % channels][name][k // channels], kind)
            elif isinstance(exact[0][name], list):
                position = k // (positions * channels) * positions + k % positions
                value = road.rounded(*exact[k // positions % channels][name][position], case["dtype"])
            else:
                value = road.rounded(*exact[k][name], kind)
            if value != number:
                raise ValueError(f"{case['id']}: {name}[{k}] is {value!r}, the set says {number!r}")
            count += 1
    return count


def small(case):
    """Whether a case is judged."""
    size = math.prod(case["shape"])
    gradients = case["operation"] == "frozen" or case["operation"].endswith("backward")
    return case["operation"] in JUDGED and size <= (MANY * case["shape"][1] if gradients else LARGE)


def main():
    """Read all cases, judge those that are small."""
    cases = golden.cases()
    if len(cases) != golden.MANIFEST["total_cases"]:
        raise ValueError(f"{len(cases)} cases, MANIFEST.json says {golden.MANIFEST['total_cases']}")
    for case in cases:
        for name in ("x", "dy", "dx", "ddx"):
            if case.get(name) is not None and len(golden.values(case[name], case["dtype"])) != math.prod(case["shape"]):
                raise ValueError(f"{case['id']}: {name} has another size")
    judged = [case for case in cases if "expected" in case and small(case)]
    numbers = sum(map(wrong, judged))
    print(f"{golden.SET}: {len(cases)} cases read, {len(judged)} judged, {numbers} numbers equal to the last bit")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, KeyError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
