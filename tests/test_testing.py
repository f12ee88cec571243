"""`refnorm.testing` as the author of a framework uses it, and the page that tells how, taken literally.

The page is run by pytest in a folder of its own; other tests are called one by one. Verified: what conforms passes case
by case, also shared out by pytest-xdist; a bug fails in the cases that show it, with its cause; what is not offered is
skipped; a baseline turns known findings, and no others, into expected failures.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from causes import FORMATS
from command import called
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


@pytest.mark.slow
def test_the_page_taken_literally_passes(tmp_path, blocks):
    implementation, per_case, single = blocks
    status, printed = suite(tmp_path, "-n", "2", my_bn=implementation, test_batch_norm=per_case + "\n\n" + single)
    assert status == 0, printed
    assert counts(printed) == {"passed": _asked("float64", "float32") + 2}, printed  # calls, and the single test


def test_the_page_in_one_format_passes(tmp_path, blocks, dtype):
    implementation, per_case, _ = blocks
    per_case = per_case.replace('"torch")', f'"torch", dtypes=["{dtype}"])')
    status, printed = suite(tmp_path, my_bn=implementation, test_batch_norm=per_case)
    assert status == 0, printed
    assert counts(printed) == {"passed": _asked(dtype) + 1}, printed


def _asked(*kinds):
    """Return how many cases there are in some formats."""
    return sum(len([*refnorm.golden.cases(dtype=k)]) + len(sized_ids(k)) + len(setting_ids(k)) for k in kinds)


def outcomes(implementation, **options):
    """Call each test that `case_by_case` makes; return what came of it, and its words, by the test's id."""
    test = case_by_case(implementation, **options)
    found = {}
    for parameters in test.pytestmark[0].args[1]:
        try:
            test(*parameters.values)
            found[parameters.id] = "passed", ""
        except (pytest.fail.Exception, pytest.skip.Exception, pytest.xfail.Exception) as outcome:
            found[parameters.id] = type(outcome).__name__.lower(), str(outcome)
    return found


def having(outcome, found):
    return {id: said for id, (what, said) in found.items() if what == outcome}


def written(folder, source):
    (folder / "my_bn.py").write_text(source)
    return f"{folder / 'my_bn.py'}:BatchNorm"


def test_a_mistake_in_it_fails_where_it_shows_and_says_why(tmp_path, blocks, dtype):
    wrong = blocks[0].replace("var * m / (m - 1)", "var")
    assert wrong != blocks[0]
    found = outcomes(written(tmp_path, wrong), convention="torch", dtypes=[dtype])
    failed = having("failed", found)
    assert all("cause: running-variance-biased" in said for said in failed.values())
    finding = refnorm.check(INVENTED["run_variance_biased"](), "torch", dtypes=[dtype]).findings[0]
    assert set(failed) == set(finding.cases)
    snippet = re.search(r'python -c "(.*)"', next(iter(failed.values()))).group(1)
    shown = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "expected" in shown.stdout


@pytest.mark.rest  # see conftest.py
def test_a_baseline_makes_known_findings_expected_and_no_others(tmp_path, blocks, dtype):
    wrong = blocks[0].replace("var * m / (m - 1)", "var")
    target, known = written(tmp_path, wrong), tmp_path / "known.json"
    asked = ["--convention", "torch", "--dtypes", dtype, "--format", "json", "--output", str(known)]
    assert called("check", target, *asked).returncode == 1
    jsonschema.validate(json.loads(known.read_text()), SCHEMA)
    options = {"convention": "torch", "dtypes": [dtype], "baseline": known}
    found = outcomes(target, **options)
    assert having("failed", found) == {}
    assert len(having("xfailed", found)) > 40
    worse = wrong.replace("x_hat * along(dgamma / m, dy)", "x_hat * along(dgamma, dy)")
    assert worse != wrong
    found = outcomes(written(tmp_path, worse), **options)
    assert any("cause: dx-variance-term-not-divided" in said for said in having("failed", found).values())


class Only:
    """Inference alone, of an implementation that has more."""

    def infer(self, *given):
        return Correct().infer(*given)


def test_what_is_not_offered_is_skipped(dtype):
    skipped = having("skipped", outcomes(Only(), dtypes=[dtype]))
    for name in ("train", "backward", "frozen"):
        assert skipped[f"no-{name}"] == f"there is no function {name}: not judged"


def test_assert_conforms_raises_the_report(dtype):
    assert isinstance(assert_conforms(Correct(), dtypes=[dtype]), Report)
    with pytest.raises(AssertionError, match="cause: momentum-sense") as caught:
        assert_conforms(REAL["run_momentum_sense_swapped"](), "torch", dtypes=[dtype])
    assert str(caught.value).startswith("refnorm ")


def test_a_baseline_of_assert_conforms(tmp_path, dtype):
    mutant = REAL["run_momentum_sense_swapped"]()
    report = refnorm.check(mutant, "torch", dtypes=[dtype])
    (tmp_path / "known.json").write_text(json.dumps(report.to_dict()))
    assert not assert_conforms(mutant, "torch", dtypes=[dtype], baseline=tmp_path / "known.json").conforms
    with pytest.raises(AssertionError):
        assert_conforms(REAL["bwd_gamma_missing_in_dx"](), dtypes=[dtype], baseline=tmp_path / "known.json")
    (tmp_path / "known.json").write_text("{}")
    with pytest.raises(ValueError, match="is no report; make one with"):
        assert_conforms(mutant, baseline=tmp_path / "known.json")


def test_what_cannot_be_judged_says_so_when_tests_are_collected():
    with pytest.raises(TargetError, match="could not be read as a batch normalization"):
        case_by_case(object())
    with pytest.raises(ValueError, match="convention"):
        case_by_case(Correct(), convention="none")


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["run_momentum_sense_swapped", "num_half_count_overflows", "edge_null_affine_crashes"])
def test_reports_follow_their_schema(name, few):
    dtypes = FORMATS.get(name, ("float64",)) if few else None
    jsonschema.validate(refnorm.check(REAL[name](), dtypes=dtypes).to_dict(), SCHEMA)


def test_the_schema_can_refuse(dtype):
    data = refnorm.check(REAL["run_momentum_sense_swapped"](), "torch", dtypes=[dtype]).to_dict()
    for change in ({"schema": 2}, {"verdict": "fine"}, {"conforms": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data | change, SCHEMA)
    data["findings"][0]["kind"] = "odd"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)
