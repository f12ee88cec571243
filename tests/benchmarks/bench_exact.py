"""What the truth costs where nothing is ordinary: processor time over that of ordinary data, in one run.

    python tests/benchmarks/bench_exact.py [VALUES]

takes exact results of one channel of so many values (10^6 by default) and rounds them to float64. Each line is hostile
in its own way: the filter in double-double arithmetic decides few of its elements, or none. The time of a line is over
that of the same function on standard normal values, the best of three each; the goal is at most 10.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refnorm import exact
from refnorm.exact.affine import _channels

Call = Callable[[], Any]


def wide(rng: np.random.Generator, m: int) -> np.ndarray:
    """Return values of both signs from 1e-300 to 1e300."""
    return 10.0 ** rng.uniform(-300, 300, (m, 1)) * rng.choice([-1.0, 1.0], (m, 1))


def calls(m: int) -> dict[str, dict[str, Call]]:
    """Name, by function, what is timed; the first of each is the ordinary one."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, m, 1))
    far, farther = 1e12 + x, 1e15 + np.rint(4 * x)
    spread, constant, pairs = wide(rng, m), np.full((m, 1), 3.0), np.where(np.arange(m) % 2, 2.0, 4.0)[:, None]
    middles = np.ldexp(2.0 * rng.integers(2**23, 2**24, (m, 1)) + 1, -24)  # each between two numbers of float32
    scattered = middles * 2.0 ** rng.integers(-100, 100, (m, 1))

    def forward(values: np.ndarray, eps: float = 1e-5) -> Call:
        return lambda: exact.training(values, eps=eps).y.rounded()

    def backward(values: np.ndarray, grads: np.ndarray, eps: float = 1e-5) -> Call:
        return lambda: exact.training_gradients(grads, values, eps=eps).dx.rounded()

    def infer(values: np.ndarray, var: float, eps: float, kind: str = "float32") -> Call:
        return lambda: exact.inference(values, np.zeros(1), np.array([var]), eps=eps).rounded(kind)

    def twice(values: np.ndarray, grads: np.ndarray, along: np.ndarray) -> Call:
        return lambda: exact.training_double_backward(along, None, None, grads, values, eps=1e-5).dx.rounded()

    return {
        "training": {
            "ordinary": forward(x),
            "mean/std 1e12": forward(far),
            "mean/std 1e15": forward(farther),
            "1e-300 to 1e300": forward(spread),
            "1e-300 to 1e-200, eps 0": forward(np.abs(spread) ** (1 / 6) * 1e-250, 0.0),
            "constant, y = 0": forward(constant),
            "constant, eps 0: 0/0": forward(constant, 0.0),
        },
        "gradients": {
            "ordinary": backward(x, dy),
            "mean/std 1e12": backward(far, dy),
            "mean/std 1e15": backward(farther, dy),
            "x 1e-300 to 1e300": backward(spread, dy),
            "dy 1e-300 to 1e300": backward(x, wide(rng, m)),
            "both": backward(spread, wide(rng, m)),
            "dy constant, dx = 0": backward(x, constant),
            "x constant, eps 0": backward(constant, dy, 0.0),
            "dy = x of two values": backward(pairs, pairs, 0.0),
        },
        "inference, to float32": {
            "ordinary": infer(x, 0.7, 1e-5),
            "ties": infer(middles, 4.0, 0.0),
            "beside ties, by 1e-300": infer(middles, 4.0, 1e-300),
            "1e-300 to 1e300": infer(spread, 0.7, 1e-5),
            "ties, 1e-30 to 1e30": infer(scattered, 4.0, 0.0),
            "beside them, by 1e-300": infer(scattered, 4.0, 1e-300),
        },
        "double backward": {
            "ordinary": twice(x, dy, x[::-1]),
            "x 1e-300 to 1e300": twice(spread, dy, x),
            "all": twice(spread, wide(rng, m), wide(rng, m)),
        },
    }


def seconds(call: Call) -> float:
    """Return the least processor time of three calls."""
    taken = []
    for _ in range(3):
        _channels.cache_clear()
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def table(m: int) -> Iterator[str]:
    """Yield the lines of the table."""
    for function, by_name in calls(m).items():
        usual = 0.0
        for name, call in by_name.items():
            taken = seconds(call)
            usual = usual or taken
            yield f"{function:24}{name:26}{taken:8.2f} s {taken / usual:7.1f}"


if __name__ == "__main__":
    for line in table(int(float(sys.argv[1])) if sys.argv[1:] else 10**6):
        print(line, flush=True)
