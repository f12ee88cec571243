"""What an implementation takes, tried before it is judged: ranks, formats, parameters, eps, momentum, statistics."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from refnorm.formats import FORMATS, dtype_name
from refnorm.golden.inputs import Case
from refnorm.golden.repeats import Repeats
from refnorm.oracle.ask.box import Box, Misshapen, Refused
from refnorm.oracle.ask.interface import formats_of

RANKS = (2, 3, 4, 5)
OPTIONAL, MANDATORY, ABSENT = "optional", "mandatory", "absent"
SETTINGS = {"eps": (2.0**-10, 2.0**-6), "momentum": (0.25, 0.75)}
REQUIRABLE = ("ranks", "formats", "affine", "statistics", "eps", "momentum", "gradients")
DIGITS = 6  # to which a value that is fixed is read: nobody writes more of them
FLOAT32 = 2.0**-24  # relative: a decimal that is so near is what was rounded to float32
UNCLAIMED = ("float16", "bfloat16")  # formats that plain code does not claim to be good in
STATISTICS = ("running mean", "running variance")


@dataclass(frozen=True)
class Envelope:
    """What an implementation takes; what lies outside is not offered, and never wrong.

    Attributes
    ----------
    ranks, formats : of x.
    mixed : whether x and parameters may have different formats.
    gamma, beta : "optional", "mandatory" or "absent".
    eps, momentum : the value that is used whatever is passed; None if what is passed is used. ``momentum`` is the
        weight of the new batch.
    passes : which of eps and momentum the implementation takes at all.
    statistics : whether running statistics come back.
    outside : where eps is added to the root, not under it; then its value is that.
    untried : formats that were not asked for, and of which nothing is known.
    """

    ranks: tuple[int, ...] = RANKS
    formats: tuple[str, ...] = tuple(FORMATS)
    mixed: bool = True
    gamma: str = OPTIONAL
    beta: str = OPTIONAL
    eps: float | None = None
    momentum: float | None = None
    passes: tuple[str, ...] = ("eps", "momentum")
    statistics: bool = True
    outside: bool = False
    untried: tuple[str, ...] = ()

    def gaps(self) -> list[tuple[str, str]]:
        """Return what is not offered: of which kind (see `REQUIRABLE`), and a line each."""
        lines = []
        if missing := [str(rank) for rank in RANKS if rank not in self.ranks]:
            lines.append(("ranks", f"ranks of x: {_either(self.ranks)}; not offered: {', '.join(missing)}"))
        if missing := [k for k in ("float64", "float32", "float16") if k not in (*self.formats, *self.untried)]:
            lines.append(("formats", f"formats: {', '.join(self.formats)}; not offered: {', '.join(missing)}"))
        if "float16" in self.untried:
            what = f"formats: {', '.join(self.formats)}; not tried: float16, for which code is compiled anew; --dtypes"
            lines.append(("untried", f"{what} float16 asks for it"))
        for name in ("gamma", "beta"):
            if getattr(self, name) == ABSENT:
                lines.append(("affine", f"{name}: not offered; none was found"))
        needed = [name for name in ("gamma", "beta") if getattr(self, name) == MANDATORY]
        if needed:
            lines.append(("affine", f"{' and '.join(needed)} = None: not offered"))
        if not self.statistics:
            lines.append(("statistics", "running statistics: not offered; no mean and variance were found"))
        for name in ("eps", "momentum"):
            value = getattr(self, name)
            if value is not None and name not in self.passes:
                what = f"{value:g}"
                if name == "momentum":
                    what += f" for the new batch, {round(1 - value, DIGITS):g} for the old value"
                lines.append((name, f"{name}: fixed at {what}; everything is judged with that"))
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope as plain data."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}


def _either(ranks: tuple[int, ...]) -> str:
    words = [str(rank) for rank in ranks]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 2 else words) + (
        " alone" if len(words) == 1 else ""
    )


def envelope_of(implementation: Any, kinds: Sequence[str] = ()) -> Envelope:
    """Try what an implementation takes, by calling it; what it raises is an answer.

    ``kinds`` are formats that are asked for, be they those that it spares.

    An implementation that takes nothing at all is said to take everything: then it is judged, and what it raises is
    found.
    """
    if formats_of(implementation) == ():
        return Envelope(formats=())
    box = Box(implementation)
    spared = getattr(implementation, "spared", ())
    box.dtypes += [kind for kind in spared if kind in kinds]
    if not box.ranks:
        return Envelope(formats=tuple(box.dtypes))
    without, lacks = (getattr(implementation, name, ()) for name in ("without", "lacks"))
    given = getattr(implementation, "passes", ("eps", "momentum"))
    takes = _Trials(box)
    found = Envelope(
        ranks=tuple(getattr(implementation, "ranks", sorted(box.accepted))),
        formats=takes.all_formats(),
        passes=tuple(given),
        statistics=box.trains and not set(STATISTICS) <= set(without),
        untried=tuple(kind for kind in spared if kind not in kinds),
    )
    mixed = [kind for kind in found.formats if kind in UNCLAIMED]
    mixed = mixed if getattr(implementation, "mixed", True) else []
    found = replace(found, mixed=any(takes.formats(kind, "float32") for kind in mixed))
    affine: dict[str, Any] = {
        name: ABSENT if name in lacks else OPTIONAL if takes.without(name) or takes.forgets(name) else MANDATORY
        for name in ("gamma", "beta")
    }
    return replace(found, **affine, **fixed_eps(box), **(_momentum(box) if found.statistics else {}))


class _Trials:
    """Calls with ordinary numbers, and whether they are taken."""

    def __init__(self, box: Box) -> None:
        self.box, self.x = box, box.batch(*2.0 ** np.arange(8), channels=3)  # enough for what splits a batch
        self.refused = ""  # what the last call that was refused said

    def all_formats(self) -> tuple[str, ...]:
        """Return the formats that are taken: where narrower ones come back, whatever comes, these alone."""
        taken = tuple(kind for kind in self.box.dtypes if self.formats(kind, kind))
        return tuple(kind for kind in taken if not self._narrowed(kind)) or taken

    def _narrowed(self, kind: str) -> bool:
        """Whether all that comes back of this format is of a narrower one."""
        found: list[Any] = []
        with contextlib.suppress(Refused):
            found += self.box.train(self.x, 0.25, dtype=kind) if self.box.trains else []
            found += [self.box.infer(self.x, dtype=kind)] if self.box.infers else []
        digits = [FORMATS.get(dtype_name(array.dtype), FORMATS[kind])[0] for array in found]
        return bool(digits) and max(digits) < FORMATS[kind][0]

    def without(self, *names: str) -> bool:
        """Whether parameters may be None."""
        return self.formats(self.box.dtype, self.box.dtype, **dict.fromkeys(names, None))

    def forgets(self, name: str) -> bool:
        """Whether a declared implementation takes both as None, and computes with None where one of them is."""
        declared = not getattr(self.box.implementation, "reading", "")
        return declared and self.without("gamma", "beta") and not self.without(name) and "NoneType" in self.refused

    def formats(self, kind: str, parameters: str, **given: Any) -> bool:
        """Whether x may be of one format and the parameters of another, with what is given of these."""
        try:
            if self.box.trains:
                self.box.train(self.x, 0.25, dtype=kind, parameters=parameters, **given)
            if self.box.infers:
                self.box.infer(self.x, dtype=kind, parameters=parameters, **given)
        except Misshapen:
            return True  # which is judged
        except Refused as refused:
            self.refused = str(refused)
            return False
        return True


def fixed_eps(box: Box) -> dict[str, Any]:
    """Read eps off y, for two values passed and two spreads: a value that is the same for all is fixed.

    Returns "eps" and "outside", as in `Envelope`; nothing if what is passed is used, or cannot be told.
    """

    def divisor(eps: float, d: float) -> float:
        if box.trains:
            y = np.max(np.abs(np.asarray(box.train(box.batch(*[-d, d] * 4), 0.25, eps)[0], float)))
            return d / float(y)
        return 1 / float(box.infer(box.batch(1.0, 1.0), eps, var=d * d).flat[0])

    spreads = (2.0**-20, 2.0**-12)
    try:
        with np.errstate(all="ignore"):
            found = {eps: [divisor(eps, d) for d in spreads] for eps in SETTINGS["eps"]}
    except (Refused, ArithmeticError, ValueError, IndexError):  # whatever comes back
        return {}
    one, other = found.values()
    if not np.allclose(one, other, rtol=1e-6, atol=0) or not np.all(np.isfinite(one)):
        return {}
    inside = [s * s - d * d for s, d in zip(one, spreads, strict=True)]
    outside = [s - d for s, d in zip(one, spreads, strict=True)]
    for values, place in ((inside, False), (outside, True)):
        if values[0] > 1e-20 and math.isclose(*values, rel_tol=1e-3):
            return {"eps": _shortest(*values), "outside": place}
    return {}


def _momentum(box: Box) -> dict[str, Any]:
    """Read the weight of the new batch for two values passed: one that is the same for both is fixed."""
    try:
        news = [
            float(box.train(box.batch(*[1.0, 3.0] * 4), a, mean=0.0, var=0.0)[1][0]) / 2 for a in SETTINGS["momentum"]
        ]
        olds = [float(box.train(box.batch(*[-1.0, 1.0] * 4), a, mean=1.0, var=0.0)[1][0]) for a in SETTINGS["momentum"]]
    except (Refused, ArithmeticError, ValueError, IndexError):
        return {}
    alike = math.isclose(*news, rel_tol=1e-5) and math.isclose(*olds, rel_tol=1e-5, abs_tol=1e-7)
    fixed = alike and 0 < news[0] < 1 and abs(news[0] + olds[0] - 1) < 1e-5
    return {"momentum": _short(news[0])} if fixed else {}


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _shortest(one: float, other: float) -> float:
    """Return the shortest decimal that agrees with two readings of a value, to float32's digits or as they agree."""
    short = _short(one)
    known = abs(one - other) / one
    if abs(short - one) <= max(FLOAT32, 4 * known) * one:
        return short
    return next(near for near in (float(f"{one:.{d}g}") for d in range(DIGITS, 18)) if abs(near - one) <= known * one)


@lru_cache(maxsize=8192)
def fitted(case: Case, envelope: Envelope, old_weighs: bool = False) -> Case | None:
    """Return a case as an implementation takes it: in a rank, with the eps and the momentum that it has.

    Its numbers are the same wherever that does not change what is asked; None if the case lies outside.

    Parameters
    ----------
    old_weighs : whether momentum is the weight of the old value, in the row that the case will be judged by.
    """
    if case.undefined and not envelope.statistics:
        return None
    for parameter, name in ((case.gamma, "gamma"), (case.beta, "beta")):
        if parameter is None and getattr(envelope, name) == MANDATORY:
            return None
    if case.situation.layout == "shared" and ABSENT in (envelope.gamma, envelope.beta):
        return None
    changed: dict[str, Any] = {}
    for name in ("gamma", "beta"):
        if getattr(envelope, name) == ABSENT and getattr(case, name) is not None:
            changed[name] = None
    settings: dict[str, Any] = {"eps": envelope.eps}
    settings |= {
        "momentum": None
        if envelope.momentum is None
        else round(1 - envelope.momentum, DIGITS)
        if old_weighs
        else envelope.momentum
    }
    settings = {name: v for name, v in settings.items() if v is not None and v != getattr(case, name)}
    if case.x.ndim not in envelope.ranks:
        if case.situation.layout not in ("shared", "read-only"):
            settings["layout"] = "ordinary"  # what memory looks like is another thing in another rank
        rank = min(envelope.ranks, key=lambda r: abs(r - case.x.ndim))
        changed |= {"batches": tuple(in_rank(x, rank) for x in case.batches), "dy": in_rank(case.dy, rank)}
    if settings:
        changed["situation"] = replace(case.situation, **settings)
    if changed and case.table is not None:
        kept = {name: value for name, value in changed.items() if name not in ("batches", "dy")}
        index = in_rank(case.table.index, changed["batches"][0].ndim) if "batches" in changed else case.table.index
        changed["table"] = Repeats(replace(case.table.case, **kept), index)
    return replace(case, **changed, held=False) if changed else case


def in_rank(x: Any, rank: int) -> Any:
    """Return the same values of each channel in an array of another rank.

    Examples
    --------
    >>> [in_rank(np.zeros((2, 3, 4, 5)), rank).shape for rank in (2, 3, 5)]
    [(40, 3), (2, 3, 20), (2, 3, 4, 5, 1)]
    """
    if rank > x.ndim:
        return x.reshape(x.shape + (1,) * (rank - x.ndim))
    if rank > 2:
        return x.reshape(*x.shape[: rank - 1], -1 if x.size else 0)
    return np.moveaxis(x, 1, -1).reshape(-1 if x.size else 0, x.shape[1])
