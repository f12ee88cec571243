"""What `tutorials/answers-from-practice.md` says of PyTorch is what PyTorch does.

Where torch is not installed these tests are skipped; REFNORM_FRAMEWORKS=torch requires them. Not verified: GPUs, other
versions than the one at hand, what the linked pages say.
"""

import numpy as np
import pytest
from installed import framework

torch = framework("torch")


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def layer(features=1, **options):
    return torch.nn.BatchNorm1d(features, dtype=torch.float64, **options)


def test_update_bn_weighs_a_short_batch_like_a_full_one_and_lacks_the_variance_between_means():
    norm = layer()
    torch.optim.swa_utils.update_bn([column(0, 2, 4, 6), column(101, 103)], torch.nn.Sequential(norm))
    assert norm.running_mean.item() == (3 + 102) / 2
    assert norm.running_var.item() == pytest.approx((20 / 3 + 2) / 2)


def test_an_averaged_model_has_the_statistics_of_the_last_model():
    model = torch.nn.Sequential(layer())
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for mean in (0.0, 8.0):
        model[0].running_mean.fill_(mean)
        averaged.update_parameters(model)
    assert averaged.module[0].running_mean.item() == 8


def test_a_layer_without_running_statistics_normalises_by_the_batch_in_evaluation_and_refuses_one_value():
    norm = layer(track_running_stats=False).eval()
    assert norm.running_mean is None
    assert norm(column(1, 3)).flatten().tolist() == pytest.approx([-1, 1], rel=1e-5)  # eps is beside 1
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm(column(1))


def test_setting_the_attribute_stops_the_statistics_and_evaluation_uses_what_they_were():
    norm = layer()
    norm(column(1, 3))
    kept = norm.running_mean.item(), norm.running_var.item()
    norm.track_running_stats = False
    norm(column(50, 70))
    assert (norm.running_mean.item(), norm.running_var.item()) == kept
    y = norm.eval()(column(1, 3)).flatten().detach().numpy()
    np.testing.assert_allclose(y, (np.array([1, 3]) - kept[0]) / (kept[1] + norm.eps) ** 0.5, rtol=1e-15)


def test_vmap_takes_the_statistics_of_each_example_and_refuses_to_update_running_ones():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 5, 3)))
    with pytest.raises(RuntimeError, match="running_mean or running_var, which will be updated in place"):
        torch.func.vmap(layer(3))(x)
    norm = layer(3, track_running_stats=False)
    assert torch.equal(torch.func.vmap(norm)(x), torch.stack([norm(example) for example in x]))
    frozen = layer(3).eval()
    assert torch.equal(torch.func.vmap(frozen)(x), torch.stack([frozen(example) for example in x]))


def test_a_nan_stays_in_the_running_statistics():
    norm = layer()
    norm(column(1, float("nan")))
    norm(column(1, 3))
    assert norm.running_mean.isnan().all()
    assert norm.running_var.isnan().all()


def test_half_precision_is_summed_in_single_in_either_memory_format():
    rng = np.random.default_rng(0)
    x, dy = (torch.from_numpy(rng.uniform(size=(2, 1, 400, 400)).astype(np.float16)) for _ in range(2))
    for form in (torch.contiguous_format, torch.channels_last):
        norm, given = torch.nn.BatchNorm2d(1), x.contiguous(memory_format=form).requires_grad_()
        norm(given).backward(dy)
        assert given.grad.isfinite().all()
        assert norm.bias.grad.item() == pytest.approx(dy.double().sum().item(), rel=1e-3)  # 160,000, beyond float16
