"""What the oracle resolves where sizes are large and formats narrow, and that nobody right is called wrong for it.

Not verified here: sizes near 2^31 (`huge.py` asks for them where the memory is); that every right implementation
conforms, only that those of `legitimate` do.
"""

import injected
import numpy as np
import pytest
from injected import Injected
from legitimate import draw

import refnorm
from refnorm import exact
from refnorm.conventions import CONVENTIONS
from refnorm.formats import unit_roundoff
from refnorm.frameworks.reference import Reference
from refnorm.golden import cases
from refnorm.golden.inputs import case as case_of
from refnorm.golden.settings import product_ids, setting_ids
from refnorm.golden.sized import SHAPES, drawn_shapes, sized, sized_ids, thorough_shapes
from refnorm.golden.truth import truth
from refnorm.oracle.ask.target import as_target
from refnorm.oracle.bounds import bounds
from refnorm.oracle.diagnose import diagnose
from refnorm.oracle.observe import observed
from refnorm.oracle.plan import Depth, planned
from refnorm.oracle.tiers import NARROW, SUMMED

SAMPLED = True  # see conftest.py

TORCH = CONVENTIONS["torch"]
KINDS = ("float64", "float32", "float16", "bfloat16")
TRAINED = ("y, training", "running mean", "running variance", "dx", "dgamma", "dbeta")


# The cases: numbers whose sums are exact, and their truth by pairs.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(65, 5), (5, 7, 3, 31), (3, 257, 5, 7), (1031, 4)])
def test_the_truth_of_a_case_of_sizes_is_that_of_all_its_values(kind, shape):
    trained, frozen = (sized(operation, kind, shape) for operation in ("training", "inference"))
    forward = exact.training(trained.x, trained.gamma, trained.beta, eps=trained.eps)
    gradients = exact.training_gradients(trained.dy, trained.x, trained.gamma, eps=trained.eps)
    given = (frozen.running_mean, frozen.running_var, frozen.gamma)
    of_frozen = exact.inference_gradients(frozen.dy, frozen.x, *given, eps=frozen.eps)
    expected = {"y, training": forward.y} | gradients._asdict()
    for case, results in ((trained, expected), (frozen, {f"frozen {k}": v for k, v in of_frozen._asdict().items()})):
        for quantity, whole in results.items():
            pairs = truth(case, TORCH, quantity)
            assert np.array_equal(pairs.rounded(kind), whole.rounded(kind)), quantity
            assert np.array_equal(pairs.hi, whole.hi), quantity
            assert pairs.number(3) == whole.number(3), quantity


@pytest.mark.parametrize("kind", KINDS)
def test_sums_of_a_case_of_sizes_are_exact_in_any_order(kind):
    rng = np.random.default_rng(3)
    narrow = np.float64 if kind == "float64" else np.float32
    for shape in [*SHAPES[kind], (2**20 - 1, 4)]:
        case = sized("training", kind, shape)
        for values in (case.x, case.x**2, case.dy):
            rows = np.moveaxis(values, 1, 0).reshape(shape[1], -1)
            for row in rows[:5]:
                total = np.add.accumulate(rng.permutation(row).astype(narrow))[-1]
                assert float(total) == float(np.sum(row.astype(np.longdouble)))


def test_where_dy_is_not_0_are_the_ends_and_other_places_in_each_channel():
    case = sized("training", "float32", (1, 5, 61, 67))
    places = [set(np.flatnonzero(row)) for row in case.dy.reshape(5, -1) if np.count_nonzero(row) < 20]
    assert len(places) >= 3
    assert all(61 * 67 - 1 in found for found in places)
    assert len(set.union(*places)) > 2 * max(map(len, places))


def test_shapes_of_a_thorough_trial_reach_across_every_power_and_beyond_the_counters():
    shapes = list(thorough_shapes())
    counts = {int(np.prod(s)) // s[1] for s in shapes}
    assert {2**k + d for k in range(6, 21) for d in (-1, 0, 1)} <= counts
    assert {257, 513, 1025, 2049} <= {s[1] for s in shapes}
    assert max(s[0] for s in shapes) > 65535
    assert list(drawn_shapes(1)) == list(drawn_shapes(1)) != list(drawn_shapes(2))


# The bounds: of sums that are exact, whatever the count.


@pytest.mark.parametrize("shape", [s for s in SHAPES["float32"] if np.prod(s) / s[1] > 1000])
def test_the_bounds_of_sums_do_not_grow_with_the_count(shape):
    case = sized("training", "float32", shape)
    u, limit = unit_roundoff("float32"), bounds(case, TORCH, SUMMED)
    for quantity in TRAINED:
        size = np.abs(truth(case.table.case, TORCH, quantity).rounded())
        finest = np.min((limit[quantity] / np.where(size > 0, size, np.nan))[size > 0])
        assert finest <= 64 * u, (quantity, finest / u)


def test_in_half_formats_sums_are_asked_for_in_float32():
    case = case_of("bn.training.float16.outlier.1")
    fine, coarse = bounds(case, TORCH), bounds(case, TORCH, NARROW)
    assert np.all(fine["running variance"] < coarse["running variance"] / 4)


# Errors that are put into a right implementation.


def convicted(kind, ids, *where, error):
    implementation = Injected(*where, error)
    return any(not o.passed for id in ids for o in observed(implementation, TORCH, case_of(id)))


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("place", [p for p in injected.PLACES if p != "none"])
def test_an_error_at_a_large_count_is_found(kind, place):
    most = {"float32": 64, "float16": 32}[kind]
    ids = [id for id in sized_ids(kind) if ".training." in id and np.prod(case_of(id).x.shape[2:]) > 10_000]
    u = unit_roundoff(kind)
    assert convicted(kind, ids, place, "m > 2^14", "all", error=most * u)
    assert not convicted(kind, ids, place, "m > 2^14", "all", error=0.0)


# Nobody who is right is called wrong.


def tried(seed):
    """Return what a drawn implementation does wrong in a case of sizes, one of settings and some of the set."""
    rng, kind = np.random.default_rng(seed + 10**6), KINDS[seed % 4]
    small = [s for s in thorough_shapes() if np.prod(s) < 60_000]
    pool = [*SHAPES[kind], *small] if seed % 3 else small
    shape = pool[int(rng.integers(len(pool)))]
    name, implementation = draw(seed, int(np.prod(shape)) // shape[1])
    held = [c for c in cases(dtype=kind) if c.finite and not c.undefined and c.gamma is not None and c.beta is not None]
    held = [c for c in held if c.situation.layout != "shared"]
    ids = [f"bn.training.{kind}.sized.{'x'.join(map(str, shape))}", rng.choice(setting_ids(kind))]
    chosen = [*map(case_of, ids), *(held[int(i)] for i in rng.integers(len(held), size=4))]
    seen = [o for case in chosen for o in observed(implementation, TORCH, case)]
    return [(name, o.case.id, o.quantity, o.ratio, o.trouble) for o in seen if not o.passed]


@pytest.mark.parametrize("seed", range(0, 48, 8))
def test_right_implementations_drawn_at_random_conform(seed):
    with np.errstate(all="ignore"):
        assert [tried(s) for s in range(seed, seed + 8)] == [[]] * 8


@pytest.mark.slow
def test_fifteen_hundred_right_implementations_conform():
    with np.errstate(all="ignore"):
        wrong = [found for seed in range(1500) for found in tried(seed)]
    print(f"1500 right implementations in four formats: {len(wrong)} false alarms")
    assert wrong == []


# What was seen to conform, and is wrong.


class Broken(Injected):
    """Right but for what a subclass does where ``when`` holds of x."""

    def when(self, x):
        raise NotImplementedError

    def wrong(self, dx, dgamma, dbeta, dy, cache):
        return dx, dgamma, dbeta

    def backward(self, dy, cache):
        found = super().backward(dy, cache)
        return self.wrong(*found, dy, cache) if self.when(dy) else found


class NoDgamma(Broken):
    def when(self, x):
        return x.dtype == np.float32 and x.size > 100_000 * x.shape[1]

    def wrong(self, dx, dgamma, dbeta, dy, cache):
        return dx, None if dgamma is None else dgamma * 0, dbeta


class WithoutXHat(Broken):
    def when(self, x):
        return x.dtype == np.float16 and x.size > 100 * x.shape[1]

    def wrong(self, dx, dgamma, dbeta, dy, cache):
        x, _, inv, gamma = cache
        scale = injected._along(injected._or(gamma, 1, x) * inv, x)
        g = dy.astype(float)
        mean = g.mean(tuple(a for a in range(g.ndim) if a != 1), keepdims=True)
        return (scale * (g - mean)).astype(dx.dtype), dgamma, dbeta


class NothingForLargeValues(Injected):
    def train(self, x, *rest):
        y, *others = super().train(x, *rest)
        return np.where(np.abs(x.astype(float)) > 256, 0, y).astype(y.dtype), *others


class HalfEps(Injected):
    def train(self, x, *rest):
        eps = float(np.float16(rest[-1])) if x.dtype == np.float16 else rest[-1]
        with np.errstate(all="ignore"):
            return super().train(x, *rest[:-1], eps)


@pytest.mark.rest  # see conftest.py
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (NoDgamma, "dgamma is wrong only for 133221 values per channel or more (65537 are right)"),
        (WithoutXHat, "dx is wrong only for 131 values per channel or more"),
        (NothingForLargeValues, "zeros are returned: only where the largest |x| is"),
        (HalfEps, "eps is rounded to a format of 16 bits: only in float16"),
    ],
)
def test_what_is_wrong_at_large_sizes_or_in_half_precision_alone_is_found_and_said(wrong, words):
    report = refnorm.check(wrong("none"), "torch")
    assert any(words in f.title for f in report.findings), str(report)


class InHalf(Injected):
    """Sums are taken in float16 itself."""

    def train(self, x, gamma, beta, mean, var, momentum, eps):
        if x.dtype != np.float16:
            return super().train(x, gamma, beta, mean, var, momentum, eps)
        axes = tuple(a for a in range(x.ndim) if a != 1)
        with np.errstate(all="ignore"):
            m = np.float16(x.size // x.shape[1])
            total = np.add.reduce(x, axes, dtype=np.float16) / m
            centred = x - total.reshape((1, -1) + (1,) * (x.ndim - 2))
            spread = np.add.reduce(centred * centred, axes, dtype=np.float16) / m
            y = super().train(x, gamma, beta, mean, var, momentum, eps)[0]
            kept = (np.float16(1 - momentum) * old + np.float16(momentum) * new.astype(old.dtype)
                    for old, new in ((mean, total), (var, spread * m / (m - np.float16(1)))))  # fmt: skip
            new_mean, new_var = (a.astype(old.dtype) for a, old in zip(kept, (mean, var), strict=True))
        return y, new_mean, new_var, super().train(x, gamma, beta, mean, var, momentum, eps)[3]


def test_sums_in_half_precision_are_named():
    report = refnorm.check(InHalf("none"), "torch", dtypes=("float16",))
    assert not report.conforms
    assert refnorm.check(InHalf("none"), "torch", dtypes=("float32",)).conforms


def test_who_promises_less_conforms_and_who_promises_more_is_held_to_it():
    class Rows(Injected):
        def train(self, x, *rest):
            y, mean, var, cache = super().train(x, *rest)
            off = 20 * np.finfo(np.float32).eps if x.dtype == np.float32 and x.size > 100 * x.shape[1] else 0.0
            return y, (mean * (1 + off)).astype(mean.dtype), var, cache

    case = case_of("bn.training.float32.outlier.1")
    assert all(o.passed for o in observed(Rows("none"), TORCH, case))
    assert not refnorm.check(Rows("none"), "torch", dtypes=("float32",), tier="wide").conforms
    with pytest.raises(ValueError, match="unknown tier 'best'"):
        refnorm.check(Rows("none"), "torch", tier="best")
    with pytest.raises(ValueError, match="cannot be asked for in 'float8'"):
        refnorm.check(Rows("none"), "torch", accumulate="float8")


@pytest.mark.rest  # see conftest.py
def test_sums_in_another_order_at_each_call_are_noted_and_not_wrong():
    algorithm = next(draw(seed)[1] for seed in range(99) if draw(seed)[0].startswith("any order, two_passes,"))
    with np.errstate(all="ignore"):
        report = refnorm.check(algorithm, "torch", dtypes=("float64", "float32"))
    assert not any(f.cause == "not-repeatable" for f in report.findings), str(report)
    assert any("another order each time" in remark for remark in report.paths[0].remarks)


@pytest.mark.parametrize("kind", ["float64", "float32", "bfloat16"])
def test_products_that_overflow_in_one_order_alone_are_told_apart(kind):
    class Literal(Reference):
        def infer(self, x, gamma, beta, mean, var, eps):
            shape = (1, -1) + (1,) * (x.ndim - 2)
            gamma, beta, mean, var = (None if a is None else a.reshape(shape) for a in (gamma, beta, mean, var))
            with np.errstate(all="ignore"):
                centred = (x.astype(mean.dtype) - mean) * (1 if gamma is None else gamma)
                return (centred / np.sqrt(var + eps) + (0 if beta is None else beta)).astype(x.dtype)

    (id,) = product_ids(kind)
    assert all(o.passed for o in observed(Reference(), TORCH, case_of(id)))
    failed = [o for o in observed(Literal(), TORCH, case_of(id)) if not o.passed]
    assert [o.quantity for o in failed] == ["y, inference", "frozen y"]
    usual = [c for c in cases("inference", kind) if c.finite and c.situation.layout == "ordinary"]
    with np.errstate(all="ignore"):
        (found,) = diagnose([o for c in [*usual, case_of(id)] for o in observed(Literal(), TORCH, c)], TORCH)
    assert (found.kind, found.cause) == ("numerics", "product-overflow")
    target = as_target(Literal())
    for thorough in (False, True):
        plan = planned(target, next(iter(target.paths)), "torch", (kind,), depth=Depth(thorough=thorough))
        assert (id in plan.unstored) == thorough


class MeanInHalf(Reference):
    """Two passes, but the mean is rounded to float16 in between, and dy is added up in it."""

    mixed = False

    def train(self, x, gamma, beta, mean, var, momentum, eps):
        y, new_mean, new_var, cache = super().train(x, gamma, beta, mean, var, momentum, eps)
        if x.dtype == np.float16:
            axes, m = tuple(a for a in range(x.ndim) if a != 1), x.size // x.shape[1]
            own = x.mean(axes, dtype=np.float32, keepdims=True).astype(np.float16)
            squares = ((x - own) ** 2).mean(axes, dtype=np.float32) * np.float32(m / max(m - 1, 1))
            new_var = ((1 - momentum) * var + momentum * squares.astype(np.float16)).astype(var.dtype)
        return y, new_mean, new_var, cache

    def backward(self, dy, cache):
        dx, dgamma, dbeta = super().backward(dy, cache)
        if dy.dtype == np.float16 and dbeta is not None:
            dbeta = np.add.accumulate(np.moveaxis(dy, 1, 0).reshape(dy.shape[1], -1), axis=1)[:, -1]
        return dx, dgamma, dbeta


@pytest.mark.rest  # see conftest.py
def test_what_sums_in_half_precision_in_one_quantity_does_so_in_others():
    with np.errstate(all="ignore"):
        report = refnorm.check(MeanInHalf(), "torch", dtypes=("float16",))
    found = {f.cause: set(f.quantities) for f in report.findings}
    assert set(found) == {"accumulates-in-float16", "half-overflow"}, str(report)
    assert "running variance" in found["accumulates-in-float16"]
