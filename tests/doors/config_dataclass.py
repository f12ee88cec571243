"""Functions of a configuration, parameters and a state."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class BNConfig:
    num_features: int
    eps: float = 1e-3
    momentum: float = 0.99


@dataclass(frozen=True)
class BNParams:
    gamma: np.ndarray
    beta: np.ndarray


@dataclass(frozen=True)
class BNState:
    mean: np.ndarray
    var: np.ndarray
    count: int = 0


def init(cfg: BNConfig):
    d = cfg.num_features
    return BNParams(np.ones(d), np.zeros(d)), BNState(np.zeros(d), np.ones(d))


def apply(cfg: BNConfig, params: BNParams, state: BNState, x: np.ndarray, train: bool = True):
    """Batch normalization of x (..., C). Returns (y, state)."""
    if train:
        axes = tuple(range(x.ndim - 1))
        mean = x.mean(axes)
        var = x.var(axes)
        k = cfg.momentum
        state = replace(state, mean=k * state.mean + (1 - k) * mean, var=k * state.var + (1 - k) * var,
                        count=state.count + 1)
    else:
        mean, var = state.mean, state.var
    y = (x - mean) / np.sqrt(var + cfg.eps) * params.gamma + params.beta
    return y, state
