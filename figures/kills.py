"""Which case of the golden set shows which bug: every mutant of the tests tried on every case.

A case kills a mutant if the judge finds anything wrong there. The mutants are real bugs of public projects and invented
ones (`tests/mutants.py`); they are judged as torch, in all four formats. Two to four minutes on two cores.
"""

from __future__ import annotations

import sys
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

ALT = (
    "Grid of 55 real bugs against the situations of the golden set. A filled square: every case of the situation shows "
    "the bug; lighter: some do; empty: none. Most rows have gaps: no situation shows all bugs."
)
DTYPES = ("float64", "float32", "float16", "bfloat16")


def trial(name: str) -> tuple[dict[str, float], list[str], list[str]]:
    """Try a mutant on all cases.

    Return the worst error / bound of each case (inf for other trouble), the causes that the oracle names, and what its
    first finding gives (one of GIVEN) with its words.
    """
    import mutants

    from refnorm.conventions import convention
    from refnorm.golden.inputs import case
    from refnorm.golden.settings import setting_ids
    from refnorm.oracle.diagnose import diagnose
    from refnorm.oracle.observe import observe, observed, selected

    mutant, torch = {**mutants.VARIANTS, **mutants.REAL, **mutants.INVENTED}[name](), convention("torch")
    observations = list(observe(mutant, torch, selected(mutant, torch, DTYPES)))
    found: dict[str, float] = {}
    for o in observations:
        found[o.case.id] = max(found.get(o.case.id, 0.0), float("inf") if o.trouble else o.ratio)
    usual = [o for o in observations if o.case.kind != "bfloat16"]  # what refnorm check tries unless asked for more
    for id in (id for kind in DTYPES[:3] for id in setting_ids(kind)):  # and eps that the set does not hold
        usual += observed(mutant, torch, case(id))
    findings = diagnose(usual, torch)
    return (
        found,
        sorted({finding.cause for finding in findings}),
        [*map(given, findings[:1]), *(f.title for f in findings[:1])],
    )


BAR = "\\|"  # in a cell of a table
GIVEN = ("a measured formula", "a cause", "a circumstance", "no explanation")


def given(finding: Any) -> str:
    """Say what a finding gives: a formula that predicts the numbers, a cause, where alone it is wrong, or nothing."""
    if finding.measured:
        return GIVEN[0]
    return GIVEN[3] if finding.cause == "unknown" else GIVEN[2] if finding.cause.startswith("only-") else GIVEN[1]


def data() -> dict[str, Any]:
    """Try all; ``kills`` has for every case a text of 0 and 1, one character for each mutant."""
    import mutants

    from refnorm.golden.inputs import cases

    names = [*mutants.REAL, *mutants.INVENTED]
    with get_context("spawn").Pool(2) as pool:
        trials = pool.map(trial, names, chunksize=4)
    return {
        "bugs": {name: mutants.REAL[name].__doc__.strip().split(":")[0] for name in mutants.REAL},
        "invented": list(mutants.INVENTED),
        "causes": {name: causes for name, (_, causes, _) in zip(names, trials, strict=True)},
        "first": {name: first for name, (_, _, first) in zip(names, trials, strict=True)},
        "cases": [case.id for case in cases()],
        "kills": {case.id: "".join(str(int(found.get(case.id, 0) > 1)) for found, *_ in trials) for case in cases()},
    }


def by_situation(data: dict[str, Any]) -> dict[str, list[str]]:
    """Return the ids of the cases of each situation."""
    groups: dict[str, list[str]] = {}
    for id in data["cases"]:
        groups.setdefault(id.split(".")[3], []).append(id)
    return dict(sorted(groups.items()))


def draw(data: dict[str, Any]) -> Any:
    """Draw real bugs against situations: dark where all cases of the situation kill, light where some do."""
    from matplotlib.figure import Figure

    groups, bugs = by_situation(data), list(data["bugs"])
    killed = [[{data["kills"][id][k] for id in ids} for ids in groups.values()] for k in range(len(bugs))]
    figure = Figure(figsize=(10.5, 8.5))
    axes = figure.add_subplot()
    for outcome, colour, words in (
        ({"1"}, "#08519c", "every case kills"),
        ({"0", "1"}, "#9ecae1", "some cases kill"),
    ):
        at = [
            (column, row) for row in range(len(bugs)) for column in range(len(groups)) if killed[row][column] == outcome
        ]
        axes.plot(*zip(*at, strict=True), "s", color=colour, markersize=7, label=words)
    axes.set_xticks(range(len(groups)), list(groups), rotation=90, fontsize=7)
    axes.set_yticks(range(len(bugs)), bugs, fontsize=7)
    axes.set_xlim(-0.7, len(groups) - 0.3)
    axes.set_ylim(len(bugs) - 0.3, -0.7)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    filled = [sum("1" in square for square in row) for row in killed]
    least = min(filled) or "none"
    title = f"{len(bugs)} real bugs against {len(groups)} situations: the best hidden one shows in {least} of them"
    axes.set_title(title, loc="left", fontsize=9)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2)
    return figure


def killed(data: dict[str, Any], id: str) -> list[str]:
    """Return the mutants that a case kills."""
    names = [*data["bugs"], *data["invented"]]
    return [name for name, bit in zip(names, data["kills"][id], strict=True) if bit == "1"]


def cover(data: dict[str, Any]) -> list[str]:
    """Return cases that together kill all mutants: always the one that kills most of those left."""
    left, chosen = {name for id in data["cases"] for name in killed(data, id)}, []
    while left:
        chosen.append(max(data["cases"], key=lambda id: len(left & set(killed(data, id)))))
        left -= set(killed(data, chosen[-1]))
    return chosen


def runs(numbers: list[int]) -> str:
    """Write 1, 2, 3, 7 as 1-3 7."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and parts[-1][-1] == n - 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return " ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def pages(data: dict[str, Any]) -> dict[str, str]:
    """Return the page of tables."""
    bugs, groups = list(data["bugs"]), by_situation(data)
    names = [*bugs, *data["invented"]]
    found = {situation: {n for id in ids for n in killed(data, id)} for situation, ids in groups.items()}
    times = Counter(name for seen in found.values() for name in seen)
    lines = [
        "# Which case kills which bug",
        "",
        f"{len(bugs)} bugs that shipped in public projects and {len(data['invented'])} invented ones, rebuilt as",
        f"mutants in `tests/mutants.py`, each tried on the {len(data['cases'])} cases that `refnorm check` makes of",
        "the set. A case kills a mutant if the judge finds anything wrong there. Made by `python -m figures kills`;",
        "the picture shows the real ones.",
        "",
        "![Real bugs against situations of the golden set](../figures/kills.svg)",
        "",
        "*What to see: no column is full, so no situation shows every bug; rows with a single square are bugs that",
        "show nowhere else, and one without any shows at an eps that the set does not have. In a dark square every",
        "case of the situation shows the bug, in a light one some do.*",
        "",
        f"Cases that kill nothing: {sum('1' not in k for k in data['kills'].values())}. "
        f"Mutants that no case kills: {', '.join(f'`{n}`' for n in names if n not in times) or 'none'}. "
        f"Cases that would be enough to kill all: {len(cover(data))}; the others tell bugs apart.",
        "",
        "## By situation",
        "",
        "| situation | cases | real bugs | invented | only here |",
        "|---|---|---|---|---|",
    ]
    for situation, ids in groups.items():
        alone = ", ".join(f"`{n}`" for n in sorted(found[situation]) if times[n] == 1)
        real = len(found[situation] & set(bugs))
        lines.append(f"| {situation} | {len(ids)} | {real} | {len(found[situation]) - real} | {alone} |")
    lines += [
        "",
        "## The real bugs",
        "",
        "| number | mutant | where it was real | cases that kill it |",
        "|---|---|---|---|",
    ]
    for k, (name, source) in enumerate(data["bugs"].items()):
        count = sum(data["kills"][id][k] == "1" for id in data["cases"])
        lines.append(f"| {k + 1} | `{name}` | {source} | {count} |")
    lines += ["", *_first(data), "", *_causes(data)]
    lines += ["", "## By case", "", "| case | real bugs, by number | invented |", "|---|---|---|"]
    for id in data["cases"]:
        real = [bugs.index(name) + 1 for name in killed(data, id) if name in data["bugs"]]
        lines.append(f"| {id} | {runs(real)} | {len(killed(data, id)) - len(real)} |")
    return {"kills.md": "\n".join(lines) + "\n"}


def _first(data: dict[str, Any]) -> list[str]:
    """Return the table of what the first finding says of each real bug, and how often it explains."""
    counts, said = [], {name: data["first"][name] for name in data["bugs"]}
    for words, names in (("real bugs", list(data["bugs"])), ("invented ones", data["invented"])):
        firsts = [data["first"][name] for name in names]
        each = [f"{n} {what}" for what in GIVEN if (n := sum(first[:1] == [what] for first in firsts))]
        counts.append(f"Of {len(names)} {words} {sum(map(bool, firsts))} are convicted; first comes {', '.join(each)}.")
    return [
        "## What the first finding says",
        "",
        *counts,
        "Three formats are tried, with what `refnorm check` asks beside the set: other values of eps and momentum.",
        "A circumstance is an explanation where it is the bug: a layout that is read wrongly, a size that overflows.",
        "",
        "| mutant | the first finding gives | in its words |",
        "|---|---|---|",
        *(f"| `{name}` | {how} | {words.replace('|', BAR)} |" for name, (how, words) in said.items()),
    ]


def _causes(data: dict[str, Any]) -> list[str]:
    """Return the table of what the oracle says of each mutant, beside what is true."""
    from causes import BESIDES, CAUSES

    rows, right, false = [], 0, 0
    for name, true in CAUSES.items():
        said = set(data["causes"][name])
        named, wrong = bool(said & true), said - true - BESIDES.get(name, set()) - {"unknown"}
        right, false = right + named, false + bool(wrong)
        verdict = ("yes" if named else "no") + (f", and wrongly {', '.join(sorted(wrong))}" if wrong else "")
        rows.append(f"| `{name}` | {', '.join(sorted(said))} | {verdict} |")
    others = [name for name in data["causes"] if name not in CAUSES]
    return [
        "## Called by its name",
        "",
        f"{len(CAUSES)} mutants have a cause that is in [the vocabulary](causes.md); what is true of each is written",
        f"down in `tests/causes.py`. The oracle names it for {right} of them, {right / len(CAUSES):.1%}, and gives a",
        f"name that is not true to {false}. The other {len(others)} are caught without a name of their own.",
        "",
        "| mutant | causes that the report names | right |",
        "|---|---|---|",
        *rows,
    ]
