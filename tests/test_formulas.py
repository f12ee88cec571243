"""Formulas that the oracle reads off numbers: in every format, from files, under circumstances, and never too eagerly.

Expected words are written by hand; mutants are `mutants.Correct` with one step changed. What random programs show is in
`test_random_programs`, the names in `test_mutants`. Not verified here: how a report is laid out (`test_oracle`).
"""

import json

import numpy as np
import pytest
from mutants import INVENTED, Correct, Own, count
from test_identify import Plain

import refnorm
from refnorm.conventions import ROWS
from refnorm.golden.inputs import case
from refnorm.oracle.circumstances import circumstances
from refnorm.oracle.measure.fit import multiplied, summed
from refnorm.oracle.report import Report

SAMPLED = True  # see conftest.py


def findings(implementation, dtypes=("float64",), convention="torch"):
    return {f.cause: f for f in refnorm.check(implementation, convention, dtypes=dtypes).findings}


class Inverse(Correct):
    """What x - mean is multiplied by is the function given."""

    def __init__(self, inverse):
        self.inverse = inverse


@pytest.mark.parametrize(
    ("inverse", "cause", "divisor"),
    [
        (lambda v, e: 1 / np.sqrt(v + 2e-5), "eps-ignored", "std^2 = var + 2e-05"),
        (lambda v, e: 1 / np.sqrt(v + 1e-12), "eps-ignored", "std^2 = var + 1e-12"),
        (lambda v, e: 1 / np.sqrt(v + 3 * e), "other-divisor", "std^2 = var + 3 eps"),
        (lambda v, e: 1 / np.sqrt(v / 7 + e), "other-divisor", "std^2 = 0.1428571 var + eps"),
        (lambda v, e: 1 / np.sqrt(v + e + 1e-3), "other-divisor", "std^2 = var + eps + 0.001"),
        (lambda v, e: 1 / (np.sqrt(v + e) + e), "eps-twice-outside", "std = sqrt(var + eps) + eps"),
    ],
)
def test_a_divisor_that_no_list_holds_is_printed(inverse, cause, divisor):
    found = findings(Inverse(inverse))[cause]
    assert divisor in found.measured.replace("running variance", "var")
    assert found.formula.endswith("+ eps")
    assert found.coefficients
    if cause != "eps-ignored":  # that is asked of it before the trial
        _, explained, _, failed, *_ = found.explains.split()
        assert explained == failed


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_narrow_format_alone_is_enough(dtype):
    class Sense(Correct):
        def blend(self, old, new, momentum, s):
            return super().blend(old, new, 1 - momentum, s)

    assert set(findings(Sense(), (dtype,))) == {"momentum-sense"}


def test_one_cause_is_one_finding_with_all_that_follows_from_it():
    class Unbiased(Correct):
        def moments(self, x):
            mean, var = super().moments(x)
            return mean, var * (count(x) / max(count(x) - 1, 1))

    found = findings(Unbiased())
    assert set(found) == {"normalised-by-unbiased-variance"}
    assert set(found.popitem()[1].quantities) == {"y, training", "running variance", "dx", "dgamma"}


def test_two_things_wrong_are_two_findings():
    class Both(Inverse):
        def scale(self, gamma, x, eps):
            return np.abs(super().scale(gamma, x, eps))

    assert {"eps-missing", "gamma-absolute"} <= set(findings(Both(lambda v, e: 1 / np.sqrt(v))))


def test_swapped_gradients_are_one_finding():
    found = findings(INVENTED["bwd_dgamma_dbeta_swapped"]())["parameter-gradients-swapped"]
    assert set(found.quantities) == {"dgamma", "dbeta", "frozen dgamma", "frozen dbeta"}


# Circumstances.


def where(holds):
    """Return an implementation that is right but where a condition on x holds: there eps counts twice."""

    class Sometimes(Correct):
        def forward(self, x, gamma, beta, mean, var, eps, frozen=False):
            return super().forward(x, gamma, beta, mean, var, eps * (1 + holds(x)), frozen)

    return Sometimes()


@pytest.mark.rest  # see conftest.py
@pytest.mark.parametrize(
    ("holds", "words"),
    [
        (lambda x: x.ndim == 3, "only for x of rank 3"),
        (lambda x: x.ndim > 2, "only for x with spatial axes"),
        (lambda x: x.shape[0] == x.shape[1], "only where N = C"),
        (lambda x: x.ndim > 2 and x.shape[-1] % 4 == 0, "only where the last axis is a multiple of 4"),
    ],
)
def test_a_formula_may_hold_in_a_circumstance_alone(holds, words):
    found = findings(where(holds))
    assert found["eps-twice"].title == f"eps is added twice: 1 / sqrt(var + 2 eps): {words}"


def test_where_everything_fails_nothing_is_a_circumstance():
    failed = [case(f"bn.training.float64.{name}.1") for name in ("rank-2", "small-eps", "large-eps", "default-eps")]
    assert circumstances(failed, []) == []


def test_a_state_that_is_kept_comes_first():
    class Counts(Correct):
        calls = 0

        def y(self, s):
            self.calls += 1
            return super().y(s) * (1 + 2.0**-20 * (self.calls % 2))

    assert refnorm.check(Counts(), "torch", dtypes=["float64"]).findings[0].cause == "not-repeatable"


# Fits.


def test_a_term_that_is_not_needed_is_left_out():
    rng = np.random.default_rng(0)
    a, b, c = rng.uniform(1, 2, (3, 30))
    noise = np.full(30, 1e-10)
    assert summed(a - 0.5 * c, noise, [[b, a], [c]]).terms == ((1, 1.0), (2, -0.5))
    assert summed(a, noise, [[b, a], [c]]).terms == ((1, 1.0),)
    assert summed(np.sin(a), noise, [[b, a], [c]]) is None


def test_a_product_is_found_with_its_sign_and_not_where_there_is_none():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(1, 2, (2, 30)) * rng.choice([-1, 1], (2, 30))
    noise = np.full(30, 1e-10)
    assert multiplied(-2 * a / b, noise, [[a, abs(a)], [b, 1 / b]]).terms == ((0, -2.0), (1, 1.0))
    assert multiplied(a + b, noise, [[a, abs(a)], [b, 1 / b]]) is None


# Where formulas are shown.


def test_a_report_carries_them_and_reads_them_again():
    report = refnorm.check(Inverse(lambda v, e: 1 / np.sqrt(v + 3 * e)), "torch", dtypes=["float64"])
    data = json.loads(json.dumps(report.to_dict()))
    found = data["findings"][0]
    assert found["coefficients"]["std^2: eps"] == 3
    assert Report.from_dict(data).findings[0] == report.findings[0]
    text = " ".join(str(report).split())
    assert f"measured {found['measured']}" in text
    assert f"expected {found['formula']}" in text


def test_right_ones_have_none():
    for right in (Correct(), Own()):
        assert not refnorm.check(right, "torch", dtypes=["float64", "float32"]).findings


@pytest.mark.parametrize("name", ["onnx", "caffe", "tf-keras", "haiku", "mxnet"])
def test_momentum_that_a_row_rounds_is_no_finding_and_the_other_variance_is_the_only_one(name):
    class Other(Plain):
        def factor(self, x):
            m = x.size // x.shape[1]
            return m / (m - 1) if m > 1 and not self.row.correction else 1.0

    other = findings(Other(ROWS[name]), convention=name)
    running = {cause for cause, f in other.items() if {"running mean", "running variance"} & set(f.quantities)}
    assert running == {f"running-variance-{'biased' if ROWS[name].correction else 'unbiased'}"}


def test_where_momentum_is_a_factor_on_sums_another_sense_is_not_called_the_other_one():
    found = findings(Plain(ROWS["keras"]), convention="haiku")
    assert "momentum-sense" not in found
    assert found["other-running-mean"].measured == "running mean = a running mean + (1 - a) mean"
    assert found["other-running-mean"].formula == "running mean = a/(1 + a) running mean + 1/(1 + a) mean"


class Cut(Correct):
    """y is cut to the 11 leading digits of half precision, towards 0, or bent towards 0 by as much."""

    def __init__(self, bent):
        self.bent = bent

    def y(self, s):
        y = super().y(s)
        if self.bent:
            return y * (1 - 2.0**-12 * np.abs(y) / (1 + np.abs(y)))
        digits, exponent = np.frexp(y)
        return np.ldexp(np.trunc(digits * 2.0**11) / 2.0**11, exponent)


def test_digits_that_are_cut_off_are_a_narrower_format_and_a_function_that_bends_is_not():
    assert set(findings(Cut(bent=False))) == {"computed-in-float16"}
    assert "computed-in-float16" not in findings(Cut(bent=True))


def test_one_gradient_that_is_the_other_is_not_called_swapped():
    class SumsAlone(Correct):
        def backward(self, dy, cache):
            dx, dgamma, dbeta = super().backward(dy, cache)
            total = dy.astype(np.float64).sum(tuple(a for a in range(dy.ndim) if a != 1))
            return dx, None if dgamma is None else total.astype(dgamma.dtype), dbeta

    found = findings(SumsAlone())
    assert "parameter-gradients-swapped" not in found
    assert found["dgamma-is-dbeta"].title == "dgamma is the sum of dy, which is dbeta"
