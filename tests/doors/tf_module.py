import tensorflow as tf


class BatchNorm(tf.Module):
    """Channels are last. The variables are made when the first input shows their size and dtype."""

    def __init__(self, decay_rate=0.99, eps=1e-3, name=None):
        super().__init__(name=name)
        self.decay_rate, self.eps = decay_rate, eps
        self.built = False

    @tf.Module.with_name_scope
    def build(self, x):
        size, dtype = x.shape[-1:], x.dtype
        self.scale = tf.Variable(tf.ones(size, dtype), name="scale")
        self.offset = tf.Variable(tf.zeros(size, dtype), name="offset")
        self.moving_mean = tf.Variable(tf.zeros(size, dtype), trainable=False, name="moving_mean")
        self.moving_variance = tf.Variable(tf.ones(size, dtype), trainable=False, name="moving_variance")
        self.built = True

    def __call__(self, x, is_training):
        x = tf.convert_to_tensor(x)
        if not self.built:
            self.build(x)
        if is_training:
            axes = list(range(x.shape.rank - 1))
            mean = tf.reduce_mean(x, axes)
            variance = tf.reduce_mean(tf.math.squared_difference(x, tf.stop_gradient(mean)), axes)
            self.moving_mean.assign(self.decay_rate * self.moving_mean + (1 - self.decay_rate) * mean)
            self.moving_variance.assign(self.decay_rate * self.moving_variance + (1 - self.decay_rate) * variance)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        return self.scale * (x - mean) / tf.sqrt(variance + self.eps) + self.offset
