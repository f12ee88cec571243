import torch
from torch import nn


def batch_norm(X, gamma, beta, moving_mean, moving_var, eps, momentum):
    """Return Y and the moving statistics; who computes without gradients wants predictions."""
    if X.dim() not in (2, 4):
        raise ValueError("X comes from a dense layer (2 axes) or a convolution (4 axes)")
    mean, var = moving_mean, moving_var
    if torch.is_grad_enabled():
        reduced = [0] if X.dim() == 2 else [0, 2, 3]
        mean = X.mean(dim=reduced, keepdim=True)
        var = torch.mean((X - mean) ** 2, dim=reduced, keepdim=True)
        moving_mean = ((1.0 - momentum) * moving_mean + momentum * mean).detach()
        moving_var = ((1.0 - momentum) * moving_var + momentum * var).detach()
    Y = gamma * ((X - mean) / torch.sqrt(var + eps)) + beta
    return Y, moving_mean, moving_var


class BatchNorm(nn.Module):
    """num_features outputs of a dense layer (num_dims=2) or channels of a convolution (num_dims=4)."""

    def __init__(self, num_features, num_dims):
        super().__init__()
        shape = [1, num_features] + [1] * (num_dims - 2)
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.moving_mean, self.moving_var = torch.zeros(shape), torch.ones(shape)

    def forward(self, X):
        moving = self.moving_mean.to(X.device), self.moving_var.to(X.device)
        Y, self.moving_mean, self.moving_var = batch_norm(X, self.gamma, self.beta, *moving, eps=1e-5, momentum=0.1)
        return Y
