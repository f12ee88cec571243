"""What computes on a device: where tensors lie, arrays of CuPy, memory that runs out, the sums of a kernel."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import refnorm
from refnorm.matrix import Entry, matrix
from refnorm.oracle.ask.doors.libraries import to_numpy, used_by
from refnorm.oracle.ask.troubled import exhausted

SAMPLED = 3  # one in so many; see conftest.py

GPU = Path(__file__).parent / "gpu"
LAYER = """\
import torch


class Norm(torch.nn.BatchNorm1d):
    pass
"""


def command(*words):
    run = [sys.executable, "-m", "refnorm", *map(str, words)]
    return subprocess.run(run, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("verb", ["check", "identify", "gradcheck"])
def test_a_device_that_is_not_there_is_one_line(verb, tmp_path):
    file = tmp_path / "norm.py"
    file.write_text("def batch_norm(x):\n    return x\n")
    said = command(verb, file, "--device", "warp")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("refnorm: --device warp: torch cannot compute there (")
    assert said.stderr.count("\n") == 1


def test_a_device_without_numbers_is_none():
    pytest.importorskip("torch")
    assert "no data" in command("check", "torch", "--device", "meta").stderr


def test_a_layer_is_judged_where_it_is_and_the_report_says_where(tmp_path):
    pytest.importorskip("torch")
    file = tmp_path / "layer.py"
    file.write_text(LAYER)
    said = command("check", file, "--device", "cpu", "--convention", "keras", "--format", "json")
    report = json.loads(said.stdout)
    assert report["versions"]["array"].endswith(" on cpu")
    statement = "import torch; torch.set_default_device('cpu'); import refnorm; refnorm.reproduce("
    assert all(statement in finding["reproduce"] for finding in report["findings"])
    assert report["findings"]


def test_tensors_lie_on_the_default_device_with_the_strides_of_their_arrays():
    torch = pytest.importorskip("torch")
    from refnorm.oracle.ask.doors.in_torch import tensor_of

    gaps = np.arange(24.0).reshape(4, 6)[::2, ::3]
    torch.set_default_device("meta")
    try:
        there = [tensor_of(a) for a in (gaps, gaps[::-1], np.float32(gaps.T))]
    finally:
        torch.set_default_device(None)
    assert {tensor.device.type for tensor in there} == {"meta"}
    here = tensor_of(gaps)
    assert here.device.type == "cpu"
    assert there[0].stride() == here.stride() == (12, 3)


def test_the_matrix_measures_a_device_with_what_is_installed_here(tmp_path):
    found = matrix([Entry("torch", "torch", device="warp")], tmp_path)
    assert list(found) == ["torch-warp"]
    assert found["torch-warp"]["error"].startswith("--device warp: torch cannot compute there")
    assert list(tmp_path.iterdir()) == []


def test_the_layers_for_a_gpu_differ_by_a_mask():
    right, wrong = ((GPU / f"triton_{name}.py").read_text().splitlines()[1:] for name in ("norm", "unmasked"))
    differ = [pair for pair in zip(right, wrong, strict=True) if pair[0] != pair[1]]
    assert differ == [
        ("        total += tl.where(at < count, centred * centred, 0.0)", "        total += centred * centred")
    ]


def test_arrays_of_cupy_go_there_and_back(monkeypatch):
    class Array:
        """An array of a device, which NumPy must not touch."""

        def __init__(self, values):
            self.values = values

        def __array__(self, *_, **__):
            raise TypeError("implicit conversion to a NumPy array is not allowed")

    cupy = types.ModuleType("cupy")
    cupy.ndarray, cupy.asarray, cupy.asnumpy = Array, Array, lambda array: array.values
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    library, *others = used_by(lambda x: x, {"cp": cupy})
    assert (library.name, "numpy" in {other.name for other in others}) == ("cupy", True)
    ones = np.ones(3)
    assert isinstance(library.own(ones), Array)
    assert to_numpy(library.own(ones)) is ones


# Memory that runs out.


@pytest.mark.parametrize(
    ("where", "said"), [("x.ndim", "could not be read: MemoryError"), ("x.size > 1000", "ran out")]
)
def test_memory_that_runs_out_is_no_verdict(where, said, tmp_path):
    file = tmp_path / "large.py"
    file.write_text(f"""\
def batch_norm(x, gamma, beta, eps=1e-5):
    if {where}:
        raise MemoryError("Unable to allocate 3 GiB")
    return gamma * (x - x.mean(0)) / (x.var(0) + eps) ** 0.5 + beta
""")
    result = command("check", file)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_memory_is_told_from_what_is_wrong():
    class OutOfMemoryError(RuntimeError):
        """As torch and CuPy name theirs."""

    assert exhausted(OutOfMemoryError("Tried to allocate 2.00 GiB"))
    assert exhausted(RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"))
    assert not exhausted(ValueError("memory order must be C"))


# Gradients as PyTorch's CUDA kernel of contiguous batches has them.


class Rounded:
    """Products and what threads hand to each other are rounded to the format of x; each thread adds in float32."""

    dtypes = ("float32", "float16")

    def train(self, x, gamma, beta, running_mean, running_var, momentum, eps):
        m, values = x.size // x.shape[1], x.astype(np.float32)
        if m < 2:
            raise ValueError("more than one value per channel is needed")
        mean, var = values.mean(self.axes(x)), values.var(self.axes(x))
        y, cache = self.mapped(x, mean, var, gamma, beta, eps, False)
        moved = (
            (1 - momentum) * old + momentum * new
            for old, new in ((running_mean, mean), (running_var, var * m / (m - 1)))
        )
        return y, *(new.astype(running_mean.dtype) for new in moved), cache

    def frozen(self, x, gamma, beta, running_mean, running_var, eps):
        return self.mapped(x, *(np.float32(a) for a in (running_mean, running_var)), gamma, beta, eps, True)

    def mapped(self, x, mean, var, gamma, beta, eps, frozen):
        slope = 1 / np.sqrt(var + np.float32(eps))
        centred = x.astype(np.float32) - self.along(mean, x)
        g = slope if gamma is None else slope * np.float32(gamma)
        y = centred * self.along(g, x) + (0 if beta is None else self.along(np.float32(beta), x))
        return y.astype(x.dtype), (centred, slope, g, gamma, beta, frozen)

    def backward(self, dy, cache):
        centred, slope, g, gamma, beta, frozen = cache
        values, axes = dy.astype(np.float32), self.axes(dy)
        x_hat = centred * self.along(slope, dy)
        inner = values
        if not frozen:
            inner = values - self.along(values.mean(axes), dy) - x_hat * self.along((values * x_hat).mean(axes), dy)
        dgamma, dbeta = self.total(values * centred, dy) * slope, self.total(values, dy)
        parameters = [None if p is None else d.astype(p.dtype) for p, d in ((gamma, dgamma), (beta, dbeta))]
        return (self.along(g, dy) * inner).astype(dy.dtype), *parameters

    @staticmethod
    def total(terms, dy):
        rows = np.moveaxis(terms, 1, -1).reshape(-1, dy.shape[1]).astype(dy.dtype)
        threads = np.zeros((32, dy.shape[1]), np.float32)
        for first in range(0, len(rows), 32):
            part = rows[first : first + 32]
            threads[: len(part)] += part
        while len(threads) > 1:
            half = len(threads) // 2
            threads = threads[:half] + threads[half:].astype(dy.dtype)
        return threads[0]

    @staticmethod
    def axes(x):
        return tuple(axis for axis in range(x.ndim) if axis != 1)

    @staticmethod
    def along(vector, x):
        return vector.reshape([1, -1] + [1] * (x.ndim - 2))


@pytest.mark.rest  # see conftest.py
@pytest.mark.parametrize("formats", [("float16",), pytest.param(None, marks=pytest.mark.slow)], ids=str)
def test_gradients_that_are_rounded_at_every_step_have_one_cause(formats):
    report = refnorm.check(Rounded(), dtypes=formats)
    (path,) = report.paths
    assert [finding.cause for finding in path.findings] == ["accumulates-in-float16"]
    assert {"dbeta", "frozen dgamma", "frozen dbeta"} <= set(path.findings[0].quantities)
