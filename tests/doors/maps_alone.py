import numpy as np
class SpatialBN:
    """NHWC."""
    def __init__(self, filters):
        self.gamma = np.ones((1, 1, 1, filters)); self.beta = np.zeros((1, 1, 1, filters))
        self.pop_mean = np.zeros((1, 1, 1, filters)); self.pop_var = np.ones((1, 1, 1, filters))
        self.decay = 0.99; self.eps = 1e-3
    def __call__(self, inputs, is_training=True):
        if is_training:
            mean = inputs.mean(axis=(0, 1, 2), keepdims=True); var = inputs.var(axis=(0, 1, 2), keepdims=True)
            self.pop_mean = self.decay * self.pop_mean + (1 - self.decay) * mean
            self.pop_var = self.decay * self.pop_var + (1 - self.decay) * var
        else:
            mean, var = self.pop_mean, self.pop_var
        return self.gamma * (inputs - mean) / np.sqrt(var + self.eps) + self.beta
