from __future__ import annotations

from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mode = Literal["fit", "predict"]


class Norm(Protocol):
    def __call__(self, x: Floats, /, *, mode: Mode) -> Floats: ...


class BatchNorm(Norm):
    """Batch normalisation of the last axis."""

    __slots__ = ("loc", "scale", "mean_", "var_", "decay", "eps", "_tape")

    def __init__(self, features: int, /, *, decay: float = 0.99, eps: float = 1e-3) -> None:
        self.loc: Floats = np.zeros(features)
        self.scale: Floats = np.ones(features)
        self.mean_: Floats = np.zeros(features)
        self.var_: Floats = np.ones(features)
        self.decay: Final = decay
        self.eps: Final = eps

    def __call__(self, x: Floats, /, *, mode: Mode = "fit") -> Floats:
        if mode == "fit":
            axes = tuple(range(x.ndim - 1))
            mean, var = np.mean(x, axis=axes), np.var(x, axis=axes)
            self.mean_ = self.decay * self.mean_ + (1.0 - self.decay) * mean
            self.var_ = self.decay * self.var_ + (1.0 - self.decay) * var
        else:
            mean, var = self.mean_, self.var_
        return self.scale * (x - mean) / np.sqrt(var + self.eps) + self.loc
