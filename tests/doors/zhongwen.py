"""批量归一化层"""
import torch
from torch import nn


class 批量归一化(nn.Module):
    def __init__(self, 通道数, 动量=0.1, 小量=1e-5):
        super().__init__()
        self.动量, self.小量 = 动量, 小量
        self.缩放 = nn.Parameter(torch.ones(通道数))
        self.平移 = nn.Parameter(torch.zeros(通道数))
        self.register_buffer("滑动均值", torch.zeros(通道数))
        self.register_buffer("滑动方差", torch.ones(通道数))

    def forward(self, 输入):
        if self.training:
            均值, 方差 = 输入.mean(0), 输入.var(0, unbiased=False)
            n = 输入.shape[0]
            with torch.no_grad():
                self.滑动均值.lerp_(均值, self.动量)
                self.滑动方差.lerp_(方差 * n / max(n - 1, 1), self.动量)
        else:
            均值, 方差 = self.滑动均值, self.滑动方差
        return self.缩放 * (输入 - 均值) / torch.sqrt(方差 + self.小量) + self.平移
