"""gradcheck on functions with kinks: a right backward passes, and a wrong one beside a kink is convicted.

What is drawn: shape, scale and inputs of relu, relu6, softshrink, the hinge loss and a linear layer with relu, and for
each of them backwards that are wrong on one side of a kink. A second kind of draw puts every element beside a kink, at
distances down to 10^-6 of the input's size.

Run ``python tests/test_kinks.py [DRAWS]`` for the table of verdicts.

Not verified: kinks nearer than 10^-8 of an input's size, of which differences cannot know.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from refnorm import gradcheck

SAMPLED = True  # see conftest.py

DRAWS = 2000  # of each of five functions


class Function(NamedTuple):
    """A forward that returns y and its inputs, a right backward, wrong ones, and where x has its kinks."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    wrong: dict[str, Callable[..., Any]]
    kinks: tuple[float, ...]


def elementwise(y: Callable, slope: Callable, wrong: dict[str, Callable], kinks: tuple[float, ...]) -> Function:
    def backward(slope: Callable) -> Callable:
        return lambda dy, x: dy * slope(x)

    return Function(lambda x: (y(x), x), backward(slope), {k: backward(s) for k, s in wrong.items()}, kinks)


def layer(x, w, b):
    return np.maximum(x @ w + b, 0), (x, w, b)


def layer_backward(dy, cache, mask=lambda z, b: z + b > 0):
    x, w, b = cache
    inner = dy * mask(x @ w, b)
    return inner @ w.T, x.T @ inner, inner.sum(axis=0)


FUNCTIONS = {
    "relu": elementwise(
        lambda x: np.maximum(x, 0),
        lambda x: x > 0,
        {
            "no mask": np.ones_like,
            "leaks beside 0": lambda x: x > -0.1 * np.std(x),
            "dead beside 0": lambda x: x > 0.1 * np.std(x),
            "leaks a thousandth": lambda x: np.where(x > 0, 1, 1e-3),
            "1.001": lambda x: 1.001 * (x > 0),
        },
        (0.0,),
    ),
    "relu6": elementwise(
        lambda x: np.minimum(np.maximum(x, 0), 6),
        lambda x: (x > 0) & (x < 6),
        {"no upper end": lambda x: x > 0, "ends at 5": lambda x: (x > 0) & (x < 5)},
        (0.0, 6.0),
    ),
    "softshrink": elementwise(
        lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
        lambda x: np.abs(x) > 0.5,
        {"no dead zone": np.ones_like, "a smaller one": lambda x: np.abs(x) > 0.4, "one side": lambda x: x > 0.5},
        (-0.5, 0.5),
    ),
    "hinge": elementwise(
        lambda x: np.maximum(1 - x, 0),
        lambda x: -1.0 * (x < 1),
        {"no margin": lambda x: -1.0 * (x < 0), "other sign": lambda x: 1.0 * (x < 1), "no mask": lambda x: 0 * x - 1},
        (1.0,),
    ),
    "linear + relu": Function(
        layer,
        layer_backward,
        {
            "mask forgets b": lambda dy, cache: layer_backward(dy, cache, lambda z, b: z > 0),
            "no mask": lambda dy, cache: layer_backward(dy, cache, lambda z, b: np.ones_like(z)),
        },
        (),
    ),
}


def draw(name: str, seed: int, beside: bool = False) -> tuple[np.ndarray, ...]:
    """Draw inputs; ``beside`` a kink: at 10^-6 to 1 of the distance that x has from it otherwise."""
    rng = np.random.default_rng([seed, *name.encode()])
    x = rng.standard_normal(tuple(rng.integers(2, 5, 2)))
    if name == "linear + relu":
        w, b = rng.standard_normal((x.shape[1], int(rng.integers(1, 4)))), None
        b = rng.standard_normal(w.shape[1])
        if beside:  # of the first row
            b = 10.0 ** rng.uniform(-6, 0, b.shape) * rng.choice([-1.0, 1.0], b.shape) - x[0] @ w
        return x, w, b
    kinks = FUNCTIONS[name].kinks
    spread = 10.0 ** rng.integers(-3, 4) if kinks == (0.0,) else max(map(abs, kinks)) * 10.0 ** rng.uniform(-0.5, 0.7)
    if not beside:
        return (x * spread,)
    return (rng.choice(kinks, x.shape) + x * 10.0 ** rng.uniform(-6, 0, x.shape) * spread,)


def same(one: Any, other: Any) -> bool:
    pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in (one, other)), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def verdicts(name: str, wrong: str | None, seeds: range, beside: bool = False, most: float = np.inf) -> Counter:
    """Count verdicts, at most so many; of a wrong backward where it gives something else than the right one."""
    function, found = FUNCTIONS[name], Counter()
    for seed in seeds:
        if found.total() >= most:
            break
        inputs = draw(name, seed, beside)
        backward = function.wrong[wrong] if wrong else function.backward
        y, cache = function.forward(*inputs)
        dy = np.ones_like(y)
        if wrong is None or not same(backward(dy, cache), function.backward(dy, cache)):
            found[gradcheck(function.forward, backward, *inputs, seed=seed).status] += 1
    return found


def table(draws: int) -> Iterator[str]:
    """Yield the lines of the table of verdicts."""
    yield f"{'function':16}{'backward':22}{'where':14}{'right':>8}{'cannot tell':>14}{'wrong':>8}"
    for name, function in FUNCTIONS.items():
        for wrong in (None, *function.wrong):
            for beside in (False, True):
                found = verdicts(name, wrong, range(draws if wrong is None else max(1, draws // 10)), beside)
                counts = f"{found['right']:8}{found['cannot tell']:14}{found['wrong']:8}"
                yield f"{name:16}{wrong or 'the right one':22}{'beside kinks' if beside else 'anywhere':14}{counts}"


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("draws", [range(20), pytest.param(range(20, DRAWS), marks=pytest.mark.slow)], ids=len)
def test_a_right_backward_passes_in_nearly_all_draws_and_is_never_called_wrong(name, draws):
    found = verdicts(name, None, draws)
    assert found["wrong"] == 0
    assert found["right"] >= 0.95 * len(draws)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("draws", [range(10), pytest.param(range(10, DRAWS // 4), marks=pytest.mark.slow)], ids=len)
def test_beside_a_kink_a_right_backward_is_never_called_wrong(name, draws):
    found = verdicts(name, None, draws, beside=True)
    assert found["wrong"] == 0
    assert found["right"] >= 0.9 * len(draws)


@pytest.mark.parametrize(("name", "wrong"), [(n, w) for n, f in FUNCTIONS.items() for w in f.wrong])
@pytest.mark.parametrize("beside", [False, True], ids=["anywhere", "beside kinks"])
def test_a_backward_that_is_wrong_on_one_side_of_a_kink_is_convicted(name, wrong, beside):
    found = verdicts(name, wrong, range(200), beside, most=8)
    assert found == {"wrong": 8}


@pytest.mark.parametrize("name", ["relu", "relu6", "softshrink", "hinge"])
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_at_a_kink_no_subgradient_is_called_wrong(name, slope):
    """There is no derivative, and each side has its own: any slope between the two is one that people choose."""
    function, x = FUNCTIONS[name], np.array([FUNCTIONS[name].kinks[0], 0.75, -2.5])
    sign = -1 if name == "hinge" else 1

    def backward(dy, x):
        return np.where(x == function.kinks[0], sign * slope * dy, function.backward(dy, x))

    found = gradcheck(function.forward, backward, x).comparisons[0]
    assert found.status == "cannot tell" or (found.status == "right" and found.error == 0)


def test_an_element_that_is_rounded_to_few_digits_on_its_way_is_not_told():
    """x is a float16 inside and far from 0: its steps are longer than those taken, and nothing seems to move."""
    x = 1000 + np.random.default_rng(0).standard_normal(6) / 64

    def coarse(x):
        return np.float64(np.float16(x)) - 1000, x

    assert gradcheck(coarse, lambda dy, x: dy, x).comparisons[0].status == "cannot tell"
    assert gradcheck(coarse, lambda dy, x: 0 * dy, x).status != "wrong"  # which a staircase has, but where it jumps


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if sys.argv[1:] else DRAWS):
        print(line, flush=True)
