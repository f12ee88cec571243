"""`refnorm.testing` as the author of a framework uses it, and the page that tells how, taken literally.

The suites below are run by pytest in folders of their own. Verified: what conforms passes case by case, also shared out
by pytest-xdist; a bug fails in the cases that show it, with its cause; what is not offered is skipped; a baseline turns
known findings, and no others, into expected failures.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from mutants import INVENTED, REAL, Correct

import refnorm
from refnorm.golden.settings import setting_ids
from refnorm.golden.sized import sized_ids
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.report import Report
from refnorm.testing import assert_conforms, case_by_case

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "tutorials" / "judge-your-own.md").read_text()
SCHEMA = json.loads((ROOT / "refnorm" / "oracle" / "report.schema.json").read_text())


def suite(folder, *options, **files):
    """Run pytest on files of one folder; return its exit status and what it printed."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, *options, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder, check=False)
    return done.returncode, done.stdout + done.stderr


def counts(printed):
    return {
        what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", printed.splitlines()[-1])
    }


@pytest.fixture(scope="module")
def blocks():
    """The page's three blocks of Python: the implementation, the test per case, the single test."""
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(code) == 3
    return code


def test_the_page_taken_literally_passes(tmp_path, blocks):
    implementation, per_case, single = blocks
    status, printed = suite(tmp_path, "-n", "2", my_bn=implementation, test_batch_norm=per_case + "\n\n" + single)
    expected = sum(len(list(refnorm.golden.cases(dtype=kind))) for kind in ("float64", "float32"))
    expected += sum(len(sized_ids(kind)) + len(setting_ids(kind)) for kind in ("float64", "float32"))
    assert status == 0, printed
    assert counts(printed) == {"passed": expected + 2}, printed  # calls, and the single test


def test_a_mistake_in_it_fails_where_it_shows_and_says_why(tmp_path, blocks):
    implementation, per_case, _ = blocks
    per_case = per_case.replace('"torch")', '"torch", dtypes=["float32"])')
    wrong = implementation.replace("var * m / (m - 1)", "var")
    assert wrong != implementation
    status, printed = suite(tmp_path, my_bn=wrong, test_batch_norm=per_case)
    assert status == 1
    assert "cause: running-variance-biased" in printed
    failed = set(re.findall(r"FAILED \S+\[(\S+)\]", printed))
    finding = refnorm.check(INVENTED["run_variance_biased"](), "torch", dtypes=["float32"]).findings[0]
    assert failed == set(finding.cases)
    snippet = re.search(r'python -c "(.*)"', printed).group(1)
    shown = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "expected" in shown.stdout


ONLY = """
import refnorm.testing
from my_bn import BatchNorm


class Only:
    infer, normalise = BatchNorm.infer, BatchNorm.normalise


test = refnorm.testing.case_by_case(Only(), dtypes=["float32"])
"""


def test_a_baseline_makes_known_findings_expected_and_no_others(tmp_path, blocks):
    implementation, per_case, _ = blocks
    per_case = per_case.replace('"torch")', '"torch", dtypes=["float32"])')
    wrong = implementation.replace("var * m / (m - 1)", "var")
    (tmp_path / "my_bn.py").write_text(wrong)
    command = [
        sys.executable,
        "-m",
        "refnorm",
        "check",
        "my_bn:BatchNorm",
        "--convention",
        "torch",
        "--dtypes",
        "float32",
        "--format",
        "json",
        "--output",
        "known.json",
    ]
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    jsonschema.validate(json.loads((tmp_path / "known.json").read_text()), SCHEMA)
    accepting = per_case.replace('"torch", ', '"torch", baseline="known.json", ')
    status, printed = suite(tmp_path, my_bn=wrong, test_batch_norm=accepting)
    assert status == 0, printed
    assert counts(printed)["xfailed"] > 40
    worse = wrong.replace("x_hat * along(dgamma / m, dy)", "x_hat * along(dgamma, dy)")
    status, printed = suite(tmp_path, my_bn=worse, test_batch_norm=accepting)
    assert status == 1
    assert "cause: dx-variance-term-not-divided" in printed


def test_what_is_not_offered_is_skipped(tmp_path, blocks):
    status, printed = suite(tmp_path, "-rs", my_bn=blocks[0], test_only=ONLY)
    assert status == 0, printed
    assert counts(printed)["skipped"] == 3
    for name in ("train", "backward", "frozen"):
        assert f"there is no function {name}: not judged" in printed


def test_assert_conforms_raises_the_report():
    assert isinstance(assert_conforms(Correct(), dtypes=["float32"]), Report)
    with pytest.raises(AssertionError, match="cause: momentum-sense") as caught:
        assert_conforms(REAL["run_momentum_sense_swapped"](), "torch", dtypes=["float32"])
    assert str(caught.value).startswith("refnorm ")


def test_a_baseline_of_assert_conforms(tmp_path):
    mutant = REAL["run_momentum_sense_swapped"]()
    report = refnorm.check(mutant, "torch", dtypes=["float32"])
    (tmp_path / "known.json").write_text(json.dumps(report.to_dict()))
    assert not assert_conforms(mutant, "torch", dtypes=["float32"], baseline=tmp_path / "known.json").conforms
    with pytest.raises(AssertionError):
        assert_conforms(REAL["bwd_gamma_missing_in_dx"](), dtypes=["float32"], baseline=tmp_path / "known.json")
    (tmp_path / "known.json").write_text("{}")
    with pytest.raises(ValueError, match="is no report; make one with"):
        assert_conforms(mutant, baseline=tmp_path / "known.json")


def test_what_cannot_be_judged_says_so_when_tests_are_collected():
    with pytest.raises(TargetError, match="could not be read as a batch normalization"):
        case_by_case(object())
    with pytest.raises(ValueError, match="convention"):
        case_by_case(Correct(), convention="none")


@pytest.mark.parametrize("name", ["run_momentum_sense_swapped", "num_half_count_overflows", "edge_null_affine_crashes"])
def test_reports_follow_their_schema(name):
    jsonschema.validate(refnorm.check(REAL[name]()).to_dict(), SCHEMA)


def test_the_schema_can_refuse():
    data = refnorm.check(REAL["run_momentum_sense_swapped"](), "torch", dtypes=["float32"]).to_dict()
    for change in ({"schema": 2}, {"verdict": "fine"}, {"conforms": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data | change, SCHEMA)
    data["findings"][0]["kind"] = "odd"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)
