import torch
from torch.autograd.function import once_differentiable


def expand(v, x):
    return v.view(1, -1, *[1] * (x.dim() - 2))


class BatchNormFunction(torch.autograd.Function):
    """BatchNormFunction.apply(x, gamma, beta, running_mean, running_var, training, momentum, eps)."""

    @staticmethod
    def forward(ctx, x, gamma, beta, running_mean, running_var, training, momentum, eps):
        ctx.axes = [0, *range(2, x.dim())]
        ctx.training = training
        mean, var = running_mean.clone(), running_var.clone()
        if training:
            m = x.numel() // x.size(1)
            if m < 2:
                raise ValueError("one value per channel has no variance")
            mean, var = x.mean(ctx.axes), x.var(ctx.axes, correction=0)
            running_mean.mul_(1 - momentum).add_(momentum * mean)
            running_var.mul_(1 - momentum).add_(momentum * var * m / (m - 1))
        inv_std = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, gamma, mean, inv_std)
        return (x - expand(mean, x)) * expand(inv_std * gamma, x) + expand(beta, x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, gamma, mean, inv_std = ctx.saved_tensors
        x_hat = (x - expand(mean, x)) * expand(inv_std, x)
        dgamma, dbeta = (grad * x_hat).sum(ctx.axes), grad.sum(ctx.axes)
        dx = grad
        if ctx.training:
            m = x.numel() // x.size(1)
            dx = grad - expand(dbeta / m, x) - x_hat * expand(dgamma / m, x)
        return dx * expand(gamma * inv_std, x), dgamma, dbeta, None, None, None, None, None
