"""The computational graph of batch norm, one node at a time, for x of shape (N, D)."""
import numpy as np


def batchnorm_forward(x, gamma, beta, eps):
    N, _ = x.shape
    mean = np.sum(x, axis=0) / N                    # node 1
    centred = x - mean                              # node 2
    squares = centred**2                            # node 3
    var = np.sum(squares, axis=0) / N               # node 4
    std = np.sqrt(var + eps)                        # node 5
    inverse = 1.0 / std                             # node 6
    x_hat = centred * inverse                       # node 7
    scaled = gamma * x_hat                          # node 8
    out = scaled + beta                             # node 9
    return out, (centred, std, inverse, x_hat, gamma)


def batchnorm_backward(dout, cache):
    centred, std, inverse, x_hat, gamma = cache
    N, _ = dout.shape
    d_scaled, dbeta = dout, np.sum(dout, axis=0)    # node 9
    dgamma = np.sum(d_scaled * x_hat, axis=0)       # node 8
    d_x_hat = d_scaled * gamma
    d_inverse = np.sum(d_x_hat * centred, axis=0)   # node 7, one of two ways to centred
    d_centred = d_x_hat * inverse
    d_std = -d_inverse / std**2                     # node 6
    d_var = d_std / (2 * std)                       # node 5
    d_squares = np.broadcast_to(d_var / N, dout.shape)  # node 4
    d_centred = d_centred + 2 * centred * d_squares     # node 3, the other way
    d_mean = -np.sum(d_centred, axis=0)             # node 2
    dx = d_centred + d_mean / N                     # node 1
    return dx, dgamma, dbeta
