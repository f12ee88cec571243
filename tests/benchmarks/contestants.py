"""Batch normalization by other hands, for the benchmarks: each maps (x, dy, gamma, beta) to what is to be timed.

`TRAINING` holds forward plus backward, `INFERENCE` forward only, `DOUBLE_BACKWARD` what its name says. A contestant
that cannot be imported or lacks a dtype returns None instead of something to call, and is not timed.
"""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import importlib
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import refnorm

EPS = 1e-5
Run = Callable[[], Any]


def plain_training(x, dy, gamma, beta) -> Run:
    """Write it as it is usually published, in NumPy, in the dtype of x."""
    axes, along = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))
    gamma, beta, eps = gamma.reshape(along), beta.reshape(along), x.dtype.type(EPS)

    def run():
        mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
        std = np.sqrt(var + eps)
        x_hat = (x - mean) / std
        y = gamma * x_hat + beta
        m = x.size // gamma.size
        dbeta, dgamma = dy.sum(axis=axes, keepdims=True), (dy * x_hat).sum(axis=axes, keepdims=True)
        dx = gamma / std / m * (m * dy - dbeta - x_hat * dgamma)
        return y, dx, dgamma, dbeta

    return run


def plain_inference(x, dy, gamma, beta) -> Run:
    along = (1, -1, *(1,) * (x.ndim - 2))
    mean, var, g, b = (v.reshape(along) for v in (beta, gamma**2, gamma, beta))
    return lambda: g * ((x - mean) / np.sqrt(var + x.dtype.type(EPS))) + b


def refnorm_training(threads: int) -> Callable[..., Run]:
    def prepare(x, dy, gamma, beta):
        def run():
            with _threads(threads):
                y, saved = refnorm.batch_norm_training(x, gamma, beta, eps=EPS)
                return y, *refnorm.batch_norm_training_backward(dy, saved)

        return run

    return prepare


def plain_double_backward(x, dy, gamma, beta) -> Run:
    """Write it as its formulas stand in the docstring of refnorm's, x_hat kept from the forward."""
    axes, along = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))
    ddx, ddgamma, ddbeta, gamma = np.roll(dy, 1), beta.reshape(along), gamma.reshape(along), gamma.reshape(along)
    inv_std = 1 / np.sqrt(x.var(axis=axes, keepdims=True) + x.dtype.type(EPS))
    x_hat = (x - x.mean(axis=axes, keepdims=True)) * inv_std

    def average(values):
        return values.mean(axis=axes, keepdims=True)

    def residual(values):
        return values - average(values) - x_hat * average(values * x_hat)

    def run():
        p_dy, p_ddx = residual(dy), residual(ddx)
        ddy = gamma * inv_std * p_ddx + ddgamma * x_hat + ddbeta
        moved = average(ddx * x_hat) * p_dy + average(dy * x_hat) * p_ddx + average(ddx * p_dy) * x_hat
        return ddy, (ddgamma * p_dy - gamma * inv_std * moved) * inv_std, (ddx * p_dy).sum(axis=axes)

    return run


def refnorm_double_backward(x, dy, gamma, beta) -> Run:
    _, saved = refnorm.batch_norm_training(x, gamma, beta, eps=EPS)
    ddx = np.roll(dy, 1)

    def run():
        with _threads(1):
            return refnorm.batch_norm_training_double_backward(ddx, beta, gamma, dy, saved)

    return run


def refnorm_inference(threads: int) -> Callable[..., Run]:
    def prepare(x, dy, gamma, beta):
        def run():
            with _threads(threads):
                return refnorm.batch_norm_inference(x, beta, gamma**2, gamma, beta, eps=EPS)

        return run

    return prepare


@contextlib.contextmanager
def _threads(threads: int):
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def torch_training(threads: int) -> Callable[..., Run | None]:
    def prepare(x, dy, gamma, beta):
        torch = _import("torch")
        if torch is None:
            return None
        tx, tdy, tg, tb = (torch.from_numpy(v) for v in (x, dy, gamma, beta))

        def run():
            torch.set_num_threads(threads)
            y, mean, inv_std = torch.native_batch_norm(tx, tg, tb, None, None, True, 0.1, EPS)
            return y, torch.ops.aten.native_batch_norm_backward(
                tdy, tx, tg, None, None, mean, inv_std, True, EPS, [True] * 3
            )

        return run

    return prepare


def torch_inference(threads: int) -> Callable[..., Run | None]:
    def prepare(x, dy, gamma, beta):
        torch = _import("torch")
        if torch is None:
            return None
        tx, mean, var, g, b = (torch.from_numpy(v) for v in (x, beta, gamma**2, gamma, beta))

        def run():
            torch.set_num_threads(threads)
            return torch.nn.functional.batch_norm(tx, mean, var, g, b, False, 0.1, EPS)

        return run

    return prepare


def jax_training(x, dy, gamma, beta) -> Run | None:
    jax = _import("jax")
    if jax is None:
        return None
    axes, along = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))

    def forward(x, gamma, beta):
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + EPS) * gamma.reshape(along) + beta.reshape(along)

    def both(x, dy, gamma, beta):
        y, backward = jax.vjp(forward, x, gamma, beta)
        return y, backward(dy)

    with jax.enable_x64(True):
        arrays = [jax.numpy.asarray(v) for v in (x, dy, gamma, beta)]
        compiled = jax.jit(both).lower(*arrays).compile()
    return lambda: jax.block_until_ready(compiled(*arrays))


def numpy_ml_training(x, dy, gamma, beta) -> Run | None:
    """numpy-ml keeps channels last, and computes in float64 whatever it is given."""
    collections.Hashable = collections.abc.Hashable  # what it imports was moved there in Python 3.10
    layers = _import("numpy_ml.neural_nets.layers")
    if layers is None:
        return None
    layer = (layers.BatchNorm2D if x.ndim == 4 else layers.BatchNorm1D)(epsilon=EPS)
    last, upstream = (np.ascontiguousarray(np.moveaxis(v, 1, -1)) for v in (x, dy))

    def run():
        y = layer.forward(last)
        dx = layer.backward(upstream)
        layer.flush_gradients()
        layer.X = []
        return y, dx

    return run


def onnx_inference(session: Callable[[Any], Run]) -> Callable[..., Run | None]:
    def prepare(x, dy, gamma, beta):
        onnx = _import("onnx.helper")
        if onnx is None:
            return None
        kind = onnx.np_dtype_to_tensor_dtype(x.dtype)
        names = ["x", "gamma", "beta", "mean", "var"]
        node = onnx.make_node("BatchNormalization", names, ["y"], epsilon=EPS)
        inputs = [onnx.make_tensor_value_info(name, kind, None) for name in names]
        graph = onnx.make_graph([node], "batch norm", inputs, [onnx.make_tensor_value_info("y", kind, None)])
        model = onnx.make_model(graph, opset_imports=[onnx.make_opsetid("", 15)], ir_version=8)
        feed = dict(zip(names, (x, gamma, beta, beta, gamma**2), strict=True))
        return session(model, feed)

    return prepare


def _evaluator(model, feed) -> Run | None:
    reference = _import("onnx.reference")
    evaluator = reference.ReferenceEvaluator(model)
    return lambda: evaluator.run(None, feed)


def _onnxruntime(threads: int):
    def session(model, feed) -> Run | None:
        runtime = _import("onnxruntime")
        if runtime is None:
            return None
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            ready = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except runtime.capi.onnxruntime_pybind11_state.NotImplemented:  # a dtype it lacks
            return None
        return lambda: ready.run(None, feed)

    return session


def _import(name: str) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # what a framework warns of while it is imported is not ours
            return importlib.import_module(name)
    except ImportError:
        return None


TRAINING = {
    "refnorm, 1 thread": refnorm_training(1),
    "refnorm, 2 threads": refnorm_training(2),
    "plain NumPy": plain_training,
    "numpy-ml": numpy_ml_training,
    "torch, 1 thread": torch_training(1),
    "torch, 2 threads": torch_training(2),
    "JAX jit": jax_training,
}
DOUBLE_BACKWARD = {"refnorm, 1 thread": refnorm_double_backward, "plain NumPy": plain_double_backward}
INFERENCE = {
    "refnorm, 1 thread": refnorm_inference(1),
    "refnorm, 2 threads": refnorm_inference(2),
    "plain NumPy": plain_inference,
    "torch, 1 thread": torch_inference(1),
    "torch, 2 threads": torch_inference(2),
    "ONNX reference": onnx_inference(_evaluator),
    "onnxruntime, 1 thread": onnx_inference(_onnxruntime(1)),
}
