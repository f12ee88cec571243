"""What measured gradients are called, and how their formulas are written: products by their words, without numbers.

Not verified here: which products are read off numbers (`test_read_dx`, `test_read_parameters`).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from refnorm.conventions import ROWS
from refnorm.oracle.measure.formula import Formula, of
from refnorm.oracle.measure.naming_gradients import dx_causes, expected_formula, parameter_causes
from refnorm.oracle.measure.products import ZERO, Divisor, Product
from refnorm.oracle.measure.read_dx import Dx
from refnorm.oracle.measure.read_parameters import Summed
from refnorm.oracle.measure.terms import EPS, ONE, RUNNING_VAR, VAR

TORCH, KERAS = ROWS["torch"], ROWS["keras"]
USUAL = "dx = gamma / std (dy - mean(dy) - x_hat mean(dy x_hat))"


def product(constant=1.0, **words):
    return Product(constant, tuple((kind, text, lambda w: w) for kind, text in words.items())) if constant else ZERO


def dx(own=1, mean=-1, x_hat=-1, *, gamma="gamma", inverse="/ std", square="/ std^3", over=("", ""), counts=("1",) * 3):
    """Return a dx: constants of its three terms, what they share, what x_hat's has in place of 1/std^3, and counts."""
    sums = (f"mean{over[0]} dy", f"mean{over[1]} dy (x - mean)") if over[0] != "shards" else SHARDS
    return Dx(
        product(own, inverse=inverse, gamma=gamma, count=counts[0]),
        product(mean, sum=sums[0], inverse=inverse, gamma=gamma, count=counts[1]),
        product(x_hat, sum=sums[1], squares=square, gamma=gamma, count=counts[2]),
    )


SHARDS = "mean of the shards' means of dy", "mean of the shards' means of dy (x - mean)"


DECAYED = "parameter-gradient-decayed"


def summed(constant, words, *, added=ZERO, **factors):
    return Summed(product(constant, sum=words, **factors), added=added)


def names(causes):
    return [c.name for c in causes]


def test_the_definition_has_no_cause():
    assert dx_causes(dx(), "dx") == []
    assert dx_causes(dx(1, 0, 0), "frozen dx") == []


@pytest.mark.parametrize(
    ("found", "measured", "name"),
    [
        (dx(-1, 1, 1), "gamma / std (-dy + mean(dy) + x_hat mean(dy x_hat))", ["dx-sign"]),
        (dx(1, -1, 0), "gamma / std (dy - mean(dy))", ["dx-variance-term-missing"]),
        (dx(1, 0, 0), "gamma / std dy", ["dx-statistics-constant"]),
        (dx(2, 0, 0), "gamma / std 2 dy", ["other-dx"]),
        (dx(0, -1, -1), "gamma / std (-mean(dy) - x_hat mean(dy x_hat))", ["other-dx"]),
        (dx(1, -1, -0.5), "gamma / std (dy - mean(dy) - 0.5 x_hat mean(dy x_hat))", ["dx-variance-term-factor"]),
        (
            dx(counts=("1", "m", "1")),
            "gamma / std (dy - m mean(dy) - x_hat mean(dy x_hat))",
            ["dx-mean-term-not-divided"],
        ),
        (
            dx(counts=("1", "(m - 1)/m", "1")),
            "gamma / std (dy - (m - 1)/m mean(dy) - x_hat mean(dy x_hat))",
            ["other-dx"],
        ),
        (
            dx(1, -1, -0.5, counts=("1", "1", "(m - 1)/m")),
            "gamma / std (dy - mean(dy) - 0.5 (m - 1)/m x_hat mean(dy x_hat))",
            ["other-dx"],
        ),
        (dx(1, -3, -1, counts=("1", "m", "1")), "gamma / std (dy - 3 m mean(dy) - x_hat mean(dy x_hat))", ["other-dx"]),
        (dx(1, -1, 0.5), "gamma / std (dy - mean(dy) + 0.5 x_hat mean(dy x_hat))", ["other-dx"]),
        (
            dx(1, -1, -2, counts=("1", "1", "m")),
            "gamma / std (dy - mean(dy) - 2 m x_hat mean(dy x_hat))",
            ["other-dx"],
        ),
        (dx(gamma="|gamma|"), "|gamma| / std (dy - mean(dy) - x_hat mean(dy x_hat))", ["dx-gamma-absolute"]),
        (dx(gamma="1"), "1 / std (dy - mean(dy) - x_hat mean(dy x_hat))", ["dx-gamma-missing"]),
        (dx(gamma="gamma^3"), "gamma^3 / std (dy - mean(dy) - x_hat mean(dy x_hat))", ["other-dx"]),
        (
            dx(inverse="/ std^2", square="/ std^2 (/ std)^2"),
            "gamma / std^2 (dy - mean(dy) - x_hat mean(dy x_hat))",
            ["dx-std-twice"],
        ),
        (
            dx(inverse="", square=" (/ std)^2"),
            "gamma (dy - mean(dy) - x_hat mean(dy x_hat))",
            ["dx-std-missing"],
        ),
        (
            dx(inverse="std", square="std (/ std)^2"),
            "gamma std (dy - mean(dy) - x_hat mean(dy x_hat))",
            ["dx-multiplies-std"],
        ),
        (
            dx(inverse="std", square="std (std)^2"),
            "gamma std (dy - mean(dy) - x_hat mean(dy x_hat)), x_hat = (x - mean) std",
            ["dx-multiplies-std"],
        ),
        (
            dx(inverse="var", square="var (var)^2", gamma="(1 + gamma)"),
            "(1 + gamma) var (dy - mean(dy) - x_hat mean(dy x_hat)), x_hat = (x - mean) var",
            ["gamma-plus-one", "saved-variance-used-as-inverse-std"],
        ),
        (
            dx(inverse="std", square="std (/ std)^2", gamma="1"),
            "std (dy - mean(dy) - x_hat mean(dy x_hat))",
            ["dx-gamma-missing", "dx-multiplies-std"],
        ),
        (dx(inverse="std^2", square="std^2 (/ std)^2"), USUAL[5:].replace("/ std", "std^2"), ["other-dx"]),
        (
            dx(gamma="1", inverse="", square=" (/ std)^2"),
            "dy - mean(dy) - x_hat mean(dy x_hat)",
            ["dx-gamma-missing", "dx-std-missing"],
        ),
        (
            dx(inverse="", square=""),
            "gamma (dy - mean(dy) - x_hat mean(dy x_hat)), x_hat = x - mean",
            ["dx-std-missing"],
        ),
        (dx(1, 0, 0, gamma="1", inverse=""), None, ["returns-upstream"]),
        (dx(1, 0, 0, gamma="gamma", inverse=""), "gamma dy", ["dx-std-missing", "dx-statistics-constant"]),
        (dx(0, 0, 0), None, ["returns-zeros"]),
        (
            dx(over=(" over N", " over N")),
            "gamma / std (dy - mean over N (dy) - x_hat mean over N (dy x_hat))",
            ["dx-means-over-samples"],
        ),
        (
            dx(over=("shards",)),
            "gamma / std (dy - mean of the shards' means (dy) - x_hat mean of the shards' means (dy x_hat))",
            ["dx-shard-means-averaged"],
        ),
        (  # an inverse of its own in x_hat alone
            dx(square="/ std (std)^2"),
            "gamma / std dy - mean dy gamma / std - mean dy (x - mean) gamma / std (std)^2 (x - mean)",
            ["other-dx"],
        ),
        (
            dx(inverse="std", square="std"),
            "std gamma dy - mean dy std gamma - mean dy (x - mean) std gamma (x - mean)",
            ["other-dx"],
        ),
    ],
)
def test_dx_is_written_and_named(found, measured, name):
    causes = dx_causes(found, "dx")
    assert names(causes) == name
    if measured:
        written = dict.fromkeys(c.measured for c in causes)
        assert list(written) == [f"dx = {measured}"]
    assert {c.formula for c in causes} == {USUAL}


def test_constants_are_told_by_the_terms_that_there_are():
    (found,) = dx_causes(dx(1, 0, -0.5), "dx")
    assert list(found.coefficients.values()) == [1, -0.5]
    assert [text.split(": ")[0] for text in found.coefficients] == ["dy", "x - mean"]
    (of_dbeta,) = parameter_causes(summed(3, "sum dy"), "dbeta")
    assert of_dbeta.coefficients == {"3 sum dy": 3}


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (dx(), "training-gradient-in-frozen"),
        (dx(-1, 0, 0), "dx-sign"),
        (dx(1, 0, 0, counts=("1/m", "1", "1")), "dx-divided-by-m"),
        (dx(1, 1, 0), "other-dx"),
    ],
)
def test_a_frozen_dx_is_named(found, name):
    (only,) = dx_causes(found, "frozen dx")
    assert (only.name, only.formula) == (name, "dx = gamma / std dy")


def test_a_name_is_told_once():
    unknown = dx(1, -1, -4, gamma="gamma^3", inverse="std^2", square="std^2 (/ std)^2")
    assert names(dx_causes(unknown, "dx")) == ["other-dx"]


def test_terms_that_share_no_front_or_have_a_second_product_are_written_as_they_were_read():
    apart = Dx(product(1, inverse="/ std", gamma="gamma"), product(-1, sum="mean dy", inverse="/ std", gamma="1"), ZERO)
    also = Dx(*(getattr(dx(), n) for n in ("own", "of_mean", "of_x_hat")), also=(ZERO, product(2, sum="mean dy")))
    for found, words in (
        (apart, "gamma / std dy - mean dy / std"),
        (also, f"{dx().words()} + 2 mean dy (x - mean)"),
    ):
        (only,) = dx_causes(found, "dx")
        assert (only.name, only.measured, only.formula) == ("other-dx", f"dx = {words}", USUAL)
        own = Divisor(2, Formula(((1.0, VAR), (2.0, EPS))))
        causes = dx_causes(replace(found, divisor=own), "dx")
        assert [c.name for c in causes] == ["eps-twice", "other-dx"]
        assert {c.measured for c in causes} == {f"dx = {words}, std^2 = var + 2 eps"}


def test_a_sum_in_dx_over_some_of_the_values_is_named_before_what_else_is_wrong():
    part = "mean dy of the first half of the samples"
    some = Dx(dx().own, product(-1, part=part, inverse="/ std", gamma="gamma"), dx().of_x_hat)
    (found,) = dx_causes(some, "dx")
    assert found.name == "gradient-sums-of-some-values"
    assert found.title == f"a sum in dx leaves values out, or counts some twice: {part}"
    assert found.measured == f"dx = gamma / std dy - {part} gamma / std - {dx().of_x_hat} (x - mean)".replace(
        "- -", "- "
    )
    both = Dx(dx().own, some.of_mean, product(-0.5, part=f"x {part}", squares="/ std^3", gamma="gamma"))
    first, second = dx_causes(both, "dx")
    assert first.title.endswith(f": {part} and x {part}")
    assert second.name == "dx-variance-term-factor"
    divided = dx_causes(replace(both, divisor=Divisor(2, of(VAR))), "dx")
    assert {c.measured for c in divided} == {f"{second.measured}, std^2 = var"}


@pytest.mark.parametrize(
    ("formula", "name", "title"),
    [
        (of(VAR), "backward-eps-missing", "backward uses 1 / sqrt(var), without eps"),
        (
            Formula(((1.0, VAR), (2.0, EPS))),
            "eps-twice",
            "eps is added twice: 1 / sqrt(var + 2 eps): in the backward alone",
        ),
        (
            Formula(((1.0, RUNNING_VAR), (1e-5, ONE))),
            "eps-fixed-1e-5",
            "eps is fixed at 1e-5, whatever is passed: in the backward alone",
        ),
        (
            Formula(((3.0, VAR), (1.0, EPS))),
            "other-divisor",
            "the backward divides by another value: std^2 = 3 var + eps",
        ),
    ],
)
def test_a_divisor_of_the_backward_alone_is_named(formula, name, title):
    own = Divisor(2, formula)
    plain = Dx(dx().own, dx().of_mean, dx().of_x_hat, own)
    (found,) = dx_causes(plain, "dx")
    assert (found.name, found.title) == (name, title)
    assert found.measured == f"{USUAL}, std^2 = {formula}"
    of_gamma = Summed(summed(1, "sum dy (x - mean)", inverse="/ std").product, own)
    (again,) = parameter_causes(of_gamma, "dgamma")
    assert (again.name, again.title) == (name, title)
    assert again.measured == f"dgamma = sum dy (x - mean) / std, std^2 = {formula}"
    assert again.formula == "dgamma = sum dy (x - mean) / std"


# Gradients of parameters.


def test_the_definition_of_a_parameters_gradient_has_no_cause():
    for frozen in ("", "frozen "):
        assert parameter_causes(summed(1, "sum dy (x - mean)", inverse="/ std"), f"{frozen}dgamma") == []
        assert parameter_causes(summed(1, "sum dy"), f"{frozen}dbeta") == []


@pytest.mark.parametrize(
    ("which", "found", "name"),
    [
        ("dbeta", summed(-1, "sum dy"), "parameter-gradients-sign"),
        ("dgamma", summed(1, "sum dy"), "parameter-gradients-swapped"),
        ("dgamma", summed(2, "sum dy"), "other-dgamma"),
        ("dbeta", summed(1, "sum dy", count="1/m"), "parameter-gradients-averaged"),
        ("dbeta", summed(1, "sum dy", added=product(0.25, added="beta")), "parameter-gradient-decayed"),
        ("dbeta", summed(1, "sum dy", added=product(0.25, added="gamma")), "other-dbeta"),
        ("dbeta", summed(2, "sum dy", added=product(0.25, added="beta")), "other-dbeta"),
        ("dbeta", summed(1, "sum dy x", added=product(0.25, added="beta")), "other-dbeta"),
        ("dgamma", summed(1, "sum dy (x - mean)", inverse="/ std", added=product(1, added="gamma")), DECAYED),
        ("dgamma", summed(1, "sum dy (x - mean)", inverse="/ std", added=product(1, added="beta")), "other-dgamma"),
        ("dbeta", Summed(product(1, part="sum dy of the first sample")), "gradient-sums-of-some-values"),
    ],
)
def test_a_parameters_gradient_is_named(which, found, name):
    for frozen in ("", "frozen "):
        (only,) = parameter_causes(found, frozen + which)
        assert only.name == name
        assert only.measured == f"{which} = {found.words()}"
        if name.startswith("gradient-sums"):
            assert only.title == "a sum leaves values out, or counts some twice: sum dy of the first sample"


# What is expected.


def test_what_a_convention_says_of_each_quantity():
    expected = {
        "y, training": "y = gamma (x - mean) / std + beta, std^2 = var + eps",
        "y, inference": "y = gamma (x - running mean) / std + beta, std^2 = running variance + eps",
        "frozen y": "y = gamma (x - running mean) / std + beta, std^2 = running variance + eps",
        "dx": USUAL,
        "frozen dx": "dx = gamma / std dy",
        "dgamma": "dgamma = sum dy (x - mean) / std",
        "frozen dgamma": "dgamma = sum dy (x - mean) / std",
        "dbeta": "dbeta = sum dy",
        "running mean": "running mean = (1 - a) running mean + a mean",
    }
    assert {quantity: expected_formula(quantity, TORCH) for quantity in expected} == expected
    assert expected_formula("running variance", TORCH).endswith("+ a unbiased var")
    assert expected_formula("running variance", KERAS) == "running variance = a running variance + (1 - a) var"
