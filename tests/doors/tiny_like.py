"""Written after tinygrad: lazy-ish tensors with a class of functions, .backward(gradient=...), a Tensor.training flag."""
import numpy as np


class Function:
    def __init__(self, *parents):
        self.parents = parents

    @classmethod
    def apply(cls, *tensors, **kw):
        f = cls(*tensors)
        out = Tensor(f.forward(*[t.numpy() for t in tensors], **kw))
        out._ctx = f
        return out


def reduce_to(g, shape):
    extra = tuple(range(g.ndim - len(shape)))
    g = g.sum(axis=extra)
    ones = tuple(k for k, n in enumerate(shape) if n == 1 and g.shape[k] > 1)
    return g.sum(axis=ones, keepdims=True) if ones else g


class Add(Function):
    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a + b

    def backward(self, g):
        return reduce_to(g, self.shapes[0]), reduce_to(g, self.shapes[1])


class Mul(Function):
    def forward(self, a, b):
        self.a, self.b = a, b
        return a * b

    def backward(self, g):
        return reduce_to(g * self.b, self.a.shape), reduce_to(g * self.a, self.b.shape)


class Rsqrt(Function):
    def forward(self, a):
        self.out = 1 / np.sqrt(a)
        return self.out

    def backward(self, g):
        return (-0.5 * g * self.out**3,)


class Sum(Function):
    def forward(self, a, axis):
        self.shape, self.axis = a.shape, axis
        return a.sum(axis=axis, keepdims=True)

    def backward(self, g):
        return (np.broadcast_to(g, self.shape).copy(),)


class Reshape(Function):
    def forward(self, a, shape):
        self.shape = a.shape
        return a.reshape(shape)

    def backward(self, g):
        return (g.reshape(self.shape),)


class Tensor:
    training = False

    def __init__(self, data, requires_grad=True):
        self._data = np.asarray(data)
        self.grad, self._ctx, self.requires_grad = None, None, requires_grad

    @staticmethod
    def ones(*shape):
        return Tensor(np.ones(shape))

    @staticmethod
    def zeros(*shape):
        return Tensor(np.zeros(shape))

    def numpy(self):
        return self._data

    @property
    def shape(self):
        return self._data.shape

    @property
    def ndim(self):
        return self._data.ndim

    def _wrap(self, other):
        return other if isinstance(other, Tensor) else Tensor(np.asarray(other, dtype=self._data.dtype))

    def __add__(self, other):
        return Add.apply(self, self._wrap(other))

    def __mul__(self, other):
        return Mul.apply(self, self._wrap(other))

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other):
        return self + self._wrap(other) * -1.0

    def rsqrt(self):
        return Rsqrt.apply(self)

    def reshape(self, *shape):
        return Reshape.apply(self, shape=shape)

    def mean(self, axis):
        n = np.prod([self.shape[k] for k in axis])
        return Sum.apply(self, axis=axis) * (1.0 / n)

    def detach(self):
        return Tensor(self._data)

    def assign(self, other):
        self._data = other._data.astype(self._data.dtype)
        return self

    def backward(self, gradient=None):
        order, seen = [], set()

        def walk(t):
            if id(t) not in seen:
                seen.add(id(t))
                if t._ctx:
                    for p in t._ctx.parents:
                        walk(p)
                order.append(t)

        walk(self)
        self.grad = np.ones_like(self._data) if gradient is None else gradient.numpy()
        for t in reversed(order):
            if t._ctx is None:
                continue
            for p, g in zip(t._ctx.parents, t._ctx.backward(t.grad)):
                p.grad = g if p.grad is None else p.grad + g


class BatchNorm:
    def __init__(self, sz, eps=1e-5, affine=True, track_running_stats=True, momentum=0.1):
        self.eps, self.track, self.momentum = eps, track_running_stats, momentum
        self.weight = Tensor.ones(sz) if affine else None
        self.bias = Tensor.zeros(sz) if affine else None
        self.running_mean, self.running_var = Tensor.zeros(sz), Tensor.ones(sz)

    def __call__(self, x):
        shape = [1, -1] + [1] * (x.ndim - 2)
        if Tensor.training:
            axis = tuple(k for k in range(x.ndim) if k != 1)
            mean = x.mean(axis)
            centred = x - mean
            var = (centred * centred).mean(axis)
            n = x._data.size // x.shape[1]
            self.running_mean.assign(self.running_mean * (1 - self.momentum) + mean.detach().reshape(-1) * self.momentum)
            self.running_var.assign(
                self.running_var * (1 - self.momentum) + var.detach().reshape(-1) * (self.momentum * n / (n - 1))
            )
        else:
            centred = x - self.running_mean.reshape(*shape)
            var = self.running_var.reshape(*shape)
        y = centred * (var + self.eps).rsqrt()
        if self.weight is not None:
            y = y * self.weight.reshape(*shape)
        return y if self.bias is None else y + self.bias.reshape(*shape)
