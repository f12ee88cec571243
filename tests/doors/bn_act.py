"""A norm with the activation after it, which can be switched off."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def get_act_layer(name):
    return {"relu": nn.ReLU, "silu": nn.SiLU, None: nn.Identity}[name] if not callable(name) else name


class BatchNormAct2d(nn.BatchNorm2d):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, apply_act=True,
                 act_layer="relu", act_kwargs=None, inplace=True, drop_layer=None, device=None, dtype=None):
        factory_kwargs = {"device": device, "dtype": dtype}
        super().__init__(num_features, eps=eps, momentum=momentum, affine=affine,
                         track_running_stats=track_running_stats, **factory_kwargs)
        self.drop = drop_layer() if drop_layer is not None else nn.Identity()
        self.act = get_act_layer(act_layer)(inplace=inplace, **(act_kwargs or {})) if apply_act else nn.Identity()

    def forward(self, x):
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(
            x,
            self.running_mean if not self.training or self.track_running_stats else None,
            self.running_var if not self.training or self.track_running_stats else None,
            self.weight, self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            self.momentum, self.eps)
        return self.act(self.drop(x))
