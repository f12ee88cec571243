from numpy import mean, sqrt, sum, tile, zeros, ones
def vl_nnbnorm(x, g, b, moments=None, epsilon=1e-4, dzdy=None):
    """MatConvNet: moments are mean and std."""
    n, c, h, w = x.shape
    m = n * h * w
    if moments is None:
        mu = sum(x, (0, 2, 3)) / m
        s2 = sum((x - mu[:, None, None]) ** 2, (0, 2, 3)) / m
        s = sqrt(s2 + epsilon)
    else:
        mu, s = moments
    y = g[:, None, None] * (x - mu[:, None, None]) / s[:, None, None] + b[:, None, None]
    return y, (mu, s)
