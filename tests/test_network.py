"""Are the layers of `tutorials/network.py` right, each backward the derivative of its forward?

Verified here: every layer and a whole network by `refnorm.gradcheck`, also with networks side by side; convolution,
group normalization, softmax and the optimizers against other roads (SciPy, plain sums, closed forms); wrong backwards
are convicted. Not verified: speed, and dtypes other than float64, which the experiments do not use.
"""

from functools import partial

import numpy as np
import pytest

from refnorm import Statistics, batch_norm_training_backward, gradcheck
from tutorials import network

SAMPLED = 4  # one in so many; see conftest.py


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def labelled(shape, classes):
    labels = np.random.default_rng(1).integers(classes, size=shape)
    return network.Layer(
        partial(network.softmax_cross_entropy, labels=labels), network.softmax_cross_entropy_backward
    ), normal(*shape, classes)


def convolves(**settings):
    return network.Layer(partial(network.convolution, **settings), network.convolution_backward)


def group(groups, axis=1):
    return network.group_norm_layer(groups, axis)


CASES = {
    "linear": (network.LINEAR, normal(5, 4), normal(4, 3), normal(3)),
    "linear, side by side": (network.LINEAR, normal(2, 5, 4), normal(2, 4, 3), normal(2, 3)),
    "convolution": (convolves(), normal(2, 2, 5, 4), normal(3, 2, 3, 2), normal(3)),
    "convolution, padded": (convolves(padding=1), normal(2, 2, 4, 4), normal(2, 2, 3, 3), normal(2)),
    "convolution, strided": (convolves(stride=2, padding=1), normal(1, 2, 6, 5), normal(2, 2, 3, 3), normal(2)),
    "relu": (network.RELU, normal(4, 5) + np.copysign(1, normal(4, 5))),  # differences must not step over the kink
    "selu": (network.SELU, normal(4, 5)),
    "softmax cross-entropy": labelled((6,), 4),
    "softmax cross-entropy, side by side": labelled((2, 5), 3),
    "batch norm": (network.batch_norm(), normal(5, 3), normal(3), normal(3)),
    "batch norm, side by side": (network.batch_norm(axis=(0, 2)), normal(2, 5, 3), normal(2, 3), normal(2, 3)),
    "frozen": (network.frozen(normal(3), normal(3) ** 2), normal(5, 3), normal(3), normal(3)),
    "group norm": (group(2), normal(3, 6), normal(6), normal(6)),
    "group norm of images": (group(2), normal(2, 4, 3, 2), normal(4), normal(4)),
    "group norm, side by side": (group(2, (0, 2)), normal(2, 3, 8), normal(2, 8), normal(2, 8)),
    "layer norm": (group(1), normal(3, 6), normal(6), normal(6)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_backward_is_the_derivative_of_its_forward(name):
    layer, *inputs = CASES[name]
    verdict = gradcheck(layer.forward, layer.backward, *inputs)
    assert verdict.passed, verdict


WRONG = {
    "linear": lambda dx, dw, db: (dx, dw, db / 5),  # the mean over the batch
    "convolution, padded": lambda dx, dw, db: (dx, dw[:, :, ::-1, ::-1], db),  # a true convolution's
    "convolution, strided": lambda dx, dw, db: (np.roll(dx, 1, 2), dw, db),
    "relu": lambda dx: (np.abs(dx),),
    "selu": lambda dx: (dx / network.SELU_SCALE,),
    "softmax cross-entropy": lambda dlogits: (6 * dlogits,),  # the sum's, where the loss is the mean
    "group norm": lambda dx, dgamma, dbeta: (dx + 0.01 * dgamma, dgamma, dbeta),
    "batch norm": lambda dx, dgamma, dbeta: (dx, 1.01 * dgamma, dbeta),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_backward_is_convicted(name):
    layer, *inputs = CASES[name]
    verdict = gradcheck(layer.forward, lambda dy, saved: WRONG[name](*layer.backward(dy, saved)), *inputs)
    assert verdict.status == "wrong"


def test_a_network_is_differentiated_as_a_whole():
    layers = [network.LINEAR, network.SELU, network.batch_norm(), network.LINEAR, group(1), network.RELU]
    shapes = [(4, 5), (5,), (5,), (5,), (5, 6), (6,), (6,), (6,)]
    flat = [normal(*shape, seed=k) for k, shape in enumerate(shapes)]

    def nested(a):
        return [a[0:2], (), a[2:4], a[4:6], a[6:8], ()]

    def backward(dy, saved):
        return [g for own in network.gradients(layers, dy, saved) for g in own]

    def forward(*arrays):
        return network.run(layers, nested(arrays), normal(7, 4, seed=9))

    assert gradcheck(forward, backward, *flat).passed
    assert gradcheck(forward, lambda dy, saved: backward(-dy, saved), *flat).status == "wrong"


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 0), (3, 2)])
def test_convolution_is_scipys_correlation(stride, padding):
    from scipy.signal import correlate  # which takes a second to be imported

    x, weight, bias = normal(2, 3, 7, 6), normal(4, 3, 3, 2), normal(4)
    y, _ = network.convolution(x, weight, bias, stride=stride, padding=padding)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    for n, d in np.ndindex(2, 4):
        expected = correlate(padded[n], weight[d], mode="valid")[0, ::stride, ::stride] + bias[d]
        np.testing.assert_allclose(y[n, d], expected, rtol=1e-12, atol=1e-12)


def test_cross_entropy_is_scipys():
    from scipy.special import log_softmax

    layer, logits = CASES["softmax cross-entropy"]
    loss, (_, labels) = layer.forward(1000 * logits)  # exp would overflow
    assert loss == pytest.approx(-log_softmax(1000 * logits, axis=1)[np.arange(6), labels].mean(), rel=1e-12)


def test_selu_keeps_mean_0_and_variance_1():
    y, _ = network.selu(normal(10**6))
    assert abs(y.mean()) < 4 / 1000  # four standard errors of a mean of 10^6 values
    assert abs(y.var() - 1) < 4 * np.std((y - y.mean()) ** 2) / 1000


def test_group_norm_takes_the_statistics_of_each_sample_and_group():
    x, gamma, beta = normal(2, 6, 3, 3), normal(6), normal(6)
    y, _ = network.group_norm(x, gamma, beta, groups=3, eps=0.0)
    for n, g in np.ndindex(2, 3):
        part = x[n, 2 * g : 2 * g + 2]
        expected = (part - part.mean()) / part.std()
        for c in range(2):
            got = y[n, 2 * g + c]
            np.testing.assert_allclose(got, gamma[2 * g + c] * expected[c] + beta[2 * g + c], rtol=1e-12, atol=1e-12)


def test_networks_side_by_side_do_not_touch_each_other():
    layers = [network.LINEAR, network.batch_norm(axis=(0, 2)), network.SELU, group(2, axis=(0, 2))]
    parameters = [(normal(3, 4, 6), normal(3, 6)), (normal(3, 6), normal(3, 6)), (), (normal(3, 6), normal(3, 6))]
    alone = [network.LINEAR, network.batch_norm(), network.SELU, group(2)]
    x = normal(3, 5, 4)
    together, _ = network.run(layers, parameters, x)
    for k in range(3):
        single, _ = network.run(alone, [tuple(a[k] for a in own) for own in parameters], x[k])
        np.testing.assert_allclose(together[k], single, rtol=1e-12, atol=1e-12)


def test_momentum_adds_up_the_gradients():
    w, velocity = np.array([1.0]), 0.0
    for _ in range(3):
        w, velocity = network.sgd(w, np.array([1.0]), velocity, rate=0.1, momentum=0.5)
    assert w == pytest.approx(1 - 0.1 * (1 + 1.5 + 1.75), rel=1e-15)
    w, _ = network.sgd(np.array([2.0]), np.array([0.0]), 0.0, rate=0.1, decay=0.5)
    assert w == pytest.approx(2 * (1 - 0.1 * 0.5), rel=1e-15)


def test_adam_moves_by_the_rate_whatever_the_size_of_the_gradient():
    for size in (1e-3, 1.0, 1e5):
        w, state = np.array([0.0]), (0, 0.0, 0.0)
        for _ in range(4):
            w, state = network.adam(w, np.array([size]), state, rate=0.01, eps=0.0)
        assert w == pytest.approx(-0.04, rel=1e-12)


def test_adam_is_its_definition_summed_up():
    steps = normal(6, 2)
    w, state = np.zeros(2), (0, 0.0, 0.0)
    for dw in steps:
        w, state = network.adam(w, dw, state, rate=0.1)
    expected = np.zeros(2)
    for t in range(1, 7):
        first = sum(0.1 * 0.9 ** (t - k) * steps[k - 1] for k in range(1, t + 1)) / (1 - 0.9**t)
        second = sum(0.001 * 0.999 ** (t - k) * steps[k - 1] ** 2 for k in range(1, t + 1)) / (1 - 0.999**t)
        expected -= 0.1 * first / (np.sqrt(second) + 1e-8)
    np.testing.assert_allclose(w, expected, rtol=1e-10)


def test_population_statistics_make_inference_what_training_is_on_the_whole_data():
    layers = [network.LINEAR, network.batch_norm(), network.RELU, network.LINEAR, network.batch_norm()]
    parameters = [(normal(3, 4), normal(4)), (normal(4), normal(4)), (), (normal(4, 2), normal(2))]
    parameters += [(normal(2), normal(2))]
    x = normal(40, 3)
    found = network.population(layers, parameters, [x[:7], x[7:20], x[20:]])
    whole, saved = network.run(layers, parameters, x)
    for (mean, var), batch in zip(found, network.batch_statistics(saved), strict=True):
        np.testing.assert_allclose(mean, batch.mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(var, batch.var, rtol=1e-12)
    one_by_one = [network.run(network.inference(layers, found), parameters, x[k : k + 1])[0] for k in range(40)]
    np.testing.assert_allclose(np.concatenate(one_by_one), whole, rtol=1e-10, atol=1e-10)
    averaged = np.mean([Statistics.of(x[k : k + 8]).var for k in range(0, 40, 8)], axis=0)
    assert np.all(averaged < Statistics.of(x).var)  # what an average of variances lacks


def test_a_step_changes_no_argument():
    layers = [network.LINEAR, network.batch_norm(), network.RELU]
    parameters = [(normal(3, 4), normal(4)), (normal(4), normal(4)), ()]
    kept = [[a.copy() for a in own] for own in parameters]
    y, saved = network.run(layers, parameters, normal(5, 3))
    found = network.gradients(layers, y, saved)
    for optimizer, state in ((network.sgd, 0.0), (network.adam, (0, 0.0, 0.0))):
        new, states = network.step(optimizer, parameters, found, network.start(parameters, state), rate=0.1)
        assert [[a.shape for a in own] for own in new] == [[a.shape for a in own] for own in parameters]
        assert [len(own) for own in states] == [len(own) for own in parameters]
        assert not np.array_equal(new[0][0], parameters[0][0])
    for own, before in zip(parameters, kept, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(own, before, strict=True))


def test_the_backward_of_batch_norm_is_refnorms():
    assert network.batch_norm().backward is batch_norm_training_backward
