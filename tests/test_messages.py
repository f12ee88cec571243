"""What is passed by mistake gets an error that names it, of the kind that is documented; and where the range ends.

Not verified: arguments of libraries other than NumPy (test_arrays.py does).
"""

import numpy as np
import pytest

import refnorm

X = np.array([[1.0, 5.0], [3.0, 9.0], [4.0, 7.0]])
ONE = np.ones(2)
Y, SAVED = refnorm.batch_norm_training(X)
BATCH = SAVED.statistics


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: refnorm.batch_norm_training(X, eps=10**400), ValueError, "eps must be finite"),
        (lambda: refnorm.batch_norm_training(X, eps=-(10**400)), ValueError, "eps must be finite"),
        (lambda: refnorm.batch_norm_inference(X, ONE, ONE, eps=10**5000), ValueError, "eps must be finite"),
        (lambda: refnorm.update_running(ONE, ONE, BATCH, momentum=10**400), ValueError, "momentum must be finite"),
        (lambda: refnorm.batch_norm_training_backward(X, None), TypeError, "saved must be what the training forward"),
        (lambda: refnorm.batch_norm_training_backward(X, (X,)), TypeError, "got tuple"),
        (lambda: refnorm.batch_norm_training_backward_step_by_step(X, None), TypeError, "got NoneType"),
        (lambda: refnorm.batch_norm_training_jvp(X, None, None, None), TypeError, "saved must be"),
        (lambda: refnorm.batch_norm_training_double_backward(X, None, None, X, 5), TypeError, "got int"),
        (lambda: refnorm.synchronised_gradients(X, None), TypeError, "saved must be"),
        (lambda: refnorm.batch_norm_synchronised_backward(X, None, ONE, ONE), TypeError, "saved must be"),
        (lambda: BATCH.merge(5), TypeError, "got int"),
        (lambda: BATCH.merge(None), TypeError, "got NoneType"),
        (lambda: BATCH.corrected("1"), TypeError, "correction must be a real number, got '1'"),
        (lambda: BATCH.corrected(None), TypeError, "correction must be a real number"),
        (lambda: refnorm.update_running(ONE, ONE, None), TypeError, "statistics must be Statistics"),
        (lambda: refnorm.update_sums(ONE, ONE, 0.0, SAVED), TypeError, "got Saved"),
        (lambda: refnorm.fold_into_previous(X.T, [1.0, 2.0], ONE, ONE), TypeError, "bias must be an array"),
        (
            lambda: refnorm.fold_into_next(X, [1.0], ONE, ONE, padding=False),
            TypeError,
            "bias must be an array",
        ),
        (lambda: refnorm.unfold_from_previous(X.T, [1.0, 2.0], ONE, ONE), TypeError, "bias must be an array"),
        (lambda: refnorm.unfold_from_previous(X.T, None, ONE, ONE), TypeError, "bias"),
    ],
)
def test_what_is_no_argument_is_named(call, kind, said):
    with pytest.raises(kind) as raised:
        call()
    assert said in str(raised.value)
    assert type(raised.value) is kind


@pytest.mark.parametrize("kind", [">f4", ">f8", "<f4", "f8"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_results_keep_the_byte_order_of_x_in_every_rank(kind, shape):
    x = np.ones(shape).astype(kind)
    axis = () if not shape else 0 if len(shape) == 1 else 1
    y, saved = refnorm.batch_norm_training(x, axis=axis)
    dx, _, _ = refnorm.batch_norm_training_backward(x, saved)
    channels = np.ones(saved.statistics.mean.shape).astype(kind)
    inferred = refnorm.batch_norm_inference(x, channels, channels, axis=axis)
    for result in (y, dx, inferred):
        assert (result.dtype, result.shape) == (x.dtype, shape)
        assert isinstance(result, np.ndarray)


def test_where_the_range_ends_is_as_documented():
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 6, 1))
    inside, _ = refnorm.batch_norm_training(x * 1e153, eps=0.0)
    np.testing.assert_allclose(inside, refnorm.batch_norm_training(x, eps=0.0)[0], rtol=1e-14)
    beyond, saved = refnorm.batch_norm_training(x * 1e155, eps=0.0)
    assert np.all(np.isinf(saved.statistics.var))
    assert np.all(beyond == 0)

    def gap(scale):
        _, saved = refnorm.batch_norm_training(x * scale, eps=0.0)
        dx = refnorm.batch_norm_training_backward(dy, saved)[0]
        twin = refnorm.batch_norm_training_backward_step_by_step(dy, saved)[0]
        return float(np.max(np.abs(dx - twin)) / np.max(np.abs(dx)))

    assert max(gap(1e100), gap(1e-100)) < 1e-14
    assert gap(1e107) > 1e-7
    with np.errstate(all="ignore"):
        assert np.isnan(gap(1e-104))
