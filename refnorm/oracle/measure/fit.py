"""Solve for a formula: a sum of few terms, or a product of factors, that meets every equation to the last digits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

Rows = Any  # float64 arrays, one value for each equation

SCREENED = 1e-11  # of the square of a target: what a sum may leave to be looked at, by sums of squares
LOOKED_AT = 60  # sums that are solved again, exactly
PLAIN = 1e-6  # relative: what is 1 but for rounding, as far as a screening can tell
ALIKE = 1e-9  # of a determinant: terms that cannot be told apart
CLEAR = 16  # times its noise: smaller values say little
PLAIN_ENOUGH = 2  # constants that are not as nice say little: a few of them meet a few equations by chance
EVIDENCE = 6  # equations that are asked for each of these
TESTED = 48  # equations by which most products are refuted


class Weighed(NamedTuple):
    """Which terms, by number, each with its constant."""

    terms: tuple[tuple[int, float], ...]
    cost: float


def nice(c: float) -> float:
    """Return how far a constant is from being none: 0 for 1, little for a simple fraction or a short decimal.

    Examples
    --------
    >>> nice(1), nice(-0.5), nice(0.1), nice(1 / 3) < nice(0.123456)
    (0, 1, 1, True)
    """
    if c == 1:
        return 0
    if c == -1:
        return 0.5
    near = Fraction(c).limit_denominator(12)
    if near and abs(float(near) - c) < 1e-12 * abs(c) and abs(near.numerator) <= 64:
        return 1
    return 1 if float(f"{c:.2g}") == c else 2 if float(f"{c:.5g}") == c else 3


def snapped(c: float) -> Iterator[float]:
    """Yield simpler constants nearby, the simplest first."""
    yield from (near for near in (1.0, -1.0) if abs(c - near) < 1e-3)
    for limit in (4, 12):
        near = float(Fraction(c).limit_denominator(limit))
        if near and abs(near - c) < 1e-3 * abs(c):
            yield near
    for digits in (1, 2, 3, 4):
        yield float(f"{c:.{digits}g}")


def summed(target: Rows, noise: Rows, families: Sequence[Sequence[Rows]], most: int = 3) -> Weighed | None:
    """Find the simplest target = sum of constant * term, with at most one term of each family.

    Parameters
    ----------
    target, noise : (rows,). A row is met if no more than its noise is left.
    families : terms, each (rows,); numbers in the result count through the families. A term that is not finite, or 0
        throughout, is passed over.
    most : terms of a sum.

    Returns
    -------
    Weighed or None
        None if nothing meets every row.

    Examples
    --------
    >>> var, eps = np.array([1.0, 4.0, 9.0]), np.array([0.5, 0.25, 0.125])
    >>> summed(var + 2 * eps, np.full(3, 1e-9), [[var**2, var], [eps]]).terms
    ((1, 1.0), (2, 2.0))
    """
    flat = [row for family in families for row in family]
    if np.all(np.abs(target) <= noise):
        return Weighed((), 0)
    with np.errstate(all="ignore"):
        scaled = np.stack([np.asarray(row, float) for row in flat]) / noise if flat else np.zeros((0, len(target)))
        wanted = target / noise
        norms = np.sqrt((scaled**2).sum(axis=1))
    usable = np.isfinite(norms) & (norms > 0)
    wanted_norm = np.sqrt((wanted**2).sum())
    unit = np.where(usable[:, None], scaled / np.where(usable, norms, 1)[:, None], 0)
    gram, along = unit @ unit.T, unit @ (wanted / wanted_norm)
    starts = np.cumsum([0, *map(len, families)])
    members = [[i for i in range(starts[f], starts[f + 1]) if usable[i]] for f in range(len(families))]
    for size in range(1, most + 1):
        found: list[Weighed] = []
        for chosen in itertools.combinations(range(len(families)), size):
            found += _sums([members[f] for f in chosen], gram, along, norms, scaled, wanted)
        if found:
            return min(found, key=lambda w: w.cost)
    return None


def _sums(
    members: list[list[int]], gram: Rows, along: Rows, norms: Rows, scaled: Rows, wanted: Rows
) -> Iterator[Weighed]:
    """Yield the sums of one term of each family that meet all rows."""
    if not all(members):
        return
    index = np.stack([g.ravel() for g in np.meshgrid(*members, indexing="ij")], axis=1)
    n = index.shape[1]
    matrix, right = gram[index[:, :, None], index[:, None, :]], along[index]
    told = np.abs(np.linalg.det(matrix)) > ALIKE if n > 1 else np.ones(len(index), bool)
    index, matrix, right = index[told], matrix[told], right[told]
    if not len(index):
        return
    solved = np.linalg.solve(matrix, right[..., None])[..., 0]
    left = 1 - (solved * right).sum(axis=1)
    constants = solved * np.sqrt((wanted**2).sum()) / norms[index]
    odd = (np.abs(np.abs(constants) - 1) > PLAIN).sum(axis=1)  # constants that are not 1: of sums alike the plain first
    within = len(wanted) / float((wanted**2).sum())  # what noise in every row leaves
    likely = np.flatnonzero(left <= max(SCREENED, within))
    for k in likely[np.lexsort((left[likely], odd[likely]))][:LOOKED_AT]:
        yield from exactly(index[k], scaled, wanted)


def exactly(terms: Rows, scaled: Rows, wanted: Rows) -> Iterator[Weighed]:
    """Yield a sum with constants as simple as they can be, if it meets every row.

    Parameters
    ----------
    terms : numbers of the rows that are summed.
    scaled, wanted : rows of terms, and what they must give, each divided by the noise of its equation.

    Examples
    --------
    >>> var, eps = np.array([1.0, 4.0, 9.0]), np.array([0.5, 0.25, 0.125])
    >>> [found.terms for found in exactly(np.array([1, 0]), np.stack([eps, var]) / 1e-9, (var + 2 * eps) / 1e-9)]
    [((1, 1.0), (0, 2.0))]
    """
    columns = scaled[terms].T
    constants = solved(columns, wanted)
    if np.abs(columns @ constants - wanted).max() > 1:
        return
    for k in range(len(terms)):  # one after the other
        for near in snapped(float(constants[k])):
            tried = constants.copy()
            tried[k] = near
            if np.abs(columns @ tried - wanted).max() <= 1:
                constants = tried
                break
    pairs = tuple((int(t), float(c)) for t, c in zip(terms, constants, strict=True))
    if sum(nice(c) > PLAIN_ENOUGH for _, c in pairs) * EVIDENCE > len(wanted):
        return
    yield Weighed(pairs, sum(nice(c) for _, c in pairs) + 1e-3 * float(terms.sum()) / len(scaled))


def solved(columns: Rows, wanted: Rows) -> Rows:
    """Return the constants whose sum of columns comes nearest to what is wanted, whatever the sizes of the columns are.

    Examples
    --------
    >>> [round(float(c), 6) for c in solved(np.array([[1e200, 1.0], [1e200, -1.0]]), np.array([3.0, 1.0])) * [1e200, 1]]
    [2.0, 1.0]
    """
    sizes = np.abs(columns).max(axis=0)
    sizes[sizes == 0] = 1
    return np.linalg.lstsq(columns / sizes, wanted, rcond=None)[0] / sizes


def multiplied(target: Rows, noise: Rows, factors: Sequence[Sequence[Rows]]) -> Weighed | None:
    """Find the simplest target = constant * product of one factor of each family.

    Rows that are hardly above their noise are passed over.

    Parameters
    ----------
    target, noise : (rows,).
    factors : families of factors, each (rows,), the usual one first.

    Returns
    -------
    Weighed or None
        The numbers of the factors, counted in each family; the constant stands with the first. None if no product
        meets the rows.

    Examples
    --------
    >>> gamma, std = np.array([1.0, -2.0, 3.0]), np.array([2.0, 5.0, 7.0])
    >>> multiplied(-gamma / std**2, np.full(3, 1e-9), [[gamma, abs(gamma)], [1 / std, std, std**-2]]).terms
    ((0, -1.0), (2, 1.0))
    """
    clear = np.abs(target) > CLEAR * noise
    if not clear.any():
        return None
    target, noise = target[clear], noise[clear]
    least = np.argsort(noise / np.abs(target))[:TESTED]
    with np.errstate(all="ignore"):
        families = [np.stack([np.asarray(f, float)[clear] for f in family]) for family in factors]
        shape = tuple(len(f) for f in families)
        logs, signs = np.zeros(len(least)), np.ones(len(least))
        for family in families:
            few = family[:, least]
            logs = (logs[..., None, :] + np.log(np.abs(few))).reshape(-1, len(least))
            signs = (signs[..., None, :] * np.sign(few)).reshape(-1, len(least))
        rest = np.log(np.abs(target[least])) - logs
        turned = np.sign(target[least]) * signs
        width = rest.max(axis=1) - rest.min(axis=1)
    relative = noise / np.abs(target)
    likely = np.isfinite(width) & (width < 4 * relative[least].max()) & (np.abs(turned.sum(axis=1)) == len(least))
    found = []
    for k in np.flatnonzero(likely):
        numbers = np.unravel_index(k, shape)
        product = np.prod([family[i] for family, i in zip(families, numbers, strict=True)], axis=0)
        c = float(np.median(target / product))
        for near in (*snapped(c), c):
            if np.all(np.abs(near * product - target) <= noise):
                cost = nice(near) + sum(map(float, numbers)) * 0.3
                first = [near] + [1.0] * (len(numbers) - 1)
                found.append(Weighed(tuple((int(i), f) for i, f in zip(numbers, first, strict=True)), cost))
                break
    return min(found, key=lambda w: w.cost, default=None)
