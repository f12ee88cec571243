"""Separate functions for each piece, composed at the end."""
import numpy as np


def batch_stats(x):
    return x.mean(axis=0), x.var(axis=0)


def update_ema(old, new, alpha=0.1):
    return (1 - alpha) * old + alpha * new


def normalize(x, mean, var, eps=1e-5):
    return (x - mean) / np.sqrt(var + eps)


def affine(x, gamma, beta):
    return x * gamma + beta


def batch_norm_train(x, gamma, beta, ema):
    mean, var = batch_stats(x)
    ema["mean"], ema["var"] = update_ema(ema["mean"], mean), update_ema(ema["var"], var)
    return affine(normalize(x, mean, var), gamma, beta)


def batch_norm_eval(x, gamma, beta, ema):
    return affine(normalize(x, ema["mean"], ema["var"]), gamma, beta)
