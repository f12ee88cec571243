class Layer:
    """A layer has a mode, parameters and gradients, both by name."""

    def __init__(self):
        self.training = True
        self.params, self.grads = {}, {}

    def train(self, mode=True):
        self.training = mode
        return self

    def eval(self):
        return self.train(False)

    def __call__(self, x):
        return self.forward(x)
