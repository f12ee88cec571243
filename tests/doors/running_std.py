from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class BatchNormConfig:
    num_features: int
    eps: float = 1e-5
    momentum: float = 0.1
    affine: bool = True


@dataclass
class BatchNorm:
    config: BatchNormConfig
    gamma: Array = field(init=False)
    beta: Array = field(init=False)
    running_mean: Array = field(init=False)
    running_std: Array = field(init=False)

    def __post_init__(self) -> None:
        n = self.config.num_features
        self.gamma, self.beta = np.ones(n), np.zeros(n)
        self.running_mean, self.running_std = np.zeros(n), np.ones(n)

    def forward(self, x: Array, train: bool = True) -> Array:
        cfg = self.config
        if train:
            mean, std = x.mean(axis=0), np.sqrt(x.var(axis=0) + cfg.eps)
            self.running_mean = (1 - cfg.momentum) * self.running_mean + cfg.momentum * mean
            self.running_std = (1 - cfg.momentum) * self.running_std + cfg.momentum * std
        else:
            mean, std = self.running_mean, self.running_std
        self.x_hat, self.std = (x - mean) / std, std
        return self.gamma * self.x_hat + self.beta

    def backward(self, dy: Array) -> Array:
        self.dgamma = (dy * self.x_hat).sum(axis=0)
        self.dbeta = dy.sum(axis=0)
        n = dy.shape[0]
        return self.gamma / self.std * (dy - self.dbeta / n - self.x_hat * self.dgamma / n)
