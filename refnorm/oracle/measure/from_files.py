"""Which convention does a folder of recorded outputs follow? What can be told without calling the program again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from refnorm.conventions.rows import ROWS
from refnorm.formats import Array
from refnorm.golden import export
from refnorm.golden.inputs import Case
from refnorm.oracle.ask.answers import Answer
from refnorm.oracle.ask.folder import PROGRAM, exported, present, program
from refnorm.oracle.ask.recorded import answer_of, read_case
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.behaviours import policy
from refnorm.oracle.identify import Identity, nearest_rows
from refnorm.oracle.judge import Observation, judged_numbers
from refnorm.oracle.measure.formulas import ROW, read_formulas, with_weights
from refnorm.oracle.measure.measurement import OTHER, Key, Measurement, by_rank
from refnorm.oracle.measure.weights import MEANING, SENSES, sense_of

DIGITS = {"float64": 5e-7, "float32": 2e-5, "float16": 2e-2, "bfloat16": 1e-1}  # to which a weight can be told
LARGEST = 64  # values per channel: beyond, m/(m - 1) is told from 1 by too few digits
UNSEEN = "initial statistics, defaults, formats, layouts and NaN: for those the program itself must be at hand"

Recorded = list[tuple[Case, dict[str, Array]]]


def identify_outputs(
    directory: str | Path, progress: Callable[[int, int, str], None] = lambda *_: None
) -> dict[str, Any]:
    """Fit a convention to the outputs in a directory that `refnorm golden export` made.

    The widest format is read. Weights are fitted case by case to old running mean and batch mean, k of m/(m - k) to the
    running variance; then the formula of each map is read, as it is off a program at hand.

    Parameters
    ----------
    directory : with export.json and outputs/.
    progress : called with the number of a case, their count and its id.

    Returns
    -------
    dict
        As `refnorm.oracle.identify.summary` gives.

    Raises
    ------
    refnorm.oracle.ask.target.TargetError
        If the directory is no export of this golden set, or holds no outputs of the cases that tell.
    """
    import refnorm

    root = Path(directory)
    dtypes, cases = exported(root)
    files = present(root / export.OUTPUTS)
    who = program(root / export.OUTPUTS, files)
    dtype = next(d for d in DIGITS if d in dtypes)
    chosen = [c for c in cases if {c.kind, c.parameters} == {dtype} and not c.batches[1:]]
    recorded: Recorded = []
    answers: list[tuple[Case, Answer]] = []
    policies: dict[str, list[tuple[int, str]]] = {}
    for number, case in enumerate(chosen, start=1):
        progress(number, len(chosen), case.id)
        written = read_case(root, case, files, who.operations)
        answer, defects = answer_of(case, written, who.operations)
        if case.undefined:
            if (answer.results or answer.failed) and not defects:
                policies.setdefault(case.undefined, []).append((case.x.ndim, policy(case, ROW, answer, ()).policy))
        elif case.finite:
            arrays = {n: np.asarray(a, float) for n, a in written.arrays.items() if a is not None}
            recorded.append((case, {n: a for n, a in arrays.items() if np.isfinite(a).all()}))
            answers.append((case, answer))
    if not any(arrays for _, arrays in recorded):
        raise TargetError(f"{root / export.OUTPUTS} holds no outputs to measure; refnorm judge {root} says what is due")
    measurements = [*_weights(recorded, DIGITS[dtype])]
    stored = {m.key: m.value for m in measurements}
    row = with_weights(stored.get(Key.MOMENTUM, OTHER), stored.get(Key.CORRECTION, OTHER))
    observations: list[Observation] = []
    with np.errstate(all="ignore"):
        for case, answer in answers:
            observations += judged_numbers(case, row, answer)
    formulas = [*read_formulas(observations, row)]
    measurements += [*_divisors(formulas), *formulas]
    for name, outcomes in policies.items():
        measurements += by_rank(Key.ONE_VALUE if name.startswith("one") else Key.EMPTY_BATCH, name, outcomes)
    measurements.append(Measurement(Key.UNSEEN, "not in files", UNSEEN))
    declared = who.convention if PROGRAM in files else None
    near, differs = nearest_rows(measurements, ROWS.get(declared or ""))
    return {
        "target": str(directory),
        "declared": declared,
        "versions": {"refnorm": refnorm.__version__, "target": f"{who.name} {who.version}".strip(), "array": "files"},
        "command": f"refnorm identify {directory}",
        "paths": [Identity("", declared or "", dtype, tuple(measurements), near, differs).to_dict()],
    }


def _moments(case: Case) -> tuple[Array, Array]:
    axes = (0, *range(2, case.x.ndim))
    return case.x.mean(axis=axes), case.x.var(axis=axes)


def _weights(recorded: Recorded, digits: float) -> Iterator[Measurement]:
    """Fit running mean = old * before + new * batch in each case; then the factor on the batch's variance."""
    fits = []
    for case, arrays in recorded:
        if "running_mean" in arrays:
            columns = np.stack([case.running_mean, _moments(case)[0]], axis=1)
            (old, new), _, rank, size = np.linalg.lstsq(columns, arrays["running_mean"], rcond=None)
            if rank == 2 and size[0] < 30 * size[1]:  # else a digit of the running mean is many of a weight
                fits.append((case, float(old), float(new)))
    if not fits:
        return
    sense = sense_of([(c.momentum, old, new) for c, old, new in fits], digits)
    shown = dict.fromkeys(f"{new:.6g} at {case.momentum:g}" for case, _, new in fits[:3])
    note = f"{', '.join(shown)}; fitted in {len(fits)} cases"
    yield Measurement(Key.NEW_WEIGHT, "weight of the new batch", fits[0][2], note)
    yield Measurement(Key.MOMENTUM, "momentum", sense, MEANING.get(sense, "no known rule"))
    ks = []
    for case, arrays in recorded:
        if "running_var" in arrays and sense in SENSES and case.count <= LARGEST:
            old, new = SENSES[sense](case.momentum)
            moved, batch = arrays["running_var"] - old * case.running_var, new * _moments(case)[1]
            share = np.abs(batch) / (np.abs(batch) + np.abs(arrays["running_var"]))
            best = int(np.argmax(share))
            if share[best] > 0.1 and moved[best] > 0:
                ks.append(case.count * (1 - batch[best] / moved[best]))
    if ks:
        alike = max(ks) - min(ks) < 100 * LARGEST * digits
        k = round(float(np.median(ks)), 2) + 0.0 if alike else "other"
        note = f"from {min(ks):.4g} to {max(ks):.4g}"
        yield Measurement(Key.CORRECTION, "running variance, k in m/(m - k)", k, note)


def _divisors(formulas: list[Measurement]) -> Iterator[Measurement]:
    """Return what y divides by, in training and in inference, as its formula says."""
    for mode in ("training", "inference"):
        for m in formulas:
            if m.name == f"formula of y, {mode}":
                read = re.search(r"std(\^2)? = (.+)$", m.value.replace("running variance", "var"))
                place = OTHER if read is None else f"sqrt({read[2]})" if read[1] else read[2]
                yield Measurement(Key(f"{mode}-divisor"), f"divisor in {mode}", place)
