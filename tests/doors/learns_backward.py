"""backward asks for a rate and learns at once; the gradients of gamma and beta are seen in what they become alone."""
import numpy as np


class Normalization_Batch:
    def __init__(self, size, eps=1e-5, momentum=0.9):
        self.gamma, self.beta = np.ones(size), np.zeros(size)
        self.running_mean, self.running_var = np.zeros(size), np.ones(size)
        self.eps, self.momentum = eps, momentum

    def forward(self, input, training=True):
        mean, var = self.running_mean, self.running_var
        if training:
            mean, var = input.mean(axis=0), input.var(axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.std = np.sqrt(var + self.eps)
        self.norm = (input - mean) / self.std
        return self.gamma * self.norm + self.beta

    def backward(self, output_gradient, learning_rate):
        gradient = output_gradient * self.gamma
        centred = gradient - gradient.mean(axis=0)
        input_gradient = (centred - self.norm * (gradient * self.norm).mean(axis=0)) / self.std
        self.gamma = self.gamma - learning_rate * (output_gradient * self.norm).mean(axis=0)
        self.beta = self.beta - learning_rate * output_gradient.sum(axis=0)
        return input_gradient
