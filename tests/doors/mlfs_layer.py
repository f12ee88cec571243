import copy

import numpy as np


class Layer:
    input_shape = None  # of one sample, without the batch

    def set_input_shape(self, shape):
        self.input_shape = shape


class BatchNormalization(Layer):
    def __init__(self, momentum=0.99):
        self.momentum = momentum
        self.trainable = True
        self.eps = 0.01
        self.running_mean = self.running_var = None

    def initialize(self, optimizer):
        self.gamma, self.beta = np.ones(self.input_shape), np.zeros(self.input_shape)
        self.gamma_opt, self.beta_opt = copy.copy(optimizer), copy.copy(optimizer)

    def forward_pass(self, X, training=True):
        if self.running_mean is None:
            self.running_mean, self.running_var = np.mean(X, axis=0), np.var(X, axis=0)
        if not (training and self.trainable):
            return self.gamma * (X - self.running_mean) / np.sqrt(self.running_var + self.eps) + self.beta
        mean, var = np.mean(X, axis=0), np.var(X, axis=0)
        self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
        self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.X_centered = X - mean
        self.stddev_inv = 1 / np.sqrt(var + self.eps)
        return self.gamma * self.X_centered * self.stddev_inv + self.beta

    def backward_pass(self, accum_grad):
        gamma, X_norm = self.gamma, self.X_centered * self.stddev_inv
        grad_gamma, grad_beta = np.sum(accum_grad * X_norm, axis=0), np.sum(accum_grad, axis=0)
        if self.trainable:
            self.gamma = self.gamma_opt.update(self.gamma, grad_gamma)
            self.beta = self.beta_opt.update(self.beta, grad_beta)
        projection = (grad_beta + X_norm * grad_gamma) / len(accum_grad)
        return gamma * self.stddev_inv * (accum_grad - projection)
