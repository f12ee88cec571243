"""Batch normalization by the algorithms that the oracle's tiers are named after, every operation in one format.

An algorithm is a choice of four things: how sums are taken, how the moments of a batch, which map gives y, and which
gives the gradients. NumPy rounds each operation of float16 and float32 (and of ml_dtypes' bfloat16) once, so that what
is computed here is what the analysis in `refnorm.oracle.bounds` speaks of. The interface is that of the oracle's
implementations, channels on axis 1.

Nothing here imports refnorm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = Any


# Sums over the first axis of terms of shape (m, channels).


def row_by_row(terms: Array) -> Array:
    total = terms[0]
    for row in terms[1:]:
        total = total + row
    return total


def by_halves(terms: Array) -> Array:
    while len(terms) > 1:
        half = (len(terms) + 1) // 2
        upper = terms[half:]
        terms = np.concatenate([terms[: len(upper)] + upper, terms[len(upper) : half]])
    return terms[0]


def in_blocks(terms: Array) -> Array:
    """As NumPy sums contiguous float32: blocks of at most 128, eight accumulators each, blocks by halves."""
    m = len(terms)
    if m > 128:
        half = m // 2 - m // 2 % 8
        return in_blocks(terms[:half]) + in_blocks(terms[half:])
    if m < 8:
        return row_by_row(terms)
    r = row_by_row(terms[: m - m % 8].reshape(-1, 8, *terms.shape[1:]))
    total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
    return row_by_row(np.concatenate([total[None], terms[m - m % 8 :]]))


def wide(terms: Array) -> Array:
    """In float64, rounded once."""
    return terms.astype(np.float64).sum(axis=0).astype(terms.dtype)


Sum = Callable[[Array], Array]


def count(values: Array) -> Array:
    """Return the number of rows, in the format of the values."""
    return values.dtype.type(len(values))


# Moments, mean and biased variance, of x of shape (m, channels).


def two_passes(x: Array, total: Sum) -> tuple[Array, Array]:
    mean = total(x) / count(x)
    d = x - mean
    return mean, total(d * d) / count(x)


def two_passes_by_reciprocal(x: Array, total: Sum) -> tuple[Array, Array]:
    reciprocal = x.dtype.type(1) / count(x)
    mean = total(x) * reciprocal
    d = x - mean
    return mean, total(d * d) * reciprocal


def welford(x: Array, total: Sum) -> tuple[Array, Array]:
    mean, squares = np.zeros_like(x[0]), np.zeros_like(x[0])
    for k, row in enumerate(x, start=1):
        d = row - mean
        mean = mean + d / x.dtype.type(k)
        squares = squares + d * (row - mean)
    return mean, squares / count(x)


def merged(parts: list[Array], total: Sum) -> tuple[Array, Array]:
    """Merge the moments of parts one after the other (Chan, Golub & LeVeque 1983)."""
    number = parts[0].dtype.type
    mean, var = two_passes(parts[0], total)
    m = len(parts[0])
    for part in parts[1:]:
        part_mean, part_var = two_passes(part, total)
        d, both = part_mean - mean, m + len(part)
        share, other = number(m) / number(both), number(len(part)) / number(both)
        mean = mean + d * other
        var = var * share + part_var * other + d * d * (share * other)
        m = both
    return mean, var


def merged_halves(x: Array, total: Sum) -> tuple[Array, Array]:
    return merged([part for part in np.array_split(x, 2) if len(part)], total)


def merged_quarters(x: Array, total: Sum) -> tuple[Array, Array]:
    return merged([part for part in np.array_split(x, 4) if len(part)], total)


def merged_one_and_rest(x: Array, total: Sum) -> tuple[Array, Array]:
    return merged([x[:1], x[1:]], total)


def one_pass(x: Array, total: Sum) -> tuple[Array, Array]:
    mean = total(x) / count(x)
    return mean, total(x * x) / count(x) - mean * mean


def shifted(x: Array, total: Sum) -> tuple[Array, Array]:
    """One pass over x less its first value."""
    d = x - x[0]
    mean_d = total(d) / count(x)
    return x[0] + mean_d, total(d * d) / count(x) - mean_d * mean_d


# The inverse of the standard deviation.


def divided(var: Array, eps: Array) -> Array:
    return var.dtype.type(1) / np.sqrt(var + eps)


def two_ulp_off(var: Array, eps: Array) -> Array:
    """As CUDA documents its rsqrt: within 2 ulp of the rounded result; here always 2 above."""
    wide_v = (var + eps).astype(np.float64)
    inv = (1 / np.sqrt(wide_v)).astype(var.dtype)
    return np.nextafter(np.nextafter(inv, inv.dtype.type(np.inf)), inv.dtype.type(np.inf))


class Saved(NamedTuple):
    """What backward needs, x and x_hat of shape (m, channels)."""

    x: Array
    x_hat: Array
    mean: Array
    var: Array
    inv: Array
    gamma: Array
    eps: Array
    frozen: bool
    shape: tuple[int, ...]


# y of x of shape (m, channels).


def plain(s: Saved, beta: Array) -> Array:
    return s.gamma * s.x_hat + beta


def scaled_first(s: Saved, beta: Array) -> Array:
    return (s.x - s.mean) * (s.gamma * s.inv) + beta


def divided_by_root(s: Saved, beta: Array) -> Array:
    return s.gamma * ((s.x - s.mean) / np.sqrt(s.var + s.eps)) + beta


def folded(s: Saved, beta: Array) -> Array:
    a = s.gamma * s.inv
    return s.x * a + (beta - s.mean * a)


# Gradients: dbeta; then dx, dgamma.


def summed(g: Array, total: Sum) -> Array:
    return total(g)


def from_mean(g: Array, total: Sum) -> Array:
    """The mean of g, which dx needs, times m."""
    return total(g) / count(g) * count(g)


def from_scaled_parts(g: Array, total: Sum) -> Array:
    """Parts of the sum are scaled by 1/m before they are merged, and the whole by m."""
    each = g.dtype.type(1) / count(g)
    parts = [total(part) * each for part in np.array_split(g, 4) if len(part)]
    return sum(parts[1:], parts[0]) * count(g)


def closed_form(g: Array, s: Saved, total: Sum) -> tuple[Array, Array]:
    m, dgamma = count(g), total(g * s.x_hat)
    return s.gamma * s.inv * (g - total(g) / m - s.x_hat * (dgamma / m)), dgamma


def multiplied_out(g: Array, s: Saved, total: Sum) -> tuple[Array, Array]:
    """The closed form as CS231n has it."""
    m, dgamma = count(g), total(g * s.x_hat)
    return s.gamma * s.inv / m * (m * g - total(g) - s.x_hat * dgamma), dgamma


def in_two_steps(g: Array, s: Saved, total: Sum) -> tuple[Array, Array]:
    m, dx_hat = count(g), g * s.gamma
    through_std = (dx_hat - s.x_hat * (total(dx_hat * s.x_hat) / m)) * s.inv
    return through_std - total(through_std) / m, total(g * s.x_hat)


def chain_of_the_paper(g: Array, s: Saved, total: Sum) -> tuple[Array, Array]:
    """Ioffe & Szegedy 2015, section 3, with its term sum(x - mean) = 0; sums are averaged early, against overflow."""
    m, d, dx_hat = count(g), s.x - s.mean, g * s.gamma
    half, two = g.dtype.type(-0.5), g.dtype.type(2)
    dvar = total(dx_hat * d) / m * half * (s.inv * s.inv * s.inv)
    dmean = total(-dx_hat * s.inv) / m + dvar * (total(-two * d) / m)
    return dx_hat * s.inv + dvar * (two * d) + dmean, total(g * s.x_hat)


def through_power(g: Array, s: Saved, total: Sum) -> tuple[Array, Array]:
    """As a tape records it, through (var + eps)^(-3/2)."""
    m, d = count(g), s.x - s.mean
    slope = g.dtype.type(-0.5) * ((s.var + s.eps) ** g.dtype.type(-1.5)).astype(s.inv.dtype)
    through_variance = g.dtype.type(2) * slope * d * (total(g * d) / m)
    return s.gamma * (s.inv * (g - total(g) / m) + through_variance), total(g * d) * s.inv


def folded_gradients(g: Array, s: Saved, total: Sum) -> tuple[Array, Array]:
    """dx = a g + b x + k, and dgamma from the sums of g and g x."""
    m, sum_g = count(g), total(g)
    dgamma = (total(g * s.x) - s.mean * sum_g) * s.inv
    a = s.gamma * s.inv
    b = -a * s.inv * (dgamma / m)
    return a * g + b * s.x + (-a * (sum_g / m) - b * s.mean), dgamma


# Running statistics.


def weighted(old: Array, new: Array, momentum: float) -> Array:
    w = new.dtype.type(momentum)
    return (new.dtype.type(1) - w) * old + w * new


def stepped(old: Array, new: Array, momentum: float) -> Array:
    return old + new.dtype.type(momentum) * (new - old)


class Algorithm(NamedTuple):
    """Batch normalization in the formats that come in; NumPy's promotion decides where x and parameters differ."""

    name: str
    tier: str
    total: Sum = row_by_row
    moments: Callable[[Array, Sum], tuple[Array, Array]] = two_passes
    y: Callable[[Saved, Array], Array] = plain
    gradients: Callable[[Array, Saved, Sum], tuple[Array, Array]] = closed_form
    inverse: Callable[[Array, Array], Array] = divided
    blend: Callable[[Array, Array, float], Array] = weighted
    dbeta: Callable[[Array, Sum], Array] = summed

    def train(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, momentum: float, eps: float
    ) -> tuple[Any, ...]:
        mean, var = self.moments(rows(x), self.total)
        y, saved = self.normalise(x, gamma, beta, mean, var, eps, frozen=False)
        unbiased = var * (count(rows(x)) / (count(rows(x)) - x.dtype.type(1)))
        new_mean = self.blend(running_mean, mean, momentum).astype(running_mean.dtype)
        new_var = self.blend(running_var, unbiased, momentum).astype(running_var.dtype)
        return y, new_mean, new_var, saved

    def frozen(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
    ) -> tuple[Array, Saved]:
        wide_x = x.astype(np.result_type(x, running_var))
        y, saved = self.normalise(wide_x, gamma, beta, running_mean, running_var, eps, frozen=True)
        return y.astype(x.dtype), saved

    def normalise(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, frozen: bool
    ) -> tuple[Array, Saved]:
        own = var.dtype.type(eps)
        inv = self.inverse(var, own)
        saved = Saved(rows(x), (rows(x) - mean) * inv, mean, var, inv, gamma, own, frozen, x.shape)
        return images(self.y(saved, beta), x.shape).astype(x.dtype), saved

    def backward(self, dy: Array, s: Saved) -> tuple[Array, Array, Array]:
        g = rows(dy).astype(s.x.dtype)
        dx, dgamma = self.gradients(g, s, self.total)
        if s.frozen:
            dx = s.gamma * s.inv * g
        dtype = s.gamma.dtype
        return images(dx, s.shape).astype(dy.dtype), dgamma.astype(dtype), self.dbeta(g, self.total).astype(dtype)


def rows(values: Array) -> Array:
    """Return values of shape (m, channels)."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def images(values: Array, shape: tuple[int, ...]) -> Array:
    """Undo `rows`."""
    return np.moveaxis(values.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


ALGORITHMS = (
    Algorithm("wide", "wide accumulation", wide),
    Algorithm("wide, chain", "wide accumulation", wide, y=divided_by_root, gradients=chain_of_the_paper, blend=stepped),
    Algorithm("wide, rsqrt", "wide accumulation", wide, y=scaled_first, gradients=in_two_steps, inverse=two_ulp_off),
    Algorithm("halves", "pairwise sums", by_halves),
    Algorithm("halves, power", "pairwise sums", by_halves, two_passes_by_reciprocal, gradients=through_power),
    Algorithm("blocks, chain", "pairwise sums", in_blocks, y=scaled_first, gradients=chain_of_the_paper),
    Algorithm("Welford", "Welford's updates or merged moments", moments=welford),
    Algorithm("merged halves", "Welford's updates or merged moments", moments=merged_halves, gradients=in_two_steps),
    Algorithm("merged quarters", "Welford's updates or merged moments", by_halves, merged_quarters, blend=stepped),
    Algorithm("merged one and rest", "Welford's updates or merged moments", moments=merged_one_and_rest),
    Algorithm("folded", "folded y = x a + b", by_halves, y=folded, gradients=folded_gradients),
    Algorithm("folded, wide sums", "folded y = x a + b", wide, y=folded, gradients=folded_gradients, blend=stepped),
    Algorithm("rows", "row-by-row sums"),
    Algorithm("rows, chain", "row-by-row sums", y=divided_by_root, gradients=chain_of_the_paper, blend=stepped),
    Algorithm("rows, two steps", "row-by-row sums", row_by_row, two_passes_by_reciprocal, gradients=in_two_steps),
    Algorithm("rows, dbeta from the mean", "row-by-row sums", dbeta=from_mean),
    Algorithm("halves, dbeta from the mean", "pairwise sums", by_halves, dbeta=from_mean),
    Algorithm("rows, dbeta from scaled parts", "row-by-row sums", dbeta=from_scaled_parts),
    Algorithm("rows, multiplied out", "row-by-row sums", gradients=multiplied_out),
    Algorithm("rows, power", "row-by-row sums", y=scaled_first, gradients=through_power, inverse=two_ulp_off),
    Algorithm("rows, folded", "row-by-row updates and folded maps", y=folded, gradients=folded_gradients),
    Algorithm(
        "Welford, folded", "row-by-row updates and folded maps", moments=welford, y=folded, gradients=folded_gradients
    ),
    Algorithm("shifted", "one-pass variance of x less one of its values", moments=shifted),
    Algorithm("one pass", "one-pass variance E[x^2] - E[x]^2", moments=one_pass),
    Algorithm(
        "one pass, folded", "one-pass variance E[x^2] - E[x]^2", moments=one_pass, y=folded, gradients=folded_gradients
    ),
)
