"""A batch norm in tensors whose buffers take the shape (1, dim) with the first batch."""
import torch


class Module:
    training = True

    def parameters(self):
        return []


class BatchNorm1d(Module):
    def __init__(self, dim, eps=1e-5, momentum=0.1):
        self.eps, self.momentum = eps, momentum
        self.gamma, self.beta = torch.ones(dim), torch.zeros(dim)
        self.running_mean, self.running_var = torch.zeros((1, dim)), torch.ones((1, dim))

    def __call__(self, x):
        if x.ndim != 2:
            raise ValueError(f"x must be (batch, dim), not {tuple(x.shape)}")
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean = x.mean(0, keepdim=True)
            var = x.var(0, keepdim=True, unbiased=False)
            with torch.no_grad():
                self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
                self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var
        self.out = self.gamma * (x - mean) / torch.sqrt(var + self.eps) + self.beta
        return self.out

    def parameters(self):
        return [self.gamma, self.beta]
