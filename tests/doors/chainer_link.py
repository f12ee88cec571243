import numpy as np


class BatchNormalization:
    """bn(x) trains, bn(x, test=True) predicts; finetune=True averages all batches with equal weights."""

    def __init__(self, size, decay=0.9, eps=2e-5):
        self.gamma, self.beta = np.ones(size), np.zeros(size)
        self.avg_mean, self.avg_var = np.zeros(size), np.ones(size)
        self.N = 0
        self.decay, self.eps = decay, eps

    def start_finetuning(self):
        self.N = 0

    def __call__(self, x, test=False, finetune=False):
        axis = (0, *range(2, x.ndim))
        expander = (None, Ellipsis) + (None,) * (x.ndim - 2)
        if test:
            return self.normalize(x, self.avg_mean, self.avg_var, expander)
        mean = x.mean(axis=axis)
        var = x.var(axis=axis)
        decay = self.decay
        if finetune:
            self.N += 1
            decay = 1 - 1 / self.N
        m = x.size // x.shape[1]
        adjust = m / max(m - 1.0, 1.0)  # the population's variance, not the sample's
        self.avg_mean = decay * self.avg_mean + (1 - decay) * mean
        self.avg_var = decay * self.avg_var + (1 - decay) * adjust * var
        return self.normalize(x, mean, var, expander)

    def normalize(self, x, mean, var, expander):
        x_hat = (x - mean[expander]) / np.sqrt(var + self.eps)[expander]
        return self.gamma[expander] * x_hat + self.beta[expander]
