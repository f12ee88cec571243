"""How fast refnorm is on a GPU: against torch with cuDNN and without, and against copying the same bytes.

    pip install --editable '.[test,gpu]' torch && python tests/benchmarks/bench_gpu.py

prints, for ImageNet-like sizes, the time of refnorm on CuPy over torch's (goal: at most 1.5 at equal precision), and
how much of the bandwidth of a device-to-device copy is reached by the bytes that must move (goal: above 0.5): training
reads x twice and writes y; backward reads dy and x twice and writes dx; inference reads x and writes y. All times are
of one run, the best of interleaved rounds, each waited for. refnorm computes float32 in float64, torch does not.

``--on numpy`` runs the same program on the CPU, with torch's CPU kernels, to see that it works; its numbers mean
nothing.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import refnorm

SHAPES = [(32, 64, 112, 112), (32, 256, 56, 56), (32, 512, 28, 28), (32, 2048, 7, 7)]
PASSES = {"training": 3, "backward": 5, "inference": 2}
EPS = 1e-5
Runs = dict[str, Callable[[], Any]]


def ours(xp: Any, arrays: list[Any]) -> Runs:
    """Return refnorm's three maps."""
    x, dy, gamma, beta = (xp.asarray(array) for array in arrays)
    _, saved = refnorm.batch_norm_training(x, gamma, beta, eps=EPS)
    return {
        "training": lambda: refnorm.batch_norm_training(x, gamma, beta, eps=EPS),
        "backward": lambda: refnorm.batch_norm_training_backward(dy, saved),
        "inference": lambda: refnorm.batch_norm_inference(x, beta, gamma**2, gamma, beta, eps=EPS),
    }


def copying(xp: Any, arrays: list[Any]) -> Runs:
    """Return a copy of x: it reads and writes each byte once."""
    x = xp.asarray(arrays[0])
    y = xp.empty_like(x)

    def copy() -> None:
        y[...] = x

    return {"copy": copy}


def torch_runs(device: str, arrays: list[Any], cudnn: bool) -> Runs:
    """Return torch's three maps, by cuDNN or by its own kernels."""
    import torch

    x, dy, gamma, beta = (torch.from_numpy(array).to(device) for array in arrays)
    mean, var = beta.clone(), gamma**2
    x.requires_grad_(), gamma.requires_grad_(), beta.requires_grad_()

    def forward(training: bool) -> Any:
        with torch.backends.cudnn.flags(enabled=cudnn):
            return torch.nn.functional.batch_norm(x, mean, var, gamma, beta, training, 0.0, EPS)

    def without_gradient(training: bool) -> Any:
        with torch.no_grad():
            return forward(training)

    y = forward(True)
    return {
        "training": lambda: without_gradient(True),
        "backward": lambda: torch.autograd.grad(y, (x, gamma, beta), dy, retain_graph=True),
        "inference": lambda: without_gradient(False),
    }


def waiter(on: str) -> Callable[[], None]:
    """Return what waits until the device has done everything."""
    if on == "cupy":
        import cupy
        import torch

        return lambda: (cupy.cuda.Device().synchronize(), torch.cuda.synchronize())[0]
    return lambda: None


def best_of(runs: dict[tuple[str, str], Callable[[], Any]], wait: Callable[[], None], rounds: int) -> dict[Any, float]:
    """Return the best time of each, rounds interleaved."""
    best = dict.fromkeys(runs, np.inf)
    for number in range(rounds + 2):  # the first two compile and fill pools
        for key, run in runs.items():
            wait()
            start = time.perf_counter()
            run()
            wait()
            if number > 1:
                best[key] = min(best[key], time.perf_counter() - start)
    return best


def measure(on: str, shape: tuple[int, ...], dtype: str, rounds: int) -> dict[str, Any]:
    """Return seconds by contestant and map, and the ratios."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, dtype), rng.standard_normal(shape, dtype)]
    arrays += [rng.uniform(0.5, 1.5, shape[1]).astype(dtype), rng.standard_normal(shape[1]).astype(dtype)]
    xp = importlib.import_module(on)
    device = "cuda" if on == "cupy" else "cpu"
    contestants = {
        "refnorm": ours(xp, arrays),
        "copy": copying(xp, arrays),
        "torch, cuDNN": torch_runs(device, arrays, cudnn=True),
        "torch, native": torch_runs(device, arrays, cudnn=False),
    }
    runs = {(who, what): run for who, maps in contestants.items() for what, run in maps.items()}
    times = best_of(runs, waiter(on), rounds)
    copied = times["copy", "copy"] / 2  # seconds to move the bytes of x once
    found: dict[str, Any] = {"shape": list(shape), "dtype": dtype, "copy, bytes a second": arrays[0].nbytes / copied}
    for what, passes in PASSES.items():
        found[what] = {
            "seconds": {who: times[who, what] for who in contestants if who != "copy"},
            "over torch, cuDNN": times["refnorm", what] / times["torch, cuDNN", what],
            "over torch, native": times["refnorm", what] / times["torch, native", what],
            "part of the copy's bandwidth": passes * copied / times["refnorm", what],
        }
    return found


def versions(on: str) -> dict[str, str]:
    """Return versions, and the device's name."""
    import torch

    xp = importlib.import_module(on)
    device = xp.cuda.runtime.getDeviceProperties(0)["name"].decode() if on == "cupy" else "CPU"
    return {"refnorm": refnorm.__version__, on: xp.__version__, "torch": torch.__version__, "device": device}


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", choices=["cupy", "numpy"], default="cupy")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--scale", type=int, default=1, help="divide batches by this (1)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured there, as JSON")
    asked = parser.parse_args(arguments)
    shapes = [(max(2, shape[0] // asked.scale), *shape[1:]) for shape in SHAPES]
    results = []
    print(f"{'':28}{'':10}{'over cuDNN':>12}{'over native':>12}{'of the copy':>12}", flush=True)
    for dtype, shape in itertools.product(("float32", "float64"), shapes):
        result = measure(asked.on, shape, dtype, asked.rounds)
        results.append(result)
        for what in PASSES:
            row = [result[what][key] for key in list(result[what])[1:]]
            numbers = "".join(f"{v:12.2f}" for v in row)
            print(f"{result['dtype']:9}{tuple(result['shape'])!s:19}{what:10}{numbers}", flush=True)
        if asked.record:  # after each shape, so that a run that is cut off keeps what it has
            asked.record.write_text(json.dumps({"versions": versions(asked.on), "results": results}, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
