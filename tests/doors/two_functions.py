"""Training and inference are two functions. The running averages keep nine tenths of the past."""
import numpy as np


def bn_train(h, gamma, beta, run_mean, run_var, eps=1e-5):
    mu = h.mean(axis=0)
    centred = h - mu
    var = np.mean(centred * centred, axis=0)
    h_norm = centred / np.sqrt(var + eps)
    run_mean = 0.9 * run_mean + 0.1 * mu
    run_var = 0.9 * run_var + 0.1 * var
    return gamma * h_norm + beta, run_mean, run_var, (h_norm, gamma, var, eps)


def bn_infer(h, gamma, beta, run_mean, run_var, eps=1e-5):
    return gamma * (h - run_mean) / np.sqrt(run_var + eps) + beta


def bn_backward(dh, cache):
    h_norm, gamma, var, eps = cache
    n = len(dh)
    dgamma = np.sum(dh * h_norm, axis=0)
    dbeta = np.sum(dh, axis=0)
    dx = (n * dh - dbeta - h_norm * dgamma) * gamma / (n * np.sqrt(var + eps))
    return dx, dgamma, dbeta
