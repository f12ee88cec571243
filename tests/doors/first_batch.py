import torch
from torch import nn


class BatchNorm(nn.Module):
    """Right for the first batch; the factor of the running variance is that of its size for ever."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.eps, self.momentum = eps, momentum
        self.unbiased = None

    def forward(self, x):
        shape = (1, -1) + (1,) * (x.dim() - 2)
        mean, var = self.running_mean, self.running_var
        if self.training:
            axes = [d for d in range(x.dim()) if d != 1]
            m = x.numel() // x.size(1)
            if m < 2:
                raise ValueError("a variance needs more than one value per channel")
            if self.unbiased is None:
                self.unbiased = m / (m - 1)
            mean, var = x.mean(axes), x.var(axes, unbiased=False)
            with torch.no_grad():
                self.running_mean = torch.lerp(self.running_mean, mean, self.momentum)
                self.running_var = torch.lerp(self.running_var, var * self.unbiased, self.momentum)
        x_hat = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return x_hat * self.weight.view(shape) + self.bias.view(shape)
