import numpy as np
class BN:
    """Conv feature maps are reshaped to rows, as the CS231n spatial trick."""
    def __init__(self, C, eps=1e-5, momentum=0.9):
        self.p = {'gamma': np.ones(C), 'beta': np.zeros(C)}
        self.bn_param = {'mode': 'train', 'eps': eps, 'momentum': momentum, 'running_mean': np.zeros(C), 'running_var': np.ones(C)}
    def forward(self, x):
        bp = self.bn_param
        r = np.moveaxis(x, 1, -1); s = r.shape; r = r.reshape(-1, s[-1])
        if bp['mode'] == 'train':
            m, v = r.mean(0), r.var(0)
            bp['running_mean'] = bp['momentum'] * bp['running_mean'] + (1 - bp['momentum']) * m
            bp['running_var'] = bp['momentum'] * bp['running_var'] + (1 - bp['momentum']) * v
        else:
            m, v = bp['running_mean'], bp['running_var']
        self.c = ((r - m) / np.sqrt(v + bp['eps']), np.sqrt(v + bp['eps']), s)
        return np.moveaxis((self.c[0] * self.p['gamma'] + self.p['beta']).reshape(s), -1, 1)
    def backward(self, dout):
        xh, sd, s = self.c
        d = np.moveaxis(dout, 1, -1).reshape(-1, s[-1]); n = len(d)
        self.d = {'gamma': (d * xh).sum(0), 'beta': d.sum(0)}
        dx = self.p['gamma'] / sd / n * (n * d - self.d['beta'] - xh * self.d['gamma'])
        return np.moveaxis(dx.reshape(s), -1, 1)
