"""How long refnorm takes, as a ratio to others in the same run.

    pip install --editable '.[benchmark]' && pytest -n 0 tests/benchmarks/bench_speed.py

times every contestant that is installed and prints, beside pytest-benchmark's own tables, the ratios: the time of
refnorm over that of the other, best of all rounds of each, per shape and as the geometric mean over the shapes. Below 1
refnorm is faster. Further arguments go to pytest: ``-k float32``, ``-k "training and 112"``. All at once, as a table
and as the figure ``figures/speed.svg``, some ten minutes on two quiet cores:

    pytest -n 0 tests/benchmarks/bench_{speed,scale,everyday,profile}.py --record figures/speed.json
    python -m figures --draw speed

Not measured: the GPU; and what else runs on the machine, so close what you can.
"""

from __future__ import annotations

import numpy as np
import pytest
from contestants import DOUBLE_BACKWARD, INFERENCE, TRAINING

SHAPES = [(256, 512), (64, 64, 14, 14), (32, 64, 56, 56), (32, 256, 28, 28), (2, 64, 256, 256), (64, 64, 112, 112)]
MAPS = {"training": TRAINING, "inference": INFERENCE, "double backward": DOUBLE_BACKWARD}


def data(shape: tuple[int, ...], dtype: str) -> tuple[np.ndarray, ...]:
    np.empty(31 * 2**20, np.uint8)  # freed at once: from then on glibc keeps what is smaller, for whoever comes first
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(shape, dtype), rng.standard_normal(shape, dtype)
    gamma = rng.uniform(0.5, 1.5, shape[1]).astype(dtype)
    return x, dy, gamma, rng.standard_normal(shape[1]).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("which", "name"), [(which, name) for which, contestants in MAPS.items() for name in contestants]
)
def test_speed(benchmark, ratios, which, name, dtype, shape):
    run = MAPS[which][name](*data(shape, dtype))
    if run is None:
        pytest.skip(f"{name} is not installed, or has no {dtype}")
    benchmark.group = f"{which} {dtype} {shape}"
    rounds = next(rounds for rounds, size in ((30, 10**6), (12, 10**7), (5, 10**9)) if np.prod(shape) < size)
    benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)
    ratios.setdefault((which, dtype), {}).setdefault(name, {})[shape] = benchmark.stats.stats.min
