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
from refnorm.oracle.measure.read_running import OF_ROW, Running, defined_update
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
    entry: Known, measured: str = "", formula: str = "", title: str = "", coefficients: dict[str, float] | None = None
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
    shows = [
        n for n in own if own["scale"] != "0" or n in ("scale", "shift")
    ]  # of what is multiplied by 0 nothing does
    parts = [Part(n, own[n], expected[n], _common(own[n], training)) for n in shows if own[n] != expected[n]]
    wrong = tuple((p.name, p.common) for p in parts)
    given = written(found), written(defined(w))
    numbers = found.coefficients()
    if wrong in maps.TOGETHER:
        return [cause(maps.TOGETHER[wrong], *given, coefficients=numbers)]
    result: list[Cause] = []
    if found.part is not None:
        result, parts = _of_a_part(found.part, parts, given, numbers)
    entry, parts = _of_the_other_kind(parts, training)
    if entry is not None:
        result.append(cause(entry, *given, coefficients=numbers))
    texts = dict(wrong)
    if "mean" in texts.get("shift", "") and texts.get("centre") == "0":  # it is subtracted, from what is scaled
        parts = [p for p in parts if p.name != "centre"]
    regions = list(_by_region(parts, *given, numbers))
    parts = _without_regions(parts) if regions else parts
    for part in parts:
        regions.append(cause(_of_part(part, training), *given, TITLES[part.name].format(part.measured), numbers))
    return [*result, *regions]


OWN = re.compile(r"(?<!running )(?<!batch )\b(mean|var)\b")
FOREIGN = re.compile(r"\b(?:running|batch) (mean|var)(?:iance)?\b")


def _of_the_other_kind(parts: list[Part], training: bool) -> tuple[Known | None, list[Part]]:
    """Name statistics that are the running ones in training, the batch's elsewhere, or both; with what is left."""
    foreign = "running" if training else "batch"
    found = [p for p in parts if p.name in ("centre", "divisor") and foreign in p.common]
    if len(found) < 2:
        return None, parts
    mixed = [bool(OWN.search(p.common)) for p in found]
    if all(mixed):
        return maps.MIXED_TRAINING if training else maps.MIXED_INFERENCE, [p for p in parts if p not in found]
    if any(mixed) or any(re.search(" over (?!all|N)", p.common) for p in found):
        return None, parts
    left = [replace(p, common=FOREIGN.sub(r"\1", p.common)) if p in found else p for p in parts]
    return maps.OTHER_KIND[training], [p for p in left if p.common not in USUAL]


USUAL = "mean", "std^2 = var + eps"


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
    plain = [re.sub(r"= (var of|sum \(x - mean\)\^2 of) .*? \+ ", "= var + ", p) for p in plain]
    left = [replace(p, common=text) for p, text in zip(divided, plain, strict=True) if text not in USUAL]
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
    above = "x" if centre == "0" else f"(x + {centre[1:]})" if centre[0] == "-" else f"(x - {_bracketed(centre)})"
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
    for words in dict.fromkeys(m.group() for m in found if m):
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
        if plain not in USUAL:
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
    old, new = OF_ROW[row.momentum]
    expected = f"{what} = {defined_update(row, found.which)}"
    measured = f"{what} = {found.words()}"
    numbers = {term.words: c for c, term in found.formula.parts}

    def named(entry: Known) -> Cause:
        return cause(entry, measured, expected, "", numbers)

    weights, batch, further = {"old": "0", "new": "0"}, "", list[Known]()
    for c, term in found.formula.parts:
        weight, rest = _weight(term.words)
        weight = _as_row(weight, new, old) if c == 1 else f"{c:.7g}" if weight == "1" else f"{c:.7g} {weight}"
        if rest in ("running mean", "running variance", "running std"):
            weights["old"] = weight
        elif not batch:
            weights["new"], batch = weight, rest
        else:
            further = [_further(weight, rest)]
    if {_weight(words)[1] for words in numbers} & updates.CROSSING[found.which]:
        return [named(updates.CROSSED)]
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
        wide = tuple(_as_row(ROUNDED.get(k, k), new, old) for k in key)
        entry = updates.ROUNDED if wide == ("o", "n") else updates.WEIGHTS.get((wide[0], wide[1]), OTHER[what])
        result.append(named(entry))
    elif not batch:
        still = key == ("1", "0")
        result.append(named(updates.WEIGHTS["1", "0"] if still else OTHER[what]))
    if other:
        table = updates.MEANS if found.which == "mean" else updates.STORED | swap
        result.append(named(table.get(batch, OTHER[what])))
    return list(dict.fromkeys([*result, *map(named, further)]))


ROUNDED = {
    "float32(1 - a)": "(1 - a)",
    "float32(a)": "a",
    "(1 - float32(a))": "(1 - a)",
    "(1 - float32(1 - a))": "a",
    "float32(a)/(1 + float32(a))": "a/(1 + a)",
    "1/(1 + float32(a))": "1/(1 + a)",
}


def _weight(words: str) -> tuple[str, str]:
    """Split a term in words into its weight and the rest."""
    for weight in sorted(WEIGHTS, key=len, reverse=True):
        if words.startswith(weight + " "):
            return weight, words[len(weight) + 1 :]
    return "1", words


def _as_row(weight: str, new: str, old: str) -> str:
    """Return a weight in terms of the row's own weights, o of the old value and n of the new one."""
    own = {old: "o", new: "n", "1": "1"}
    own |= {f"{old}^{k}": f"o^{k}" for k in (2, 3)} | {f"(1 - {old}^{k})": f"(1 - o^{k})" for k in (2, 3)}
    own |= {{"a": "(1 - a) a^2", "(1 - a)": "(1 - a)^2 a"}.get(old, ""): "o^2 n"}
    return own.get(weight, weight)


DISTANCE = "(mean - running mean)^2"
ABOUT = {  # the weight that the distance of the means has if the variance is taken about another mean, or merged
    "n": "distance from the old mean",
    "o^2 n": "distance from the updated mean",
    "(1 - a) a": "mixture",
}


def _further(weight: str, what: str) -> Known:
    if what.removeprefix("m/(m - 1) ") == DISTANCE and weight in ABOUT:
        return updates.FURTHER[ABOUT[weight]]
    return updates.FURTHER["eps"] if "eps" in what and weight[0] != "-" else OTHER["running variance"]
