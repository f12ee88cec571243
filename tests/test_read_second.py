"""The terms of forward mode and double backward, read off small worlds, and what they are called.

Each term is written out here in NumPy. Not verified here: whole trials (`test_oracle_second_order`), random programs
(`test_second_programs`), the words of terms (`test_terms`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_terms import made

from refnorm.oracle.measure import known_second
from refnorm.oracle.measure.known import OTHER, Known
from refnorm.oracle.measure.known_gradients import ZEROS
from refnorm.oracle.measure.known_second import second_order_causes, seen_in
from refnorm.oracle.measure.read_second import _Columns, _without_one, read_second
from refnorm.oracle.measure.second_terms import Combination, defined_second

SAMPLED = 3  # one in so many; see conftest.py

WORLDS = [made(shape, eps=eps) for shape, eps in (((8, 3), 0.3), ((5, 4), 0.2), ((3, 2, 2, 4), 0.1))]
FROZEN = [
    replace(w, case=replace(w.case, operation="inference"), mean=w.running_mean, var=w.running_var) for w in WORLDS
]
RIGHT = {"jvp": (1, -1, -1, 1, 1), "dx": (1, -1, -1, -1, 1, -1, 1, -1, 1, 3), "dgamma": (1, -1, -1)}
GAMMAS = {"jvp": {0, 1, 2}, "dx": set(range(3, 10)), "dgamma": set()}  # terms with gamma in front


def terms(which, w, average=None, inverse=None):
    """Return the terms of a derivative; ``average`` is what means are, and ``inverse`` 1 / std."""
    inv = 1 / np.sqrt(w.var + w.eps) if inverse is None else inverse
    mean = w.average if average is None else average
    x, gamma, g, v, vg = (w.x - w.mean) * inv, w.gamma, w.upstream, w.ddx, w.ddgamma
    if which == "jvp":
        one = gamma * inv
        return one * v, one * mean(v), one * x * mean(v * x), vg * x, w.ddbeta + 0 * x
    if which == "dgamma":
        m = w.x.size // w.x.shape[1]
        total = {"v": g * v, "": g, "x": g * x}
        sums = {name: m * w.average(values) * inv for name, values in total.items()}
        return sums["v"], sums[""] * mean(v), sums["x"] * mean(v * x)
    one, two = vg * inv, gamma * inv**2
    return (
        one * g,
        one * mean(g),
        one * x * mean(g * x),
        two * g * mean(v * x),
        two * mean(g) * mean(v * x),
        two * v * mean(g * x),
        two * mean(v) * mean(g * x),
        two * x * mean(g * v),
        two * x * mean(g) * mean(v),
        two * x * mean(g * x) * mean(v * x),
    )


def quantity(which, frozen=False):
    return "frozen " * frozen + (which if which == "jvp" else f"double backward {which}")


def seen_of(which, constants, worlds=WORLDS, front=lambda w: 1, **others):
    """Return what a program returns; ``front`` multiplies the terms that have another factor."""
    pairs = []
    for w in worlds:
        given = {name: value(w) for name, value in others.items()}
        parts = terms(which, w, **given)
        total = sum(c * part for c, part in zip(constants, parts, strict=True)) * front(w) + 0 * w.mean
        pairs.append((w, np.asarray(total.reshape(-1) if which == "dgamma" else total + 0 * w.x, float)))
    return pairs


def read(which, seen, frozen=False):
    found = list(read_second(quantity(which, frozen), seen))
    assert len(found) < 2
    return found[0] if found else None


def key(*constants):
    return tuple(f"{c:g}" for c in constants)


@pytest.mark.parametrize("which", RIGHT)
def test_the_constant_of_each_term_is_read(which):
    assert read(which, seen_of(which, RIGHT[which])).key == key(*RIGHT[which])
    for k in range(len(RIGHT[which])):
        for c in (0, 2, -0.5, 1.37):
            constants = [*RIGHT[which][:k], c, *RIGHT[which][k + 1 :]]
            found = read(which, seen_of(which, constants))
            assert (found.key, found.changed, found.quantity) == (key(*constants), "", quantity(which))
            assert [number for number, _ in found.parts] == [number for number in constants if number]
    nothing = read(which, seen_of(which, [0] * len(RIGHT[which])))
    assert set(nothing.key) == {"0"}


def test_frozen_terms_are_read():
    for which, constants in (("jvp", (2, 0, 0, 1, -1)), ("dx", (3,) + (0,) * 9), ("dgamma", (0.5, 0, 0))):
        found = read(which, seen_of(which, constants, FROZEN), frozen=True)
        assert (found.key, found.changed) == (key(*constants), "")


VARIED = {
    "gamma": {"front": lambda w: w.gamma},
    "m": {"front": lambda w: w.m},
    "std": {"front": lambda w: np.sqrt(w.var + w.eps)},
    "/ std^2": {"front": lambda w: 1 / (w.var + w.eps)},
    " over all": {"average": lambda w: lambda v: v.mean(keepdims=True)},
    " over N": {"average": lambda w: lambda v: v.mean(0, keepdims=True)},
    "sqrt(var)": {"inverse": lambda w: 1 / np.sqrt(w.var)},
    "(sqrt(var) + eps)": {"inverse": lambda w: 1 / (np.sqrt(w.var) + w.eps)},
}


@pytest.mark.parametrize("changed", VARIED)
def test_what_terms_have_beside_their_own_is_read(changed):
    front, others = VARIED[changed].get("front"), {k: v for k, v in VARIED[changed].items() if k != "front"}
    for which, constants in RIGHT.items():
        if (which, changed) == ("dgamma", " over N"):
            continue  # the sums of dgamma are one a channel
        seen = seen_of(which, constants, **VARIED[changed])
        found = read(which, seen)
        assert found.changed == changed
        assert [c.rstrip("*") for c in found.key] == list(key(*constants))
        differ = set()
        for w in WORLDS:
            given = {name: value(w) for name, value in others.items()}
            both = zip(terms(which, w), terms(which, w, **given), strict=True)
            differ |= {k for k, (a, b) in enumerate(both) if front or not np.allclose(np.float64(a), np.float64(b))}
        assert differ == {k for k, c in enumerate(found.key) if c.endswith("*")}
        for w, value in seen:
            own = np.asarray(found.value(w), float)
            assert np.allclose(own, value, rtol=1e-10, atol=1e-10 * np.abs(value).max())


def test_a_term_may_stand_beside_itself_with_another_factor():
    pairs = []
    for w in WORLDS:
        parts = terms("jvp", w)
        pairs.append((w, np.asarray(sum(parts) + 3 * w.m * parts[1] - 2 * parts[2] - 2 * parts[1], float)))
    found = read("jvp", pairs)
    assert (found.key, found.changed) == (("1", "-1+3*", "-1", "1", "1"), "m")
    assert [c for c, _ in found.parts] == [1, -1, 3, -1, 1, 1]


def test_a_term_with_another_factor_may_be_the_larger_one_everywhere():
    worlds = [replace(w, upstream=w.ddx) for w in FROZEN]  # a sum of squares
    found = read("dgamma", seen_of("dgamma", (1, 0, 0), worlds, front=lambda w: w.m), frozen=True)
    assert (found.key, found.changed) == (("1*", "0", "0"), "m")
    less = read("dgamma", seen_of("dgamma", (1, 0, 0), worlds, front=lambda w: 1 / np.longdouble(w.m)), frozen=True)
    assert (less.key, less.changed) == (("1*", "0", "0"), "1/m")


def test_of_two_factors_that_are_one_number_the_first_is_told():
    found = read("jvp", seen_of("jvp", RIGHT["jvp"], WORLDS[:2], front=lambda w: len(w.x)))
    assert found.changed == "m"


def test_rounding_is_granted_by_the_largest_terms_of_a_world_and_by_how_far_x_is_from_0():
    seen = seen_of("jvp", RIGHT["jvp"])
    columns = _Columns("jvp", seen)
    row = np.concatenate([value.ravel() for _, value in seen])
    expected = []
    for w, value in seen:
        far = np.abs(w.x).max(w.axes, keepdims=True) / np.sqrt(w.var + w.eps) + 1
        expected.append((np.abs(3 * value).max() * far**2 + 0 * w.x).astype(float).ravel())
    assert np.allclose(columns.sizes([row, -2 * row]), np.concatenate(expected), rtol=1e-12)
    assert np.allclose(columns.sizes([1e-9 * row, -2e-9 * row]), 1e-9 * np.concatenate(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("size", "left"), [(0.5, [1]), (1.5, [0, 1])])
def test_a_row_is_not_needed_if_no_more_than_noise_is_left_without_it(size, left):
    rows, wanted = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([size, 10.0])
    assert _without_one(rows, np.arange(2), wanted).tolist() == left


def test_a_world_in_which_nothing_flows_tells_nothing():
    right = seen_of("dgamma", RIGHT["dgamma"])
    nothing = [(replace(w, upstream=0 * w.upstream), 0 * value) for w, value in right]
    assert read("dgamma", [*right, *nothing]).key == key(*RIGHT["dgamma"])
    assert read("dgamma", [*right, (nothing[0][0], nothing[0][1] + 1e-9)]) is None


def test_of_many_equations_some_are_chosen_evenly():
    (w, value), *_ = seen_of("jvp", RIGHT["jvp"], [made((64, 70))])
    columns = _Columns("jvp", [(w, value)])
    chosen = columns.picked(np.arange(64 * 70))
    assert len(chosen) == 2000
    assert (chosen[0], chosen[-1]) == (0, 64 * 70 - 1)
    assert set(np.diff(chosen)) == {2, 3}
    far = np.abs(w.x).max(w.axes, keepdims=True) / np.sqrt(w.var + w.eps) + 1
    some = columns.picked(value.ravel())
    assert columns.sizes([some]).max() == pytest.approx(float(far.max() ** 2 * np.abs(some).max()), rel=1e-12)


def test_what_is_missing_from_gamma_is_read():
    def without(w):
        parts = terms("jvp", w)
        return sum(c * p / (w.gamma if k < 3 else 1) for k, (c, p) in enumerate(zip(RIGHT["jvp"], parts, strict=True)))

    found = read("jvp", [(w, np.asarray(without(w), float)) for w in WORLDS])
    assert (found.key, found.changed) == (("1*", "-1*", "-1*", "1", "1"), "no gamma")
    (cause,) = second_order_causes(found, [])
    assert cause.name == "second-order-gamma-missing"


def test_what_no_terms_give_is_not_read_nor_is_what_is_off_by_more_than_rounding():
    right = seen_of("jvp", RIGHT["jvp"])
    assert read("jvp", [(w, np.tanh(value)) for w, value in right]) is None
    assert read("jvp", []) is None
    assert read("jvp", [(w, value + 1e-8 * np.cos(np.asarray(w.x, float))) for w, value in right]) is None
    rounded = [(w, value * (1 + 1e-15 * np.cos(np.asarray(w.x, float)))) for w, value in right]
    assert read("jvp", rounded).key == key(*RIGHT["jvp"])
    small = [
        (replace(w, case=replace(w.case, kind="float32")), value.astype("float32").astype(float)) for w, value in right
    ]
    assert read("jvp", small).key == key(*RIGHT["jvp"])


def test_what_is_not_finite_or_leaves_the_format_is_passed_over():
    right = seen_of("jvp", (1, -1, -1, 1, 2))
    (w, value), *_ = right
    far = [replace(w, inverse=lambda w, s=s: np.full_like(w.mean, s)) for s in (2e9, 0.5e-9)]
    others = [(w, value * np.nan), (w, value[:0]), *((v, np.tanh(value)) for v in far)]
    for other in others:
        assert read("jvp", [other, *right]).key == key(1, -1, -1, 1, 2)
        assert read("jvp", [other]) is None
    near, small = (replace(w, inverse=lambda w, s=s: np.full_like(w.mean, s)) for s in (0.5e9, 2e-9))
    assert read("jvp", [(near, np.tanh(value))]) is not None  # rounding hides it
    assert read("jvp", [*right, (small, np.tanh(value))]) is None


# Names.


def causes(which, constants, before=(), frozen=False, changed="", parts=None):
    name = quantity(which, frozen)
    own = [t for _, t in defined_second(quantity(which)).parts]
    numbers = [c if isinstance(c, str) else f"{c:g}" for c in constants]
    told = tuple((float(c.rstrip("*")), t) for c, t in zip(numbers, own, strict=True) if c != "0")
    return second_order_causes(Combination(name, told, tuple(numbers), changed), before)


def names(*of, **given):
    return [c.name for c in causes(*of, **given)]


def test_the_definition_has_no_name():
    for which, constants in RIGHT.items():
        assert names(which, constants) == []
    assert names("jvp", (1, 0, 0, 1, 1), frozen=True) == []
    assert names("dx", (1,) + (0,) * 9, frozen=True) == []


@pytest.mark.parametrize(
    ("which", "constants", "given", "name"),
    [
        ("jvp", (1, 0, 0, 1, 1), {}, "second-order-statistics-constant"),
        ("jvp", (1, -1, -1, 1, 0), {}, "second-order-ddbeta-missing"),
        ("jvp", (-1, 1, 1, 1, 1), {}, "second-order-x-sign"),
        ("jvp", (1, -1, -1, 1, 2), {}, "other-second-order"),
        ("jvp", (0, 0, 0, 0, 0), {}, "returns-zeros"),
        ("jvp", (0, -1, -1, 0, 0), {}, "other-second-order"),
        ("jvp", (1, -1, -1, 1, 1), {"frozen": True}, "training-second-order-in-frozen"),
        ("jvp", (-1, 0, 0, -1, -1), {"frozen": True}, "second-order-sign"),
        ("jvp", (2, 0, 0, 1, 1), {"frozen": True}, "other-second-order"),
        ("dgamma", (-1, 1, 1), {}, "second-order-sign"),
        ("dgamma", (-1, 1, 1), {"before": ["second-order-x-sign"]}, "second-order-x-sign"),
        ("dgamma", (-1, 1, 1), {"before": ["eps-missing"]}, "second-order-sign"),
        ("dx", (1, -1, -1, 0, 0, -1, 1, -1, 1, 2), {}, "double-backward-front-constant"),
        (
            "dx",
            (1, -1, -1, 0, 0, -1, 1, -1, 1, 2),
            {"before": ["double-backward-half-missing"]},
            "double-backward-half-missing",
        ),
        ("dx", (0,) * 10, {"frozen": True}, "returns-zeros"),
        ("dx", (0,) * 10, {"frozen": True, "before": ["second-order-ddgamma-missing"]}, "second-order-ddgamma-missing"),
        ("dx", (0,) * 10, {}, "returns-zeros"),
        ("dgamma", ("1*", "-1*", "-1*"), {"changed": "m"}, "second-order-not-divided"),
        ("dgamma", ("1*", "-1*", "-1*"), {"changed": "gamma"}, "double-backward-dgamma-times-gamma"),
        ("jvp", ("1*", "-1*", "-1*", "1*", "1*"), {"changed": "gamma"}, "other-second-order"),
        ("jvp", ("1*", "-1*", "-1*", "1*", "1"), {"changed": "std"}, "second-order-std-missing"),
        ("jvp", ("1*", "-2*", "-1*", "1*", "1"), {"changed": "std"}, "other-second-order"),
        ("jvp", ("0.5*", "-1*", "-1*", "1*", "1"), {"changed": "std"}, "other-second-order"),
    ],
)
def test_a_measured_combination_is_named(which, constants, given, name):
    (found,) = causes(which, constants, **given)
    assert found.name == name
    assert found.formula == defined_second(quantity(which, given.get("frozen", False))).words()


def test_a_combination_without_a_name_is_told_by_its_formula():
    (of_jvp,) = causes("jvp", (1, -1, -1, 1, 2))
    assert of_jvp.title == of_jvp.measured
    assert of_jvp.measured == "jvp = gamma / std (ddx - mean(ddx) - x_hat mean(ddx x_hat)) + ddgamma x_hat + 2 ddbeta"
    (of_dgamma,) = causes("dgamma", (1, -1, 2))
    assert of_dgamma.title == f"double backward {of_dgamma.measured}"
    assert of_dgamma.coefficients == {
        "/ std^1 sum(dy ddx)": 1,
        "/ std^1 sum(dy) mean(ddx)": -1,
        "/ std^1 sum(dy x_hat) mean(ddx x_hat)": 2,
    }


def test_every_known_formula_is_seen_in_some_quantity():
    entries = {v for v in vars(known_second).values() if isinstance(v, Known)} | set(known_second.CHANGED.values())
    found = dict(seen_in())
    assert set(found) == entries - {ZEROS}
    assert not set(found) & set(OTHER.values())
    assert found[known_second.SWAPPED] == tuple(
        quantity(which, frozen) for frozen in (False, True) for which in ("ddy", "dx")
    )
    assert found[known_second.TIMES_GAMMA] == (quantity("dgamma"), quantity("dgamma", True))
    assert found[known_second.PRODUCTS_ROUNDED] == (quantity("dgamma", True),)
    assert set(found[known_second.IN_FROZEN]) == {quantity(which, True) for which in ("jvp", "ddy", "dx", "dgamma")}
    assert set(found[known_second.DDBETA_MISSING]) == {
        quantity(which, frozen) for which in ("jvp", "ddy") for frozen in (False, True)
    }
