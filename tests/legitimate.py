"""Right implementations of batch normalization, composed at random from algorithms that people use.

Sums (in a row, by halves, in blocks, wide, in any order, as atomic additions give), moments (two passes, Welford,
merged parts), roots, maps and gradients are those of `algorithms`. Half formats are computed in float32 and rounded at
the end; or, in training, x_hat and dx are rounded on the way while sums and statistics stay in float32.

Nothing here imports refnorm.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import algorithms
import numpy as np

Array = Any
FORMATS = ("float64", "float32", "float16", "bfloat16")


def in_a_row(terms: Array) -> Array:
    return np.add.accumulate(terms, axis=0, dtype=terms.dtype)[-1]


class AnyOrder(NamedTuple):
    """A sum whose order is another at each call: additions that are atomic."""

    rng: Any

    def __call__(self, terms: Array) -> Array:
        return in_a_row(terms[self.rng.permutation(len(terms))])


class Legitimate(NamedTuple):
    """An algorithm in the formats that come in, or in float32 for half formats; ``coarse`` rounds x_hat on the way."""

    algorithm: algorithms.Algorithm
    coarse: bool
    dtypes: tuple[str, ...] = FORMATS

    def train(self, x, gamma, beta, mean, var, momentum, eps):
        if x.size <= x.shape[1]:
            raise ValueError("expected more than 1 value per channel")
        wide, given = self._wide(x), (self._wide(gamma, x), self._wide(beta, x))
        y, new_mean, new_var, saved = self.algorithm.train(wide, *given, *map(self._wide, (mean, var)), momentum, eps)
        kinds = x.dtype, mean.dtype, var.dtype
        y, new_mean, new_var = (a.astype(kind) for a, kind in zip((y, new_mean, new_var), kinds, strict=True))
        return y, new_mean, new_var, (self._coarse(saved, x), x.dtype, gamma, beta)

    def frozen(self, x, gamma, beta, mean, var, eps):
        wide, given = self._wide(x), (self._wide(gamma, x), self._wide(beta, x))
        y, saved = self.algorithm.frozen(wide, *given, *map(self._wide, (mean, var)), eps)
        return y.astype(x.dtype), (saved, x.dtype, gamma, beta)

    def infer(self, *given):
        return self.frozen(*given)[0]

    def backward(self, dy, cache):
        saved, kind, gamma, beta = cache
        dx, dgamma, dbeta = self.algorithm.backward(self._wide(dy), saved)
        if self.coarse:
            dx = dx.astype(kind)
        return (
            dx.astype(kind),
            None if gamma is None else dgamma.astype(gamma.dtype),
            None if beta is None else dbeta.astype(beta.dtype),
        )

    def _coarse(self, saved: Any, x: Array) -> Any:
        """Round what backward finds of the values, not of the statistics."""
        if not self.coarse:
            return saved
        return saved._replace(x_hat=saved.x_hat.astype(x.dtype).astype(saved.x_hat.dtype))

    @staticmethod
    def _wide(values: Array, x: Array = None) -> Array:
        if values is None:
            return None
        return values.astype(np.float32) if values.dtype.itemsize == 2 else values


def draw(seed: int, most: int = 10**9) -> tuple[str, Legitimate]:
    """Compose an implementation; what takes long for more than ``most`` values is left out."""
    rng = np.random.default_rng(seed)
    sums = {"in a row": in_a_row, "by halves": algorithms.by_halves, "in blocks": algorithms.in_blocks,
            "wide": algorithms.wide, "any order": AnyOrder(np.random.default_rng(seed + 1))}  # fmt: skip
    moments = {f.__name__: f for f in (algorithms.two_passes, algorithms.two_passes_by_reciprocal,
               algorithms.merged_halves, algorithms.merged_quarters, algorithms.merged_one_and_rest)}  # fmt: skip
    if most <= 5000:
        moments["welford"] = algorithms.welford
    picked = [list(choice)[int(rng.integers(len(choice)))] for choice in (sums, moments)]
    rest = [
        (algorithms.plain, algorithms.scaled_first, algorithms.divided_by_root, algorithms.folded),
        (algorithms.closed_form, algorithms.multiplied_out, algorithms.in_two_steps, algorithms.chain_of_the_paper,
         algorithms.through_power, algorithms.folded_gradients),
        (algorithms.divided, algorithms.two_ulp_off),
        (algorithms.weighted, algorithms.stepped),
    ]  # fmt: skip
    y, gradients, inverse, blend = (choice[int(rng.integers(len(choice)))] for choice in rest)
    coarse = bool(rng.integers(2))
    dbetas = (algorithms.summed, algorithms.from_mean, algorithms.from_scaled_parts)
    dbeta = dbetas[int(rng.integers(len(dbetas)))]
    how = y, gradients, inverse, blend, dbeta
    algorithm = algorithms.Algorithm("drawn", "", sums[picked[0]], moments[picked[1]], *how)
    words = [*picked, *(f.__name__ for f in how), "coarse" if coarse else "fine"]
    return ", ".join(words), Legitimate(algorithm, coarse)
