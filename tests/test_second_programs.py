"""Random programs of forward mode and double backward: the constant of every term is read off, whatever it is.

A program is right but for jvp, or the double backward's dx or dgamma: there each term of the derivative, written out
here by hand, has a constant that was drawn, and some terms have a factor more, or means over the whole batch. What the
oracle says is compared with what was drawn. Not verified: its words for them (`test_oracle_second_order`).
"""

import numpy as np
import pytest
from second_order_mutants import Reverse

import refnorm

SAMPLED = 30  # one in so many; see conftest.py

RIGHT = {"jvp": (1, -1, -1, 1, 1), "dx": (1, -1, -1, -1, 1, -1, 1, -1, 1, 3), "dgamma": (1, -1, -1)}
MEANS = {"jvp": {1, 2}, "dx": set(range(10)) - {0}, "dgamma": {1, 2}}  # terms with a mean over the batch
GAMMAS = {"jvp": {0, 1, 2}, "dx": set(range(3, 10)), "dgamma": set()}  # terms with gamma in front
CONSTANTS = (0, 0.5, -0.5, 2, -2, 1, -1, 3)


class Drawn(Reverse):
    """One quantity as a sum of terms with constants; ``factor``, of ``varied`` terms: m, std, gamma, over all."""

    def __init__(self, which, constants, factor, varied):
        self.which, self.constants, self.factor, self.varied = which, constants, factor, varied

    def total(self, parts, s):
        result = 0
        for k, (c, (gamma, value)) in enumerate(zip(self.constants, parts, strict=True)):
            here = k in self.varied
            front = 1 if here and self.factor == "gamma" else gamma
            times = {"m": s.wide.size // s.wide.shape[1], "std": 1 / s.inv}.get(self.factor, 1) if here else 1
            mean = (lambda v: v.mean(keepdims=True)) if here and self.factor == "over all" else self.average
            result = result + c * front * times * value(mean)
        return result + 0 * s.wide

    def jvp(self, dx, dgamma, dbeta, s):
        if self.which != "jvp" or s.frozen:
            return super().jvp(dx, dgamma, dbeta, s)
        v, vg, vb = self.wide(dx, dgamma, dbeta, s)
        x = self.x_hat(s)
        parts = (
            (s.gamma, lambda mean: s.inv * v),
            (s.gamma, lambda mean: s.inv * mean(v)),
            (s.gamma, lambda mean: s.inv * x * mean(v * x)),
            (1, lambda mean: vg * x),
            (1, lambda mean: vb),
        )
        return self.total(parts, s).astype(s.x.dtype)

    def second_dx(self, v, vg, g, s):
        if self.which != "dx" or s.frozen:
            return super().second_dx(v, vg, g, s)
        x, gamma = self.x_hat(s), s.gamma
        one, two = s.inv, s.inv**2
        parts = (
            (1, lambda mean: vg * one * g),
            (1, lambda mean: vg * one * mean(g)),
            (1, lambda mean: vg * one * x * mean(g * x)),
            (gamma, lambda mean: two * g * mean(v * x)),
            (gamma, lambda mean: two * mean(g) * mean(v * x)),
            (gamma, lambda mean: two * v * mean(g * x)),
            (gamma, lambda mean: two * mean(v) * mean(g * x)),
            (gamma, lambda mean: two * x * mean(g * v)),
            (gamma, lambda mean: two * x * mean(g) * mean(v)),
            (gamma, lambda mean: two * x * mean(g * x) * mean(v * x)),
        )
        return self.total(parts, s)

    def second_dgamma(self, v, g, s):
        if self.which != "dgamma" or s.frozen:
            return super().second_dgamma(v, g, s)
        x, m = self.x_hat(s), s.wide.size // s.wide.shape[1]
        parts = (
            (1, lambda mean: s.inv * self.average(g * v) * m),
            (1, lambda mean: s.inv * self.average(g) * m * mean(v)),
            (1, lambda mean: s.inv * self.average(g * x) * m * mean(v * x)),
        )
        return self.total(parts, s)[(slice(1),) + (slice(None),) + (slice(1),) * (s.wide.ndim - 2)].reshape(-1)


def drawn(number):
    """Return the quantity, the constants, the factor and the terms that have it, of a program."""
    rng = np.random.default_rng([number, 2026])
    which = ("jvp", "dx", "dgamma")[number % 3]
    constants = list(map(float, RIGHT[which]))
    factor = ("", "m", "std", "gamma", "over all")[number // 3 % 5]
    possible = {"gamma": GAMMAS, "over all": MEANS}.get(factor, {which: set(range(len(constants)))})[which]
    if not factor or not possible or rng.random() < 0.5:
        for k in rng.choice(len(constants), rng.integers(1, 4), replace=False):
            constants[k] = float(rng.choice([c for c in CONSTANTS if c != constants[k]]))
    varied = {k for k in possible if constants[k] and rng.random() < 0.6} if factor else set()
    return which, tuple(constants), factor, varied


@pytest.mark.parametrize("number", [n for n in range(60) if drawn(n)[1] != RIGHT[drawn(n)[0]] or drawn(n)[3]])
def test_the_constants_of_a_random_program_are_read_off(number):
    which, constants, factor, varied = drawn(number)
    report = refnorm.check(Drawn(which, constants, factor, varied), dtypes=["float64"])
    (found,) = report.findings
    name = "jvp" if which == "jvp" else f"double backward {which}"
    assert found.quantities == (name,)
    assert list(found.coefficients.values()) == [c for c in constants if c], f"{drawn(number)}\n{report}"  # in order
    _, explained, _, failed, *_ = found.explains.split()
    assert explained == failed
    if factor in ("m", "over all"):
        assert (f"{factor} " in found.measured) == bool(varied)
    elif varied:  # another front, or power of std, in these terms alone
        usual = refnorm.check(Drawn(which, [2.0 * c for c in RIGHT[which]], "", set()), dtypes=["float64"])
        own = list(usual.findings[0].coefficients)
        there = [k for k, c in enumerate(constants) if c]
        other = {k for k, words in zip(there, found.coefficients, strict=True) if words != own[k]}
        assert other == varied, f"{drawn(number)}\n{report}"


def test_a_program_with_the_right_constants_conforms():
    for which, constants in RIGHT.items():
        report = refnorm.check(Drawn(which, constants, "", set()), dtypes=["float64"])
        assert report.conforms, str(report)
