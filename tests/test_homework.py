"""A homework file in CS231n's signatures, as it is: right, and with the errors that students make.

The file below was written for this test from the assignment's description: rank 2, statistics in the dictionary
bn_param, momentum the weight of the old value, biased running variance. Each error is one replacement; verified is that
`refnorm check` and `refnorm gradcheck` accept the file by its path alone, pass it when it is right, exit with 1 when it
is not, and name the error. Errors that no gradient shows are right for `gradcheck`, and it must not say otherwise.

Not verified: half precision and mixed formats, which the assignment does not have.
"""

import ast
import contextlib
import io
import re

import pytest
from tutorial_pages import FENCE, FOLDER, PAGES

from refnorm.cli import main

SAMPLED = True  # see conftest.py

HOMEWORK = """\
import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    mode = bn_param["mode"]
    eps = bn_param.get("eps", 1e-5)
    momentum = bn_param.get("momentum", 0.9)

    N, D = x.shape
    running_mean = bn_param.get("running_mean", np.zeros(D, dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(D, dtype=x.dtype))

    out, cache = None, None
    if mode == "train":
        sample_mean = np.mean(x, axis=0)
        sample_var = np.var(x, axis=0)
        x_norm = (x - sample_mean) / np.sqrt(sample_var + eps)
        out = gamma * x_norm + beta
        running_mean = momentum * running_mean + (1 - momentum) * sample_mean
        running_var = momentum * running_var + (1 - momentum) * sample_var
        cache = (x, x_norm, gamma, sample_mean, sample_var, eps)
    elif mode == "test":
        x_norm = (x - running_mean) / np.sqrt(running_var + eps)
        out = gamma * x_norm + beta

    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return out, cache


def batchnorm_backward(dout, cache):
    x, x_norm, gamma, mean, var, eps = cache
    N = x.shape[0]
    std_inv = 1.0 / np.sqrt(var + eps)
    dx_norm = dout * gamma
    dvar = np.sum(dx_norm * (x - mean) * -0.5 * std_inv**3, axis=0)
    dmean = np.sum(-dx_norm * std_inv, axis=0) + dvar * np.mean(-2.0 * (x - mean), axis=0)
    dx = dx_norm * std_inv + dvar * 2.0 * (x - mean) / N + dmean / N
    dgamma = np.sum(dout * x_norm, axis=0)
    dbeta = np.sum(dout, axis=0)
    return dx, dgamma, dbeta
"""

ALTERNATIVE = """\


def batchnorm_backward_alt(dout, cache):
    x, x_norm, gamma, mean, var, eps = cache
    N = x.shape[0]
    dgamma = np.sum(dout * x_norm, axis=0)
    dbeta = np.sum(dout, axis=0)
    dx = gamma / np.sqrt(var + eps) / N * (N * dout - dbeta - x_norm * dgamma)
    return dx, dgamma, dbeta
"""


def run(command, directory, source, name="layers.py"):
    (directory / name).write_text(source, encoding="utf-8")
    formats = ["--dtypes", "float64"] if command == "check" else []  # the format that the assignment computes in
    said = io.StringIO()
    with contextlib.chdir(directory), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main([command, name, *formats])
    assert "Traceback" not in said.getvalue()
    return status, " ".join(said.getvalue().split())


@pytest.mark.parametrize("source", [HOMEWORK, HOMEWORK + ALTERNATIVE], ids=["one-backward", "with-alternative"])
def test_a_right_homework_passes_both(source, tmp_path):
    status, text = run("check", tmp_path, source)
    assert status == 0, text
    assert "judged as cs231n" in text
    assert "conforms" in text
    status, text = run("gradcheck", tmp_path, source)
    assert status == 0, text
    assert text.endswith("right: every gradient is the derivative of its forward")
    assert ("backward_alt, training, ordinary" in text) == (source != HOMEWORK)


def test_what_the_assignment_does_not_ask_for_is_not_judged(tmp_path):
    _, text = run("check", tmp_path, HOMEWORK)
    assert "frozen gradients not offered" in text
    forward_only = HOMEWORK[: HOMEWORK.index("def batchnorm_backward")]
    status, text = run("check", tmp_path, forward_only, "forward_only.py")
    assert status == 0, text
    assert "not judged: dx, dgamma, dbeta, frozen gradients, jvp, double backward" in text
    status, text = run("gradcheck", tmp_path, forward_only, "forward_only.py")
    assert status == 2
    assert "no backward for a forward" in text


def test_a_homework_that_is_not_written_yet_is_told_so_once(tmp_path):
    skeleton = HOMEWORK[: HOMEWORK.index("def batchnorm_backward")]
    skeleton += "def batchnorm_backward(dout, cache):\n    raise NotImplementedError('write me')\n"
    status, text = run("gradcheck", tmp_path, skeleton)
    assert status == 2, text
    assert text.count("not offered: NotImplementedError: write me") == 1
    assert "training, ordinary; training, two values; training, eps like the variance; training, large mean: " in text


MEAN, VAR = (
    "momentum * running_mean + (1 - momentum) * sample_mean",
    "momentum * running_var + (1 - momentum) * sample_var",
)
ERRORS = {  # replacements; what check names; what gradcheck names, or None where gradients are right
    "gamma-forgotten": (
        [("dx_norm = dout * gamma", "dx_norm = dout")],
        "gamma is missing in dx",
        "gamma is missing in dx",
    ),
    "variance-path-forgotten": (
        [("dx_norm * std_inv + dvar * 2.0 * (x - mean) / N + dmean / N", "dx_norm * std_inv + dmean / N")],
        "no gradient flows through the variance",
        "no gradient flows through the variance",
    ),
    "mean-path-forgotten": (
        [("+ dvar * 2.0 * (x - mean) / N + dmean / N", "+ dvar * 2.0 * (x - mean) / N")],
        "no gradient flows through the mean",
        "no gradient flows through the mean",
    ),
    "dgamma-not-summed": (
        [("np.sum(dout * x_norm, axis=0)", "dout * x_norm")],
        "dgamma is not summed over the batch",
        "dgamma: the gradient has shape (7, 3), expected (3,)",
    ),
    "momentum-swapped": (
        [
            (MEAN, "(1 - momentum) * running_mean + momentum * sample_mean"),
            (VAR, "(1 - momentum) * running_var + momentum * sample_var"),
        ],
        "momentum weighs the other one",
        None,
    ),
    "eps-outside-the-root": (
        [("np.sqrt(sample_var + eps)", "(np.sqrt(sample_var) + eps)")],
        "eps is added outside the root",
        "eps is added outside the root",
    ),
    "batch-statistics-at-test-time": (
        [
            (
                "(x - running_mean) / np.sqrt(running_var + eps)",
                "(x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)",
            )
        ],
        "inference normalises by the batch's own statistics",
        None,
    ),
    "unbiased-variance": (
        [("np.var(x, axis=0)", "np.var(x, axis=0, ddof=1)")],
        "the unbiased variance, m/(m - 1), normalises where the biased one belongs",
        "the unbiased variance, m/(m - 1), normalises",
    ),
}


@pytest.mark.parametrize(("changes", "named", "gradient"), ERRORS.values(), ids=ERRORS)
def test_each_error_gets_its_verdict(changes, named, gradient, tmp_path):
    source = HOMEWORK
    for before, after in changes:
        assert source.count(before) == 1
        source = source.replace(before, after)
    status, text = run("check", tmp_path, source)
    assert status == 1
    assert named in text
    status, text = run("gradcheck", tmp_path, source)
    assert status == (1 if gradient else 0), text
    assert (gradient or "right: every gradient") in text


@pytest.mark.rest  # see conftest.py
def test_an_error_in_the_alternative_alone_is_found_there(tmp_path):
    source = HOMEWORK + ALTERNATIVE.replace("- x_norm * dgamma", "")
    status, text = run("gradcheck", tmp_path, source)
    assert status == 1
    assert "backward, training, ordinary right" in text
    assert "wrong: backward_alt, training, ordinary;" in text
    status, text = run("check", tmp_path, source)
    assert status == 1
    assert "backward conforms, backward_alt deviates" in text


SKELETON = (FOLDER / "my_homework.py").read_text(encoding="utf-8")
FINISHED = next(
    fence[0].partition("\n")[2].rpartition("\n")[0]
    for fence in FENCE.finditer(PAGES["solutions.md"])
    if "def batchnorm_forward" in fence[0]
)


def test_the_file_that_a_reader_copies_is_not_judged_before_it_is_written(tmp_path):
    status, text = run("check", tmp_path, SKELETON, "my_homework.py")
    assert status == 2, text
    assert "no result came; what has not been judged does not conform" in text
    assert "conforms to" not in text
    status, text = run("gradcheck", tmp_path, SKELETON, "my_homework.py")
    assert status == 2, text
    assert text.count("not offered: NotImplementedError: training: mean, variance, y") == 1


@pytest.mark.parametrize("command", ["check", "gradcheck"])
def test_the_solution_of_the_file_passes_both_and_with_an_error_neither(command, tmp_path):
    assert run(command, tmp_path, FINISHED, "my_homework.py")[0] == 0
    wrong = FINISHED.replace(" - x_hat * dgamma / m", "")
    assert wrong != FINISHED
    status, text = run(command, tmp_path, wrong, "my_homework.py")
    assert status == 1
    assert "no gradient flows through the variance" in text


def test_the_solution_fills_in_the_file_and_changes_no_signature():
    def signatures(source):
        nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        return {node.name: [argument.arg for argument in node.args.args] for node in nodes}

    assert signatures(SKELETON) == signatures(FINISHED)
    raised = re.findall(r"^ *raise NotImplementedError.*\n", SKELETON, re.MULTILINE)
    assert len(raised) == 3
    kept = [
        line for line in ast.unparse(ast.parse(SKELETON)).splitlines() if "bn_param.get(" in line or "if bn_" in line
    ]
    assert len(kept) == 4
    assert all(line in ast.unparse(ast.parse(FINISHED)) for line in kept)


def test_a_file_with_only_one_part_written_is_judged_by_that_part(tmp_path):
    inference = "        return gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta, None\n"
    first = re.search(r"^ *raise NotImplementedError\(\"inference.*\n", SKELETON, re.MULTILINE)[0]
    status, text = run("check", tmp_path, SKELETON.replace(first, inference), "my_homework.py")
    assert status == 0, text
    assert "not judged: y, training, running mean, running variance, dx, dgamma, dbeta" in text
    status, text = run("check", tmp_path, SKELETON.replace(first, inference.replace(" + eps", "")), "my_homework.py")
    assert status == 1
    assert "eps" in text
