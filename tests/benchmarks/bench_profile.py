"""Where the time of forward and backward goes, and what would be left of it if Python were free.

    pip install --editable '.[benchmark]' && pytest -n 0 tests/benchmarks/bench_profile.py

prints, on one thread, the time over that of plain NumPy; the shares of arithmetic, sums, widening to float64 and
rounding back; and the floor: these alone, NumPy's own operations in memory at hand, over the time of plain NumPy. The
rest is Python, planning of blocks and new memory for results. What lies below the floor is not to be had from less
Python, only from fewer or other passes over the data.
"""

from __future__ import annotations

import functools
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from bench_speed import SHAPES, data
from contestants import plain_training, refnorm_training

from refnorm.reference import _channels

KINDS = {"subtract": "arithmetic", "multiply": "arithmetic", "add": "arithmetic", "copyto": "widening"}


class Stopwatch:
    """Adds up the time inside functions, by kind."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def timed(self, kind, function):
        @functools.wraps(function)
        def run(*arguments, **options):
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.spent[kind] = self.spent.get(kind, 0.0) + time.perf_counter() - start
            return result

        return run

    def install(self, monkeypatch) -> None:
        """Time the sums, the rounding, and every operation on a block."""
        numpy = {name: getattr(np, name) for name in dir(np) if not name.startswith("__")}
        numpy |= {name: self.timed(kind, numpy[name]) for name, kind in KINDS.items()}
        numpy["add"].reduce = np.add.reduce
        monkeypatch.setattr(_channels, "np", SimpleNamespace(**numpy))
        monkeypatch.setattr(_channels, "round_once", self.timed("rounding", _channels.round_once))
        monkeypatch.setattr(_channels, "_sum", self.timed("sums", _channels._sum))


def best(run, rounds, spent=None):
    """Return the shortest time, and what was spent in it by kind."""
    found = math.inf, {}
    for _ in range(rounds):
        if spent is not None:
            spent.clear()
        start = time.perf_counter()
        run()
        found = min(found, (time.perf_counter() - start, dict(spent or {})), key=lambda pair: pair[0])
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_profile(benchmark, lines, numbers, monkeypatch, dtype, shape):
    given = data(shape, dtype)
    plain, ours = plain_training(*given), refnorm_training(1)(*given)
    rounds = max(3, min(100, 3 * 10**7 // math.prod(shape)))
    times = [best(run, rounds)[0] for run in (plain, ours, plain, ours)]
    theirs, total = min(times[::2]), min(times[1::2])
    watch = Stopwatch()
    watch.install(monkeypatch)
    _, spent = best(ours, rounds, watch.spent)
    benchmark.pedantic(lambda: None)  # what was timed by hand stands in the lines below
    shares = {kind: seconds / total for kind, seconds in spent.items()}
    floor = sum(spent.values()) / theirs
    size = "x".join(map(str, shape))
    record = {"over plain NumPy": total / theirs, "floor": floor, **shares}
    numbers.setdefault("profile", {})[f"{dtype}, {size}"] = record
    told = ", ".join(f"{kind} {share:3.0%}" for kind, share in shares.items())
    lines.append(f"{dtype} {size:15} {total / theirs:5.2f} of plain NumPy, floor {floor:4.2f}: {told}")
