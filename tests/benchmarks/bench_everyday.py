"""What a user waits for: exact numbers, a verdict, an import.

    pip install --editable '.[benchmark]' && pytest -n 0 tests/benchmarks/bench_everyday.py

prints values a second of `refnorm.exact` (goal: 300,000), seconds of ``refnorm check`` on a NumPy file (goal: below 5),
and the time of ``import refnorm`` over that of ``import numpy`` (goal: at most 4), each the best of several.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from refnorm import exact

PLAIN = """\
import numpy as np

def train(x, gamma, beta, running_mean, running_var, momentum, eps):
    axes, along = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))
    gamma = np.ones_like(running_mean) if gamma is None else gamma
    beta = np.zeros_like(running_mean) if beta is None else beta
    m = x.size // x.shape[1]
    if m < 2:
        raise ValueError("one value per channel")
    wide = x.astype(np.float64)
    mean, var = wide.mean(axis=axes), wide.var(axis=axes)
    x_hat = (wide - mean.reshape(along)) / np.sqrt(var + eps).reshape(along)
    y = (gamma.reshape(along) * x_hat + beta.reshape(along)).astype(x.dtype)
    new_mean = ((1 - momentum) * running_mean.astype(np.float64) + momentum * mean).astype(running_mean.dtype)
    new_var = (1 - momentum) * running_var.astype(np.float64) + momentum * var * (m / (m - 1))
    return y, new_mean, new_var.astype(running_var.dtype), None

def infer(x, gamma, beta, running_mean, running_var, eps):
    along = (1, -1, *(1,) * (x.ndim - 2))
    std = np.sqrt(running_var.astype(np.float64) + eps)
    x_hat = (x.astype(np.float64) - running_mean.reshape(along)) / std.reshape(along)
    y = x_hat if gamma is None else x_hat * gamma.reshape(along)
    return (y if beta is None else y + beta.reshape(along)).astype(x.dtype)
"""


def best(run, rounds: int) -> float:
    def once() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return min(once() for _ in range(rounds))


def test_exact(benchmark, lines, numbers):
    rng = np.random.default_rng(0)
    x, gamma, beta = rng.standard_normal((64, 16, 14, 14)), rng.standard_normal(16), rng.standard_normal(16)
    seconds = best(lambda: exact.training(x, gamma, beta, eps=1e-5).y.rounded(), 3)
    benchmark.pedantic(lambda: None)  # what was timed by hand stands in the lines below
    numbers.setdefault("everyday", {})["exact, values a second"] = x.size / seconds
    lines.append(f"exact: {x.size / seconds:,.0f} values a second, forward, rounded to float64 (goal: 300,000)")


def test_check(benchmark, lines, numbers, tmp_path):
    (tmp_path / "plain_bn.py").write_text(PLAIN)
    command = [sys.executable, "-m", "refnorm", "check", str(tmp_path / "plain_bn.py")]
    status = subprocess.run(command, capture_output=True, text=True)
    assert status.returncode in (0, 1), status.stderr
    seconds = best(lambda: subprocess.run(command, capture_output=True), 3)
    benchmark.pedantic(lambda: None)
    numbers.setdefault("everyday", {})["refnorm check, seconds"] = seconds
    lines.append(f"refnorm check on a NumPy file: {seconds:.1f} s (goal: below 5)")


def test_import(benchmark, lines, numbers):
    code = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"

    def seconds(name: str) -> float:
        command = [sys.executable, "-c", code.format(name)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    pairs = [(seconds("numpy"), seconds("refnorm")) for _ in range(10)]
    numpy, ours = (min(times) for times in zip(*pairs, strict=True))
    benchmark.pedantic(lambda: None)
    numbers.setdefault("everyday", {})["import refnorm over import numpy"] = ours / numpy
    lines.append(f"import refnorm over import numpy: {ours / numpy:.2f} (goal: at most 4)")
