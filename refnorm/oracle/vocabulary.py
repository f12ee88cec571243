"""Every cause that a finding can name, its kind and meaning: `python -m refnorm.oracle.vocabulary` writes the page."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from refnorm.conventions import POLICIES
from refnorm.golden.settings import OVERFLOWS, WHY
from refnorm.golden.situations import MASKED, SHARDED, SITUATIONS
from refnorm.oracle.circumstances import CIRCUMSTANCES, MEASURES, MET_BEFORE, SIZES
from refnorm.oracle.lost import IN_HALF, IN_ONE_PASS, IN_ONE_PASS_ABOUT_A_VALUE
from refnorm.oracle.measure import known_gradients as gradients
from refnorm.oracle.measure import known_maps as maps
from refnorm.oracle.measure import known_second as second
from refnorm.oracle.measure import known_updates as updates
from refnorm.oracle.measure.known import OTHER, Known, eps_fixed_at
from refnorm.oracle.quantities import FURTHER, QUANTITIES
from refnorm.oracle.together import ALONE


class Word(NamedTuple):
    """One word of the vocabulary."""

    kind: str
    meaning: str
    seen_in: tuple[str, ...] = ()


def vocabulary() -> dict[str, Word]:
    """Return every cause by its stable name.

    Examples
    --------
    >>> vocabulary()["running-variance-biased"].kind
    'convention'
    """
    causes: dict[str, Word] = {}
    formulas = [(k.kind, k.name, k.sentence, seen_in) for k, seen_in in known_formulas()]
    for kind, name, sentence, seen_in in formulas:
        before = causes.get(name, Word(kind, sentence, ()))
        causes[name] = before._replace(seen_in=tuple(dict.fromkeys((*before.seen_in, *seen_in))))
    for name, kind, meaning in OTHERS:
        causes[name] = Word(kind, meaning)
    for what, policies in (("one-value-per-channel", POLICIES), ("empty-batch", POLICIES)):
        for policy, meaning in policies.items():
            kind = "wrong" if policy in ("non-finite", "other") else "convention"
            causes[f"{what}-{policy.replace(' ', '-')}"] = Word(kind, f"{what.replace('-', ' ')}: {meaning}")
    for circumstance in (*CIRCUMSTANCES, *SIZES):
        causes[circumstance.name] = Word("wrong", f"wrong {circumstance.words}")
    for name, words in MET_BEFORE:
        causes[name] = Word("wrong", f"wrong {words}")
    for name, (words, _) in MEASURES.items():
        causes.setdefault(name, Word("wrong", "wrong " + words.partition("{")[0] + "some value on, and right below"))
    causes["only-setting"] = Word("wrong", f"wrong only here: {WHY}")
    causes["product-overflow"] = Word("numerics", f"not finite where {OVERFLOWS}")
    causes["only-products"] = Word("wrong", f"wrong only here: {OVERFLOWS}")
    causes["only-sized"] = Word("wrong", "wrong only here: a size at which kernels break")
    for situation in (s for s in SITUATIONS if not set(s.operations) & {*MASKED, *SHARDED}):  # which are not asked for
        causes.setdefault(f"only-{situation.name}", Word("wrong", f"wrong only here: {situation.why}"))
    return causes


def known_formulas() -> Iterator[tuple[Known, tuple[str, ...]]]:
    """Yield every known formula with the quantities that it is seen in first.

    Examples
    --------
    >>> sum(entry.name == "eps-missing" for entry, _ in known_formulas())
    1
    """
    of_y, backward = ("y, training", "y, inference", "frozen y"), ("dx", "frozen dx")
    stored, of_parameters = ("running mean", "running variance"), ("dgamma", "dbeta")
    eps = [eps_fixed_at(value) for value in ("1e-05", "0.001", "1e-08", "2e-05")]
    tables: tuple[tuple[tuple[str, ...], Mapping[Any, Known]], ...] = (
        *((of_y, table) for table in (maps.DIVISORS, maps.INFERENCE_DIVISORS, maps.CENTRES, maps.SCALES, maps.SHIFTS)),
        *((of_y, table) for table in (maps.REGIONS, maps.TOGETHER)),
        *((stored, table) for table in (updates.WEIGHTS, updates.MEANS)),
        *((stored[1:], table) for table in (updates.STORED, updates.FURTHER)),
        *((backward, table) for table in (gradients.GAMMAS, gradients.INVERSES, gradients.TERMS)),
        (backward[1:], gradients.FROZEN_TERMS),
        (of_parameters, gradients.PARAMETERS),
    )
    single = (
        *((of_y, entry) for entry in (maps.MIXED_TRAINING, maps.MIXED_INFERENCE, maps.FLATTENED, maps.LAST_AXIS, *eps)),
        *((of_y[:1], entry) for entry in (maps.SOME_VALUES, maps.OTHER_CHANNELS)),
        *((stored, entry) for entry in (updates.ROUNDED, updates.SENSES_DIFFER, updates.CROSSED, *updates.JOINT)),
        *((stored[1:], entry) for entry in (updates.BIASED, updates.UNBIASED, updates.STD_AVERAGED)),
        *((backward, entry) for entry in (gradients.UPSTREAM, gradients.WITHOUT_EPS)),
        *((backward[:1], entry) for entry in (gradients.UPDATED, gradients.STORED)),
        ((*backward[:1], *of_parameters), gradients.SOME_VALUES),
        (of_parameters, gradients.DECAYED),
        *((quantities, entry) for entry, quantities in second.seen_in()),
        *(
            (FURTHER if part == "second order" else (part,) if part in QUANTITIES else of_y, entry)
            for part, entry in OTHER.items()
        ),
    )
    for seen_in, table in tables:
        yield from ((entry, seen_in) for entry in table.values())
    yield from ((entry, seen_in) for seen_in, entry in single)


OTHERS = (
    *((lost.name, lost.kind, lost.title) for lost in (IN_ONE_PASS, IN_ONE_PASS_ABOUT_A_VALUE, IN_HALF)),
    *(
        (f"computed-in-{kind}", "numerics", f"right to the precision of {kind} alone: something is rounded to it")
        for kind in ("float32", "float16", "bfloat16")
    ),
    *(
        (f"accumulates-in-{kind}", "numerics", f"right if sums are taken in {kind} itself, and not in float32")
        for kind in ("float16", "bfloat16", "float16-and-bfloat16")
    ),
    *((name, "wrong", f"{title}; the other is right") for name, title in ALONE.values()),
    ("eps-ignored", "wrong", "eps is accepted, and another value is used whatever is passed"),
    *(
        (f"{what}-clipped", "wrong", f"{words} is cut off at a bound, and right within")
        for what, words in (
            ("x-hat", "x_hat"),
            ("inverse-std", "1/std"),
            ("variance", "the variance"),
            ("result", "a result"),
            ("norm", "the norm of a result"),
        )
    ),
    ("activation-applied", "wrong", "y is multiplied by a constant where it is negative, as an activation does"),
    ("gradient-through-activation", "wrong", "dy weighs otherwise where y is negative, as if an activation followed"),
    ("other-axes", "wrong", "statistics are taken over other axes than all but the channels'"),
    ("momentum-ignored", "wrong", "momentum is accepted, and other weights are used whatever is passed"),
    ("not-offered", "wrong", "what was required is not offered; without --require that is no finding"),
    ("returns-nan", "wrong", "a result is NaN throughout"),
    ("subnormals-flushed", "numerics", "subnormal numbers are flushed to 0"),
    ("argument-modified", "wrong", "a function writes to its arguments, or to arrays that it was given before"),
    ("dtype-changed", "wrong", "a result comes back in another dtype than its input"),
    ("shape", "wrong", "a result has the wrong shape"),
    ("parameter-gradients-not-summed", "wrong", "dgamma or dbeta has the shape of x"),
    ("result-unusable", "wrong", "a result is no array of numbers, or the tuple has the wrong length"),
    ("raises", "wrong", "a function raises where it should compute"),
    ("non-finite-handling", "wrong", "NaN or inf disappears, or spreads to other channels"),
    ("not-repeatable", "wrong", "calls disturb each other: state, buffers or caches are shared"),
    ("output-missing", "wrong", "a foreign program did not write an output that it was asked for"),
    ("output-surplus", "wrong", "a foreign program wrote outputs that belong to nothing it was asked for"),
    ("output-unreadable", "wrong", "an output file is truncated, malformed, too large, or a link"),
    ("unknown", "wrong", "no formula that was tried predicts the numbers"),
)


def causes_page() -> str:
    """Return the page of causes, in Markdown."""
    lines = [
        "# Causes",
        "",
        "What a finding of `refnorm check` can name as its cause. The names are stable; reports carry them as `cause`.",
        "*wrong*: a bug under any convention. *convention*: legitimate, but not the declared one. *numerics*: right",
        "formula, an algorithm that loses digits. Made by `python -m refnorm.oracle.vocabulary`.",
        "",
        "| cause | kind | meaning | seen in |",
        "|---|---|---|---|",
    ]
    for name, cause in vocabulary().items():
        meaning = cause.meaning.replace("|", "\\|")
        lines.append(f"| `{name}` | {cause.kind} | {meaning} | {' · '.join(cause.seen_in)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    target = Path(__file__).parents[2] / "tutorials" / "causes.md"
    if sys.argv[1:] == ["--check"]:
        sys.exit(target.read_text(encoding="utf-8") != causes_page())
    target.write_text(causes_page(), encoding="utf-8")
    print(f"{len(vocabulary())} causes in {target}")
