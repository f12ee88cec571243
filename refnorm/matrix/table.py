"""The matrix as a table's cells: one row per framework and path, in groups, and the lists that stand below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refnorm.matrix.environments import GROUPS
from refnorm.matrix.sentence import sentence
from refnorm.oracle.measure.measurement import LOST, OTHER, Key, Measurement

COLUMNS = (
    "framework",
    "what to know",
    "refnorm check",
    "momentum",
    "running variance",
    "starts from",
    "eps",
    "one value",
    "empty batch",
    "half, by format of statistics",
    "variance",
    "inference",
    "y, mean/std 0, 1e3, 1e6",
    "layout, threads",
    "row",
)
NOT_RUN = {  # by group: what keeps a row although nothing of it is run, and why
    "training frameworks": (
        ("segnet", "Not run: no binary exists; modelled from its published sources, refnorm conventions segnet."),
    ),
    "inference engines": (
        ("onednn", "Not run: its wheel wants the run times of SYCL, TBB and Intel's compiler beside it."),
    ),
}


def grouped(results: dict[str, dict[str, Any]]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return the rows of each group that has any, in the order of `refnorm.matrix.environments.GROUPS`."""
    groups = []
    for group, entries in GROUPS.items():
        found = rows({entry.name: results[entry.name] for entry in entries if entry.name in results})
        if found:
            found += [(*row, *[""] * (len(COLUMNS) - len(row))) for row in NOT_RUN.get(group, ())]
            groups.append((group, found))
    return groups


def rows(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return cells: one row per path, or one that says why there is none."""
    table = []
    for name, result in results.items():
        if "error" in result:
            table.append((name, f"Not measured: {result['error'].rstrip('.')}.", *[""] * (len(COLUMNS) - 2)))
            continue
        for path, data in result["paths"].items():
            table.append(_row(f"{name}, {path}" if path else name, data))
    return table


def _row(name: str, data: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of one path of a framework."""
    measured: dict[Key, list[Measurement]] = {}
    for m in map(Measurement.from_dict, data["measurements"]):
        measured.setdefault(m.key, []).append(m)

    def values(*keys: Key) -> list[Any]:
        return [m.note if m.value == LOST else m.value for key in keys for m in measured.get(key, ())]

    def of(*keys: Key) -> str:
        return " / ".join(dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v) for v in values(*keys)))

    def short(key: Key) -> list[str]:
        return [m.short for m in measured.get(key, ())]

    if Key.TRAINING in measured:
        momentum = f"training {of(Key.TRAINING)}"
    else:
        words = {"new": "new batch", "old": "old value", "sums": "running sums"}
        momentum = words.get(of(Key.MOMENTUM), OTHER)
        momentum += "".join(f"; by default the new batch weighs {default}" for default in short(Key.FIRST_WEIGHT))
    k, counts = of(Key.CORRECTION), values(Key.COUNTS)
    variance = {"0": "biased", "1": "unbiased"}.get(k, k)
    variance += f", by rank: {' / '.join(counts)}" if len(counts) > 1 else ""
    start = f"{of(Key.INITIAL_MEAN)}, {of(Key.INITIAL_VARIANCE)}"
    start = start if Key.INITIAL_MEAN in measured else of(Key.INITIAL_STATISTICS)
    eps = of(Key.TRAINING_DIVISOR, Key.INFERENCE_DIVISOR)
    eps += f"; {of(Key.DEFAULT_EPS)}" if Key.DEFAULT_EPS in measured else ""
    numbers = data["numerics"]
    y = numbers.get("y") if any(numbers.get("y") or []) else numbers.get("inference")
    digits = ", ".join("none" if y[i] is None else f"{y[i]:.2g}" for i in (0, 4, 7)) if y else numbers.get("lost", "")
    differs = numbers.get("layouts", [])
    layout = f"{'differs: ' + ', '.join(differs) if differs else 'same'}; {numbers.get('threads', '')}"
    where = "".join(m.note for m in measured.get(Key.FOLDING, ()))
    verdict = f"{data['row']}: agrees" if not data["differs"] else f"{data['row']}: {'; '.join(data['differs'])}"
    return (
        name, sentence(data), in_few_words(data.get("check")), momentum, variance, start, eps, of(Key.ONE_VALUE),
        of(Key.EMPTY_BATCH), _half(measured.get(Key.HALF_SUMS, ())), " / ".join(sorted(set(short(Key.VARIANCE)))),
        where, digits, layout, verdict,
    )  # fmt: skip


def _half(sums: Sequence[Measurement]) -> str:
    """Say for each format of the statistics whether sums of half precision overflow anywhere."""
    worst = {m.short: "survives" for m in sums} | {m.short: m.value for m in sums if m.value == "overflows"}
    return " / ".join(f"{kind}: {worst[kind]}" for kind in sorted(worst))


def in_few_words(check: dict[str, Any] | None) -> str:
    """Return a verdict in a few words: conforms, or how many findings of each kind.

    Examples
    --------
    >>> in_few_words({"conforms": False, "lost": [], "findings": [{"kind": "wrong"}, {"kind": "numerics"}]})
    'deviates: 1 wrong, 1 numerics'
    """
    if not check:
        return ""
    if "error" in check:
        return str(check["error"])
    if check["conforms"]:
        return f"conforms, {check['cases']} cases"
    kinds = [f["kind"] for f in check["findings"]]
    counts = [f"{kinds.count(kind)} {kind}" for kind in ("wrong", "convention", "numerics") if kind in kinds]
    return f"deviates: {', '.join([*counts, *check['lost']])}"


def findings_by_path(results: dict[str, dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return, for each path that deviates, what `refnorm check` found: a line per finding."""
    lists = []
    for name, result in results.items():
        for path, data in result.get("paths", {}).items():
            check = data.get("check") or {}
            lines = [f"{f['kind']}, {f['cases']} cases: {f['title']}" for f in check.get("findings", ())]
            lines += [*check.get("lost", ()), *([check["error"]] if "error" in check else [])]
            if lines:
                lists.append((f"{name}, {path}" if path else name, lines))
    return lists


def changed(history: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the last change of each framework, newest first: a heading and a line per measurement.

    Examples
    --------
    >>> entry = {"framework": "torch", "date": "2026-12-01", "refnorm": ["0.1", "0.1"], "version": ["2.13", "2.14"]}
    >>> changed([{**entry, "changes": ["eps: 1e-05 -> 0.001"]}])
    [('2026-12-01, torch, 2.13 to 2.14, refnorm 0.1', ['eps: 1e-05 -> 0.001'])]
    """
    last = sorted({e["framework"]: e for e in history}.values(), key=lambda e: str(e["date"]), reverse=True)
    return [
        (
            ", ".join(filter(None, (e["date"], e["framework"], _to(e["version"]), f"refnorm {_to(e['refnorm'])}"))),
            e["changes"],
        )
        for e in last
    ]


def _to(pair: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys(filter(None, pair)))
