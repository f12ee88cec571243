"""A layer inside a network, and no class or function of the file's own."""

from torch import nn

net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.3, eps=1e-3), nn.ReLU())
