import numpy as np
class BatchNorm2d:
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.weight = np.ones(num_features); self.bias = np.zeros(num_features)
        self.running_mean = np.zeros(num_features); self.running_var = np.ones(num_features)
        self.eps = eps; self.momentum = momentum; self.training = True
    def forward(self, x):
        b, c, h, w = x.shape
        if self.training:
            mean = x.mean(axis=(0, 2, 3)); var = x.var(axis=(0, 2, 3))
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var * b / (b - 1)
        else:
            mean, var = self.running_mean, self.running_var
        return self.weight[None, :, None, None] * (x - mean[None, :, None, None]) / np.sqrt(var[None, :, None, None] + self.eps) + self.bias[None, :, None, None]
