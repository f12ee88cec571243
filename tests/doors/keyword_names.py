"""Keyword-only, with names of its own."""
import numpy as np


def normalize_batch(*, activations, multiplier, addend, hist_mean, hist_variance, fraction_kept, stabilizer, fitting):
    axes = (0, *range(2, activations.ndim))
    s = (1, -1) + (1,) * (activations.ndim - 2)
    if fitting:
        m, v = activations.mean(axes), activations.var(axes)
        hist_mean = fraction_kept * hist_mean + (1 - fraction_kept) * m
        hist_variance = fraction_kept * hist_variance + (1 - fraction_kept) * v
    else:
        m, v = hist_mean, hist_variance
    z = (activations - m.reshape(s)) / np.sqrt(v.reshape(s) + stabilizer)
    return multiplier.reshape(s) * z + addend.reshape(s), hist_mean, hist_variance
