import numpy as np


def _flat_forward(x, gamma, beta, bn_param):
    mode = bn_param["mode"]
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    N, D = x.shape
    running_mean = bn_param.get("running_mean", np.zeros(D))
    running_var = bn_param.get("running_var", np.zeros(D))
    cache = None
    if mode == "train":
        sample_mean, sample_var = x.mean(axis=0), x.var(axis=0)
        x_hat = (x - sample_mean) / np.sqrt(sample_var + eps)
        out = gamma * x_hat + beta
        cache = (gamma, x_hat, sample_var, eps)
        running_mean = momentum * running_mean + (1 - momentum) * sample_mean
        running_var = momentum * running_var + (1 - momentum) * sample_var
    else:
        out = gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta
    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return out, cache


def _flat_backward(dout, cache):
    gamma, x_hat, var, eps = cache
    N = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_hat).sum(axis=0)
    dx = gamma / np.sqrt(var + eps) * (dout - dbeta / N - x_hat * dgamma / N)
    return dx, dgamma, dbeta


def batchnorm_maps_forward(x, gamma, beta, bn_param):
    """x: (N, C, H, W); gamma, beta: (C,)"""
    N, C, H, W = x.shape
    x_flat = x.reshape(-1, C)           # one row per pixel
    out, cache = _flat_forward(x_flat, gamma, beta, bn_param)
    return out.reshape(N, C, H, W), cache


def batchnorm_maps_backward(dout, cache):
    N, C, H, W = dout.shape
    dx, dgamma, dbeta = _flat_backward(dout.reshape(-1, C), cache)
    return dx.reshape(N, C, H, W), dgamma, dbeta
