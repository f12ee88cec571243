"""How time grows with the number of values: a + b n, fitted from 10^3 to 10^8 values.

    pip install --editable '.[benchmark]' && pytest -n 0 tests/benchmarks/bench_scale.py

prints a, the time of a call that has almost nothing to do, and b between 10^6 and 10^8 values, with its spread: the
largest b of one size over the smallest. The goal is a below 200 microseconds and a spread below 1.25. "One pass of
NumPy" is a single product into memory at hand: how much of the spread is the machine's, whose cache holds 10^6 values.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

import refnorm

COUNTS = [10**3, 10**4, 10**5, 10**6, 10**7, 10**8]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("what", ["one pass of NumPy", "statistics", "training forward", "inference"])
def test_scale(benchmark, lines, numbers, what, dtype, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    clock = benchmark._timer
    channels = np.linspace(1, 2, 8)
    out = np.empty(0)
    calls = {
        "one pass of NumPy": lambda x: np.multiply(x, 2, out=out),
        "statistics": lambda x: refnorm.Statistics.of(x, axis=1),
        "training forward": lambda x: refnorm.batch_norm_training(x, channels, channels),
        "inference": lambda x: refnorm.batch_norm_inference(x, channels, channels, channels, channels),
    }
    times = {}
    for count in COUNTS:
        x = np.random.default_rng(0).standard_normal((1, 8, count // 8), dtype)
        out = np.ones_like(x)
        best = np.inf
        for _ in range(4 if count >= 10**8 else 30):
            start = clock()
            calls[what](x)
            best = min(best, clock() - start)
        times[count] = best
    numbers.setdefault("scale", {})[f"{what}, {dtype}"] = times
    benchmark.pedantic(lambda: None)  # what was timed by hand stands in the lines below
    fixed = times[COUNTS[0]]
    slopes = [(times[n] - fixed) / n for n in COUNTS if n >= 10**6]
    lines.append(
        f"{what:18}{dtype:9} a = {fixed * 1e6:4.0f} us,  b = {slopes[-1] * 1e9:.2f} ns per value, "
        f"spread {max(slopes) / min(slopes):.2f} (at 10^6, 10^7, 10^8: {', '.join(f'{b * 1e9:.2f}' for b in slopes)})"
    )
