import keras
from keras import ops


@keras.saving.register_keras_serializable(package="experiments")
class BatchNorm(keras.layers.Layer):
    """Normalises `axis`, the last one unless said otherwise."""

    def __init__(self, axis=-1, momentum=0.99, epsilon=1e-3, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.axis, self.momentum, self.epsilon = axis, momentum, epsilon

    def build(self, input_shape):
        units = (input_shape[self.axis],)
        self.gamma = self.add_weight(name="gamma", shape=units, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=units, initializer="zeros")
        self.moving_mean = self.add_weight(name="moving_mean", shape=units, initializer="zeros", trainable=False)
        self.moving_var = self.add_weight(name="moving_var", shape=units, initializer="ones", trainable=False)

    def call(self, x, training=None):
        ndim = len(x.shape)
        channel = self.axis % ndim
        shape = [-1 if a == channel else 1 for a in range(ndim)]
        if training:
            others = [a for a in range(ndim) if a != channel]
            mean = ops.mean(x, axis=others)
            var = ops.mean(ops.square(x - ops.reshape(mean, shape)), axis=others)
            self.moving_mean.assign((1 - self.momentum) * self.moving_mean + self.momentum * mean)
            self.moving_var.assign((1 - self.momentum) * self.moving_var + self.momentum * var)
        else:
            mean, var = self.moving_mean, self.moving_var
        x_hat = (x - ops.reshape(mean, shape)) / ops.sqrt(ops.reshape(var, shape) + self.epsilon)
        return ops.reshape(self.gamma, shape) * x_hat + ops.reshape(self.beta, shape)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "momentum": self.momentum, "epsilon": self.epsilon}
