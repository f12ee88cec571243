"""Batch normalization in NumPy with the order of arguments of torch.nn.functional.batch_norm, and a mode."""
import numpy as np


def batch_norm(x, running_mean, running_var, weight=None, bias=None, mode="train", momentum=0.1, eps=1e-5):
    """Return y and the new running statistics; in mode 'test' they come back as they are."""
    if mode not in ("train", "test"):
        raise ValueError(f"mode is 'train' or 'test', not {mode!r}")
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)

    def channels(v):
        return np.expand_dims(v, axes)

    if mode == "train":
        m = x.size // x.shape[1]
        if m <= 1:
            raise ValueError("more than one value per channel is needed")
        mean, var = np.mean(x, axis=axes), np.var(x, axis=axes)
        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var = (1 - momentum) * running_var + momentum * (m / (m - 1)) * var
    else:
        mean, var = running_mean, running_var
    y = (x - channels(mean)) / np.sqrt(channels(var) + eps)
    if weight is not None:
        y = y * channels(weight)
    if bias is not None:
        y = y + channels(bias)
    return y, running_mean, running_var
