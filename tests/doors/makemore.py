"""The layer of the lecture on activations and gradients: tensors only, no torch.nn."""
import torch


class BatchNorm1d:
    def __init__(self, dim, eps=1e-5, momentum=0.1):
        self.eps, self.momentum = eps, momentum
        self.training = True
        # learned by gradient descent
        self.gamma, self.beta = torch.ones(dim), torch.zeros(dim)
        # averaged over the batches
        self.running_mean, self.running_var = torch.zeros(dim), torch.ones(dim)

    def __call__(self, x):
        if self.training:
            center, spread = x.mean(0, keepdim=True), x.var(0, keepdim=True)
            with torch.no_grad():
                keep = 1 - self.momentum
                self.running_mean = keep * self.running_mean + self.momentum * center
                self.running_var = keep * self.running_var + self.momentum * spread
        else:
            center, spread = self.running_mean, self.running_var
        self.out = self.gamma * ((x - center) / torch.sqrt(spread + self.eps)) + self.beta
        return self.out

    def parameters(self):
        return [self.gamma, self.beta]


if __name__ == "__main__":
    layers = [BatchNorm1d(100), BatchNorm1d(100)]
    x = torch.randn(32, 100)
    for layer in layers:
        x = layer(x)
    print(x.mean().item(), x.std().item())
