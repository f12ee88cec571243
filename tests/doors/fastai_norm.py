import torch
from torch import nn


class BatchNorm(nn.Module):
    def __init__(self, nf, mom=0.1, eps=1e-5):
        super().__init__()
        self.mom, self.eps = mom, eps
        self.mults = nn.Parameter(torch.ones(nf, 1, 1))
        self.adds = nn.Parameter(torch.zeros(nf, 1, 1))
        self.register_buffer("vars", torch.ones(1, nf, 1, 1))
        self.register_buffer("means", torch.zeros(1, nf, 1, 1))

    def batch_stats(self, x):
        n = x.numel() // x.shape[1]
        if n < 2:
            raise ValueError(f"a variance needs two values per channel, got {n}")
        m = x.mean((0, 2, 3), keepdim=True)
        v = x.var((0, 2, 3), keepdim=True, unbiased=False)
        with torch.no_grad():
            self.means.lerp_(m, self.mom)
            self.vars.lerp_(v * n / (n - 1), self.mom)
        return m, v

    def forward(self, x):
        m, v = self.batch_stats(x) if self.training else (self.means, self.vars)
        x = (x - m) / (v + self.eps).sqrt()
        return x * self.mults + self.adds


def conv_layer(ni, nf, ks=3, stride=2, bn=True):
    """Convolution, activation and normalization in the usual order."""
    layers = [nn.Conv2d(ni, nf, ks, stride, padding=ks // 2, bias=not bn), nn.ReLU()]
    if bn:
        layers.append(BatchNorm(nf))
    return nn.Sequential(*layers)
