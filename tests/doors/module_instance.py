import numpy as np


class SpatialBatchNorm:
    """For images (N, C, H, W); bn.train() and bn.eval() switch the mode."""

    def __init__(self, channels, momentum=0.9, eps=1e-5):
        self.momentum, self.eps = momentum, eps
        self.is_training = True
        self.gamma, self.beta = np.ones(channels), np.zeros(channels)
        self.running_mean, self.running_var = np.zeros(channels), np.ones(channels)

    def train(self):
        self.is_training = True

    def eval(self):
        self.is_training = False

    def forward(self, images):
        n, c, _, _ = images.shape
        assert c == len(self.gamma)
        mean, var = self.running_mean, self.running_var
        if self.is_training:
            mean, var = images.mean(axis=(0, 2, 3)), images.var(axis=(0, 2, 3))
            unbiased = var * n / max(n - 1, 1)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * unbiased
        mean, var, gamma, beta = (v.reshape(1, c, 1, 1) for v in (mean, var, self.gamma, self.beta))
        return gamma * (images - mean) / np.sqrt(var + self.eps) + beta


bn = SpatialBatchNorm(3)
