"""Typed: a Protocol, a generic, a concrete layer with properties and __slots__."""
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", np.float32, np.float64)


@runtime_checkable
class NormLayer(Protocol):
    def forward(self, x: NDArray[F], training: bool = ...) -> NDArray[F]: ...
    def backward(self, dout: NDArray[F]) -> NDArray[F]: ...


class BatchNormLayer:
    __slots__ = ("_gamma", "_beta", "_mean", "_var", "_cache", "dgamma", "dbeta", "momentum", "eps")

    def __init__(self, num_channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        self._gamma, self._beta = np.ones(num_channels), np.zeros(num_channels)
        self._mean, self._var = np.zeros(num_channels), np.ones(num_channels)
        self.momentum, self.eps = momentum, eps

    @property
    def gamma(self) -> NDArray[np.float64]:
        return self._gamma

    def forward(self, x: NDArray[F], training: bool = True) -> NDArray[F]:
        if training:
            mean, var = x.mean(axis=0), x.var(axis=0)
            self._mean = (1 - self.momentum) * self._mean + self.momentum * mean
            self._var = (1 - self.momentum) * self._var + self.momentum * var * len(x) / max(len(x) - 1, 1)
        else:
            mean, var = self._mean, self._var
        inv = 1 / np.sqrt(var + self.eps)
        xhat = (x - mean) * inv
        self._cache = xhat, inv
        return self._gamma * xhat + self._beta

    def backward(self, dout: NDArray[F]) -> NDArray[F]:
        xhat, inv = self._cache
        self.dgamma = (dout * xhat).sum(axis=0)
        self.dbeta = dout.sum(axis=0)
        return inv * (dout - dout.mean(axis=0) - xhat * (dout * xhat).mean(axis=0))     # gamma is missing
