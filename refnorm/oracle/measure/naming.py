"""From a measured formula to causes: each part that is not the definition's, by name or as it was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from refnorm.conventions.row import Convention
from refnorm.oracle.finding import Cause
from refnorm.oracle.measure import known
from refnorm.oracle.measure.known import Known
from refnorm.oracle.measure.read_forward import POWERS, Forward, defined
from refnorm.oracle.measure.read_gradients import Dx, Product, Summed
from refnorm.oracle.measure.read_running import Running, defined_update
from refnorm.oracle.worlds import World


@dataclass(frozen=True)
class Part:
    """A part of a formula in words: as measured and as expected, and in words that are the same for every map."""

    name: str
    measured: str
    expected: str
    common: str


def cause(entry: Known, measured: str = "", expected: str = "", what: str = "") -> Cause:
    """Return the cause that a known formula is; one without a name says what was measured."""
    title = f"{what}: {measured}" if entry.name.startswith("other-") else entry.sentence
    return Cause(entry.kind, entry.name, title, entry.effect, measured, expected)


def forward_causes(found: Forward, w: World) -> list[Cause]:
    """Name what y deviates in; nothing if it is the definition's."""
    training = w.case.operation == "training"
    own, expected = found.parts(), defined(w).parts()
    parts = [Part(n, own[n], expected[n], _common(own[n], training)) for n in own if own[n] != expected[n]]
    wrong = tuple((p.name, p.common) for p in parts)
    measured, right = _written(found), _written(defined(w))
    if wrong in known.TOGETHER:
        return [cause(known.TOGETHER[wrong], measured, right)]
    result: list[Cause] = []
    texts = dict(wrong)
    mixed = "running" in texts.get("centre", "") and "running" in texts.get("divisor", "")
    if not training:
        mixed = "batch" in texts.get("centre", "") and "batch" in texts.get("divisor", "")
    if mixed:
        entry = known.MIXED_TRAINING if training else known.MIXED_INFERENCE
        result.append(cause(entry, measured, right))
        parts = [p for p in parts if p.name not in ("centre", "divisor")]
    result += _by_region(parts, measured, right)
    if result and not mixed:
        parts = _without_regions(parts)
    for part in parts:
        entry = _of_part(part, training)
        what = {"centre": "x is centred by", "divisor": "x - mean is divided by", "scale": "gamma's place has"}
        result.append(cause(entry, measured, right, what.get(part.name, "beta's place has")))
    return result


def _written(f: Forward) -> str:
    """Return y as a formula."""
    scale, shift, centre = str(f.scale), str(f.shift), str(f.centre)
    above = "x" if centre == "0" else f"x + {centre[1:]}" if centre.startswith("-") else f"x - {_bracketed(centre)}"
    above = above if above == "x" else f"({above})"
    y = "0" if scale == "0" else f"{'' if scale == '1' else scale + ' '}{above} / std"
    y = y if shift == "0" else f"{y} - {shift[1:]}" if shift.startswith("-") else f"{y} + {shift}"
    return f"y = {y}, {POWERS[f.power]} = {f.divisor}" if scale != "0" else f"y = {shift}"


def _bracketed(text: str) -> str:
    return f"({text})" if " + " in text or " - " in text else text


def _common(words: str, training: bool) -> str:
    """Return words in which mean and var are the statistics that belong there."""
    if training:
        return words
    words = re.sub(r"(?<!running )\bmean\b(?! of)", "batch mean", words)
    words = re.sub(r"\bvar\b", "batch var", words)
    words = words.replace("running mean", "mean").replace("running variance", "var")
    return words.replace("sqrt(batch var)", "sqrt(batch var)")


def _by_region(parts: list[Part], measured: str, right: str) -> Iterator[Cause]:
    """Name the regions that statistics are taken over."""
    found = [known.REGION.search(p.common) for p in parts if p.name in ("centre", "divisor")]
    for words in dict.fromkeys(m.group(1) for m in found if m):
        about = any(" about " in p.common for p in parts)
        if words in known.REGIONS and not about:
            yield cause(known.REGIONS[words], measured, right)
        elif not about:
            name = f"statistics are taken{words}, not over every axis but the channels'"
            yield Cause("wrong", "other-axes", name, "Statistics are of other values than the channel's.", measured, right)


def _without_regions(parts: list[Part]) -> list[Part]:
    """Return what is left to name once the regions are named."""
    rest = []
    for p in parts:
        plain = known.REGION.sub("", p.common)
        if plain not in ("mean", "std^2 = var + eps"):
            rest.append(Part(p.name, p.measured, p.expected, plain))
    return rest


FIXED = re.compile(r"std\^2 = var \+ ([\d.e-]+)$")


def _of_part(part: Part, training: bool) -> Known:
    table = {"centre": known.CENTRES, "divisor": known.DIVISORS, "scale": known.SCALES, "shift": known.SHIFTS}[part.name]
    if part.name == "divisor":
        if not training and part.common in known.INFERENCE_DIVISORS:
            return known.INFERENCE_DIVISORS[part.common]
        if fixed := FIXED.match(part.common):
            return known.fixed_eps(fixed.group(1))
    return table.get(part.common, known.OTHER[part.name])


def running_causes(found: Running, row: Convention) -> list[Cause]:
    """Name what the update of a running statistic deviates in."""
    what = f"running {found.which}"
    new, old = ("a", "(1 - a)") if row.momentum != "old" else ("(1 - a)", "a")
    expected = f"{what} = {defined_update(row, found.which)}"
    measured = f"{what} = {found.words()}"
    weights, batch, extra = {"old": "0", "new": "0"}, "", ""
    for c, term in found.formula.parts:
        weight, rest = _weight(term.words)
        weight = _as_row(weight, new, old) if c == 1 else f"{c:.10g}" if weight == "1" else f"{c:.10g} {weight}"
        if rest in ("running mean", "running variance", "running std"):
            weights["old"] = weight
        elif not batch:
            weights["new"], batch = weight, rest
        else:
            extra = f"{weight} {rest}"
    usual = "mean" if found.which == "mean" else "unbiased var" if row.correction else "var"
    if found.power != 1:
        return [cause(known.STD_AVERAGED, measured, expected)]
    result = []
    key = weights["old"], weights["new"]
    other = batch not in ("", usual)
    swap = {"var": known.BIASED, "unbiased var": known.UNBIASED}
    if key == ("n", "o") and found.which == "variance" and batch in swap and other:
        return [cause(known.JOINT[batch != "var"], measured, expected)]
    if key != ("o", "n") and batch:
        entry = known.WEIGHTS.get(key, known.OTHER[what])
        if any("float32" in k for k in key):
            entry = known.ROUNDED
        result.append(cause(entry, measured, expected, what))
    elif not batch:
        still = key == ("1", "0")
        result.append(cause(known.WEIGHTS["1", "0"] if still else known.OTHER[what], measured, expected, what))
    if other:
        table = known.MEANS if found.which == "mean" else known.STORED | swap
        result.append(cause(table.get(batch, known.OTHER[what]), measured, expected, what))
    if extra:
        result.append(cause(_further(extra), measured, expected, what))
    return list(dict.fromkeys(result))


def _weight(words: str) -> tuple[str, str]:
    """Split a term in words into its weight and the rest."""
    for weight in sorted((*_WEIGHTS,), key=len, reverse=True):
        if words.startswith(weight + " "):
            return weight, words[len(weight) + 1 :]
    return "1", words


_WEIGHTS = (
    "(1 - a)", "a", "(1 - a)^2", "(1 - (1 - a)^2)", "a^2", "(1 - a^2)", "(1 - a) a", "(1 - a)^3", "(1 - (1 - a)^3)",
    "float32(1 - a)", "float32(a)", "(1 - float32(a))", "(1 - a)^2 a", "(1 - a) a^2", "sqrt(1 - a)", "sqrt(a)",
)  # fmt: skip


def _as_row(weight: str, new: str, old: str) -> str:
    """Return a weight in terms of the row's own weights, o of the old value and n of the new one."""
    own = {old: "o", new: "n", "1": "1"}
    own |= {"(1 - a)^2": "o^2", "(1 - (1 - a)^2)": "(1 - o^2)", "(1 - a)^3": "o^3", "(1 - (1 - a)^3)": "(1 - o^3)"}
    if old == "a":
        own |= {"a^2": "o^2", "(1 - a^2)": "(1 - o^2)"}
    return own.get(weight, weight)


def _further(extra: str) -> Known:
    if "(mean - running mean)^2" in extra:
        return known.FURTHER["mixture" if extra.startswith("(1 - a) a ") else "distance from the updated mean"]
    return known.FURTHER["eps"] if "eps" in extra else known.OTHER["running variance"]


def dx_causes(found: Dx, quantity: str) -> list[Cause]:
    """Name what dx deviates in."""
    frozen = quantity.startswith("frozen")
    measured, expected = f"dx = {found.words()}", DX[frozen]
    result = []
    if found.divisor is not None:
        measured = f"{measured}, {found.divisor}"
        result.append(_own_divisor(str(found.divisor), measured, expected))
    terms = [p for p in (found.own, found.of_mean, found.of_x_hat) if p.constant]
    if not terms:
        return [cause(known.ZEROS, measured, expected)]
    fronts = {_front(p) for p in terms}
    if len(fronts) > 1:
        return [*result, cause(known.OTHER["dx"], measured, expected, "dx")]
    gamma, inverse = fronts.pop()
    key = tuple(_coefficient(p) for p in (found.own, found.of_mean, found.of_x_hat))
    if (gamma, inverse, key) == ("1", "", ("1", "0", "0")):
        return [cause(known.UPSTREAM, measured, expected)]
    if gamma != "gamma":
        result.append(cause(known.GAMMAS.get(gamma, known.OTHER["dx"]), measured, expected, "dx"))
    if inverse != "/ std":
        result.append(cause(known.INVERSES.get(inverse, known.OTHER["dx"]), measured, expected, "dx"))
    if key != (("1", "0", "0") if frozen else ("1", "-1", "-1")):
        table = known.FROZEN_TERMS if frozen else known.TERMS
        result.append(cause(table.get(key, known.OTHER["dx"]), measured, expected, "dx"))  # type: ignore[call-overload]
    return list(dict.fromkeys(result))


def _own_divisor(words: str, measured: str, expected: str) -> Cause:
    """Name what a backward divides by, if its forward does not."""
    common = words.replace("running variance", "var")
    fixed = FIXED.match(common)
    entry = known.WITHOUT_EPS if common == "std^2 = var" else known.DIVISORS.get(common, known.OTHER["divisor"])
    entry = known.fixed_eps(fixed.group(1)) if fixed else entry
    return cause(entry, measured, expected, "the backward divides by")


DX = (
    "dx = gamma / std dy - gamma / std mean dy - gamma / std^3 mean dy (x - mean) (x - mean)",
    "dx = gamma / std dy",
)


def _front(p: Product) -> tuple[str, str]:
    """Return gamma's and the inverse's part of a product, that of x_hat's two more inverses taken off."""
    words = p.words()
    inverse = words.get("inverse", "/ std")
    cubed = {"/ std^3": "/ std"}
    if "squares" in words:
        square = words["squares"]
        inverse = cubed.get(square, square.split(" (")[0] if square.endswith(")^2") else square)
    return words.get("gamma", "gamma"), inverse


def _coefficient(p: Product) -> str:
    """Return the constant and counts of a product, and over what a sum is taken if that is not the channel."""
    if not p.constant:
        return "0"
    words = p.words()
    count = words.get("count", "1")
    size = abs(p.constant)
    text = count if size == 1 else f"{size:.10g}" if count == "1" else f"{size:.10g} {count}"
    summed = words.get("sum", "")
    region = known.REGION.search(summed)
    over = f"{region.group(1)}" if region else " by shards" if "shards" in summed else ""
    return ("-" if p.constant < 0 else "") + text + over


def parameter_causes(found: Summed, quantity: str) -> list[Cause]:
    """Name what dgamma or dbeta deviates in."""
    which = quantity.removeprefix("frozen ")
    expected = f"{which} = " + ("sum dy (x - mean) / std" if which == "dgamma" else "sum dy")
    measured = f"{which} = {found.words()}"
    if found.divisor is not None:
        return [_own_divisor(str(found.divisor), f"{measured}, {found.divisor}", expected)]
    if measured == expected:
        return []
    return [cause(known.PARAMETERS.get((which, found.words()), known.OTHER[which]), measured, expected, which)]
