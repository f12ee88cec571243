import torch as t
from torch import Tensor, nn


class BatchNorm2d(nn.Module):
    running_mean: Tensor  # (num_features,)
    running_var: Tensor  # (num_features,)
    num_batches_tracked: Tensor  # ()

    def __init__(self, num_features: int, eps=1e-05, momentum=0.1):
        """Like nn.BatchNorm2d with track_running_stats=True and affine=True."""
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = nn.Parameter(t.ones(num_features))
        self.bias = nn.Parameter(t.zeros(num_features))
        self.register_buffer("running_mean", t.zeros(num_features))
        self.register_buffer("running_var", t.ones(num_features))
        self.register_buffer("num_batches_tracked", t.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel: x and the result have shape (batch, channels, height, width)."""
        batch, _, height, width = x.shape
        count = batch * height * width
        if self.training:
            if count < 2:
                raise ValueError("cannot take the variance of a single value")
            mean = t.mean(x, dim=(0, 2, 3))
            var = t.var(x, dim=(0, 2, 3), unbiased=False)
            with t.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(t.var(x, dim=(0, 2, 3), unbiased=True), self.momentum)
                self.num_batches_tracked += 1
        else:
            mean, var = self.running_mean, self.running_var

        def rearranged(v):
            return v.reshape(1, -1, 1, 1)

        x_hat = (x - rearranged(mean)) / t.sqrt(rearranged(var) + self.eps)
        return x_hat * rearranged(self.weight) + rearranged(self.bias)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in ("num_features", "eps", "momentum"))
