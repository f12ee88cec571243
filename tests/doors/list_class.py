"""Batch norm without any library: a batch is a list of rows, a row is a list of floats."""
from math import fsum, sqrt


class BatchNorm:
    def __init__(self, n_features, momentum=0.9, eps=1e-5):
        self.n_features, self.momentum, self.eps = n_features, momentum, eps
        self.gamma, self.beta = [1.0] * n_features, [0.0] * n_features
        self.running_mean, self.running_var = [0.0] * n_features, [1.0] * n_features

    def forward(self, rows, training=True):
        mean, var = self.running_mean, self.running_var
        if training:
            n = len(rows)
            columns = list(zip(*rows, strict=True))
            mean = [fsum(column) / n for column in columns]
            var = [fsum((v - m) ** 2 for v in column) / n for column, m in zip(columns, mean, strict=True)]
            self.running_mean = self._average(self.running_mean, mean)
            self.running_var = self._average(self.running_var, var)
        inv = [1 / sqrt(v + self.eps) for v in var]
        x_hat = [[(v - m) * i for v, m, i in zip(row, mean, inv, strict=True)] for row in rows]
        if training:
            self.x_hat, self.inv = x_hat, inv
        return [[g * v + b for g, v, b in zip(self.gamma, row, self.beta, strict=True)] for row in x_hat]

    def _average(self, old, new):
        return [self.momentum * o + (1 - self.momentum) * n for o, n in zip(old, new, strict=True)]

    def backward(self, dout):
        n, features = len(dout), range(self.n_features)
        self.dbeta = [fsum(d[j] for d in dout) for j in features]
        self.dgamma = [fsum(d[j] * h[j] for d, h in zip(dout, self.x_hat, strict=True)) for j in features]
        return [
            [
                self.gamma[j] * self.inv[j] * (d[j] - self.dbeta[j] / n - h[j] * self.dgamma[j] / n)
                for j in features
            ]
            for d, h in zip(dout, self.x_hat, strict=True)
        ]
