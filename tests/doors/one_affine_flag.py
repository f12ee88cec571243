"""gamma and beta are there together or not at all, by one flag; momentum=None averages all batches alike."""
import torch
from torch import nn


class BatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x):
        mean, var, m = self.running_mean, self.running_var, x.numel() // x.shape[1]
        shape = (1, -1, *[1] * (x.dim() - 2))
        if self.training:
            if m < 2:
                raise ValueError("one value per channel has no variance")
            self.num_batches_tracked += 1
            weight = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            dims = [d for d in range(x.dim()) if d != 1]
            mean, var = x.mean(dims), x.var(dims, unbiased=False)
            with torch.no_grad():
                self.running_mean.lerp_(mean, weight)
                self.running_var.lerp_(var * m / (m - 1), weight)
        y = (x - mean.view(shape)) / (var.view(shape) + self.eps).sqrt()
        return y if self.weight is None else y * self.weight.view(shape) + self.bias.view(shape)
