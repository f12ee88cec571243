"""All four are buffers, and nothing trains: inference alone, eps fixed, folded into a scale and a shift."""
import torch
from torch import nn


class FrozenBatchNorm2d(nn.Module):
    def __init__(self, planes):
        super().__init__()
        for name, start in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((planes,), start))

    def forward(self, images):
        scale = self.weight / (self.running_var + 1e-5).sqrt()
        shift = self.bias - self.running_mean * scale
        return images * scale[:, None, None] + shift[:, None, None]
