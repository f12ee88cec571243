"""The frozen set as the oracle reads it: it says what `exact` says, and it suffices where there is no FLINT.

The expected values of these tests are computed by `exact`, which `test_exact` holds to the definition; the frozen
numbers are also recomputed by mpmath (`test_golden_numbers`) and by programs in C and JavaScript (`test_consumers`).
Without FLINT is: in a process of its own in which importing it fails.

Not verified here: the set's own wholeness (`test_lint`).
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mutants import INVENTED, REAL

import refnorm
from refnorm.conventions import CONVENTIONS, ROWS
from refnorm.formats import FORMATS, unit_roundoff
from refnorm.golden import contents, load
from refnorm.golden.directions import directions
from refnorm.golden.frozen import held
from refnorm.golden.inputs import in_shape
from refnorm.golden.truth import NotHeld, _blended, _computed, _frozen, truth
from refnorm.oracle.quantities import kind_of

TORCH = CONVENTIONS["torch"]
TESTS = Path(__file__).parent
QUANTITIES = {
    "training": ("y, training", "running mean", "running variance", "dx", "dgamma", "dbeta"),
    "inference": ("y, inference", "frozen y", "frozen dx", "frozen dgamma", "frozen dbeta"),
}
SECOND = ("jvp", "double backward ddy", "double backward dx", "double backward dgamma")


def frozen(row=TORCH):
    """Yield every result that the set holds: case, quantity, and the enclosure."""
    for case in refnorm.golden.cases():
        prefix = "frozen " if case.operation == "inference" else ""
        for quantity in (*QUANTITIES[case.operation], *(prefix + name for name in SECOND)):
            found = _frozen(case, row, quantity) if case.finite and not case.undefined else None
            if found is not None:
                yield case, quantity, found


def test_exact_says_what_the_frozen_set_says():
    numbers = 0
    for case, quantity, found in frozen():
        exact, kind = _computed(case, TORCH, quantity), kind_of(case, quantity)
        known = ~np.isnan(found.hi)
        assert known.any()
        assert np.array_equal(exact.rounded(kind).reshape(-1)[known], found.hi[known]), (case.id, quantity)
        with np.errstate(invalid="ignore"):
            off = np.abs((exact.hi - found.hi) + (exact.lo - found.lo))
        assert np.all((off <= found.bound + exact.bound)[known & np.isfinite(found.hi)]), (case.id, quantity)
        if found.whole and found.hi.any():
            assert found.sharp == (case.kind == "float64"), (case.id, quantity)
        numbers += int(known.sum())
    assert numbers > 10_000


def test_the_same_holds_under_other_conventions_where_they_ask_for_the_same_numbers():
    seen = set()
    for name in ("tinygrad", "onnx", "tensorflow"):
        for case, quantity, found in frozen(ROWS[name]):
            if case.x.size < 64:
                seen.add((name, quantity))
                assert np.array_equal(
                    _computed(case, ROWS[name], quantity).rounded(kind_of(case, quantity)).reshape(-1), found.hi
                )
    assert ("tinygrad", "running variance") in seen
    assert ("tensorflow", "dx") in seen
    assert ("onnx", "running mean") not in seen  # it weighs the other way round


@pytest.mark.parametrize("row", ["keras", "caffe", "haiku", "torch"])
def test_running_statistics_of_other_conventions_are_enclosed(row):
    """From the batch's frozen mean and variance: as wide as their format, in float64 next to nothing."""
    seen = 0
    for case in refnorm.golden.cases("training"):
        for quantity in ("running mean", "running variance"):
            if case.finite and not case.undefined and (found := _blended(case, ROWS[row], quantity)) is not None:
                seen += 1
                exact = _computed(case, ROWS[row], quantity)
                off = np.abs((exact.hi - found.hi) + (exact.lo - found.lo))
                assert np.all(off <= found.bound + exact.bound), (case.id, quantity)
                size = np.abs(found.hi) + np.abs(case.running_mean) + np.abs(case.x).max() ** 2
                assert np.all(found.bound <= 2 * unit_roundoff(case.kind) * size)
                if case.kind == "float64":
                    assert np.all(found.bound <= 2.0**-64 * size)
    assert seen > 100


def test_an_enclosure_charges_only_what_is_certain():
    (case,) = (c for c in load("training", "float16") if c.id == "bn.training.float16.two-values.1")
    y = case.expected["y"]
    value, half = y.rounded("float16"), y.bound.reshape(y.shape)
    assert np.all(half == np.spacing(np.abs(value).astype(np.float16)).astype(float) / 2)
    assert not y.error_of(value + 0.9 * half).any()
    assert np.allclose(y.error_of(value + 3 * half), 2 * half)
    assert np.allclose(y.error_of(value - 3 * half), -2 * half)
    assert np.isnan(y.error_of(np.full(y.shape, np.nan))).all()


def test_inputs_are_those_of_the_cases_stored_or_by_rule():
    checked, rules = 0, set()
    for case in itertools.chain(*map(refnorm.golden.cases, ("training", "inference", "masked", "sharded"))):
        for operation, content in contents.CONTENT.items():
            entry = held(operation, case.kind).get(case.id_in(operation)) if content.of == case.operation else None
            if entry is None:
                continue
            moves = directions(case)._asdict() if operation in contents.SECOND else {}
            moves = {name if operation.endswith("jvp") else f"d{name}": value for name, value in moves.items()}
            for name, value in entry.inputs.items():
                if name == "shards":
                    assert value == case.situation.shards
                    continue
                wanted = case.batches if name == "batches" else moves.get(name, getattr(case, name, None))
                pairs = zip(value, wanted, strict=True) if name == "batches" else [(value, wanted)]
                for given, expected in pairs:
                    assert (given is None) == (expected is None)
                    equal = given is None or np.array_equal(given, expected, equal_nan=given.dtype != bool)
                    assert equal, (case.id, name)
                    checked += 1
            assert entry.numbers.get("eps", case.eps) == case.eps
            rules.add(case.situation.content)
    assert checked > 2500
    assert {"integers", "outlier", "ordinary"} <= rules


def test_the_whole_set_is_loaded_and_parts_of_it():
    whole = load()
    listed = json.loads((contents.DATA / "MANIFEST.json").read_text())["total_cases"]
    errors = len(json.loads((contents.DATA / "bn.errors.json").read_text())["cases"])
    assert len(whole) == listed - errors
    assert len({case.id for case in whole}) == len(whole)
    assert {case.dtype for case in load(dtype="bfloat16")} == {"bfloat16"}
    assert {case.operation for case in load("jvp")} == {"jvp"}
    for wrong in ({"operation": "forward"}, {"dtype": "float8"}):
        with pytest.raises(ValueError, match="use one of"):
            load(**wrong)


@pytest.mark.parametrize("change", ["digit", "case", "gone"])
def test_a_file_that_is_not_the_listed_one_is_refused(change, tmp_path, monkeypatch):
    for path in contents.DATA.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = tmp_path / "bn.jvp.float32.json"
    text = file.read_text()
    if change == "digit":
        file.write_text(text.replace("0.25", "0.75", 1))
    if change == "case":
        file.write_text(json.dumps({**json.loads(text), "cases": json.loads(text)["cases"][1:]}))
    if change == "gone":
        file.unlink()
    monkeypatch.setattr("refnorm.golden.frozen.DATA", tmp_path)
    held.cache_clear()
    with pytest.raises((ValueError, FileNotFoundError), match=r"bn\.jvp\.float32"):
        load("jvp", "float32")
    held.cache_clear()


def without_flint(code: str) -> str:
    """Run code where FLINT cannot be imported, and return what it printed."""
    hidden = "import sys, importlib.util as u; sys.modules['flint'] = None; find = u.find_spec; "
    hidden += "u.find_spec = lambda name, *a: None if name == 'flint' else find(name, *a)\n"
    command = [sys.executable, "-c", hidden + code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


UNSEEN_WITHOUT_FLINT = {  # by the frozen set alone, of every so many mutants, in float64 and float16
    80: [],
    10: ["tile_channels_beyond_256", "inf_running_variance_bounded"],  # show in cases that the set holds no numbers of
}
CHECKS = """
import mutants, refnorm
for row in ("torch", "keras"):
    report = refnorm.check(mutants.Correct(), row, dtypes=FORMATS)
    print(row, report.conforms, report.cases, [f.cause for f in report.findings], report.notes)
wrong = {name: refnorm.check(kind(), 'torch', dtypes=["float64", "float16"]) for name, kind in CHOSEN(mutants).items()}
print("missed of", len(wrong), [name for name, report in wrong.items() if report.conforms])
"""


@pytest.mark.rest  # see conftest.py
@pytest.mark.parametrize(
    ("every", "formats"),
    [
        (80, ["float64", "float16"]),
        *(pytest.param(every, ["float64", "float32", "float16"], marks=pytest.mark.slow) for every in (80, 10)),
    ],
)
def test_without_flint_the_frozen_set_judges_and_what_it_lacks_is_said(every, formats):
    some = f"FORMATS = {formats}\n"
    some += f"CHOSEN = lambda mutants: dict(list({{**mutants.REAL, **mutants.INVENTED}}.items())[::{every}])\n"
    torch, keras, missed = without_flint(some + CHECKS).splitlines()
    assert torch.startswith("torch True ")
    assert "keras False" in keras
    assert "running-variance-unbiased" in keras
    for line in (torch, keras):
        assert "the frozen set does not hold the rest" in line
        assert "python-flint" in line
    assert missed == f"missed of {len(range(0, len(REAL | INVENTED), every))} {UNSEEN_WITHOUT_FLINT[every]}"


def test_without_flint_results_that_the_set_lacks_are_refused_and_said():
    code = """
from refnorm.conventions import ROWS
from refnorm.golden import case, load
from refnorm.golden.truth import NotHeld, truth
print(len(load()))
print(truth(case("bn.training.float32.two-values.1"), ROWS["torch"], "dx").shape)
try:
    truth(next(c for c in __import__("refnorm").golden.cases() if c.situation.layout == "sliced"), ROWS["torch"], "dx")
except NotHeld as error:
    print(error)
"""
    count, shape, said = without_flint(code).splitlines()
    assert int(count) > 600
    assert shape == "(2, 3)"
    assert said.endswith("is not in the frozen set; pip install python-flint")


def test_without_flint_a_case_that_was_changed_is_not_judged_by_the_one_in_the_set(monkeypatch):
    """A right (N, D) layer was called wrong for large counts, by the running variance of another batch."""
    monkeypatch.setattr("refnorm.golden.truth.can_compute", lambda: False)
    (case,) = refnorm.golden.cases("training", "float32", "large-count")
    changed = in_shape(case, (8192, 2))
    assert truth(case, ROWS["keras"], "running variance").shape == (2,)
    for quantity in QUANTITIES["training"]:
        with pytest.raises(NotHeld, match="not in the frozen set"):
            truth(changed, ROWS["keras"], quantity)


def test_truth_reads_the_frozen_set_for_float64(monkeypatch):
    monkeypatch.setattr("refnorm.golden.truth._computed", None)  # whoever computes fails
    for case in refnorm.golden.cases("training", "float64", "two-values"):
        for quantity in QUANTITIES["training"]:
            assert truth(case, TORCH, quantity).sharp


@pytest.mark.parametrize("kind", FORMATS)
def test_numbers_of_a_format_come_back_as_numbers_of_it(kind):
    for case in load("training", kind):
        rounded = case.expected["y"].rounded(kind)
        known = ~np.isnan(rounded)
        assert np.array_equal(refnorm.formats.rounded(rounded[known], kind), rounded[known])
