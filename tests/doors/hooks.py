"""Layer objects with a tape: forward appends a closure that the backward pops."""
import numpy as np


class Tape(list):
    def backward(self, dy):
        while self:
            dy = self.pop()(dy)
        return dy


class BatchNorm:
    def __init__(self, d, tape=None, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(d), np.zeros(d), eps
        self.grads = {"gamma": np.zeros(d), "beta": np.zeros(d)}
        self.tape = Tape() if tape is None else tape

    def forward(self, x):
        mu = x.mean(0)
        std = np.sqrt(x.var(0) + self.eps)
        xhat = (x - mu) / std

        def back(dy):
            self.grads["gamma"] = (dy * xhat).sum(0)
            self.grads["beta"] = dy.sum(0)
            return self.gamma / std * (dy - dy.mean(0) - xhat * (dy * xhat).mean(0))

        self.tape.append(back)
        return self.gamma * xhat + self.beta

    def backward(self, dy):
        return self.tape.backward(dy)
