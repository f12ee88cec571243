"""Train networks of any depth on scikit-learn's handwritten digits, with and without batch normalization."""

from __future__ import annotations

from functools import cache

import network
import numpy as np

WIDTH, BATCH, TRAIN = 32, 50, 1000
NORM, LAYER_NORM = (network.batch_norm(),), (network.group_norm_layer(1),)


@cache
def digits():
    """Return 1797 pictures, float64 (1797, 64) with mean about 0 and standard deviation about 1, and what they show."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (pixels[order] / 16 - 0.3) / 0.37, labels[order]


def built(depth, norms, scale, seed):
    """Return layers and parameters: ``depth`` hidden layers of 32, with ``norms`` between a linear map and its ReLU.

    The first weights are normal, of the variance 2 / inputs times scale^2 (He et al. 2015 where scale is 1).
    """
    rng, layers, parameters = np.random.default_rng(seed), [], []
    for k in range(depth + 1):
        fan_in, fan_out = 64 if k == 0 else WIDTH, 10 if k == depth else WIDTH
        weight = scale * np.sqrt(2 / fan_in) * rng.standard_normal((fan_in, fan_out))
        layers.append(network.LINEAR)
        parameters.append((weight, np.zeros(fan_out)))
        for layer in (*norms, network.RELU) if k < depth else ():
            layers.append(layer)
            parameters.append((np.ones(fan_out), np.zeros(fan_out)) if layer in NORM + LAYER_NORM else ())
    return layers, parameters


@np.errstate(all="ignore")  # without batch norm some of these runs overflow, which is a result
def learned(depth, rate, norms=(), scale=1.0, seed=0, batch=BATCH, epochs=4):
    """Train by gradient descent; return the test error in %, and the mean loss of the last epoch."""
    (pixels, labels), (layers, parameters) = digits(), built(depth, norms, scale, seed)
    states, rng, losses = network.start(parameters, 0.0), np.random.default_rng(100 + seed), []
    for _ in range(epochs):
        for rows in rng.permutation(TRAIN)[: TRAIN // batch * batch].reshape(-1, batch):
            logits, saved = network.run(layers, parameters, pixels[rows])
            loss, kept = network.softmax_cross_entropy(logits, labels[rows])
            (dlogits,) = network.softmax_cross_entropy_backward(1.0, kept)
            found = network.gradients(layers, dlogits, saved)
            parameters, states = network.step(network.sgd, parameters, found, states, rate=rate, momentum=0.0)
            losses.append(loss)
    running = network.population(layers, parameters, [pixels[:TRAIN]])
    logits, _ = network.run(network.inference(layers, running), parameters, pixels[TRAIN:])
    wrong = np.argmax(np.nan_to_num(logits, nan=-np.inf), axis=-1) != labels[TRAIN:]
    return 100 * wrong.mean(), np.mean(losses[-(TRAIN // batch) :])
