"""What has not been judged never conforms: in check, on the command line, in test suites, in a judged folder.

Expected is one line that says why, and exit status 2; a verdict needs at least one case that ran.
"""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mutants import Correct

import refnorm
from refnorm.golden.export import export
from refnorm.oracle.ask.box import Box
from refnorm.oracle.ask.target import TargetError
from refnorm.oracle.outputs import judge
from refnorm.oracle.report import Cell, Path, Report
from refnorm.testing import assert_conforms, case_by_case

SAMPLED = True  # see conftest.py

HOMEWORK = """
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    mean, var = x.mean(axis=0), x.var(axis=0)
    return gamma * (x - mean) / np.sqrt(var + bn_param["eps"]) + beta, None
"""


class TakesNothing(Correct):
    dtypes = ()


class Wide(Correct):
    dtypes = ("float64",)


@pytest.mark.parametrize(
    ("implementation", "options", "said"),
    [
        (Wide(), {"dtypes": ["float16"]}, "it takes float64, and was asked for float16"),
        (TakesNothing(), {}, "it takes no format that there is, and was asked for float64 or float32 or float16"),
        (Correct(), {"dtypes": []}, "was asked for none"),
    ],
)
def test_a_trial_without_a_case_is_refused_and_says_why(implementation, options, said):
    for ask in (refnorm.check, assert_conforms):
        with pytest.raises(TargetError, match="could not be judged") as refused:
            ask(implementation, **options)
        assert said in str(refused.value)
    with pytest.raises(TargetError, match="could not be judged: no case applies"):
        case_by_case(implementation, **options)


def test_identify_refuses_what_takes_no_format():
    with pytest.raises(TargetError, match="nothing to measure"):
        Box(TakesNothing())


def command(*arguments, cwd):
    done = subprocess.run([sys.executable, "-m", "refnorm", *arguments], cwd=cwd, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        (HOMEWORK, ["check", "--dtypes", "float16"], "it takes float64 or float32, and was asked for float16"),
        (HOMEWORK + "dtypes = ()\n", ["check", "--dtypes", "bfloat16"], "could not be judged"),
        ("dtypes = ()\ndef infer(*a):\n    return a[0]\n", ["check"], "it takes no format that there is"),
        ("dtypes = ()\ndef infer(*a):\n    return a[0]\n", ["identify"], "nothing to measure"),
    ],
)
def test_the_command_line_exits_with_2_and_one_line(tmp_path, source, arguments, said):
    (tmp_path / "layers.py").write_text(source)
    name, *options = arguments
    status, out, err = command(name, "layers.py", *options, cwd=tmp_path)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_refnorm_without_ml_dtypes_is_not_said_to_conform_in_bfloat16(tmp_path):
    code = "import sys, importlib.util as u; find = u.find_spec\n"
    code += "u.find_spec = lambda name, *a: None if name == 'ml_dtypes' else find(name, *a)\n"
    code += "import refnorm; refnorm.check('refnorm', dtypes=['bfloat16'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "TargetError: refnorm could not be judged: it takes" in done.stderr


def test_a_path_of_which_nothing_was_judged_does_not_conform_beside_one_that_does():
    cell = Cell("y, training", "float64", "ok", 0.1, 3)
    versions = {"refnorm": "0", "golden": "0", "target": "", "array": ""}
    good, empty = Path("good", (cell,), (), {}, 3), Path("empty", (), (), {}, 0)
    assert Report("both", "torch", (good,), versions, ("float64",)).conforms
    report = Report("both", "torch", (good, empty), versions, ("float64",))
    assert (report.conforms, report.judged) == (False, False)
    assert "empty: not judged: no case applies" in str(report)
    assert "good conforms, empty not judged" in str(report)
    assert not Report("none", "torch", (), versions, ("float64",)).conforms
    assert report.to_dict()["conforms"] is False


def test_a_folder_of_which_no_case_applies_is_refused(tmp_path, monkeypatch):
    export(tmp_path, dtypes=["float32"])
    row = SimpleNamespace(name="none", ranks=())
    monkeypatch.setattr("refnorm.oracle.outputs.row_called", lambda _: row)
    with pytest.raises(TargetError, match="no case has a rank that none accepts"):
        judge(tmp_path)


def test_statistics_that_are_none_are_refused_and_not_taken_for_zero():
    x = np.array([[1.0], [2.0]])
    for call in (
        lambda: refnorm.batch_norm_inference(x, None, None),
        lambda: refnorm.batch_norm_inference(x, x[0], None),
        lambda: refnorm.batch_norm_inference_backward(x, x, None, x[0]),
        lambda: refnorm.batch_norm_inference_jvp(x, None, None, x, None, x[0]),
        lambda: refnorm.batch_norm_inference_double_backward(x, None, None, x, x, x[0], None),
    ):
        with pytest.raises(TypeError, match=r"running_(mean|var) must be an array .*, got NoneType"):
            call()
