"""Masked cases and cases by shards: right implementations pass, and each case is worth its place by a wrong one.

A masked channel is a batch of the values that it keeps, and shards are one batch, so how far a result may be off the
frozen number is what `refnorm check` grants such a batch (`refnorm.oracle.bounds`). Tried are refnorm's own functions,
plain ones that are written here, wrong ones that differ from these in one step, and Flax, whose layer takes a mask and
synchronises by the name of an axis; REFNORM_FRAMEWORKS=flax,jax makes its absence a failure.

Not verified: that the numbers are right (`test_golden_numbers`); shards of unequal size in Flax, which has none;
several processes.
"""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
from installed import framework

import refnorm
from refnorm import Statistics
from refnorm.conventions import ROWS
from refnorm.formats import numpy_dtype
from refnorm.golden import cases, load
from refnorm.golden.situations import MASKED, SHARDED, SITUATIONS
from refnorm.oracle.bounds import bounds

pytestmark = pytest.mark.filterwarnings("always:NOT TESTED")
PARAMETERS = ("mean", "var_correction_1", "dgamma", "dbeta")
BOUNDS = {"mean": "running mean", "var_correction_1": "running variance", "y": "y, training"}


@functools.cache
def pairs(of, kind):
    """Return each case of a format: its inputs, and its results of training and backward together."""
    found, frozen = [], (load(f"{of}_training", kind), load(f"{of}_backward", kind))
    for case, forward, backward in zip(cases(of, kind), *frozen, strict=True):
        assert (forward.id, backward.id) == (case.id_in(f"{of}_training"), case.id_in(f"{of}_backward"))
        given = forward.inputs | backward.inputs | forward.numbers
        dtype = numpy_dtype(kind)
        arrays = {n: None if given[n] is None else given[n].astype(dtype) for n in ("x", "dy", "gamma", "beta")}
        found.append((case, given | arrays, forward.expected | backward.expected))
    return found


@functools.cache
def batches(case):
    """Return each channel's places in x, and the bounds of an ordinary batch of the values that it keeps."""
    found = []
    kept = np.ones(case.x.shape, bool) if case.where is None else case.where
    for c in range(case.x.shape[1]):
        place = np.zeros(case.x.shape, bool)
        place[:, c] = kept[:, c]
        shape = (int(place.sum()), 1)
        one = {n: getattr(case, n)[c : c + 1] for n in ("gamma", "beta")}
        situation = replace(case.situation, mask="", shards=(), shape=shape, momentum=1.0)
        arrays = {"batches": (case.x[place].reshape(shape),), "dy": case.dy[place].reshape(shape)}
        nothing = {"running_mean": np.zeros(1), "running_var": np.zeros(1), "where": None, "held": False}
        batch = replace(case, operation="training", situation=situation, **arrays, **one, **nothing)
        found.append((place, bounds(batch, ROWS["torch"])))
    return found


def excess(case, expected, found):
    """Return the largest error of each result, in units of its bound; inf where a result is no number."""
    worst = dict.fromkeys(found, 0.0)
    for c, (place, allowed) in enumerate(batches(case)):
        for name, values in found.items():
            part = slice(c, c + 1) if name in PARAMETERS else place
            error = expected[name].error_of(values).reshape(np.shape(values))[part].reshape(-1)
            known = ~np.isnan(expected[name].hi).reshape(np.shape(values))[part].reshape(-1)
            error, bound = (
                np.abs(error)[known],
                np.broadcast_to(allowed[BOUNDS.get(name, name)].reshape(-1), known.shape),
            )
            ratio = np.divide(error, bound[known], out=np.where(error > 0, np.inf, 0.0), where=bound[known] > 0)
            worst[name] = max(worst[name], float(np.max(np.where(np.isnan(ratio), np.inf, ratio), initial=0.0)))
    return worst


def convicted(of, implementation, kinds=("float64", "float32")):
    """Return the situations in which an implementation exceeds a bound."""
    found = set()
    for kind in kinds:
        for case, given, expected in pairs(of, kind):
            with np.errstate(all="ignore"):
                results = implementation(given)
            if max(excess(case, expected, results).values()) > 1:
                found.add(case.situation.name)
    return found


# refnorm's own functions.


def own_masked(g):
    y, saved = refnorm.batch_norm_training(g["x"], g["gamma"], g["beta"], eps=g["eps"], where=g["where"])
    dx, dgamma, dbeta = refnorm.batch_norm_training_backward(g["dy"], saved)
    s = saved.statistics
    assert not y[~g["where"]].any()
    assert not dx[~g["where"]].any()
    return {"y": y, "mean": s.mean, "var_correction_1": s.corrected(1), "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def own_sharded(g):
    ends = list(itertools.accumulate(g["shards"], initial=0))
    x, dy = ([array[a:b] for a, b in itertools.pairwise(ends)] for array in (g["x"], g["dy"]))
    statistics = functools.reduce(Statistics.merge, map(refnorm.shard_statistics, x))
    parts = [refnorm.batch_norm_synchronised(part, statistics, g["gamma"], g["beta"], eps=g["eps"]) for part in x]
    sums = [refnorm.synchronised_gradients(d, saved) for d, (_, saved) in zip(dy, parts, strict=True)]
    dgamma, dbeta = (sum(of) for of in zip(*sums, strict=True))
    back = refnorm.batch_norm_synchronised_backward
    dx = np.concatenate([back(d, saved, dgamma, dbeta) for d, (_, saved) in zip(dy, parts, strict=True)])
    y, var = np.concatenate([y for y, _ in parts]), statistics.corrected(1)
    return {"y": y, "mean": statistics.mean, "var_correction_1": var, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_refnorm_passes_every_masked_case_and_every_case_by_shards(kind):
    assert convicted("masked", own_masked, [kind]) == set()
    assert convicted("sharded", own_sharded, [kind]) == set()


def test_what_each_shard_contributes_is_in_the_set():
    for _, g, expected in pairs("sharded", "float64"):
        ends = list(itertools.accumulate(g["shards"], initial=0))
        shards = [slice(*pair) for pair in itertools.pairwise(ends)]
        mean, var = (expected[f"shard_{name}"].hi.reshape(len(shards), -1) for name in ("mean", "var"))
        for s, shard in enumerate(shards):
            own = refnorm.shard_statistics(g["x"][shard])
            assert np.isnan(mean[s]).all() == np.isnan(var[s]).all() == (own.count == 0)
            if own.count:
                size = np.abs(g["x"][shard]).max() * 2.0**-50
                assert np.all(np.abs(mean[s] - own.mean) <= size)
                assert np.all(np.abs(var[s] - own.var) <= size * np.sqrt(own.var) + own.var * 2.0**-48)
        for name in ("dgamma", "dbeta"):
            rows = expected[f"shard_{name}"].hi.reshape(len(shards), -1)
            assert np.allclose(rows.sum(0), expected[name].hi, rtol=1e-12, atol=1e-12 * np.abs(rows).max())
            assert not rows[[s.start == s.stop for s in shards]].any()


# Plain ones, step by step, in the format of x; a wrong one takes one step otherwise.


class Masked:
    """Batch normalization of the values that a mask keeps."""

    def select(self, values, where):
        return np.where(where, values, values.dtype.type(0))

    def count(self, where):
        return self.total(where.astype(int))

    def counts(self, where, dtype):
        return self.count(where).astype(dtype)

    def total(self, values):
        axes = tuple(a for a in range(values.ndim) if a != 1)
        return values.sum(axis=axes, keepdims=True)

    def deviation(self, x, mean, where):
        return self.select(x - mean, where)

    def corrected(self, squares, where):
        return squares / (self.counts(where, squares.dtype) - 1)

    def upstream(self, dy, where):
        return self.select(dy, where)

    def centred_upstream(self, g, count, where):
        return g - self.total(g) / count

    def __call__(self, g):
        x, where, dtype = g["x"], g["where"], g["x"].dtype
        gamma, beta = (p.reshape(1, -1, *(1,) * (x.ndim - 2)) for p in (g["gamma"], g["beta"]))
        count = self.counts(where, dtype)
        mean = self.total(self.select(x, where)) / count
        d = self.deviation(x, mean, where)
        squares = self.total(d * d)
        inv = 1 / np.sqrt(squares / count + dtype.type(g["eps"]))
        x_hat, dy = d * inv, self.upstream(g["dy"], where)
        dgamma, dbeta = self.total(dy * x_hat), self.total(dy)
        dx = gamma * inv * (self.centred_upstream(dy, count, where) - x_hat * dgamma / count)
        results = {"mean": mean, "var_correction_1": self.corrected(squares, where), "dgamma": dgamma, "dbeta": dbeta}
        return {name: value.reshape(-1) for name, value in results.items()} | {"y": gamma * x_hat + beta, "dx": dx}


class PaddingIsAveraged(Masked):
    def select(self, values, where):
        return values

    def count(self, where):
        return super().count(np.ones_like(where))


class AllAreCounted(Masked):
    def count(self, where):
        return super().count(np.ones_like(where))


class EntriesOfTheMaskAreCounted(Masked):
    """A mask of one entry for a sample, or a position, of which the entries are counted, not what they stand for."""

    def count(self, where):
        alike = tuple(a for a in range(2, where.ndim) if (where == where.take([0], a)).all())
        return super().count(where.take([0], alike[0]) if alike else where)


class OneCountForAllChannels(Masked):
    def count(self, where):
        return np.full_like(super().count(where), super().count(where).mean().round())


class Multiplies(Masked):
    def select(self, values, where):
        return values * where


class ZerosAreCentred(Masked):
    def deviation(self, x, mean, where):
        return self.select(x, where) - mean


class CorrectedByTheWholeCount(Masked):
    def corrected(self, squares, where):
        count = self.count(where)
        return squares / count * (where[:, 0].size / (where[:, 0].size - 1))


class UpstreamOfPaddingCounts(Masked):
    def upstream(self, dy, where):
        return dy


class Sharded:
    """Batch normalization of a batch that several workers have."""

    def own(self, x):
        count = len(x) * int(np.prod(x.shape[2:]))
        axes = (0, *range(2, x.ndim))
        if count == 0:
            return 0, np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
        mean = x.mean(axis=axes)
        return count, mean, ((x - self.along(mean, x)) ** 2).mean(axis=axes)

    def along(self, values, x):
        return values.reshape(1, -1, *(1,) * (x.ndim - 2))

    def merge(self, parts):
        whole, mean, var = parts[0]
        for count, other, spread in parts[1:]:
            total = max(whole + count, 1)
            delta, here, there = other - mean, mean.dtype.type(whole / total), mean.dtype.type(count / total)
            mean, var = mean + delta * there, var * here + spread * there + delta * delta * (here * there)
            whole += count
        return whole, mean, var

    def corrected(self, parts, merged):
        count, _, var = merged
        return var * var.dtype.type(count / (count - 1))

    def together(self, sums):
        return sum(sums)

    def shared(self, sums, own):
        """Return the sum that dx of a shard is made with."""
        return sums

    def divisor(self, count, x):
        return count

    def statistics(self, merged, part):
        return merged

    def __call__(self, g):
        ends = list(itertools.accumulate(g["shards"], initial=0))
        x, dy = ([array[a:b] for a, b in itertools.pairwise(ends)] for array in (g["x"], g["dy"]))
        parts = [self.own(part) for part in x]
        merged = self.merge(parts)
        scaled = []
        for shard, part in zip(x, parts, strict=True):
            _, mean, var = self.statistics(merged, part)
            inv = self.along(1 / np.sqrt(var + var.dtype.type(g["eps"])), shard)
            scaled.append((inv, (shard - self.along(mean, shard)) * inv))
        axes = (0, *range(2, g["x"].ndim))
        own = [[(d * h).sum(axis=axes), d.sum(axis=axes)] for d, (_, h) in zip(dy, scaled, strict=True)]
        dgamma, dbeta = (self.together(sums) for sums in zip(*own, strict=True))
        gamma, beta = (self.along(g[name], g["x"]) for name in ("gamma", "beta"))
        y, dx = [], []
        for shard, d, (inv, x_hat), mine in zip(x, dy, scaled, own, strict=True):
            m = self.divisor(merged[0], shard)
            of_x_hat, of_one = (
                self.along(self.shared(all_, one), shard) for all_, one in zip((dgamma, dbeta), mine, strict=True)
            )
            y.append(gamma * x_hat + beta)
            dx.append(gamma * inv * (d - of_one / m - x_hat * of_x_hat / m))
        results = {
            "mean": merged[1],
            "var_correction_1": self.corrected(parts, merged),
            "dgamma": dgamma,
            "dbeta": dbeta,
        }
        return results | {"y": np.concatenate(y), "dx": np.concatenate(dx)}


class EachAlone(Sharded):
    def statistics(self, merged, part):
        return part


class WorkersWeighAlike(Sharded):
    def merge(self, parts):
        held = [part for part in parts if part[0]]
        mean = sum(part[1] for part in held) / len(held)
        return sum(part[0] for part in held), mean, sum(v + (m - mean) ** 2 for _, m, v in held) / len(held)


class VariancesAreAveraged(Sharded):
    def merge(self, parts):
        count, mean, _ = super().merge(parts)
        return count, mean, sum(part[2] * part[2].dtype.type(part[0] / count) for part in parts)


class SquaresAreExchanged(Sharded):
    def merge(self, parts):
        count, weights = sum(part[0] for part in parts), [part[1].dtype.type(part[0]) for part in parts]
        mean = sum(w * m for w, (_, m, _) in zip(weights, parts, strict=True)) / count
        squares = sum(w * (v + m * m) for w, (_, m, v) in zip(weights, parts, strict=True)) / count
        return count, mean, np.maximum(squares - mean * mean, 0)


class NothingIsDividedByItsCount(Sharded):
    """The mean of no value is 0/0, and 0 times that no number."""

    def own(self, x):
        count, mean, var = super().own(x)
        return (count, mean, var) if count else (0, mean * np.nan, var * np.nan)


class UndoesACorrection(Sharded):
    """A library's variance is the unbiased one, which one value has not."""

    def own(self, x):
        count, mean, var = super().own(x)
        return (count, mean, var * 0 / var.dtype.type(count - 1)) if count == 1 else (count, mean, var)


class CorrectedAtHome(Sharded):
    def corrected(self, parts, merged):
        count = merged[0]
        within = sum(part[2] * part[0] ** 2 / (np.float64(part[0]) - 1) for part in parts if part[0]) / count
        between = sum(part[0] * (part[1] - merged[1]) ** 2 for part in parts) / count
        return within + between


class GradientsAreAveraged(Sharded):
    def together(self, sums):
        return sum(sums) / len(sums)


class SumsStayAtHome(Sharded):
    def shared(self, sums, own):
        return own


class DividedByTheOwnCount(Sharded):
    def divisor(self, count, x):
        return max(x[:, 0].size, 1)


ALL_MASKS = {s.name for s in SITUATIONS if set(s.operations) & set(MASKED)}
ALL_SHARDS = {s.name for s in SITUATIONS if set(s.operations) & set(SHARDED)}
SHOWN_BY = {
    PaddingIsAveraged: ALL_MASKS,
    AllAreCounted: ALL_MASKS,
    EntriesOfTheMaskAreCounted: {"padded-batch"},
    OneCountForAllChannels: {"counts-differ"},
    Multiplies: {"padding-nan"},
    ZerosAreCentred: ALL_MASKS,
    CorrectedByTheWholeCount: ALL_MASKS,
    UpstreamOfPaddingCounts: ALL_MASKS,
    EachAlone: ALL_SHARDS,
    WorkersWeighAlike: {"shards-uneven", "shard-empty", "shards-large-mean"},
    VariancesAreAveraged: ALL_SHARDS,
    SquaresAreExchanged: {"shards-large-mean"},
    NothingIsDividedByItsCount: {"shard-empty"},
    UndoesACorrection: {"shards-of-one", "shards-uneven"},
    CorrectedAtHome: ALL_SHARDS,
    GradientsAreAveraged: ALL_SHARDS,
    SumsStayAtHome: ALL_SHARDS,
    DividedByTheOwnCount: ALL_SHARDS,
}


@pytest.mark.parametrize(("of", "right"), [("masked", Masked()), ("sharded", Sharded())])
def test_a_plain_one_passes(of, right):
    assert convicted(of, right) == set()


@pytest.mark.parametrize("wrong", SHOWN_BY, ids=lambda wrong: wrong.__name__)
def test_a_wrong_one_is_shown_by_the_cases_that_are_there_for_it(wrong):
    assert convicted("masked" if issubclass(wrong, Masked) else "sharded", wrong()) == SHOWN_BY[wrong]


def test_every_wrong_one_is_tried():
    assert set(SHOWN_BY) == {*Masked.__subclasses__(), *Sharded.__subclasses__()}


# Flax: a mask, and an axis of workers that all have as much.


@pytest.fixture(scope="module")
def flax():
    """Return a function that runs Flax's layer, of float32, with the variance of two passes, and its gradients."""
    jax, linen = framework("jax"), framework("flax.linen")

    def run(x, dy, gamma, beta, eps, mask=None, workers=0):
        last = {"axis": 1, "use_fast_variance": False, "epsilon": eps, "use_running_average": False, "momentum": 0.0}
        layer = linen.BatchNorm(**last, axis_name="workers" if workers else None)
        zero = {"mean": np.zeros_like(gamma), "var": np.zeros_like(gamma)}

        def forward(x, gamma, beta):
            def one(x, mask):
                given = {"params": {"scale": gamma, "bias": beta}, "batch_stats": zero}
                return layer.apply(given, x, mask=mask, mutable=["batch_stats"])

            return jax.vmap(one, axis_name="workers", in_axes=(0, None))(x, mask) if workers else one(x, mask)

        split = (workers, -1, *x.shape[1:]) if workers else x.shape
        y, back, state = jax.vjp(forward, x.reshape(split), gamma, beta, has_aux=True)
        dx, dgamma, dbeta = back(dy.reshape(split))
        statistics = {n: np.asarray(v).reshape(-1, len(gamma))[0] for n, v in state["batch_stats"].items()}
        found = {"y": np.asarray(y).reshape(x.shape), "dx": np.asarray(dx).reshape(x.shape)}
        return found | {"dgamma": np.asarray(dgamma), "dbeta": np.asarray(dbeta), "mean": statistics["mean"]}

    return run


def test_flax_passes_the_masked_cases_but_for_gradients_beside_nan(flax):
    def run(g):  # what is padding has no part in the loss
        dy = np.where(g["where"], g["dy"], np.float32(0))
        return flax(g["x"], dy, g["gamma"], g["beta"], g["eps"], mask=g["where"])

    worst = {}
    for case, given, expected in pairs("masked", "float32"):
        worst[case.situation.name] = excess(case, expected, run(given))
    beside_nan = worst.pop("padding-nan")
    assert max(max(found.values()) for found in worst.values()) <= 1, worst
    assert set(worst) == ALL_MASKS - {"padding-nan"}
    assert beside_nan["y"] <= 1 >= beside_nan["mean"]
    assert beside_nan["dx"] == beside_nan["dgamma"] == np.inf


def test_flax_passes_the_cases_of_even_shards(flax):
    seen = set()
    for case, g, expected in pairs("sharded", "float32"):
        if len(set(g["shards"])) == 1:
            seen.add(case.situation.name)
            run = flax(g["x"], g["dy"], g["gamma"], g["beta"], g["eps"], workers=len(g["shards"]))
            assert max(excess(case, expected, run).values()) <= 1, (case.id, excess(case, expected, run))
    assert seen == {"shards-even", "shards-far-apart", "shards-of-one"}


def test_a_mask_makes_flax_weigh_workers_alike(flax):
    """So it is no way round shards of unequal size: the mean is one of means, whatever was kept."""
    x = np.float32([[1.0], [1.0], [1.0], [0.0], [5.0], [5.0]])
    mask = np.array([[[True], [True], [True]], [[False], [True], [True]]])
    jax, linen = framework("jax"), framework("flax.linen")
    layer = linen.BatchNorm(use_running_average=False, momentum=0.0, axis_name="workers")
    given = layer.init(jax.random.key(0), x)

    def one(x, mask):
        return layer.apply(given, x, mask=mask, mutable=["batch_stats"])[1]["batch_stats"]["mean"]

    found = jax.vmap(one, axis_name="workers")(x.reshape(2, 3, 1), mask)
    assert found.ravel().tolist() == [3.0, 3.0]  # of five values, three are 1 and two are 5: 2.6
