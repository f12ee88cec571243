import numpy as np


def new_params(units):
    """What is trained."""
    return {"gamma": np.ones(units), "beta": np.zeros(units)}


def new_stats(units):
    """What is averaged."""
    return {"mean": np.zeros(units), "var": np.ones(units)}


def batchnorm(params, stats, x, deterministic=False, momentum=0.9, eps=1e-4):
    """Normalise rows x (N, units); unless deterministic, stats change to the averages that include x."""
    if x.ndim != 2:
        raise ValueError("rows only")
    if not deterministic:
        stats["mean"] = momentum * stats["mean"] + (1 - momentum) * np.mean(x, axis=0)
        stats["var"] = momentum * stats["var"] + (1 - momentum) * np.var(x, axis=0)
    x_hat = (x - stats["mean"]) / np.sqrt(stats["var"] + eps)
    return params["gamma"] * x_hat + params["beta"]
