"""From a measured formula to causes: each part that is not the definition's, by name or as it was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from refnorm.conventions.row import Convention
from refnorm.oracle.finding import Cause
from refnorm.oracle.measure import known_maps as maps
from refnorm.oracle.measure import known_updates as updates
from refnorm.oracle.measure.divisors import power_words
from refnorm.oracle.measure.known import OTHER, Known, eps_fixed_at
from refnorm.oracle.measure.parts import Selection
from refnorm.oracle.measure.read_forward import ForwardMap, defined
from refnorm.oracle.measure.read_running import Running, defined_update
from refnorm.oracle.measure.terms import WEIGHTS
from refnorm.oracle.worlds import World


@dataclass(frozen=True)
class Part:
    """A part of a formula in words: as measured and as expected, and in words that are the same for every map."""

    name: str
    measured: str
    expected: str
    common: str


def cause(
    entry: Known,
    measured: str = "",
    formula: str = "",
    title: str = "",
    coefficients: dict[str, float] | None = None,
) -> Cause:
    """Return the cause that a known formula is; one without a name says what was measured."""
    numbers = coefficients or {}
    if not entry.name.startswith("other-"):
        return Cause(entry.kind, entry.name, entry.sentence, entry.effect, measured, formula, numbers)
    effect = "It is a formula without a name, read off the numbers."
    return Cause(entry.kind, entry.name, title or measured, effect, measured, formula, numbers)


def forward_causes(found: ForwardMap, w: World) -> list[Cause]:
    """Name what y deviates in; nothing if it is the definition's."""
    training = w.case.operation == "training"
    own, expected = found.parts(), defined(w).parts()
    parts = [Part(n, own[n], expected[n], _common(own[n], training)) for n in own if own[n] != expected[n]]
    wrong = tuple((p.name, p.common) for p in parts)
    given = written(found), written(defined(w))
    numbers = found.coefficients()
    if wrong in maps.TOGETHER:
        return [cause(maps.TOGETHER[wrong], *given, coefficients=numbers)]
    result: list[Cause] = []
    if found.part is not None:
        result, parts = _of_a_part(found.part, parts, given, numbers)
    texts = dict(wrong)
    foreign = "running" if training else "batch"
    mixed = foreign in texts.get("centre", "") and foreign in texts.get("divisor", "")
    if mixed:
        entry = maps.MIXED_TRAINING if training else maps.MIXED_INFERENCE
        result.append(cause(entry, *given, coefficients=numbers))
        parts = [p for p in parts if p.name not in ("centre", "divisor")]
    if "mean" in texts.get("shift", "") and texts.get("centre") == "0":  # it is subtracted, from what is scaled
        parts = [p for p in parts if p.name != "centre"]
    regions = list(_by_region(parts, *given, numbers))
    parts = _without_regions(parts) if regions else parts
    for part in parts:
        regions.append(cause(_of_part(part, training), *given, TITLES[part.name].format(part.measured), numbers))
    return [*result, *regions]


def _of_a_part(
    part: Selection, parts: list[Part], given: tuple[str, str], numbers: dict[str, float]
) -> tuple[list[Cause], list[Part]]:
    """Name which values statistics are of; with what is left to name."""
    divided = [p for p in parts if p.name == "divisor"]
    other = any(" / " in p.measured for p in parts) or not any(p.name == "centre" for p in parts)
    statistics = "the variance is" if not any(p.name == "centre" for p in parts) else "mean and variance are"
    statistics = "the mean is" if any("of all values about" in p.measured for p in divided) else statistics
    title = f"{statistics} taken of {part.words}" + (": " + " and ".join(p.measured for p in parts) if other else "")
    other_channels = part.along == "channels" or isinstance(part.along, int)
    entry = maps.OTHER_CHANNELS if other_channels else maps.SOME_VALUES
    result = [replace(cause(entry, *given, coefficients=numbers), title=title)]
    plain = [re.sub(r"sqrt\((var of|sum \(x - mean\)\^2 of) .*?\) \+", "sqrt(var) +", p.measured) for p in divided]
    plain = [re.sub(r"= (var of|sum \(x - mean\)\^2 of) .* \+ ", "= var + ", p) for p in plain]
    left = [replace(p, common=text) for p, text in zip(divided, plain, strict=True) if text != "std^2 = var + eps"]
    return result, left


TITLES = {
    "centre": "x is centred by another value: {}",
    "divisor": "y divides by another value: {}",
    "scale": "another scale stands in gamma's place: {}",
    "shift": "another shift stands in beta's place: {}",
}


def written(f: ForwardMap) -> str:
    """Return y as a formula."""
    scale, shift, centre = _bracketed(str(f.scale)), str(f.shift), str(f.centre)
    above = "x" if centre == "0" else f"x + {centre[1:]}" if centre.startswith("-") else f"x - {_bracketed(centre)}"
    above = above if above == "x" else f"({above})"
    y = "0" if scale == "0" else f"{'' if scale == '1' else scale + ' '}{above} / std"
    y = y if shift == "0" else f"{y} - {shift[1:]}" if shift.startswith("-") else f"{y} + {shift}"
    return f"y = {y}, {power_words(f.power)} = {f.divisor}" if scale != "0" else f"y = {shift}"


def _bracketed(text: str) -> str:
    return f"({text})" if (" + " in text or " - " in text) and not text.startswith("(") else text


def _common(words: str, training: bool) -> str:
    """Return words in which mean and var are the statistics that belong there."""
    if training:
        return words
    words = re.sub(r"(?<!running )\bmean\b(?! of)", "batch mean", words)
    words = re.sub(r"\bvar\b", "batch var", words)
    return words.replace("running mean", "mean").replace("running variance", "var")


def _by_region(parts: list[Part], measured: str, right: str, numbers: dict[str, float]) -> Iterator[Cause]:
    """Name the regions that statistics are taken over."""
    found = [maps.REGION.search(p.common) for p in parts if p.name in ("centre", "divisor")]
    for words in dict.fromkeys(m.group(1) for m in found if m):
        about = any(" about " in p.common for p in parts)
        if words in maps.REGIONS and not about:
            yield cause(maps.REGIONS[words], measured, right, "", numbers)
        elif not about:
            name = f"statistics are taken{words}, not over every axis but the channels'"
            effect = "Statistics are of other values than the channel's."
            yield Cause("wrong", "other-axes", name, effect, measured, right, numbers)


def _without_regions(parts: list[Part]) -> list[Part]:
    """Return what is left to name once the regions are named."""
    rest = []
    for p in parts:
        plain = maps.REGION.sub("", p.common)
        if plain not in ("mean", "std^2 = var + eps"):
            rest.append(Part(p.name, p.measured, p.expected, plain))
    return rest


FIXED = re.compile(r"std\^2 = var \+ ([\d.e-]+)$")


def _of_part(part: Part, training: bool) -> Known:
    table = {"centre": maps.CENTRES, "divisor": maps.DIVISORS, "scale": maps.SCALES, "shift": maps.SHIFTS}[part.name]
    if part.name == "divisor":
        if not training and part.common in maps.INFERENCE_DIVISORS:
            return maps.INFERENCE_DIVISORS[part.common]
        if fixed := FIXED.match(part.common):
            return eps_fixed_at(fixed.group(1))
    return table.get(part.common, OTHER[part.name])


def running_causes(found: Running, row: Convention) -> list[Cause]:
    """Name what the update of a running statistic deviates in."""
    what = f"running {found.which}"
    new, old = ("a", "(1 - a)") if row.momentum != "old" else ("(1 - a)", "a")
    expected = f"{what} = {defined_update(row, found.which)}"
    measured = f"{what} = {found.words()}"
    numbers = {term.words: c for c, term in found.formula.parts}

    def named(entry: Known) -> Cause:
        return cause(entry, measured, expected, "", numbers)

    weights, batch, extra = {"old": "0", "new": "0"}, "", ""
    for c, term in found.formula.parts:
        weight, rest = _weight(term.words)
        weight = _as_row(weight, new, old) if c == 1 else f"{c:.7g}" if weight == "1" else f"{c:.7g} {weight}"
        if rest in ("running mean", "running variance", "running std"):
            weights["old"] = weight
        elif not batch:
            weights["new"], batch = weight, rest
        else:
            extra = f"{weight} {rest}"
    usual = "mean" if found.which == "mean" else "unbiased var" if row.correction else "var"
    if found.power != 1:
        return [named(updates.STD_AVERAGED)]
    result = []
    key = weights["old"], weights["new"]
    other = batch not in ("", usual)
    swap = {"var": updates.BIASED, "unbiased var": updates.UNBIASED}
    if key == ("n", "o") and found.which == "variance" and batch in swap and other:
        return [named(updates.JOINT[batch != "var"])]
    if key != ("o", "n") and batch:
        entry = updates.WEIGHTS.get(key, OTHER[what])
        if any("float32" in k for k in key):
            entry = updates.ROUNDED
        result.append(named(entry))
    elif not batch:
        still = key == ("1", "0")
        result.append(named(updates.WEIGHTS["1", "0"] if still else OTHER[what]))
    if other:
        table = updates.MEANS if found.which == "mean" else updates.STORED | swap
        result.append(named(table.get(batch, OTHER[what])))
    if extra:
        result.append(named(_further(extra)))
    return list(dict.fromkeys(result))


def _weight(words: str) -> tuple[str, str]:
    """Split a term in words into its weight and the rest."""
    for weight in sorted(WEIGHTS, key=len, reverse=True):
        if words.startswith(weight + " "):
            return weight, words[len(weight) + 1 :]
    return "1", words


def _as_row(weight: str, new: str, old: str) -> str:
    """Return a weight in terms of the row's own weights, o of the old value and n of the new one."""
    own = {old: "o", new: "n", "1": "1"}
    own |= {"(1 - a)^2": "o^2", "(1 - (1 - a)^2)": "(1 - o^2)", "(1 - a)^3": "o^3", "(1 - (1 - a)^3)": "(1 - o^3)"}
    if old == "a":
        own |= {"a^2": "o^2", "(1 - a^2)": "(1 - o^2)"}
    return own.get(weight, weight)


def _further(extra: str) -> Known:
    if "(mean - running mean)^2" in extra:
        mixture, old = extra.startswith("(1 - a) a "), extra.startswith("n ")
        about = "mixture" if mixture else f"distance from the {'old' if old else 'updated'} mean"
        return updates.FURTHER[about]
    return updates.FURTHER["eps"] if "eps" in extra else OTHER["running variance"]
