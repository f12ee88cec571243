# coding: utf-8
# ゼロから作る風のバッチ正規化（自分の勉強用）
import numpy as np


class バッチ正規化:
    """http://arxiv.org/abs/1502.03167"""

    def __init__(self, gamma, beta, momentum=0.9, 移動平均=None, 移動分散=None):
        self.gamma = gamma
        self.beta = beta
        self.momentum = momentum
        # テスト時に使う平均と分散
        self.移動平均 = 移動平均
        self.移動分散 = 移動分散
        self.dgamma = None
        self.dbeta = None

    def forward(self, x, train_flg=True):
        if self.移動平均 is None:
            self.移動平均 = np.zeros(x.shape[1])
            self.移動分散 = np.zeros(x.shape[1])
        if train_flg:
            mu = x.mean(axis=0)
            xc = x - mu
            var = np.mean(xc ** 2, axis=0)
            std = np.sqrt(var + 10e-7)
            xn = xc / std
            self.batch_size = x.shape[0]
            self.xc, self.xn, self.std = xc, xn, std
            self.移動平均 = self.momentum * self.移動平均 + (1 - self.momentum) * mu
            self.移動分散 = self.momentum * self.移動分散 + (1 - self.momentum) * var
        else:
            xn = (x - self.移動平均) / np.sqrt(self.移動分散 + 10e-7)
        return self.gamma * xn + self.beta

    def backward(self, dout):
        self.dbeta = dout.sum(axis=0)
        self.dgamma = np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += (2.0 / self.batch_size) * self.xc * dvar
        dmu = np.sum(dxc, axis=0)
        return dxc - dmu / self.batch_size
