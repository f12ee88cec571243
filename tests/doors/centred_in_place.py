import numpy as np


class BatchNorm2D:
    """Memory-saving batch norm for (N, C, H, W)."""

    def __init__(self, channels, eps=1e-5, momentum=0.1):
        self.gamma = np.ones((1, channels, 1, 1))
        self.beta = np.zeros((1, channels, 1, 1))
        self.running_mean = np.zeros((1, channels, 1, 1))
        self.running_var = np.ones((1, channels, 1, 1))
        self.eps, self.momentum = eps, momentum
        self.train_mode = True

    def forward(self, x):
        if self.train_mode:
            mean = x.mean(axis=(0, 2, 3), keepdims=True)
            x -= mean
            var = (x * x).mean(axis=(0, 2, 3), keepdims=True)
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (var - self.running_var)
        else:
            x = x - self.running_mean
            var = self.running_var
        self.inv_std = 1 / np.sqrt(var + self.eps)
        x *= self.inv_std
        self.x_hat = x
        return self.gamma * x + self.beta

    def backward(self, grad):
        self.grad_gamma = (grad * self.x_hat).sum(axis=(0, 2, 3), keepdims=True)
        self.grad_beta = grad.sum(axis=(0, 2, 3), keepdims=True)
        m = grad.size / grad.shape[1]
        return self.gamma * self.inv_std * (grad - self.grad_beta / m - self.x_hat * self.grad_gamma / m)
