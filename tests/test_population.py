"""Population statistics: the same whatever the chunking, order and interruptions, against exact numbers.

Not verified here: a data set of gigabytes (slow, `test_four_gigabytes_on_disk`, run by ``pytest -m slow``), and several
machines; dask's threads and, where dask.distributed is installed, two worker processes are.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refnorm import Statistics, exact, population_statistics
from refnorm.reference import population

U = 2.0**-53


def data(rows: int = 240, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drift = np.linspace(-2, 2, rows)[:, None, None]
    return np.array([0.01, 1.0, 50.0])[:, None] * (rng.standard_normal((rows, 3, 4)) + drift + 5)


def assert_close(found: Statistics, x: np.ndarray, batches: int) -> None:
    """Compare with the exact statistics; `test_statistics` derives the bound of a merge, of which there are log2."""
    truth = exact.training(x, eps=0.0)
    merges = 1 + math.ceil(math.log2(max(batches, 2)))
    mean, var = truth.mean.rounded(), truth.var.rounded()
    assert np.all(found.count == np.asarray(truth.count))
    assert np.all(np.abs(truth.mean.error_of(found.mean)) <= 8 * merges * U * np.abs(x).max(axis=(0, 2)))
    assert np.all(np.abs(truth.var.error_of(found.var)) <= 8 * merges * U * (var + np.abs(mean) * np.sqrt(var)))


def split(x: np.ndarray, seed: int, pieces: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    cuts = [0, *sorted(rng.choice(np.arange(1, len(x)), pieces - 1, replace=False).tolist()), len(x)]
    parts = [x[a:b] for a, b in itertools.pairwise(cuts)]
    rng.shuffle(parts)
    return parts


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 64, 240])
def test_any_chunking_in_any_order_gives_the_whole(pieces):
    x = data()
    assert_close(population_statistics(split(x, pieces, pieces)), x, pieces)
    assert_close(population_statistics(iter(split(x, pieces, pieces))), x, pieces)


def test_an_average_of_variances_is_refused_by_the_bound():
    x = data()
    parts = [Statistics.of(part) for part in np.split(x, 8)]
    averaged = Statistics(x.size // 3, population_statistics(x).mean, np.mean([part.var for part in parts], axis=0))
    with pytest.raises(AssertionError):
        assert_close(averaged, x, 8)


@pytest.mark.parametrize("axis", [1, -1, 0, (1, 2), ()])
def test_one_array_is_read_chunk_by_chunk(monkeypatch, axis):
    monkeypatch.setattr(population, "CHUNK", 100)
    x = data()
    found, whole = population_statistics(x, axis=axis), Statistics.of(x, axis=axis)
    assert found.count == whole.count
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(found.var, whole.var, rtol=1e-12)


def shapes(x, **options):
    """The shapes of the pieces that an array is read in, and how many were announced."""
    seen = []

    def progress(batches, total):
        seen.extend(batch.shape for batch in batches)
        seen.append(total)
        return [np.ones((2, 2))]

    population_statistics(x, progress=progress, **options)
    return seen[:-1], seen[-1]


@pytest.mark.parametrize(
    ("shape", "axis", "chunk", "pieces"),
    [
        ((240, 3, 4), 1, 100, [(8, 3, 4)] * 30),  # a row has 12 values
        ((20, 3, 4), 1, 100, [(8, 3, 4), (8, 3, 4), (4, 3, 4)]),
        ((20, 3, 4), -1, 120, [(10, 3, 4), (10, 3, 4)]),
        ((3, 7, 5), 0, 50, [(3, 3, 5), (3, 3, 5), (3, 1, 5)]),  # a column has 15
        ((3, 4, 5), (0, 1), 24, [(3, 4, 2), (3, 4, 2), (3, 4, 1)]),
        ((2, 3, 4), 1, 5, [(1, 3, 4), (1, 3, 4)]),
        ((2, 3), (0, 1), 1, [(2, 3)]),
        ((0, 3), 1, 1, [(0, 3)]),
    ],
)
def test_pieces_have_as_many_values_as_are_read_at_once(monkeypatch, shape, axis, chunk, pieces):
    monkeypatch.setattr(population, "CHUNK", chunk)
    assert shapes(np.zeros(shape), axis=axis) == (pieces, len(pieces))


def test_four_million_values_are_read_at_once():
    pieces, total = shapes(np.broadcast_to(0.0, (2**23 + 2, 1)))
    assert (pieces, total) == ([(2**22, 1), (2**22, 1), (2, 1)], 3)


def test_axis_and_the_rest_are_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        population_statistics(np.ones((2, 2)), 1)


def test_a_memory_mapped_file_is_read_in_constant_memory(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (40_000, 10, 10, 10))
    for rows in range(0, len(x), 1000):
        x[rows : rows + 1000] = rows
    peaks = []
    for part in (x[:10_000], x):
        tracemalloc.start()
        found = population_statistics(part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert np.all(found.mean == 19_500)
    assert np.all(found.var == (40**2 - 1) / 12 * 1e6)
    # one block of 16 MB is worked on, and may be kept from an earlier call; 120 MB more of data add nothing to it
    assert peaks[1] - peaks[0] < 1e6
    assert peaks[0] < 64e6


def test_dask_merges_its_chunks_as_a_tree():
    array = pytest.importorskip("dask.array")
    x = data()
    for chunks in ((50, 2, 3), (7, 3, 4), (240, 1, 1)):
        assert_close(population_statistics(array.from_array(x, chunks=chunks)), x, 240)


class Dask:
    """A dask array of a few lines, whose tasks run at once."""

    def __init__(self, parts):
        self.parts, self.shape, self.rechunked = parts, (len(parts), *parts[0].shape[1:]), None

    def rechunk(self, chunks):
        self.rechunked = chunks
        return self

    def to_delayed(self):
        return np.array([Task(part) for part in self.parts], dtype=object)


class Task:
    def __init__(self, value, depth=0):
        self.value, self.depth = value, depth

    def compute(self):
        assert self.depth <= 4  # 11 parts as a tree: statistics, and four merges
        return self.value


def delayed(function):
    def call(*tasks, **options):
        depth = max(task.depth for task in tasks) + (len(tasks) > 1)
        return Task(function(*(task.value for task in tasks), **options), depth)

    return call


@pytest.mark.parametrize("pieces", [1, 2, 3, 8, 11])
def test_tasks_of_dask_are_merged_two_by_two(monkeypatch, pieces):
    monkeypatch.setitem(sys.modules, "dask", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "dask.delayed", SimpleNamespace(delayed=delayed))
    x = data()
    array = Dask(np.array_split(x, pieces))
    array.shape = x.shape
    found = population._merged_by_dask(array, (1, 2))
    assert array.rechunked == {1: -1, 2: -1}
    whole = Statistics.of(x, axis=(1, 2))
    assert found.count == whole.count
    np.testing.assert_allclose(found.var, whole.var, rtol=1e-12)


@pytest.mark.slow
def test_dask_merges_on_two_worker_processes():
    distributed, array = pytest.importorskip("distributed"), pytest.importorskip("dask.array")
    x = data()
    cluster = distributed.LocalCluster(n_workers=2, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster):
        assert_close(population_statistics(array.from_array(x, chunks=(7, 3, 4))), x, 40)


class Interrupted(Exception):
    pass


def interrupted_after(batches: list[np.ndarray], count: int):
    yield from batches[:count]
    raise Interrupted


@pytest.mark.parametrize("stops", [[1], [5], [3, 8], [2, 4, 9, 10]])
def test_interrupted_work_is_resumed_to_the_same_bits(tmp_path, stops):
    batches = split(data(), 3, 11)
    file = tmp_path / "state.npz"
    for stop in stops:
        with pytest.raises(Interrupted):
            population_statistics(interrupted_after(batches, stop), checkpoint=file)
    read = []
    resumed = population_statistics(batches, checkpoint=file, progress=lambda rest, total: read.append(total) or rest)
    whole = population_statistics(batches)
    assert read == [11 - stops[-1]]
    assert (resumed.count, resumed.mean.tobytes(), resumed.var.tobytes()) == (
        whole.count,
        whole.mean.tobytes(),
        whole.var.tobytes(),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_a_checkpoint_is_written_every_half_minute_and_at_the_end(tmp_path, monkeypatch):
    now, saved = [0.5], []
    monkeypatch.setattr(population.time, "monotonic", lambda: now[0])

    def save(path, axis, seen, done, partial):
        saved.append((done, [level for level, _ in partial]))

    monkeypatch.setattr(population, "_save", save)

    def batches():
        for number, batch in enumerate(split(data(), 7, 11), start=1):
            now[0] += 0.5 if number % 4 == 0 else 10  # thirty seconds, and then a little more
            yield batch

    population_statistics(batches(), checkpoint=tmp_path / "state.npz")
    # more than thirty seconds after the one before; of 2^level batches each, merged
    assert saved == [(4, [2]), (8, [3]), (11, [3, 1, 0])]
    saved.clear()
    population_statistics(batches())
    assert saved == []


def test_a_checkpoint_knows_its_data_by_a_thousand_values_evenly_spread(tmp_path):
    """Of 1024 times 1023 values, every 1023rd is looked at."""
    x, file = np.zeros((1024 * 1023, 1)), tmp_path / "state.npz"
    population_statistics([x], checkpoint=file)
    for at in (0, 1023, 512 * 1023, 1023 * 1023):
        other = x.copy()
        other[at] = 1
        with pytest.raises(ValueError, match="is of other data"):
            population_statistics([other], checkpoint=file)
    other = x.copy()
    other[1] = 1
    assert population_statistics([other], checkpoint=file).mean == 0


def test_of_few_values_a_checkpoint_knows_each(tmp_path):
    x, file = np.zeros((1500, 1)), tmp_path / "state.npz"
    population_statistics([x], checkpoint=file)
    for at in range(0, 1500, 499):
        other = x.copy()
        other[at] = 1
        with pytest.raises(ValueError, match="is of other data"):
            population_statistics([other], checkpoint=file)


def test_a_write_that_fails_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    batches, file = split(data(), 4, 6), tmp_path / "state.npz"
    with pytest.raises(Interrupted):
        population_statistics(interrupted_after(batches, 3), checkpoint=file)
    before = file.read_bytes()

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="no space left"):
            population_statistics(batches, checkpoint=file)
    assert file.read_bytes() == before
    assert_close(population_statistics(batches, checkpoint=file), data(), 6)


def test_a_damaged_checkpoint_is_an_error(tmp_path):
    batches, file = split(data(), 5, 6), tmp_path / "state.npz"
    population_statistics(batches, checkpoint=file)
    good = file.read_bytes()
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([{}], object), allow_pickle=True)
    for bad in (b"", b"nothing", good[: len(good) // 2], good[:-30], pickled.read_bytes()):
        file.write_bytes(bad)
        with pytest.raises(ValueError, match=r"checkpoint .* delete it to start anew"):
            population_statistics(batches, checkpoint=file)
    file.write_bytes(good)
    with pytest.raises(ValueError, match=r"another axis \(axis=\[1\], not 2\)"):
        population_statistics(batches, axis=2, checkpoint=file)


class Run:
    """What a pickle can do: call any function."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["axis", "seen", "mean"])
def test_a_checkpoint_runs_no_code(tmp_path, name):
    batches, file, mark = split(data(), 5, 6), tmp_path / "state.npz", tmp_path / "it ran"
    population_statistics(batches, checkpoint=file)
    with np.load(file) as kept:
        arrays = dict(kept)
    np.savez(file, **arrays | {name: np.array([Run(mark)], object)})
    with pytest.raises(ValueError, match=r"checkpoint .* cannot be read .* delete it to start anew"):
        population_statistics(batches, checkpoint=file)
    assert not mark.exists()


@pytest.mark.parametrize(
    "other",
    [
        lambda batches: [batch + 1 for batch in batches],
        lambda batches: batches[::-1],
        lambda batches: [batch.astype(np.float32) for batch in batches],
        lambda batches: batches[:-1],
        lambda batches: [],
        lambda batches: np.concatenate(batches),
    ],
)
def test_a_checkpoint_of_other_data_is_an_error(tmp_path, other):
    batches, file = split(data(), 6, 5), tmp_path / "state.npz"
    population_statistics(batches, checkpoint=file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint .* is of other data, of 5 batches; delete it to start anew"):
        population_statistics(other(batches), checkpoint=file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(("name", "value"), [("mean", np.nan), ("var", -1.0), ("count", 0), ("count", -1)])
def test_a_checkpoint_of_numbers_that_no_data_have_is_an_error(tmp_path, name, value):
    batches, file = split(data(), 6, 5), tmp_path / "state.npz"
    population_statistics(batches, checkpoint=file)
    with np.load(file) as kept:
        arrays = dict(kept)
    arrays[name] = np.full_like(arrays[name], value)
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"checkpoint .* is damaged"):
        population_statistics(batches, checkpoint=file)


@pytest.mark.parametrize(
    ("means", "variances", "counts", "levels", "done"),
    [
        *((1, 2, 1, 1, 4), (2, 1, 2, 2, 5), (1, 1, 2, 2, 5), (2, 2, 1, 1, 4), (1, 1, 1, 2, 5), (2, 2, 2, 1, 4)),
        *((2, 2, 2, 2, 4), (2, 2, 2, 2, 6), (0, 0, 0, 0, 0)),
    ],
)
def test_a_checkpoint_whose_arrays_do_not_fit_is_an_error(tmp_path, means, variances, counts, levels, done):
    """Of 5 batches, 4 are merged and 1 is left: two of each."""
    batches, file = split(data(), 6, 5), tmp_path / "state.npz"
    population_statistics(batches, checkpoint=file)
    with np.load(file) as kept:
        arrays = dict(kept)
    assert arrays["level"].tolist() == [2, 0]
    lengths = {"mean": means, "var": variances, "count": counts, "level": levels}
    arrays |= {name: arrays[name][:length] for name, length in lengths.items()}
    np.savez(file, **arrays | {"done": done})
    with pytest.raises(ValueError, match=r"checkpoint .* is damaged or of another axis"):
        population_statistics(batches, checkpoint=file)


def test_statistics_that_are_nan_are_taken_up(tmp_path):
    batches, file = [np.full((3, 2), value) for value in (np.nan, 1.0)], tmp_path / "state.npz"
    population_statistics(batches[:1], checkpoint=file)
    assert np.isnan(population_statistics(batches, checkpoint=file).mean).all()


def test_a_checkpoint_of_one_value_is_taken_up(tmp_path):
    batches, file = [np.full((1, 2), value) for value in (1.0, 4.0)], tmp_path / "state.npz"
    population_statistics(batches[:1], checkpoint=file)
    assert population_statistics(batches, checkpoint=file).mean.tolist() == [2.5, 2.5]


def test_many_writers_of_one_checkpoint_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(population, "SECONDS", 0.0)  # a write after each batch
    batches, file = split(data(), 6, 40), tmp_path / "state.npz"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: population_statistics(batches, checkpoint=file), range(24)))
    assert len({result.var.tobytes() for result in results}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_no_batches_are_an_error():
    with pytest.raises(ValueError, match="there are no batches"):
        population_statistics([])


def test_batches_of_other_channels_are_an_error():
    with pytest.raises(ValueError, match="cannot merge statistics"):
        population_statistics([np.ones((2, 3)), np.ones((2, 4))])


def test_progress_sees_every_batch():
    seen = []

    def progress(batches, total):
        assert total == 5
        for batch in batches:
            seen.append(len(batch))
            yield batch

    batches = split(data(), 6, 5)
    population_statistics(batches, progress=progress)
    assert seen == [len(batch) for batch in batches]


@pytest.mark.slow
def test_four_gigabytes_on_disk(tmp_path):
    shape = (2000, 64, 64, 128)  # 4.2 GB of float32
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, shape)
    rng = np.random.default_rng(0)
    block = rng.integers(-8, 8, (100, *shape[1:])).astype(np.float32)
    for rows in range(0, len(x), 100):
        x[rows : rows + 100] = block + rows
    x.flush()
    tracemalloc.start()
    found = population_statistics(x)
    assert tracemalloc.get_traced_memory()[1] < 128e6
    tracemalloc.stop()
    mean = block.mean(axis=(0, 2, 3), dtype=float) + 950
    var = block.var(axis=(0, 2, 3), dtype=float) + 100**2 * (20**2 - 1) / 12
    np.testing.assert_allclose(found.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(found.var, var, rtol=1e-13)
