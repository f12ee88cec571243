"""Does `refnorm.gradcheck` pass what is right, object to what is wrong, and say when it cannot tell?

Verified here: right pairs pass on every seed tried, by differences and by the complex step, at mean/std up to 1e5 and
scales from 1e-4 to 1e4, batch norm or not; every mistake of a list is convicted, at the input where it is, by both
roads, down to one part in 10^7; each classic trap is named; the estimate of the error covers the error.

Not verified: that the error of a numerical derivative is bounded; it is an estimate, and a function can be built that
fools it. Functions of more than a few hundred elements.
"""

import subprocess
import sys

import numpy as np
import pytest
from scipy.differentiate import derivative

import refnorm
from refnorm import batch_norm_training, batch_norm_training_backward, gradcheck
from refnorm.gradients.numerical import central_differences, complex_step, element, extrapolated, first_step

SAMPLED = 4  # one in so many; see conftest.py


def plain(x, gamma, beta, eps=1e-5):
    """Batch norm as everyone writes it."""
    centred = x - x.mean(axis=0)
    inv_std = 1 / np.sqrt((centred**2).mean(axis=0) + eps)
    x_hat = centred * inv_std
    return gamma * x_hat + beta, (x_hat, inv_std, gamma)


def plain_backward(dy, cache):
    x_hat, inv_std, gamma = cache
    dx = gamma * inv_std * (dy - dy.mean(axis=0) - x_hat * (dy * x_hat).mean(axis=0))
    return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return (p := e / e.sum(axis=1, keepdims=True)), p


def softmax_backward(dy, p):
    return p * (dy - (dy * p).sum(axis=1, keepdims=True))


def layer(x, w):
    return (y := np.tanh(x @ w)), (x, w, y)


def layer_backward(dy, cache):
    x, w, y = cache
    inner = dy * (1 - y**2)
    return inner @ w.T, x.T @ inner


def real_only(forward):
    """Take away the complex step."""

    def refuses(*inputs):
        if any(np.iscomplexobj(array) for array in inputs):
            raise TypeError("complex input")
        return forward(*inputs)

    return refuses


def inputs(seed, m=6, ratio=1.0, scale=(1.0, 1.0, 1.0)):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((m, 3)) + ratio * rng.choice([-1, 1], 3)) * scale
    return x, rng.standard_normal(3) + 2, rng.standard_normal(3)


ROADS = {"complex step": lambda forward: forward, "differences": real_only}
every_road = pytest.mark.parametrize("road", ROADS)


@every_road
@pytest.mark.parametrize("seed", range(6))
def test_right_pairs_pass(road, seed):
    rng = np.random.default_rng(seed)
    m, ratio, scale = int(rng.integers(3, 9)), 10.0 ** rng.integers(-2, 5), 10.0 ** rng.integers(-4, 5)
    x, gamma, beta = inputs(seed, m, ratio, scale)
    some = rng.standard_normal((4, 3))
    for forward, backward, arguments in (
        (batch_norm_training, batch_norm_training_backward, (x, gamma, beta)),
        (plain, plain_backward, (x, gamma, beta)),
        (softmax, softmax_backward, (some,)),
        (layer, layer_backward, (some, rng.standard_normal((3, 2)))),
    ):
        verdict = gradcheck(ROADS[road](forward), backward, *arguments, seed=seed)
        assert verdict.passed, str(verdict)
        assert {c.method for c in verdict.comparisons} == {road}
        assert all(c.checked == c.size for c in verdict.comparisons)


@pytest.mark.parametrize("seed", range(12))
def test_hard_inputs_are_never_called_wrong(seed):
    """Channels of one input that differ by eight orders of magnitude, two values, float32 inside: it may not know."""
    rng = np.random.default_rng(seed)
    x, gamma, beta = inputs(seed, int(rng.integers(2, 5)), 10.0 ** rng.integers(0, 6), 10.0 ** rng.integers(-4, 5, 3))

    def narrow(x, gamma, beta):
        return plain(*(array.astype(np.float32) for array in (x, gamma, beta)), eps=np.float32(1e-5))

    for forward in (plain, real_only(plain), real_only(narrow)):
        verdict = gradcheck(forward, plain_backward, x, gamma, beta, seed=seed)
        assert verdict.status != "wrong", str(verdict)


def scaled(which, factor):
    def backward(dy, cache):
        gradients = list(plain_backward(dy, cache))
        gradients[which] = gradients[which] * factor
        return gradients

    return backward


def no_mean_term(dy, cache):
    x_hat, inv_std, gamma = cache
    dx = gamma * inv_std * (dy - x_hat * (dy * x_hat).mean(axis=0))
    return dx, *plain_backward(dy, cache)[1:]


def no_variance_term(dy, cache):
    _, inv_std, gamma = cache
    return gamma * inv_std * (dy - dy.mean(axis=0)), *plain_backward(dy, cache)[1:]


def unbiased_variance_term(dy, cache):
    x_hat, inv_std, gamma = cache
    m = len(dy)
    dx = gamma * inv_std * (dy - dy.mean(axis=0) - x_hat * (dy * x_hat).sum(axis=0) / (m - 1))
    return dx, *plain_backward(dy, cache)[1:]


def one_element(dy, cache):
    dx, dgamma, dbeta = plain_backward(dy, cache)
    dx[2, 1] *= 1.001
    return dx, dgamma, dbeta


MISTAKES = {
    "no-mean-term": (no_mean_term, 0),
    "no-variance-term": (no_variance_term, 0),
    "unbiased-variance-term": (unbiased_variance_term, 0),
    "one-element": (one_element, 0),
    "dx-off-by-1e-7": (scaled(0, 1 + 1e-7), 0),
    "dgamma-off-by-1e-7": (scaled(1, 1 + 1e-7), 1),
    "dbeta-mean": (scaled(2, 1 / 6), 2),
    "dx-sign": (scaled(0, -1), 0),
}


@every_road
@pytest.mark.parametrize(("backward", "at"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_convicted_where_they_are(road, backward, at):
    verdict = gradcheck(ROADS[road](plain), backward, *inputs(1), names=["x", "gamma", "beta"])
    statuses = [c.status for c in verdict.comparisons[:3]]
    assert statuses == ["wrong" if k == at else "right" for k in range(3)], str(verdict)
    assert verdict.status == "wrong"
    assert not verdict.passed
    assert verdict.comparisons[at].error > verdict.comparisons[at].bound


def test_the_worst_element_is_named():
    verdict = gradcheck(plain, one_element, *inputs(2))
    assert verdict.comparisons[0].index == (2, 1)
    assert "1 of 18 elements" in verdict.comparisons[0].reason


def test_a_common_factor_is_named():
    assert (
        "every one is 0.166667 times the derivative"
        in gradcheck(plain, scaled(2, 1 / 6), *inputs(3)).comparisons[2].reason
    )
    assert "every one is -1 times" in str(gradcheck(plain, scaled(0, -1), *inputs(3))).replace("\n  ", " ")


@every_road
def test_the_adjoint_identity_sees_what_no_moved_element_shows(road):
    """With one element of each input moved, a mistake elsewhere is seen by <dy, J v> alone."""
    x, gamma, beta = inputs(4, m=40)
    verdict = gradcheck(ROADS[road](plain), one_element, x, gamma, beta, elements=1, seed=1)
    *own, adjoint = verdict.comparisons
    assert [c.checked for c in own] == [1, 1, 1]
    assert own[0].index != (2, 1)
    assert [c.status for c in own] == ["right"] * 3
    assert adjoint.name == "<dy, J v>"
    assert adjoint.status == "wrong"


def test_a_jvp_is_compared_as_well():
    x, gamma, beta = inputs(5)

    def jvp(dx, dgamma, dbeta, saved):
        return refnorm.batch_norm_training_jvp(dx, dgamma, dbeta, saved)

    def wrong(dx, dgamma, dbeta, saved):
        return jvp(dx, dgamma, dbeta, saved) * (1 + 1e-9)

    def short(dx, dgamma, dbeta, saved):
        return jvp(dx, dgamma, dbeta, saved)[:-1]

    pair = (batch_norm_training, batch_norm_training_backward, x, gamma, beta)
    assert gradcheck(*pair, jvp=jvp).comparisons[-1].status == "right"
    assert gradcheck(*pair, jvp=wrong).comparisons[-1].status == "wrong"
    assert "expected (6, 3)" in gradcheck(*pair, jvp=short).comparisons[-1].reason


# Traps


def test_a_constant_upstream_cannot_tell_and_is_named():
    verdict = gradcheck(
        lambda x: plain(x, 1.0, 0.0), lambda dy, c: no_mean_term(dy, c)[0] * 0, inputs(6)[0], dy=np.ones((6, 3))
    )
    assert verdict.status == "cannot tell"
    assert any("dy is constant" in note for note in verdict.notes)


def test_a_sum_as_output_cannot_tell_and_is_named():
    def summed(x):
        y, cache = plain(x, 1.0, 0.0)
        return y.sum(), cache

    verdict = gradcheck(summed, lambda dy, cache: plain_backward(dy * np.ones((6, 3)), cache)[0], inputs(7)[0])
    assert verdict.status == "cannot tell"
    assert any("sum(BN(x))" in note for note in verdict.notes)


@every_road
def test_a_batch_of_two_is_named_and_resolved_all_the_same(road):
    x, gamma, beta = inputs(8, m=2)
    verdict = gradcheck(ROADS[road](plain), plain_backward, x, gamma, beta, names=["x", "gamma", "beta"])
    assert verdict.passed, str(verdict)
    assert any(note.startswith("x hardly moves y") and "batch of two" in note for note in verdict.notes)
    assert gradcheck(ROADS[road](plain), no_variance_term, x, gamma, beta).status == "wrong"


def test_eps_as_large_as_the_variance_is_resolved():
    """Steps follow the spread of y, so x of 1e-3 with eps = 1e-6 is as good as any other."""
    x, gamma, beta = inputs(9, scale=1e-3)

    def forward(x, gamma, beta):
        return plain(x, gamma, beta, eps=1e-6)

    def without_eps(dy, cache):
        x_hat, inv_std, gamma = cache
        bare = 1 / np.sqrt(1 / inv_std**2 - 1e-6)
        dx = gamma * bare * (dy - dy.mean(axis=0) - x_hat * (dy * x_hat).mean(axis=0))
        return dx, *plain_backward(dy, cache)[1:]

    for road in ROADS.values():
        assert gradcheck(road(forward), plain_backward, x, gamma, beta).passed
        assert gradcheck(road(forward), without_eps, x, gamma, beta).status == "wrong"


@pytest.mark.parametrize("hidden", [False, True])
def test_float32_inside_is_noticed(hidden):
    def narrow(x, gamma, beta):
        y, cache = plain(*(array.astype(np.float32) for array in (x, gamma, beta)), eps=np.float32(1e-5))
        return (y.astype(np.float64) if hidden else y), cache

    verdict = gradcheck(real_only(narrow), plain_backward, *inputs(10))
    assert verdict.status == "cannot tell", str(verdict)
    expected = "somewhere it computes in fewer digits" if hidden else "y is float32"
    assert any(expected in note for note in verdict.notes)


def test_float32_inputs_are_widened():
    x, gamma, beta = (array.astype(np.float32) for array in inputs(11))
    assert gradcheck(plain, plain_backward, x, gamma, beta).passed


def test_state_that_changes_y_between_calls_is_noticed():
    calls = []

    def stateful(x, gamma, beta):
        calls.append(1)
        return plain(x, gamma + 0.1 * len(calls), beta)

    verdict = gradcheck(stateful, plain_backward, *inputs(12))
    assert verdict.status == "cannot tell"
    assert "keeps state" in verdict.comparisons[0].reason


def test_a_backward_that_reads_state_of_the_latest_forward_is_noticed():
    latest = {}

    def forward(x, gamma, beta):
        y, latest["cache"] = plain(x, gamma, beta)
        return y, None

    verdict = gradcheck(forward, lambda dy, _: plain_backward(dy, latest["cache"]), *inputs(13))
    assert any("reads state" in note for note in verdict.notes)


def test_writing_to_arguments_is_noticed_and_harms_nothing():
    def greedy(x, gamma, beta):
        y, cache = plain(x, gamma, beta)
        x += 1
        return y, cache

    def greedy_backward(dy, cache):
        gradients = plain_backward(dy, cache)
        dy *= 2
        return gradients

    arrays = inputs(14)
    kept = [array.copy() for array in arrays]
    verdict = gradcheck(greedy, greedy_backward, *arrays)
    assert verdict.passed
    assert [note.split(";")[0] for note in verdict.notes] == ["forward writes to its inputs", "backward writes to dy"]
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_a_complex_step_through_conj_is_not_believed():
    """np.var multiplies by the conjugate: the complex step sees no gradient through the variance, as some students."""

    def forward(x, gamma, beta):
        x_hat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
        return gamma * x_hat + beta, plain(x.real, gamma.real, beta)[1]

    verdict = gradcheck(forward, plain_backward, *inputs(15))
    assert verdict.passed, str(verdict)
    assert verdict.comparisons[0].method == "differences"
    assert any("not analytic" in note for note in verdict.notes)
    assert gradcheck(forward, no_variance_term, *inputs(15)).status == "wrong"


def test_a_bias_before_normalisation_cannot_be_told_from_nothing():
    def forward(x, bias):
        return plain(x + bias, 1.0, 0.0)

    def backward(dy, cache):
        dx = plain_backward(dy, cache)[0]
        return dx, dx.sum(axis=0)

    verdict = gradcheck(forward, backward, inputs(16)[0], np.ones(3), names=["x", "bias"])
    assert [c.status for c in verdict.comparisons[:2]] == ["right", "cannot tell"]
    assert any(note.startswith("bias hardly moves y") for note in verdict.notes)


def test_nothing_passes_because_it_is_small():
    """Gradients of 1e-12: a floor of 1e-8, as is usual, would let anything pass."""
    x, gamma, _ = inputs(17)
    small = gamma * 1e-12
    assert gradcheck(plain, plain_backward, x, small, np.zeros(3)).passed
    verdict = gradcheck(plain, no_variance_term, x, small, np.zeros(3))
    assert verdict.comparisons[0].status == "wrong"
    assert verdict.comparisons[0].error < 1e-11


def test_a_function_that_is_not_smooth_here_is_not_called_right():
    """|x| at 0 has no derivative; 0 is what central differences give."""
    verdict = gradcheck(lambda x: (np.sqrt(x * x), x), lambda dy, x: dy * np.sign(x), np.array([0.0, 1.0, -2.0]))
    assert verdict.comparisons[0].status in ("right", "cannot tell")  # 0 is a subgradient
    step = gradcheck(real_only(lambda x: (np.floor(x) + x, x)), lambda dy, x: dy, np.array([1.0, 2.5, -2.5]))
    assert step.comparisons[0].status != "right"


def test_relu_passes_away_from_its_kink():
    x = np.random.default_rng(18).standard_normal((4, 3))
    assert gradcheck(lambda x: (np.maximum(x, 0), x), lambda dy, x: dy * (x > 0), x).passed


# The estimate


@pytest.mark.parametrize("seed", range(4))
def test_the_estimated_error_covers_the_error(seed):
    """Of functions whose derivative is known: the estimate is what verdicts rest on."""
    rng = np.random.default_rng(seed)
    x, weights = rng.standard_normal(8) * 10.0 ** rng.integers(-3, 4), rng.standard_normal(8)
    for f, slope in (
        (np.sin, np.cos),
        (np.exp, np.exp),
        (np.arctan, lambda x: 1 / (1 + x * x)),
        (np.square, lambda x: 2 * x),
    ):
        x = np.clip(x, -30, 30)
        y, noise = f(x), 2.0**-52 * np.abs(f(x)) + 2.0**-52 * np.abs(slope(x) * x)
        steps = [first_step(lambda inputs, f=f: f(inputs[0]), y, [x], 0, i) for i in range(8)]
        moves = [element([x], 0, i, step) for i, step in enumerate(steps)]
        truth = weights * slope(x) * steps
        found = central_differences(lambda inputs, f=f: f(inputs[0]), y, weights, noise, moves, np.zeros(8))
        assert np.all(np.abs(found.value - truth) <= found.error), (f, np.abs(found.value - truth) / found.error)
        stepped = complex_step(lambda inputs, f=f: f(inputs[0]), weights, 2.0**-53, moves)
        assert np.all(np.abs(stepped.value - truth) <= stepped.error)


@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-6])
@pytest.mark.parametrize("f", [np.sin, np.exp, np.arctan, np.abs, lambda t: 1 / (1 + 25 * t * t), lambda t: 0 * t])
def test_central_differences_are_scipys(f, noise):
    """Of functions that are smooth, that have a kink, and that bend too fast for the first step."""

    def noisy(t):
        return f(t + 0.3) + noise * np.sin(1e9 * t)

    atol = 4 * noise + 1e-14
    value, error, smallest = extrapolated(lambda t: float(noisy(t) - noisy(-t)) / (2 * t), atol)
    scipys = derivative(noisy, 0.0, initial_step=1.0, tolerances={"atol": atol, "rtol": 2.0**-40})
    rounding = 2.0**-50 / smallest
    assert abs(value - scipys.df) <= rounding
    assert abs(error - scipys.error) <= 2 * rounding
    assert smallest == 2.0 ** -(scipys.nit + 3)


def test_central_differences_of_what_overflows_are_not_finite():
    value, _, smallest = extrapolated(lambda t: np.inf, 0.0)
    assert np.isnan(value)
    assert smallest == 2.0**-4  # and it was not tried again


# Arguments and results


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.arange(3),), {}, TypeError, "input 0 is int64, expected a real floating-point array"),
        ((np.ones(3, complex),), {}, TypeError, "input 0 is complex128"),
        ((["a"],), {}, TypeError, "input 0 is <U1"),
        ((np.array([1.0, np.nan]),), {}, ValueError, "holds NaN or inf"),
        ((np.zeros((0, 2)),), {}, ValueError, r"shape \(0, 2\) is empty"),
        ((), {}, ValueError, "at least one input"),
        ((np.ones(3),), {"names": ["a", "b"]}, ValueError, "1 inputs and 2 names"),
        ((np.ones(3),), {"dy": np.ones(2)}, ValueError, r"dy has shape \(2,\), expected \(3,\)"),
    ],
)
def test_bad_arguments_are_refused_in_words(arguments, options, error, message):
    with pytest.raises(error, match=message):
        gradcheck(lambda x: (x, None), lambda dy, _: dy, *arguments, **options)


def test_results_of_the_wrong_form_are_refused_in_words():
    x = np.ones(3)
    with pytest.raises(TypeError, match="forward must return y, cache; it returned ndarray"):
        gradcheck(lambda x: x, lambda dy, _: dy, x)
    with pytest.raises(TypeError, match="returned 2 gradients, expected one for each of 1 inputs"):
        gradcheck(lambda x: (x, None), lambda dy, _: (dy, dy), x)


def test_a_gradient_of_the_wrong_shape_is_wrong_and_one_that_is_missing_is_not_told():
    x, gamma, beta = inputs(19)

    def not_summed(dy, cache):
        dx, _, dbeta = plain_backward(dy, cache)
        return dx, dy * cache[0], dbeta

    def missing(dy, cache):
        return plain_backward(dy, cache)[0], None, None

    verdict = gradcheck(plain, not_summed, x, gamma, beta)
    assert verdict.comparisons[1].status == "wrong"
    assert "has shape (6, 3), expected (3,)" in verdict.comparisons[1].reason
    assert [c.status for c in gradcheck(plain, missing, x, gamma, beta).comparisons] == [
        "right",
        "cannot tell",
        "cannot tell",
        "right",
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_wrong(value):
    def broken(dy, cache):
        dx, dgamma, dbeta = plain_backward(dy, cache)
        dx[0, 0] = value
        return dx, dgamma, dbeta

    verdict = gradcheck(plain, broken, *inputs(20))
    assert verdict.comparisons[0].status == "wrong"
    assert verdict.comparisons[0].index == (0, 0)


def test_an_output_that_is_not_finite_cannot_be_told():
    verdict = gradcheck(lambda x: (x + np.inf, None), lambda dy, _: dy, np.ones(3))
    assert verdict.comparisons[0].reason == "y is not finite at these inputs"


def test_a_verdict_prints_what_there_is_to_know():
    text = str(gradcheck(plain, scaled(0, -1), *inputs(21), names=["x", "gamma", "beta"], seed=7))
    head, row = text.splitlines()[:2]
    assert head.split() == ["gradient", "status", "analytic", "numeric", "error", "estimate", "bound"]
    assert row.startswith("x           wrong ")
    assert "worst of 18, complex step" in row
    assert text.splitlines()[-1] == "wrong (seed 7)"
    assert gradcheck(plain, plain_backward, *inputs(21)).to_dict()["status"] == "right"


def test_x_drawn_with_the_same_seed_is_not_the_upstream_gradient():
    """dy = x would be annihilated, right or wrong: a gradient of eps is left."""
    x = np.random.default_rng(0).standard_normal((6, 3))
    assert gradcheck(plain, plain_backward, x, np.ones(3), np.zeros(3), seed=0).passed
    assert gradcheck(plain, no_variance_term, x, np.ones(3), np.zeros(3), seed=0).status == "wrong"


def test_the_seed_decides_everything_random():
    a, b, c = (str(gradcheck(plain, plain_backward, *inputs(22), seed=seed)) for seed in (1, 1, 2))
    assert a == b != c


def test_importing_refnorm_does_not_import_scipy():
    code = "import sys, refnorm; sys.exit('scipy' in sys.modules or not callable(refnorm.gradcheck))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
