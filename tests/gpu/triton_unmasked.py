"""The layer of triton_norm.py, one mask forgotten: the tail of the last block counts in the variance."""

import torch
import triton
import triton.language as tl
from torch import nn

BLOCK = 1024


@triton.jit
def _forward(x, gamma, beta, eps, y, means, variances, scales, count, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    channel = tl.program_id(0)
    start = channel.to(tl.int64) * count
    total = tl.zeros([BLOCK], WIDE)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        total += tl.load(x + start + at, mask=at < count, other=0.0).to(WIDE)
    mean = tl.sum(total, 0) / count
    total = tl.zeros([BLOCK], WIDE)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        centred = tl.load(x + start + at, mask=at < count, other=0.0).to(WIDE) - mean
        total += centred * centred
    var = tl.sum(total, 0) / count
    scale = 1.0 / tl.sqrt(var + tl.load(eps))
    g, b = tl.load(gamma + channel).to(WIDE), tl.load(beta + channel).to(WIDE)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        normalized = (tl.load(x + start + at, mask=at < count).to(WIDE) - mean) * scale
        tl.store(y + start + at, g * normalized + b, mask=at < count)
    tl.store(means + channel, mean)
    tl.store(variances + channel, var)
    tl.store(scales + channel, scale)


@triton.jit
def _backward(x, dy, gamma, means, scales, dx, dgamma, dbeta, count, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    channel = tl.program_id(0)
    start = channel.to(tl.int64) * count
    mean, scale = tl.load(means + channel), tl.load(scales + channel)
    by_x, alone = tl.zeros([BLOCK], WIDE), tl.zeros([BLOCK], WIDE)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        upstream = tl.load(dy + start + at, mask=at < count, other=0.0).to(WIDE)
        normalized = (tl.load(x + start + at, mask=at < count, other=0.0).to(WIDE) - mean) * scale
        by_x += upstream * normalized
        alone += upstream
    with_x, total = tl.sum(by_x, 0), tl.sum(alone, 0)
    g = tl.load(gamma + channel).to(WIDE)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        upstream = tl.load(dy + start + at, mask=at < count).to(WIDE)
        normalized = (tl.load(x + start + at, mask=at < count).to(WIDE) - mean) * scale
        tl.store(dx + start + at, g * scale * (upstream - total / count - normalized * with_x / count), mask=at < count)
    tl.store(dgamma + channel, with_x)
    tl.store(dbeta + channel, total)


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        rows, gamma, beta = x.movedim(1, 0).contiguous(), gamma.contiguous(), beta.contiguous()
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        means, variances, scales = torch.empty(3, x.shape[1], dtype=wide, device=x.device)
        exact = torch.tensor(eps, dtype=wide, device=x.device)  # a number is passed to a kernel as float32
        y = torch.empty_like(rows)
        count = rows[0].numel()
        kind = tl.float64 if wide == torch.float64 else tl.float32
        _forward[(x.shape[1],)](rows, gamma, beta, exact, y, means, variances, scales, count, WIDE=kind, BLOCK=BLOCK)
        ctx.save_for_backward(rows, gamma, means, scales)
        ctx.mark_non_differentiable(means, variances)
        return y.movedim(0, 1), means, variances

    @staticmethod
    def backward(ctx, dy, *_):
        rows, gamma, means, scales = ctx.saved_tensors
        upstream = dy.movedim(1, 0).contiguous()
        dx, dgamma, dbeta = torch.empty_like(rows), torch.empty_like(means), torch.empty_like(means)
        kind = tl.float64 if means.dtype == torch.float64 else tl.float32
        given = rows, upstream, gamma, means, scales, dx, dgamma, dbeta, rows[0].numel()
        _backward[(rows.shape[0],)](*given, WIDE=kind, BLOCK=BLOCK)
        return dx.movedim(0, 1), dgamma.to(gamma.dtype), dbeta.to(gamma.dtype), None


class TritonBatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        if not self.training:
            shape = [1, -1] + [1] * (x.dim() - 2)
            scale = self.weight / torch.sqrt(self.running_var + self.eps)
            y = (x - self.running_mean.view(shape)) * scale.view(shape) + self.bias.view(shape)
            return y.to(x.dtype)
        count = x.numel() // x.shape[1]
        if count < 2:
            raise ValueError(f"training needs more than one value per channel, got {tuple(x.shape)}")
        y, mean, var = _Normalize.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            var = var * count / (count - 1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(var.to(self.running_var.dtype), self.momentum)
        return y
