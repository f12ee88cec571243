"""After gluon: parameters in a dictionary of objects, hybrid_forward(F, ...), autograd.is_training() from a global."""
import numpy as np

_training = [False]


class autograd:
    @staticmethod
    def set_training(flag):
        _training[0] = flag

    @staticmethod
    def is_training():
        return _training[0]


class Parameter:
    def __init__(self, name, init):
        self.name, self._init, self._data = name, init, None

    def initialize(self, shape):
        self._data = np.full(shape, self._init, dtype=float)

    def data(self):
        return self._data

    def set_data(self, value):
        self._data = np.asarray(value)


class BatchNorm:
    def __init__(self, in_channels, axis=1, momentum=0.9, epsilon=1e-5):
        self._kwargs = {"axis": axis, "momentum": momentum, "eps": epsilon}
        self.params = {n: Parameter(n, v) for n, v in (("gamma", 1), ("beta", 0), ("running_mean", 0), ("running_var", 1))}
        for p in self.params.values():
            p.initialize((in_channels,))

    def forward(self, x):
        return self.hybrid_forward(np, x, **{n: p.data() for n, p in self.params.items()})

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        axes = tuple(k for k in range(x.ndim) if k != self._kwargs["axis"])
        s = tuple(-1 if k == self._kwargs["axis"] else 1 for k in range(x.ndim))
        m = self._kwargs["momentum"]
        if autograd.is_training():
            mean, var = F.mean(x, axis=axes), F.var(x, axis=axes)
            self.params["running_mean"].set_data(m * running_mean + (1 - m) * mean)
            self.params["running_var"].set_data(m * running_var + (1 - m) * var)
        else:
            mean, var = running_mean, running_var
        return gamma.reshape(s) * (x - mean.reshape(s)) / F.sqrt(var.reshape(s) + self._kwargs["eps"]) + beta.reshape(s)
