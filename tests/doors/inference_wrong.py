"""Inference alone, by its name and parameters; eps is added to the root."""
import numpy as np


def batchnorm_inference(X, scale, B, input_mean, input_var, epsilon=1e-5):
    as_x = (1, -1, 1, 1)
    std = np.sqrt(input_var.reshape(as_x)) + epsilon
    return scale.reshape(as_x) * (X - input_mean.reshape(as_x)) / std + B.reshape(as_x)
