import torch


def standardize_batch(x, eps=1e-5):
    """Give every feature of x (N, D) mean 0 and variance 1 over the batch; nothing to learn, nothing to remember."""
    if x.dim() != 2:
        raise ValueError(f"expected (N, D), got {tuple(x.shape)}")
    with torch.no_grad():
        mean = x.mean(dim=0)
        var = (x - mean).pow(2).mean(dim=0)
    return (x - mean) / (var + eps).sqrt()
