"""Golden numbers as theorems: each is what the formulas of `tests/proof/formulas.v` give, which Coq proves.

A claim is written from the JSON of the set alone: the formula with the stored inputs in it, as fractions, is within
`bound` of the stored number plus its stored `rest`. Coq's tactic `interval` proves it by interval arithmetic with 160
bits. The bound is a hundred-thousandth of what rounding took away, so that the number is also shown to be the correctly
rounded one. Of each operation the float64 cases with the fewest values per channel are taken, and of each result the
last element of the last channel.

Not certified here: formats other than float64 and cases with more values, which `tests/test_golden_numbers.py`
recomputes by another road.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(__file__).parent.parent / "refnorm" / "golden" / "data"
CASES, LARGEST = 4, 4  # cases of an operation, values per channel
REST_DIGITS = Fraction(1, 2**17)  # relative: `rest` is written with six significant digits
UNROUNDED = Fraction(1, 2**80)  # of a number that is exact: interval arithmetic cannot tell equality

TRAINING, FROZEN = "channel eps", "channel running_mean running_var eps"
SCALE, SECOND = "running_var eps", "ddx ddgamma"
FORMULAS = {  # operation and result: the formula and its arguments; `at` is a position in the array
    ("training", "y"): f"y {TRAINING} gamma beta x at_",
    ("training", "mean"): "mean channel x",
    ("training", "var"): "var channel x",
    ("backward", "dx"): f"dx {TRAINING} dy gamma x at_",
    ("backward", "dgamma"): f"dgamma {TRAINING} dy x",
    ("backward", "dbeta"): "dbeta channel dy",
    ("jvp", "dy"): f"jvp {TRAINING} dx_ dgamma_ dbeta_ gamma x at_",
    ("double_backward", "ddy"): f"second_ddy {TRAINING} ddx ddgamma ddbeta gamma x at_",
    ("double_backward", "dx"): f"second_dx {TRAINING} ddx ddgamma dy gamma x at_",
    ("double_backward", "dgamma"): f"second_dgamma {TRAINING} ddx dy x",
    ("inference", "y"): "frozen_y running_mean running_var eps gamma beta x at_",
    ("frozen", "dx"): f"frozen_dx {SCALE} dy gamma at_",
    ("frozen", "dgamma"): f"frozen_dgamma {FROZEN} dy x",
    ("frozen", "dbeta"): "dbeta channel dy",
    ("frozen_jvp", "dy"): "frozen_jvp running_mean running_var eps dx_ dgamma_ dbeta_ gamma x at_",
    ("frozen_double_backward", "ddy"): "frozen_second_ddy running_mean running_var eps ddx ddgamma ddbeta gamma x at_",
    ("frozen_double_backward", "dx"): f"frozen_second_dx {SCALE} ddgamma dy at_",
    ("frozen_double_backward", "dgamma"): f"frozen_second_dgamma channel {SCALE} ddx dy",
}
ABSENT = {"gamma": 1.0, "beta": 0.0, "dgamma": 0.0, "dbeta": 0.0, "ddgamma": 0.0, "ddbeta": 0.0}
HEAD = """(* Written by tests/certificates.py from the golden set {set}. *)
From Coq Require Import Reals List.
From Interval Require Import Tactic.
From BN Require Import sums formulas.
Import ListNotations.
Open Scope R_scope.
Definition values (numbers : list R) : array := fun i => nth i numbers R0.
Ltac certify := cbv -[Rplus Rminus Rmult Rdiv Rinv Ropp IZR sqrt Rabs Rle Rlt]; interval with (i_prec 160).
"""


class Claim(NamedTuple):
    """One number of the set, and what is claimed of it: that it is within ``bound`` of ``formula``."""

    case: str
    operation: str
    result: str
    definitions: str
    formula: str
    number: float
    rest: Fraction
    bound: Fraction

    @property
    def rounded(self) -> bool:
        """Whether the number is the correctly rounded one if the claim is true; in exact arithmetic."""
        return abs(self.rest) + self.bound <= Fraction(math.ulp(self.number)) / 2

    def one_place_off(self) -> Claim:
        """Return the claim for the next float64 number, which is false."""
        return self._replace(number=math.nextafter(self.number, math.inf))

    def theorem(self) -> str:
        """Return the claim, and the tactic that proves it."""
        return self._written(f"{self._distance()} <= {_fraction(self.bound)}")

    def refutation(self) -> str:
        """Return the opposite of the claim, and the tactic that proves it where the claim is false."""
        return self._written(f"{_fraction(self.bound)} < {self._distance()}")

    def _distance(self) -> str:
        return f"Rabs ({self.formula} - {_fraction(Fraction(self.number) + self.rest)})"

    def _written(self, statement: str) -> str:
        goal = f"Goal {statement}.\nProof. certify. Qed.\n"
        return f"(* {self.case}, {self.result} *)\n{self.definitions}{goal}"


def claims() -> list[Claim]:
    """Return what is to be certified."""
    return [claim for operation in dict.fromkeys(op for op, _ in FORMULAS) for claim in _of(operation)]


def document(texts: list[str]) -> str:
    """Return a Coq file of these theorems."""
    released = json.loads((DATA / "MANIFEST.json").read_text(encoding="utf-8"))["set"]
    modules = (f"\nModule Claim{k}.\n{text}End Claim{k}.\n" for k, text in enumerate(texts))
    return HEAD.format(set=released) + "".join(modules)


def _of(operation: str) -> list[Claim]:
    entries = json.loads((DATA / f"bn.{operation}.float64.json").read_text(encoding="utf-8"))["cases"]
    fitting = [entry for entry in entries if _count(entry) <= LARGEST and "data" in entry["x"]]  # not built by rule
    chosen = sorted(fitting, key=_count)[:CASES]  # sorted keeps the order of what is equal
    return [_claim(entry, operation, result) for entry in chosen for op, result in FORMULAS if op == operation]


def _count(entry: dict[str, Any]) -> int:
    return math.prod(entry["shape"]) // entry["shape"][1]


def _claim(entry: dict[str, Any], operation: str, result: str) -> Claim:
    shape, last = entry["shape"], entry["shape"][1] - 1
    positions = math.prod(shape[2:])
    channel = [k for k in range(math.prod(shape)) if k // positions % shape[1] == last]
    lines = [f"Definition channel := [{'; '.join(map(str, channel))}]%nat.", f"Definition at_ := {channel[-1]}%nat."]
    for name in ("x", "dy", "ddx", "dx", "gamma", "beta", "dgamma", "dbeta", "ddgamma", "ddbeta"):
        lines += _definition(entry, operation, name, last)
    lines += [
        f"Definition {name} : R := {_fraction(Fraction(entry[name]['data'][last]))}."
        for name in ("running_mean", "running_var")
        if name in entry
    ]
    lines.append(f"Definition eps : R := {_fraction(Fraction(entry['eps']))}.")
    expected = entry["expected"][result]
    element = channel[-1] if expected["shape"] == shape and len(shape) > 1 else last
    number, rest = expected["data"][element], Fraction(expected["rest"][element])
    bound = abs(rest) * REST_DIGITS or Fraction(abs(number)) * UNROUNDED or UNROUNDED
    definitions = "\n".join(lines) + "\n"
    return Claim(entry["id"], operation, result, definitions, FORMULAS[operation, result], number, rest, bound)


def _definition(entry: dict[str, Any], operation: str, name: str, last: int) -> list[str]:
    """Return the definition of an input: an array of the shape of x, or the parameter of the channel."""
    if name not in entry:
        return []
    coq = f"{name}_" if operation.endswith("jvp") and name.startswith("d") else name  # dx is also a formula
    if name in ABSENT:
        number = ABSENT[name] if entry[name] is None else entry[name]["data"][last]
        return [f"Definition {coq} : R := {_fraction(Fraction(number))}."]
    numbers = "; ".join(_fraction(Fraction(v)) for v in entry[name]["data"])
    return [f"Definition {coq} := values [{numbers}]%R."]


def _fraction(value: Fraction) -> str:
    """Return a fraction as Coq reads it."""
    return f"({value.numerator} / {value.denominator})"
