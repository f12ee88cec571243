"""What a user must know of a framework, in one sentence, made from what was measured of it: the worst comes first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from refnorm.oracle.measure.measurement import Key

NO_DIGIT = 2.0**24 / 10  # units of the last place of float32 in which an error leaves no decimal digit
RATIOS = 1e5  # of mean to std, up to which float32 holds at least one digit of x - mean
FACTS = 3  # that a sentence holds


def sentence(data: dict[str, Any]) -> str:
    """Return one sentence about one path of a framework, from its entry in the results.

    Examples
    --------
    >>> numbers = {"ratios": [0, 1e4, 1e6], "y": [0.6, 8e6, None], "inference": [0.4, 0.4, 0.4]}
    >>> check = {"conforms": False, "cases": 9, "lost": [], "findings": []}
    >>> sentence({"measurements": [], "differs": [], "numerics": numbers, "check": check})
    'No digit of y in training is right in float32 from mean/std = 1e4 on.'
    >>> numbers["y"] = [0.6, 1.0, 9.0]
    >>> sentence({"measurements": [], "differs": [], "numerics": numbers, "check": {**check, "conforms": True}})
    'Conforms in all 9 cases that it takes.'
    """
    facts = list(_facts(data))[:FACTS]
    text = "; ".join(facts) if facts else _rest(data.get("check") or {})
    return f"{text[:1].upper()}{text[1:]}."


def _facts(data: dict[str, Any]) -> Iterator[str]:
    """Yield what may do harm in silence or ends a program, worst first."""
    check = data.get("check") or {}
    for line in check.get("lost", ()):
        told = re.match(r"(.+?) in case bn\.\w+\.\w+\.([a-z-]+)", line)
        yield f"{told[1]} on {_case(told[2])}".replace("was killed", "it is killed") if told else line
    if data["differs"]:
        yield f"contradicts its row: {data['differs'][0]}"
    numbers = data["numerics"]
    for name, where in (("y", "training"), ("inference", "inference")):
        bad = [r for r, e in zip(numbers.get("ratios", ()), numbers.get(name) or (), strict=False) if _lost(e)]
        if bad and not bad[0] and any(e is not None for e in numbers[name]):
            yield f"y in {where} is that of another operation"
        elif bad and bad[0] <= RATIOS and any(e is not None for e in numbers[name]):
            yield f"no digit of y in {where} is right in float32 from mean/std = {_power(bad[0])} on"
    values = {(m["key"], str(m["value"])) for m in data["measurements"]}
    if (Key.ONE_VALUE, "non-finite") in values:
        yield "one value per channel stores a variance that is not finite, in silence"
    if (Key.INITIAL_VARIANCE, "0.0") in values:
        yield "the running variance starts from 0, so that inference is far off until it has moved"
    if (Key.HALF_SUMS, "overflows") in values:
        yield "sums of float16 overflow"
    if (Key.WORKING_FORMAT, "float32 or less") in values:
        yield "float64 is computed in float32"


def _rest(check: dict[str, Any]) -> str:
    """Return the verdict, where nothing worse is to be told."""
    if not check or "error" in check:
        return str(check.get("error", "was not judged"))
    if check["conforms"]:
        return f"conforms in all {check['cases']} cases that it takes"
    findings = check["findings"]
    if not findings:
        return f"deviates in {check['cases']} cases"
    kinds = ("wrong", "convention", "numerics")
    worst = min(findings, key=lambda f: (kinds.index(f["kind"]), -f["cases"]))
    raised = re.match(r"(\w+) raised (\w+)", worst["title"])
    told = f"{raised[1].replace('_', ' ')} raises {raised[2]}" if raised else worst["title"]
    others = f", and {len(findings) - 1} more, listed below" if len(findings) > 1 else ""
    return f"{told} ({worst['cases']} of {check['cases']} cases){others}"


def _lost(error: float | None) -> bool:
    return error is None or error >= NO_DIGIT


def _power(ratio: float) -> str:
    return f"{ratio:.0e}".replace("e+0", "e") if ratio else "0"


def _case(situation: str) -> str:
    return "an empty batch" if situation == "empty-batch" else f"the situation {situation}"
