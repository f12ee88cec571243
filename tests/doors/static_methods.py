import numpy as np


class BatchNorm:
    """A namespace: the methods keep nothing, callers keep parameters, averages and caches."""

    @staticmethod
    def forward(x, gamma, beta, running_mean, running_var, is_training, momentum=0.9, eps=1e-5):
        """Return out, cache, running_mean, running_var."""
        if not is_training:
            out = gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta
            return out, None, running_mean, running_var
        mu, var = x.mean(axis=0), x.var(axis=0)
        inv_std = 1 / np.sqrt(var + eps)
        z = (x - mu) * inv_std
        running_mean = momentum * running_mean + (1 - momentum) * mu
        running_var = momentum * running_var + (1 - momentum) * var
        return gamma * z + beta, (z, gamma, inv_std), running_mean, running_var

    @staticmethod
    def backward(dout, cache):
        """Return dx, dgamma, dbeta."""
        z, gamma, inv_std = cache
        dz = dout * gamma
        dx = inv_std * (dz - dz.mean(axis=0) - z * (dz * z).mean(axis=0))
        return dx, (dout * z).mean(axis=0), dout.mean(axis=0)
