"""Blocks: that they cover every value once, that results do not depend on how an array is cut or who interrupts.

Small blocks are forced on small arrays, so that every way of cutting is met: along any axis, with remainders, with
many parts of one channel, in any memory layout. The results must keep the promise of `test_accuracy`, against exact
numbers; threads must not change a bit.

Not verified here: speed (`tests/benchmarks`).
"""

from __future__ import annotations

import signal
import threading
import tracemalloc

import numpy as np
import pytest
import test_accuracy as accuracy

import refnorm
from refnorm.reference import _blocks, _channels
from refnorm.reference._layout import Layout

SAMPLED = True  # see conftest.py

SHAPES = [
    ((40, 3, 5, 7), (0, 2, 3)),
    ((3, 50, 7), (0, 2)),
    ((101, 13), (0,)),
    ((13, 101), (1,)),
    ((4, 3, 100), ()),
    ((4, 3, 100), (0, 1, 2)),
    ((300,), (0,)),
    ((2, 9, 9, 70), (0, 1, 2)),
]


@pytest.fixture(params=[1, 16, 64, 200], ids="{} values".format)
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(_blocks, "VALUES", request.param)
    _blocks.cut.cache_clear()
    yield request.param
    _blocks.cut.cache_clear()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("shape", "reduced"), SHAPES)
def test_every_value_is_in_one_block_and_blocks_of_a_channel_are_numbered(shape, reduced, order, small_blocks):
    x = np.zeros(shape, order=order)
    seen: dict[int, set] = {}
    for block in _blocks.cut(x.shape, x.strides, reduced):
        assert x[block.index].size > 0
        x[block.index] += 1
        channels = np.arange(x.size).reshape(x.shape)[
            tuple(slice(0, 1) if a in reduced else slice(None) for a in range(x.ndim))
        ]
        for channel in channels[block.channels].flat:
            assert block.part not in seen.setdefault(int(channel), set())
            seen[int(channel)].add(block.part)
    assert np.all(x == 1)
    assert all(parts == set(range(len(parts))) for parts in seen.values())


@pytest.mark.parametrize(("shape", "reduced"), SHAPES)
def test_a_block_holds_no_more_than_it_may_unless_a_channel_has_few_values_in_it(shape, reduced, small_blocks):
    x = np.zeros(shape)
    for block in _blocks.cut(x.shape, x.strides, reduced):
        part = x[block.index]
        per_channel = np.prod([part.shape[a] for a in reduced], dtype=int)
        assert part.size <= max(small_blocks, per_channel)
        assert per_channel < 2 * max(small_blocks, _blocks.LEAST_VALUES)


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_results_keep_the_promise_however_the_array_is_cut(kind, order, small_blocks):
    for inputs in (
        accuracy.case(kind, 1e4, 1, (14, 3, 4, 5), 1, 1e-5),
        accuracy.case(kind, 4, 2, (11, 4, 7, 3), -1, 1e-3, masked=True),
        accuracy.case(kind, 4, 3, (60, 3, 7), (1, 2), 1e-5, no_gamma=True),
        accuracy.case(kind, 4, 4, (500,), (), 1e-5, no_beta=True),
        accuracy.case(kind, 4, 5, (97, 11), 1, 1e-5),
    ):
        inputs = inputs._replace(x=np.asarray(inputs.x, order=order), dy=np.asarray(inputs.dy, order=order))
        measured = accuracy.measurements(accuracy.training(inputs), accuracy.training_truth(inputs), kind)
        assert accuracy.broken(measured, kind) == {}
        inputs = inputs._replace(where=None)
        measured = accuracy.measurements(accuracy.inference(inputs), accuracy.inference_truth(inputs), kind)
        assert accuracy.broken(measured, kind) == {}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["float64", "float16"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((70, 64, 14, 14), 1), ((40, 14, 14, 64), -1), ((9, 1000, 2, 8), 1), ((3000, 7), 1), ((12, 5, 6, 70), (1, 3))],
)
def test_parameters_that_are_repeated_change_no_bit(monkeypatch, shape, axis, kind, order):
    inputs = accuracy.case(kind, 30, 7, shape, axis, 1e-5, masked=True)
    inputs = inputs._replace(x=np.asarray(inputs.x, order=order), dy=np.asarray(inputs.dy, order=order))
    repeated = []
    for slab in (_blocks.slab, lambda *_: None):
        monkeypatch.setattr(_channels, "slab", lambda *x, slab=slab: repeated.append(slab(*x)) or repeated[-1])
        repeated.append({name: value.tobytes() for name, value in accuracy.training(inputs).items()})
    assert (order, kind) != ("C", "float64") or any(isinstance(at, tuple) for at in repeated)
    assert repeated[-1] == next(results for results in repeated if isinstance(results, dict))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("shape", "reduced"), SHAPES)
def test_a_slab_broadcasts_against_every_block(shape, reduced, order, small_blocks):
    x = np.zeros(shape, order=order)
    at = _blocks.slab(x.shape, x.strides, reduced)
    if at is not None:
        for block in _blocks.cut(x.shape, x.strides, reduced):
            assert np.broadcast_shapes(x[at][block.channels].shape, x[block.index].shape) == x[block.index].shape


@pytest.mark.parametrize("masked", [False, True])
def test_threads_change_no_bit(monkeypatch, masked):
    inputs = accuracy.case("float32", 1e3, 6, (64, 5, 11, 9), 1, 1e-5, masked=masked)
    monkeypatch.setattr(_blocks, "VALUES", 200)
    monkeypatch.setattr(_blocks, "LEAST_BLOCKS", 2)
    _blocks.cut.cache_clear()
    results = {}
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results[threads] = {name: value.tobytes() for name, value in accuracy.training(inputs).items()}
    _blocks.cut.cache_clear()
    assert results["1"] == results["2"] == results["5"]


def test_threads_compute_at_the_same_time_and_keep_the_order_of_results(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")  # as OpenMP writes nested levels
    blocks = [_blocks.Block(..., ..., part) for part in range(64)]
    barrier = threading.Barrier(2, timeout=60)

    def task(block, _):
        if block.part in (0, 32):
            barrier.wait()  # would time out if one thread took all
        return block.part

    assert _blocks.visit(blocks, task) == list(range(64))


def test_threads_take_over_the_callers_floating_point_state_and_leave_it(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = np.getbufsize(), np.geterr()
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        _blocks.visit([_blocks.WHOLE] * 64, lambda *_: np.ones(1) / np.zeros(1))
    with np.errstate(divide="ignore"):
        _blocks.visit([_blocks.WHOLE] * 64, lambda *_: np.ones(1) / np.zeros(1))
    assert (np.getbufsize(), np.geterr()) == before


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_two_operations_are_what_they_say(kind, masked, small_blocks):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 50, 3, 40)).astype(kind)
    where = rng.random(x.shape) < 0.5 if masked else None
    layout = Layout.of(x, 1, where)
    factor, other, centre, constant = rng.standard_normal((4, 3))
    before = x.tobytes(), y.tobytes()
    a, b = np.where(layout.mask if masked else True, (x.astype(float), y.astype(float)), 0)
    inside = where if masked else np.ones(x.shape, bool)

    def along(values):
        return values.reshape(1, 3, 1)

    found = _channels.affine(layout, [(factor, x, centre), (other, y, 0.0)], constant)
    expected = along(factor) * (a - along(centre)) + along(other) * b + along(constant)
    assert found.dtype == kind
    assert np.allclose(found, np.where(inside, expected, 0), rtol=0, atol=1e-13 if kind == "float64" else 1e-6)
    assert not found[~inside].any()
    for weights, wide in ((y, b), (None, np.where(inside, a - along(centre), 0))):
        sums = _channels.sums(layout, x, centre, weights)
        product = np.where(inside, wide * (a - along(centre)), 0)
        for total, terms in zip(sums, (wide, product), strict=True):
            assert np.allclose(total, terms.sum((0, 2)), rtol=0, atol=1e-13 * np.abs(terms).sum())
    assert np.allclose(_channels.total(layout, x), a.sum((0, 2)), rtol=0, atol=1e-13 * np.abs(a).sum())
    assert before == (x.tobytes(), y.tobytes())


def test_nothing_new_is_asked_for_on_the_second_block():
    x = np.random.default_rng(4).standard_normal((2**16, 3))
    refnorm.Statistics.of(x)
    tracemalloc.start()
    refnorm.Statistics.of(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4  # eighths of a block, where sums go down columns


def test_memory_grows_to_the_largest_block():
    wide = np.dtype("float64")
    memory = _blocks.Scratch()
    small = memory.like(np.zeros((2, 3)), 1, wide)[0]
    large = memory.like(np.zeros((20, 30)), 2, wide)
    assert [m.shape for m in large] == [(20, 30)] * 2
    assert np.shares_memory(large[0], memory.like(np.zeros((2, 3)), 1, wide)[0])
    assert not np.shares_memory(large[0], large[1])
    assert not np.shares_memory(large[0], small)


def test_calls_inside_each_other_and_beside_each_other_do_not_share_memory():
    inner, x = [], np.zeros((64, 64, 4))
    blocks = [_blocks.Block(..., ..., part) for part in range(2)]

    def outside(block, scratch):
        (mine,) = scratch.like(x, 1, x.dtype)
        mine[...] = block.part
        _blocks.visit(blocks, inside)
        thread = threading.Thread(target=lambda: _blocks.visit(blocks, inside))
        thread.start()
        thread.join()
        return mine, bool((mine == block.part).all())

    def inside(block, scratch):
        (other,) = scratch.like(x, 1, x.dtype)
        other[...] = -1.0
        inner.append(other)

    found = _blocks.visit(blocks, outside)
    assert all(intact for _, intact in found)
    assert len(inner) == 8
    assert not any(np.shares_memory(mine, other) for mine, _ in found for other in inner)


def test_a_signal_handler_that_normalises_changes_no_bit_of_the_call_that_it_interrupts():
    x = np.random.default_rng(5).standard_normal((400, 30, 40))
    expected = [a.tobytes() for a in training_results(x)]
    calls = []

    def handler(*_):
        calls.append(training_results(-3 * x[::-1])[0].shape)
        signal.setitimer(signal.ITIMER_REAL, 0.002)  # again, once this one is done

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    try:
        while len(calls) < 20:
            assert [a.tobytes() for a in training_results(x)] == expected
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # one that is on its way would start the timer again
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def training_results(x):
    y, saved = refnorm.batch_norm_training(x)
    return y, *refnorm.batch_norm_training_backward(x[::-1], saved)


@pytest.mark.parametrize("value", ["", "many", "0", "-1"])
def test_a_number_of_threads_that_is_none_is_no_error(monkeypatch, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert _blocks.visit([_blocks.WHOLE] * 64, lambda block, _: block.part) == [0] * 64


@pytest.mark.parametrize("count", [3, 7, 99, 4097, 2**16 + 1, 100_003])
def test_a_constant_channel_has_exactly_no_variance_whatever_its_count(count):
    values = np.random.default_rng(count).standard_normal(8) * 10.0 ** np.arange(-4, 4)
    statistics = refnorm.Statistics.of(np.broadcast_to(values, (count, 8)).copy())
    assert np.array_equal(statistics.mean, values)
    assert not statistics.var.any()


@pytest.mark.parametrize(
    ("shape", "axis"), [((8, 64, 80, 80), 1), ((500_000, 7), 1), ((8, 80, 80, 64), -1), ((400, 3, 50, 50), (1, 2, 3))]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_memory_beyond_the_results_is_a_quarter_of_them_at_most_and_16_mb(monkeypatch, shape, axis, dtype):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    x = np.random.default_rng(0).standard_normal(shape, np.float32).astype(dtype)
    calls = [
        lambda: refnorm.batch_norm_training(x, axis=axis),
        lambda: refnorm.batch_norm_training_backward(x, saved),
        lambda: refnorm.batch_norm_inference(x, saved.statistics.mean, saved.statistics.var, axis=axis),
    ]
    _, saved = calls[0]()
    for call in calls:
        tracemalloc.start()
        result = call()
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del result
        assert peak - now <= 0.25 * x.nbytes + 16e6
