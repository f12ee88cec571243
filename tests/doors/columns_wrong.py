"""Columns are examples, and what flows through the mean is not divided by their number."""
import numpy as np


def bn_forward(A, gamma, beta, epsilon):
    mu, var = A.mean(axis=1, keepdims=True), A.var(axis=1, keepdims=True)
    A_hat = (A - mu) / np.sqrt(var + epsilon)
    return gamma * A_hat + beta, dict(A=A, A_hat=A_hat, mu=mu, var=var, gamma=gamma, epsilon=epsilon)


def bn_backward(dA, cache):
    m = dA.shape[1]
    istd = (cache["var"] + cache["epsilon"]) ** -0.5
    dA_hat = dA * cache["gamma"]
    dvar = np.sum(dA_hat * (cache["A"] - cache["mu"]), axis=1, keepdims=True) * -0.5 * istd**3
    dmu = -np.sum(dA_hat * istd, axis=1, keepdims=True)
    dx = dA_hat * istd + 2 * (cache["A"] - cache["mu"]) * dvar / m + dmu
    return {
        "dgamma": np.sum(dA * cache["A_hat"], axis=1, keepdims=True),
        "dbeta": np.sum(dA, axis=1, keepdims=True),
        "dx": dx,
    }
