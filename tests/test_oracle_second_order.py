"""The oracle on jvp and double backward: refnorm conforms, other right formulas pass, mistakes are caught; torch, JAX.

Verified here: bounds are kept by formulas that share no code with refnorm's; every mutant is caught, those that are off
by one part in 10^9 (float64) included, and every mutant of `second_order_mutants` is called by its name and by no
other; NaN is seen where it arises, and nowhere else; what is recorded of JAX's jvp and double backward of
`jax.nn.standardize` and of Flax (torch: `test_frameworks`). Where they are not installed their tests are skipped, with
the reason; REFNORM_FRAMEWORKS=jax,flax makes them required.

Not verified: that bounds are as tight as they could be; other versions; GPUs.
"""

import numpy as np
import pytest
import second_order_mutants as by_name
from test_frameworks import SECOND, framework

import refnorm
from refnorm.conventions import CONVENTIONS
from refnorm.frameworks.reference import Reference
from refnorm.golden.directions import directions
from refnorm.golden.inputs import case as case_of
from refnorm.golden.inputs import cases
from refnorm.golden.truth import expected as all_expected
from refnorm.oracle.ask.target import as_target, load_target
from refnorm.oracle.check_gradients import cause_of, check_gradients, pairs
from refnorm.oracle.measure.known_second import seen_in
from refnorm.oracle.measure.second_terms import RIGHT
from refnorm.oracle.observe import observed
from refnorm.oracle.plan import planned
from refnorm.oracle.quantities import FURTHER
from refnorm.oracle.second_bounds import second_bounds
from refnorm.oracle.worlds import world

SAMPLED = True  # see conftest.py

ROW = CONVENTIONS["torch"]


class Plain(Reference):
    """The formulas as one writes them in NumPy, in the format of x."""

    def train(self, x, gamma, beta, running_mean, running_var, momentum, eps):
        results = super().train(x, gamma, beta, running_mean, running_var, momentum, eps)
        axes = tuple(a for a in range(x.ndim) if a != 1)
        centred = x - x.mean(axes, keepdims=True)
        var = (centred * centred).mean(axes, keepdims=True)
        return *results[:3], self.kept(x, gamma, centred, (1 / np.sqrt(var + eps)).astype(x.dtype), False)

    def frozen(self, x, gamma, beta, running_mean, running_var, eps):
        y, _ = super().frozen(x, gamma, beta, running_mean, running_var, eps)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        inv_std = 1 / np.sqrt(running_var.reshape(shape) + eps)
        return y, self.kept(x, gamma, x - running_mean.reshape(shape), inv_std.astype(running_var.dtype), True)

    def kept(self, x, gamma, centred, inv_std, frozen):
        axes, shape = tuple(a for a in range(x.ndim) if a != 1), (1, -1) + (1,) * (x.ndim - 2)
        scale = np.ones((), x.dtype) if gamma is None else gamma.reshape(shape)
        return x.dtype, gamma, scale, centred * inv_std, inv_std, axes, shape, frozen

    def backward(self, dy, cache):
        raise AssertionError("not asked for here")

    def rest(self, v, cache):
        _, _, _, x_hat, _, axes, _, frozen = cache
        if frozen:
            return v
        return v - v.mean(axes, keepdims=True) - x_hat * (v * x_hat).mean(axes, keepdims=True)

    def jvp(self, dx, dgamma, dbeta, cache):
        dtype, _, scale, x_hat, inv_std, _, shape, _ = cache
        dy = scale * inv_std * self.rest(dx, cache)
        dy = dy if dgamma is None else dy + dgamma.reshape(shape) * x_hat
        return (dy if dbeta is None else dy + dbeta.reshape(shape)).astype(dtype)

    def double_backward(self, ddx, ddgamma, ddbeta, dy, cache):
        dtype, gamma, scale, x_hat, inv_std, axes, shape, frozen = cache
        of_dy, of_ddx = self.rest(dy, cache), self.rest(ddx, cache)
        dx = np.zeros_like(dy) if ddgamma is None else ddgamma.reshape(shape) * inv_std * of_dy
        if not frozen:

            def mean(values):
                return values.mean(axes, keepdims=True)

            crossed = mean(ddx * x_hat) * of_dy + mean(dy * x_hat) * of_ddx + x_hat * mean(ddx * of_dy)
            dx = dx - scale * inv_std * inv_std * crossed
        dgamma = None if gamma is None else (ddx * of_dy * inv_std).sum(axes).astype(gamma.dtype)
        return self.jvp(ddx, ddgamma, ddbeta, cache), dx.astype(dtype), dgamma


def some(kinds=("float64", "float32")):
    """Choose cases that second order is judged on."""
    return [
        c
        for c in cases()
        if c.kind in kinds and c.finite and c.x.size and c.count > 1 and (c.eps or c.operation != "training")
    ]


def failures(implementation, chosen):
    """Return the second-order quantities that fail, with the cases."""
    found = {}
    for case in chosen:
        for o in observed(implementation, ROW, case):
            about = o.trouble.about if o.trouble else ""
            if (o.quantity in FURTHER or about in FURTHER) and not o.passed:
                found.setdefault(about or o.quantity, []).append(case.id)
    return found


class Ours(Reference):
    """refnorm without what is not judged here."""

    backward = None


def test_refnorm_conforms(dtype):
    report = refnorm.check("refnorm", dtypes=(dtype,))
    assert report.conforms, str(report)
    judged_rows = {cell.quantity for cell in report.paths[0].cells}
    assert set(FURTHER) <= judged_rows
    assert report.paths[0].not_judged == {}


@pytest.mark.rest  # see conftest.py
def test_other_right_formulas_pass():
    class Bare(Plain):
        backward = property()

    ordinary = [c for c in some() if c.situation.name not in ("subnormal-values", "large-values", "constant-channel")]
    found = failures(Bare(), ordinary)
    assert found == {}


def test_what_is_not_offered_is_not_judged():
    class Bare:
        infer = Reference().infer

    report = refnorm.check(Bare(), dtypes=["float64"])
    assert report.paths[0].not_judged["jvp"] == "not offered"
    assert report.paths[0].not_judged["double backward"] == "not offered"


def test_directions_are_never_constant_and_differ_from_dy():
    for case in some():
        moves = directions(case)
        assert np.ptp(moves.dx) > 0
        assert not np.array_equal(moves.dx, case.dy)
        assert (moves.dgamma is None) == (case.gamma is None)
        assert (moves.dbeta is None) == (case.beta is None)


def test_bounds_are_finite_wherever_a_formula_can_be_judged():
    ordinary = [c for c in some() if c.situation.name in ("rank-4", "two-values", "square", "variance-near-eps")]
    assert len(ordinary) > 6
    for case in ordinary:
        for name, bound in second_bounds(case, ROW).items():
            assert np.all(np.isfinite(bound)), (case.id, name)


def changed(**changes):
    """Return refnorm with results replaced: name of the result -> function of it and the arguments."""

    class Mutant(Reference):
        def jvp(self, dx, dgamma, dbeta, cache):
            result = super().jvp(dx, dgamma, dbeta, cache)
            return changes["jvp"](self, result, dx, dgamma, dbeta, cache) if "jvp" in changes else result

        def double_backward(self, ddx, ddgamma, ddbeta, dy, cache):
            results = super().double_backward(ddx, ddgamma, ddbeta, dy, cache)
            return changes["twice"](self, results, ddx, ddgamma, ddbeta, dy, cache) if "twice" in changes else results

    return Mutant()


def call(name):
    return getattr(Reference, name)


MUTANTS = {
    "jvp-off-by-1e-9": (changed(jvp=lambda s, r, *a: r * (1 + 1e-9)), {"jvp", "frozen jvp"}),
    "jvp-sign": (changed(jvp=lambda s, r, *a: -r), {"jvp", "frozen jvp"}),
    "jvp-without-dgamma": (
        changed(jvp=lambda s, r, dx, dg, db, c: call("jvp")(s, dx, None, db, c)),
        {"jvp", "frozen jvp"},
    ),
    "jvp-without-dbeta": (
        changed(jvp=lambda s, r, dx, dg, db, c: call("jvp")(s, dx, dg, None, c)),
        {"jvp", "frozen jvp"},
    ),
    "jvp-one-element": (
        changed(jvp=lambda s, r, *a: np.where(np.arange(r.size).reshape(r.shape) == 1, r * 1.001, r)),
        {"jvp", "frozen jvp"},
    ),
    "jvp-wide": (changed(jvp=lambda s, r, *a: r.astype(np.longdouble)), {"jvp", "frozen jvp"}),
    "double-backward-without-ddgamma": (
        changed(twice=lambda s, r, ddx, dg, db, dy, c: call("double_backward")(s, ddx, None, db, dy, c)),
        {f"{p}double backward {q}" for p in ("", "frozen ") for q in ("ddy", "dx")},
    ),
    "double-backward-dx-of-ddgamma-alone": (
        changed(
            twice=lambda s, r, ddx, dg, db, dy, c: (r[0], call("double_backward")(s, ddx * 0, dg, db, dy, c)[1], r[2])
        ),
        {"double backward dx"},
    ),
    "double-backward-dx-off-by-1e-9": (
        changed(twice=lambda s, r, *a: (r[0], r[1] * (1 + 1e-9), r[2])),
        {"double backward dx", "frozen double backward dx"},
    ),
    "double-backward-dgamma-off-by-1e-9": (
        changed(twice=lambda s, r, *a: (r[0], r[1], None if r[2] is None else r[2] * (1 + 1e-9))),
        {"double backward dgamma", "frozen double backward dgamma"},
    ),
    "double-backward-not-summed": (
        changed(twice=lambda s, r, *a: (r[0], r[1], None if r[2] is None else r[1])),
        {"double backward dgamma", "frozen double backward dgamma"},
    ),
}


@pytest.mark.parametrize(("mutant", "expected"), MUTANTS.values(), ids=MUTANTS)
def test_every_mutant_is_caught_where_it_is(mutant, expected):
    chosen = [
        c
        for c in some(("float64",))
        if c.situation.name in ("rank-4", "two-values", "square", "square-rank-2", "rank-2")
    ]
    assert set(failures(mutant, chosen)) == expected


# Causes by name.


@pytest.mark.parametrize("dtypes", [("float64",), None], ids=["float64", "all"])
@pytest.mark.parametrize("name", by_name.CORRECT)
def test_either_road_to_the_double_backward_conforms(name, dtypes):
    report = refnorm.check(by_name.CORRECT[name](), dtypes=dtypes)
    assert report.conforms, str(report)
    assert report.paths[0].not_judged == {}


@pytest.mark.parametrize("name", by_name.MUTANTS)
def test_a_mistake_is_called_by_its_name_and_by_no_other(name):
    mutant, true = by_name.MUTANTS[name]
    report = refnorm.check(mutant(), dtypes=["float64"])
    assert {finding.cause for finding in report.findings} == true, str(report)


@pytest.mark.rest  # see conftest.py
def test_products_rounded_to_half_are_named_and_those_in_full_precision_pass():
    report = refnorm.check(by_name.products_rounded(), dtypes=["float32", "float16"])
    (finding,) = report.findings
    assert (finding.kind, finding.cause) == ("numerics", "double-backward-products-rounded")
    assert {case.split(".")[3] for case in finding.cases} == {"mixed-precision", "half-overflow", "setting"}


def test_every_name_has_its_mutant():
    named = {cause for _, causes in by_name.MUTANTS.values() for cause in causes} | {"double-backward-products-rounded"}
    assert {known.name for known, _ in seen_in()} <= named


def test_a_mistake_and_the_forward_it_sits_on_are_told_apart():
    class Both(by_name.jvp_sign):
        def inverse(self, var, eps):
            return 1 / np.sqrt(var)

        def slope(self, var, eps):
            return -0.5 * var**-1.5

    report = refnorm.check(Both(), dtypes=["float64"])
    found = {finding.cause: set(finding.quantities) for finding in report.findings}
    assert set(found) == {"eps-missing", "second-order-sign"}
    assert found["second-order-sign"] == {"jvp", "frozen jvp"}


def test_the_vocabularys_own_formulas_are_right_where_nothing_deviates():
    for case in (c for c in some(("float64",)) if c.situation.name in ("rank-4", "rank-2", "gamma-absent")):
        exact = all_expected(case, ROW)
        for quantity in set(RIGHT) & set(exact):
            bound = second_bounds(case, ROW)[quantity]
            assert np.all(np.abs(RIGHT[quantity](world(case, ROW)) - exact[quantity].rounded()) <= bound), quantity


# NaN and inf.


def test_nan_shows_in_its_channel_alone_and_in_a_frozen_layer_in_its_element_alone():
    poisoned = [c for c in cases(dtype="float64") if c.situation.name in ("nan", "inf", "nan-upstream")]
    assert len(poisoned) == 6
    for case in poisoned:
        assert [o.trouble for o in observed(by_name.Forward(), ROW, case)] == [None], case.id
        convicted = {"training": by_name.nan_spreads_in_double_backward, "inference": by_name.nan_to_zero}
        if case.situation.name != "nan-upstream" or case.operation == "training":
            assert any(o.trouble for o in observed(convicted[case.operation](), ROW, case)), case.id


def test_raising_is_a_finding_and_stops_nothing_else():
    def refuse(*_):
        raise ValueError("no second order")

    report = refnorm.check(changed(twice=refuse), dtypes=["float64"])
    raised = [f for f in report.findings if f.cause == "raises"]
    assert [f.quantities for f in raised] == [("double backward ddy", "frozen double backward ddy", "NaN and inf")]
    assert "ValueError: no second order" in raised[0].title
    assert {c.state for c in report.paths[0].cells if c.quantity in ("jvp", "dx", "y, training")} == {"ok"}


def test_arguments_that_are_written_to_are_noticed():
    def writes(self, results, ddx, *_):
        if ddx.flags.writeable:
            ddx *= 2
        return results

    report = refnorm.check(changed(twice=writes), dtypes=["float64"])
    assert any(f.title == "double_backward wrote to its argument ddx" for f in report.findings)


# JAX


class Standardize:
    """JAX's `jax.nn.standardize`, scaled and shifted; derivatives by `jax.vjp` and `jax.jvp`.

    JAX has no running statistics: those are refnorm's, and not judged here.
    """

    def __init__(self, algorithm):
        self.algorithm = algorithm

    def apply(self, x, gamma, beta, eps):
        import jax

        axes, shape = tuple(a for a in range(x.ndim) if a != 1), (1, -1) + (1,) * (x.ndim - 2)
        y = jax.nn.standardize(x, axes, epsilon=eps, algorithm=self.algorithm)
        y = y if gamma is None else y * gamma.reshape(shape)
        return y if beta is None else y + beta.reshape(shape)

    def train(self, x, gamma, beta, running_mean, running_var, momentum, eps):
        import jax.numpy as jnp

        leaves = [None if a is None else jnp.asarray(a) for a in (x, gamma, beta)]
        return np.asarray(self.apply(*leaves, eps)), running_mean, running_var, (leaves, eps)

    def jvp(self, dx, dgamma, dbeta, cache):
        import jax
        import jax.numpy as jnp

        leaves, eps = cache
        moves = [None if d is None else jnp.asarray(d) for d in (dx, dgamma, dbeta)]
        along = jax.jit(lambda leaves, moves: jax.jvp(lambda *a: self.apply(*a, eps), leaves, moves)[1])
        return np.asarray(along(leaves, moves))

    def double_backward(self, ddx, ddgamma, ddbeta, dy, cache):
        import jax
        import jax.numpy as jnp

        leaves, eps = cache
        moves = tuple(None if d is None else jnp.asarray(d) for d in (ddx, ddgamma, ddbeta))

        def backward(dy, *leaves):
            return jax.vjp(lambda *a: self.apply(*a, eps), *leaves)[1](dy)

        twice = jax.jit(lambda dy, leaves, moves: jax.vjp(backward, dy, *leaves)[1](moves)[:3])
        results = twice(jnp.asarray(dy), leaves, moves)
        return tuple(None if result is None else np.asarray(result) for result in results)


@pytest.mark.parametrize("algorithm", ["stable", "fast"])
def test_jax_as_recorded(algorithm):
    """Right in both formats; with the default one-pass variance ("fast") digits are lost, as they are in y."""
    jax = framework("jax")
    names = ("two-values", "large-mean", "variance-near-eps", "gamma-absent")
    chosen = [c for c in some(("float64",)) if c.situation.name in names and c.operation == "training"]
    chosen += [c for c in some(("float32",)) if c.situation.name == "two-values" and c.operation == "training"]
    with jax.enable_x64(True):
        wrong = failures(Standardize(algorithm), chosen)
    lost = {quantity: {case.split(".")[3] for case in ids} for quantity, ids in wrong.items()}
    of_fast = {quantity: {"large-mean", "two-values"} for quantity in SECOND - {"double backward dx"}}
    assert lost == ({} if algorithm == "stable" else of_fast | {"double backward dx": {"large-mean"}})


def test_flax_as_recorded():
    """Linen's two-pass variance is right; NNX computes a frozen layer's mixed precision in half."""
    flax = framework("flax")
    if not flax.__version__.startswith("0.12."):
        pytest.skip(f"the record is of flax 0.12, this is {flax.__version__}")
    paths = load_target("flax").paths
    ids = ("two-values.1", "large-mean.3", "gamma-absent.1")
    chosen = [case_of(f"bn.training.float64.{id}") for id in ids]
    chosen += [case_of(f"bn.{of}.float16.mixed-precision.2") for of in ("training", "inference")]
    assert failures(paths["linen, two-pass"], chosen) == {}
    frozen = failures(paths["nnx, two-pass"], chosen)
    assert set(frozen) == {f"frozen {quantity}" for quantity in SECOND}
    assert {id for ids in frozen.values() for id in ids} == {"bn.inference.float16.mixed-precision.2"}


# gradcheck of implementations


@pytest.mark.slow  # by default tests/test_cli.py and tests/test_homework.py check all gradients of others
def test_gradcheck_covers_jvp_and_double_backward():
    report = check_gradients(load_target("refnorm"))
    assert report.passed, str(report)
    assert sum(title.startswith("double backward of") for title in report.verdicts) == 10
    assert all(
        v.comparisons[-1].name == "jvp" for t, v in report.verdicts.items() if not t.startswith(("double", "by shards"))
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("jvp-without-dgamma", marks=pytest.mark.slow),  # by default their causes are asked for, below
        pytest.param("double-backward-dx-of-ddgamma-alone", marks=pytest.mark.slow),
        pytest.param("double-backward-not-summed", marks=pytest.mark.slow),
    ],
)
def test_gradcheck_convicts_their_mistakes(name):
    mutant, _ = MUTANTS[name]
    report = check_gradients(as_target(mutant, "mutant"))
    wrong = {title for title, verdict in report.verdicts.items() if verdict.status == "wrong"}
    assert wrong
    assert all(title.startswith("double") == name.startswith("double") for title in wrong)


def plan(implementation, row):
    """Return how a box is judged by a row."""
    return planned(as_target(implementation), "", row, ("float64",))


@pytest.mark.parametrize("name", ["jvp_sign", "front_constant", "inverse_std_constant", "results_swapped"])
def test_gradcheck_gives_the_cause(name):
    mutant, true = by_name.MUTANTS[name]
    assert cause_of(plan(by_name.Forward(), "torch")) == ""
    assert all(f"({cause})" in cause_of(plan(mutant(), "torch")) for cause in true)


def test_gradcheck_knows_the_row_of_every_framework():
    forward = by_name.Forward()
    assert {len(list(pairs(forward, plan(forward, row), 0))) for row in ("flax", "torch")} == {20}
    assert "(second-order-sign)" in cause_of(plan(by_name.jvp_sign(), "flax"))
