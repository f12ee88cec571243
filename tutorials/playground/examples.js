// What one may start from: code that people write, right and wrong.
"use strict";

const EXAMPLES = [
  {
    name: "A homework with one mistake (CS231n's signatures)",
    code: `import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    """x of shape (N, D); running statistics live in bn_param."""
    mode, eps = bn_param["mode"], bn_param.get("eps", 1e-5)
    momentum = bn_param.get("momentum", 0.9)
    D = x.shape[1]
    running_mean = bn_param.get("running_mean", np.zeros(D, x.dtype))
    running_var = bn_param.get("running_var", np.zeros(D, x.dtype))

    if mode == "train":
        mean, var = x.mean(axis=0), x.var(axis=0, ddof=1)
        std = np.sqrt(var + eps)
        x_hat = (x - mean) / std
        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * var
        out, cache = gamma * x_hat + beta, (x_hat, gamma, std)
    else:
        x_hat = (x - running_mean) / np.sqrt(running_var + eps)
        out, cache = gamma * x_hat + beta, None

    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return out, cache


def batchnorm_backward(dout, cache):
    x_hat, gamma, std = cache
    dgamma = (dout * x_hat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    N = len(dout)
    dx = gamma / std * (dout - dbeta / N - x_hat * dgamma / N)
    return dx, dgamma, dbeta
`,
  },
  {
    name: "An empty skeleton, to write it yourself (CS231n's signatures)",
    code: `import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    """Normalise x of shape (N, D); return out, and a cache for the backward pass."""
    mode, eps = bn_param["mode"], bn_param.get("eps", 1e-5)
    momentum = bn_param.get("momentum", 0.9)   # weighs the old value
    D = x.shape[1]
    running_mean = bn_param.get("running_mean", np.zeros(D, x.dtype))
    running_var = bn_param.get("running_var", np.zeros(D, x.dtype))

    if mode == "train":
        # 1. mean and variance of each column
        # 2. x_hat: subtract the one, divide by the root of the other + eps
        # 3. out: scale by gamma, shift by beta
        # 4. running statistics: a little of the batch's, much of the old
        out, cache = None, None
    else:
        # the same with the running statistics
        out, cache = None, None

    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return out, cache


def batchnorm_backward(dout, cache):
    """Return the gradients of x, gamma and beta."""
    # gamma and beta first: they are sums over the batch.
    # Then x, which moves x_hat by itself, by the mean and by the variance.
    dx, dgamma, dbeta = None, None, None
    return dx, dgamma, dbeta
`,
  },
  {
    name: "A layer with forward and backward",
    code: `import numpy as np


class BatchNorm:
    def __init__(self, features, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(features), np.zeros(features)
        self.running_mean, self.running_var = np.zeros(features), np.ones(features)
        self.momentum, self.eps = momentum, eps

    def forward(self, x, training=True):
        if training:
            mean, var = x.mean(axis=0), x.var(axis=0)
            keep = self.momentum
            self.running_mean = keep * self.running_mean + (1 - keep) * mean
            self.running_var = keep * self.running_var + (1 - keep) * var
        else:
            mean, var = self.running_mean, self.running_var
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean) * self.inv_std
        return self.gamma * self.x_hat + self.beta

    def backward(self, dout):
        self.dgamma = (dout * self.x_hat).sum(axis=0)
        self.dbeta = dout.sum(axis=0)
        inner = dout - dout.mean(axis=0) - self.x_hat * (dout * self.x_hat).mean(axis=0)
        return self.gamma * self.inv_std * inner
`,
  },
  {
    name: "One function, eps in the wrong place",
    code: `import numpy as np


def batch_norm(x, gamma, beta, eps=1e-5):
    mean = x.mean(axis=0)
    std = x.std(axis=0)
    return gamma * (x - mean) / (std + eps) + beta
`,
  },
  {
    name: "Images (N, C, H, W), the batch counted wrongly in the gradient",
    code: `import numpy as np

AXES, SHAPE = (0, 2, 3), (1, -1, 1, 1)


class BatchNorm2d:
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        self.gamma, self.beta = np.ones(channels), np.zeros(channels)
        self.running_mean, self.running_var = np.zeros(channels), np.ones(channels)
        self.eps, self.momentum = eps, momentum

    def forward(self, x, training=True):
        if training:
            mean, var = x.mean(axis=AXES), x.var(axis=AXES)
            count = x.size / x.shape[1]
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (var * count / (count - 1) - self.running_var)
        else:
            mean, var = self.running_mean, self.running_var
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - mean.reshape(SHAPE)) * self.inv_std.reshape(SHAPE)
        return self.gamma.reshape(SHAPE) * self.x_hat + self.beta.reshape(SHAPE)

    def backward(self, dout):
        self.dbeta = dout.sum(axis=AXES)
        self.dgamma = (dout * self.x_hat).sum(axis=AXES)
        m = dout.shape[0]
        inner = dout - (self.dbeta / m).reshape(SHAPE) - self.x_hat * (self.dgamma / m).reshape(SHAPE)
        return (self.gamma * self.inv_std).reshape(SHAPE) * inner
`,
  },
];
