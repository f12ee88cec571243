"""Cases of sizes at which kernels break: built by rule, of numbers whose sums are exact in any order, not stored.

Three kinds of channels take turns, so that each quantity is resolved to a few units in the last place whatever m is:

- *constant*: x is one small integer, dy dense multiples of a power of 2. Mean and dbeta are exact in any order, by
  updates too.
- *dense*: x is +-1, +-2, +-3, each with its opposite elsewhere. The sum is 0, so that the mean is exactly 0 for who
  adds up, and x^2 adds up exactly; dy is 0 but for a few values.
- *needles*: x is 0 but for one pair d, -d, dy is 0 but for a few values. All sums are of few terms that are not 0.

Where dy is not 0, at first and last positions, about powers of 2 and elsewhere, what a kernel leaves out shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from refnorm.formats import Floats, rounded
from refnorm.golden.inputs import Case
from refnorm.golden.repeats import Repeats
from refnorm.golden.rule import hashed, uniform
from refnorm.golden.situations import Situation

KINDS = ("dense", "needles", "constant", "dense")
FEW = 8  # values of dy that are not 0
NAME = "sized"

# x by format: across powers of 2, odd prime extents, more samples or channels than a counter or a grid holds, tails
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "float64": ((65, 5), (3, 5, 127, 129)),
    "float32": (
        (65, 5), (1025, 5), (1, 7, 61, 67), (5, 7, 33, 31), (3, 257, 5, 7), (65537, 4), (3, 4, 3, 5, 1367),
        (1, 4, 363, 367),
    ),
    "float16": ((65, 5), (1025, 5), (3, 5, 3, 5, 7), (3, 5, 181, 181), (1, 4, 363, 367)),
    "bfloat16": ((65, 5), (1025, 5), (3, 5, 3, 5, 7), (3, 5, 181, 181), (1, 4, 363, 367)),
}  # fmt: skip


def thorough_shapes() -> Iterator[tuple[int, ...]]:
    """Yield the shapes of a thorough trial: every 2^k - 1, 2^k, 2^k + 1, tails of rows, many channels, long axes.

    Examples
    --------
    >>> len(list(thorough_shapes()))
    90
    """
    for k in range(6, 21):
        for m in (2**k - 1, 2**k, 2**k + 1):
            yield (m, 4) if k % 2 else (1, 4, m) if k % 4 else (1, 4, 1, m)
    for tile in (4, 8, 16, 32, 64, 1000, 1024, 4096):
        for tail in (1, tile // 2, tile - 1):
            yield (3, 5, 3, tile + tail)
    for channels in (255, 256, 257, 511, 513, 1023, 1025, 2047, 2049):
        yield (5, channels, 13)
    yield from ((65536, 4), (65539, 4), (131101, 4), (65539, 4, 3), (3, 4, 3, 3, 10007), (3, 4, 10007, 3, 3))
    yield from ((7, 4, 127, 131), (1, 4, 1021, 1031), (1, 4, 2039, 1013), (33001, 5, 3), (17, 5, 251), (13, 31, 7, 11))


def drawn_shapes(seed: int, count: int = 20) -> Iterator[tuple[int, ...]]:
    """Yield shapes that no one has chosen: of ranks 2 to 5, with up to a quarter of a million values a channel."""
    rng = np.random.default_rng(seed)
    while count:
        rank, logs = int(rng.integers(2, 6)), rng.dirichlet(np.ones(4)) * rng.uniform(6, 18)
        reduced = [max(1, round(2**power)) for power in logs[: rank - 2]]
        shape = (max(1, round(2 ** logs[rank - 2 :].sum())), int(rng.integers(3, 40)), *reduced)
        if math.prod(shape) // shape[1] >= 64 and math.prod(shape) <= 2**21:
            count -= 1
            yield shape


def sized_ids(kind: str, shapes: Iterable[tuple[int, ...]] | None = None) -> list[str]:
    """Return the ids of the cases of a format, those of the usual trial unless shapes are given.

    Inference, in which nothing is added up but gradients, is asked in a batch of many samples and in rank 5.

    Examples
    --------
    >>> sized_ids("float32", [(65537, 3)])
    ['bn.training.float32.sized.65537x3', 'bn.inference.float32.sized.65537x3']
    """
    usual = SHAPES[kind] if shapes is None else tuple(shapes)
    inferred = [shape for shape in usual if shape[0] > 65535 or len(shape) == 5]
    chosen = [("training", shape) for shape in usual] + [("inference", shape) for shape in inferred]
    return [f"bn.{operation}.{kind}.{NAME}.{'x'.join(map(str, shape))}" for operation, shape in chosen]


def sized_case(id: str) -> Case | None:
    """Return the case of an id, None if it names none of these.

    Examples
    --------
    >>> sized_case("bn.training.float32.sized.65x3").x.shape
    (65, 3)
    """
    found = re.fullmatch(rf"bn\.(training|inference)\.(\w+)\.{NAME}\.(\d+(?:x\d+)+)", id)
    return sized(found[1], found[2], tuple(map(int, found[3].split("x")))) if found else None


def sized(operation: str, kind: str, shape: tuple[int, ...]) -> Case:
    """Build the case of a shape; those of the usual trial are kept."""
    return _kept(operation, kind, shape) if shape in SHAPES[kind] else _built(operation, kind, shape)


@lru_cache(maxsize=64)
def _kept(operation: str, kind: str, shape: tuple[int, ...]) -> Case:
    return _built(operation, kind, shape)


def _built(operation: str, kind: str, shape: tuple[int, ...]) -> Case:
    m, channels = math.prod(shape) // shape[1], shape[1]
    seed = int(hashed(1, sum(n * 31**k for k, n in enumerate(shape)))[0]) % 4099 + 1000
    columns = [_channel(m, (c + seed) % len(KINDS), 97 * c + seed, kind) for c in range(channels)]
    pairs = max(len(x) for x, *_ in columns)
    x, dy, times = (np.zeros((1, channels, pairs)) for _ in range(3))
    index = np.empty((channels, m), np.intp)
    for c, (values, upstream, counts, where) in enumerate(columns):
        x[0, c], dy[0, c] = values[0], upstream[0]  # what counts for nothing is like the first
        x[0, c, : len(values)], dy[0, c, : len(values)], times[0, c, : len(values)] = values, upstream, counts
        index[c] = where + c * pairs
    places = np.ascontiguousarray(np.moveaxis(index.reshape(channels, shape[0], *shape[2:]), 0, 1))
    situation = Situation(
        NAME, "a size at which kernels break, of numbers whose sums are exact", shape, eps=2.0**-4, momentum=0.25,
        operations=("training", "backward", "running", "inference", "frozen"), formats=(kind,), content=NAME,
    )  # fmt: skip
    gamma, beta, mean, var = _parameters(channels, seed, kind)
    if operation == "training":  # beside old values of 0, errors of the new ones are seen
        mean, var = mean * 0, var * 0
    id = f"bn.{operation}.{kind}.{NAME}.{'x'.join(map(str, shape))}"
    rest = (gamma, beta, mean, var, 100 * seed, False)
    small = Case(id, operation, kind, kind, situation, (x,), dy, *rest, times)
    return Case(
        id, operation, kind, kind, situation, (x.reshape(-1)[places],), dy.reshape(-1)[places], *rest, None,
        Repeats(small, places),
    )  # fmt: skip


def _parameters(channels: int, seed: int, kind: str) -> tuple[Floats, Floats, Floats, Floats]:
    u = [uniform((channels,), 100 * seed + k) for k in (60, 61, 62, 63)]
    gamma = (0.75 + 0.5 * u[0]) * np.where(np.arange(channels) % 2, 1, -1)
    gamma, beta, mean, var = (rounded(p, kind) for p in (gamma, 2 * u[1], u[2] + 2, 2 + u[3]))
    return gamma, beta, mean, var


def _channel(m: int, which: int, seed: int, kind: str) -> tuple[Floats, Floats, Floats, npt.NDArray[np.intp]]:
    """Return the different pairs of x and dy, how often each is there, and which stands at each of m places."""
    noise = hashed(m, seed)
    if KINDS[which] == "constant":
        values = np.array([1.0, 2.0, 3.0]) * 2.0 ** -max(math.floor(math.log2(m)) - 5, 0)
        chosen = (noise % 3).astype(np.intp)
        counts = np.bincount(chosen, minlength=3)
        return np.full(3, (3.0, -5.0, 7.0)[seed % 3]), values, counts.astype(float), chosen
    x = np.zeros(m)
    few = _places(m, seed)
    if KINDS[which] == "dense":
        half = noise[: m // 2]
        half = (1 + half % 3) * np.where(half & 8, 1, -1)
        step = next(s for s in range(round(0.618 * m), 2 * m) if math.gcd(s, m) == 1)
        places = step * np.arange(m // 2 * 2, dtype=np.int64) % m  # each far from its opposite, along any axis
        x[places] = np.concatenate([half, -half])
    else:
        start = min(int(few[0]), m - 2)  # side by side: what is merged of parts finds both in one
        x[start : start + 2] = 2.0 ** math.ceil(math.log2(m) / 2) * np.array([1.0, -1.0])
        few = np.setdiff1d(np.union1d(few[1:], [start]), [start + 1])  # dx of the other is x_hat c alone
    unit = 2.0**4 if kind in ("float16", "bfloat16") and KINDS[which] == "needles" else 2.0**6
    dy = np.zeros(m)
    dy[few] = (1 + noise[few] % 3) * unit * np.where(x[few] < 0, -1, 1)  # nothing cancels in dgamma
    keys = x * 2.0**20 + dy
    _, first, chosen, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return x[first], dy[first], counts.astype(float), chosen.reshape(-1)


def _places(m: int, seed: int) -> npt.NDArray[np.intp]:
    """Return where dy is not 0: at the ends, about powers of 2 and anywhere, other places for each channel."""
    powers = 2 ** np.arange(3, 22)
    special = np.concatenate([[m - 1, 0, m - 2, m // 2], powers, powers - 1, m - 1 - powers])
    anywhere = (hashed(3 * FEW, seed + 1) + 32768) * m // 65536
    special = special[(special >= 0) & (special < m)]
    turned = np.roll(special[1:], seed)[: FEW // 2]
    found = list(dict.fromkeys([m - 1, *turned.tolist(), *anywhere.tolist()]))[:FEW]
    return np.array(np.roll(found, seed % 5), np.intp)
