"""A model built from a configuration."""

from dataclasses import dataclass
from typing import Optional, Tuple

import torch
from torch import nn


class TinyConvConfig:
    model_type = "tinyconv"

    def __init__(self, hidden_size=16, num_channels=3, batch_norm_eps=1e-5, batch_norm_momentum=0.1, num_labels=10,
                 **kwargs):
        self.hidden_size = hidden_size
        self.num_channels = num_channels
        self.batch_norm_eps = batch_norm_eps
        self.batch_norm_momentum = batch_norm_momentum
        self.num_labels = num_labels
        for k, v in kwargs.items():
            setattr(self, k, v)


@dataclass
class TinyConvOutput:
    logits: torch.FloatTensor = None
    hidden_states: Optional[Tuple[torch.FloatTensor]] = None


class TinyConvBatchNorm(nn.Module):
    def __init__(self, config: TinyConvConfig):
        super().__init__()
        self.eps = config.batch_norm_eps
        self.momentum = config.batch_norm_momentum
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.register_buffer("running_mean", torch.zeros(config.hidden_size))
        self.register_buffer("running_var", torch.ones(config.hidden_size))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        dims = [d for d in range(hidden_states.dim()) if d != 1]
        shape = [1, -1] + [1] * (hidden_states.dim() - 2)
        if self.training:
            mean = hidden_states.mean(dims)
            var = hidden_states.var(dims, unbiased=False)
            n = hidden_states.numel() / hidden_states.size(1)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_((var * n / max(n - 1, 1)).to(self.running_var.dtype), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        hidden_states = (hidden_states - mean.view(shape)) * torch.rsqrt(var.view(shape) + self.eps)
        return hidden_states * self.weight.view(shape) + self.bias.view(shape)


class TinyConvLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.convolution = nn.Conv2d(config.num_channels, config.hidden_size, 3, padding=1)
        self.normalization = TinyConvBatchNorm(config)

    def forward(self, pixel_values):
        return torch.relu(self.normalization(self.convolution(pixel_values)))


class TinyConvForImageClassification(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedder = TinyConvLayer(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pixel_values, return_dict=True):
        h = self.embedder(pixel_values)
        return TinyConvOutput(logits=self.classifier(h.mean((2, 3))), hidden_states=(h,))
