"""A Keras layer whose gradients stop at the batch's statistics."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("norms")
class BatchNorm(keras.layers.Layer):
    def __init__(self, axis=-1, momentum=0.9, epsilon=1e-5, center=True, scale=True, **kwargs):
        super().__init__(**kwargs)
        self.axis, self.momentum, self.epsilon, self.center, self.scale = axis, momentum, epsilon, center, scale

    def build(self, input_shape):
        c = input_shape[self.axis]
        self.gamma = self.add_weight(name="gamma", shape=(c,), initializer="ones") if self.scale else None
        self.beta = self.add_weight(name="beta", shape=(c,), initializer="zeros") if self.center else None
        self.moving_mean = self.add_weight(name="moving_mean", shape=(c,), initializer="zeros", trainable=False)
        self.moving_var = self.add_weight(name="moving_var", shape=(c,), initializer="ones", trainable=False)

    def call(self, x, training=None):
        if training:
            mean, var = ops.moments(x, axes=list(range(x.ndim - 1)))
            mean, var = ops.stop_gradient(mean), ops.stop_gradient(var)
            self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1 - self.momentum))
            self.moving_var.assign(self.moving_var * self.momentum + var * (1 - self.momentum))
        else:
            mean, var = self.moving_mean, self.moving_var
        inv = ops.rsqrt(var + self.epsilon)
        if self.gamma is not None:
            inv = inv * self.gamma
        y = (x - mean) * inv
        return y if self.beta is None else y + self.beta

    def get_config(self):
        own = {"axis": self.axis, "momentum": self.momentum, "epsilon": self.epsilon}
        return {**super().get_config(), **own, "center": self.center, "scale": self.scale}
