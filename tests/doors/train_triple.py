"""The statistics of the batch go back to the caller, who averages them as he likes."""
import torch


def fused_bn(x, scale, offset, pop_mean, pop_var, epsilon=1e-3, training=True):
    """Training: (y, batch_mean, batch_var). Otherwise y alone, normalised by pop_mean and pop_var."""
    shape = [1, x.shape[1]] + [1] * (x.ndim - 2)
    if not training:
        inv = scale / torch.sqrt(pop_var + epsilon)
        return (x - pop_mean.reshape(shape)) * inv.reshape(shape) + offset.reshape(shape)
    axes = [0, *range(2, x.ndim)]
    batch_mean = x.mean(axes)
    deviation = x - batch_mean.reshape(shape)
    batch_var = deviation.square().mean(axes)
    inv = scale / torch.sqrt(batch_var + epsilon)
    return deviation * inv.reshape(shape) + offset.reshape(shape), batch_mean, batch_var
