"""mu and ivar are those of the last batch, for backward: there are no running statistics, and no inference."""
import numpy as np


class BN:
    def __init__(self, D):
        self.W, self.b = np.ones(D), np.zeros(D)

    def forward(self, X):
        self.mu = X.mean(axis=0)
        self.ivar = 1 / np.sqrt(np.square(X - self.mu).mean(axis=0) + 1e-5)
        self.X_hat = (X - self.mu) * self.ivar
        return self.W * self.X_hat + self.b

    def backward(self, dY):
        self.dW, self.db = (dY * self.X_hat).sum(axis=0), dY.sum(axis=0)
        g = dY * self.W
        self.dX = self.ivar * (g - g.mean(axis=0) - self.X_hat * (g * self.X_hat).mean(axis=0))
