"""The benchmarks' programs: that they measure what they say, on the smallest sizes; their numbers are not looked at.

Not verified here: CuPy, for which NumPy and torch on the CPU stand in (`tests/on_gpu` runs it), and speed itself.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from installed import framework

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))


def test_the_gpu_benchmark_times_and_records_what_it_should(tmp_path, monkeypatch, capsys):
    framework("torch")
    bench = importlib.import_module("bench_gpu")
    monkeypatch.setattr(bench, "SHAPES", [(4, 3, 5, 5)])
    monkeypatch.setattr(bench, "versions", lambda on: {"device": "CPU"})
    results = bench.main(["--on", "numpy", "--rounds", "2", "--record", str(tmp_path / "gpu.json")])
    assert json.loads((tmp_path / "gpu.json").read_text()) == {"versions": {"device": "CPU"}, "results": results}
    assert [r["dtype"] for r in results] == ["float32", "float64"]
    for result in results:
        seconds = result["copy, bytes a second"]
        size = 4 * 3 * 5 * 5 * (4 if result["dtype"] == "float32" else 8)
        for what, passes in bench.PASSES.items():
            part = passes * size / seconds / result[what]["seconds"]["refnorm"]
            assert result[what]["part of the copy's bandwidth"] == pytest.approx(part)
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_the_contestants_of_the_gpu_benchmark_compute_the_same():
    torch = framework("torch")
    bench = importlib.import_module("bench_gpu")
    rng = np.random.default_rng(0)
    arrays = [*rng.standard_normal((2, 4, 3, 5, 5)), rng.uniform(0.5, 1.5, 3), rng.standard_normal(3)]
    ours, theirs = bench.ours(np, arrays), bench.torch_runs("cpu", arrays, cudnn=False)
    pairs = [(ours["training"]()[0], theirs["training"]()), (ours["inference"](), theirs["inference"]())]
    pairs += zip(ours["backward"](), theirs["backward"](), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, torch.Tensor.detach(b).numpy(), rtol=0, atol=1e-12)


def test_every_contestant_that_is_installed_computes_batch_normalization():
    contestants = importlib.import_module("contestants")
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((2, 4, 3, 5, 5))
    gamma, beta = rng.uniform(0.5, 1.5, 3), rng.standard_normal(3)
    for which in (contestants.TRAINING, contestants.INFERENCE):
        expected, *others = (prepare(x, dy, gamma, beta) for name, prepare in which.items() if "numpy-ml" not in name)
        expected = first(expected())
        for run in filter(None, others):
            np.testing.assert_allclose(first(run()), expected, rtol=0, atol=1e-6)  # onnxruntime's eps is a float32


def first(result):
    while isinstance(result, (tuple, list)):
        result = result[0]
    return np.asarray(result)


@pytest.mark.parametrize(
    ("dtype", "kinds"),
    [("float64", {"arithmetic", "sums"}), ("float32", {"widening", "arithmetic", "sums", "rounding"})],
)
def test_the_profile_times_every_kind_of_pass(monkeypatch, dtype, kinds):
    bench = importlib.import_module("bench_profile")
    given = bench.data((64, 3, 40), dtype)
    expected = bench.refnorm_training(1)(*given)()
    watch = bench.Stopwatch()
    watch.install(monkeypatch)
    for one, other in zip(bench.refnorm_training(1)(*given)(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(watch.spent) == kinds
    assert min(watch.spent.values()) > 0


def test_the_figure_of_speed_shows_ratios_at_equal_threads_and_floors(tmp_path):
    times = {"refnorm, 1 thread": {"2x3": 1.0}, "refnorm, 2 threads": {"2x3": 0.5}, "plain NumPy": {"2x3": 4.0}}
    times["torch, 2 threads"] = {"2x3": 0.25}
    record = {"versions": {}, "seconds": {"training, float64": times}, "profile": {"float64, 2x3": {"floor": 0.2}}}
    (tmp_path / "speed.json").write_text(json.dumps(record))
    figure = importlib.import_module("figures.speed")
    (ratios,) = figure.data(tmp_path / "speed.json")["ratios"].values()
    assert ratios == {"plain NumPy": {"2x3": 0.25}, "torch, 2 threads": {"2x3": 2.0}, figure.FLOOR: {"2x3": 0.2}}


def test_the_benchmark_of_the_truth_times_every_function_on_ordinary_data_first():
    bench = importlib.import_module("bench_exact")
    rows = [line.rsplit(maxsplit=3) for line in bench.table(50)]
    ordinary = [head for head, *_, ratio in rows if head.endswith("ordinary") and ratio == "1.0"]
    assert len(ordinary) == len(bench.calls(50)) == 4
    assert len(rows) == sum(map(len, bench.calls(50).values()))
