"""Synchronised batch normalization: shards together give what the whole batch gives, against exact numbers and JAX.

The bound. Let T be the terms of `test_accuracy`, C = 8 and M the number of merges plus one. Merging leaves the mean off
by at most C u M max|x| and the variance by C u M (var + |mean| std) (`test_statistics`). So x_hat is off by
delta = C u M max|x| / sqrt(var + eps) and by rho = C u M (var + |mean| std) / (2 (var + eps)) of itself, and to first
order, beside C u T and half an ulp of a narrow format,

    y       |gamma| (delta + rho |x_hat|)
    dgamma  delta |dbeta| + rho |dgamma|
    dx      rho |dx| + |gamma| / sqrt(var + eps) (delta |dgamma| + |x_hat| (delta |dbeta| + 2 rho |dgamma|)) / m

JAX runs in a process of its own, on four devices that share the CPU, with `axis_name`; its sums may go from row to row,
which costs m u of T.

Not verified here: several machines, and frameworks' own synchronised layers.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import test_accuracy as accuracy
from arrays import REQUIRED, on_every_library_but_numpy

import refnorm
from refnorm import Statistics, conventions, exact

U = 2.0**-53
C = 8
CUTS = {"uneven": [0, 3, 4, 11, 12], "with empty ones": [0, 0, 5, 5, 12, 12], "one": [0, 12]}


def cases(kind: str, ratio: float) -> list[accuracy.Case]:
    """Choose batches of twelve samples whose means drift, so that shards differ."""
    chosen = [
        accuracy.case(kind, ratio, 1, (12, 3, 4), 1, 1e-5),
        accuracy.case(kind, ratio, 2, (12, 5, 2, 3), -1, 1e-3, no_gamma=True),
        accuracy.case(kind, ratio, 3, (12, 2, 3), (1, 2), 1e-5, masked=True),
    ]
    drift = 2 ** np.linspace(0, 1, 12)
    return [
        c._replace(x=(c.x.astype(float) * drift.reshape(12, *(1,) * (c.x.ndim - 1))).astype(c.x.dtype)) for c in chosen
    ]


def shards(array, cuts):
    return [None if array is None else array[a:b, ...] for a, b in itertools.pairwise(cuts)]


def merged(parts):
    return functools.reduce(Statistics.merge, parts)


def workers(case, cuts, together=merged, concat=np.concatenate, total=sum) -> dict:
    """Run every worker in turn; what they exchange are statistics and two sums."""
    options = {"axis": case.axis}
    parts = list(zip(*(shards(array, cuts) for array in (case.x, case.dy, case.where)), strict=True))
    statistics = together([refnorm.shard_statistics(x, where=where, **options) for x, _, where in parts])
    forward = [
        refnorm.batch_norm_synchronised(x, statistics, case.gamma, case.beta, eps=case.eps, where=where, **options)
        for x, _, where in parts
    ]
    upstream = [(dy, saved) for (_, dy, _), (_, saved) in zip(parts, forward, strict=True)]
    sums = zip(*(refnorm.synchronised_gradients(*pair) for pair in upstream), strict=True)
    dgamma, dbeta = (total(values) for values in sums)
    dx = [refnorm.batch_norm_synchronised_backward(*pair, dgamma, dbeta) for pair in upstream]
    results = {"y": concat([y for y, _ in forward]), "dx": concat(dx), "dgamma": dgamma, "dbeta": dbeta}
    return results | {"statistics": statistics}


def excess(case, results, merges: int, kind: str, sums: float = 0) -> dict[str, float]:
    """Return the largest error of each result over its bound; ``sums`` adds to C what another's sums cost."""
    truth = accuracy.training_truth(case)
    value = {name: t.exact.rounded().reshape(t.terms.shape) for name, t in truth.items()}
    along, _, _, count = accuracy._bookkeeping(case)
    var, mean = value["var"] + case.eps, np.abs(value["mean"])
    reduced = tuple(a for a in range(case.x.ndim) if along(mean).shape[a] == 1)
    x = np.where(True if case.where is None else case.where, case.x.astype(float), 0)
    delta = C * U * merges * np.abs(x).max(axis=reduced).reshape(mean.shape) / np.sqrt(var)
    rho = C * U * merges * (value["var"] + mean * np.sqrt(value["var"])) / (2 * var)
    x_hat = np.abs(x - along(value["mean"])) / np.sqrt(along(var))
    gamma = accuracy._magnitude(case.gamma, mean, 1)
    dgamma, dbeta = np.abs(value["dgamma"]), np.abs(value["dbeta"])
    more = {
        "y": along(gamma) * (along(delta) + along(rho) * x_hat),
        "dgamma": delta * dbeta + rho * dgamma,
        "dbeta": 0,
        "dx": along(rho) * np.abs(value["dx"])
        + along(gamma / np.sqrt(var) / count)
        * (along(delta * dgamma) + x_hat * along(delta * dbeta + 2 * rho * dgamma)),
    }
    found = {}
    for name in more:
        bound = (C + sums) * U * truth[name].terms + more[name]
        if kind != "float64" and name in ("y", "dx"):
            bound = bound + accuracy.ulp(np.abs(value[name]), kind) / 2
        error = np.abs(truth[name].exact.error_of(results[name])).reshape(truth[name].terms.shape)
        error = error if case.where is None or error.shape != case.x.shape else np.where(case.where, error, 0)
        none = np.where(error > 0, np.inf, 0.0)  # where gamma is 0 and nothing may be lost
        found[name] = float(np.max(np.divide(error, bound, where=bound > 0, out=none), initial=0))
    return found


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize(
    ("kind", "ratio"), [("float64", 0), ("float64", 1e6), ("float32", 1), ("float32", 2**10), ("float16", 1)]
)
def test_shards_give_what_the_whole_batch_gives_to_the_bound(kind, ratio, cuts):
    for case in cases(kind, ratio):
        ratios = excess(case, workers(case, cuts), len(cuts), kind)
        assert max(ratios.values()) <= 1, ratios


@pytest.mark.parametrize("correction", [0, 1])
def test_running_statistics_move_by_the_variance_of_the_whole_batch(correction):
    (case, *_) = cases("float64", 3)
    statistics = workers(case, CUTS["uneven"])["statistics"]
    old = np.ones(3)
    mean, var = refnorm.update_running(old, old, statistics, momentum=0.25, correction=correction)
    truth = exact.training(case.x, eps=0.0)
    whole, m = truth.var.rounded(), 48
    bound = 5 * C * U * (whole + np.abs(truth.mean.rounded()) * np.sqrt(whole) + 1)
    assert np.all(np.abs(var - (0.75 + 0.25 * m / (m - correction) * whole)) <= bound)
    assert np.all(np.abs(mean - (0.75 + 0.25 * truth.mean.rounded())) <= 5 * C * U * (np.abs(case.x).max() + 1))


def averaged(parts):
    """What workers do that exchange variances alone."""
    mean, var = conventions.average_of_variances(parts, correction=0)
    return Statistics(sum(part.count for part in parts), mean, var)


def test_an_average_of_variances_is_refused_by_the_bound_even_for_shards_of_equal_size():
    (case, *_) = cases("float64", 3)
    ratios = excess(case, workers(case, [0, 3, 6, 9, 12], averaged), 4, "float64")
    assert min(ratios["y"], ratios["dx"], ratios["dgamma"]) > 1e10


def test_what_averaging_variances_costs_where_each_worker_has_a_class_of_its_own():
    """Four workers, whose means are -3, -1, 1, 3 and whose variances are 1: 1 is left of a variance of 6."""
    x = np.repeat([[-3.0], [-1.0], [1.0], [3.0]], 2, axis=0) + np.tile([[-1.0], [1.0]], (4, 1))
    parts = [Statistics.of(part) for part in np.split(x, 4)]
    assert averaged(parts).var == [1.0]
    assert merged(parts).var == [6.0]
    y, _ = refnorm.batch_norm_synchronised(x, averaged(parts), eps=0.0)
    assert y.std() == pytest.approx(6**0.5, rel=4 * U)  # in place of 1


def test_an_average_of_variances_with_its_correction_is_right_for_batches_at_random():
    """Its expectation is the variance; that of biased ones is (m - 1)/m of it."""
    rng = np.random.default_rng(0)
    batches = [Statistics.of(part) for part in rng.standard_normal((4000, 5, 1))]
    _, unbiased = conventions.average_of_variances(batches)
    _, biased = conventions.average_of_variances(batches, correction=0)
    deviation = (2 / 4 / 4000) ** 0.5  # of an average of 4000 unbiased variances of 5 values
    assert abs(unbiased[0] - 1) < 4 * deviation < 0.2 == pytest.approx(1 - biased[0], abs=4 * deviation)


def test_batches_of_unequal_size_weigh_the_same_in_an_average():
    x = np.array([[0.0], [0.0], [0.0], [4.0]])
    mean, var = conventions.average_of_variances([Statistics.of(x[:3]), Statistics.of(x[3:])], correction=0)
    assert (mean.tolist(), var.tolist(), x.mean(), x.var()) == ([2.0], [0.0], 1.0, 3.0)


def test_sums_that_are_not_exchanged_are_refused_by_the_bound():
    (case, *_) = cases("float64", 0)
    alone = workers(case, CUTS["uneven"], total=lambda values: values[0])
    assert excess(case, alone, 5, "float64")["dx"] > 1e10


def test_every_order_of_workers_that_is_the_same_everywhere_serves():
    (case, *_) = cases("float64", 1)
    backwards = workers(case, CUTS["uneven"], lambda parts: merged(parts[::-1]))
    assert max(excess(case, backwards, 5, "float64").values()) <= 1


@pytest.mark.parametrize("where", [None, np.zeros((0, 2), bool)])
def test_empty_shards_merge_and_come_back_empty(where):
    nothing = np.zeros((0, 2))
    own = refnorm.shard_statistics(nothing, where=where)
    other = Statistics.of(np.array([[1.0, 2.0], [3.0, 2.0]]))
    statistics = own.merge(own).merge(other)
    assert (np.asarray(statistics.count) == 2).all()
    assert (statistics.mean.tolist(), statistics.var.tolist()) == ([2.0, 2.0], [1.0, 0.0])
    y, saved = refnorm.batch_norm_synchronised(nothing, statistics, where=where)
    dgamma, dbeta = refnorm.synchronised_gradients(nothing, saved)
    assert (y.shape, dgamma.tolist(), dbeta.tolist()) == ((0, 2), [0.0, 0.0], [0.0, 0.0])
    assert refnorm.batch_norm_synchronised_backward(nothing, saved, dgamma, dbeta).shape == (0, 2)


def test_no_value_on_any_worker_is_an_error():
    empty = refnorm.shard_statistics(np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"statistics.count=0: no shard has a value"):
        refnorm.batch_norm_synchronised(np.zeros((0, 2)), empty.merge(empty))
    mask = np.array([[True, False]])
    masked = refnorm.shard_statistics(np.ones((1, 2)), where=mask)
    with pytest.raises(ValueError, match=r"statistics.count=\[2. 0.\]: no shard has a value"):
        refnorm.batch_norm_synchronised(np.ones((1, 2)), masked.merge(masked), where=mask)


def test_statistics_and_sums_of_other_channels_are_refused():
    x = np.random.default_rng(0).standard_normal((4, 3))
    with pytest.raises(ValueError, match=r"statistics.mean has shape \(2,\), expected \(3,\)"):
        refnorm.batch_norm_synchronised(x, Statistics.of(x[:, :2]))
    _, saved = refnorm.batch_norm_synchronised(x, Statistics.of(x))
    with pytest.raises(ValueError, match=r"dgamma has shape \(2,\), expected \(3,\)"):
        refnorm.batch_norm_synchronised_backward(x, saved, np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match=r"dy has shape \(4, 2\), expected \(4, 3\)"):
        refnorm.synchronised_gradients(x[:, :2], saved)


def test_one_worker_is_batch_norm_training_with_its_mean_in_one_float64():
    x, dy = np.random.default_rng(1).standard_normal((2, 6, 3)).round(3)
    y, saved = refnorm.batch_norm_synchronised(x, refnorm.shard_statistics(x))
    whole, alone = refnorm.batch_norm_training(x)
    np.testing.assert_allclose(y, whole, rtol=0, atol=40 * U)
    dgamma, dbeta = refnorm.synchronised_gradients(dy, saved)
    dx = refnorm.batch_norm_synchronised_backward(dy, saved, dgamma, dbeta)
    np.testing.assert_allclose(dx, refnorm.batch_norm_training_backward(dy, alone)[0], rtol=0, atol=400 * U)


@on_every_library_but_numpy
def test_every_library_synchronises(library):
    if library.name == "dask.array":
        pytest.skip("a dask array is spread over workers already: batch_norm_training merges its chunks")
    case = cases(library.wide, 1)[2]
    carried = case._replace(**{n: library.optional(getattr(case, n)) for n in ("x", "dy", "gamma", "beta", "where")})
    results = workers(
        carried, CUTS["uneven"], concat=lambda parts: np.concatenate([library.to_numpy(p) for p in parts])
    )
    results |= {name: library.to_numpy(results[name]) for name in ("dgamma", "dbeta")}
    wider = 2.0**29 if library.wide == "float32" else 1  # u of float32 over u of float64
    assert max(excess(case, results, 5, "float64").values()) <= wider


JAX = """\
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P

def normalise(x, gamma, beta, counts, eps):
    mask = counts
    m = jax.lax.psum(mask.sum(axis=(0, 2)), "workers")
    x = jnp.where(mask, x, 0)
    mean = jax.lax.psum(x.sum(axis=(0, 2)), "workers") / m
    deviation = jnp.where(mask, x - mean[:, None], 0)
    var = jax.lax.psum((deviation**2).sum(axis=(0, 2)), "workers") / m
    if AVERAGED:
        own = x.mean(axis=(0, 2))
        var = jax.lax.pmean(((x - own[:, None]) ** 2).mean(axis=(0, 2)), "workers")
    y = deviation / jnp.sqrt(var + eps)[:, None] * gamma[:, None] + beta[:, None]
    return jnp.where(mask, y, 0), mean, var

data = np.load(sys.argv[1])
AVERAGED = bool(data["averaged"])
devices = jax.devices()
assert len(devices) == 4
spread, same = P("workers"), P()
run = jax.shard_map(
    lambda x, gamma, beta, mask: normalise(x, gamma, beta, mask, float(data["eps"])),
    mesh=Mesh(np.array(devices), ("workers",)),
    in_specs=(spread, same, same, spread), out_specs=(spread, same, same),
)
mask = jnp.asarray(data["mask"])
y, backward, (mean, var) = jax.vjp(
    lambda *a: (lambda y, mean, var: (y, (mean, var)))(*run(*a, mask)),
    *map(jnp.asarray, (data["x"], data["gamma"], data["beta"])), has_aux=True,
)
dx, dgamma, dbeta = backward(jnp.asarray(data["dy"]))
np.savez(sys.argv[2], y=y, dx=dx, dgamma=dgamma, dbeta=dbeta, mean=mean, var=var)
"""


def on_jax(case, cuts, folder, averaged=False) -> dict:
    """Run the batch on four devices, a shard each, padded to one length with values that do not count."""
    length = max(b - a for a, b in itertools.pairwise(cuts))

    def padded(array):
        parts = [
            np.concatenate([p, np.full((length - len(p), *p.shape[1:]), np.nan, p.dtype)]) for p in shards(array, cuts)
        ]
        return np.concatenate(parts)

    mask = np.isfinite(padded(case.x))
    given = {"x": np.nan_to_num(padded(case.x)), "dy": np.nan_to_num(padded(case.dy)), "mask": mask}
    np.savez(folder / "in.npz", **given, gamma=case.gamma, beta=case.beta, eps=case.eps, averaged=averaged)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", JAX, str(folder / "in.npz"), str(folder / "out.npz")]
    subprocess.run(command, check=True, env=environment, timeout=300)
    results = dict(np.load(folder / "out.npz"))
    return results | {name: results[name][mask].reshape(case.x.shape) for name in ("y", "dx")}


@pytest.fixture
def jax_at_hand():
    try:
        import jax  # noqa: F401
    except ImportError:
        if "jax" in REQUIRED:
            pytest.fail("REFNORM_ARRAYS requires jax, but it is not installed", pytrace=False)
        pytest.skip("jax is not installed")


@pytest.mark.parametrize("cuts", [[0, 3, 6, 9, 12], [0, 3, 4, 11, 12]], ids=["even", "uneven"])
def test_jax_on_four_devices_with_axis_name_agrees(jax_at_hand, tmp_path, cuts):
    case = cases("float64", 3)[0]
    ours, theirs = workers(case, cuts), on_jax(case, cuts, tmp_path)
    count = case.x.size // 3
    for results, sums in ((ours, 0), (theirs, count)):
        ratios = excess(case, results, 4, "float64", sums)
        assert max(ratios.values()) <= 1, ratios
    m = ours["statistics"]
    np.testing.assert_allclose(m.mean, theirs["mean"], rtol=0, atol=count * C * U * np.abs(case.x).max())
    np.testing.assert_allclose(m.var, theirs["var"], rtol=count * C * U)


def test_jax_that_averages_variances_over_devices_is_refused(jax_at_hand, tmp_path):
    case, cuts = cases("float64", 3)[0], [0, 3, 6, 9, 12]
    theirs = on_jax(case, cuts, tmp_path, averaged=True)
    assert excess(case, theirs, 4, "float64", case.x.size // 3)["y"] > 1e10
    var = averaged([Statistics.of(x) for x in shards(case.x, cuts)]).var
    np.testing.assert_allclose(theirs["var"], var, rtol=1e-13)
