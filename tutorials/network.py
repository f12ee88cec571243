"""The layers that the experiments need: pure functions in NumPy, each forward with its backward right under it.

A forward takes x and its parameters and returns ``y, saved``; its backward takes ``dy, saved`` and returns the
gradients of x and of the parameters, in that order: what `refnorm.gradcheck` checks. Batch normalization is refnorm's
own. Where x is (..., N, C), the leading axes are networks side by side, one per seed, which share nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from refnorm import (
    batch_norm_inference,
    batch_norm_inference_backward,
    batch_norm_training,
    batch_norm_training_backward,
    population_statistics,
)
from refnorm.reference.batch_norm import Saved

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, equation 14


def linear(x, weight, bias):
    """Return x weight + bias for x (..., N, C), weight (..., C, D) and bias (..., D)."""
    return x @ weight + bias[..., None, :], (x, weight)


def linear_backward(dy, saved):
    """Carry dy back: dx = dy weight^T, dweight = x^T dy, dbias = sum of dy over the batch."""
    x, weight = saved
    return dy @ weight.mT, x.mT @ dy, dy.sum(axis=-2)


def convolution(x, weight, bias, *, stride=1, padding=0):
    """Return what deep learning calls a convolution: every window of x (N, C, H, W) times weight (D, C, height, width).

    y[n, d, i, j] = bias[d] + sum over c, a, b of x[n, c, stride i + a, stride j + b] weight[d, c, a, b]

    >>> convolution(np.ones((1, 1, 2, 3)), np.ones((1, 1, 2, 2)), np.array([0.5]))[0]
    array([[[[4.5, 4.5]]]])
    """
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    y = np.tensordot(windows, weight, ((1, 4, 5), (1, 2, 3))) + bias  # (N, i, j, D)
    return np.moveaxis(y, 3, 1), (windows, weight, padded.shape, stride, padding)


def convolution_backward(dy, saved):
    """Carry dy back: every weight met a window, and every x met as many weights as there are windows over it."""
    windows, weight, shape, stride, padding = saved
    dweight = np.tensordot(dy, windows, ((0, 2, 3), (0, 2, 3)))
    dwindows = np.tensordot(weight, dy, (0, 1))  # (C, a, b, N, i, j)
    dpadded = np.zeros(shape, dtype=dwindows.dtype)
    height, width = (stride * n for n in dy.shape[2:])
    for a, b in np.ndindex(weight.shape[2:]):
        dpadded[:, :, a : a + height : stride, b : b + width : stride] += np.moveaxis(dwindows[:, a, b], 0, 1)
    inside = slice(padding, -padding or None)
    return dpadded[:, :, inside, inside], dweight, dy.sum(axis=(0, 2, 3))


def relu(x):
    """Return x where it is positive, else 0."""
    return x * (x.real > 0), x.real > 0


def relu_backward(dy, positive):
    """Let dy pass where x did."""
    return (dy * positive,)


def selu(x):
    """Return scale x where x is positive, else scale alpha (exp(x) - 1) (Klambauer et al. 2017, equation 2)."""
    positive = x.real > 0
    exponential = SELU_ALPHA * np.exp(np.where(positive, 0, x))
    return SELU_SCALE * np.where(positive, x, exponential - SELU_ALPHA), (positive, exponential)


def selu_backward(dy, saved):
    """Carry dy back: the slope is scale, or scale alpha exp(x)."""
    positive, exponential = saved
    return (dy * SELU_SCALE * np.where(positive, 1, exponential),)


def group_norm(x, gamma, beta, *, groups, axis=1, eps=1e-5):
    """Normalise every sample by itself: one mean and variance for each group of its channels (Wu & He 2018).

    It is batch normalization that keeps other axes, samples and groups; one group is layer normalization (Ba, Kiros &
    Hinton 2016). ``axis`` is what gamma and beta are kept for; its last is that of the channels.
    """
    channel = np.atleast_1d(axis)[-1] % x.ndim
    x_hat, saved = batch_norm_training(x.reshape(*x.shape[:channel], groups, -1), eps=eps, axis=range(channel + 1))
    affine = frozen(np.zeros_like(gamma), np.ones_like(gamma), axis=axis, eps=0.0)
    y, scaled = affine.forward(x_hat.reshape(x.shape), gamma, beta)
    return y, (saved, affine, scaled)


def group_norm_backward(dy, saved):
    """Carry dy back through gamma and beta, then through the statistics of each group."""
    normalised, affine, scaled = saved
    dx_hat, dgamma, dbeta = affine.backward(dy, scaled)
    dx, _, _ = batch_norm_training_backward(dx_hat.reshape(normalised.x.shape), normalised)
    return dx.reshape(dy.shape), dgamma, dbeta


def softmax_cross_entropy(logits, labels):
    """Return the mean over the batch of -log p[label], p the softmax of logits (..., N, K), labels (..., N) int."""
    shifted = logits - logits.real.max(axis=-1, keepdims=True)
    exponential = np.exp(shifted)
    total = exponential.sum(axis=-1, keepdims=True)
    at_label = np.take_along_axis(shifted, labels[..., None], axis=-1)
    return (np.log(total) - at_label).mean(axis=(-2, -1)), (exponential / total, labels)


def softmax_cross_entropy_backward(dloss, saved):
    """Carry dloss back: dlogits = (p - 1 at the label) / N."""
    probability, labels = saved
    one_hot = np.arange(probability.shape[-1]) == labels[..., None]
    return ((probability - one_hot) * (np.asarray(dloss)[..., None, None] / labels.shape[-1]),)


def sgd(weight, dweight, velocity, *, rate, momentum=0.9, decay=0.0):
    """Return weight and velocity after a step of gradient descent with momentum; velocity starts from 0.

    velocity = momentum velocity + dweight + decay weight,  weight = weight - rate velocity

    >>> sgd(1.0, 0.5, 0.0, rate=0.1)
    (0.95, 0.5)
    """
    velocity = momentum * velocity + dweight + decay * weight
    return weight - rate * velocity, velocity


def adam(weight, dweight, moments, *, rate, betas=(0.9, 0.999), eps=1e-8):
    """Return weight and moments after a step of Adam (Kingma & Ba 2015, Algorithm 1); moments start from (0, 0, 0).

    first = b1 first + (1 - b1) dweight,  second = b2 second + (1 - b2) dweight^2,
    weight = weight - rate first / (1 - b1^t) / (sqrt(second / (1 - b2^t)) + eps) in step t = 1, 2, ...
    """
    t, first, second = moments
    t, (b1, b2) = t + 1, betas
    first, second = b1 * first + (1 - b1) * dweight, b2 * second + (1 - b2) * dweight * dweight
    return weight - rate * first / (1 - b1**t) / (np.sqrt(second / (1 - b2**t)) + eps), (t, first, second)


class Layer(NamedTuple):
    """A forward and its backward. A network is a list of layers, its parameters a list of tuples of arrays."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]


LINEAR, RELU, SELU = Layer(linear, linear_backward), Layer(relu, relu_backward), Layer(selu, selu_backward)


def batch_norm(axis=1, eps=1e-5):
    """Normalise by the statistics of the batch."""
    return Layer(partial(batch_norm_training, axis=axis, eps=eps), batch_norm_training_backward)


def frozen(running_mean, running_var, axis=1, eps=1e-5):
    """Normalise by given statistics, which are constants for the backward, too."""

    def forward(x, gamma, beta):
        return batch_norm_inference(x, running_mean, running_var, gamma, beta, axis=axis, eps=eps), (x, gamma)

    def backward(dy, saved):
        x, gamma = saved
        return batch_norm_inference_backward(dy, x, running_mean, running_var, gamma, axis=axis, eps=eps)

    return Layer(forward, backward)


def group_norm_layer(groups, axis=1):
    """Normalise every sample by itself; groups = 1 is layer normalization."""
    return Layer(partial(group_norm, groups=groups, axis=axis), group_norm_backward)


def run(layers, parameters, x):
    """Return y of the last layer, and what each has saved."""
    saved = []
    for layer, own in zip(layers, parameters, strict=True):
        x, kept = layer.forward(x, *own)
        saved.append(kept)
    return x, saved


def gradients(layers, dy, saved):
    """Return the gradients of all parameters, in their nesting: the layers backwards."""
    found = []
    for layer, kept in zip(reversed(layers), reversed(saved), strict=True):
        dy, *own = layer.backward(dy, kept)
        found.append(tuple(own))
    return found[::-1]


def step(optimizer, parameters, found, states, **settings):
    """Return parameters and states after one step; ``states`` are in the nesting of the parameters."""
    new = [
        [optimizer(*each, **settings) for each in zip(*own, strict=True)]
        for own in zip(parameters, found, states, strict=True)
    ]
    return [tuple(w for w, _ in own) for own in new], [tuple(s for _, s in own) for own in new]


def start(parameters, state):
    """Return the first states of an optimizer: 0.0 for `sgd`, (0, 0.0, 0.0) for `adam`."""
    return [tuple(state for _ in own) for own in parameters]


def batch_statistics(saved):
    """Return the statistics of every layer that normalised by its batch."""
    return [kept.statistics for kept in saved if isinstance(kept, Saved)]


def inference(layers, running):
    """Return the layers with ``running``, a mean and a variance for each, in place of the statistics of a batch."""
    given = iter(running)
    return [
        frozen(*next(given), **layer.forward.keywords) if layer.backward is batch_norm_training_backward else layer
        for layer in layers
    ]


def population(layers, parameters, batches):
    """Return mean and variance over a data set of what enters each batch normalization, the ones before it frozen.

    Layer by layer: what enters the second depends on how the first normalises.
    """
    found = []
    for layer, own in zip(layers, parameters, strict=True):
        if layer.backward is batch_norm_training_backward:
            statistics = population_statistics(batches, axis=layer.forward.keywords["axis"])
            found.append((statistics.mean, statistics.var))
            layer = inference([layer], found[-1:])[0]
        batches = [layer.forward(x, *own)[0] for x in batches]
    return found
