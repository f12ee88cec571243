"""Your batch normalization: copy this file, fill in what raises, and let `refnorm check my_homework.py` judge it.

The two functions are called as in Stanford's course CS231n, assignment 2. x is (N, D): N samples of D features, and
each feature is a channel. gamma, beta and the statistics are (D,).
"""

import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    """Normalise a batch, and return y and whatever your backward needs.

    ``bn_param`` is a dictionary. It holds "mode", "train" or "test"; if they are given, "eps" and "momentum", which is
    the weight of the old value; and this function keeps in it "running_mean" and "running_var", the biased variance.
    """
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1], x.dtype))
    running_var = bn_param.get("running_var", np.zeros(x.shape[1], x.dtype))
    if bn_param["mode"] == "test":
        raise NotImplementedError("inference: normalise by running_mean and running_var; a cache is not needed")
    raise NotImplementedError("training: mean, variance, y, both running statistics, and a cache")


def batchnorm_backward(dout, cache):
    """Return dx, dgamma and dbeta from the gradient of the loss by y, and what forward kept."""
    raise NotImplementedError("backward: dx, dgamma, dbeta")
