"""torch's layer inside of another, for (batch, tokens, channels)."""
from torch import nn


class TokenBatchNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.norm = nn.BatchNorm1d(d_model)

    def forward(self, tokens):
        return self.norm(tokens.mT).mT
