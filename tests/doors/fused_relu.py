"""A ReLU is fused into the batch norm, forward and backward."""

import numpy as np


def batchnorm_relu_forward(x, gamma, beta, eps=1e-5):
    mean, var = x.mean(0), x.var(0)
    inv = 1 / np.sqrt(var + eps)
    x_hat = (x - mean) * inv
    out = np.maximum(gamma * x_hat + beta, 0)
    return out, (x_hat, inv, gamma, out > 0)


def batchnorm_relu_backward(dout, cache):
    x_hat, inv, gamma, active = cache
    dout = dout * active
    dgamma, dbeta = (dout * x_hat).sum(0), dout.sum(0)
    return gamma * inv * (dout - dbeta / len(dout) - x_hat * dgamma / len(dout)), dgamma, dbeta
