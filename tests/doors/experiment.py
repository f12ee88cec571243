"""Does batch norm help a network of one hidden layer? Run me: python experiment.py --steps 200"""
import argparse

import numpy as np

try:
    import matplotlib.pyplot as plt
except ImportError:
    plt = None


def batchnorm(h, g, b, ema_mean, ema_var, train, decay=0.99, eps=1e-5):
    if train:
        mu = h.mean(0)
        var = ((h - mu) ** 2).mean(0)
        ema_mean, ema_var = decay * ema_mean + (1 - decay) * mu, decay * ema_var + (1 - decay) * var
    else:
        mu, var = ema_mean, ema_var
    return g * (h - mu) / np.sqrt(var + eps) + b, ema_mean, ema_var


def forward(x, net):
    h, net["mean"], net["var"] = batchnorm(x @ net["w1"], net["g"], net["b"], net["mean"], net["var"], train=True)
    return np.maximum(h, 0) @ net["w2"]


def train(model, loader):
    for x, target in loader:
        model["w2"] = model["w2"] - 0.01 * (forward(x, model) - target).mean()
    return model


rng = np.random.default_rng(0)
net = {"w1": rng.normal(size=(5, 8)), "w2": rng.normal(size=(8, 1)), "g": np.ones(8), "b": np.zeros(8)}
net |= {"mean": np.zeros(8), "var": np.ones(8)}
print("first outputs:", forward(rng.normal(size=(16, 5)), net)[:3].ravel())

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    train(net, [(rng.normal(size=(16, 5)), rng.normal(size=(16, 1))) for _ in range(args.steps)])
    if plt:
        plt.plot(net["mean"])
        plt.show()
