import numpy as np


class BatchNorm1D:
    """Batch normalization of X of shape (n_ex, n_in); all state is in dictionaries."""

    def __init__(self, momentum=0.9, epsilon=1e-5, optimizer=None):
        self.momentum, self.epsilon, self.optimizer = momentum, epsilon, optimizer
        self.n_in, self.trainable, self.is_initialized = None, True, False
        self.X, self.parameters, self.gradients, self.derived_variables = [], {}, {}, {}

    def _init_params(self, dtype):
        self.parameters = {
            "scaler": np.ones(self.n_in, dtype), "intercept": np.zeros(self.n_in, dtype),
            "running_mean": np.zeros(self.n_in, dtype), "running_var": np.ones(self.n_in, dtype),
        }
        self.is_initialized = True
        self.flush_gradients()

    def flush_gradients(self):
        self.X = []
        self.gradients = {name: np.zeros_like(self.parameters[name]) for name in ("scaler", "intercept")}

    def forward(self, X, retain_derived=True):
        if not self.is_initialized:
            self.n_in = X.shape[1]
            self._init_params(X.dtype)
        P, mm = self.parameters, self.momentum
        mean, var = P["running_mean"], P["running_var"]
        if self.trainable and retain_derived:
            mean, var = X.mean(axis=0), X.var(axis=0)
            P["running_mean"] = mm * P["running_mean"] + (1.0 - mm) * mean
            P["running_var"] = mm * P["running_var"] + (1.0 - mm) * var
            self.X.append(X)
        return P["scaler"] * ((X - mean) / np.sqrt(var + self.epsilon)) + P["intercept"]

    def backward(self, dLdy):
        X, scaler = self.X[-1], self.parameters["scaler"]
        std = np.sqrt(X.var(axis=0) + self.epsilon)
        N = (X - X.mean(axis=0)) / std
        self.gradients["scaler"] += (dLdy * N).sum(axis=0)
        self.gradients["intercept"] += dLdy.sum(axis=0)
        dN = dLdy * scaler
        return (dN - dN.mean(axis=0) - N * (dN * N).mean(axis=0)) / std
