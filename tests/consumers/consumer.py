"""Check the golden set in plain Python, from the package refnorm-golden, with neither NumPy nor refnorm:

    PYTHONPATH=tests python tests/consumers/consumer.py

Exit status 0: every case of the manifest was read, and each number that is judged is, to the last bit, what exact
arithmetic gives (`fractions_road`). 1: a line on standard error says what does not agree.

Judged are training, inference and running statistics of cases of up to 200 elements, and gradients of up to 12 values
per channel: fractions are slow. Other cases are read, their inputs built, and counted. consumer.mjs judges all.
"""

import math
import sys
from fractions import Fraction

import fractions_road as road
import refnorm_golden as golden

LARGE, MANY = 200, 12
JUDGED = ("training", "backward", "running", "inference", "frozen")


def channel(case, name, c, absent):
    """Return the numbers of one channel, as fractions; of a parameter its one number."""
    tensor = case.get(name)
    if tensor is None:
        return Fraction(absent)
    if len(tensor["shape"]) == 1:
        return Fraction(tensor["data"][c])
    numbers, positions = golden.values(tensor, case["dtype"]), math.prod(case["shape"][2:])
    return [Fraction(v) for k, v in enumerate(numbers) if k // positions % case["shape"][1] == c]


def results(case, c):
    """Return the exact results of one channel, by name: a list where each value has one."""
    take = {name: channel(case, name, c, absent) for name, absent in (("x", 0), ("dy", 0), ("gamma", 1), ("beta", 0))}
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
            whole = isinstance(exact[0][name], list)
            of = exact[k // positions % channels if whole else k][name]
            position = k // (positions * channels) * positions + k % positions
            value = road.rounded(*(of[position] if whole else of), case["dtype"] if whole else case["parameters"])
            if value != number:
                raise ValueError(f"{case['id']}: {name}[{k}] is {value!r}, the set says {number!r}")
            count += 1
    return count


def small(case):
    """Whether a case is judged."""
    size = math.prod(case["shape"])
    gradients = case["operation"] in ("backward", "frozen")
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
