"""Nothing comes back: a layer leaves what it computes in attributes, for the next layer to fetch."""
import numpy as np


class NormLayer_BatchNorm:
    def __init__(self, n_neurons, momentum=0.9, epsilon=1e-7):
        self.gamma, self.beta = np.ones((1, n_neurons)), np.zeros((1, n_neurons))
        self.moving_mean, self.moving_variance = np.zeros((1, n_neurons)), np.ones((1, n_neurons))
        self.momentum, self.epsilon = momentum, epsilon

    def forward(self, inputs, training):
        self.mean, self.variance = self.moving_mean, self.moving_variance
        if training:
            self.mean = inputs.mean(axis=0, keepdims=True)
            self.variance = inputs.var(axis=0, keepdims=True)
            self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * self.mean
            self.moving_variance = self.momentum * self.moving_variance + (1 - self.momentum) * self.variance
        self.normed = (inputs - self.mean) / np.sqrt(self.variance + self.epsilon)
        self.output = self.gamma * self.normed + self.beta

    def backward(self, dvalues):
        self.dgamma = (dvalues * self.normed).sum(axis=0, keepdims=True)
        self.dbeta = dvalues.sum(axis=0, keepdims=True)
        per_value = dvalues - (self.dbeta + self.normed * self.dgamma) / len(dvalues)
        self.dinputs = self.gamma * per_value / np.sqrt(self.variance + self.epsilon)
