"""Layers carried between real frameworks: each trains, each infers from what every other one has learnt.

They cannot share an environment, so each runs in its own, made by `refnorm matrix --environments DIR`:
`REFNORM_ENVIRONMENTS=DIR pytest -m slow tests/test_conversion_frameworks.py`, minutes. Not verified: formats but
float32, ranks but 4.
"""

import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import refnorm
from refnorm import State, convert
from refnorm.conventions import ROWS
from refnorm.matrix import ENTRIES
from refnorm.matrix.environments import environment

PATHS = {  # framework: path, its row
    "torch": ("functional", "torch"),
    "onnxruntime": ("opset 15", "onnx"),
    "flax": ("linen, two-pass", "flax"),
    "haiku": ("", "haiku"),
    "equinox": ("mode batch", "equinox"),
    "tensorflow": ("fused", "tensorflow"),
    "tf-keras": ("unfused", "tf-keras"),
    "keras-tensorflow": ("tensorflow", "keras"),
    "keras-jax": ("jax", "keras"),
    "tf-slim": ("zero_debias", "tf-slim"),
    "tensorlayer": ("", "tensorlayer"),
    "paddle": ("", "paddle"),
    "mindspore": ("", "mindspore"),
    "mxnet": ("", "mxnet"),
    "chainer": ("functions", "chainer"),
    "tinygrad": ("", "tinygrad"),
    "mlx": ("", "mlx"),
    "numpy-ml": ("", "numpy-ml"),
    "caffe": ("", "caffe"),
    "opencv": ("caffe importer", "caffe"),
    "openvino": ("", "onnx"),
    "ncnn": ("", "onnx"),
}
INFER_ONLY = ("opencv", "openvino", "ncnn")
TRAINS = [name for name in PATHS if name not in INFER_ONLY]
WEIGHT, EPS, STEPS, COUNT = 0.125, 1e-3, 6, 3 * 2 * 4  # of the new batch; values per channel
RNG = np.random.default_rng(20261121)
BATCHES = (RNG.normal(size=(STEPS, 3, 4, 2, 4)) * [[[2.0]], [[0.5]], [[1.0]], [[3.0]]] + 0.75).astype("float32")
GAMMA, BETA = RNG.uniform(-2, 2, 4).astype("float32"), RNG.normal(size=4).astype("float32")
SCRIPT = """
import sys, numpy as np
from refnorm.oracle.ask.target import load_target
target, path, given, out = sys.argv[1:]
box = load_target(target).paths[path]
d = dict(np.load(given))
x, gamma, beta, results = d["batches"][-1], d["gamma"], d["beta"], {}
if hasattr(box, "train"):
    mean, var = d["mean"], d["var"]
    for batch in d["batches"]:
        mean, var = (np.array(a) for a in box.train(batch, gamma, beta, mean, var, float(d["momentum"]), 1e-3)[1:3])
    results = {"mean": mean, "var": var, "y": box.infer(x, gamma, beta, mean, var, 1e-3)}
for key in [k[5:] for k in d if k.startswith("mean.")]:
    m, v, s, eps = (d[f"{n}.{key}"] for n in ("mean", "var", "weight", "eps"))
    blobs = hasattr(box, "infer_blobs")
    results[f"y.{key}"] = (
        box.infer_blobs(x, gamma, beta, m, v, float(s), float(eps)) if blobs
        else box.infer(x, gamma, beta, (m / s).astype("float32"), (v / s).astype("float32"), float(eps)))
np.savez(out, **results)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "REFNORM_ENVIRONMENTS" not in os.environ,
        reason="set REFNORM_ENVIRONMENTS to the directory that `refnorm matrix --environments` filled",
    ),
]


def run(name, **given):
    entry = next(e for e in ENTRIES if e.name == name)
    python = environment(entry.requirements, Path(os.environ["REFNORM_ENVIRONMENTS"]))
    variables = os.environ | {"PYTHONPATH": str(Path(refnorm.__file__).parent.parent), "KERAS_BACKEND": entry.backend}
    if not entry.backend:
        del variables["KERAS_BACKEND"]
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "given.npz"), batches=BATCHES, gamma=GAMMA, beta=BETA, **given)
        command = [str(python), "-W", "ignore", "-c", SCRIPT, entry.target, PATHS[name][0], "given.npz", "out.npz"]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-800:]
        return dict(np.load(Path(folder, "out.npz")))


def momentum(row):
    return WEIGHT if ROWS[row].momentum == "new" else 1 - WEIGHT


@lru_cache
def trained(name, from_zero=False):
    """Train a framework; return what it holds, and its own inference."""
    zero = np.zeros(4, "float32")
    return run(name, mean=zero, var=zero if from_zero else zero + 1, momentum=momentum(PATHS[name][1]))


def state(name, results):
    row = PATHS[name][1]
    weight = 1 / WEIGHT if ROWS[row].momentum == "sums" else 1.0  # sums that have settled
    mean, var = (results[k].astype(np.float64) * weight for k in ("mean", "var"))
    return State(mean, var, momentum(row), EPS, GAMMA, BETA, weight)


@pytest.mark.parametrize("target", PATHS)
def test_every_framework_infers_the_same_from_what_any_other_has_learnt(target):
    given = {"mean": np.zeros(4, "float32"), "var": np.ones(4, "float32"), "momentum": momentum(PATHS[target][1])}
    for source in TRAINS:
        moved = convert(state(source, trained(source)), PATHS[source][1], PATHS[target][1])
        given |= {f"mean.{source}": moved.running_mean.astype("float32"), f"weight.{source}": np.float32(moved.weight)}
        given |= {f"var.{source}": moved.running_var.astype("float32"), f"eps.{source}": moved.eps}
    found = run(target, **given)
    along = (1, -1, 1, 1)
    for source in TRAINS:
        mean, var, y = (trained(source)[k].astype(np.float64) for k in ("mean", "var", "y"))
        # Each side rounds x, mean, inv_std, gamma, beta, their products and sums, a dozen times, folded or not; so does
        # the variance on its way, relatively.
        scale = np.abs(GAMMA / np.sqrt(var + EPS)).reshape(along)
        terms = scale * (np.abs(BATCHES[-1]) + np.abs(mean).reshape(along)) + np.abs(BETA).reshape(along)
        error = np.abs(found[f"y.{source}"] - y)
        assert np.all(error <= 2 * 12 * 2.0**-24 * terms), (source, target, float(np.max(error / terms)))


@pytest.mark.parametrize("target", [n for n in TRAINS if ROWS[PATHS[n][1]].momentum != "sums"])
def test_with_a_count_the_target_holds_what_it_would_have_learnt_itself(target):
    own = trained(target, from_zero=True)
    for source in TRAINS:
        if ROWS[PATHS[source][1]].momentum == "sums":  # whose first batches weigh more than an average's
            continue
        moved = convert(state(source, trained(source, from_zero=True)), PATHS[source][1], PATHS[target][1], count=COUNT)
        assert moved.momentum == momentum(PATHS[target][1])
        # A float32 step rounds a few times, and its mean of 24 values as often as it adds: 64 roundings of the largest.
        for key, value in (("mean", moved.running_mean), ("var", moved.running_var)):
            most = np.max(np.abs(own[key])) + np.max(np.abs(BATCHES)) * (key == "mean")
            assert np.max(np.abs(value - own[key])) <= 64 * 2.0**-24 * most, (source, target, key)


def test_leaving_out_the_factor_or_the_scale_is_seen():
    first = trained("torch", from_zero=True)
    moved = convert(state("torch", first), "torch", "keras", count=COUNT)
    off = np.max(np.abs(first["var"] - moved.running_var)) / np.max(first["var"])
    assert off > 100 * 64 * 2.0**-24  # m/(m - 1) is far above the bound
