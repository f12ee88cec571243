import numpy as np


def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def batchnorm_forward(x, gamma, beta, bn_param):
    mode, eps, momentum = bn_param["mode"], bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1], dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(x.shape[1], dtype=x.dtype))
    if mode == "train":
        mean, var = x.mean(axis=0), x.var(axis=0)
        std = np.sqrt(var + eps)
        x_norm = (x - mean) / std
        out, cache = gamma * x_norm + beta, (x_norm, gamma, std, 0)
        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * var
    elif mode == "test":
        out, cache = gamma * (x - running_mean) / np.sqrt(running_var) + beta, None
    else:
        raise ValueError(f"invalid mode {mode!r}")
    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return out, cache


def batchnorm_backward_alt(dout, cache):
    x_norm, gamma, std, axis = cache
    dxn = dout * gamma
    dx = (dxn - dxn.mean(axis, keepdims=True) - x_norm * (dxn * x_norm).mean(axis, keepdims=True)) / std
    return dx, (dout * x_norm).sum(axis=0), dout.sum(axis=0)


def batchnorm_backward(dout, cache):
    return batchnorm_backward_alt(dout, cache)


def layernorm_forward(x, gamma, beta, ln_param):
    std = np.sqrt(x.var(axis=1, keepdims=True) + ln_param.get("eps", 1e-5))
    x_norm = (x - x.mean(axis=1, keepdims=True)) / std
    return gamma * x_norm + beta, (x_norm, gamma, std, 1)


def layernorm_backward(dout, cache):
    return batchnorm_backward_alt(dout, cache)
