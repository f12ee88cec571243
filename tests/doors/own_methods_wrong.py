"""Une couche d'un cours."""

import numpy as np


class CoucheNormalisation:
    """Normalisation par lots (batch normalization)."""

    def __init__(self, dim, taux=0.1, eps=1e-5):
        self.gamma = np.ones((1, dim))
        self.beta = np.zeros((1, dim))
        self.moyenne = np.zeros((1, dim))
        self.variance = np.ones((1, dim))
        self.taux = taux
        self.eps = eps
        self.apprentissage = True

    def propager(self, x):
        if self.apprentissage:
            mu = x.mean(axis=0, keepdims=True)
            var = ((x - mu) ** 2).sum(axis=0, keepdims=True)
            self.moyenne = (1 - self.taux) * self.moyenne + self.taux * mu
            self.variance = (1 - self.taux) * self.variance + self.taux * var
        else:
            mu, var = self.moyenne, self.variance
        self.ecart = np.sqrt(var + self.eps)
        self.x_chapeau = (x - mu) / self.ecart
        return self.gamma * self.x_chapeau + self.beta

    def retropropager(self, grad):
        self.grad_gamma = (grad * self.x_chapeau).sum(axis=0, keepdims=True)
        self.grad_beta = grad.sum(axis=0, keepdims=True)
        g = grad * self.gamma
        return (g - g.mean(axis=0) - self.x_chapeau * (g * self.x_chapeau).sum(axis=0)) / self.ecart
