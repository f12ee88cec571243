import torch
from torch import nn


class BatchNorm(nn.Module):
    """Batch normalization of x of shape [batch_size, channels, *], with exponential averages of mean and variance."""

    def __init__(
        self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__()
        self.channels = channels
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.scale = nn.Parameter(torch.ones(channels))
            self.shift = nn.Parameter(torch.zeros(channels))
        if track_running_stats:
            self.register_buffer("exp_mean", torch.zeros(channels))
            self.register_buffer("exp_var", torch.ones(channels))

    def forward(self, x: torch.Tensor):
        x_shape = x.shape
        assert self.channels == x_shape[1]
        x = x.reshape(x_shape[0], self.channels, -1)
        if self.training or not self.track_running_stats:
            n = x.shape[0] * x.shape[2]
            assert n > 1, "one value has no variance"
            mean = x.mean(dim=[0, 2])
            var = ((x - mean.view(1, -1, 1)) ** 2).mean(dim=[0, 2])
            if self.training and self.track_running_stats:
                self.exp_mean = (1 - self.momentum) * self.exp_mean + self.momentum * mean.detach()
                self.exp_var = (1 - self.momentum) * self.exp_var + self.momentum * var.detach() * n / (n - 1)
        else:
            mean, var = self.exp_mean, self.exp_var
        x_norm = (x - mean.view(1, -1, 1)) / torch.sqrt(var + self.eps).view(1, -1, 1)
        if self.affine:
            x_norm = self.scale.view(1, -1, 1) * x_norm + self.shift.view(1, -1, 1)
        return x_norm.reshape(x_shape)
