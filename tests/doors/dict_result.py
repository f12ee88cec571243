import numpy as np


def bn_forward(x, gamma, beta, running_mean, running_var, training=True, momentum=0.9, eps=1e-5):
    """Return a dict: 'out', 'running_mean', 'running_var', and 'cache' for bn_backward."""
    if not training:
        out = gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta
        return {"out": out, "running_mean": running_mean, "running_var": running_var, "cache": None}
    mean = x.mean(axis=0)
    var = ((x - mean) ** 2).mean(axis=0)
    std = np.sqrt(var + eps)
    xhat = (x - mean) / std
    return {
        "out": gamma * xhat + beta,
        "running_mean": momentum * running_mean + (1 - momentum) * mean,
        "running_var": momentum * running_var + (1 - momentum) * var,
        "cache": {"x": x, "xhat": xhat, "std": std, "gamma": gamma},
    }


def bn_backward(dout, cache):
    """Return a dict: 'dx', 'dgamma' and 'dbeta'."""
    x, xhat, std, gamma = cache["x"], cache["xhat"], cache["std"], cache["gamma"]
    grads = {"dbeta": dout.sum(axis=0), "dgamma": (dout * x).sum(axis=0)}
    dxhat = dout * gamma
    grads["dx"] = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)) / std
    return grads
