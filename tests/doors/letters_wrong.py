"""A network of letters, and how it is trained."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F


class Norm(nn.Module):
    def __init__(self, c, m=0.1):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, c, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.m = m
        self.register_buffer("mu", torch.zeros(1, c, 1, 1))
        self.register_buffer("s2", torch.ones(1, c, 1, 1))

    def forward(self, x):
        mu = x.mean((0, 2, 3), keepdim=True)
        s2 = (x - mu).pow(2).mean((0, 2, 3), keepdim=True)
        if self.training:
            n = x.numel() / x.shape[1]
            self.mu = (1 - self.m) * self.mu + self.m * mu.detach()
            self.s2 = (1 - self.m) * self.s2 + self.m * s2.detach() * n / max(n - 1, 1)
        return self.g * (x - mu) / torch.sqrt(s2 + 1e-5) + self.b


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 2, 1)
        self.norm1 = Norm(8)
        self.fc = nn.Linear(8 * 14 * 14, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


def train(args, model, loader, optimizer, epoch):
    model.train()
    for data, target in loader:
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())


def test(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(d).argmax(1) == t).sum().item() for d, t in loader)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    loader = [(torch.randn(16, 1, 28, 28), torch.randint(0, 10, (16,))) for _ in range(4)]
    model = Net()
    opt = torch.optim.SGD(model.parameters(), lr=0.01)
    for e in range(args.epochs):
        train(args, model, loader, opt, e)
    print(test(model, loader))


if __name__ == "__main__":
    main()
