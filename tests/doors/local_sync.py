"""A SyncBatchNorm that works without processes; its unbiased factor uses N instead of N*H*W."""

import torch
from torch import nn


class LocalSyncBatchNorm(nn.SyncBatchNorm):
    def forward(self, input):
        dims = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        if self.training:
            mean = input.mean(dims)
            var = input.var(dims, unbiased=False)
            n = input.size(0)
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.mul_(1 - self.momentum).add_(self.momentum * mean)
                self.running_var.mul_(1 - self.momentum).add_(self.momentum * var * n / (n - 1))
        else:
            mean, var = self.running_mean, self.running_var
        y = (input - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)
