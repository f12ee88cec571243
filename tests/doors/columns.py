"""A column is an example, as in courses that write Z = W A + b: statistics are those of the rows."""
import numpy as np


def normalize_forward(Z, gamma, beta, epsilon=1e-8):
    """Z is (units, m); gamma and beta are (units, 1)."""
    m = Z.shape[1]
    mu = np.sum(Z, axis=1, keepdims=True) / m
    centred = Z - mu
    variance = np.sum(centred * centred, axis=1, keepdims=True) / m
    Z_norm = centred / np.sqrt(variance + epsilon)
    return gamma * Z_norm + beta, (Z_norm, variance, gamma, epsilon)


def normalize_backward(dZ, cache):
    Z_norm, variance, gamma, epsilon = cache
    m = dZ.shape[1]
    dbeta = np.sum(dZ, axis=1, keepdims=True)
    dgamma = np.sum(dZ * Z_norm, axis=1, keepdims=True)
    dx = gamma / np.sqrt(variance + epsilon) * (dZ - dbeta / m - Z_norm * dgamma / m)
    return dx, dgamma, dbeta
