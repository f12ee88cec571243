"""A lab's function of columns: the batch's statistics where none are given; no gamma, eps fixed."""
import numpy as np


def BatchNormalize(s, mean_s=None, var_s=None):
    """s has an example in each column."""
    if mean_s is None:
        mean_s, var_s = s.mean(axis=1, keepdims=True), s.var(axis=1, keepdims=True)
    return (s - mean_s) / np.sqrt(var_s + 1e-6)
