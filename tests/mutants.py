"""Implementations to try the oracle on: a correct one, variants as correct, and mutants that each have one bug.

`Correct` offers the oracle's interface (train, infer, frozen, backward; convention torch) in plain NumPy, every step a
method of its own, so that a mutant overrides the step that its bug is in and nothing else. Three registries:

- `VARIANTS`: other algorithms for the same numbers, in wide arithmetic and in the dtype of x. None may be convicted.
- `REAL`: the bugs of public projects, each under its name in the project's list of bugs, with its source. All must be.
- `INVENTED`: mistakes of two lines that nobody has reported. All must be.

Where the real bug sat under automatic differentiation its gradients are those of the wrong forward (`Autodiff`); where
the backward was written by hand they follow the hand-written formula.

Nothing here imports refnorm: no mutant and no variant can inherit its mistakes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = Any


class Saved(NamedTuple):
    """What backward needs. Statistics and parameters keep axes of size 1; an absent gamma is 1, an absent beta 0."""

    x: Array
    wide: Array
    mean: Array
    var: Array
    inv: Array
    gamma: Array
    beta: Array
    eps: float
    frozen: bool
    gamma_dtype: Any
    beta_dtype: Any
    y: Array = None
    running: Any = None


def flat(values: Array) -> Array:
    """Drop the axes of size 1 of statistics."""
    return values.reshape(-1)


def count(values: Array) -> int:
    """Return the number of values per channel."""
    return values.size // values.shape[1]


def kept(axes: tuple[int, ...], values: Array) -> tuple[int, ...]:
    """Return the shape with these axes reduced to size 1."""
    return tuple(1 if a in axes else n for a, n in enumerate(values.shape))


class Correct:
    """Batch normalization as PyTorch means it, in float64 whatever comes in, each result rounded once."""

    def train(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, momentum: float, eps: float
    ) -> tuple[Any, ...]:
        self.refuse(x)
        mean, var = self.moments(self.widen(x))
        y, saved = self.forward(x, gamma, beta, mean, var, eps)
        saved = saved._replace(running=(running_mean, running_var))
        mean, var = self.update(running_mean, running_var, saved, momentum)
        return y, mean, var, saved

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        return self.frozen(x, gamma, beta, running_mean, running_var, eps)[0]

    def frozen(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
    ) -> tuple[Array, Saved]:
        mean, var = (self.along(a, self.widen(x)) for a in (running_mean, running_var))
        return self.forward(x, gamma, beta, mean, var, eps, frozen=True)

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        g, x_hat = self.widen(dy), self.x_hat(cache)
        dx = self.frozen_dx(g, cache) if cache.frozen else self.dx(g, x_hat, cache)
        dgamma = self.stored(self.dgamma(g, x_hat, cache), cache.gamma_dtype)
        return dx.astype(cache.x.dtype), dgamma, self.stored(self.dbeta(g, cache), cache.beta_dtype)

    # What x is computed in, and how it is summed.

    def precision(self, x: Array) -> Any:
        return np.dtype(np.float64)

    def widen(self, x: Array) -> Array:
        return x.astype(self.precision(x))

    def along(self, values: Array, x: Array) -> Array:
        return values.astype(x.dtype).reshape((1, -1) + (1,) * (x.ndim - 2))

    def axes(self, values: Array) -> tuple[int, ...]:
        return tuple(a for a in range(values.ndim) if a != 1)

    def sum_over(self, values: Array, axes: tuple[int, ...]) -> Array:
        return values.sum(axis=axes, keepdims=True)

    def average(self, values: Array) -> Array:
        axes = self.axes(values)
        return self.sum_over(values, axes) / int(np.prod([values.shape[a] for a in axes]))

    def per_channel(self, values: Array) -> Array:
        return flat(self.sum_over(values, tuple(a for a in range(values.ndim) if a != 1)))

    # Forward.

    def refuse(self, x: Array) -> None:
        if x.size // x.shape[1] <= 1:
            raise ValueError(f"expected more than 1 value per channel when training, got x of shape {x.shape}")

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean = self.average(x)
        return mean, self.average((x - mean) ** 2)

    def inverse(self, var: Array, eps: float) -> Array:
        return 1 / np.sqrt(var + eps)

    def slope(self, var: Array, eps: float) -> Array:
        """Return the derivative of `inverse` with respect to the variance."""
        return -0.5 * (var + eps) ** -1.5

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        return np.ones_like(x, shape=kept(tuple(a for a in range(x.ndim) if a != 1), x)) if gamma is None else gamma

    def shift(self, beta: Array, x: Array) -> Array:
        return np.zeros_like(x, shape=kept(tuple(a for a in range(x.ndim) if a != 1), x)) if beta is None else beta

    def parameters(self, gamma: Array, beta: Array, x: Array, eps: float) -> tuple[Array, Array]:
        gamma, beta = (None if p is None else self.along(p, x) for p in (gamma, beta))
        return self.scale(gamma, x, eps), self.shift(beta, x)

    def forward(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, frozen: bool = False
    ) -> tuple[Array, Saved]:
        wide = self.widen(x)
        wide_gamma, wide_beta = self.parameters(gamma, beta, wide, eps)
        dtypes = (None if p is None else p.dtype for p in (gamma, beta))
        inv = self.inverse(var, eps)
        saved = Saved(x, wide, mean, var, inv, wide_gamma, wide_beta, eps, frozen, *dtypes)
        y = self.y(saved).astype(x.dtype)
        return y, saved._replace(y=y)

    def x_hat(self, s: Saved) -> Array:
        return (s.wide - s.mean) * s.inv

    def y(self, s: Saved) -> Array:
        return s.gamma * self.x_hat(s) + s.beta

    # Running statistics.

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        var = self.corrected(s.var, s)
        return (
            self.blend(running_mean, s.mean, momentum, s).astype(running_mean.dtype),
            self.blend(running_var, var, momentum, s).astype(running_var.dtype),
        )

    def corrected(self, var: Array, s: Saved) -> Array:
        m = count(s.wide)
        return var * (m / (m - 1))

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return (1 - momentum) * old.astype(s.wide.dtype) + momentum * flat(new)

    # Backward.

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return s.gamma * s.inv * (g - self.average(g) - x_hat * self.average(g * x_hat))

    def frozen_dx(self, g: Array, s: Saved) -> Array:
        return s.gamma * s.inv * g

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return self.per_channel(g * x_hat)

    def dbeta(self, g: Array, s: Saved) -> Array:
        return self.per_channel(g)

    def stored(self, gradient: Array, dtype: Any) -> Array:
        return None if dtype is None else gradient.astype(dtype)


class Autodiff(Correct):
    """Gradients as automatic differentiation of the forward gives them, whatever `inverse` is."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        d = s.wide - s.mean
        through_variance = 2 * self.slope(s.var, s.eps) * d * self.average(g * d)
        return s.gamma * (s.inv * (g - self.average(g)) + through_variance)


VARIANTS: dict[str, type[Correct]] = {}
REAL: dict[str, type[Correct]] = {}
INVENTED: dict[str, type[Correct]] = {}


def into(registry: dict[str, type[Correct]]) -> Callable[[type[Correct]], type[Correct]]:
    """Return a decorator that files a class under its name."""

    def register(cls: type[Correct]) -> type[Correct]:
        registry[cls.__name__] = cls
        return cls

    return register


variant, real, invented = into(VARIANTS), into(REAL), into(INVENTED)
variant(Correct)

# Correct variants. They differ from Correct in rounding errors alone.


@variant
class dx_by_automatic_differentiation(Autodiff):
    """The gradient as a tape records it, through var^(-3/2)."""


@variant
class dx_in_two_steps(Correct):
    """First the gradient through the standard deviation, then the mean of what is left is taken away."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        through_std = (g * s.gamma - x_hat * self.average(g * s.gamma * x_hat)) * s.inv
        return through_std - self.average(through_std)


@variant
class dx_by_the_paper(Correct):
    """The chain rule of Ioffe & Szegedy 2015, section 3, with its term sum(x - mean) = 0 kept."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        m, d, axes = count(g), s.wide - s.mean, self.axes(g)
        dx_hat = g * s.gamma
        dvar = self.sum_over(dx_hat * d, axes) * -0.5 * (s.var + s.eps) ** -1.5
        dmean = self.sum_over(-dx_hat * s.inv, axes) + dvar * self.sum_over(-2 * d, axes) / m
        return dx_hat * s.inv + dvar * 2 * d / m + dmean / m


@variant
class dx_folded(Correct):
    """dx = a dy + b x + c per channel, as fused kernels have it; dgamma from sum(dy x) - mean sum(dy)."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        a = s.gamma * s.inv
        b = -a * s.inv * self.average(g * x_hat)
        return a * g + b * s.wide + (-a * self.average(g) - b * s.mean)


@variant
class dgamma_folded(Correct):
    """Dgamma from sum(dy x) - mean sum(dy): two sums that a kernel takes in one sweep."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return (self.per_channel(g * s.wide) - flat(s.mean) * self.per_channel(g)) * flat(s.inv)


@variant
class y_folded(Correct):
    """Y = a x + b with a = gamma / std, b = beta - mean a."""

    def y(self, s: Saved) -> Array:
        a = s.gamma * s.inv
        return s.wide * a + (s.beta - s.mean * a)


@variant
class y_divides(Correct):
    """Y = (x - mean) / sqrt(var + eps), divided instead of multiplied by the inverse."""

    def x_hat(self, s: Saved) -> Array:
        return (s.wide - s.mean) / np.sqrt(s.var + s.eps)


def merged(parts: list[tuple[Array, Array, int]]) -> tuple[Array, Array]:
    """Merge (mean, biased variance, count) of parts, as Chan, Golub & LeVeque 1983 do."""
    mean, var, m = parts[0]
    for part_mean, part_var, part_m in parts[1:]:
        d, total = part_mean - mean, m + part_m
        mean = mean + d * (part_m / total)
        var = var * (m / total) + part_var * (part_m / total) + d * d * (m / total * (part_m / total))
        m = total
    return mean, var


@variant
class merged_halves(Correct):
    """Moments of two uneven halves of the batch, merged."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        return merged([(*super(merged_halves, self).moments(p), count(p)) for p in np.array_split(x, 2) if p.size])


@variant
class merged_one_and_rest(Correct):
    """Moments of the first sample and of all the others, merged."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        parts = [p for p in (x[:1], x[1:]) if p.size]
        return merged([(*super(merged_one_and_rest, self).moments(p), count(p)) for p in parts])


def rows(values: Array, axes: tuple[int, ...]) -> Array:
    """Return the reduced axes as one first axis."""
    rest = [a for a in range(values.ndim) if a not in axes]
    return values.transpose(*axes, *rest).reshape(-1, *(values.shape[a] for a in rest))


@variant
class welford(Correct):
    """One value after the other, mean and sum of squares brought up to date (Welford 1962)."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        axes = self.axes(x)
        values = rows(x, axes)
        mean, squares = np.zeros_like(values[0]), np.zeros_like(values[0])
        for k, value in enumerate(values, start=1):
            d = value - mean
            mean = mean + d / x.dtype.type(k)
            squares = squares + d * (value - mean)
        return mean.reshape(kept(axes, x)), squares.reshape(kept(axes, x)) / len(values)


class Own(Correct):
    """Everything in the dtype of x, or in float32 where x is narrower."""

    def precision(self, x: Array) -> Any:
        return np.result_type(x.dtype, np.float32)


@variant
class own_two_pass(Own):
    """NumPy's own summation, in the dtype of x."""


@variant
class own_row_by_row(Own):
    """Sums taken one row after the other, in the dtype of x."""

    def sum_over(self, values: Array, axes: tuple[int, ...]) -> Array:
        return np.cumsum(rows(values, axes), axis=0)[-1].reshape(kept(axes, values))


@variant
class own_pairwise(Own):
    """Sums taken by halves, in the dtype of x."""

    def sum_over(self, values: Array, axes: tuple[int, ...]) -> Array:
        terms = rows(values, axes)
        while len(terms) > 1:
            half = (len(terms) + 1) // 2
            upper = terms[half:]
            terms = np.concatenate([terms[: len(upper)] + upper, terms[len(upper) : half]])
        return terms.reshape(kept(axes, values))


@variant
class own_welford(Own, welford):
    """Welford's recurrence in the dtype of x."""


@variant
class own_folded(Own, y_folded):
    """Y = a x + b in the dtype of x."""


@variant
class own_merged(Own, merged_halves):
    """Merged moments in the dtype of x."""


@variant
class own_merged_one_and_rest(Own, merged_one_and_rest):
    """Merged moments of very uneven parts in the dtype of x."""


@variant
class own_two_steps(Own, dx_in_two_steps):
    """The gradient in two steps, in the dtype of x."""


@variant
class own_paper(own_row_by_row, dx_by_the_paper):
    """The paper's chain with its zero term, row by row, in the dtype of x."""


@variant
class own_automatic_differentiation(Own, Autodiff):
    """The gradient through var^(-3/2), in the dtype of x."""


@variant
class own_folded_gradients(Own, y_folded, dgamma_folded, dx_folded):
    """Every map folded, forward and backward, in the dtype of x."""


@variant
class own_row_by_row_folded(own_row_by_row, y_folded, dx_in_two_steps):
    """Row by row and folded, in the dtype of x: the last tier that conforms."""


# The bugs of public projects. Forward, training.


@real
class fwd_square_instead_of_sqrt(Autodiff):
    """jax-ml/jax#442: divides by (var + eps)**2 instead of sqrt(var + eps)."""

    def inverse(self, var: Array, eps: float) -> Array:
        return 1 / (var + eps) ** 2

    def slope(self, var: Array, eps: float) -> Array:
        return -2 / (var + eps) ** 3


@real
class fwd_eps_outside_sqrt(Autodiff):
    """keras-team/keras#10427: 1 / (sqrt(var) + eps), in training and in inference."""

    def inverse(self, var: Array, eps: float) -> Array:
        return 1 / (np.sqrt(var) + eps)

    def slope(self, var: Array, eps: float) -> Array:
        return -0.5 / np.sqrt(var) / (np.sqrt(var) + eps) ** 2


@real
class fwd_clamp_var_at_eps(Autodiff):
    """vacancy/Synchronized-BatchNorm-PyTorch#38: sqrt(max(var, eps)) in training; evaluation is PyTorch's and right."""

    clamped = False

    def train(self, *arguments: Any) -> tuple[Any, ...]:
        self.clamped = True
        try:
            return super().train(*arguments)
        finally:
            self.clamped = False

    def inverse(self, var: Array, eps: float) -> Array:
        return 1 / np.sqrt(np.maximum(var, eps)) if self.clamped else super().inverse(var, eps)

    def slope(self, var: Array, eps: float) -> Array:
        return np.where(var > eps, -0.5 * var**-1.5, 0)


@real
class fwd_eps_raised_to_cudnn_minimum(Correct):
    """tensorflow/tensorflow#37768: eps below 1.001e-5 is silently raised to it."""

    def forward(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, frozen: bool = False
    ) -> tuple[Array, Saved]:
        return super().forward(x, gamma, beta, mean, var, max(eps, 1.001e-5), frozen)


@real
class fwd_layout_axes_shifted(Correct):
    """openvinotoolkit/openvino#7679: y is reduced over all but the last axis; running statistics are not part of it."""

    def axes(self, values: Array) -> tuple[int, ...]:
        return tuple(range(values.ndim - 1))

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        mean, var = Correct().moments(s.wide)
        return super().update(running_mean, running_var, s._replace(mean=mean, var=var), momentum)


@real
class fwd_rank3_length_not_reduced(Correct):
    """wavefrontshaping/complexPyTorch#20: written for (N, C); a (N, C, L) input is reduced over N only."""

    def axes(self, values: Array) -> tuple[int, ...]:
        return (0,) if values.ndim == 3 else super().axes(values)

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        if s.wide.ndim != 3:
            return super().blend(old, new, momentum, s)
        return (1 - momentum) * old[:, None] + momentum * new[0]


@real
class fwd_absolute_gamma(Correct):
    """mapillary/inplace_abn#92: uses |gamma| + eps as the scale, and its sign in dgamma."""

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        return super().scale(gamma, x, eps) if gamma is None else np.abs(gamma) + eps

    def parameters(self, gamma: Array, beta: Array, x: Array, eps: float) -> tuple[Array, Array]:
        self.sign = 1 if gamma is None else np.where(gamma < 0, -1, 1)
        return super().parameters(gamma, beta, x, eps)

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dgamma(g, x_hat, s) * self.sign


@real
class fwd_running_update_clobbers_aliased_affine(Correct):
    """microsoft/onnxruntime#29790: running statistics are written before y is read; shared gamma and beta change too.

    The arguments are copied to buffers first, one per piece of memory, so the caller's arrays stay as they were.
    """

    def train(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, momentum: float, eps: float
    ) -> tuple[Any, ...]:
        _, mean, var, _ = super().train(x, gamma, beta, running_mean, running_var, momentum, eps)
        gamma, beta = (self.overwritten(p, (running_mean, mean), (running_var, var)) for p in (gamma, beta))
        return super().train(x, gamma, beta, running_mean, running_var, momentum, eps)

    def overwritten(self, parameter: Array, *buffers: tuple[Array, Array]) -> Array:
        for old, new in buffers:
            if parameter is not None and np.shares_memory(parameter, old):
                return new
        return parameter


def shards(x: Array) -> list[Array]:
    """Return the two uneven parts of a batch that two workers see; one if there is one sample."""
    return [part for part in np.array_split(x, 2) if part.size]


@real
class sync_averages_shard_variances(Correct):
    """tensorflow/tpu#321: the variance is the (count-weighted) mean of the replicas' variances."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        own = Correct.moments
        return self.average(x), sum(own(self, p)[1] * (count(p) / count(x)) for p in shards(x))

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        """Differentiate the averaged variance: each shard's values about their own mean."""
        own = np.concatenate([p - self.average(p) for p in shards(s.wide)]) * s.inv
        return s.gamma * s.inv * (g - self.average(g) - own * self.average(g * x_hat))


@real
class fwd_welford_counts_skipped_tiles(Correct):
    """flagos-ai/FlagGems#5828: of 256 lanes, those masked in a sample's last tile divide by its number all the same."""

    tile = 256

    def moments(self, x: Array) -> tuple[Array, Array]:
        if x.ndim < 3:
            return super().moments(x)
        n, c = x.shape[:2]
        size = count(x) // n
        steps = -(-size // self.tile)
        lanes = np.full((n, c, steps * self.tile), np.nan)
        lanes[:, :, :size] = x.reshape(n, c, size)
        lanes = lanes.reshape(n, c, steps, self.tile).transpose(0, 2, 1, 3).reshape(n * steps, c, self.tile)
        mean, squares = np.zeros((c, self.tile)), np.zeros((c, self.tile))
        for step, values in enumerate(lanes, start=1):
            there, d = ~np.isnan(values), values - mean
            mean = np.where(there, mean + d / step, mean)
            squares = np.where(there, squares + d * (values - mean), squares)
        counts = (~np.isnan(lanes)).sum(0)
        total = (counts * mean).sum(1, keepdims=True) / (n * size)
        var = (squares + counts * (mean - total) ** 2).sum(1, keepdims=True) / (n * size)
        return self.along(total, x), self.along(var, x)


@real
class fwd_instance_statistics(Autodiff):
    """apache/tvm#18609: lowered to instance norm, each sample by its own statistics; those that run are not part of it.

    The report's batch norm has no running statistics; here they move as they should.
    """

    def axes(self, values: Array) -> tuple[int, ...]:
        return tuple(range(2, values.ndim)) or (0,)

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        mean, var = Correct().moments(s.wide)
        return super().update(running_mean, running_var, s._replace(mean=mean, var=var), momentum)


# Running statistics.


@real
class sync_bessel_local_count(Correct):
    """pytorch/pytorch#22192: running variance corrected with this replica's own count for every replica."""

    def corrected(self, var: Array, s: Saved) -> Array:
        parts = shards(s.wide)
        m = len(parts) * count(parts[0])
        return var * (m / (m - 1))


@real
class run_momentum_sense_swapped(Correct):
    """d2l-ai/d2l-en#2213: momentum * old + (1 - momentum) * batch."""

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return super().blend(old, new, 1 - momentum, s)


@real
class run_var_tracks_inverse_std(Correct):
    """soumith/cudnn.torch#109: running_var accumulates 1/sqrt(var + eps)."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return s.inv


@real
class run_std_with_linear_bessel(Correct):
    """FluxML/Flux.jl#314: a running std is kept, corrected with m/(m - 1), and reported back as a variance."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        mean, _ = super().update(running_mean, running_var, s, momentum)
        std = super().corrected(np.sqrt(s.var), s)
        var = self.blend(np.sqrt(running_var.astype(std.dtype)), std, momentum, s) ** 2
        return mean, var.astype(running_var.dtype)


@real
class run_bessel_denominator_has_eps(Correct):
    """mlpack/mlpack#2474: m/(m - 1) written as total / (total - C + eps); m = 1 passes without an error."""

    def refuse(self, x: Array) -> None:
        if not x.size:
            super().refuse(x)

    def corrected(self, var: Array, s: Saved) -> Array:
        return var * (s.wide.size / (s.wide.size - s.wide.shape[1] + s.eps))


@real
class run_updated_twice(Correct):
    """pytorch/pytorch#96136: the recomputed forward of activation checkpointing applies the update again."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        return super().update(*super().update(running_mean, running_var, s, momentum), s, momentum)


@real
class run_no_update_without_affine(Correct):
    """apache/mxnet#18673: running statistics are not updated when gamma and beta are off."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        if s.gamma_dtype is None and s.beta_dtype is None:
            return running_mean.copy(), running_var.copy()
        return super().update(running_mean, running_var, s, momentum)


@real
class run_unnormalised_sum(Correct):
    """BVLC/caffe#4885: fraction * old + batch, read without the divisor."""

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return (1 - momentum) * old.astype(s.wide.dtype) + flat(new)


@real
class run_variance_recovered_with_plus_eps(Correct):
    """flagos-ai/FlagGems#4955: the variance to store is recovered from 1/sqrt(var + eps) by adding eps once more."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return super().corrected(1 / s.inv**2 + s.eps, s)


@real
class run_update_is_a_race(Correct):
    """tile-ai/TileOPs#1727: every thread reads and writes the running statistics: a random number of updates."""

    def __init__(self) -> None:
        self.threads = np.random.default_rng(0)

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        for _ in range(self.threads.integers(1, 9)):
            running_mean, running_var = super().update(running_mean, running_var, s, momentum)
        return running_mean, running_var


@real
class run_tuning_runs_update_too(Correct):
    """ROCm/rocm-libraries#2104: the first call for a shape and format is tuned by three runs, which update as well."""

    def __init__(self) -> None:
        self.tuned: set[Any] = set()

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        kind = s.x.shape, s.x.dtype
        for _ in range(0 if kind in self.tuned else 3):
            running_mean, running_var = super().update(running_mean, running_var, s, momentum)
        self.tuned.add(kind)
        return super().update(running_mean, running_var, s, momentum)


# Backward.


@real
class sync_backward_equal_weights_uneven(Correct):
    """pytorch/pytorch#36382: mean(dy) and mean(dy * x_hat) averaged over replicas with equal weight."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        parts = [(self.average(a), self.average(a * b)) for a, b in zip(shards(g), shards(x_hat), strict=True)]
        mean_g, mean_g_x_hat = (sum(p) / len(parts) for p in zip(*parts, strict=True))
        return s.gamma * s.inv * (g - mean_g - x_hat * mean_g_x_hat)


@real
class bwd_gamma_missing_in_dx(Correct):
    """denizyuret/Knet.jl#288: dx is computed from dy instead of dy * gamma."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dx(g, x_hat, s._replace(gamma=1))


@real
class bwd_variance_term_missing(Correct):
    """abhiskk/ladder#2: the variance is detached: no gradient flows through it."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return s.gamma * s.inv * (g - self.average(g))


@real
class bwd_mean_term_not_divided(Correct):
    """mlpack/mlpack#1923: the sum over dy in the mean term is not divided by m."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return s.gamma * s.inv * (g - self.average(g) * count(g) - x_hat * self.average(g * x_hat))


@real
class bwd_direct_term_divided_by_m(Correct):
    """mlpack/mlpack#2474: a parenthesis puts the direct term under the 1/m as well."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return s.gamma * s.inv * (g / count(g) - self.average(g) - x_hat * self.average(g * x_hat))


@real
class bwd_dgamma_not_summed(Correct):
    """parasdahal/deepnet, deepnet/layers.py: dgamma is dy * x_hat, elementwise, never reduced."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return g * x_hat


@real
class bwd_dgamma_multiplies_std(Correct):
    """tensorflow/tensorflow#14676: dgamma = sum(dy * (x - mean) * sqrt(var + eps))."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return self.per_channel(g * (s.wide - s.mean) * np.sqrt(s.var + s.eps))


@real
class bwd_saved_variance_used_as_invstd(Correct):
    """pytorch/pytorch#94351: forward saves var, backward uses it as if it were 1/sqrt(var + eps)."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        return super().backward(dy, cache if cache.frozen else cache._replace(inv=cache.var))


@real
class bwd_frozen_reads_unset_saves(Correct):
    """torch/nn#768: eval-mode backward reads save_mean and save_std, which only training fills: NaN."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        unset = np.full_like(cache.mean, np.nan)
        return super().backward(dy, cache._replace(mean=unset, inv=unset) if cache.frozen else cache)


@real
class bwd_overwrites_dy(Correct):
    """mapillary/inplace_abn#155: backward scales the caller's dy in place."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        gradients = super().backward(dy, cache)
        if dy.flags.writeable:  # a kernel in C would write to the others too
            dy *= cache.gamma.astype(dy.dtype)
        return gradients


@real
class bwd_sums_run_over_channels(Correct):
    """AskyJx/xDeepLearning#1: the two sums of dx are taken along axis 1, channels, and divided by the samples."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        mean_g, mean_g_x_hat = (a.sum(axis=1, keepdims=True) / len(g) for a in (g, g * x_hat))
        return s.gamma * s.inv * (g - mean_g - x_hat * mean_g_x_hat)


@real
class bwd_stale_statistics(Correct):
    """ooples/AiDotNet.Tensors#722: backward reads the statistics of the first batch of a shape, for ever."""

    def __init__(self) -> None:
        self.first: dict[Any, tuple[Array, Array]] = {}

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        if not cache.frozen:
            mean, inv = self.first.setdefault((dy.shape, dy.dtype), (cache.mean, cache.inv))
            cache = cache._replace(mean=mean, inv=inv)
        return super().backward(dy, cache)


@real
class bwd_dbeta_accumulates_without_gamma(Correct):
    """apache/mxnet#16297: scale off: the buffer of dbeta is added to and never cleared."""

    def __init__(self) -> None:
        self.buffers: dict[int, Array] = {}

    def dbeta(self, g: Array, s: Saved) -> Array:
        dbeta = super().dbeta(g, s)
        if s.gamma_dtype is None:
            dbeta = self.buffers[len(dbeta)] = self.buffers.get(len(dbeta), 0) + dbeta
        return dbeta


# Inference.


@real
class inf_eps_missing(Correct):
    """pytorch/vision#1947: frozen batch norm divides by sqrt(running_var) with no eps."""

    def frozen(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
    ) -> tuple[Array, Saved]:
        return super().frozen(x, gamma, beta, running_mean, running_var, 0.0)


@real
class inf_uses_initial_statistics(Correct):
    """LaurentMazare/tch-rs#628: eval mode uses mean 0 and variance 1."""

    def frozen(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
    ) -> tuple[Array, Saved]:
        return super().frozen(x, gamma, beta, np.zeros_like(running_mean), np.ones_like(running_var), eps)


@real
class inf_moves_running_statistics(Correct):
    """FluxML/Flux.jl#1429: evaluation writes into the running buffers, after y has been computed from them."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        y = super().infer(x, gamma, beta, running_mean, running_var, eps)
        mean, var = (flat(a) for a in self.moments(self.widen(x)))
        for buffer, new in ((running_mean, mean), (running_var, var)):
            if buffer.flags.writeable:
                buffer[...] = 0.9 * buffer + 0.1 * new
        return y


@real
class inf_folded_shift_lost(Correct):
    """tenstorrent/tt-metal#5317: folded with no bias to fold into: y = x gamma / std, mean and beta are lost."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        return super().infer(x, gamma, None, np.zeros_like(running_mean), running_var, eps)


@real
class inf_vector_index_taken_for_element_index(Correct):
    """microsoft/onnxruntime#24404: a shader that writes 4 values at once finds their channel by the vector's index."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        if x.ndim == 2 or x.shape[-1] % 4:
            return super().infer(x, gamma, beta, running_mean, running_var, eps)
        channel = np.arange(x.size) // 4 // (count(x) // len(x)) % x.shape[1]
        parts = (None if a is None else a[channel] for a in (gamma, beta, running_mean, running_var))
        return super().infer(x.reshape(1, -1), *parts, eps).reshape(x.shape)


# Numerics.


@real
class inf_fp16_casts_parameters_down(Correct):
    """apple/coreai-torch#54: half-precision input: statistics and affine are rounded to half before use."""

    def frozen(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
    ) -> tuple[Array, Saved]:
        down = (None if a is None else a.astype(x.dtype) for a in (gamma, beta, running_mean, running_var))
        y, saved = super().frozen(x, *down, eps)
        dtypes = (None if a is None else a.dtype for a in (gamma, beta))
        return y, saved._replace(**dict(zip(("gamma_dtype", "beta_dtype"), dtypes, strict=True)))


@real
class bwd_xhat_recovered_from_output(Correct):
    """mapillary/inplace_abn#92: x_hat rebuilt as (y - beta) / gamma from the rounded y; gamma = 0 guarded by eps."""

    def x_hat(self, s: Saved) -> Array:
        if s.y is None or s.frozen:
            return super().x_hat(s)
        return (s.y.astype(s.wide.dtype) - s.beta) / np.where(s.gamma == 0, max(s.eps, 1e-5), s.gamma)


@real
class num_one_pass_variance_clamped(Own):
    """keras-team/keras#18795: E[x^2] - E[x]^2 clamped at 0, in the dtype of x."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean = self.average(x)
        return mean, np.maximum(self.average(x * x) - mean * mean, 0)


@real
class num_half_count_overflows(Correct):
    """pytorch/pytorch#70901: the element count is kept in half with half running statistics: inf above 65504."""

    half = False

    def train(self, *arguments: Any) -> tuple[Any, ...]:
        self.half = arguments[3].dtype == np.float16
        return super().train(*arguments)

    def moments(self, x: Array) -> tuple[Array, Array]:
        if not self.half:
            return super().moments(x)
        axes, m = self.axes(x), np.float64(np.float16(count(x)))
        mean = self.sum_over(x, axes) / m
        return mean, self.sum_over((x - mean) ** 2, axes) / m


@real
class num_eps_nudged_by_1e_12(Correct):
    """tensorflow/tensorflow#8090: eps <= 1e-5 becomes eps + 1e-12."""

    def forward(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, frozen: bool = False
    ) -> tuple[Array, Saved]:
        return super().forward(x, gamma, beta, mean, var, eps + 1e-12 if eps <= 1e-5 else eps, frozen)


@real
class num_statistics_read_with_10_bits(Correct):
    """tenstorrent/tt-metal#23876: float32 input is reduced in a format of 10 fraction bits."""

    def forward(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, frozen: bool = False
    ) -> tuple[Array, Saved]:
        if not frozen and x.dtype == np.float32:
            fraction, exponent = np.frexp(x)
            mean, var = self.moments(self.widen(np.ldexp(np.round(np.ldexp(fraction, 11)), exponent - 11)))
        return super().forward(x, gamma, beta, mean, var, eps, frozen)


@real
class num_eps_rounded_to_half(Correct):
    """pytorch/pytorch#41527, apple/coremltools#2572: half input: eps is cast to half, and below 3e-8 becomes 0."""

    def forward(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, frozen: bool = False
    ) -> tuple[Array, Saved]:
        eps = float(np.float16(eps)) if x.dtype == np.float16 else eps
        return super().forward(x, gamma, beta, mean, var, eps, frozen)


# Edges.


@real
class bwd_large_batch_truncated(Correct):
    """ROCm/MIOpen#1109: rank-2 input of several channels: reductions of the backward pass stop at 768 samples."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        self.truncated = dy.ndim == 2 and dy.shape[1] > 1
        try:
            return super().backward(dy, cache)
        finally:
            self.truncated = False

    truncated = False

    def sum_over(self, values: Array, axes: tuple[int, ...]) -> Array:
        return super().sum_over(values[:768] if self.truncated else values, axes)


@real
class edge_one_value_denominator_clamped(Correct):
    """tensorflow/tensorflow#34062: m = 1: no error, m / max(1, m - 1)."""

    def refuse(self, x: Array) -> None:
        if not x.size:
            super().refuse(x)

    def corrected(self, var: Array, s: Saved) -> Array:
        m = count(s.wide)
        return var * (m / max(1, m - 1))


@real
class edge_one_value_copied_through(Correct):
    """PaddlePaddle/Paddle#14630: m = 1: forward returns x, statistics stay, and backward returns dy."""

    def train(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, momentum: float, eps: float
    ) -> tuple[Any, ...]:
        if x.size == x.shape[1]:
            return x.copy(), running_mean.copy(), running_var.copy(), (running_mean.dtype, running_mean.shape)
        return super().train(x, gamma, beta, running_mean, running_var, momentum, eps)

    def backward(self, dy: Array, cache: Any) -> tuple[Any, ...]:
        if isinstance(cache, Saved):
            return super().backward(dy, cache)
        dtype, shape = cache
        return dy.copy(), np.zeros(shape, dtype), np.zeros(shape, dtype)


@real
class edge_output_promoted_to_float64(Correct):
    """FluxML/Flux.jl#260: float32 in, float64 out."""

    def train(self, *arguments: Any) -> tuple[Any, ...]:
        y, *rest = super().train(*arguments)
        return y.astype(np.float64), *rest

    def infer(self, *arguments: Any) -> Array:
        return super().infer(*arguments).astype(np.float64)


def in_memory_order(x: Array) -> Array:
    """Read as many values as x has from its first byte on, as if it were contiguous."""
    first, last = np.lib.array_utils.byte_bounds(x)
    memory = (ctypes.c_char * (last - first)).from_address(first)
    return np.resize(np.frombuffer(memory, dtype=x.dtype), x.shape)


@real
class edge_noncontiguous_backward_scrambled(Correct):
    """pytorch/pytorch#175189: backward reads a non-contiguous x in memory order: dx and dgamma wrong, dbeta right."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        x = cache.x
        if not x.flags.c_contiguous:
            cache = cache._replace(wide=self.widen(in_memory_order(x)))
        return super().backward(dy, cache)


@real
class edge_null_affine_crashes(Correct):
    """intel/ipex-llm#2012: affine off (gamma = beta = None) is not handled."""

    def parameters(self, gamma: Array, beta: Array, x: Array, eps: float) -> tuple[Array, Array]:
        if gamma is None and beta is None:
            return gamma.reshape(-1), beta.reshape(-1)
        return super().parameters(gamma, beta, x, eps)


@real
class edge_channels_last_view_reduces_other_axes(fwd_layout_axes_shifted):
    """pytorch/pytorch#169372: a permuted view of channels-last memory: statistics go over all axes but the last."""

    permuted = False

    def axes(self, values: Array) -> tuple[int, ...]:
        return super().axes(values) if self.permuted else Correct.axes(self, values)

    def under(self, x: Array, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call with the axes that x is given in memory."""
        self.permuted = not x.flags.c_contiguous and np.moveaxis(x, 1, -1).flags.c_contiguous
        try:
            return call(*arguments)
        finally:
            self.permuted = False

    def train(self, x: Array, *arguments: Any) -> tuple[Any, ...]:
        return self.under(x, super().train, x, *arguments)

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        return self.under(dy if cache.frozen else cache.x, super().backward, dy, cache)


@real
class edge_center_off_alone_raises(Correct):
    """jax-ml/jax#2518: beta=None with gamma given: None is indexed."""

    def parameters(self, gamma: Array, beta: Array, x: Array, eps: float) -> tuple[Array, Array]:
        if gamma is not None:
            beta[...]
        return super().parameters(gamma, beta, x, eps)


# Mistakes of two lines, invented. Axes, counts, sums.


@invented
class axis_guessed_from_size(Correct):
    """Channels are taken to be last wherever the last axis has their number (square data)."""

    def axes(self, values: Array) -> tuple[int, ...]:
        last = values.ndim > 2 and values.shape[-1] == values.shape[1]
        return tuple(range(values.ndim - 1)) if last else super().axes(values)


@invented
class axis_batch_alone(Correct):
    """Statistics over the batch axis alone, then averaged over positions for the running ones."""

    def axes(self, values: Array) -> tuple[int, ...]:
        return (0,)

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return super().blend(old, Correct().average(new), momentum, s)


@invented
class axis_per_sample_if_one_sample(Correct):
    """A batch of one sample is taken for evaluation: the running statistics normalise it."""

    def train(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, momentum: float, eps: float
    ) -> tuple[Any, ...]:
        y, mean, var, saved = super().train(x, gamma, beta, running_mean, running_var, momentum, eps)
        if x.shape[0] == 1:
            y, saved = self.frozen(x, gamma, beta, running_mean, running_var, eps)
        return y, mean, var, saved


@invented
class axis_one_sample_refused(Correct):
    """One sample is refused whatever its spatial axes: the batch size is checked, not the count."""

    def refuse(self, x: Array) -> None:
        super().refuse(x)
        if x.shape[0] == 1:
            raise ValueError("batch size must be greater than 1 when training")


@invented
class axis_rank5_width_not_reduced(Correct):
    """Rank 5 goes through the code of rank 4: the last axis keeps its own statistics."""

    def axes(self, values: Array) -> tuple[int, ...]:
        return (0, 2, 3) if values.ndim == 5 else super().axes(values)

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return super().blend(old, Correct().average(new), momentum, s)


@invented
class axis_mean_of_all_channels(Correct):
    """The mean is taken over channels too; the variance is each channel's own."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        _, var = super().moments(x)
        return np.full_like(var, x.mean()), var


@invented
class axis_variance_over_samples_of_position_means(Correct):
    """The variance is that of the samples' means: spatial axes are averaged before it is taken."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean, _ = super().moments(x)
        pooled = x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)
        return mean, self.average((pooled - mean) ** 2)


@invented
class count_variance_divided_by_samples(Correct):
    """The sum of squares is divided by N, not by N H W."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean, var = super().moments(x)
        return mean, var * (count(x) / x.shape[0])


@invented
class count_variance_unbiased_in_y(Correct):
    """The variance that normalises is the unbiased one (and so the running one is corrected twice)."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean, var = super().moments(x)
        return mean, var * (count(x) / max(count(x) - 1, 1))


@invented
class count_correction_plus_one(Correct):
    """Running variance corrected with (m + 1)/m instead of m/(m - 1)."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return var * ((count(s.wide) + 1) / count(s.wide))


@invented
class count_correction_minus_two(Correct):
    """Running variance corrected with m/(m - 2) where there are more than two values."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return var * (count(s.wide) / max(count(s.wide) - 2, 1))


@invented
class count_correction_by_samples(Correct):
    """Running variance corrected with N/(N - 1), spatial axes forgotten."""

    def corrected(self, var: Array, s: Saved) -> Array:
        n = s.wide.shape[0]
        return var * (n / max(n - 1, 1))


@invented
class count_correction_only_rank_2(Correct):
    """The running variance is unbiased for (N, C) and biased with spatial axes, as the fused kernel has it."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return super().corrected(var, s) if s.wide.ndim == 2 else var


@invented
class count_kept_in_int16(Correct):
    """The count is a 16-bit integer and wraps around above 32767."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        m, axes = float(np.array(count(x)).astype(np.int16)), self.axes(x)
        mean = self.sum_over(x, axes) / m
        return mean, self.sum_over((x - mean) ** 2, axes) / m


@invented
class tile_channels_beyond_32(Correct):
    """Channels beyond the 32nd get the statistics of the first: a tile of 32 that is never advanced."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean, var = super().moments(x)
        tile = np.arange(x.shape[1]) * (np.arange(x.shape[1]) < 32)
        return mean[:, tile], var[:, tile]


@invented
class tile_channels_beyond_256(Correct):
    """Channels beyond the 256th get the gradients of the first: a block of 256 threads."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        tile = np.arange(g.shape[1]) % 256
        return super().dx(g, x_hat, s._replace(inv=s.inv[:, tile]))


@invented
class tile_samples_dropped(Correct):
    """Statistics use whole tiles of 4 samples only; a rest of up to 3 is dropped once there are more than 16."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        return super().moments(x[: len(x) // 4 * 4] if len(x) > 16 else x)


@invented
class tile_spatial_above_4096_dropped(Correct):
    """Spatial positions beyond the 4096th do not enter the statistics."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        return (
            super().moments(x.reshape(*x.shape[:2], -1)[:, :, :4096].reshape(*x.shape[:2], -1, *[1] * (x.ndim - 3)))
            if x.ndim > 2
            else super().moments(x)
        )


# eps.


@invented
class eps_squared(Correct):
    """eps is squared before it is added."""

    def inverse(self, var: Array, eps: float) -> Array:
        return super().inverse(var, eps**2)


@invented
class eps_root(Correct):
    """sqrt(eps) is added to the variance."""

    def inverse(self, var: Array, eps: float) -> Array:
        return super().inverse(var, np.sqrt(eps))


@invented
class eps_twice(Correct):
    """eps is added by the moments and again by the normalisation, in training."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        self.added = True
        return super().moments(x)

    added = False

    def inverse(self, var: Array, eps: float) -> Array:
        added, self.added = self.added, False
        return super().inverse(var, 2 * eps if added else eps)


@invented
class eps_missing_in_training(Correct):
    """eps enters in inference alone."""

    def train(self, *arguments: Any) -> tuple[Any, ...]:
        return super().train(*arguments[:-1], 0.0)


@invented
class eps_missing_in_backward(Correct):
    """The backward pass recomputes 1/sqrt(var), without eps."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        return super().backward(dy, cache._replace(inv=1 / np.sqrt(cache.var)))


@invented
class eps_default_in_backward(Correct):
    """The backward pass recomputes 1/sqrt(var + 1e-5): eps was not saved."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        return super().backward(dy, cache._replace(inv=1 / np.sqrt(cache.var + 1e-5)))


@invented
class eps_in_running_variance(Correct):
    """The running variance tracks var + eps."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return super().corrected(var + s.eps, s)


@invented
class eps_zero_replaced_by_default(Correct):
    """``eps or 1e-5``: eps = 0 becomes the default."""

    def inverse(self, var: Array, eps: float) -> Array:
        return super().inverse(var, eps or 1e-5)


@invented
class eps_rounded_to_float32(Correct):
    """eps travels as a float32 attribute, in float64 too."""

    def inverse(self, var: Array, eps: float) -> Array:
        return super().inverse(var, float(np.float32(eps)))


@invented
class eps_capped_at_one(Correct):
    """eps above 1 is taken for a mistake and cut down to 1."""

    def inverse(self, var: Array, eps: float) -> Array:
        return super().inverse(var, min(eps, 1.0))


@invented
class eps_fixed(Correct):
    """eps is 1e-5 whatever is passed."""

    def inverse(self, var: Array, eps: float) -> Array:
        return super().inverse(var, 1e-5)


@invented
class eps_outside_sqrt_closed_form(Correct):
    """1 / (sqrt(var) + eps) in a hand-written kernel: the backward reuses the inverse."""

    def inverse(self, var: Array, eps: float) -> Array:
        return 1 / (np.sqrt(var) + eps)


@invented
class eps_clamped_closed_form(Correct):
    """1 / sqrt(max(var, eps)) everywhere, with a hand-written backward."""

    def inverse(self, var: Array, eps: float) -> Array:
        return 1 / np.sqrt(np.maximum(var, eps))


# gamma and beta.


@invented
class gamma_beta_swapped(Correct):
    """gamma and beta change places where both are given."""

    def parameters(self, gamma: Array, beta: Array, x: Array, eps: float) -> tuple[Array, Array]:
        if gamma is not None and beta is not None:
            gamma, beta = beta, gamma
        return super().parameters(gamma, beta, x, eps)


@invented
class gamma_plus_one(Correct):
    """The scale is 1 + gamma."""

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        return super().scale(gamma, x, eps) + (gamma is not None)


@invented
class gamma_zero_is_one(Correct):
    """gamma = 0 is taken for unset, channel by channel."""

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        gamma = super().scale(gamma, x, eps)
        return np.where(gamma == 0, 1, gamma)


@invented
class gamma_all_zero_is_absent(Correct):
    """``gamma if gamma.any() else ones``: a zero-initialised gamma (the usual trick in residual nets) becomes 1."""

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        return super().scale(gamma if gamma is not None and gamma.any() else None, x, eps)


@invented
class gamma_first_channel_for_all(Correct):
    """The first channel's gamma scales every channel."""

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        return super().scale(gamma, x, eps)[:, :1]


@invented
class gamma_negative_clipped(Correct):
    """A negative gamma becomes 0."""

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        return np.maximum(super().scale(gamma, x, eps), 0)


@invented
class gamma_absolute_in_backward(Correct):
    """The backward pass uses |gamma|."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dx(g, x_hat, s._replace(gamma=np.abs(s.gamma)))


@invented
class gamma_ignored_without_beta(Correct):
    """Without beta, gamma is ignored too: one flag for both."""

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        return super().scale(None if self.alone else gamma, x, eps)

    def parameters(self, gamma: Array, beta: Array, x: Array, eps: float) -> tuple[Array, Array]:
        self.alone = beta is None
        return super().parameters(gamma, beta, x, eps)


@invented
class beta_ignored_without_gamma(Correct):
    """Without gamma, beta is ignored too."""

    def parameters(self, gamma: Array, beta: Array, x: Array, eps: float) -> tuple[Array, Array]:
        return super().parameters(gamma, None if gamma is None else beta, x, eps)


@invented
class beta_inside_scale(Correct):
    """gamma (x_hat + beta)."""

    def y(self, s: Saved) -> Array:
        return s.gamma * (self.x_hat(s) + s.beta)


# Running statistics.


@invented
class run_momentum_for_mean_alone(Correct):
    """The running variance is replaced by the batch's; momentum applies to the mean alone."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        mean, _ = super().update(running_mean, running_var, s, momentum)
        return mean, super().update(running_mean, running_var, s, 1.0)[1]


@invented
class run_momentum_zero_is_default(Correct):
    """``momentum or 0.1``: momentum = 0 becomes the default."""

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return super().blend(old, new, momentum or 0.1, s)


@invented
class run_momentum_one_is_cumulative(Correct):
    """momentum = 1 does not replace the running statistics: it is clipped at 0.999."""

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return super().blend(old, new, min(momentum, 0.999), s)


@invented
class run_momentum_rounded_to_float32(Correct):
    """momentum travels as float32, and so does 1 - momentum, in float64 too."""

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        a = np.float32(momentum)
        return float(np.float32(1) - a) * old.astype(np.float64) + float(a) * flat(new)


@invented
class run_momentum_travels_as_float32(Correct):
    """momentum is a float32 attribute; 1 - momentum is then taken in float64."""

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return super().blend(old, new, float(np.float32(momentum)), s)


@invented
class run_variance_with_eps_in_std(Correct):
    """The running variance tracks (std + eps)^2."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return super().corrected((np.sqrt(var) + s.eps) ** 2, s)


@invented
class run_variance_floored(Correct):
    """The running variance is kept above 1e-5."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        mean, var = super().update(running_mean, running_var, s, momentum)
        return mean, np.maximum(var, var.dtype.type(1e-5))


@invented
class run_mean_corrected_too(Correct):
    """The running mean is multiplied by m/(m - 1) like the variance."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        return super().update(running_mean, running_var, s._replace(mean=self.corrected(s.mean, s)), momentum)


@invented
class run_variance_biased(Correct):
    """The running variance is the biased one."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return var


@invented
class run_variance_biased_for_one_sample(Correct):
    """The running variance is biased where there is one sample."""

    def corrected(self, var: Array, s: Saved) -> Array:
        return var if len(s.wide) == 1 else super().corrected(var, s)


@invented
class run_variance_about_new_running_mean(Correct):
    """The batch's variance for the running one is taken about the updated running mean."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        mean, _ = super().update(running_mean, running_var, s, momentum)
        var = self.average((s.wide - self.along(mean, s.wide)) ** 2)
        return mean, super().update(running_mean, running_var, s._replace(var=var), momentum)[1]


@invented
class run_variance_of_mixture(Correct):
    """The running variance also gains the spread between old and new mean: a merge instead of an average."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        mean, var = super().update(running_mean, running_var, s, momentum)
        spread = momentum * (1 - momentum) * (flat(s.mean) - running_mean) ** 2
        return mean, (var + spread).astype(running_var.dtype)


@invented
class run_std_averaged(Correct):
    """Standard deviations are averaged over time, and squared at the end."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        mean, _ = super().update(running_mean, running_var, s, momentum)
        std = self.blend(np.sqrt(running_var.astype(s.wide.dtype)), np.sqrt(self.corrected(s.var, s)), momentum, s)
        return mean, (std**2).astype(running_var.dtype)


@invented
class run_initial_statistics_replaced(Correct):
    """Running statistics of exactly (0, 1) count as unset: the first batch replaces them."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        fresh = not running_mean.any() and np.all(running_var == 1)
        return super().update(running_mean, running_var, s, 1.0 if fresh else momentum)


@invented
class run_kept_in_dtype_of_x(Correct):
    """Running statistics pass through the dtype of x, whatever their own is."""

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return super().blend(old, new, momentum, s).astype(s.x.dtype)


@invented
class run_returned_in_float64(Correct):
    """Running statistics come back in float64 whatever their dtype was."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        return super().update(running_mean.astype(np.float64), running_var.astype(np.float64), s, momentum)


@invented
class run_written_in_place(Correct):
    """The caller's running statistics are overwritten where they can be."""

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        new = super().update(running_mean, running_var, s, momentum)
        for buffer, values in zip((running_mean, running_var), new, strict=True):
            if buffer.flags.writeable:
                buffer[...] = values
        return new


@invented
class run_updated_statistics_normalise(Correct):
    """Training normalises by the running statistics after their update."""

    def train(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, momentum: float, eps: float
    ) -> tuple[Any, ...]:
        _, mean, var, _ = super().train(x, gamma, beta, running_mean, running_var, momentum, eps)
        y, saved = self.frozen(x, gamma, beta, mean, var, eps)
        return y, mean, var, saved


# Backward.


@invented
class bwd_mean_detached(Correct):
    """No gradient flows through the mean."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return s.gamma * s.inv * (g - x_hat * self.average(g * x_hat))


@invented
class bwd_variance_term_added(Correct):
    """The variance term of dx has the wrong sign."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return s.gamma * s.inv * (g - self.average(g) + x_hat * self.average(g * x_hat))


@invented
class bwd_variance_term_unbiased(Correct):
    """The variance term of dx is divided by m - 1."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        m = count(g)
        return s.gamma * s.inv * (g - self.average(g) - x_hat * self.average(g * x_hat) * (m / (m - 1)))


@invented
class bwd_means_divided_by_samples(Correct):
    """Both sums in dx are divided by N, not by N H W."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        factor = count(g) / len(g)
        return s.gamma * s.inv * (g - factor * (self.average(g) + x_hat * self.average(g * x_hat)))


@invented
class bwd_means_per_sample(Correct):
    """Both means in dx are taken over the batch axis alone."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        mean, mean_x_hat = (a.mean(axis=0, keepdims=True) for a in (g, g * x_hat))
        return s.gamma * s.inv * (g - mean - x_hat * mean_x_hat)


@invented
class bwd_inverse_squared(Correct):
    """dx has 1/(var + eps) in front instead of its root."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dx(g, x_hat, s) * s.inv


@invented
class bwd_gamma_squared(Correct):
    """gamma is applied twice in dx."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dx(g, x_hat, s) * s.gamma


@invented
class bwd_dgamma_from_running_statistics(Correct):
    """dgamma uses the x_hat of the running statistics."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        if s.running:
            mean, var = (self.along(a, s.wide) for a in s.running)
            x_hat = (s.wide - mean) * self.inverse(var, s.eps)
        return super().dgamma(g, x_hat, s)


@invented
class bwd_dgamma_averaged(Correct):
    """dgamma is the mean over the batch, dbeta the sum."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dgamma(g, x_hat, s) / count(g)


@invented
class bwd_dgamma_of_last_sample(Correct):
    """dgamma is overwritten sample after sample, not accumulated."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dgamma(g[-1:], x_hat[-1:], s)


@invented
class bwd_dgamma_dbeta_swapped(Correct):
    """dgamma and dbeta come back in the wrong order."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        dx, dgamma, dbeta = super().backward(dy, cache)
        return dx, dbeta, dgamma


@invented
class bwd_dgamma_zero_where_gamma_is(Correct):
    """dgamma is computed as sum(dy (y - beta)) / gamma, with 0 for 0/0."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dgamma(g, x_hat, s) * flat(np.broadcast_to(s.gamma != 0, s.inv.shape))


@invented
class bwd_dbeta_from_dx_hat(Correct):
    """dbeta sums dy * gamma."""

    def dbeta(self, g: Array, s: Saved) -> Array:
        return super().dbeta(g * s.gamma, s)


@invented
class bwd_parameter_gradients_in_dtype_of_x(Correct):
    """dgamma and dbeta come back in the dtype of x."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        dx, *rest = super().backward(dy, cache)
        return dx, *(None if p is None else p.astype(cache.x.dtype) for p in rest)


@invented
class bwd_gradients_of_absent_parameters_nan(Correct):
    """Gradients of parameters that are absent come back, as NaN."""

    def stored(self, gradient: Array, dtype: Any) -> Array:
        return np.full(gradient.shape, np.nan) if dtype is None else super().stored(gradient, dtype)


@invented
class bwd_frozen_follows_training(Correct):
    """The frozen backward lets gradients flow through the statistics."""

    def frozen_dx(self, g: Array, s: Saved) -> Array:
        return self.dx(g, self.x_hat(s), s)


@invented
class bwd_frozen_parameters_not_trained(Correct):
    """Frozen statistics freeze gamma and beta as well: their gradients are 0."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        dx, *rest = super().backward(dy, cache)
        return dx, *(p if p is None or not cache.frozen else np.zeros_like(p) for p in rest)


@invented
class bwd_frozen_dgamma_from_batch(Correct):
    """The frozen dgamma uses the batch's own x_hat."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        if s.frozen:
            mean, var = self.moments(s.wide)
            x_hat = (s.wide - mean) * self.inverse(var, s.eps)
        return super().dgamma(g, x_hat, s)


@invented
class bwd_dy_read_in_memory_order(Correct):
    """A non-contiguous dy is read as if it were contiguous."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        return super().backward(dy if dy.flags.c_contiguous else in_memory_order(dy), cache)


@invented
class bwd_dx_clipped(Correct):
    """Gradients are clipped at 5."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return np.clip(super().dx(g, x_hat, s), -5, 5)


@invented
class bwd_zero_for_constant_channels(Correct):
    """A channel without variance gets no gradient."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return super().dx(g, x_hat, s) * (np.ptp(s.wide, self.axes(g), keepdims=True) > 0)


# State and memory.


@invented
class state_of_latest_call(Correct):
    """Backward uses what the latest forward left in the object, whatever cache it is given."""

    latest: Any = None

    def forward(self, *arguments: Any, **options: Any) -> tuple[Array, Saved]:
        y, self.latest = super().forward(*arguments, **options)
        return y, self.latest

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        return super().backward(dy, self.latest)


@invented
class state_backward_consumes_cache(Correct):
    """Backward works in the memory of its cache: a second call with the same cache gives something else."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        gradients = super().backward(dy, cache)
        cache.inv[...] = 0
        return gradients


@invented
class state_output_buffer_reused(Correct):
    """One output buffer per shape: the next call overwrites the y that the last one returned."""

    def __init__(self) -> None:
        self.buffers: dict[Any, Array] = {}

    def forward(self, *arguments: Any, **options: Any) -> tuple[Array, Saved]:
        y, saved = super().forward(*arguments, **options)
        buffer = self.buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer[...] = y
        return buffer, saved


@invented
class state_running_statistics_of_object(Correct):
    """Running statistics live in the object after the first step; what is passed is read once only."""

    def __init__(self) -> None:
        self.own: dict[Any, tuple[Array, Array]] = {}

    def update(self, running_mean: Array, running_var: Array, s: Saved, momentum: float) -> tuple[Array, Array]:
        key = (running_mean.shape, running_mean.dtype)
        self.own[key] = super().update(*self.own.get(key, (running_mean, running_var)), s, momentum)
        return self.own[key]


@invented
class state_noise_of_call_number(Correct):
    """Every second call is off by 2^-20: the result depends on how often the function has been called."""

    calls = 0

    def y(self, s: Saved) -> Array:
        self.calls += 1
        return super().y(s) * (1 + 2.0**-20 * (self.calls % 2))


@invented
class memory_y_overwrites_x(Correct):
    """Y is written into the memory of x, and x returned, where it can be."""

    def train(self, x: Array, *rest: Any) -> tuple[Any, ...]:
        y, mean, var, saved = super().train(x, *rest)
        saved = saved._replace(x=x.copy())
        if x.flags.writeable:
            x[...] = y
            y = x
        return y, mean, var, saved


@invented
class memory_backward_overwrites_x(Correct):
    """dx is written into the memory of x, which the cache refers to."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        dx, *rest = super().backward(dy, cache)
        if cache.x.flags.writeable:
            cache.x[...] = dx
        return dx, *rest


@invented
class memory_parameters_read_in_memory_order(Correct):
    """The stride of gamma and beta is ignored."""

    def along(self, values: Array, x: Array) -> Array:
        return super().along(values if values.flags.c_contiguous else in_memory_order(values), x)


@invented
class memory_forward_reads_in_memory_order(Correct):
    """A non-contiguous x is read as if it were contiguous."""

    def widen(self, x: Array) -> Array:
        return super().widen(x if x.flags.c_contiguous or x.ndim < 2 else in_memory_order(x))


@invented
class memory_broadcast_counts_once(Correct):
    """Values seen through a stride of 0 count once: only distinct memory enters the correction."""

    def corrected(self, var: Array, s: Saved) -> Array:
        m = count(s.wide[:1] if s.x.strides[0] == 0 else s.wide)
        return var * (m / (m - 1))


# Numerics.


@invented
class num_float32_inside(Correct):
    """float64 input is computed in float32."""

    def precision(self, x: Array) -> Any:
        return np.dtype(np.float32)


@invented
class num_statistics_in_float32(Correct):
    """Statistics of float64 input are accumulated in float32, the rest in float64."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean, var = super().moments(x.astype(np.float32))
        return mean.astype(x.dtype), var.astype(x.dtype)


@invented
class num_half_inside(Correct):
    """Half-precision input is computed in half, statistics included."""

    def precision(self, x: Array) -> Any:
        return x.dtype


@invented
class num_x_rounded_to_half_for_statistics(Correct):
    """Statistics are taken of x rounded to half."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        return super().moments(x.astype(np.float16).astype(x.dtype))


@invented
class num_y_through_half(Correct):
    """Y passes through half precision."""

    def y(self, s: Saved) -> Array:
        return super().y(s).astype(np.float16)


@invented
class num_inverse_from_float32(Correct):
    """1/sqrt is taken in float32 (a hardware instruction), everything else in float64."""

    def inverse(self, var: Array, eps: float) -> Array:
        return super().inverse(var, eps).astype(np.float32).astype(var.dtype)


@invented
class num_mean_rounded_to_half(Correct):
    """The mean is rounded to half before it is subtracted."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean, var = super().moments(x)
        return mean.astype(np.float16).astype(x.dtype), var


@invented
class num_one_pass(Own):
    """E[x^2] - E[x]^2 in the dtype of x, not clamped."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean = self.average(x)
        return mean, self.average(x * x) - mean * mean


@invented
class num_one_pass_by_running_mean(Own):
    """One pass about the running mean as a shift: fine near it, and not far from it."""

    def train(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, momentum: float, eps: float
    ) -> tuple[Any, ...]:
        self.shift_by = self.along(running_mean, self.widen(x))
        return super().train(x, gamma, beta, running_mean, running_var, momentum, eps)

    def moments(self, x: Array) -> tuple[Array, Array]:
        d = x - self.shift_by
        mean = self.average(d)
        return mean + self.shift_by, self.average(d * d) - mean * mean


@invented
class num_x_hat_clipped(Correct):
    """x_hat is clipped at +-5, the range that "normal" values stay in."""

    def x_hat(self, s: Saved) -> Array:
        return np.clip(super().x_hat(s), -5, 5)


@invented
class num_x_hat_clipped_in_training(Correct):
    """x_hat is clipped at +-5 in training alone."""

    def x_hat(self, s: Saved) -> Array:
        return super().x_hat(s) if s.frozen else np.clip(super().x_hat(s), -5, 5)


@invented
class num_variance_clipped(Correct):
    """The variance is clipped to 1e-3 ... 1e3, as recurrent variants of batch normalization do."""

    def inverse(self, var: Array, eps: float) -> Array:
        return super().inverse(np.clip(var, 1e-3, 1e3), eps)


@invented
class num_inverse_clipped(Correct):
    """1/sqrt(var + eps) is clipped at 1000."""

    def inverse(self, var: Array, eps: float) -> Array:
        return np.minimum(super().inverse(var, eps), 1e3)


@invented
class num_nan_to_zero(Correct):
    """NaN in y is replaced by 0."""

    def y(self, s: Saved) -> Array:
        return np.nan_to_num(super().y(s))


@invented
class num_nan_left_out(Correct):
    """Statistics leave NaN out (nanmean)."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean = np.nanmean(x, axis=self.axes(x), keepdims=True)
        return mean, np.nanmean((x - mean) ** 2, axis=self.axes(x), keepdims=True)


@invented
class num_infinity_left_out(Correct):
    """Statistics leave infinities out."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        return super().moments(np.where(np.isinf(x), 0, x))


@invented
class num_subnormals_flushed(Correct):
    """Subnormal numbers of x's format are taken for 0, coming in and going out."""

    def widen(self, x: Array) -> Array:
        return super().widen(np.where(np.abs(x) < np.finfo(x.dtype).tiny, 0, x) if x.dtype.kind == "f" else x)

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        flushed = (
            None if p is None else np.where(np.abs(p) < np.finfo(p.dtype).tiny, 0, p).astype(p.dtype)
            for p in super().backward(dy, cache)
        )
        return tuple(flushed)


@invented
class num_nan_to_zero_in_frozen(Correct):
    """NaN in the frozen y is replaced by 0; infer is right."""

    def infer(self, *arguments: Any) -> Array:
        return super().frozen(*arguments)[0]

    def frozen(self, *arguments: Any) -> tuple[Array, Saved]:
        y, saved = super().frozen(*arguments)
        return np.nan_to_num(y), saved


@invented
class num_nan_to_zero_in_parameter_gradients(Correct):
    """NaN in dgamma is replaced by 0, so that a loss scaler never sees it."""

    def dgamma(self, g: Array, x_hat: Array, s: Saved) -> Array:
        return np.nan_to_num(super().dgamma(g, x_hat, s))


@invented
class num_nan_in_dy_to_zero(Correct):
    """NaN and infinities in dy are replaced, so that a loss scaler never sees them."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        return super().backward(np.nan_to_num(dy), cache)


@invented
class num_x_hat_limited_by_tanh(Correct):
    """x_hat is softly limited to +-100."""

    def x_hat(self, s: Saved) -> Array:
        return 100 * np.tanh(super().x_hat(s) / 100)


# Edges.


@invented
class edge_output_promoted_by_parameters(Correct):
    """float16 in with float32 parameters, float32 out."""

    def forward(self, *arguments: Any, **options: Any) -> tuple[Array, Saved]:
        y, saved = super().forward(*arguments, **options)
        dtype = saved.gamma_dtype or saved.beta_dtype or y.dtype
        return y.astype(np.result_type(y.dtype, dtype)), saved


@invented
class edge_one_channel_squeezed(Correct):
    """A single channel is squeezed away: y has one axis less."""

    def y(self, s: Saved) -> Array:
        return super().y(s).squeeze(1) if s.wide.shape[1] == 1 else super().y(s)


@invented
class edge_unit_spatial_squeezed(Correct):
    """Spatial axes of size 1 are squeezed away: pooled features lose them."""

    def y(self, s: Saved) -> Array:
        y = super().y(s)
        return y.reshape(y.shape[:2]) if y.size == y.shape[0] * y.shape[1] else y


@invented
class edge_two_values_unnormalised(Correct):
    """Two values per channel are too few: their variance is taken for 1."""

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean, var = super().moments(x)
        return mean, np.ones_like(var) if count(x) == 2 else var


@invented
class edge_one_value_nan(Correct):
    """m = 1: no error, and m/(m - 1) is 1/0: the running variance becomes NaN."""

    def refuse(self, x: Array) -> None:
        if not x.size:
            super().refuse(x)

    def corrected(self, var: Array, s: Saved) -> Array:
        return var * np.divide(count(s.wide), count(s.wide) - 1)


@invented
class edge_empty_batch_nan(Correct):
    """An empty batch is not refused: the running statistics become NaN."""

    def refuse(self, x: Array) -> None:
        if x.size:
            super().refuse(x)

    def average(self, values: Array) -> Array:
        return super().average(values) if values.size else np.full(kept(self.axes(values), values), np.nan)


@invented
class edge_empty_batch_decays(Correct):
    """An empty batch counts as one of zeros: the running statistics decay."""

    def refuse(self, x: Array) -> None:
        if x.size:
            super().refuse(x)

    def average(self, values: Array) -> Array:
        return super().average(values) if values.size else np.zeros(kept(self.axes(values), values))

    def corrected(self, var: Array, s: Saved) -> Array:
        return super().corrected(var, s) if s.wide.size else var


# Inference.


@invented
class inf_batch_statistics(Correct):
    """Inference normalises by the batch."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        return self.forward(x, gamma, beta, *self.moments(self.widen(x)), eps)[0]


@invented
class inf_updates_first(Correct):
    """Inference moves the running statistics towards the batch by 0.1 and normalises by the result."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        mean, var = (flat(a) for a in self.moments(self.widen(x)))
        return super().infer(x, gamma, beta, 0.9 * running_mean + 0.1 * mean, 0.9 * running_var + 0.1 * var, eps)


@invented
class inf_running_variance_is_std(Correct):
    """Inference takes the running variance for a standard deviation, and squares it."""

    def frozen(
        self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float
    ) -> tuple[Array, Saved]:
        mean, std = (self.along(a, self.widen(x)) for a in (running_mean, running_var))
        return self.forward(x, gamma, beta, mean, std**2, eps, frozen=True)


@invented
class inf_one_sample_uses_batch(Correct):
    """Inference of one sample with spatial axes normalises it by itself."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        if len(x) == 1:
            return self.forward(x, gamma, beta, *self.moments(self.widen(x)), eps)[0]
        return super().infer(x, gamma, beta, running_mean, running_var, eps)


@invented
class inf_one_row_refused(Correct):
    """Inference refuses one value per channel, as training does."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        self.refuse(x)
        return super().infer(x, gamma, beta, running_mean, running_var, eps)


@invented
class inf_dead_channel_not_scaled(Correct):
    """Where the running variance is 0 nothing is divided: a guard against a division by 0 that eps prevents already."""

    def inverse(self, var: Array, eps: float) -> Array:
        return np.where(var == 0, 1.0, super().inverse(var, eps))

    def moments(self, x: Array) -> tuple[Array, Array]:
        mean, var = super().moments(x)
        return mean, np.where(var == 0, 1e-300, var)


@invented
class inf_corrects_again(Correct):
    """Inference multiplies the running variance by m/(m - 1) of the batch at hand (the paper's step 10, misread)."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        m = count(x)
        return super().infer(x, gamma, beta, running_mean, running_var.astype(np.float64) * (m / (m - 1)), eps)


@invented
class inf_running_variance_bounded(Correct):
    """Running variances are cut off at 1e4 before they divide."""

    def infer(self, x: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array, eps: float) -> Array:
        return super().infer(x, gamma, beta, running_mean, np.minimum(running_var, np.asarray(1e4, x.dtype)), eps)


@invented
class aff_parameters_clipped(Correct):
    """gamma and beta are clipped to -100 .. 100 on their way."""

    def scale(self, gamma: Array, x: Array, eps: float) -> Array:
        return np.clip(super().scale(gamma, x, eps), -100, 100)

    def shift(self, beta: Array, x: Array) -> Array:
        return np.clip(super().shift(beta, x), -100, 100)


@invented
class run_momentum_below_hundredth_is_zero(Correct):
    """A momentum below 0.01 is taken for 0: the statistics stay."""

    def blend(self, old: Array, new: Array, momentum: float, s: Saved) -> Array:
        return super().blend(old, new, 0.0 if momentum < 0.01 else momentum, s)


@invented
class bwd_rank5_counts_without_depth(Correct):
    """The means of dx divide by N H W for volumes, too: the depth is forgotten in the count alone."""

    def dx(self, g: Array, x_hat: Array, s: Saved) -> Array:
        n = g.shape[2] if g.ndim == 5 else 1
        return s.gamma * s.inv * (g - n * self.average(g) - n * x_hat * self.average(g * x_hat))


@invented
class bwd_x_hat_recovered_from_y(Correct):
    """To save memory x_hat is recovered as (y - beta) / gamma: 0/0 where gamma is 0, rounding where it is small."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        with np.errstate(all="ignore"):
            x_hat = (self.widen(cache.y) - cache.beta) / cache.gamma
            return super().backward(dy, cache._replace(wide=x_hat / cache.inv + cache.mean))


@invented
class bwd_eps_fixed(Correct):
    """Backward has its own 1e-5 where eps belongs."""

    def backward(self, dy: Array, cache: Saved) -> tuple[Any, ...]:
        return super().backward(dy, cache._replace(inv=self.inverse(cache.var, 1e-5)))
