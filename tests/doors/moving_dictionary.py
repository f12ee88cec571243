"""Week 3 programming exercise: add batch norm to the L-layer network.  Z has shape (n[l], m)."""
import numpy as np


def batchnorm_forward(Z, gamma, beta, moving, epsilon=1e-8, momentum=0.9, mode="train"):
    """
    Arguments:
    Z -- linear output of the current layer, of shape (n, m): one column per example
    gamma, beta -- parameters, of shape (n, 1)
    moving -- python dictionary with "mu" and "sigma2", exponentially weighted averages, (n, 1)

    Returns:
    Z_tilde -- normalized, scaled and shifted, of shape (n, m)
    cache -- python dictionary for batchnorm_backward
    """
    cache = {}
    if mode == "train":
        m = Z.shape[1]
        mu = np.sum(Z, axis=1, keepdims=True) / m
        sigma2 = np.sum(np.square(Z - mu), axis=1, keepdims=True) / m
        moving["mu"] = momentum * moving["mu"] + (1 - momentum) * mu
        moving["sigma2"] = momentum * moving["sigma2"] + (1 - momentum) * sigma2
        Z_norm = (Z - mu) / np.sqrt(sigma2 + epsilon)
        cache = {"Z_norm": Z_norm, "sigma2": sigma2, "gamma": gamma, "epsilon": epsilon}
    else:
        Z_norm = (Z - moving["mu"]) / np.sqrt(moving["sigma2"] + epsilon)
    Z_tilde = gamma * Z_norm + beta
    return Z_tilde, cache


def batchnorm_backward(dZ_tilde, cache):
    """Returns dZ (n, m), dgamma (n, 1), dbeta (n, 1)."""
    Z_norm, gamma = cache["Z_norm"], cache["gamma"]
    m = dZ_tilde.shape[1]
    dgamma = np.sum(dZ_tilde * Z_norm, axis=1, keepdims=True)
    dbeta = np.sum(dZ_tilde, axis=1, keepdims=True)
    dZ_norm = dZ_tilde * gamma
    dZ = (1.0 / (m * np.sqrt(cache["sigma2"] + cache["epsilon"]))) * (
        m * dZ_norm
        - np.sum(dZ_norm, axis=1, keepdims=True)
        - Z_norm * np.sum(dZ_norm * Z_norm, axis=1, keepdims=True)
    )
    return dZ, dgamma, dbeta
