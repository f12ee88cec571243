"""Which convention is this? Measured from the outputs of a black box, number by number, and set beside the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from refnorm.conventions.row import Convention
from refnorm.conventions.rows import ROWS
from refnorm.oracle.ask.box import Box, Refused
from refnorm.oracle.ask.process import Loss
from refnorm.oracle.ask.target import Target
from refnorm.oracle.measure.measurement import LOST, OTHER, RAISES, Key, Measurement
from refnorm.oracle.measure.probes import ABOUT, MOVED, PROBES

STORED = (Key.MOMENTUM, Key.CORRECTION)  # what tells which value is stored


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
        """Return the value of a measurement, by its key or its name."""
        return next(m.value for m in self.measurements if name in (m.key, m.name))

    def to_dict(self) -> dict[str, Any]:
        """Return the identity as plain data."""
        lists = {"nearest": list(self.nearest), "differs": list(self.differs)}
        return {**vars(self), **lists, "measurements": [m.to_dict() for m in self.measurements]}


def identify(
    target: Target,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    lost: Mapping[str, Loss] = MappingProxyType({}),
) -> list[Identity]:
    """Measure each path of a loaded target.

    Parameters
    ----------
    target : from `refnorm.oracle.ask.target.load_target` or ``as_target``.
    progress : called with the number of a probe, their count, and its name.
    lost : what happened in a probe, by its name, that the target hung or died in before; it is left out.

    Returns
    -------
    list of Identity

    Examples
    --------
    >>> from refnorm.oracle.ask.target import load_target
    >>> found, *others = identify(load_target("refnorm"))
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
            about = ABOUT.get(probe, Key.PROBE)
            step = f"{what} of {name or target.name}"
            progress(done, total, step)
            if step in lost:
                measurements.append(Measurement(about, what, LOST, lost[step].how, killed=lost[step].killed))
                continue
            try:
                measurements += probe(box)
            except Refused as refused:
                measurements.append(Measurement(about, what, RAISES, str(refused)))
            except ArithmeticError as error:
                measurements.append(Measurement(about, what, OTHER, f"it cannot be told from the numbers ({error})"))
        own = getattr(implementation, "convention", target.convention) if target.declared else ""
        nearest, differs = nearest_rows(measurements, ROWS.get(own))
        identities.append(Identity(name, own, box.dtype, tuple(measurements), nearest, differs))
    return identities


def nearest_rows(
    measurements: list[Measurement], declared: Convention | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the rows that disagree least, and what disagrees with the declared one (else with the nearest)."""
    apart = {row.name: disagreements(measurements, row) for row in ROWS.values()}
    if not any(m.key is Key.MOMENTUM for m in measurements):
        return (), tuple(line for _, line in apart[declared.name]) if declared else ()
    # Which value is stored weighs more than what happens where there is none.
    ranked = {name: (sum(key in STORED for key, _ in found), len(found)) for name, found in apart.items()}
    best = min(ranked.values())
    nearest = tuple(name for name, rank in ranked.items() if rank == best)
    nearest = tuple(name for name in nearest if name != "paper") or nearest  # a framework says more
    return nearest, tuple(line for _, line in apart[declared.name if declared else nearest[0]])


def disagreements(measurements: list[Measurement], row: Convention) -> list[tuple[Key, str]]:
    """Return what was measured otherwise than a row says: the key, and a line for people."""
    wanted: dict[Key, tuple[Any, ...]] = {
        Key.MOMENTUM: (row.momentum,),
        Key.CORRECTION: (float(row.correction),),
        Key.ONE_VALUE: row.one_value,
        Key.EMPTY_BATCH: row.empty,
        Key.EPS_TRAVELS: (row.attributes,),
        Key.MOMENTUM_TRAVELS: (row.momentum_as or row.attributes,),
        Key.INFERENCE_DIVISOR: ("sqrt(var + eps)",),
        Key.TRAINING_DIVISOR: (MOVED if row.normalises == "moved" else "sqrt(var + eps)",),
        Key.BATCH_IN_INFERENCE: ("no",),
        Key.STATISTICS_IN_INFERENCE: ("no",),
        Key.COUNTS: ("all values",),
        Key.TRAINING: ("not offered",),
        Key.INFERENCE: ("not offered",),
    }
    found: list[tuple[Key, str]] = []
    for m in measurements:
        if m.key is Key.RANKS and not set(row.ranks) <= set(m.value):
            found.append((m.key, f"{m.name}: {m.value}, {row.name} takes {row.ranks}"))
        if m.key not in wanted or (m.ranks and not set(row.ranks) & set(m.ranks)):
            continue
        value = RAISES if m.killed else m.value  # an error that ends the process is an error
        if value not in wanted[m.key]:
            names = " or ".join(map(str, wanted[m.key]))
            what = f"{m.name}: {m.value}, {row.name} has {names}" if m.value != RAISES else f"{m.name} raises"
            found.append((m.key, what))
    return found


def summary(target: Target, identities: list[Identity]) -> dict[str, Any]:
    """Return everything measured, with the versions, as plain data ready for JSON."""
    import refnorm

    return {
        "target": target.name,
        "declared": target.convention if target.declared else None,
        "versions": {"refnorm": refnorm.__version__, "target": target.version, "array": target.array},
        "command": f"refnorm identify {target.name}",
        "paths": [found.to_dict() for found in identities],
    }


def identity_text(summary: dict[str, Any]) -> str:
    """Return a summary as lines for a terminal."""
    versions, declared = summary["versions"], summary["declared"]
    head = f"refnorm {versions['refnorm']} · {versions['target'] or summary['target']}"
    lines = [f"{head} · declared as {declared}" if declared else head]
    for path in summary["paths"]:
        row = f" · declared as {path['row']}" if path["row"] not in ("", declared) else ""
        lines += ["", f"{path['path'] or summary['target']} · probed in {path['dtype']}{row}"]
        measured = [Measurement.from_dict(m) for m in path["measurements"]]
        width = max(len(m.name) for m in measured)
        lines += [f"  {m.name:<{width}}  {m}" for m in measured]
        near = ", ".join(path["nearest"]) or "none: without running statistics, rows cannot be told apart"
        lines.append(f"  {'nearest row':<{width}}  {near}")
        lines += [f"  {'differs':<{width}}  {line}" for line in path["differs"]]
    return "\n".join(lines)
