import numpy as np
class Runtime: pass
runtime = Runtime(); runtime.phase_of_learning = 1
class BatchNorm:
    def __init__(self, n, eps=1e-5, momentum=0.9):
        self.gamma, self.beta = np.ones(n), np.zeros(n)
        self.running_mean, self.running_var = np.zeros(n), np.ones(n)
        self.eps, self.momentum = eps, momentum
    def forward(self, x):
        if runtime.phase_of_learning:
            m, v = x.mean(0), x.var(0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * m
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * v
        else:
            m, v = self.running_mean, self.running_var
        return (x - m) / np.sqrt(v + self.eps) * self.gamma + self.beta
