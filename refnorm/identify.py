"""Which convention is this? Measured from the outputs of a black box, number by number, and set beside the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from refnorm.box import Box, Measurement, Refused
from refnorm.conventions import ROWS, Convention
from refnorm.oracle.implementation import Target
from refnorm.probes import MOVED, PROBES


@dataclass(frozen=True)
class Identity:
    """What one path of a target was measured to be.

    Attributes
    ----------
    path, row, dtype : of the implementation, the row it is declared to follow ("" if none), and the format it was
        probed in, the widest it takes.
    measurements : in the order of the probes.
    nearest : rows of `refnorm.conventions` that disagree least; empty if nothing measured tells rows apart.
    differs : what disagrees with the row it is declared to follow, else with the nearest.
    """

    path: str
    row: str
    dtype: str
    measurements: tuple[Measurement, ...]
    nearest: tuple[str, ...]
    differs: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        """Return the value of a measurement."""
        return next(m.value for m in self.measurements if m.name == name)


def identify(
    target: Target,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    lost: Mapping[str, str] = MappingProxyType({}),
) -> list[Identity]:
    """Measure each path of a loaded target.

    Parameters
    ----------
    target : from `refnorm.oracle.implementation.load` or ``as_target``.
    progress : called with the number of a probe, their count, and its name.
    lost : what happened in a probe, by its name, that the target hung or died in before; it is left out.

    Returns
    -------
    list of Identity

    Examples
    --------
    >>> from refnorm.oracle.implementation import load
    >>> found, *others = identify(load("refnorm"))
    >>> found["momentum"], found["running variance, k in m/(m - k)"], found.nearest[0]
    ('new', 1.0, 'torch')
    """
    identities = []
    done, total = 0, len(target.paths) * len(PROBES)
    for name, implementation in target.paths.items():
        progress(done, total, f"formats and ranks of {name or target.name}")
        box, measurements = Box(implementation), list[Measurement]()
        for probe in PROBES:
            done += 1
            what = probe.__name__.strip("_").replace("_", " ")
            step = f"{what} of {name or target.name}"
            progress(done, total, step)
            try:
                measurements += [Measurement(what, "lost", lost[step])] if step in lost else probe(box)
            except Refused as refused:
                measurements.append(Measurement(what, "raises", str(refused)))
            except ArithmeticError as error:
                measurements.append(Measurement(what, "other", f"the numbers make no sense: {error}"))
        own = getattr(implementation, "convention", target.convention) if target.declared else ""
        nearest, differs = nearest_rows(measurements, ROWS.get(own))
        identities.append(Identity(name, own, box.dtype, tuple(measurements), nearest, differs))
    return identities


def nearest_rows(
    measurements: list[Measurement], declared: Convention | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the rows that disagree least, and what disagrees with the declared one (else with the nearest)."""
    apart = {row.name: _disagreements(measurements, row) for row in ROWS.values()}
    if not any(m.name == "momentum" for m in measurements):
        return (), tuple(apart[declared.name]) if declared else ()
    # Which value is stored weighs more than what happens where there is none.
    ranked = {name: (sum(d.startswith(("momentum:", "running")) for d in ds), len(ds)) for name, ds in apart.items()}
    best = min(ranked.values())
    nearest = tuple(name for name, rank in ranked.items() if rank == best)
    nearest = tuple(name for name in nearest if name != "paper") or nearest  # a framework says more
    return nearest, tuple(apart[declared.name if declared else nearest[0]])


def _disagreements(measurements: list[Measurement], row: Convention) -> list[str]:
    lines = []
    for m in measurements:
        wanted: tuple[Any, ...] | None = {
            "momentum": (row.momentum,),
            "running variance, k in m/(m - k)": (float(row.correction),),
            "one value per channel": row.one_value,
            "empty batch": row.empty,
            "eps travels as": (row.attributes,),
            "momentum travels as": (row.momentum_as or row.attributes,),
            "divisor in inference": ("sqrt(var + eps)",),
            "divisor in training": (MOVED if row.normalises == "moved" else "sqrt(var + eps)",),
            "inference looks at the batch": ("no",),
            "inference moves the statistics": ("no",),
            "m counts": ("all values",),
            "training": ("not offered",),
            "inference": ("not offered",),
        }.get(m.name)
        ranks = {int(digit) for digit in m.note.removeprefix("rank ").split(", ")} if m.note.startswith("rank ") else ()
        # An error that ends the process is an error; one that never comes is none.
        value = "raises" if m.value == "lost" and "killed by" in m.note else m.value
        if wanted is not None and value not in wanted and not (ranks and not set(row.ranks) & set(ranks)):
            names = " or ".join(map(str, wanted))
            lines.append(f"{m.name}: {m.value}, {row.name} has {names}" if m.value != "raises" else f"{m.name} raises")
        if m.name == "ranks of x" and not set(row.ranks) <= set(m.value):
            lines.append(f"{m.name}: {m.value}, {row.name} takes {row.ranks}")
    return lines


def summary(target: Target, identities: list[Identity]) -> dict[str, Any]:
    """Return everything measured, with the versions, as plain data ready for JSON."""
    import refnorm

    return {
        "target": target.name,
        "declared": target.convention if target.declared else None,
        "versions": {"refnorm": refnorm.__version__, "target": target.version, "array": f"numpy {np.__version__}"},
        "command": f"refnorm identify {target.name}",
        "paths": [asdict(found) for found in identities],
    }


def measured(
    order: Mapping[str, Any],
    timeout: float,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    **process: Any,
) -> tuple[Any, list[str]]:
    """Measure a target in a process of its own, again without each probe that it hangs or dies in.

    Parameters
    ----------
    order : ``do`` ("identify" or "numerics"), ``target``, and what else the worker takes.
    timeout : seconds that the import, or one probe, may take.
    process : as in `refnorm.oracle.worker.apart`.

    Returns
    -------
    result, lines that the target printed

    Raises
    ------
    refnorm.oracle.implementation.TargetError
        If it cannot be loaded.
    """
    from refnorm.oracle.worker import Stopped, apart

    lost: dict[str, str] = {}
    while True:
        try:
            return apart({**order, "lost": lost}, timeout, progress, **process)
        except Stopped as stopped:
            at = stopped.at.removeprefix("case ")
            if not stopped.at.startswith("case ") or at in lost or at.startswith("formats"):
                raise
            lost[at] = stopped.how


def text(summary: dict[str, Any]) -> str:
    """Return a summary as lines for a terminal."""
    versions, declared = summary["versions"], summary["declared"]
    head = f"refnorm {versions['refnorm']} · {versions['target'] or summary['target']}"
    lines = [f"{head} · declared as {declared}" if declared else head]
    for path in summary["paths"]:
        row = f" · declared as {path['row']}" if path["row"] not in ("", declared) else ""
        lines += ["", f"{path['path'] or summary['target']} · probed in {path['dtype']}{row}"]
        measured = [Measurement(**m) for m in path["measurements"]]
        width = max(len(m.name) for m in measured)
        lines += [f"  {m.name:<{width}}  {m}" for m in measured]
        near = ", ".join(path["nearest"]) or "none: without training, rows cannot be told apart"
        lines.append(f"  {'nearest row':<{width}}  {near}")
        lines += [f"  {'differs':<{width}}  {line}" for line in path["differs"]]
    return "\n".join(lines)
