"""Layers whose gradients are made with their parameters."""

import numpy as np

rng = np.random.RandomState(0)


class Linear:
    def __init__(self, n_in, n_out):
        self.params = [rng.randn(n_in, n_out) * np.sqrt(2 / n_in), np.zeros(n_out)]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x, train=True):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, d):
        self.grads[0][:] = self.x.T @ d
        self.grads[1][:] = d.sum(0)
        return d @ self.params[0].T


class ReLU:
    params, grads = [], []

    def forward(self, x, train=True):
        self.mask = x > 0
        return x * self.mask

    def backward(self, d):
        return d * self.mask


class BatchNorm:
    def __init__(self, dim, momentum=0.9, eps=1e-5):
        self.params = [np.ones(dim), np.zeros(dim)]
        self.grads = [np.zeros(dim), np.zeros(dim)]
        self.momentum, self.eps = momentum, eps
        self.moving_mean = np.zeros(dim)
        self.moving_var = np.ones(dim)

    def forward(self, x, train=True):
        gamma, beta = self.params
        if not train:
            return gamma * (x - self.moving_mean) / np.sqrt(self.moving_var + self.eps) + beta
        mu = x.mean(0)
        var = x.var(0)
        self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * mu
        self.moving_var = self.momentum * self.moving_var + (1 - self.momentum) * var
        self.inv = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mu) * self.inv
        return gamma * self.xhat + beta

    def backward(self, d):
        gamma, beta = self.params
        self.grads[0][:] = (d * self.xhat).sum(0)
        self.grads[1][:] = d.sum(0)
        dxhat = d * gamma
        return self.inv * (dxhat - dxhat.mean(0) - self.xhat * (dxhat * self.xhat).mean(0))


class SoftmaxCE:
    def loss(self, z, y):
        z = z - z.max(1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(1, keepdims=True)
        self.d = p.copy()
        self.d[np.arange(len(y)), y] -= 1
        self.d /= len(y)
        return -np.log(p[np.arange(len(y)), y] + 1e-12).mean()


class Sequential:
    def __init__(self, *layers):
        self.layers = layers

    def forward(self, x, train=True):
        for l in self.layers:
            x = l.forward(x, train)
        return x

    def backward(self, d):
        for l in reversed(self.layers):
            d = l.backward(d)


class SGD:
    def __init__(self, layers, lr):
        self.layers, self.lr = layers, lr

    def step(self):
        for l in self.layers:
            for p, g in zip(l.params, l.grads):
                p -= self.lr * g


X = rng.randn(256, 2)
y = (X[:, 0] * X[:, 1] > 0).astype(int)
net = Sequential(Linear(2, 32), BatchNorm(32), ReLU(), Linear(32, 2))
opt = SGD(net.layers, 0.1)
crit = SoftmaxCE()
for epoch in range(30):
    idx = rng.permutation(256)
    for i in range(0, 256, 32):
        b = idx[i:i + 32]
        loss = crit.loss(net.forward(X[b]), y[b])
        net.backward(crit.d)
        opt.step()
    acc = (net.forward(X, train=False).argmax(1) == y).mean()
    if epoch % 10 == 0:
        print("epoch %d loss %.4f acc %.3f" % (epoch, loss, acc))
