import numpy as np


def mean_and_variance(x, axes):
    mean = x.mean(axis=axes, keepdims=True)
    return mean, np.square(x - mean).mean(axis=axes, keepdims=True)


def moving_average(old, new, keep):
    return keep * old + (1 - keep) * new.reshape(old.shape)
