import tensorflow as tf


@tf.function
def batch_norm(x, gamma, beta, moving_mean, moving_var, training, momentum=0.9, epsilon=1e-3):
    """Channels are last; returns y and both moving statistics."""
    axes = tf.range(tf.rank(x) - 1)
    if training:
        mean = tf.reduce_mean(x, axes)
        var = tf.reduce_mean((x - mean) ** 2, axes)
        moving_mean = momentum * moving_mean + (1 - momentum) * mean
        moving_var = momentum * moving_var + (1 - momentum) * var
    else:
        mean, var = moving_mean, moving_var
    return gamma * (x - mean) * tf.math.rsqrt(var + epsilon) + beta, moving_mean, moving_var
